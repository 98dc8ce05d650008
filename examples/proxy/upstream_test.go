package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
)

// serverAt plays servers on loopback, each connection by script, until the end
// of the test.
func serverAt(t *testing.T, script func(net.Conn)) endpoint {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			script(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return endpoint{host: "127.0.0.1", port: uint16(ln.Addr().(*net.TCPAddr).Port), tls: startTLS, trusted: true}
}

// encrypted plays a server that takes to TLS and says hello.
func encrypted(config *tls.Config, mode tlsMode) func(net.Conn) {
	return func(c net.Conn) {
		if mode == startTLS {
			if greet(c, offersTLS) != nil {
				return
			}
			io.WriteString(c, proceed)
		}
		s := tls.Server(c, config)
		io.WriteString(s, "hello")
		s.CloseWrite()
		io.Copy(io.Discard, c)
	}
}

// asked returns what a client asks for that names a domain.
func asked(t *testing.T, to string) request {
	d, err := parseDomain(to)
	require.NoError(t, err)
	return request{domain: d}
}

func newConnector(ca *authority) *connector {
	return &connector{resolver: names{}, dial: new(net.Dialer).DialContext, timeout: 10 * time.Second, roots: ca.pool}
}

func TestConnect(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good, bad, wrong := ca.config(t, "example.org"), other.config(t, "example.org"), ca.config(t, "example.com")
	for name, test := range map[string]struct {
		mode     tlsMode
		config   *tls.Config
		insecure bool
		want     bosh.Condition
	}{
		"starttls":                    {startTLS, good, false, ""},
		"direct":                      {directTLS, good, false, ""},
		"starttls, unknown authority": {startTLS, bad, false, bosh.RemoteConnectionFailed},
		"direct, unknown authority":   {directTLS, bad, false, bosh.RemoteConnectionFailed},
		"starttls, other domain":      {startTLS, wrong, false, bosh.RemoteConnectionFailed},
		"direct, other domain":        {directTLS, wrong, false, bosh.RemoteConnectionFailed},
		"starttls, unchecked":         {startTLS, bad, true, ""},
		"direct, unchecked":           {directTLS, wrong, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := serverAt(t, encrypted(test.config, test.mode))
			e.tls = test.mode
			c := newConnector(ca)
			c.fixed, c.insecure = &e, test.insecure
			conn, err := c.connect(t.Context(), asked(t, "example.org"))
			if test.want != "" {
				require.ErrorIs(t, err, &bosh.Error{Condition: test.want})
				return
			}
			require.NoError(t, err)
			defer conn.Close()
			got, err := io.ReadAll(conn)
			require.NoError(t, err)
			assert.Equal(t, "hello", string(got))
		})
	}
}

// The server may be told the client's address, before anything else.
func TestConnectProxyProtocol(t *testing.T) {
	ca := newAuthority(t)
	q := asked(t, "example.org")
	q.client, q.local = netip.MustParseAddrPort("198.51.100.7:1"), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2}
	want := proxyHeader(q.client, q.local)
	e := serverAt(t, func(c net.Conn) {
		got := make([]byte, len(want))
		io.ReadFull(c, got)
		assert.Equal(t, want, got)
		encrypted(ca.config(t, "example.org"), startTLS)(c)
	})
	c := newConnector(ca)
	c.fixed, c.proxyProto = &e, true
	conn, err := c.connect(t.Context(), q)
	require.NoError(t, err)
	conn.Close()
}

// dialed is a dialer that notes where it was to connect to, and fails.
func dialed(to *[]string) func(context.Context, string, string) (net.Conn, error) {
	var mu sync.Mutex
	return func(_ context.Context, _, addr string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		*to = append(*to, addr)
		return nil, io.ErrClosedPipe
	}
}

func TestWhereTo(t *testing.T) {
	srv := func(host string, port uint16) []*net.SRV { return []*net.SRV{{Target: host, Port: port}} }
	world := names{
		srv: map[string][]*net.SRV{
			"xmpp-client.example.org":   srv("xmpp.example.org.", 5269),
			"xmpp-client.inner.example": srv("inner.example.", 5222),
			"xmpp-client.broken.test":   nil,
			"xmpp-client.none.example":  srv(".", 0),
			"xmpp-client.lost.example":  srv("nowhere.example.", 5222),
		},
		hosts: map[string][]string{
			"xmpp.example.org":  {"2606:4700::1", "8.8.8.8"},
			"inner.example":     {"10.0.0.1", "127.0.0.1", "169.254.169.254"},
			"mixed.example":     {"10.0.0.1", "8.8.4.4"},
			"here.example":      {"127.0.0.1", "8.8.8.8"},
			"xn--mnchen-3ya.de": {"8.8.8.8"},
			"down.test":         {"broken"},
			"both.lan":          {"8.8.8.8"},
		},
		local: map[string][]string{ // by a search list
			"lan":             {"192.168.0.1"},
			"xmpp.lan":        {"192.168.0.2"},
			"both.lan":        {"192.168.0.3"},
			"nowhere.example": {"8.8.8.8"},
			"lost.example":    {"8.8.8.8"},
			"down.test":       {"192.168.0.4"},
		},
	}
	fixed := func(s string, mode tlsMode) func(*connector) {
		e, err := parseEndpoint(s)
		require.NoError(t, err)
		e.tls = mode
		return func(c *connector) { c.fixed = &e }
	}
	routed := func(c *connector) {
		fixed("lan:5222", startTLS)(c)
		c.routes = []endpoint{{host: "xmpp.example.org", port: 443, trusted: true}}
	}
	for name, test := range map[string]struct {
		to, route string
		set       func(*connector)
		want      []string
		condition bosh.Condition
	}{
		"by records":            {to: "example.org", want: []string{"[2606:4700::1]:5269", "8.8.8.8:5269"}},
		"in capitals":           {to: "EXAMPLE.org", want: []string{"[2606:4700::1]:5269", "8.8.8.8:5269"}},
		"no records":            {to: "mixed.example", want: []string{"8.8.4.4:5222"}},
		"international":         {to: "münchen.de", want: []string{"8.8.8.8:5222"}},
		"in A-labels":           {to: "xn--mnchen-3ya.de", want: []string{"8.8.8.8:5222"}},
		"with a dot":            {to: "münchen.de.", want: []string{"8.8.8.8:5222"}},
		"private":               {to: "inner.example", condition: bosh.HostUnknown},
		"private, allowed":      {to: "inner.example", set: func(c *connector) { c.guard.allowed = prefixes("10.0.0.0/8") }, want: []string{"10.0.0.1:5222"}},
		"unknown":               {to: "nowhere.example", condition: bosh.HostUnknown},
		"unknown target":        {to: "lost.example", condition: bosh.HostUnknown},
		"no service":            {to: "none.example", condition: bosh.HostUnknown},
		"broken name server":    {to: "broken.test", condition: bosh.RemoteConnectionFailed},
		"broken for addresses":  {to: "down.test", condition: bosh.RemoteConnectionFailed},
		"address":               {to: "127.0.0.1", condition: bosh.HostUnknown},
		"public address":        {to: "8.8.8.8", condition: bosh.HostUnknown},
		"not served":            {to: "example.org", set: func(c *connector) { c.domains = map[string]bool{"example.com": true} }, condition: bosh.HostUnknown},
		"served":                {to: "mixed.example", set: func(c *connector) { c.domains = map[string]bool{"mixed.example": true} }, want: []string{"8.8.4.4:5222"}},
		"via":                   {to: "other.example", set: func(c *connector) { c.via = "example.org" }, want: []string{"[2606:4700::1]:5269", "8.8.8.8:5269"}},
		"fixed":                 {to: "other.example", set: fixed("lan:5222", startTLS), want: []string{"192.168.0.1:5222"}},
		"fixed, not in the DNS": {to: "other.example", set: fixed("xmpp.lan:5222", startTLS), want: []string{"192.168.0.2:5222"}},
		"fixed, in both":        {to: "other.example", set: fixed("both.lan:5222", startTLS), want: []string{"8.8.8.8:5222"}},
		"fixed, broken":         {to: "other.example", set: fixed("down.test:5222", startTLS)},
		"fixed, the whole name": {to: "other.example", set: fixed("xmpp.lan.:5222", startTLS), condition: bosh.HostUnknown},
		"fixed, international":  {to: "other.example", set: fixed("München.de:5222", startTLS), want: []string{"8.8.8.8:5222"}},
		"fixed, without TLS":    {to: "other.example", set: fixed("lan:5222", noTLS), condition: bosh.RemoteConnectionFailed},
		"here, without TLS":     {to: "other.example", set: fixed("here.example:5222", noTLS), want: []string{"127.0.0.1:5222"}},
		"unchecked":             {to: "other.example", set: func(c *connector) { fixed("here.example:5222", startTLS)(c); c.insecure = true }, want: []string{"127.0.0.1:5222"}},
		"unchecked elsewhere":   {to: "example.org", set: func(c *connector) { c.insecure = true }, condition: bosh.RemoteConnectionFailed},
		"route":                 {to: "a.example", route: "xmpp:xmpp.example.org:443", set: routed, want: []string{"[2606:4700::1]:443", "8.8.8.8:443"}},
		"route, unlisted":       {to: "a.example", route: "xmpp:inner.example:5222", set: routed, want: []string{"192.168.0.1:5222"}},
		"route, other port":     {to: "a.example", route: "xmpp:xmpp.example.org:22", set: routed, want: []string{"192.168.0.1:5222"}},
		"route, nonsense":       {to: "a.example", route: "xmpp:", set: routed, want: []string{"192.168.0.1:5222"}},
	} {
		var got []string
		c := &connector{resolver: world, dial: dialed(&got), timeout: time.Minute}
		if test.set != nil {
			test.set(c)
		}
		q := asked(t, test.to)
		q.route = test.route
		_, err := c.connect(t.Context(), q)
		if test.condition == "" {
			test.condition = bosh.RemoteConnectionFailed
		}
		require.ErrorIs(t, err, &bosh.Error{Condition: test.condition}, name)
		assert.Equal(t, test.want, got, name)
	}
}

// If one place does not do, the next one may; but a server's own word is final.
func TestNextPlace(t *testing.T) {
	ca := newAuthority(t)
	good := serverAt(t, encrypted(ca.config(t, "example.org"), startTLS))
	bad := serverAt(t, encrypted(ca.config(t, "example.com"), startTLS))
	closed := serverAt(t, func(net.Conn) {})
	final := serverAt(t, func(c net.Conn) {
		greet(c, "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
	})
	connect := func(es ...endpoint) error {
		world := names{srv: map[string][]*net.SRV{}}
		for i, e := range es {
			world.srv["xmpp-client.example.org"] = append(world.srv["xmpp-client.example.org"], &net.SRV{Target: e.host, Port: e.port, Priority: uint16(i)})
		}
		c := newConnector(ca)
		c.resolver, c.guard.allowed = world, prefixes("127.0.0.0/8")
		conn, err := c.connect(t.Context(), asked(t, "example.org"))
		if err == nil {
			conn.Close()
		}
		return err
	}
	require.NoError(t, connect(closed, bad, good))
	require.ErrorIs(t, connect(closed, bad), &bosh.Error{Condition: bosh.RemoteConnectionFailed})
	require.ErrorIs(t, connect(closed, final, good), &bosh.Error{Condition: bosh.RemoteStreamError})
}

func TestParseEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"example.org:5222": "example.org:5222", "EXAMPLE.org:1": "example.org:1", "[::1]:5222": "[::1]:5222", "127.0.0.1:65535": "127.0.0.1:65535",
		"example.org": "", ":5222": "", "a:0": "", "a:65536": "", "a:x": "", "a:-1": "", "::1": "", "": "",
	} {
		e, err := parseEndpoint(in)
		assert.Equal(t, want != "", err == nil, in)
		if err == nil {
			assert.Equal(t, want, e.String())
			_, port, _ := net.SplitHostPort(want)
			assert.Equal(t, port, strconv.Itoa(int(e.port)))
		}
	}
}
