package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		"silent":            {peer: "10.0.0.1:99", addr: "unknown"},
		"one":               {peer: "10.0.0.1:99", header: h{xff: {"198.51.100.7"}, xfp: {"https"}}, addr: "198.51.100.7:0", secure: true},
		"of HTTP":           {peer: "10.0.0.1:99", tls: true, header: h{xff: {"198.51.100.7"}, xfp: {"http"}}, addr: "198.51.100.7:0"},
		"a liar before":     {peer: "10.0.0.1:99", header: h{xff: {"203.0.113.1, 198.51.100.7"}}, addr: "198.51.100.7:0"},
		"two":               {peer: "10.0.0.1:99", header: h{xff: {"203.0.113.1, 198.51.100.7, 10.0.0.2"}, xfp: {"https"}}, addr: "198.51.100.7:0", secure: true},
		"two, told apart":   {peer: "10.0.0.1:99", header: h{xff: {"198.51.100.7", "10.0.0.2"}, xfp: {"https", "http"}}, addr: "198.51.100.7:0", secure: true},
		"trusted only":      {peer: "10.0.0.1:99", header: h{xff: {"10.0.0.3, 10.0.0.2"}}, addr: "10.0.0.3:0"},
		"nonsense":          {peer: "10.0.0.1:99", header: h{xff: {"198.51.100.7, unknown"}}, addr: "unknown"},
		"nonsense before":   {peer: "10.0.0.1:99", header: h{xff: {"unknown, 10.0.0.2"}}, addr: "unknown"},
		"a quote":           {peer: "10.0.0.1:99", header: h{xff: {`", 203.0.113.9`}}, addr: "203.0.113.9:0"},
		"quotes":            {peer: "10.0.0.1:99", header: h{xff: {`"", "a\", 203.0.113.9`}}, addr: "203.0.113.9:0"},
		"a quote apart":     {peer: "10.0.0.1:99", header: h{xff: {`"`, "203.0.113.9"}}, addr: "203.0.113.9:0"},
		"a quote at last":   {peer: "10.0.0.1:99", header: h{xff: {`203.0.113.9"`}}, addr: "unknown"},
		"a quote behind":    {peer: "10.0.0.1:99", header: h{xff: {`203.0.113.9, "`}}, addr: "unknown"},
		"a quote, two":      {peer: "10.0.0.1:99", header: h{xff: {`", 203.0.113.9, 10.0.0.2`}}, addr: "203.0.113.9:0"},
		"empty at last":     {peer: "10.0.0.1:99", header: h{xff: {"203.0.113.9,"}, xfp: {"https,"}}, addr: "203.0.113.9:0", secure: true},
		"empty in between":  {peer: "10.0.0.1:99", header: h{xff: {"203.0.113.9, , ,10.0.0.2 ,", "", " ,"}}, addr: "203.0.113.9:0"},
		"empty":             {peer: "10.0.0.1:99", header: h{xff: {"", ",", " , "}}, addr: "unknown"},
		"another proxy":     {peer: "10.0.0.1:99", header: h{xff: {"203.0.113.9, 192.0.2.8"}}, addr: "192.0.2.8:0"},
		"zero":              {peer: "10.0.0.1:99", header: h{xff: {"0.0.0.0"}}, addr: "unknown"},
		"half a bracket":    {peer: "10.0.0.1:99", header: h{xff: {"[2001:db8::7"}}, addr: "unknown"},
		"IPv4 in brackets":  {peer: "10.0.0.1:99", header: h{xff: {"[203.0.113.9]"}}, addr: "unknown"},
		"by socket":         {peer: "10.0.0.1:99", header: h{xff: {"unix:"}}, addr: "unknown"},
		"with a zone":       {peer: "10.0.0.1:99", header: h{xff: {"fe80::7%eth0"}}, addr: "[fe80::7]:0"},
		"with a port":       {peer: "10.0.0.1:99", header: h{xff: {"198.51.100.7:1234"}}, addr: "198.51.100.7:1234"},
		"IPv6":              {peer: "[fd00::1]:99", header: h{xff: {"2001:db8::7"}}, addr: "[2001:db8::7]:0"},
		"IPv6 in brackets":  {peer: "[fd00::1]:99", header: h{xff: {"[2001:db8::7]:80"}}, addr: "[2001:db8::7]:80"},
		"mapped":            {peer: "[::ffff:10.0.0.1]:99", header: h{xff: {"::ffff:198.51.100.7"}}, addr: "198.51.100.7:0"},
		"the other header":  {peer: "10.0.0.1:99", header: h{fwd: {"for=203.0.113.1;proto=https"}, xff: {"198.51.100.7"}}, addr: "198.51.100.7:0"},

		"7239":             {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=198.51.100.7;proto=https;by=10.0.0.1"}}, addr: "198.51.100.7:0", secure: true},
		"7239, quoted":     {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`For="[2001:db8::7]:4711" ; Proto=HTTPS`}}, addr: "[2001:db8::7]:4711", secure: true},
		"7239, escaped":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for="198.51.\100.7";host="a,b;c\"d"`}}, addr: "198.51.100.7:0"},
		"7239, chain":      {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=203.0.113.1, for=198.51.100.7;proto=https", "for=10.0.0.2;proto=http"}}, addr: "198.51.100.7:0", secure: true},
		"7239, obfuscated": {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=_hidden, for=10.0.0.2"}}, addr: "unknown"},
		"7239, other":      {peer: "10.0.0.1:99", rfc7239: true, header: h{xff: {"203.0.113.1"}, xfp: {"https"}}, addr: "unknown"},
		"7239, unended":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for="198.51.100.7, for=203.0.113.1\`}}, addr: "unknown"},
		"7239, a quote":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for=", for=203.0.113.9`}}, addr: "203.0.113.9:0"},
		"7239, quotes":     {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for="\\", ", for="[2001:db8::7]:4711";proto=https`}}, addr: "[2001:db8::7]:4711", secure: true},
		"7239, escapes":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`\", for=203.0.113.9;host="a\", for=192.0.2.7;b=\"\\"`}}, addr: "203.0.113.9:0"},
		"7239, a comma":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for=203.0.113.9;host="x, for=192.0.2.7"`}}, addr: "203.0.113.9:0"},
		"7239, apart":      {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for="`, "for=203.0.113.9"}}, addr: "203.0.113.9:0"},
		"7239, at last":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for=203.0.113.9"`}}, addr: "unknown"},
		"7239, unclosed":   {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for="203.0.113.9`}}, addr: "unknown"},
		"7239, twice":      {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=203.0.113.9;for=192.0.2.7"}}, addr: "unknown"},
		"7239, no pair":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=203.0.113.9;secret"}}, addr: "unknown"},
		"7239, no for":     {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=203.0.113.9, proto=https"}}, addr: "unknown", secure: true},
		"7239, empty":      {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=203.0.113.9;proto=https;,, ,", ""}}, addr: "203.0.113.9:0", secure: true},
		"7239, bare IPv6":  {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=[2001:db8::7]:80;host=a.example:443;proto=http"}}, addr: "[2001:db8::7]:80"},
		"7239, port":       {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {`for="203.0.113.9:_http"`, `for="[fd00::2]:_x"`}}, addr: "203.0.113.9:0"},
		"7239, unknown":    {peer: "10.0.0.1:99", rfc7239: true, header: h{fwd: {"for=unknown;proto=https"}}, addr: "unknown", secure: true},
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

// The value of a trusted proxy counts, and never a client's.
func FuzzForwarded(f *testing.F) {
	for _, said := range []string{`"`, `for="`, `\`, `for="\`, "203.0.113.1,", ", ,", "unknown", `for=_x;by="`} {
		f.Add(said)
	}
	f.Fuzz(func(t *testing.T, said string) {
		for rfc7239, appended := range map[bool][]string{
			false: {"198.51.100.7", "198.51.100.7 ,"},
			true:  {"for=198.51.100.7", `for="198.51.100.7:4711";host="a\",for=10.0.0.1;\\"`},
		} {
			front := frontage{trusted: prefixes("10.0.0.0/8"), rfc7239: rfc7239}
			name := map[bool]string{false: "X-Forwarded-For", true: "Forwarded"}[rfc7239]
			for _, own := range appended {
				for _, values := range [][]string{{said + "," + own}, {said, own}} {
					r := &http.Request{RemoteAddr: "10.0.0.1:99", Header: http.Header{name: values}}
					require.Equal(t, "198.51.100.7", front.client(r).host(), "%q", values)
				}
			}
		}
	})
}

// A client behind net/http's reverse proxy is itself, whatever it says.
func TestBehindReverseProxy(t *testing.T) {
	front := frontage{trusted: prefixes("127.0.0.1/32")}
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, front.client(r).host()) }))
	defer served.Close()
	target, err := url.Parse(served.URL)
	require.NoError(t, err)
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}
	defer transport.CloseIdleConnections()
	for name, proxy := range map[string]*httputil.ReverseProxy{
		"of the usual kind": httputil.NewSingleHostReverseProxy(target),
		"that replaces": {Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		}},
		"that appends": {Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		}},
	} {
		behind := httptest.NewServer(proxy)
		for _, said := range liars {
			r, err := http.NewRequest("GET", behind.URL, nil)
			require.NoError(t, err)
			r.Header = said.Clone()
			resp, err := (&http.Client{Transport: transport}).Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			require.NoError(t, err)
			assert.Equal(t, "127.0.0.2", string(body), "%s: %v", name, said)
		}
		behind.Close()
	}
}

// liars are clients' claims to be somebody else.
var liars = []http.Header{
	{},
	{"X-Forwarded-For": {`"`}, "Forwarded": {`for="`}},
	{"X-Forwarded-For": {`", 127.0.0.1, "`}, "Forwarded": {`for=", for=127.0.0.1, for="`}},
	{"X-Forwarded-For": {"127.0.0.1"}, "Forwarded": {"for=127.0.0.1"}},
	{"X-Forwarded-For": {"127.0.0.1,"}, "Forwarded": {"for=127.0.0.1,"}},
	{"X-Forwarded-For": {"192.0.2.7", `\`}, "Forwarded": {"for=192.0.2.7", `for="\`}},
	{"X-Forwarded-For": {"unknown"}, "Forwarded": {"for=unknown"}},
	{"X-Forwarded-For": {"192.0.2.7"}, "Forwarded": {"for=192.0.2.7"}, "Connection": {"X-Forwarded-For, Forwarded"}},
}
