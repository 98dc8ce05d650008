package main

import (
	"errors"
	"fmt"
	"net/netip"
)

// A guard says which addresses the proxy may connect to for somebody who only
// named a domain. Without it a proxy would be a door into the network that it
// stands in.
type guard struct{ allowed []netip.Prefix }

var errForbidden = errors.New("address is not public, and not allowed by -allow-net")

// check returns an error for an address that is neither public nor allowed.
func (g guard) check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if !contains(g.allowed, a) && !public(a) {
		return fmt.Errorf("%v: %w", a, errForbidden)
	}
	return nil
}

// public reports whether an address is one of the open internet.
func public(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// special are the networks that netip takes for global but that are not (the
// registries of IANA), and those whose addresses stand for IPv4 addresses.
var special = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	"5f00::/16", "fec0::/10",
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
