package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A frontage knows the HTTP proxies in front of this program: whose word on the
// client's address counts, and in which header they put it. Only one header is
// believed, since a proxy that sets one may pass the other on as a client sent
// it.
type frontage struct {
	trusted []netip.Prefix
	rfc7239 bool // the header is Forwarded, not X-Forwarded-For
}

// A hop is what a proxy says of a request that it got.
type hop struct {
	from   netip.AddrPort // its port is 0 if it was not told; invalid if the whole is unknown
	secure bool
}

// clientAddr returns the address of a request's client.
func (f frontage) clientAddr(r *http.Request) net.Addr {
	h := f.client(r)
	if !h.from.IsValid() {
		return nil // the library knows what to do
	}
	return net.TCPAddrFromAddrPort(h.from)
}

// secure reports whether the client's request came over TLS to the first
// trusted proxy, or to us.
func (f frontage) secure(r *http.Request) bool { return f.client(r).secure }

// client follows the chain of trusted proxies back to the first one, and
// returns what that one says of the request.
func (f frontage) client(r *http.Request) hop {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	last := hop{from: peer, secure: r.TLS != nil}
	if !contains(f.trusted, peer.Addr()) {
		return last
	}
	var said []hop
	if f.rfc7239 {
		said = forwarded(r.Header.Values("Forwarded"))
	} else {
		said = xForwarded(r.Header.Values("X-Forwarded-For"), r.Header.Values("X-Forwarded-Proto"))
	}
	for i := len(said) - 1; i >= 0; i-- {
		if !said[i].from.IsValid() {
			break // a proxy that keeps it to itself, or nonsense: it says nothing of those before
		}
		last = said[i]
		if !contains(f.trusted, last.from.Addr()) {
			break
		}
	}
	return last
}

// xForwarded reads X-Forwarded-For and X-Forwarded-Proto, each a list to which
// each proxy appends. The second one is often set by one proxy only: then the
// nearest one's word counts for all.
func xForwarded(fors, protos []string) (hops []hop) {
	proto := list(protos, ',')
	addrs := list(fors, ',')
	for i, text := range addrs {
		h := hop{from: parseNode(text)}
		if len(proto) == len(addrs) {
			h.secure = isSecure(proto[i])
		} else if len(proto) > 0 {
			h.secure = isSecure(proto[len(proto)-1])
		}
		hops = append(hops, h)
	}
	return hops
}

// forwarded reads the header Forwarded. RFC 7239.
func forwarded(values []string) (hops []hop) {
	for _, element := range list(values, ',') {
		var h hop
		for _, pair := range list([]string{element}, ';') {
			name, value, _ := strings.Cut(pair, "=")
			value = unquote(strings.TrimSpace(value))
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "for":
				h.from = parseNode(value)
			case "proto":
				h.secure = isSecure(value)
			}
		}
		hops = append(hops, h)
	}
	return hops
}

// list splits header values at a separator outside quotes.
func list(values []string, sep byte) (items []string) {
	for _, v := range values {
		start, quoted := 0, false
		for i := 0; i <= len(v); i++ {
			switch {
			case i == len(v) || v[i] == sep && !quoted:
				items = append(items, strings.TrimSpace(v[start:i]))
				start = i + 1
			case v[i] == '"':
				quoted = !quoted
			case v[i] == '\\' && quoted:
				i = min(i+1, len(v)-1)
			}
		}
	}
	return items
}

// unquote takes the quotes off a quoted-string.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isSecure(proto string) bool {
	return strings.EqualFold(proto, "https") || strings.EqualFold(proto, "wss")
}

// parseNode parses an address with or without port, IPv6 with or without
// brackets.
func parseNode(s string) netip.AddrPort {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return clean(ap)
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}
	}
	return clean(netip.AddrPortFrom(a, 0))
}

func clean(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
