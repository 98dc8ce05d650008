package attack_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
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

// A panic of any callback, from the beginning or later on, harms nobody else and
// leaves nothing behind, however the session ends.
func TestPanicsOfCallbacks(t *testing.T) {
	var armed atomic.Bool
	bug := func(r *http.Request) {
		if armed.Load() && r.Header.Get("X-Bug") != "" {
			panic("a bug")
		}
	}
	callbacks := map[string]func(o *bosh.Options){
		"Admit": func(o *bosh.Options) {
			o.Admit = func(_ context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
				bug(r)
				return nil, nil
			}
		},
		"Serve": func(o *bosh.Options) {
			o.Serve = func(st *bosh.Stream) {
				bug(st.Session().Request())
				if el, err := st.ReadElement(context.Background()); err == nil {
					bug(st.Session().Request())
					st.WriteElement(context.Background(), el)
				}
				domains(st)
			}
		},
		"Receive": func(o *bosh.Options) {
			o.Serve = func(st *bosh.Stream) {
				st.Receive(func(el []byte, err error) {
					bug(st.Session().Request())
					if err == nil {
						st.WriteElement(context.Background(), el)
					}
				})
			}
		},
		"Secure": func(o *bosh.Options) {
			o.Secure = func(r *http.Request) bool { bug(r); return true }
		},
		"ClientAddr": func(o *bosh.Options) {
			o.ClientAddr = func(r *http.Request) net.Addr { bug(r); return nil }
		},
		"AllowOrigin": func(o *bosh.Options) {
			o.AllowOrigin = func(origin string) bool {
				bug(&http.Request{Header: http.Header{"X-Bug": {strings.TrimPrefix(origin, "https://good.test")}}})
				return true
			}
		},
		"Admit's context": func(o *bosh.Options) { // wherever it is looked at
			o.Admit = func(ctx context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
				return FragileContext{Context: ctx, F: func() { bug(r) }}, nil
			}
		},
		"Trace.SessionStart": func(o *bosh.Options) {
			o.Trace = &bosh.Trace{SessionStart: func(s *bosh.Session) { bug(s.Request()) }}
		},
		"Trace.SessionEnd": func(o *bosh.Options) {
			o.Trace = &bosh.Trace{SessionEnd: func(s *bosh.Session) { bug(s.Request()) }}
		},
		"Trace.Request": func(o *bosh.Options) {
			o.Trace = &bosh.Trace{Request: func(s *bosh.Session, _ bosh.RequestInfo) { bug(s.Request()) }}
		},
		"Trace.Response": func(o *bosh.Options) {
			o.Trace = &bosh.Trace{Response: func(s *bosh.Session, _ bosh.ResponseInfo) { bug(s.Request()) }}
		},
		"Trace.Refused": func(o *bosh.Options) {
			o.Trace = &bosh.Trace{Refused: func(r *http.Request, _ *bosh.Error) { bug(r) }}
			o.Admit = func(_ context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
				if r.Header.Get("X-Bug") != "" {
					return nil, &bosh.Error{Condition: bosh.HostUnknown}
				}
				return nil, nil
			}
		},
	}
	atCreation := map[string]bool{"Admit": true, "Admit's context": true, "ClientAddr": true, "Trace.SessionStart": true, "Trace.Refused": true}
	for name, set := range callbacks {
		for _, later := range []bool{false, true} {
			for _, silent := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, later %v, silent %v", name, later, silent), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						armed.Store(!later)
						var log strings.Builder
						logger := slog.New(slog.NewTextHandler(&log, nil))
						o := bosh.Options{Framing: bosh.Elements, Serve: domains, MaxPerAddr: 2, Logger: logger}
						set(&o)
						h := bosh.New(o)
						pipe := boshtest.Pipe(&http.Server{Handler: h, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError)})
						defer pipe.Close()
						good := panicClient(t, pipe, "https://good.test", "")
						defer good.Close()

						for range 3 {
							panicLife(t, pipe, &armed, later, silent)
							armed.Store(!later)
							require.NoError(t, good.Send(t.Context(), X("ping")))
							_, err := good.Recv(t.Context())
							require.NoError(t, err)
						}
						synctest.Wait()
						assert.Equal(t, int64(1), h.Stats().Sessions)
						assert.LessOrEqual(t, h.Stats().Open, 1)
						if !later || !atCreation[name] {
							assert.GreaterOrEqual(t, strings.Count(log.String(), "a bug"), 3)
							assert.Contains(t, log.String(), "panic_test.go", "the stack")
						}
						require.NoError(t, good.Terminate(t.Context()))
						assert.NoError(t, h.Shutdown(t.Context()))
						time.Sleep(time.Minute)
						st := h.Stats()
						assert.Zero(t, st.Sessions)
						assert.Zero(t, st.Open)
						assert.Zero(t, st.Memory)
					})
				})
			}
		}
	}
}

// A fragileLog is a handler of a logger that calls a function.
type fragileLog struct {
	slog.Handler
	f func()
}

func (h fragileLog) Handle(context.Context, slog.Record) error { h.f(); return nil }

// A Logger may panic without any consequence, although hardly anybody expects it to.
func TestPanicsOfLogger(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		for _, silent := range []bool{false, true} {
			t.Run(fmt.Sprintf("Direct %v, silent %v", isDirect, silent), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var panics atomic.Int32
					h := WithEngine(t, With(func(o *bosh.Options) {
						o.Logger = slog.New(fragileLog{slog.DiscardHandler, func() {
							panics.Add(1)
							panic("a bug")
						}})
						o.Serve = func(st *bosh.Stream) { st.Read(make([]byte, 100)); panic("another") }
						o.Logger = slog.New(debugLog{o.Logger.Handler()})
					}), isDirect)
					l := Wrapped(t, h, func(next http.Handler) http.Handler { return next })
					l.Says(RawRequest(Creation()))
					created, err := boshtest.ParseBody([]byte(ReadAnswer(t, l.R)))
					require.NoError(t, err)
					l.Sid = created.Attr("sid")
					if !silent {
						l.Says(l.Req(1001, X("a")))
						l.Hears(Condition(bosh.InternalServerError))
					}
					l.Close()
					time.Sleep(time.Hour)
					assert.Zero(t, h.Stats().Sessions)
					assert.Zero(t, h.Stats().Open)
					assert.NoError(t, h.Shutdown(t.Context()))
					assert.GreaterOrEqual(t, panics.Load(), int32(2))
				})
			})
		}
	}
}

// A debugLog logs everything.
type debugLog struct{ slog.Handler }

func (debugLog) Enabled(context.Context, slog.Level) bool { return true }

// A callback that ends its goroutine, as the end of a test does, leaves no more behind
// than one that panics.
func TestExitsOfCallbacks(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		for _, first := range []bool{false, true} {
			for name, set := range map[string]func(o *bosh.Options, exit func()){
				"Admit": func(o *bosh.Options, exit func()) {
					o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) { exit(); return nil, nil }
				},
				"Secure":     func(o *bosh.Options, exit func()) { o.Secure = func(*http.Request) bool { exit(); return false } },
				"ClientAddr": func(o *bosh.Options, exit func()) { o.ClientAddr = func(*http.Request) net.Addr { exit(); return nil } },
				"Trace.SessionStart": func(o *bosh.Options, exit func()) {
					o.Trace = &bosh.Trace{SessionStart: func(*bosh.Session) { exit() }}
				},
			} {
				t.Run(fmt.Sprintf("%s, Direct %v, first %v", name, isDirect, first), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var on atomic.Bool
						h := WithEngine(t, With(func(o *bosh.Options) {
							o.MaxSessions, o.MaxPerAddr = 1, 1
							set(o, func() {
								if on.Load() {
									runtime.Goexit()
								}
							})
						}), isDirect)
						for range 3 {
							l := Wrapped(t, h, func(next http.Handler) http.Handler { return next })
							if !first {
								l.Says(Taken)
								l.Answers()
							}
							on.Store(true)
							l.Says(RawRequest(Creation()))
							l.Ends()
							on.Store(false)
							time.Sleep(time.Minute)
							assert.Zero(t, h.Stats().Sessions)
							assert.Zero(t, h.Stats().Open)
						}
						l := Wrapped(t, h, func(next http.Handler) http.Handler { return next })
						l.Says(RawRequest(Creation()))
						assert.Contains(t, ReadAnswer(t, l.R), "sid=")
						l.Close()
						time.Sleep(time.Minute)
						assert.NoError(t, h.Shutdown(t.Context()))
					})
				})
			}
		}
	}
}

// The direct engine calls hooks of the Server anew. If one panics, or refuses, a
// connection is lost at the most: no place of MaxSessions, no request of Shutdown's,
// and not the process.
func TestDirectPanicsOfHooks(t *testing.T) {
	const page = "GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n"
	for name, test := range map[string]struct {
		hook    func(srv *http.Server, bug func() bool)
		request string // that makes it be called
		served  bool   // all the same
		session bool   // it is one of a session, which goes on
	}{
		"ConnContext": {func(srv *http.Server, bug func() bool) {
			srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { bug(); return ctx }
		}, RawRequest(Creation()), false, false},
		"ConnContext, further stream": {func(srv *http.Server, bug func() bool) {
			srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { bug(); return ctx }
		}, "", false, true},
		"ConnContext, given back": {func(srv *http.Server, bug func() bool) {
			srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { bug(); return ctx }
		}, page, false, false},
		"ConnContext, nil": {func(srv *http.Server, bug func() bool) {
			srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
				defer func() {
					if recover() != nil {
						ctx = nil
					}
				}()
				bug()
				return ctx
			}
		}, RawRequest(Creation()), false, false},
		"ConnState": {func(srv *http.Server, bug func() bool) {
			srv.ConnState = func(_ net.Conn, s http.ConnState) {
				if s != http.StateHijacked {
					bug()
				}
			}
		}, page, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var on atomic.Bool
				log := new(LogBuffer)
				logger := slog.New(slog.NewTextHandler(log, nil))
				h := NewHandler(t, With(func(o *bosh.Options) {
					o.Direct, o.MaxSessions, o.MaxPerAddr, o.MaxStreams, o.Logger = true, 1, 1, 2, logger
					o.Trace = &bosh.Trace{Refused: func(*http.Request, *bosh.Error) {}}
				}))
				mux := http.NewServeMux()
				mux.Handle("/http-bind", h)
				pages := 0
				mux.HandleFunc("/page", func(http.ResponseWriter, *http.Request) { pages++ })
				srv := &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError)}
				test.hook(srv, func() bool {
					if on.Load() {
						panic("a bug")
					}
					return true
				})
				pipe := boshtest.Pipe(srv)
				defer pipe.Close()
				connect := func() *Line {
					conn, err := pipe.Listener.DialContext(t.Context(), "", "")
					require.NoError(t, err)
					t.Cleanup(func() { conn.Close() })
					return &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
				}
				var of *Line // the session's
				if test.session {
					of = connect()
					of.Peer, of.App = of.Opens(t, h)
				}
				for range 3 {
					l := connect()
					l.Says(Taken)
					l.Answers()
					on.Store(true)
					if of != nil {
						l.Says(RawRequest(of.Body(1001, "", "to='second.test'")))
					} else {
						l.Says(test.request)
					}
					if test.served {
						assert.Equal(t, http.StatusOK, l.Answers().StatusCode)
						on.Store(false)
					} else {
						l.Ends()
						on.Store(false)
						assert.Zero(t, pages)
					}
				}
				if name != "ConnContext, nil" {
					assert.Equal(t, 3, min(3, strings.Count(log.String(), "a bug")))
				}
				if of != nil {
					of.Says(RawRequest(of.Body(1001, "", "to='second.test'")))
					go Accept(t, h).Close()
					assert.Contains(t, ReadAnswer(t, of.R), "stream=")
					of.App.Close()
					of.Says(of.Req(1002, ""))
					assert.Contains(t, ReadAnswer(t, of.R), "terminate")
					time.Sleep(time.Hour)
				}
				assert.Zero(t, h.Stats().Sessions)
				l := connect()
				l.Peer, l.App = l.Opens(t, h)
				l.App.Close()
				l.Says(l.Req(1001, ""))
				l.Hears(End)
				assert.NoError(t, h.Shutdown(t.Context()))
			})
		})
	}
}

// A BaseContext that does not like the listener of the direct engine keeps it from
// taking connections over, and nothing else.
func TestDirectBaseContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, With(func(o *bosh.Options) { o.Direct = true }))
		pipe := boshtest.Pipe(&http.Server{Handler: h, BaseContext: func(l net.Listener) context.Context {
			_ = l.(interface {
				DialContext(context.Context, string, string) (net.Conn, error)
			})
			return context.Background()
		}})
		defer pipe.Close()
		for range 3 {
			assert.Equal(t, http.StatusOK, Do(t, pipe, "POST", AnyURL, strings.NewReader(Creation())).StatusCode)
		}
	})
}

func panicClient(t *testing.T, pipe *boshtest.PipeServer, origin, bug string) *boshtest.Client {
	t.Helper()
	c, err := boshtest.Dial(t.Context(), panicConfig(pipe, origin, bug))
	require.NoError(t, err)
	return c
}

func panicConfig(pipe *boshtest.PipeServer, origin, bug string) boshtest.Config {
	hd := http.Header{"Origin": {origin}}
	if bug != "" {
		hd.Set("X-Bug", bug)
	}
	return boshtest.Config{Transport: pipe, To: "echo.test", Header: hd, GiveUp: time.Millisecond}
}

// panicLife lives a session that a callback panics for.
func panicLife(t *testing.T, pipe *boshtest.PipeServer, armed *atomic.Bool, later, silent bool) {
	t.Helper()
	c, err := boshtest.Dial(t.Context(), panicConfig(pipe, "https://bad.test", "yes"))
	if err != nil {
		return
	}
	defer c.Close()
	if later {
		armed.Store(true)
	}
	if c.Send(t.Context(), X("ping")) == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		c.Recv(ctx)
		cancel()
	}
	if !silent {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c.Terminate(ctx)
	}
	c.Close()
	time.Sleep(2 * time.Minute)
}

// hollow is a context whose cause cannot be asked for.
type hollow struct {
	context.Context
	done chan struct{}
}

func (h hollow) Done() <-chan struct{} { return h.done }

// A ctx may panic when it is asked why it is done. So does the call, without the lock, and
// the stream goes on.
func TestPanicsOfContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bosh.New(bosh.Options{Framing: bosh.Elements})
		defer h.Close()
		body := "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='a' wait='60' hold='1' ver='1.11'/>"
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
		c, err := h.Listener().Accept()
		require.NoError(t, err)
		st := c.(*bosh.Stream)
		full := []byte("<x xmlns='urn:x'>" + strings.Repeat("x", 1000) + "</x>")
		for name, call := range map[string]func(ctx context.Context) error{
			"ReadElement": func(ctx context.Context) error { _, err := st.ReadElement(ctx); return err },
			"WriteElement": func(ctx context.Context) error {
				for err := error(nil); err == nil; {
					_, err = st.TryWrite(full)
				}
				return st.WriteElement(ctx, full)
			},
		} {
			ctx := hollow{done: make(chan struct{})}
			panicked := make(chan any)
			go func() {
				defer func() { panicked <- recover() }()
				t.Error(name, call(ctx))
			}()
			synctest.Wait()
			close(ctx.done)
			assert.NotNil(t, <-panicked, name)
			assert.EqualValues(t, 1, h.Stats().Sessions, name)
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			assert.ErrorIs(t, call(short), context.DeadlineExceeded, name)
			cancel()
		}
	})
}
