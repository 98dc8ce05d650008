package bosh_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stdCreation is the request that creates std's session.
const stdCreation = "<body rid='1000' " + stdAttrs + "/>"

// How many sessions there may be, and how much a request may carry.
func TestLimits(t *testing.T) {
	bubble(t, "sessions in all", with(func(o *bosh.Options) { o.MaxSessions = 2 }), func(b *bench) {
		first := b.create()
		b.create()
		b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
		first.send(1001, "type='terminate'").getsNow(end)
		b.create()
	})

	host := "192.0.2.1"
	perAddr := with(func(o *bosh.Options) {
		o.MaxPerAddr = 1
		o.ClientAddr = func(*http.Request) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: 99} }
	})
	bubble(t, "sessions of one address", perAddr, func(b *bench) {
		b.create()
		b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
		host = "192.0.2.2"
		b.create()
	})

	// one has each of them ask for a session, of which there may be one for each
	// that counts by itself.
	one := func(prefix int, addrs ...net.Addr) (granted int) {
		next := 0
		perOwner := with(func(o *bosh.Options) {
			o.MaxPerAddr, o.AddrPrefix = 1, prefix
			o.ClientAddr = func(*http.Request) net.Addr { return addrs[next] }
		})
		bubble(t, fmt.Sprint("sessions of ", addrs, prefix), perOwner, func(b *bench) {
			for next = range addrs {
				c := b.post(complete(stdCreation))
				b.wait(0)
				if c.body().Attr("sid") != "" {
					granted++
				} else {
					c.getsNow(condition(bosh.PolicyViolation))
				}
			}
		})
		return granted
	}
	ip := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 5} }
	short := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 6}
	assert.Equal(t, 1, one(0, short, ip("192.0.2.1"), ip("::ffff:192.0.2.1"), &net.IPAddr{IP: short.IP}), "one address, however it is written")
	assert.Equal(t, 2, one(0, ip("192.0.2.1"), ip("192.0.2.2")))
	assert.Equal(t, 1, one(0, ip("2001:db8::1"), ip("2001:db8::2"), ip("2001:db8:0:0:ffff::")), "a /64 is one client")
	assert.Equal(t, 2, one(0, ip("2001:db8::1"), ip("2001:db8:0:1::1")))
	assert.Equal(t, 1, one(48, ip("2001:db8::1"), ip("2001:db8:0:1::1")))
	assert.Equal(t, 2, one(48, ip("192.0.2.1"), ip("192.0.2.2")), "the prefix is for IPv6")
	assert.Equal(t, 2, one(-1, ip("2001:db8::1"), ip("2001:db8::2")))
	assert.Equal(t, 2, one(999, ip("2001:db8::1"), ip("2001:db8::2")))

	refusing := with(func(o *bosh.Options) {
		o.MaxSessions = 1
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if op.To == "bad" {
				return nil, &bosh.Error{Condition: bosh.HostUnknown}
			}
			return ctx, nil
		}
	})
	bubble(t, "a session that is refused takes no place", refusing, func(b *bench) {
		b.post(complete("<body rid='1' to='bad' ver='1.11'/>")).getsNow(condition(bosh.HostUnknown))
		b.create()
	})

	std(t, "elements of a request", func(b *bench, s *session) {
		held := s.send(1001, strings.Repeat("<a/>", 4096))
		held.waits()
		over := s.send(1002, strings.Repeat("<a/>", 4097))
		held.getsNow(condition(bosh.OtherRequest))
		over.getsNow(condition(bosh.BadRequest))
	})
}

// SECURITY.md has every limit.
func TestEveryLimit(t *testing.T) {
	doc, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	options := reflect.TypeFor[bosh.Options]()
	for i := range options.NumField() {
		name, kind := options.Field(i).Name, options.Field(i).Type
		switch {
		case name == "Framing" || name == "Grace" || name == "ReportAfter" || name == "Compress": // bound nothing of a client's
		case kind.Kind() == reflect.Int, kind.Kind() == reflect.Int64:
			assert.Regexp(t, "\n\\|[^|]*`"+name+"`[^|]*\\|", string(doc))
		}
	}
}
