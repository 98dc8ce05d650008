package handler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const refusedMessage = "bosh: session refused"

// Every refusal is logged and traced, with what there is to know.
func TestRefused(t *testing.T) {
	database := errors.New("no database")
	admit := func(f func(*bosh.Opening) error) func(*bosh.Options) {
		return func(o *bosh.Options) {
			o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
				return ctx, f(op)
			}
		}
	}
	first := func(t *testing.T, h *bosh.Handler, rt http.RoundTripper) { Dial(t, rt) }
	tests := map[string]struct {
		set       func(*bosh.Options)
		before    func(*testing.T, *bosh.Handler, http.RoundTripper)
		body      string // std's creation if empty
		level     slog.Level
		condition bosh.Condition
		cause     string
	}{
		"Admit's plain error": {
			set: admit(func(*bosh.Opening) error { return database }), level: slog.LevelWarn,
			condition: bosh.InternalServerError, cause: "no database",
		},
		"Admit's trouble": {
			set:   admit(func(*bosh.Opening) error { return &bosh.Error{Condition: bosh.InternalServerError, Err: database} }),
			level: slog.LevelWarn, condition: bosh.InternalServerError, cause: "no database",
		},
		"no condition": {
			set: admit(func(*bosh.Opening) error { return &bosh.Error{Condition: "odd"} }), level: slog.LevelWarn,
			condition: bosh.InternalServerError, cause: "odd",
		},
		"Admit's refusal": {
			set: admit(func(*bosh.Opening) error {
				return fmt.Errorf("admit: %w", &bosh.Error{Condition: bosh.HostUnknown, Err: errors.New("no such host")})
			}), level: slog.LevelDebug, condition: bosh.HostUnknown, cause: "no such host",
		},
		"Admit's refusal, without a word": {
			set: admit(func(*bosh.Opening) error { return &bosh.Error{Condition: bosh.HostUnknown} }), level: slog.LevelDebug,
			condition: bosh.HostUnknown, cause: "refused by Admit",
		},
		"panic of Admit": {
			set: admit(func(*bosh.Opening) error { panic("a bug") }), level: slog.LevelWarn,
			condition: bosh.InternalServerError, cause: "panic in Admit",
		},
		"MaxSessions": {
			set: func(o *bosh.Options) { o.MaxSessions = 1 }, before: first, level: slog.LevelInfo,
			condition: bosh.PolicyViolation, cause: "too many sessions",
		},
		"MaxPerAddr": {
			set: func(o *bosh.Options) { o.MaxPerAddr = 1 }, before: first, level: slog.LevelInfo,
			condition: bosh.PolicyViolation, cause: "too many sessions of one address",
		},
		"origin": {
			set: func(o *bosh.Options) { o.AllowOrigin = func(string) bool { return false } }, level: slog.LevelDebug,
			condition: bosh.PolicyViolation, cause: "origin that is not allowed",
		},
		"malformed": {body: "<body rid='1' xmlns='" + NsBind + "'><a></body>", condition: bosh.BadRequest, cause: "malformed body: ", level: slog.LevelDebug},
		"no body":   {body: "<foo/>", condition: bosh.BadRequest, cause: "malformed body: ", level: slog.LevelDebug},
		"no XML":    {body: "rid=1", condition: bosh.BadRequest, cause: "malformed body: ", level: slog.LevelDebug},
		"no rid":    {body: "<body ver='1.11' to='a' xmlns='" + NsBind + "'/>", condition: bosh.BadRequest, cause: "rid", level: slog.LevelDebug},
		"too large": {
			set: func(o *bosh.Options) { o.MaxBody = 100 }, condition: bosh.BadRequest, cause: "too large", level: slog.LevelDebug,
		},
		"a payload that is none": {
			set:  func(o *bosh.Options) { o.Framing = bosh.Opaque },
			body: "<body rid='1' ver='1.11' to='a' xmlns='" + NsBind + "'><x/></body>", condition: bosh.BadRequest, cause: "framing", level: slog.LevelDebug,
		},
		"no host": {
			set:  func(o *bosh.Options) { o.Framing = bosh.XMPP },
			body: "<body rid='1' ver='1.11' xmlns='" + NsBind + "'/>", condition: bosh.ImproperAddressing, cause: "no host", level: slog.LevelDebug,
		},
		"full Backlog": {
			set: func(o *bosh.Options) { o.Backlog = 1 }, before: first, level: slog.LevelDebug,
			condition: bosh.InternalServerError, cause: "backlog is full",
		},
		"no room": {
			set: func(o *bosh.Options) { o.MaxMemory = 4 << 10 },
			before: func(t *testing.T, h *bosh.Handler, rt http.RoundTripper) {
				p := Dial(t, rt)
				p.Hold("<x xmlns='u'>" + strings.Repeat("x", 16<<10) + "</x>")
			}, level: slog.LevelInfo, condition: bosh.PolicyViolation, cause: "sessions keep too much: Options.MaxMemory",
		},
		"no room for the body": {
			set:   func(o *bosh.Options) { o.MaxMemory = 4 << 10 },
			body:  "<body rid='1' ver='1.11' to='a' xmlns='" + NsBind + "'>" + strings.Repeat("<x>y</x>", 20<<10) + "</body>",
			level: slog.LevelInfo, condition: bosh.PolicyViolation, cause: "no room for the body: Options.MaxMemory",
		},
		"Listener.Close": {
			before: func(t *testing.T, h *bosh.Handler, rt http.RoundTripper) { h.Listener().Close() }, level: slog.LevelDebug,
			condition: bosh.SystemShutdown, cause: "no new sessions",
		},
		"Close": {
			before: func(t *testing.T, h *bosh.Handler, rt http.RoundTripper) { h.Close() }, level: slog.LevelDebug,
			condition: bosh.SystemShutdown, cause: "no new sessions",
		},
	}
	for name, test := range tests {
		for _, isDirect := range []bool{false, true} {
			t.Run(fmt.Sprint(name, isDirect), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := &Journal{Level: slog.LevelDebug}
					var refused []*bosh.Error
					starts := 0
					o := StdOptions
					o.Logger = slog.New(log)
					o.ClientAddr = func(*http.Request) net.Addr { return &net.TCPAddr{IP: net.IPv4(203, 0, 113, 9), Port: 7} }
					o.Trace = &bosh.Trace{
						Refused: func(r *http.Request, e *bosh.Error) {
							assert.Equal(t, "POST", r.Method)
							refused = append(refused, e)
						},
						SessionStart: func(*bosh.Session) { starts++ },
					}
					if test.set != nil {
						test.set(&o)
					}
					h := WithEngine(t, o, isDirect)
					pipe := boshtest.NewPipeServer(h)
					defer pipe.Close()
					if test.before != nil {
						test.before(t, h, pipe)
						require.Empty(t, refused)
						require.Empty(t, log.Of(refusedMessage))
					}
					began := starts
					body := test.body
					if body == "" {
						body = Creation()
					}
					r := Do(t, pipe, "POST", AnyURL, strings.NewReader(body), "Origin", "https://page.example")
					assert.Contains(t, r.Text, "condition='"+string(test.condition)+"'")
					synctest.Wait()
					entries := log.Of(refusedMessage)
					require.Len(t, entries, 1)
					e := entries[0]
					assert.Equal(t, test.level, e.Level)
					assert.Contains(t, e.Attrs["cause"], test.cause)
					delete(e.Attrs, "cause")
					assert.Equal(t, map[string]string{
						"condition": string(test.condition), "remote": "203.0.113.9:7", "origin": "https://page.example",
					}, e.Attrs)
					require.Len(t, refused, 1)
					assert.Equal(t, test.condition, refused[0].Condition)
					assert.Equal(t, began, starts, "it has not begun")
					assert.EqualValues(t, began, h.Stats().Created)
				})
			})
		}
	}
}

// What many clients run into is said now and then, and at level Debug each time.
func TestRefusedOften(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		log := &Journal{Level: level}
		o := With(func(o *bosh.Options) { o.MaxSessions, o.MaxPerAddr, o.Logger = 2, 1, slog.New(log) })
		host := "192.0.2.1"
		o.ClientAddr = func(*http.Request) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host)} }
		Bubble(t, level.String(), o, func(b *Harness) {
			b.Create()
			for range 50 {
				b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.PolicyViolation))
			}
			host = "192.0.2.2"
			b.Create()
			for range 30 {
				b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.PolicyViolation))
			}
			b.Wait(10 * time.Second)
			b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.PolicyViolation))
			var said []Entry
			debug := 0
			for _, e := range log.Of(refusedMessage) {
				if e.Level == slog.LevelInfo {
					said = append(said, e)
				} else {
					debug++
				}
			}
			require.Len(b, said, 3)
			assert.Equal(b, "too many sessions of one address: Options.MaxPerAddr allows no more", said[0].Attrs["cause"])
			assert.Equal(b, "too many sessions: Options.MaxSessions allows no more", said[1].Attrs["cause"], "another matter")
			assert.Equal(b, "too many sessions: Options.MaxSessions allows no more", said[2].Attrs["cause"])
			assert.Empty(b, said[1].Attrs["unlogged"])
			assert.Equal(b, "29", said[2].Attrs["unlogged"])
			if level == slog.LevelDebug {
				assert.Equal(b, 49+29, debug)
			}
		})
	}
}

// Nothing that is logged is longer than what an operator reads, whoever has said it.
func TestLoggedTextsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	log := &Journal{Level: slog.LevelDebug}
	o := With(func(o *bosh.Options) {
		o.Logger = slog.New(log)
		o.MaxStreams = 2
		o.ClientAddr = func(*http.Request) net.Addr { return &net.UnixAddr{Name: long} }
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if op.Lang != "" {
				return nil, errors.New("no such language: " + op.Lang)
			}
			return ctx, nil
		}
	})
	Bubble(t, "bounded", o, func(b *Harness) {
		b.Headers.Set("Origin", "https://"+long)
		attr := strings.Repeat("y", 8<<10)
		b.Post(Complete("<body rid='1' to='a' ver='1.11' xml:lang='" + attr + "'/>")).GetsNow(Condition(bosh.InternalServerError))
		b.Post("<" + long + "/>").GetsNow(Condition(bosh.BadRequest))
		s := b.Create()
		s.Send(1001, "to='a' xml:lang='"+attr+"'").Answer()
		assert.NoError(b, s.App.Session().Terminate(&bosh.Error{Condition: bosh.InternalServerError, Err: errors.New(long)}))
		s.Send(1002)
		for message, n := range map[string]int{
			refusedMessage: 2, "bosh: stream refused": 1, "bosh: session begins": 1, "bosh: session ends": 1,
		} {
			entries := log.Of(message)
			require.Len(b, entries, n, message)
			for _, e := range entries {
				for key, value := range e.Attrs {
					assert.LessOrEqual(b, len(value), 300, "%s %s", message, key)
				}
			}
		}
		assert.Contains(b, log.Of("bosh: stream refused")[0].Attrs["cause"], "no such language: yyy")
	})
}

// A further stream that is refused is logged as a session is.
func TestStreamRefused(t *testing.T) {
	for name, test := range map[string]struct {
		set       func(*bosh.Options)
		level     slog.Level
		condition bosh.Condition
		cause     string
	}{
		"plain error": {func(o *bosh.Options) {
			o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
				if op.To == "bad" {
					return nil, errors.New("no database")
				}
				return ctx, nil
			}
		}, slog.LevelWarn, bosh.InternalServerError, "no database"},
		"too many": {func(o *bosh.Options) { o.MaxStreams = 2 }, slog.LevelDebug, bosh.PolicyViolation, "too many streams"},
	} {
		log := &Journal{Level: slog.LevelDebug}
		o := With(func(o *bosh.Options) { o.MaxStreams, o.Logger = 3, slog.New(log) })
		test.set(&o)
		Bubble(t, name, o, func(b *Harness) {
			s := b.Create()
			s.Send(1001, "to='good'").Answer()
			s.Send(1002, "to='bad'").Answer()
			entries := log.Of("bosh: stream refused")
			require.Len(b, entries, 1)
			assert.Equal(b, test.level, entries[0].Level)
			assert.Equal(b, string(test.condition), entries[0].Attrs["condition"])
			assert.Equal(b, s.App.Session().ID(), entries[0].Attrs["session"])
			assert.Equal(b, test.cause, entries[0].Attrs["cause"])
			s.Alive()
		})
	}
}

// A session that ends for what its client does says why, besides its condition.
func TestViolationsSayWhy(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*bosh.Options)
		do   func(*Peer, *bosh.Stream)
		want string
	}{
		"too often": {func(*bosh.Options) {}, func(p *Peer, _ *bosh.Stream) {
			p.Hold("")
			p.Post("")
		}, "asks more often"},
		"repeats": {func(o *bosh.Options) { o.MaxRepeats = 1 }, func(p *Peer, _ *bosh.Stream) {
			p.Hold(X("a"))
			p.Hold(X("b")) // which answers the first
			for range 3 {
				boshtest.Exchange(p.T, p.Rt, p.Body(1001, X("a")))
			}
		}, "Options.MaxRepeats"},
		"behind": {func(o *bosh.Options) { o.ReadBuffer, o.MaxBody = 1, 1000 }, func(p *Peer, s *bosh.Stream) {
			for s.Session().Err() == nil {
				Write(p.T, s, X("there is always something to say"))
				p.Send(X(strings.Repeat("a", 800)))
			}
		}, "Options.ReadBuffer"},
		"memory": {func(o *bosh.Options) { o.MaxMemory = 4 << 10 }, func(p *Peer, _ *bosh.Stream) {
			p.Hold(X(strings.Repeat("a", 16<<10)))
			p.Post(X("b"))
		}, "Options.MaxMemory"},
	} {
		for _, isDirect := range []bool{false, true} {
			t.Run(fmt.Sprint(name, isDirect), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := Elements()
					o.Grace, o.Polling = -1, 5*time.Second
					test.set(&o)
					h := WithEngine(t, o, isDirect)
					pipe := boshtest.NewPipeServer(h)
					defer pipe.Close()
					p := Dial(t, pipe)
					s := Accept(t, h)
					test.do(p, s)
					synctest.Wait()
					var e *bosh.Error
					require.ErrorAs(t, s.Session().Err(), &e)
					assert.Equal(t, bosh.PolicyViolation, e.Condition)
					assert.ErrorContains(t, e.Err, test.want)
				})
			})
		}
	}
}
