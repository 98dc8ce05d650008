package reqinfo

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gobosh/bosh/internal/pipeline"
)

// Addr returns the remote address in an [http.Request]. It is never nil.
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

// Owner returns the owner of the address a: the address itself without its port, in
// one form however it is written. For IPv6 it is the network of so many bits, since a
// client has all addresses of one.
func Owner(a net.Addr, bits int) string {
	ip, ok := addr(a)
	if !ok {
		s := a.String()
		if host, _, err := net.SplitHostPort(s); err == nil {
			return host
		}
		return s
	}
	if ip.Is6() {
		if network, err := ip.Prefix(bits); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// nat64 is the prefix of IPv4 addresses in networks of IPv6 alone. RFC 6052.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// addr returns the IP address in a, if there is one: one of IPv4 as such.
func addr(a net.Addr) (ip netip.Addr, ok bool) {
	if t, is := a.(interface{ AddrPort() netip.AddrPort }); is {
		ip = t.AddrPort().Addr()
	} else if s := a.String(); s != "" {
		ap, err := netip.ParseAddrPort(s)
		if ip = ap.Addr(); err != nil {
			ip, _ = netip.ParseAddr(strings.Trim(s, "[]"))
		}
	}
	if nat64.Contains(ip) {
		b := ip.As16()
		ip, _ = netip.AddrFromSlice(b[12:])
	}
	return ip.Unmap().WithZone(""), ip.IsValid()
}

// Local returns the local address of a request with the context ctx. If ctx does not
// have it, it is host. It is never nil.
func Local(ctx context.Context, host string) net.Addr {
	if a, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		return pipeline.Unwrap(a)
	}
	return Name(host)
}

// Certificate returns the certificate of a connection's client, or nil. The
// connection may be without TLS.
func Certificate(c *tls.ConnectionState) []byte {
	if c == nil || len(c.PeerCertificates) == 0 {
		return nil
	}
	return c.PeerCertificates[0].Raw
}

// A Name is an address other than TCP.
type Name string

func (Name) Network() string  { return "bosh" }
func (n Name) String() string { return string(n) }
