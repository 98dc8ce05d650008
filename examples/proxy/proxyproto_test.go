package main

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A client that is unknown is nobody, and least of all this program.
func TestProxyHeader(t *testing.T) {
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	addr := netip.MustParseAddrPort
	v4 := addr("198.51.100.7:4660")
	six := "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	mapped := "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"
	for name, test := range map[string]struct {
		client netip.AddrPort
		local  net.Addr
		want   string
	}{
		"4":            {v4, tcp("127.0.0.1", 5280), "\x21\x11\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x34\x14\xa0"},
		"6":            {addr("[2001:db8::1]:1"), tcp("2001:db8::1", 2), "\x21\x21\x00\x24" + six + six + "\x00\x01\x00\x02"},
		"4 to 6":       {v4, tcp("2001:db8::1", 2), "\x21\x21\x00\x24" + mapped + "\xc6\x33\x64\x07" + six + "\x12\x34\x00\x02"},
		"6 to 4":       {addr("[2001:db8::1]:1"), tcp("198.51.100.7", 0x1234), "\x21\x21\x00\x24" + six + mapped + "\xc6\x33\x64\x07\x00\x01\x12\x34"},
		"to whom?":     {v4, nil, "\x21\x11\x00\x0c\xc6\x33\x64\x07\x00\x00\x00\x00\x12\x34\x00\x00"},
		"from whom":    {netip.AddrPort{}, tcp("127.0.0.1", 5280), "\x21\x11\x00\x0c\xc0\x00\x00\x08\x7f\x00\x00\x01\x00\x00\x14\xa0"},
		"6, from whom": {netip.AddrPort{}, tcp("::1", 5280), "\x21\x21\x00\x24" + mapped + "\xc0\x00\x00\x08" + strings.Repeat("\x00", 15) + "\x01\x00\x00\x14\xa0"},
		"zero":         {addr("0.0.0.0:0"), nil, "\x21\x11\x00\x0c\xc0\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00"},
		"unix":         {v4, &net.UnixAddr{Name: "@"}, "\x21\x11\x00\x0c\xc6\x33\x64\x07\x00\x00\x00\x00\x12\x34\x00\x00"},
		"mapped":       {addr("[::ffff:198.51.100.7]:4660"), nil, "\x21\x11\x00\x0c\xc6\x33\x64\x07\x00\x00\x00\x00\x12\x34\x00\x00"},
	} {
		assert.Equal(t, "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"+test.want, string(proxyHeader(test.client, test.local)), name)
	}
}
