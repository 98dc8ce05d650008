package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/gobosh/bosh"
)

// A tlsMode is how a connection to a server is encrypted.
type tlsMode string

const (
	startTLS  tlsMode = "starttls"
	directTLS tlsMode = "direct"
	noTLS     tlsMode = "none"
)

// An endpoint is where a server may be.
type endpoint struct {
	host    string
	port    uint16
	tls     tlsMode
	trusted bool // named by the operator, so that it may be a private address
}

func (e endpoint) String() string { return net.JoinHostPort(e.host, strconv.Itoa(int(e.port))) }

// parseEndpoint parses host:port.
func parseEndpoint(s string) (endpoint, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return endpoint{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return endpoint{}, fmt.Errorf("%q is not host:port", s)
	}
	return endpoint{host: strings.ToLower(host), port: uint16(n), tls: startTLS, trusted: true}, nil
}

// A connector connects to XMPP servers.
type connector struct {
	fixed   *endpoint       // -upstream with a port
	via     string          // -upstream without: the domain whose records say where
	domains map[string]bool // that are served; nil for all
	routes  []endpoint
	guard   guard

	timeout    time.Duration // of everything until the stream can begin
	roots      *x509.CertPool
	insecure   bool // no certificate checks on loopback
	proxyProto bool
	maxStanza  int // the largest element of a server

	resolver resolver
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
}

var (
	errNotServed   = errors.New("the domain is not served here")
	errNotLoopback = errors.New("without certificate checks or TLS only servers on a loopback address are connected to")
)

// connect connects to the server that an opening asks for, and encrypts the
// connection. The server is told of client and local if it is to be. The error
// is what the client is to be told.
func (c *connector) connect(ctx context.Context, o *bosh.Opening, client, local net.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	domain, err := idna.Lookup.ToASCII(o.To)
	if err != nil || domain == "" || c.domains != nil && !c.domains[domain] {
		return nil, &bosh.Error{Condition: bosh.HostUnknown, Err: errNotServed}
	}
	endpoints, err := c.endpoints(ctx, domain, o.Route)
	if err != nil {
		return nil, verdict(err)
	}
	for _, e := range endpoints {
		var conn net.Conn
		if conn, err = c.open(ctx, e, domain, client, local); err == nil {
			return conn, nil
		}
		err = fmt.Errorf("%v: %w", e, err)
		if final := (*streamError)(nil); errors.As(err, &final) {
			break // the right server, and what it says will not change
		}
	}
	return nil, verdict(err)
}

// verdict returns what a client is told of an error.
func verdict(err error) error {
	e := &bosh.Error{Condition: bosh.RemoteConnectionFailed, Err: err}
	var said *streamError
	switch {
	case errors.As(err, &said):
		e.Condition, e.Payload = bosh.RemoteStreamError, said.element
	case notFound(err), errors.Is(err, errNoService), errors.Is(err, errForbidden):
		e.Condition = bosh.HostUnknown
	}
	return e
}

// endpoints returns where the server of a domain may be. A route is followed if
// it is one of those configured, and ignored otherwise, as XEP-0124 allows:
// clients send one unasked.
func (c *connector) endpoints(ctx context.Context, domain, route string) ([]endpoint, error) {
	if r, err := parseEndpoint(strings.TrimPrefix(route, "xmpp:")); err == nil {
		for _, allowed := range c.routes {
			if r.String() == allowed.String() {
				return []endpoint{allowed}, nil
			}
		}
	}
	if c.fixed != nil {
		return []endpoint{*c.fixed}, nil
	}
	if c.via != "" {
		return lookup(ctx, c.resolver, c.via)
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return nil, errNoService // it has no records, and nobody's certificate
	}
	return lookup(ctx, c.resolver, domain)
}

// open connects to an endpoint and encrypts the connection.
func (c *connector) open(ctx context.Context, e endpoint, domain string, client, local net.Addr) (conn net.Conn, err error) {
	addrs, err := c.addresses(ctx, e)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		if conn, err = c.dialOne(ctx, netip.AddrPortFrom(a, e.port), len(addrs)-i); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	secured, err := c.secure(ctx, conn, e, domain, client, local)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// addresses returns the addresses of an endpoint that may be connected to.
func (c *connector) addresses(ctx context.Context, e endpoint) (allowed []netip.Addr, err error) {
	addrs, err := c.resolver.LookupNetIP(ctx, "ip", e.host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if !e.trusted {
			if err = c.guard.check(a); err != nil {
				continue
			}
		}
		if (c.insecure || e.tls == noTLS) && !a.Unmap().IsLoopback() {
			err = errNotLoopback
			continue
		}
		allowed = append(allowed, a.Unmap())
	}
	if len(allowed) > 0 {
		return allowed, nil
	}
	if err == nil {
		err = &net.DNSError{Err: "no addresses", Name: e.host, IsNotFound: true}
	}
	return nil, err
}

// dialOne connects to the first of so many addresses, and leaves time for the
// others.
func (c *connector) dialOne(ctx context.Context, a netip.AddrPort, addrs int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && addrs > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(addrs))
		defer cancel()
	}
	return c.dial(ctx, "tcp", a.String())
}

// secure makes a connection ready for the client's stream.
func (c *connector) secure(ctx context.Context, conn net.Conn, e endpoint, domain string, client, local net.Addr) (net.Conn, error) {
	if c.proxyProto {
		deadline, _ := ctx.Deadline()
		conn.SetWriteDeadline(deadline)
		if _, err := conn.Write(proxyHeader(client, local)); err != nil {
			return nil, err
		}
		conn.SetWriteDeadline(time.Time{})
	}
	config := &tls.Config{
		ServerName:         domain,
		RootCAs:            c.roots,
		InsecureSkipVerify: c.insecure, // only on loopback, see addresses
		MinVersion:         tls.VersionTLS12,
	}
	switch e.tls {
	case directTLS:
		config.NextProtos = []string{"xmpp-client"}
		return handshake(ctx, conn, config)
	case startTLS:
		return upgrade(ctx, conn, domain, config)
	}
	return conn, nil
}
