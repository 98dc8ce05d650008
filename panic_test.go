package bosh_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
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
	atCreation := map[string]bool{"Admit": true, "ClientAddr": true, "Trace.SessionStart": true, "Trace.Refused": true}
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
							require.NoError(t, good.Send(t.Context(), x("ping")))
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
	return boshtest.Config{Transport: pipe, To: "echo.test", Header: hd, Retries: 2}
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
	if c.Send(t.Context(), x("ping")) == nil {
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
