package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A frontage knows the HTTP proxies in front of this program: the trusted ones,
// and their header with the client's address. Only one header is believed,
// since a proxy may set one and pass the other on from the client.
type frontage struct {
	trusted []netip.Prefix
	rfc7239 bool // the header is Forwarded, not X-Forwarded-For
}

// A hop is a proxy's account of a request to it.
type hop struct {
	from   netip.AddrPort // its port is 0 if it was not told; invalid if the whole is unknown
	secure bool
}

// unknown is the address of a client whose address nobody has told.
type unknown struct{}

func (unknown) Network() string { return "unknown" }
func (unknown) String() string  { return "unknown" }

// addr returns the source address of a request.
func (h hop) addr() net.Addr {
	if !h.from.IsValid() {
		return unknown{} // nil would stand for the connection's
	}
	return net.TCPAddrFromAddrPort(h.from)
}

// host returns the address without its port, for the log.
func (h hop) host() string {
	if !h.from.IsValid() {
		return unknown{}.String()
	}
	return h.from.Addr().String()
}

// clientAddr returns the address of a request's client. It returns nil for the
// address of the connection, if this is not IP.
func (f frontage) clientAddr(r *http.Request) net.Addr {
	if _, err := netip.ParseAddrPort(r.RemoteAddr); err != nil {
		return nil
	}
	return f.client(r).addr()
}

// secure reports whether the client's request came over TLS to the first
// trusted proxy, or to us.
func (f frontage) secure(r *http.Request) bool { return f.client(r).secure }

// client follows the chain of trusted proxies back to the first one, and
// returns its account of the request. If a proxy does not give the source of a
// request, or not legibly, the source is unknown. It is never the proxy's own
// address: a server may trust that one.
func (f frontage) client(r *http.Request) hop {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	last := hop{from: clean(peer), secure: r.TLS != nil}
	if !contains(f.trusted, last.from.Addr()) {
		return last
	}
	said := newXForwarded(r.Header).last
	if f.rfc7239 {
		said = forwarded{newList(r.Header.Values("Forwarded"), cutElement)}.last
	}
	last.from = netip.AddrPort{}
	for h, ok := said(); ok; h, ok = said() {
		last = h
		if !last.from.IsValid() || !contains(f.trusted, last.from.Addr()) {
			break
		}
	}
	return last
}

// A list is a header whose values are lists. It is read from the end: a proxy
// appends to it and does not vouch for earlier items, so they may be anything.
// An empty item counts for nothing (RFC 9110, section 5.6.1).
type list struct {
	values []string
	cut    func(string) (before, last string)
}

func newList(values []string, cut func(string) (before, last string)) *list {
	return &list{append([]string(nil), values...), cut}
}

// last takes the last item.
func (l *list) last() (item string, ok bool) {
	for len(l.values) > 0 {
		end := &l.values[len(l.values)-1]
		*end, item = l.cut(*end)
		if *end == "" {
			l.values = l.values[:len(l.values)-1]
		}
		if item = strings.TrimSpace(item); item != "" {
			return item, true
		}
	}
	return "", false
}

// count returns how many items are left.
func (l *list) count() (n int) {
	for rest := newList(l.values, l.cut); ; n++ {
		if _, ok := rest.last(); !ok {
			return n
		}
	}
}

// cutItem cuts the last item from a list without quotes.
func cutItem(s string) (before, last string) {
	i := strings.LastIndexByte(s, ',')
	return s[:max(i, 0)], s[i+1:]
}

// cutElement cuts the last item from a list. Commas between quotes do not
// count. An open quote in earlier items does no harm: the last item is from a
// trusted proxy and closes all of its own.
func cutElement(s string) (before, last string) {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch {
		case s[i] == '"' && (!quoted || !escaped(s, i)):
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return "", s
}

// escaped reports whether there is an odd number of backslashes before s[i].
func escaped(s string, i int) bool {
	n := len(s[:i]) - len(strings.TrimRight(s[:i], `\`))
	return n%2 == 1
}

// An xForwarded reads X-Forwarded-For and X-Forwarded-Proto. Each is a list,
// and each proxy appends to it. The second one is often set by one proxy only:
// then the nearest one's word counts for all.
type xForwarded struct {
	fors, protos *list
	pairs        bool // there is one of the second for each of the first
	secure       bool // what the nearest one says
}

func newXForwarded(header http.Header) *xForwarded {
	x := &xForwarded{
		fors:   newList(header.Values("X-Forwarded-For"), cutItem),
		protos: newList(header.Values("X-Forwarded-Proto"), cutItem),
	}
	x.pairs = x.fors.count() == x.protos.count()
	if !x.pairs {
		proto, _ := x.protos.last()
		x.secure = isSecure(proto)
	}
	return x
}

// last takes the last hop.
func (x *xForwarded) last() (hop, bool) {
	text, ok := x.fors.last()
	h := hop{from: parseNode(text), secure: x.secure}
	if x.pairs {
		proto, _ := x.protos.last()
		h.secure = isSecure(proto)
	}
	return h, ok
}

// A forwarded reads the header Forwarded. RFC 7239.
type forwarded struct{ elements *list }

// last takes the last hop.
func (f forwarded) last() (h hop, ok bool) {
	element, ok := f.elements.last()
	if !ok {
		return hop{}, false
	}
	seen := make(map[string]bool)
	for more := true; more; {
		var name, value string
		if name, value, element, more, ok = cutPair(element); !ok || seen[name] {
			return hop{}, true // nobody knows what it says
		}
		seen[name] = true
		switch name {
		case "for":
			h.from = parseNode(value)
		case "proto":
			h.secure = isSecure(value)
		}
	}
	return h, true
}

// cutPair cuts the first pair from an element of Forwarded. It reports whether
// there are more, and whether it is a pair at all. RFC 7239, section 4, wants
// some values quoted, but not all proxies quote them.
func cutPair(s string) (name, value, rest string, more, ok bool) {
	name, s, ok = strings.Cut(s, "=")
	name = strings.ToLower(strings.Trim(name, "; \t"))
	s = strings.TrimLeft(s, " \t")
	if !ok || !isToken(name) {
		return "", "", "", false, false
	}
	if strings.HasPrefix(s, `"`) {
		value, s, ok = cutQuoted(s)
	} else {
		end := strings.IndexByte(s, ';')
		if end < 0 {
			end = len(s)
		}
		value, s = strings.TrimRight(s[:end], " \t"), s[end:]
		ok = !strings.ContainsAny(value, "\"\\ \t")
	}
	s = strings.TrimLeft(s, " \t")
	if !ok || s != "" && s[0] != ';' {
		return "", "", "", false, false
	}
	s = strings.TrimLeft(s, "; \t")
	return name, value, s, s != "", true
}

// cutQuoted cuts a quoted string from the start of s.
func cutQuoted(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// isToken reports whether s is a token. RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

func isSecure(proto string) bool {
	return strings.EqualFold(proto, "https") || strings.EqualFold(proto, "wss")
}

// parseNode parses an address with or without port, IPv6 with or without
// brackets. It is invalid if s is none. An obfuscated port, as _http, is not
// known. RFC 7239, section 6.
func parseNode(s string) netip.AddrPort {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return clean(ap)
	}
	if i := strings.LastIndex(s, ":_"); i >= 0 && isToken(s[i+1:]) {
		s = s[:i]
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		if s = s[1 : len(s)-1]; !strings.Contains(s, ":") {
			return netip.AddrPort{}
		}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}
	}
	return clean(netip.AddrPortFrom(a, 0))
}

// clean returns an address in its only form, or an invalid one if no client can
// have it.
func clean(ap netip.AddrPort) netip.AddrPort {
	a := ap.Addr().Unmap().WithZone("")
	if !a.IsValid() || a.IsUnspecified() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, ap.Port())
}
