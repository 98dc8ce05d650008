package bosh_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/framing"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/gobosh/bosh/internal/wire"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// constants returns the typed constants of a file with their values as written. Constants
// of a list have the empty string.
func constants(t *testing.T, path, typ string) (names, values []string) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	require.NoError(t, err)
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		current := ""
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if id, ok := v.Type.(*ast.Ident); ok {
				current = id.Name
			} else if len(v.Values) > 0 {
				current = ""
			}
			if current != typ {
				continue
			}
			value := ""
			if len(v.Values) > 0 {
				if lit, ok := v.Values[0].(*ast.BasicLit); ok {
					value = lit.Value
				}
			}
			names, values = append(names, v.Names[0].Name), append(values, value)
		}
	}
	return names, values
}

// The application can use every condition of the protocol, and no other.
func TestConditionsAreThoseOfTheProtocol(t *testing.T) {
	for _, path := range []string{"bosh.go", "boshclient/errors.go"} {
		var has []string
		_, values := constants(t, path, "Condition")
		for _, v := range values {
			name, err := strconv.Unquote(v)
			require.NoError(t, err)
			has = append(has, name)
		}
		assert.ElementsMatch(t, slices.Collect(wire.Conditions()), has, path)
	}
}

// Every Framing has a name, and can be had.
func TestFramingsAreKnown(t *testing.T) {
	names, _ := constants(t, "bosh.go", "Framing")
	require.NotEmpty(t, names)
	for i, name := range names {
		assert.Equal(t, name, bosh.Framing(i).String())
		assert.NotNil(t, framing.Named(name), "a session with %s cannot be moved", name)
	}
	assert.Len(t, framing.All, len(names))
	ofClients, _ := constants(t, "boshclient/options.go", "Framing")
	assert.Equal(t, names, ofClients, "clients know the same")
	for i, name := range ofClients {
		assert.Equal(t, name, boshclient.Framing(i).String())
	}
}

// How many sessions there may be, and how much a request may carry.
func TestLimits(t *testing.T) {
	Bubble(t, "sessions in all", With(func(o *bosh.Options) { o.MaxSessions = 2 }), func(b *Harness) {
		first := b.Create()
		b.Create()
		b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.PolicyViolation))
		first.Send(1001, "type='terminate'").GetsNow(End)
		b.Create()
	})

	host := "192.0.2.1"
	perAddr := With(func(o *bosh.Options) {
		o.MaxPerAddr = 1
		o.ClientAddr = func(*http.Request) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: 99} }
	})
	Bubble(t, "sessions of one address", perAddr, func(b *Harness) {
		b.Create()
		b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.PolicyViolation))
		host = "192.0.2.2"
		b.Create()
	})

	// one has each of them ask for a session. Each address has one.
	one := func(prefix int, addrs ...net.Addr) (granted int) {
		next := 0
		perOwner := With(func(o *bosh.Options) {
			o.MaxPerAddr, o.AddrPrefix = 1, prefix
			o.ClientAddr = func(*http.Request) net.Addr { return addrs[next] }
		})
		Bubble(t, fmt.Sprint("sessions of ", addrs, prefix), perOwner, func(b *Harness) {
			for next = range addrs {
				c := b.Post(Complete(StdCreation))
				b.Wait(0)
				if c.Body().Attr("sid") != "" {
					granted++
				} else {
					c.GetsNow(Condition(bosh.PolicyViolation))
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

	refusing := With(func(o *bosh.Options) {
		o.MaxSessions = 1
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if op.To == "bad" {
				return nil, &bosh.Error{Condition: bosh.HostUnknown}
			}
			return ctx, nil
		}
	})
	Bubble(t, "a session that is refused takes no place", refusing, func(b *Harness) {
		b.Post(Complete("<body rid='1' to='bad' ver='1.11'/>")).GetsNow(Condition(bosh.HostUnknown))
		b.Create()
	})

	Std(t, "elements of a request", func(b *Harness, s *Session) {
		held := s.Send(1001, strings.Repeat("<a/>", 4096))
		held.Waits()
		over := s.Send(1002, strings.Repeat("<a/>", 4097))
		held.GetsNow(Condition(bosh.OtherRequest))
		over.GetsNow(Condition(bosh.BadRequest))
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

// none is for an option without a number.
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

	"Wait":          {60 * Second, 0 * Second, longest},
	"Inactivity":    {75 * Second, 0 * Second, longest},
	"Polling":       {0 * Second, -1 * time.Nanosecond, longest},
	"Pause":         {120 * Second, 0 * Second, longest},
	"Grace":         {5 * time.Millisecond, 0 * Second, 50 * time.Millisecond},
	"CreateTimeout": {10 * Second, 0 * Second, longest},
	"ReadTimeout":   {15 * Second, 0 * Second, longest},
	"WriteTimeout":  {30 * Second, 0 * Second, longest},
	"ReportAfter":   {5 * Second, -1 * time.Nanosecond, longest},

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

// Every option can be zero, negative, and as large as can be: it comes to the value in its
// comment, and a session goes on as ever. A new option needs a row.
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
		OverVersions(t, o, 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
			p := Dial(t, pipe, "ack='1'", "content='text/html'")
			s := Accept(t, h)
			for range 3 {
				c := p.Post(X("ping"))
				RequireRead(t, s, X("ping"))
				Write(t, s, X("pong"))
				text := c.Wait().Payload()
				for text == "" { // it polls
					text = p.Send("").Payload()
				}
				assert.Equal(t, X("pong"), text)
			}
			held := p.Post("")
			time.Sleep(Patience - Second)
			synctest.Wait()
			if held.Answered() { // it polls
				assert.NotEqual(t, "terminate", held.Wait().Attr("type"))
			}
			Write(t, s, X("push"))
			if !held.Answered() {
				assert.Equal(t, X("push"), held.Wait().Payload())
			}
			RequireEnd(t, p.Send("", "type='terminate'"), "")
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
			h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Backlog: backlog})
			rt := boshtest.InMemory(h)
			var sids []string
			for range 300 {
				sids = append(sids, Dial(t, rt).Sid)
			}
			require.Len(t, sids, 300)
			for range sids {
				Accept(t, h)
			}
		})
	}
}

// A framing that there is not is nobody's stream.
func TestUnknownFraming(t *testing.T) {
	for name, o := range map[string]bosh.Options{
		"of Options": {Framing: bosh.Framing(len(framing.All))},
		"of Admit": {Admit: func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			o.Framing = 255
			return ctx, nil
		}},
	} {
		var refused *bosh.Error
		o.Trace = &bosh.Trace{Refused: func(_ *http.Request, e *bosh.Error) { refused = e }}
		Bubble(t, name, o, func(b *Harness) {
			b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.InternalServerError))
			assert.ErrorContains(b, refused, fmt.Sprint("use one of ", framing.All))
		})
	}
}

// New copies the Options.
func TestOptionsAreCopied(t *testing.T) {
	o := StdOptions
	o.Content, o.Logger = []string{"text/plain"}, slog.New(slog.DiscardHandler)
	h := NewHandler(t, o)
	o.Content[0] = "image/png"
	r := boshtest.Exchange(t, boshtest.InMemory(h), Creation("content='text/plain'"))
	assert.Equal(t, "text/plain", r.Header.Get("Content-Type"))
}
