package main

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// The header of version 2 of the PROXY protocol.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyLocal     = 0x20 // version 2, command LOCAL
	proxyProxy     = 0x21 // version 2, command PROXY
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
)

// proxyHeader returns what tells a server by the PROXY protocol that a
// connection is really one from client to local. If the client's address is
// not of TCP it says that there is nothing to tell.
func proxyHeader(client, local net.Addr) []byte {
	b := []byte(proxySignature)
	src, ok := addrPort(client)
	if !ok {
		return append(b, proxyLocal, 0, 0, 0)
	}
	dst, _ := addrPort(local)
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
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	if a == nil {
		return netip.AddrPort{}, false
	}
	ap, err := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), err == nil
}
