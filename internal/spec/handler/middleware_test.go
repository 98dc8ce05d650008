package handler_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// A middleware is put around a Handler.
type middleware func(http.Handler) http.Handler

// behind runs a test with a server that has m around a Handler: with both engines over
// HTTP/1.1, and over HTTP/2.
func behind(t *testing.T, o bosh.Options, m middleware, f func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer)) {
	for _, version := range []string{"HTTP/1.1", "HTTP/1.1 Direct", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := WithEngine(t, o, version == "HTTP/1.1 Direct")
				srv := &http.Server{Handler: m(h), Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
				srv.Protocols.SetHTTP1(version != "HTTP/2.0")
				srv.Protocols.SetUnencryptedHTTP2(version == "HTTP/2.0")
				pipe := boshtest.Pipe(srv)
				defer pipe.Close()
				pipe.Transport.Protocols = srv.Protocols
				f(t, h, pipe)
			})
		})
	}
}

// limiting are what limits the time of requests: http.TimeoutHandler, the Timeout of
// chi, the ContextTimeout of echo, and what leaves all to the handler.
func limiting(limit time.Duration) map[string]middleware {
	withTimeout := func(answer func(w http.ResponseWriter, err error)) middleware {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), limit)
				defer func() {
					cancel()
					answer(w, ctx.Err())
				}()
				next.ServeHTTP(w, r.WithContext(ctx))
			})
		}
	}
	late := func(status int) func(http.ResponseWriter, error) {
		return func(w http.ResponseWriter, err error) {
			if err == context.DeadlineExceeded {
				w.WriteHeader(status)
			}
		}
	}
	return map[string]middleware{
		"TimeoutHandler": func(next http.Handler) http.Handler { return http.TimeoutHandler(next, limit, "too late") },
		"chi":            withTimeout(late(504)),
		"echo":           withTimeout(late(503)),
		"context":        withTimeout(func(http.ResponseWriter, error) {}),
	}
}

// A time limit that middleware sets is no end of a held request: it is answered before,
// and the session goes on, however long nobody has anything to say. B14.3-6.
func TestTimeLimitInFront(t *testing.T) {
	for name, m := range limiting(5 * Second) {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			o := Elements()
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			behind(t, o, m, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
				log.Reset()
				p := Dial(t, pipe)
				s := Accept(t, h)
				for range 200 {
					r := p.Send("")
					require.Equal(t, 200, r.Status)
					require.Empty(t, r.Attr("type"), "%s", r)
					require.Equal(t, 4500*time.Millisecond, r.After)
				}
				held := p.Hold(X("a"))
				RequireRead(t, s, X("a"))
				Write(t, s, X("b"))
				assert.Equal(t, X("b"), held.Wait().Payload())
				assert.NoError(t, s.Session().Err())
				assert.Equal(t, 1, strings.Count(log.String(), "a time limit that is shorter than their wait"), log.String())
			})
		})
	}
}

// One that is longer than the wait changes nothing, and is nothing to speak of.
func TestLongTimeLimitInFront(t *testing.T) {
	for name, m := range limiting(70 * Second) {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			o := Elements()
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			behind(t, o, m, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
				log.Reset()
				p := Dial(t, pipe)
				Accept(t, h)
				assert.Equal(t, 59*Second, p.Send("").After)
				assert.NotContains(t, log.String(), "time limit")
			})
		})
	}
}

// The answer to a creation keeps the limit, too, and those of several requests.
func TestTimeLimits(t *testing.T) {
	limit := 3 * Second
	m := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.TimeoutHandler(next, limit, "").ServeHTTP(w, r) })
	}
	behind(t, bosh.Options{Hold: 2}, m, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		p := Dial(t, pipe, "xmpp:version='1.0' xmlns:xmpp='"+NsXBOSH+"'")
		assert.Equal(t, 2700*time.Millisecond, p.Created.After, "no features yet")
		Accept(t, h)
	})
	behind(t, bosh.Options{Framing: bosh.Elements, Hold: 3}, m, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		r := boshtest.Exchange(t, pipe, strings.Replace(Creation(), "hold='1'", "hold='3'", 1))
		p := &Peer{T: t, Rt: pipe, Sid: r.Attr("sid"), Rid: 1000}
		Accept(t, h)
		var held []*boshtest.Call
		for _, limit = range []time.Duration{40 * Second, 2 * Second, 30 * Second} {
			held = append(held, p.Hold(""))
		}
		limit = 3 * Second
		assert.Equal(t, 1800*time.Millisecond, held[0].Wait().After, "since the one behind it must be answered")
		assert.Equal(t, 1800*time.Millisecond, held[1].Wait().After)
		assert.Equal(t, 29*Second, held[2].Wait().After)
	})
}

// What cuts requests short and tells nobody has them repeated, which does not count:
// they have never been answered. B14.3-6.
func TestCutInFront(t *testing.T) {
	cancels := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			defer time.AfterFunc(2*Second, cancel).Stop()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	answers := func(next http.Handler) http.Handler { // and leaves the handler to itself
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			buffered := httptest.NewRecorder()
			done := make(chan struct{})
			go func() {
				defer close(done)
				next.ServeHTTP(buffered, r.WithContext(context.WithoutCancel(r.Context())))
			}()
			select {
			case <-done:
				w.Write(buffered.Body.Bytes())
			case <-time.After(2 * Second):
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
	}
	for name, m := range map[string]middleware{"by its context": cancels, "by an answer": answers} {
		t.Run(name, func(t *testing.T) {
			behind(t, bosh.Options{Framing: bosh.Elements}, m, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
				p := Dial(t, pipe)
				s := Accept(t, h)
				for rid := int64(1001); rid < 1004; rid++ {
					for range 15 {
						c := boshtest.Post(t, pipe, p.Body(rid, X("a")))
						if strings.Contains(t.Name(), "_Direct") && name == "by its context" { // it sees no context
							c.Cancel()
						} else if c.Err() == nil {
							require.Equal(t, http.StatusServiceUnavailable, c.Wait().Status)
						}
					}
					c := boshtest.Post(t, pipe, p.Body(rid, X("a")))
					synctest.Wait()
					Write(t, s, X("b"))
					assert.Equal(t, X("b"), c.Wait().Payload())
					RequireRead(t, s, X("a"))
				}
				assert.Zero(t, s.Session().Stats().Unread, "each was read once")
			})
		})
	}
}

// A time-out in front, of which nobody tells us, is logged: it gives requests up at the
// same age, over and over. Clients that leave when they like are not.
func TestTimeOutInFront(t *testing.T) {
	for name, test := range map[string]struct {
		ages []time.Duration
		want bool
	}{
		"each after 15 s":     {[]time.Duration{15 * Second, 15 * Second, 15 * Second}, true},
		"about":               {[]time.Duration{15 * Second, 15300 * time.Millisecond, 14800 * time.Millisecond}, true},
		"twice":               {[]time.Duration{15 * Second, 15 * Second}, false},
		"as somebody likes":   {[]time.Duration{15 * Second, 3 * Second, 15 * Second, 7 * Second, 15 * Second, 2 * Second}, false},
		"a page loaded again": {[]time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond}, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := &Journal{}
			o := Elements()
			o.Logger = slog.New(j)
			behind(t, o, func(next http.Handler) http.Handler { return next }, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
				j.Clear()
				p := Dial(t, pipe)
				s := Accept(t, h)
				for _, age := range test.ages {
					c := boshtest.Post(t, pipe, p.Body(1001, X("a"))) // a repeat, but for the first
					time.Sleep(age)
					c.Cancel()
					synctest.Wait()
				}
				RequireRead(t, s, X("a"))
				said := j.Of(cutOffMessage)
				if !test.want {
					assert.Empty(t, said)
					return
				}
				require.Len(t, said, 1)
				assert.Equal(t, slog.LevelWarn, said[0].Level)
				assert.Equal(t, test.ages[2].String(), said[0].Attrs["after"])
				assert.Equal(t, "1m0s", said[0].Attrs["wait"])
				assert.Equal(t, s.Session().ID(), said[0].Attrs["session"])
			})
		})
	}
}

// A request that is too large is logged, whether it has a session or is to open one.
func TestTooLargeIsLogged(t *testing.T) {
	for name, opens := range map[string]bool{"a session": false, "none": true} {
		t.Run(name, func(t *testing.T) {
			j := &Journal{}
			o := Elements()
			o.Logger, o.MaxBody = slog.New(j), 1000
			behind(t, o, func(next http.Handler) http.Handler { return next }, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
				j.Clear()
				text := strings.Replace(Creation(), "/>", ">"+X(strings.Repeat("a", 1000))+"</body>", 1)
				if !opens {
					p := Dial(t, pipe)
					Accept(t, h)
					text = p.Body(1001, X(strings.Repeat("a", 1000)))
				}
				for range 2 {
					boshtest.Post(t, pipe, text).Wait()
				}
				said := j.Of("bosh: a request is too large, so its client is told bad-request, which ends its session:" +
					" raise Options.MaxBody, and above it the limit of what is in front")
				require.Len(t, said, 1)
				assert.Equal(t, slog.LevelInfo, said[0].Level)
				assert.Equal(t, "1000", said[0].Attrs["max-body"])
				assert.NotEmpty(t, said[0].Attrs["remote"])
			})
		})
	}
}

// So is a request of a session for which no memory is left.
func TestNoMemoryIsLogged(t *testing.T) {
	j := &Journal{}
	o := Elements()
	o.Logger, o.MaxMemory = slog.New(j), 4<<10
	behind(t, o, func(next http.Handler) http.Handler { return next }, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		j.Clear()
		p := Dial(t, pipe)
		Accept(t, h)
		for range 2 {
			RequireEnd(t, boshtest.Exchange(t, pipe, p.Body(1001, X(strings.Repeat("a", 100<<10)))), bosh.PolicyViolation)
		}
		said := j.Of("bosh: no memory is left for a request, so its client is told policy-violation, which ends its session:" +
			" raise Options.MaxMemory, if the machine has more")
		require.Len(t, said, 1)
		assert.Equal(t, slog.LevelWarn, said[0].Level)
		assert.Equal(t, "4096", said[0].Attrs["max-memory"])
		assert.NotEmpty(t, said[0].Attrs["remote"])
	})
}

const cutOffMessage = "bosh: requests are given up before their wait is over, always at the same age:" +
	" a proxy or a load balancer in front has a shorter time-out; raise it above wait, or lower Options.Wait below it"

// recovering is middleware that has no panic pass, but answers it, and counts them.
func recovering(panics *atomic.Int32) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if v := recover(); v != nil {
					panics.Add(1)
					w.WriteHeader(http.StatusInternalServerError)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
}

// That a client leaves is no panic.
func TestNoPanicForWhoLeaves(t *testing.T) {
	var panics atomic.Int32
	behind(t, Elements(), recovering(&panics), func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		p := Dial(t, pipe)
		s := Accept(t, h)
		for range 3 {
			held := p.Hold("")
			held.Cancel() // in the middle of waiting
			synctest.Wait()
			assert.Zero(t, s.Session().Stats().Open)
		}
		for _, end := range []func(*io.PipeWriter){
			func(w *io.PipeWriter) { w.CloseWithError(io.ErrUnexpectedEOF) }, // in the middle of sending
			func(*io.PipeWriter) {}, // without a word
		} {
			body, w := io.Pipe()
			r, err := http.NewRequestWithContext(t.Context(), "POST", AnyURL, body)
			require.NoError(t, err)
			answer := Async(func() error {
				resp, err := pipe.RoundTrip(r)
				if err == nil {
					resp.Body.Close()
				}
				return err
			})
			io.WriteString(w, p.Body(p.Rid+1, "")[:50])
			synctest.Wait()
			end(w)
			time.Sleep(20 * Second)
			w.Close()
			assert.Error(t, <-answer)
		}
		Write(t, s, X("a"))
		assert.Equal(t, X("a"), p.Send("").Payload())
		early := boshtest.Post(t, pipe, p.Body(p.Rid+2, ""))
		synctest.Wait()
		early.Cancel()
		synctest.Wait()
		assert.NoError(t, s.Session().Err())
		assert.Zero(t, panics.Load())
	})
}

// A context that ends while its client is there is no answer, whatever there is in
// front.
func TestContextEndsInFront(t *testing.T) {
	canceled := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			defer time.AfterFunc(7*Second, cancel).Stop()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	var panics atomic.Int32
	for name, m := range map[string]middleware{
		"alone":              canceled,
		"recovering outside": func(next http.Handler) http.Handler { return recovering(&panics)(canceled(next)) },
		"recovering inside":  func(next http.Handler) http.Handler { return canceled(recovering(&panics)(next)) },
	} {
		t.Run(name, func(t *testing.T) {
			behind(t, Elements(), m, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
				p := Dial(t, pipe)
				s := Accept(t, h)
				held := p.Hold("")
				if strings.Contains(t.Name(), "_Direct") {
					Write(t, s, X("b")) // no context ends there
					assert.Equal(t, X("b"), held.Wait().Payload())
					return
				}
				began := time.Now()
				assert.Error(t, held.Err())
				assert.Equal(t, 7*Second, time.Since(began))
				Write(t, s, X("b"))
				assert.Equal(t, X("b"), boshtest.Exchange(t, pipe, p.Body(p.Rid, "")).Payload())
			})
		})
	}
	assert.Zero(t, panics.Load())

	t.Run("no deadlines", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, Elements())
			p := Dial(t, boshtest.InMemory(h))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(7*Second, cancel)
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(ctx, "POST", AnyURL, strings.NewReader(p.Body(1001, "")))
			assert.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(w, r) }, "or there would be an empty answer")
		})
	})
}

// B19.1-2 a request that is less secure than its session has its connection closed,
// also where a panic would be made an answer.
func TestInsecureBehindRecovery(t *testing.T) {
	secure := &tls.ConnectionState{HandshakeComplete: true}
	var panics atomic.Int32
	m := func(next http.Handler) http.Handler {
		return recovering(&panics)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Tls") != "" {
				r.TLS = secure
			}
			next.ServeHTTP(w, r)
		}))
	}
	behind(t, Elements(), m, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		if strings.Contains(t.Name(), "_Direct") {
			return // TLS is the connection's there
		}
		r := Do(t, pipe, "POST", AnyURL, strings.NewReader(Creation()), "X-Tls", "yes")
		b, err := boshtest.ParseBody([]byte(r.Text))
		require.NoError(t, err)
		p := &Peer{T: t, Rt: pipe, Sid: b.Attr("sid"), Rid: 1000}
		s := Accept(t, h)
		require.True(t, s.Session().Secure())
		assert.Error(t, p.Post("").Err(), "no answer, not even an error of HTTP")
		assert.NoError(t, s.Session().Err())
	})
	assert.EqualValues(t, 2, panics.Load(), "one for each version")
}
