package reqinfo

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A text is an address that is known by its text.
type text string

func (text) Network() string  { return "text" }
func (a text) String() string { return string(a) }

func TestOwner(t *testing.T) {
	ip4, ip16 := net.IPv4(192, 0, 2, 1).To4(), net.IPv4(192, 0, 2, 1).To16()
	for _, same := range [][]net.Addr{
		{
			&net.TCPAddr{IP: ip4, Port: 1}, &net.TCPAddr{IP: ip16, Port: 2}, &net.UDPAddr{IP: ip16}, &net.IPAddr{IP: ip4}, &net.IPAddr{IP: ip16},
			text("192.0.2.1"), text("192.0.2.1:80"), text("[::ffff:192.0.2.1]:80"), text("::ffff:c000:201"), Name("192.0.2.1:9"),
			&net.TCPAddr{IP: net.ParseIP("64:ff9b::c000:201")},
		},
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)}},
		{
			&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1}, &net.TCPAddr{IP: net.ParseIP("2001:db8::ffff:1:2:3")},
			text("[2001:db8::9]:80"), text("[2001:db8::9]"), text("2001:DB8:0:0::1"), &net.IPAddr{IP: net.ParseIP("2001:db8::8"), Zone: "eth0"},
		},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8:0:1::1")}},
		{text("[fe80::1%eth0]:80"), text("[fe80::1%eth1]:80"), text("fe80::2%1")},
		{text("pipe"), text("pipe:80")},
		{(*net.TCPAddr)(nil), (*net.IPAddr)(nil), text("<nil>")},
		{text(""), text(":80")},
	} {
		for _, a := range same {
			assert.Equal(t, Owner(same[0], 64), Owner(a, 64), "%v", a)
		}
	}
	a, b := text("[2001:db8::1]:80"), text("[2001:db8::2]:80")
	assert.NotEqual(t, Owner(a, 128), Owner(b, 128))
	assert.Equal(t, Owner(a, 48), Owner(text("2001:db8:0:ffff::1"), 48))
	assert.NotEqual(t, Owner(a, 64), Owner(text("192.0.2.1"), 64))
}
