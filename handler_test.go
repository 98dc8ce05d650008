package bosh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServeReturns(t *testing.T) {
	Serving(t, bosh.Options{}, func(s *bosh.Stream) {
		s.Write([]byte("<bye xmlns='u'/>"))
		time.Sleep(Second)
	}, func(t *testing.T, p *Peer) {
		assert.Equal(t, "<bye xmlns='u'/>", p.Created.Payload())
		c := p.Hold("")
		time.Sleep(2 * Second)
		RequireEnd(t, c.Wait(), "")
	})
}

func TestServeClosesBeforeItReturns(t *testing.T) {
	Serving(t, bosh.Options{}, func(s *bosh.Stream) {
		s.ReadElement(context.Background())
		s.CloseWithError(&bosh.Error{Condition: bosh.HostGone})
	}, func(t *testing.T, p *Peer) {
		RequireEnd(t, p.Send("<a/>"), bosh.HostGone)
	})
}

// An application that has nothing to do with a stream ends it at once, in the
// answer to its creation.
func TestServeReturnsAtOnce(t *testing.T) {
	for _, condition := range []bosh.Condition{"", bosh.RemoteConnectionFailed} {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
				s.CloseWithError(&bosh.Error{Condition: condition})
			}})
			RequireEnd(t, boshtest.Exchange(t, boshtest.InMemory(h), Creation()), condition)
			synctest.Wait()
			assert.Zero(t, h.Stats().Sessions)
		})
	}
}

// A Serve that panics ends its own session only, and the operator hears of it.
func TestServePanics(t *testing.T) {
	var log bytes.Buffer
	o := bosh.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	Serving(t, o, func(s *bosh.Stream) {
		el, _ := s.ReadElement(context.Background())
		if bytes.Contains(el, []byte("secret")) {
			s.Write([]byte("<before xmlns='u'/>"))
			panic("oops")
		}
		s.WriteElement(context.Background(), el)
		s.ReadElement(context.Background())
	}, func(t *testing.T, p *Peer) {
		other := Dial(t, p.Rt)
		r := p.Send("<secret xmlns='u'/>")
		assert.Equal(t, "<before xmlns='u'/>", r.Payload())
		if r.Attr("type") == "" {
			r = p.Send("")
		}
		RequireEnd(t, r, bosh.InternalServerError)
		assert.Equal(t, "<x xmlns='u'/>", other.Send("<x xmlns='u'/>").Payload())
		assert.Contains(t, log.String(), "oops")
		assert.NotContains(t, log.String(), "<secret")
		assert.NotContains(t, log.String(), p.Sid)
	})
}

func TestServeExits(t *testing.T) {
	Serving(t, bosh.Options{}, func(s *bosh.Stream) {
		s.ReadElement(context.Background())
		runtime.Goexit()
	}, func(t *testing.T, p *Peer) {
		RequireEnd(t, p.Send("<a/>"), "")
	})
}

func TestAdmit(t *testing.T) {
	type key struct{}
	for name, test := range map[string]struct {
		admit func(context.Context, *http.Request, *bosh.Opening) (context.Context, error)
		want  bosh.Condition // of the refusal, or none
		uri   string
	}{
		"condition": {func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			return nil, &bosh.Error{Condition: bosh.HostUnknown}
		}, bosh.HostUnknown, ""},
		"wrapped": {func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			return nil, errors.Join(io.EOF, &bosh.Error{Condition: bosh.SeeOtherURI, URI: "https://a.example/?b&c"})
		}, bosh.SeeOtherURI, "https://a.example/?b&amp;c"},
		"any error": {func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			return nil, io.EOF
		}, bosh.InternalServerError, ""},
		"no condition": {func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			return nil, &bosh.Error{}
		}, bosh.InternalServerError, ""},
		"made up": {func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			return nil, &bosh.Error{Condition: "my-own"}
		}, bosh.InternalServerError, ""},
		"panic": {func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) {
			panic("oops")
		}, bosh.InternalServerError, ""},
		"context": {func(ctx context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
			o.Framing, o.To = bosh.Elements, r.Header.Get("Content-Type")
			return context.WithValue(ctx, key{}, "value"), nil
		}, "", ""},
		"nil context": {func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) {
			return nil, nil
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				h := NewHandler(t, bosh.Options{
					Framing: bosh.Opaque, Admit: test.admit, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				})
				r := boshtest.Exchange(t, boshtest.InMemory(h), Creation())
				assert.Equal(t, name == "panic", bytes.Contains(log.Bytes(), []byte("oops")))
				if test.want != "" {
					RequireEnd(t, r, test.want)
					if test.uri != "" {
						assert.Equal(t, "<uri>"+test.uri+"</uri>", r.Payload())
					}
					for range h.Sessions() {
						t.Error("there is a session")
					}
					return
				}
				require.NotEmpty(t, r.Attr("sid"))
				s := Accept(t, h)
				if name == "context" {
					assert.Equal(t, "value", s.Context().Value(key{}))
					assert.Equal(t, "value", s.Session().Context().Value(key{}))
					assert.Equal(t, bosh.Elements, s.Opening().Framing)
					assert.Equal(t, "text/xml; charset=utf-8", s.Opening().To)
				}
				assert.NoError(t, s.Context().Err(), "the request has ended, the stream has not")
			})
		})
	}
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, SeeOther: "https://b.example/"})
		l := h.Listener()
		require.Same(t, l, h.Listener())
		require.NotNil(t, l.Addr())
		rt := boshtest.InMemory(h)

		waiting := Async(func() error { _, err := l.Accept(); return err })
		require.True(t, Pending(waiting))
		p := Dial(t, rt)
		require.NoError(t, <-waiting)

		accepted := Dial(t, rt)
		s := Accept(t, h)
		queued := Dial(t, rt)
		require.NoError(t, l.Close())
		for _, err := range []error{l.Close(), func() error { _, err := l.Accept(); return err }()} {
			assert.ErrorIs(t, err, net.ErrClosed)
			var op *net.OpError
			assert.ErrorAs(t, err, &op)
		}

		RequireEnd(t, queued.Send(""), bosh.SeeOtherURI)
		r := boshtest.Exchange(t, rt, Creation())
		RequireEnd(t, r, bosh.SeeOtherURI)
		assert.Equal(t, "<uri>https://b.example/</uri>", r.Payload())

		_, err := s.Write([]byte("<a xmlns='u'/>"))
		require.NoError(t, err, "accepted streams live on")
		assert.Equal(t, "<a xmlns='u'/>", accepted.Send("").Payload())
		p.Hold("")
	})
}

// A stream goes to Serve or to Accept. Who expects it of both is told at once, and who
// does neither by the log.
func TestServeOrAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) { <-s.Context().Done() }})
		for range 2 {
			_, err := h.Listener().Accept()
			var op *net.OpError
			require.ErrorAs(t, err, &op)
			assert.ErrorContains(t, err, "Options.Serve is set")
			assert.NotErrorIs(t, err, net.ErrClosed)
		}
		require.NoError(t, h.Listener().Close())
		_, err := h.Listener().Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		require.NotEmpty(t, boshtest.Exchange(t, boshtest.InMemory(h), Creation()).Attr("sid"), "Serve goes on")
	})

	for _, o := range []bosh.Options{{Framing: bosh.Elements, Backlog: 2}, {Backlog: 2}} {
		synctest.Test(t, func(t *testing.T) {
			var log LogBuffer
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			h := NewHandler(t, o)
			rt := boshtest.InMemory(h)
			const advice = "set Options.Serve, or call Accept of Handler.Listener"
			p1, p2 := Dial(t, rt), Dial(t, rt)
			RequireEnd(t, boshtest.Exchange(t, rt, Creation()), bosh.InternalServerError)
			assert.Regexp(t, "session refused.*"+advice, log.String())
			p1.Send("", "type='terminate'")
			p2.Send("", "type='terminate'")
			synctest.Wait()
			assert.Regexp(t, "level=WARN .*"+advice, log.String())
			warned := strings.Count(log.String(), advice)
			assert.Equal(t, 2, warned, "once")
			assert.NotRegexp(t, "level=WARN.*session refused", log.String())

			Accept(t, h)
			Dial(t, rt)
			RequireEnd(t, boshtest.Exchange(t, rt, Creation()), bosh.InternalServerError)
			assert.Regexp(t, "session refused.*backlog is full", log.String())
			assert.Equal(t, warned, strings.Count(log.String(), advice), "not once somebody has")
		})
	}
}

// B17.2-5 Without Admit every stream is admitted; one of XMPP must name a host.
func TestAdmittedByDefault(t *testing.T) {
	for _, f := range []bosh.Framing{bosh.XMPP, bosh.Elements, bosh.Opaque} {
		for _, to := range []string{"", "to=''", "to='example.com'"} {
			synctest.Test(t, func(t *testing.T) {
				h := NewHandler(t, bosh.Options{Framing: f, CreateTimeout: -1})
				r := boshtest.Exchange(t, boshtest.InMemory(h), "<body rid='1' ver='1.11' xmlns='"+NsBind+"' "+to+"/>")
				if f == bosh.XMPP && to != "to='example.com'" {
					RequireEnd(t, r, bosh.ImproperAddressing)
				} else {
					assert.NotEmpty(t, r.Attr("sid"), "%v %s", f, to)
				}
			})
		}
	}
}

func TestListenerCloseUnblocksAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{})
		waiting := Async(func() error { _, err := h.Listener().Accept(); return err })
		require.True(t, Pending(waiting))
		require.NoError(t, h.Listener().Close())
		assert.ErrorIs(t, <-waiting, net.ErrClosed)
	})
}

func TestBacklogFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Backlog: 2})
		rt := boshtest.InMemory(h)
		Dial(t, rt)
		Dial(t, rt)
		RequireEnd(t, boshtest.Exchange(t, rt, Creation()), bosh.InternalServerError)
		Accept(t, h)
		Dial(t, rt)
	})
}

func TestMaxSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, MaxSessions: 1})
		rt := boshtest.InMemory(h)
		p := Dial(t, rt)
		RequireEnd(t, boshtest.Exchange(t, rt, Creation()), bosh.PolicyViolation)
		RequireEnd(t, p.Send("", "type='terminate'"), "")
		Dial(t, rt)
	})
}

// All that calls out of the library may call back into it.
func TestCallbacksMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *bosh.Handler
		var ends atomic.Int32
		probe := func(s *bosh.Session) {
			h.Stats()
			for other := range h.Sessions() {
				s = other
			}
			if s == nil {
				return
			}
			s.ID()
			s.Err()
			s.Stats()
			for _, st := range s.Streams() {
				st.Opening()
				st.SetDeadline(time.Time{})
				st.WriteElement(t.Context(), []byte("<called xmlns='u'/>"))
				for range st.Undelivered() {
				}
			}
		}
		logger := slog.New(Calling{F: func() { probe(nil) }})
		h = NewHandler(t, bosh.Options{
			Framing: bosh.Elements, MaxStreams: 2, Logger: logger,
			Admit: func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
				probe(nil)
				return ctx, nil
			},
			AllowOrigin: func(string) bool { probe(nil); return true },
			ClientAddr:  func(*http.Request) net.Addr { probe(nil); return nil },
			Secure:      func(*http.Request) bool { probe(nil); return false },
			Serve:       func(s *bosh.Stream) { io.Copy(io.Discard, s) },
			Trace: &bosh.Trace{
				SessionStart: probe,
				SessionEnd: func(s *bosh.Session) {
					ends.Add(1)
					probe(s)
					s.Terminate(nil)
				},
				Request:  func(s *bosh.Session, _ bosh.RequestInfo) { probe(s) },
				Response: func(s *bosh.Session, _ bosh.ResponseInfo) { probe(s) },
				Refused:  func(*http.Request, *bosh.Error) { probe(nil) },
			},
		})
		p := Dial(t, boshtest.InMemory(h))
		p.Send("<a/>")
		p.Send("", "to='example.com'")
		RequireEnd(t, boshtest.Exchange(t, p.Rt, strings.Replace(Creation(), "rid='1000'", "rid='0'", 1)), bosh.BadRequest)
		RequireEnd(t, p.Send("", "type='terminate'"), "")
		synctest.Wait()
		assert.EqualValues(t, 1, ends.Load())
		Dial(t, p.Rt)
		time.Sleep(time.Hour)
		assert.EqualValues(t, 2, ends.Load(), "by inactivity")
	})
}

// B7.1-7: Admit is told how long the client waits for an answer, as it is granted.
func TestOpeningWait(t *testing.T) {
	for asked, want := range map[string]time.Duration{
		"wait='7' hold='1'": 7 * time.Second, "wait='600' hold='1'": 20 * time.Second, "hold='1'": 20 * time.Second,
		"wait='0' hold='1'": 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			var got []time.Duration
			h := NewHandler(t, bosh.Options{
				Framing: bosh.Elements, Wait: 20 * time.Second, MaxStreams: 2,
				Admit: func(_ context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
					got = append(got, o.Wait)
					return nil, nil
				},
			})
			m := boshtest.InMemory(h)
			r := boshtest.Exchange(t, m, "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' ver='1.11' to='a' "+asked+"/>")
			require.NotEmpty(t, r.Attr("sid"))
			assert.Equal(t, want, Accept(t, h).Opening().Wait)
			done := make(chan struct{})
			go func() {
				defer close(done)
				boshtest.Exchange(t, m, "<body xmlns='http://jabber.org/protocol/httpbind' rid='2' to='a' sid='"+r.Attr("sid")+"'/>")
			}()
			assert.Equal(t, want, Accept(t, h).Opening().Wait, "a further stream")
			assert.Equal(t, []time.Duration{want, want}, got)
			h.Close()
			<-done
		})
	}
}

// A session ends with the context that Admit has returned for it, whatever its client
// and the application do meanwhile; the cause is known, and logged.
func TestAdmitContextDone(t *testing.T) {
	type key struct{}
	expired := errors.New("the token has expired")
	for name, until := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadlineCause(ctx, time.Now().Add(20*Second), expired)
		},
		"cancel": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(20*Second, func() { cancel(expired) })
			return context.WithValue(ctx, key{}, "value"), func() {}
		},
	} {
		for _, holds := range []bool{true, false} {
			for _, streams := range []int{1, 2} {
				t.Run(fmt.Sprint(name, holds, streams), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var log strings.Builder
						cancel := func() {}
						defer func() { cancel() }()
						h := NewHandler(t, bosh.Options{
							Framing: bosh.Elements, MaxStreams: streams, Grace: -1,
							Logger: slog.New(slog.NewTextHandler(&log, nil)),
							Admit: func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
								ctx, cancel = until(ctx)
								return ctx, nil
							},
						})
						p := Dial(t, boshtest.InMemory(h))
						s := Accept(t, h)
						Write(t, s, X("a"))
						assert.Equal(t, X("a"), p.Send(X("b")).Payload())
						RequireRead(t, s, X("b"))
						Write(t, s, X("last"))
						if holds {
							assert.Equal(t, X("last"), p.Send("").Payload())
							held := p.Hold("")
							time.Sleep(20*Second - 1)
							synctest.Wait()
							assert.NoError(t, s.Session().Err())
							time.Sleep(time.Nanosecond)
							RequireEnd(t, held.Wait(), bosh.PolicyViolation)
						} else {
							time.Sleep(25 * Second)
							r := p.Send(X("late"))
							RequireEnd(t, r, bosh.PolicyViolation)
							assert.Contains(t, r.Payload(), X("last"))
						}
						_, err := s.Read(make([]byte, 1))
						assert.ErrorIs(t, err, &bosh.Error{Condition: bosh.PolicyViolation}, "and nothing of who has no right to be here")
						assert.ErrorIs(t, err, expired)
						assert.ErrorIs(t, s.Session().Err(), expired)
						<-s.Context().Done()
						assert.Equal(t, expired, context.Cause(s.Context()))
						synctest.Wait()
						assert.Contains(t, log.String(), expired.Error())
						assert.EqualValues(t, 1, h.Stats().Ended[string(bosh.PolicyViolation)])
					})
				})
			}
		}
	}
}

// One that is done already opens no session, one that outlives its session does it no
// harm, and neither leaves a goroutine.
func TestAdmitContexts(t *testing.T) {
	Bubble(t, "done already", With(func(o *bosh.Options) {
		o.Admit = func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, nil
		}
	}), func(b *Harness) {
		b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.PolicyViolation))
		assert.Zero(b, b.H.Stats().Created)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	Bubble(t, "with values alone", With(func(o *bosh.Options) {
		o.Admit = func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			return context.WithValue(ctx, t, ""), nil
		}
	}), func(b *Harness) {
		s := b.Create()
		s.Send(1001).GetsAfter(Patience, Empty)
		s.Alive()
	})
	Std(t, "for many", func(b *Harness, s *Session) {
		before := runtime.NumGoroutine()
		h := NewHandler(b.T, With(func(o *bosh.Options) {
			o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) { return ctx, nil }
			o.Serve = func(st *bosh.Stream) { st.Receive(func([]byte, error) {}) }
		}))
		rt := boshtest.InMemory(h)
		peers := make([]*Peer, 100)
		for i := range peers {
			peers[i] = Dial(b.T, rt)
		}
		synctest.Wait()
		assert.LessOrEqual(b, runtime.NumGoroutine(), before+10)
		for _, p := range peers[:50] {
			RequireEnd(b.T, p.Send("", "type='terminate'"), "")
		}
		cancel()
		synctest.Wait()
		for _, p := range peers[50:] {
			RequireEnd(b.T, p.Send(""), bosh.PolicyViolation)
		}
		assert.EqualValues(b, 50, h.Stats().Ended["closed"])
		assert.EqualValues(b, 50, h.Stats().Ended[string(bosh.PolicyViolation)])
	})
}

// A callingContext calls back when it is asked for a value, as the application's own may.
type callingContext struct {
	context.Context
	asked func()
}

func (c callingContext) Value(key any) any {
	c.asked()
	return c.Context.Value(key)
}

// The context of a request is nobody's under a lock: its methods may be the application's,
// and call back.
func TestContextCallsBack(t *testing.T) {
	for _, proof := range []bosh.Proof{bosh.ByProtocol, bosh.ByConnection, bosh.ByKernel} {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Proof: proof, MaxStreams: 2})
			calls := 0
			p := Dial(t, boshtest.InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.RemoteAddr = "192.0.2.1:5"
				h.ServeHTTP(w, r.WithContext(callingContext{r.Context(), func() {
					for s := range h.Sessions() {
						s.Stats()
						calls++
					}
				}}))
			})))
			s := Accept(t, h)
			for range 3 {
				c := p.Post(X("a"))
				RequireRead(t, s, X("a"))
				Write(t, s, X("b"))
				assert.Equal(t, X("b"), c.Wait().Payload())
			}
			p.Post("", "to='example.com'")
			assert.NotNil(t, Accept(t, h).LocalAddr())
			assert.Positive(t, calls)
		})
	}
}
