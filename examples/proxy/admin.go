package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hosts are the names by which the admin port answers, besides addresses and
// localhost. A page of any other name is an attack: its owner points the name
// here, and an operator's browser then reads and ends sessions (DNS rebinding).
type hosts map[string]bool

// adminHosts returns the given names and the name of the listen address.
func adminHosts(addr string, names []string) hosts {
	known := make(hosts)
	host, _, _ := net.SplitHostPort(addr)
	for _, name := range append(names, host) {
		known[canonicalHost(name)] = true
	}
	return known
}

// canonicalHost returns a name as a browser sends it.
func canonicalHost(name string) string {
	if d, err := parseDomain(name); err == nil {
		return d.host
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// allow reports whether a request to a host may be answered.
func (h hosts) allow(host string) bool {
	if host == "" {
		return true // HTTP/1.0, which no browser speaks
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		return true // nobody can point that elsewhere
	}
	host = canonicalHost(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || h[host]
}

// only serves requests to the names alone.
func (h hosts) only(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allow(r.Host) {
			http.Error(w, "This is not served by that name. An operator can allow it by -admin-host.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// reachable reports whether others than this machine can connect to an address.
func reachable(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && !t.IP.IsLoopback()
}
