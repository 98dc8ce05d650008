package bosh_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
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

// extremes are what a number among the Options comes to if it is zero, negative, or as
// large as can be.
type extremes struct{ zero, negative, large any }

// none is what there is to say of an option that is no number.
var none extremes

// longest is the longest duration.
const longest = 65535 * time.Second

// options has each field of Options. A number that is read in another way than zero
// for the default, negative for none and too large for the most says so in its comment.
var options = map[string]extremes{
	"Serve": none, "Admit": none, "AllowOrigin": none, "NoCORS": none, "ClientAddr": none, "Secure": none,
	"NoAcks": none, "Direct": none, "Logger": none, "Trace": none, "SeeOther": none, "Content": none,
	"AllowHeaders": none, "AllowCredentials": none, "PassUpgrades": none, "WhitespaceKeepalive": none, "Throttle": none, "Undelivered": none, "Proof": none,
	"Node": none, "Relay": none, // see TestNode
	"Framing": none, // see TestUnknownFraming

	"Wait":          {60 * second, 0 * second, longest},
	"Inactivity":    {75 * second, 0 * second, longest},
	"Polling":       {0 * second, -1 * time.Nanosecond, longest},
	"Pause":         {120 * second, 0 * second, longest},
	"Grace":         {5 * time.Millisecond, 0 * second, 50 * time.Millisecond},
	"CreateTimeout": {10 * second, 0 * second, longest},
	"ReadTimeout":   {15 * second, 0 * second, longest},
	"WriteTimeout":  {30 * second, 0 * second, longest},
	"ReportAfter":   {5 * second, -1 * time.Nanosecond, longest},

	"MinRate":      {1 << 10, 0, 1 << 30},
	"Hold":         {1, 0, 16},
	"MaxSessions":  {100_000, 0, math.MaxInt32},
	"MaxPerAddr":   {0, 0, math.MaxInt},
	"AddrPrefix":   {64, 128, 128},
	"MaxStreams":   {1, 1, 64},
	"Backlog":      {128, -1, math.MaxInt},
	"MaxBody":      {int64(1 << 20), int64(256 << 20), int64(256 << 20)},
	"MaxPayloads":  {4096, 0, 1 << 30},
	"MaxElement":   {4 << 20, 1 << 30, 1 << 30},
	"ReadBuffer":   {64 << 10, 0, 1 << 30},
	"WriteBuffer":  {256 << 10, 1 << 10, 1 << 30},
	"ReplayBuffer": {256 << 10, 0, 1 << 30},
	"MaxMemory":    {int64(1 << 30), int64(-1), int64(math.MaxInt64)},
	"MaxRepeats":   {10, -1, 1<<15 - 2},
	"Compress":     {0, -1, math.MaxInt},
}

// Every option can be zero, negative, and as large as can be: it comes to what its
// comment says, and a session goes on as ever. The one who adds an option adds a row.
func TestEveryOption(t *testing.T) {
	fields := reflect.TypeFor[bosh.Options]()
	require.Len(t, options, fields.NumField())
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		want, ok := options[name]
		require.True(t, ok, "%s has no row", name)
		kind := fields.Field(i).Type.Kind()
		if kind != reflect.Int && kind != reflect.Int64 {
			assert.Equal(t, none, want, name)
			continue
		}
		for value, want := range map[int64]any{0: want.zero, -1: want.negative, math.MaxInt64: want.large} {
			var o bosh.Options
			reflect.ValueOf(&o).Elem().Field(i).SetInt(value)
			assert.Equal(t, want, reflect.ValueOf(o.Effective()).Field(i).Interface(), "%s %d", name, value)
			if value != 0 {
				t.Run(fmt.Sprint(name, value), func(t *testing.T) { sessionWith(t, o) })
			}
		}
		var o bosh.Options
		reflect.ValueOf(&o).Elem().Field(i).SetInt(math.MinInt64)
		t.Run(name+" least", func(t *testing.T) { sessionWith(t, o) })
	}
}

// sessionWith has a session with o that is worth the name.
func sessionWith(t *testing.T, o bosh.Options) {
	o.Framing = bosh.Elements
	for _, direct := range []bool{false, true} {
		o.Direct = direct
		overVersions(t, o, 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
			p := dial(t, pipe, "ack='1'", "content='text/html'")
			s := accept(t, h)
			for range 3 {
				c := p.post(x("ping"))
				requireRead(t, s, x("ping"))
				write(t, s, x("pong"))
				text := c.Wait().Payload()
				for text == "" { // it polls
					text = p.send("").Payload()
				}
				assert.Equal(t, x("pong"), text)
			}
			held := p.post("")
			time.Sleep(patience - second)
			synctest.Wait()
			if held.Answered() { // it polls
				assert.NotEqual(t, "terminate", held.Wait().Attr("type"))
			}
			write(t, s, x("push"))
			if !held.Answered() {
				assert.Equal(t, x("push"), held.Wait().Payload())
			}
			requireEnd(t, p.send("", "type='terminate'"), "")
			assert.Equal(t, io.EOF, s.Session().Err())
			assert.NoError(t, h.Close())
		})
	}
}

// A negative Backlog, like a large one, refuses nobody, and takes no room before there
// is somebody.
func TestBacklogWithoutLimit(t *testing.T) {
	for _, backlog := range []int{-1, math.MinInt, math.MaxInt} {
		synctest.Test(t, func(t *testing.T) {
			h := newHandler(t, bosh.Options{Framing: bosh.Elements, Backlog: backlog})
			rt := boshtest.InMemory(h)
			var sids []string
			for range 300 {
				sids = append(sids, dial(t, rt).sid)
			}
			require.Len(t, sids, 300)
			for range sids {
				accept(t, h)
			}
		})
	}
}

// A framing that there is not is nobody's stream.
func TestUnknownFraming(t *testing.T) {
	for name, o := range map[string]bosh.Options{
		"of Options": {Framing: bosh.Opaque + 1},
		"of Admit": {Admit: func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			o.Framing = 255
			return ctx, nil
		}},
	} {
		var refused *bosh.Error
		o.Trace = &bosh.Trace{Refused: func(_ *http.Request, e *bosh.Error) { refused = e }}
		bubble(t, name, o, func(b *bench) {
			b.post(complete(stdCreation)).getsNow(condition(bosh.InternalServerError))
			assert.ErrorContains(b, refused, "XMPP, Elements or Opaque")
		})
	}
}

// New copies the Options.
func TestOptionsAreCopied(t *testing.T) {
	o := stdOptions
	o.Content, o.Logger = []string{"text/plain"}, slog.New(slog.DiscardHandler)
	h := newHandler(t, o)
	o.Content[0] = "image/png"
	r := boshtest.Exchange(t, boshtest.InMemory(h), creation("content='text/plain'"))
	assert.Equal(t, "text/plain", r.Header.Get("Content-Type"))
}
