package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

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
	host = strings.ToLower(host)
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) {
		d, err := parseDomain(host)
		if err != nil {
			return endpoint{}, fmt.Errorf("%q: %w", host, err)
		}
		host = d.host
	}
	return endpoint{host: host, port: uint16(n), tls: startTLS, trusted: true}, nil
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
	errNotServed   = errors.New("no -domain has it: the client's setting is wrong, or a -domain is missing")
	errOtherDomain = errors.New("a stream is begun anew for another domain")
	errTooMany     = errors.New("too many addresses")
	errNotLoopback = errors.New("without certificate checks or TLS only servers on a loopback address are connected to")
)

// slow is the error of a server that takes longer than a limit.
type slow time.Duration

func (s slow) Error() string {
	return "the server does not answer within " + inSeconds(time.Duration(s).Round(time.Millisecond))
}
func (slow) Timeout() bool { return true }

// A request is a client's creation request to the connector.
type request struct {
	domain domain
	route  string
	wait   time.Duration  // how long the client waits for an answer; 0 if it does not say
	client netip.AddrPort // invalid if it is unknown
	local  net.Addr       // where the client has connected to
}

// Bounds of the effort for one request.
const (
	maxAddresses = 4  // of an endpoint
	maxDials     = 10 // in all
)

// connect connects to the server for a client's domain, and encrypts the
// connection. It tells the server the client's address if configured so. The
// error is meant for the client.
func (c *connector) connect(ctx context.Context, q request) (net.Conn, error) {
	limit := c.timeout
	if q.wait > 0 {
		limit = min(limit, q.wait)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, slow(limit))
	defer cancel()
	if c.domains != nil && !c.domains[q.domain.host] {
		return nil, &bosh.Error{Condition: bosh.HostUnknown, Err: errNotServed}
	}
	endpoints, err := c.endpoints(ctx, q.domain.host, q.route)
	if err != nil {
		return nil, verdict(err)
	}
	a := &approach{connector: c, request: q, left: maxDials}
	var errs []error
	for len(endpoints) > 0 {
		won, failed := race(ctx, len(endpoints), endpointDelay, func(ctx context.Context, i int) (net.Conn, error) {
			return a.dial(ctx, endpoints[i])
		})
		errs = append(errs, failed...)
		if won.conn == nil {
			break
		}
		e := endpoints[won.i]
		conn, err := a.secure(ctx, won.conn, e, len(endpoints))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, fmt.Errorf("%v: %w", e, err))
		if final := (*streamError)(nil); errors.As(err, &final) {
			break // the right server, and what it says will not change
		}
		endpoints = slices.Delete(endpoints, won.i, won.i+1)
	}
	if len(errs) == 0 {
		errs = append(errs, context.Cause(ctx))
	}
	return nil, verdict(errs...)
}

// verdict returns the one error for the client out of several.
func verdict(errs ...error) error {
	e := &bosh.Error{Condition: bosh.HostUnknown, Err: joined(errs)}
	for _, err := range errs {
		var said *streamError
		switch {
		case errors.As(err, &said):
			e.Condition, e.Payload = bosh.RemoteStreamError, said.element
			return e
		case !notFound(err) && !errors.Is(err, errNoService) && !errors.Is(err, errForbidden):
			e.Condition = bosh.RemoteConnectionFailed
		}
	}
	return e
}

// joined are several errors, on one line.
type joined []error

func (j joined) Unwrap() []error { return j }

func (j joined) Error() string {
	texts := make([]string, len(j))
	for i, err := range j {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// endpoints returns where the server of a domain may be, by its name in the DNS. A route is followed if
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

// An approach connects to the endpoints of one request.
type approach struct {
	connector *connector
	request   request

	mu   sync.Mutex // Protects following.
	left int        // how often it may still dial
}

// dial connects to an endpoint.
func (a *approach) dial(ctx context.Context, e endpoint) (net.Conn, error) {
	addrs, err := a.connector.addresses(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", e, err)
	}
	won, errs := race(ctx, len(addrs), addressDelay, func(ctx context.Context, i int) (net.Conn, error) {
		if !a.mayDial() {
			return nil, errTooMany
		}
		return a.connector.dial(ctx, "tcp", netip.AddrPortFrom(addrs[i], e.port).String())
	})
	if won.conn != nil {
		return won.conn, nil
	}
	if len(errs) == 0 {
		errs = []error{won.err}
	}
	return nil, fmt.Errorf("%v: %w", e, joined(errs))
}

func (a *approach) mayDial() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left--
	return a.left >= 0
}

// addresses returns the allowed addresses of an endpoint.
func (c *connector) addresses(ctx context.Context, e endpoint) (allowed []netip.Addr, err error) {
	addrs, err := lookupHost(ctx, c.resolver, e)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		a = a.Unmap()
		if !e.trusted {
			if err = c.guard.check(a); err != nil {
				continue
			}
		}
		if (c.insecure || e.tls == noTLS) && !a.IsLoopback() {
			err = errNotLoopback
			continue
		}
		allowed = append(allowed, a)
	}
	if len(allowed) > 0 {
		allowed = interleave(allowed)
		return allowed[:min(len(allowed), maxAddresses)], nil
	}
	if err == nil {
		err = &net.DNSError{Err: "no addresses", Name: e.host, IsNotFound: true}
	}
	return nil, err
}

// minSecure is a server's least share of the time to encrypt a connection, if
// there is so much, though others wait for their turn.
const minSecure = 3 * time.Second

// secure makes a connection ready for the client's stream, and closes it on
// failure. The server has its share of the time if there are several.
func (a *approach) secure(ctx context.Context, conn net.Conn, e endpoint, servers int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && servers > 1 {
		var cancel context.CancelFunc
		limit := max(time.Until(deadline)/time.Duration(servers), minSecure)
		ctx, cancel = context.WithTimeoutCause(ctx, limit, slow(limit))
		defer cancel()
	}
	secured, err := a.connector.secure(ctx, conn, e, a.request)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// secure makes a connection ready for the client's stream.
func (c *connector) secure(ctx context.Context, conn net.Conn, e endpoint, q request) (net.Conn, error) {
	if c.proxyProto {
		deadline, _ := ctx.Deadline()
		conn.SetWriteDeadline(deadline)
		if _, err := conn.Write(proxyHeader(q.client, q.local)); err != nil {
			return nil, err
		}
		conn.SetWriteDeadline(time.Time{})
	}
	config := &tls.Config{
		ServerName:         q.domain.host,
		RootCAs:            c.roots,
		InsecureSkipVerify: c.insecure, // only on loopback, see addresses
		MinVersion:         tls.VersionTLS12,
	}
	switch e.tls {
	case directTLS:
		config.NextProtos = []string{"xmpp-client"}
		return handshake(ctx, conn, config)
	case startTLS:
		return upgrade(ctx, conn, q.domain.name, config)
	}
	return conn, nil
}
