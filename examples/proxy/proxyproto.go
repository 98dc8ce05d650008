package main

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// The header of version 2 of the PROXY protocol.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyProxy     = 0x21 // version 2, command PROXY
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
)

// nobody stands for a client whose address is unknown. It is the address for
// hosts without one (RFC 7600): no host has it, and no server trusts it. The
// protocol's own ways to leave the address out would not do. With LOCAL, and
// mostly with UNSPEC, the server takes the client for this program, and may
// trust it. UNSPEC has ejabberd 23.01 close its port.
var nobody = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 0, 8}), 0)

// proxyHeader returns the header of the PROXY protocol for a connection from
// client to local. Either may be unknown.
func proxyHeader(client netip.AddrPort, local net.Addr) []byte {
	b := []byte(proxySignature)
	src, dst := clean(client), addrPort(local)
	if !src.IsValid() {
		src = nobody
	}
	if src.Addr().Is4() && (dst.Addr().Is4() || !dst.IsValid()) {
		b = append(b, proxyProxy, proxyTCP4, 0, 12)
		s, d := src.Addr().As4(), [4]byte{}
		if dst.IsValid() {
			d = dst.Addr().As4()
		}
		b = append(append(b, s[:]...), d[:]...)
	} else {
		b = append(b, proxyProxy, proxyTCP6, 0, 36)
		s, d := src.Addr().As16(), [16]byte{}
		if dst.IsValid() {
			d = dst.Addr().As16()
		}
		b = append(append(b, s[:]...), d[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, src.Port())
	return binary.BigEndian.AppendUint16(b, dst.Port())
}

// addrPort returns the IP address and port of a, if it has any.
func addrPort(a net.Addr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
