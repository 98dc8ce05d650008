package main

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestForwarded(t *testing.T) {
	trusted := prefixes("10.0.0.0/8", "fd00::/8")
	const xff, xfp, fwd = "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"
	type h map[string][]string
	for name, test := range map[string]struct {
		peer    string
		rfc7239 bool
		header  h
		tls     bool
		addr    string
		secure  bool
	}{
		"no proxy":          {peer: "192.0.2.1:99", addr: "192.0.2.1:99"},
		"no proxy, but TLS": {peer: "192.0.2.1:99", tls: true, addr: "192.0.2.1:99", secure: true},
		"a liar":            {peer: "192.0.2.1:99", header: h{xff: {"198.51.100.7"}, xfp: {"https"}}, addr: "192.0.2.1:99"},
		"silent":            {peer: "10.0.0.1:99", addr: "10.0.0.1:99"},
		"one":               {peer: "10.0.0.1:99", header: h{xff: {"198.51.100.7"}, xfp: {"https"}}, addr: "198.51.100.7:0", secure: true},
		"of HTTP":           {peer: "10.0.0.1:99", tls: true, header: h{xff: {"198.51.100.7"}, xfp: {"http"}}, addr: "198.51.100.7:0"},
		"a liar before":     {peer: "10.0.0.1:99", header: h{xff: {"203.0.113.1, 198.51.100.7"}}, addr: "198.51.100.7:0"},
		"two":               {peer: "10.0.0.1:99", header: h{xff: {"203.0.113.1, 198.51.100.7, 10.0.0.2"}, xfp: {"https"}}, addr: "198.51.100.7:0", secure: true},
		"two, told apart":   {peer: "10.0.0.1:99", header: h{xff: {"198.51.100.7", "10.0.0.2"}, xfp: {"https", "http"}}, addr: "198.51.100.7:0", secure: true},
		"trusted only":      {peer: "10.0.0.1:99", header: h{xff: {"10.0.0.3, 10.0.0.2"}}, addr: "10.0.0.3:0"},
		"nonsense":          {peer: "10.0.0.1:99", header: h{xff: {"198.51.100.7, unknown"}}, addr: "10.0.0.1:99"},
		"nonsense before":   {peer: "10.0.0.1:99", header: h{xff: {"unknown, 10.0.0.2"}}, addr: "10.0.0.2:0"},
		"with a port":       {peer: "10.0.0.1:99", header: h{xff: {"198.51.100.7:1234"}}, addr: "198.51.100.7:1234"},
		"IPv6":              {peer: "[fd00::1]:99", header: h{xff: {"2001:db8::7"}}, addr: "[2001:db8::7]:0"},
		"IPv6 in brackets":  {peer: "[fd00::1]:99", header: h{xff: {"[2001:db8::7]:80"}}, addr: "[2001:db8::7]:80"},
		"mapped":            {peer: "[::ffff:10.0.0.1]:99", header: h{xff: {"::ffff:198.51.100.7"}}, addr: "198.51.100.7:0"},
		"the other header":  {peer: "10.0.0.1:99", header: h{fwd: {"for=203.0.113.1;proto=https"}, xff: {"198.51.100.7"}}, addr: "198.51.100.7:0"},

		"7239":             {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=198.51.100.7;proto=https;by=10.0.0.1"}}, addr: "198.51.100.7:0", secure: true},
		"7239, quoted":     {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`For="[2001:db8::7]:4711" ; Proto=HTTPS`}}, addr: "[2001:db8::7]:4711", secure: true},
		"7239, escaped":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for="198.51.\100.7";host="a,b;c\"d"`}}, addr: "198.51.100.7:0"},
		"7239, chain":      {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=203.0.113.1, for=198.51.100.7;proto=https", "for=10.0.0.2;proto=http"}}, addr: "198.51.100.7:0", secure: true},
		"7239, obfuscated": {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=_hidden, for=10.0.0.2"}}, addr: "10.0.0.2:0"},
		"7239, other":      {peer: "10.0.0.1:99", rfc7239: true, header: h{xff: {"203.0.113.1"}, xfp: {"https"}}, addr: "10.0.0.1:99"},
		"7239, unended":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for="198.51.100.7, for=203.0.113.1\`}}, addr: "10.0.0.1:99"},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: make(http.Header)}
		for name, values := range test.header {
			r.Header[name] = values
		}
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		f := frontage{trusted: trusted, rfc7239: test.rfc7239}
		assert.Equal(t, test.addr, f.clientAddr(r).String(), name)
		assert.Equal(t, test.secure, f.secure(r), name)
	}
	assert.Nil(t, frontage{}.clientAddr(&http.Request{RemoteAddr: "@"}))
}
