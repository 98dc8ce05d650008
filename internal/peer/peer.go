// Package peer tells who is at the two ends of an HTTP request.
package peer

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"

	"github.com/gobosh/bosh/internal/pipeline"
)

// Addr returns the address that an [http.Request] calls remote. It is never nil.
func Addr(remote string) net.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return Name(remote)
}

// Plain returns a as Addr would, had it been made a string before.
func Plain(a net.Addr) net.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return Addr(a.String())
	}
	ap := t.AddrPort()
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
}

// Host returns the address a without its port.
func Host(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return string(t.IP)
	}
	s := a.String()
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return s
}

// Local returns the address that a request with the context ctx came in on. If
// that does not tell, it is host. It is never nil.
func Local(ctx context.Context, host string) net.Addr {
	if a, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		return pipeline.Unwrap(a)
	}
	return Name(host)
}

// Certificate returns the certificate that the client of a connection showed, or
// nil. The connection may be without TLS.
func Certificate(c *tls.ConnectionState) []byte {
	if c == nil || len(c.PeerCertificates) == 0 {
		return nil
	}
	return c.PeerCertificates[0].Raw
}

// A Name is an address that is not of TCP.
type Name string

func (Name) Network() string  { return "bosh" }
func (n Name) String() string { return string(n) }
