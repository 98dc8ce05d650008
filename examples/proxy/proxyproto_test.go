package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestProxyHeader(t *testing.T) {
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	v4 := tcp("198.51.100.7", 0x1234)
	six := "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	mapped := "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"
	for name, test := range map[string]struct {
		client, local net.Addr
		want          string
	}{
		"4":         {v4, tcp("127.0.0.1", 5280), "\x21\x11\x00\x0c\xc6\x33\x64\x07\x7f\x00\x00\x01\x12\x34\x14\xa0"},
		"6":         {tcp("2001:db8::1", 1), tcp("2001:db8::1", 2), "\x21\x21\x00\x24" + six + six + "\x00\x01\x00\x02"},
		"4 to 6":    {v4, tcp("2001:db8::1", 2), "\x21\x21\x00\x24" + mapped + "\xc6\x33\x64\x07" + six + "\x12\x34\x00\x02"},
		"6 to 4":    {tcp("2001:db8::1", 1), v4, "\x21\x21\x00\x24" + six + mapped + "\xc6\x33\x64\x07\x00\x01\x12\x34"},
		"to whom?":  {v4, nil, "\x21\x11\x00\x0c\xc6\x33\x64\x07\x00\x00\x00\x00\x12\x34\x00\x00"},
		"from whom": {&net.UnixAddr{Name: "@"}, v4, "\x20\x00\x00\x00"},
		"nobody":    {nil, nil, "\x20\x00\x00\x00"},
	} {
		assert.Equal(t, "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"+test.want, string(proxyHeader(test.client, test.local)), name)
	}
}
