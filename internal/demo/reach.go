package demo

import (
	"net"
	"net/netip"
	"strconv"
)

// Hosts returns the names and addresses of a listener. For a listener on all
// addresses of the machine these are "localhost", and then each address known to
// others.
func Hosts(listening net.Addr) []string {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok {
		return nil
	}
	addr, ok := netip.AddrFromSlice(tcp.IP)
	if addr = addr.Unmap(); ok && !addr.IsUnspecified() {
		return []string{addr.WithZone(tcp.Zone).String()}
	}
	hosts, v6 := []string{"localhost"}, []string(nil)
	all, _ := net.InterfaceAddrs() // without any, localhost remains
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch ip := prefix.Addr().Unmap(); {
		case ip.IsLoopback(), ip.IsLinkLocalUnicast(): // no browser takes a zone
		case ip.Is4():
			hosts = append(hosts, ip.String())
		case !addr.Is4(): // 0.0.0.0 has none of IPv6
			v6 = append(v6, ip.String())
		}
	}
	return append(hosts, v6...)
}

// URLs returns the addresses of the root of a web server.
func URLs(scheme string, listening net.Addr) []string {
	var urls []string
	for _, host := range Hosts(listening) {
		urls = append(urls, scheme+"://"+net.JoinHostPort(host, port(listening))+"/")
	}
	return urls
}

func port(a net.Addr) string {
	return strconv.Itoa(a.(*net.TCPAddr).Port)
}

// Loopback reports whether a host from Hosts is of this machine alone.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
