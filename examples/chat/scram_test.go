package main

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// vectors are the examples of RFC 5802 and RFC 7677: user, pencil.
var vectors = []struct {
	hash             scramHash
	salt, nonce      string
	first, challenge string
	final, success   string
}{
	{
		hash:      scramSHA1,
		salt:      "QSXCR+Q6sek8bf92",
		nonce:     "3rfcNHYJY1ZVvWVs7j",
		first:     "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
		challenge: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
		final:     "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
		success:   "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
	},
	{
		hash:      scramSHA256,
		salt:      "W22ZaJ0SNY7soEsUEjb6gQ==",
		nonce:     "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
		first:     "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		challenge: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," +
			"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		success: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	},
}

// exchange returns the server's side of a vector.
func exchange(t *testing.T, i int) *scramServer {
	v := vectors[i]
	salt, err := base64.StdEncoding.DecodeString(v.salt)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := newScramKeys(v.hash, "pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return &scramServer{
		hash:   v.hash,
		lookup: func(string, scramHash) scramKeys { return keys },
		nonce:  func() string { return v.nonce },
	}
}

func TestScramVectors(t *testing.T) {
	for i, v := range vectors {
		s := exchange(t, i)
		if got, err := s.first(v.first); err != nil || got != v.challenge {
			t.Errorf("%s: got %q, %v; want %q", v.hash.mechanism, got, err, v.challenge)
		}
		if got, err := s.final(v.final); err != nil || got != v.success {
			t.Errorf("%s: got %q, %v; want %q", v.hash.mechanism, got, err, v.success)
		}
		if s.user != "user" || s.authzid != "" {
			t.Errorf("%s: user %q, authzid %q", v.hash.mechanism, s.user, s.authzid)
		}
	}
}

func TestScramBadFirst(t *testing.T) {
	for _, msg := range []string{
		"", "n", "n,", "n,,", "n,,n=user", "n,,r=abc,n=user", "n,,n=,r=abc", "n,,n=user,r=", "n,,n=user,r=a b",
		"n,,n=us=er,r=abc", "n,,n=us=2cer,r=abc", "n,,m=x,n=user,r=abc", "p=tls-exporter,,n=user,r=abc",
		"x,,n=user,r=abc", "n,a,n=user,r=abc", "n,a=,n=user,r=abc", "n,,n=us\x00er,r=abc",
	} {
		if _, err := exchange(t, 0).first(msg); err != errMalformed {
			t.Errorf("%q: got %v, want %v", msg, err, errMalformed)
		}
	}
}

func TestScramNames(t *testing.T) {
	s := exchange(t, 0)
	if _, err := s.first("y,a=a=2Cb,n==3D=2C=3D2C,r=abc"); err != nil {
		t.Fatal(err)
	}
	if s.user != "=,=2C" || s.authzid != "a,b" {
		t.Errorf("user %q, authzid %q", s.user, s.authzid)
	}
}

func TestScramBadFinal(t *testing.T) {
	v := vectors[0]
	for _, tt := range []struct {
		msg  string
		want error
	}{
		{"", errMalformed},
		{strings.Replace(v.final, ",p=", ",q=", 1), errMalformed},
		{strings.Replace(v.final, "v0X8", "v0X8v0X8", 1), errMalformed},
		{strings.Replace(v.final, "c=", "d=", 1), errMalformed},
		{"p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", errMalformed},
		{strings.Replace(v.final, "v0X8", "v0X9", 1), errProof},
		{strings.Replace(v.final, "c=biws", "c=eSws", 1), errProof}, // another flag than at first
		{strings.Replace(v.final, "7j,", "7k,", 1), errProof},
		{strings.Replace(v.final, ",p=", ",x=y,p=", 1), errProof}, // it is part of what is proved
	} {
		s := exchange(t, 0)
		if _, err := s.first(v.first); err != nil {
			t.Fatal(err)
		}
		if _, err := s.final(tt.msg); !errors.Is(err, tt.want) {
			t.Errorf("%q: got %v, want %v", tt.msg, err, tt.want)
		}
	}
}
