package main

import (
	"bytes"
	"testing"
)

func TestAccounts(t *testing.T) {
	a, err := newAccounts("localhost", []string{"alice:pass:word", "Bob:x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, password string
		want           bool
	}{
		{"alice", "pass:word", true},
		{"ALICE", "pass:word", true},
		{"bob", "x", true},
		{"alice", "pass", false},
		{"alice", "", false},
		{"carol", "x", false},
		{"", "x", false},
		{"a@b", "x", false},
	} {
		if got := a.check(tt.name, tt.password); got != tt.want {
			t.Errorf("%q, %q: got %v", tt.name, tt.password, got)
		}
	}
}

// TestUnknownUsers makes sure that an unknown user looks like a known one.
func TestUnknownUsers(t *testing.T) {
	a, err := newAccounts("localhost", []string{"alice:secret"})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range scramHashes {
		known, carol, again, dave := a.lookup("alice", h), a.lookup("carol", h), a.lookup("Carol", h), a.lookup("dave", h)
		if !bytes.Equal(carol.salt, again.salt) {
			t.Errorf("%s: the salt of an unknown user changes", h.mechanism)
		}
		if bytes.Equal(carol.salt, dave.salt) || len(carol.salt) != len(known.salt) {
			t.Errorf("%s: the salt gives unknown users away", h.mechanism)
		}
		if carol.iterations != known.iterations || len(carol.storedKey) != len(known.storedKey) {
			t.Errorf("%s: unknown users cost less", h.mechanism)
		}
	}
}
