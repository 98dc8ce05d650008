package bosh_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A journal is a slog.Handler that keeps what is logged, from a level on.
type journal struct {
	level slog.Level

	mu      sync.Mutex
	records []slog.Record
}

func (j *journal) Enabled(_ context.Context, l slog.Level) bool { return l >= j.level }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler           { return j }
func (j *journal) WithGroup(string) slog.Handler                { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records = append(j.records, r.Clone())
	return nil
}

// clear forgets what was logged.
func (j *journal) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records = nil
}

// An entry is what was logged, with its attributes as texts.
type entry struct {
	level slog.Level
	attrs map[string]string
}

// of returns what was logged under a message.
func (j *journal) of(message string) (entries []entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.records {
		if r.Message == message {
			e := entry{r.Level, map[string]string{}}
			r.Attrs(func(a slog.Attr) bool {
				e.attrs[a.Key] = a.Value.String()
				return true
			})
			entries = append(entries, e)
		}
	}
	return entries
}

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
	first := func(t *testing.T, h *bosh.Handler, rt http.RoundTripper) { dial(t, rt) }
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
		"malformed": {body: "<body rid='1' xmlns='" + nsBind + "'><a></body>", condition: bosh.BadRequest, cause: "malformed body: ", level: slog.LevelDebug},
		"no body":   {body: "<foo/>", condition: bosh.BadRequest, cause: "malformed body: ", level: slog.LevelDebug},
		"no XML":    {body: "rid=1", condition: bosh.BadRequest, cause: "malformed body: ", level: slog.LevelDebug},
		"no rid":    {body: "<body ver='1.11' to='a' xmlns='" + nsBind + "'/>", condition: bosh.BadRequest, cause: "rid", level: slog.LevelDebug},
		"too large": {
			set: func(o *bosh.Options) { o.MaxBody = 100 }, condition: bosh.BadRequest, cause: "too large", level: slog.LevelDebug,
		},
		"a payload that is none": {
			set:  func(o *bosh.Options) { o.Framing = bosh.Opaque },
			body: "<body rid='1' ver='1.11' to='a' xmlns='" + nsBind + "'><x/></body>", condition: bosh.BadRequest, cause: "framing", level: slog.LevelDebug,
		},
		"no host": {
			set:  func(o *bosh.Options) { o.Framing = bosh.XMPP },
			body: "<body rid='1' ver='1.11' xmlns='" + nsBind + "'/>", condition: bosh.ImproperAddressing, cause: "no host", level: slog.LevelDebug,
		},
		"full Backlog": {
			set: func(o *bosh.Options) { o.Backlog = 1 }, before: first, level: slog.LevelDebug,
			condition: bosh.InternalServerError, cause: "backlog is full",
		},
		"no room": {
			set: func(o *bosh.Options) { o.MaxMemory = 4 << 10 },
			before: func(t *testing.T, h *bosh.Handler, rt http.RoundTripper) {
				p := dial(t, rt)
				p.hold("<x xmlns='u'>" + strings.Repeat("x", 16<<10) + "</x>")
			}, level: slog.LevelDebug, condition: bosh.PolicyViolation, cause: "sessions keep too much",
		},
		"no room for the body": {
			set:   func(o *bosh.Options) { o.MaxMemory = 4 << 10 },
			body:  "<body rid='1' ver='1.11' to='a' xmlns='" + nsBind + "'>" + strings.Repeat("<x>y</x>", 20<<10) + "</body>",
			level: slog.LevelDebug, condition: bosh.PolicyViolation, cause: "no room",
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
					log := &journal{level: slog.LevelDebug}
					var refused []*bosh.Error
					starts := 0
					o := stdOptions
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
					h := withEngine(t, o, isDirect)
					pipe := boshtest.NewPipeServer(h)
					defer pipe.Close()
					if test.before != nil {
						test.before(t, h, pipe)
						require.Empty(t, refused)
						require.Empty(t, log.of(refusedMessage))
					}
					began := starts
					body := test.body
					if body == "" {
						body = creation()
					}
					r := do(t, pipe, "POST", anyURL, strings.NewReader(body), "Origin", "https://page.example")
					assert.Contains(t, r.text, "condition='"+string(test.condition)+"'")
					synctest.Wait()
					entries := log.of(refusedMessage)
					require.Len(t, entries, 1)
					e := entries[0]
					assert.Equal(t, test.level, e.level)
					assert.Contains(t, e.attrs["cause"], test.cause)
					delete(e.attrs, "cause")
					assert.Equal(t, map[string]string{
						"condition": string(test.condition), "remote": "203.0.113.9:7", "origin": "https://page.example",
					}, e.attrs)
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
		log := &journal{level: level}
		o := with(func(o *bosh.Options) { o.MaxSessions, o.MaxPerAddr, o.Logger = 2, 1, slog.New(log) })
		host := "192.0.2.1"
		o.ClientAddr = func(*http.Request) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host)} }
		bubble(t, level.String(), o, func(b *bench) {
			b.create()
			for range 50 {
				b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
			}
			host = "192.0.2.2"
			b.create()
			for range 30 {
				b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
			}
			b.wait(10 * time.Second)
			b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
			var said []entry
			debug := 0
			for _, e := range log.of(refusedMessage) {
				if e.level == slog.LevelInfo {
					said = append(said, e)
				} else {
					debug++
				}
			}
			require.Len(b, said, 3)
			assert.Equal(b, "too many sessions of one address", said[0].attrs["cause"])
			assert.Equal(b, "too many sessions", said[1].attrs["cause"], "another matter")
			assert.Equal(b, "too many sessions", said[2].attrs["cause"])
			assert.Empty(b, said[1].attrs["unlogged"])
			assert.Equal(b, "29", said[2].attrs["unlogged"])
			if level == slog.LevelDebug {
				assert.Equal(b, 49+29, debug)
			}
		})
	}
}

// Nothing that is logged is longer than what an operator reads, whoever has said it.
func TestLoggedTextsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	log := &journal{level: slog.LevelDebug}
	o := with(func(o *bosh.Options) {
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
	bubble(t, "bounded", o, func(b *bench) {
		b.headers.Set("Origin", "https://"+long)
		attr := strings.Repeat("y", 8<<10)
		b.post(complete("<body rid='1' to='a' ver='1.11' xml:lang='" + attr + "'/>")).getsNow(condition(bosh.InternalServerError))
		b.post("<" + long + "/>").getsNow(condition(bosh.BadRequest))
		s := b.create()
		s.send(1001, "to='a' xml:lang='"+attr+"'").answer()
		assert.NoError(b, s.app.Session().Terminate(&bosh.Error{Condition: bosh.InternalServerError, Err: errors.New(long)}))
		s.send(1002)
		for message, n := range map[string]int{
			refusedMessage: 2, "bosh: stream refused": 1, "bosh: session begins": 1, "bosh: session ends": 1,
		} {
			entries := log.of(message)
			require.Len(b, entries, n, message)
			for _, e := range entries {
				for key, value := range e.attrs {
					assert.LessOrEqual(b, len(value), 300, "%s %s", message, key)
				}
			}
		}
		assert.Contains(b, log.of("bosh: stream refused")[0].attrs["cause"], "no such language: yyy")
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
		log := &journal{level: slog.LevelDebug}
		o := with(func(o *bosh.Options) { o.MaxStreams, o.Logger = 3, slog.New(log) })
		test.set(&o)
		bubble(t, name, o, func(b *bench) {
			s := b.create()
			s.send(1001, "to='good'").answer()
			s.send(1002, "to='bad'").answer()
			entries := log.of("bosh: stream refused")
			require.Len(b, entries, 1)
			assert.Equal(b, test.level, entries[0].level)
			assert.Equal(b, string(test.condition), entries[0].attrs["condition"])
			assert.Equal(b, s.app.Session().ID(), entries[0].attrs["session"])
			assert.Equal(b, test.cause, entries[0].attrs["cause"])
			s.alive()
		})
	}
}
