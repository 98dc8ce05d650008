package main

import (
	"errors"
	"fmt"
	"net/netip"
)

// A guard says whether the proxy may connect to an address for a client's mere
// domain. Without it a proxy would be a door into its own network.
type guard struct{ allowed []netip.Prefix }

var errForbidden = errors.New("address is not public, and not allowed by -allow-net")

// check returns an error for an address neither public nor allowed.
func (g guard) check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if !contains(g.allowed, a) && !public(a) {
		return fmt.Errorf("%v: %w", a, errForbidden)
	}
	return nil
}

// public reports whether an address is one of the open internet.
func public(a netip.Addr) bool {
	if a.Is6() && !global.Contains(a) {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast()
}

// global is the open internet's part of IPv6. The rest has other purposes, now
// or later; some of it stands for IPv4 addresses.
var global = netip.MustParsePrefix("2000::/3")

// special are other networks, or networks without servers: the registries of
// IANA for special purposes, and the addresses of clouds' services for their
// own machines.
var special = prefixes(
	"0.0.0.0/8",         // this network
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // shared by the customers of a provider; 100.100.100.200 is Alibaba's
	"127.0.0.0/8",       // loopback
	"168.63.129.16/32",  // Azure's own
	"169.254.0.0/16",    // link-local; most clouds' own
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments; 192.0.0.192 is Oracle's
	"192.0.2.0/24",      // documentation
	"192.31.196.0/24",   // AS112
	"192.52.193.0/24",   // AMT
	"192.80.8.124/32",   // Equinix Metal's own
	"192.88.99.0/24",    // 6to4 relays
	"192.168.0.0/16",    // private
	"192.175.48.0/24",   // AS112
	"198.18.0.0/15",     // benchmarks
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved; broadcast
	"2001::/23",         // protocol assignments; Teredo, which stands for IPv4
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4, which stands for IPv4
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, text := range texts {
		ps = append(ps, netip.MustParsePrefix(text))
	}
	return ps
}

// contains reports whether one of the prefixes contains an address.
func contains(ps []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
