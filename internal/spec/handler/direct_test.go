package handler_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
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

// A tap is a server with the direct engine, in a bubble, and a client of it.
type tap struct {
	*Line
	h      *bosh.Handler
	srv    *http.Server
	l      *boshtest.PipeListener
	served atomic.Int32 // requests that net/http has handed to the Handler
	log    *LogBuffer
}

// tapped runs f in a bubble, with a client that has a session, and a connection
// that was taken over.
func tapped(t *testing.T, name string, o bosh.Options, f func(t *testing.T, l *tap)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &tap{l: boshtest.ListenPipe(), log: new(LogBuffer)}
			o.Direct, o.Logger = true, slog.New(slog.NewTextHandler(l.log, nil))
			l.h = NewHandler(t, o)
			mux := http.NewServeMux()
			mux.HandleFunc("/http-bind", func(w http.ResponseWriter, r *http.Request) {
				l.served.Add(1)
				l.h.ServeHTTP(w, r)
			})
			mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				fmt.Fprintf(w, "%d", len(body))
			})
			l.srv = &http.Server{Handler: mux}
			go l.srv.Serve(l.l)
			defer l.srv.Close()
			l.Line = l.connect(t)
			l.Line.Peer, l.App = l.opens(t)
			f(t, l)
			l.Close()
		})
	})
}

// connect returns another connection.
func (l *tap) connect(t *testing.T) *Line {
	conn, err := l.l.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
}

func (l *tap) opens(t *testing.T) (*Peer, *bosh.Stream) { return l.Line.Opens(t, l.h) }

func TestDirectPipelining(t *testing.T) {
	std := StdOptions
	tapped(t, "a poll, and something to say behind it", std, func(t *testing.T, l *tap) {
		for rid := int64(1001); rid < 1021; rid += 2 {
			l.Says(l.Req(rid, ""))
			time.Sleep(time.Second)
			l.Says(l.Req(rid+1, X("a")))
			assert.Zero(t, Elapsed(func() {
				l.Hears(Empty)
				RequireRead(t, l.App, X("a"))
			}))
			Write(t, l.App, X("b"))
			l.Hears(Answer(X("b")))
		}
		assert.EqualValues(t, 1, l.served.Load(), "net/http has seen the first only")
	})

	tapped(t, "the answer to the poll is there first", std, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		Write(t, l.App, X("b"))
		l.Says(l.Req(1002, X("a")))
		l.Hears(Answer(X("b")))
		RequireRead(t, l.App, X("a"))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	tapped(t, "more than the window allows", std, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""), l.Req(1002, X("a")), l.Req(1005, X("b")), l.Req(1006, X("c")))
		l.Hears(Empty)
		l.Hears(Condition(bosh.OtherRequest))
		l.Hears(Condition(bosh.ItemNotFound))
		l.Hears(Condition(bosh.ItemNotFound)) // the session is over
		assert.Error(t, l.App.Session().Err())
	})

	tapped(t, "rids out of order", std, func(t *testing.T, l *tap) {
		l.Says(l.Req(1002, X("b")), l.Req(1001, X("a")))
		RequireRead(t, l.App, X("a")+X("b"))
		l.Silent()
		Write(t, l.App, X("c"))
		l.Hears(Answer(X("c"))) // 1002, for 1001 has been answered
		l.Hears(Empty)
		assert.Equal(t, 0, l.App.Session().Stats().Open)
	})

	tapped(t, "a repeat behind the original", std, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""))
		l.Silent()
		l.Says(l.Req(1001, ""))
		assert.Zero(t, Elapsed(func() { l.Hears("<body type='error'/>") }))
		l.Silent()
		Write(t, l.App, X("c"))
		l.Hears(Answer(X("c")))
		l.Says(l.Req(1001, ""), l.Req(1001, ""))
		l.Hears(Answer(X("c")))
		l.Hears(Answer(X("c")))
	})

	tapped(t, "two sessions", std, func(t *testing.T, l *tap) {
		other, app := l.opens(t)
		request := func(rid int64, payload string) string { return RawRequest(other.Body(rid, payload)) }
		l.Says(l.Req(1001, ""), request(1001, X("o")))
		RequireRead(t, app, X("o"))
		Write(t, app, X("p"))
		l.Silent() // since the first one waits
		assert.Equal(t, 0, app.Session().Stats().Open, "it is on its way as far as the session can see")
		l.Says(request(1002, ""), request(1003, X("r")))
		RequireRead(t, app, X("r"))
		time.Sleep(time.Second)
		assert.Equal(t, 1, app.Session().Stats().Open)
		Write(t, l.App, X("a"))
		l.Hears(Answer(X("a")))
		l.Hears(Answer(X("p")))
		l.Hears(Empty)
		l.Silent()
		Write(t, app, X("q"))
		l.Hears(Answer(X("q")))
	})

	tapped(t, "half a request", std, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		second := l.Req(1002, X("a"))
		for i := range 10 {
			l.Says(second[10*i : 10*i+10])
			time.Sleep(time.Second)
		}
		l.Silent()
		Write(t, l.App, X("c"))
		l.Hears(Answer(X("c")))
		l.Says(second[100:])
		RequireRead(t, l.App, X("a"))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	tapped(t, "half a request, and no more", std, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		l.Says(l.Req(1002, "")[:50])
		assert.Equal(t, 15*time.Second, Elapsed(l.Ends))
		synctest.Wait()
		assert.Equal(t, 0, l.App.Session().Stats().Open)
		other := l.connect(t)
		other.Says(l.Req(1001, ""))
		Write(t, l.App, X("c"))
		other.Hears(Answer(X("c")))
	})

	tapped(t, "a page", std, func(t *testing.T, l *tap) {
		const get = "GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n"
		l.Says(l.Req(1001, ""), get, l.Req(1002, X("a")))
		l.Silent()
		Write(t, l.App, X("c"))
		l.Hears(Answer(X("c")))
		assert.Equal(t, "0", ReadAnswer(t, l.R))
		RequireRead(t, l.App, X("a"))
		l.Says(l.Req(1003, X("b")))
		RequireRead(t, l.App, X("b"))
		l.Hears(Empty)
		assert.EqualValues(t, 2, l.served.Load(), "it was taken over again")
	})

	tapped(t, "a client that vanishes", std, func(t *testing.T, l *tap) {
		other, app := l.opens(t)
		l.Says(l.Req(1001, ""), RawRequest(other.Body(1001, "")))
		l.Silent()
		assert.Equal(t, 1, l.App.Session().Stats().Open)
		assert.Equal(t, 1, app.Session().Stats().Open)
		l.Close()
		synctest.Wait()
		assert.Equal(t, 0, l.App.Session().Stats().Open)
		assert.Equal(t, 0, app.Session().Stats().Open)
	})

	tapped(t, "a client that vanishes behind a page", std, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""), "GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n")
		l.Silent()
		l.Close()
		synctest.Wait()
		assert.Equal(t, 0, l.App.Session().Stats().Open)
	})
}

// What is read behind a held request is bounded.
func TestDirectReadsAhead(t *testing.T) {
	tapped(t, "by bytes", StdOptions, func(t *testing.T, l *tap) {
		body := strings.Repeat("x", 1<<20)
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		var sent atomic.Int64
		go func() {
			for rest := request("POST /page HTTP/1.1", body); rest != ""; {
				k := min(len(rest), 1<<10)
				if _, err := io.WriteString(l.Conn, rest[:k]); err != nil {
					return
				}
				rest = rest[k:]
				sent.Add(int64(k))
			}
		}()
		l.Silent()
		assert.InDelta(t, 128<<10, sent.Load(), 4<<10, "64 KiB, and as much in the pipe")
		Write(t, l.App, X("c"))
		l.Hears(Answer(X("c")))
		assert.Equal(t, fmt.Sprint(len(body)), ReadAnswer(t, l.R))
	})

	tapped(t, "by bytes, of a client that vanishes", StdOptions, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		go io.WriteString(l.Conn, request("POST /page HTTP/1.1", strings.Repeat("x", 1<<20)))
		l.Silent()
		Write(t, l.App, X(strings.Repeat("y", 200<<10))) // more than the pipe takes
		synctest.Wait()
		l.Close()
		synctest.Wait()
		assert.Equal(t, 0, l.App.Session().Stats().Open)
	})

	var admitted atomic.Int32
	o := With(func(o *bosh.Options) {
		o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) {
			if admitted.Add(1) > 1 {
				return nil, &bosh.Error{Condition: bosh.PolicyViolation}
			}
			return nil, nil
		}
	})
	tapped(t, "by requests", o, func(t *testing.T, l *tap) {
		const n = 100
		l.Says(l.Req(1001, ""))
		go func() {
			for range n {
				io.WriteString(l.Conn, RawRequest(Creation()))
			}
		}()
		l.Silent()
		assert.EqualValues(t, 32, admitted.Load(), "its own, and 31 behind the one that is held")
		Write(t, l.App, X("c"))
		l.Hears(Answer(X("c")))
		for range n {
			l.Hears(Condition(bosh.PolicyViolation))
		}
		assert.EqualValues(t, 1+n, admitted.Load())
		l.Says(l.Req(1002, ""))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})
}

// A client that does not read its answer loses its connection, and nothing else.
func TestDirectSlowReader(t *testing.T) {
	tapped(t, "one", StdOptions, func(t *testing.T, l *tap) {
		payload := X(strings.Repeat("y", 200<<10))
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		Write(t, l.App, payload)
		time.Sleep(30*time.Second - 1)
		synctest.Wait()
		assert.Equal(t, 1, l.App.Session().Stats().Open)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 0, l.App.Session().Stats().Open)
		_, err := io.Copy(io.Discard, l.R)
		assert.NoError(t, err, "it was closed")
		other := l.connect(t)
		other.Says(l.Req(1001, ""))
		other.Hears(Answer(payload))
	})

	const n = 1000
	o := With(func(o *bosh.Options) { o.MaxSessions = n + 1 })
	tapped(t, "a thousand", o, func(t *testing.T, l *tap) {
		payload := X(strings.Repeat("y", 100<<10))
		lines := make([]*Line, n)
		for i := range lines {
			lines[i] = l.connect(t)
			lines[i].Peer, lines[i].App = lines[i].Opens(t, l.h)
			lines[i].Says(lines[i].Req(1001, ""))
		}
		synctest.Wait()
		before := Heap()
		for _, s := range lines {
			Write(t, s.App, payload)
		}
		synctest.Wait()
		// The answer as it is kept for repeats, the one that is written, each
		// with room to grow, and the pipe's buffer with as much.
		each := (Heap() - before) / n
		t.Logf("%d KiB each", each>>10)
		assert.Less(t, each, int64(5*len(payload)))
		assert.EqualValues(t, n, l.h.Stats().Open)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		assert.Zero(t, l.h.Stats().Open)
		time.Sleep(Overtime)
		synctest.Wait()
		assert.EqualValues(t, n, l.h.Stats().Sessions, "but for the one that did nothing")
	})
}

func TestDirectShutdown(t *testing.T) {
	for name, shutdown := range map[string]func(l *tap) error{
		"of the server":           func(l *tap) error { return l.srv.Shutdown(context.Background()) },
		"of the Handler, closing": func(l *tap) error { return l.h.Close() },
		"of both": func(l *tap) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			l.h.Shutdown(ctx) // the client is between two requests
			return l.srv.Shutdown(context.Background())
		},
	} {
		tapped(t, name+", an idle connection", StdOptions, func(t *testing.T, l *tap) {
			assert.NoError(t, shutdown(l))
			l.Ends()
		})
		tapped(t, name+", one that was given back", StdOptions, func(t *testing.T, l *tap) {
			l.Says("GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n")
			assert.Equal(t, "0", ReadAnswer(t, l.R))
			assert.NoError(t, shutdown(l))
			l.Ends()
		})
		tapped(t, name+", half a request", StdOptions, func(t *testing.T, l *tap) {
			l.Says(l.Req(1001, "")[:30])
			synctest.Wait()
			assert.NoError(t, shutdown(l))
			l.Ends()
		})
	}

	tapped(t, "of the server, a held request", StdOptions, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		assert.NoError(t, l.srv.Shutdown(t.Context()))
		l.Silent()
		Write(t, l.App, X("c"))
		r := l.Answers()
		assert.Equal(t, Complete(Answer(X("c"))), r.Text)
		assert.True(t, r.Close)
		l.Ends()
	})

	tapped(t, "of the Handler, a held request", StdOptions, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		assert.NoError(t, l.h.Shutdown(t.Context()))
		assert.Equal(t, Complete(Condition(bosh.SystemShutdown)), l.Answers().Text)
		l.Ends()
	})

	tapped(t, "of the Handler, which gives up", StdOptions, func(t *testing.T, l *tap) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, l.h.Shutdown(ctx), context.DeadlineExceeded)
		l.Ends()
		other := l.connect(t) // it is served all the same
		other.Says(l.Req(1001, ""))
		assert.Equal(t, Complete(Condition(bosh.SystemShutdown)), other.Answers().Text)
	})

	tapped(t, "of the Handler, closing a held request", StdOptions, func(t *testing.T, l *tap) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		assert.NoError(t, l.h.Close())
		assert.Equal(t, Complete(Condition(bosh.SystemShutdown)), l.Answers().Text)
		l.Ends()
	})
}

// A callback that panics costs a connection at most: those of a Trace not even
// that.
func TestDirectPanics(t *testing.T) {
	var on atomic.Bool
	oops := func() {
		if on.Load() {
			panic("oops, a callback")
		}
	}
	for name, test := range map[string]struct {
		o         func(o *bosh.Options)
		creates   bool // it takes a creation request
		terminate bool // it takes the end of the session
		survives  bool // the connection does
	}{
		"Request":          {o: func(o *bosh.Options) { o.Trace.Request = func(*bosh.Session, bosh.RequestInfo) { oops() } }, survives: true},
		"Response":         {o: func(o *bosh.Options) { o.Trace.Response = func(*bosh.Session, bosh.ResponseInfo) { oops() } }, survives: true},
		"SessionStart":     {o: func(o *bosh.Options) { o.Trace.SessionStart = func(*bosh.Session) { oops() } }, creates: true, survives: true},
		"SessionEnd":       {o: func(o *bosh.Options) { o.Trace.SessionEnd = func(*bosh.Session) { oops() } }, terminate: true, survives: true},
		"ClientAddr":       {o: func(o *bosh.Options) { o.ClientAddr = func(*http.Request) net.Addr { oops(); return nil } }, creates: true},
		"Secure":           {o: func(o *bosh.Options) { o.Secure = func(*http.Request) bool { oops(); return true } }},
		"Secure, creation": {o: func(o *bosh.Options) { o.Secure = func(*http.Request) bool { oops(); return true } }, creates: true},
		"AllowOrigin":      {o: func(o *bosh.Options) { o.AllowOrigin = func(string) bool { oops(); return true } }, creates: true},
	} {
		on.Store(false)
		o := With(func(o *bosh.Options) {
			o.Trace = new(bosh.Trace)
			test.o(o)
		})
		tapped(t, name, o, func(t *testing.T, l *tap) {
			on.Store(true)
			switch {
			case test.creates:
				l.Says(strings.Replace(RawRequest(Creation()), "Host:", "Origin: https://a.test\r\nHost:", 1))
			case test.terminate:
				l.Says(RawRequest(l.Body(1001, "", "type='terminate'")))
			default:
				l.Says(l.Req(1001, ""))
				synctest.Wait()
				Write(t, l.App, X("a")) // by another goroutine
			}
			synctest.Wait()
			on.Store(false)
			assert.Contains(t, l.log.String(), "oops, a callback")
			assert.Contains(t, l.log.String(), "direct_test.go", "the stack")
			if test.survives {
				assert.NotContains(t, ReadAnswer(t, l.R), "condition")
				l.Says("GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n")
				assert.Equal(t, "0", ReadAnswer(t, l.R))
			} else {
				io.Copy(io.Discard, l.R) // to its end
			}
			if !test.terminate {
				assert.Zero(t, l.h.Stats().Open)
				other := l.connect(t)
				other.Says(l.Req(1001, "")) // again, perhaps
				synctest.Wait()
				if test.creates {
					Write(t, l.App, X("a"))
				}
				other.Hears(Answer(X("a")))
			}
			done := goShutdown(t, l.h, 0)
			time.Sleep(time.Minute) // for the sessions to become inactive
			assert.False(t, Pending(done))
			assert.NoError(t, <-done)
		})
	}
}

// What is not BOSH is served as if nothing had happened, by net/http.
func TestDirectElse(t *testing.T) {
	type keyOf string
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
			o := StdOptions
			o.Direct = true
			h := NewHandler(t, o)
			var direct, conns atomic.Int32
			var seen []string
			mux := http.NewServeMux()
			mux.HandleFunc("/bosh/{room}", func(w http.ResponseWriter, r *http.Request) {
				direct.Add(1)
				h.ServeHTTP(w, r)
			})
			look := func(r *http.Request) string {
				depth := 0
				for c, _ := r.Context().Value(keyOf("conn")).(net.Conn); c != nil; depth++ {
					under, ok := c.(interface{ NetConn() net.Conn })
					if !ok {
						break
					}
					c = under.NetConn()
				}
				_, limited := r.Context().Deadline()
				return fmt.Sprint(r.Context().Value(keyOf("base")), r.TLS != nil && r.TLS.HandshakeComplete, r.RemoteAddr,
					r.Context().Value(http.ServerContextKey).(*http.Server).Addr, r.Context().Value(http.LocalAddrContextKey),
					limited, depth)
			}
			mux.HandleFunc("/page/{name}", func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, look(r)+" "+r.PathValue("name"))
				io.Copy(w, r.Body)
			})
			mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
				conn, rw, err := http.NewResponseController(w).Hijack()
				if !assert.NoError(t, err) {
					return
				}
				defer conn.Close()
				depth := 0
				for c := conn; ; depth++ {
					under, ok := c.(interface{ NetConn() net.Conn })
					if !ok {
						break
					}
					c = under.NetConn()
				}
				assert.LessOrEqual(t, depth, 2, "wrappers pile up")
				io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
				io.Copy(conn, rw)
			})
			srv := httptest.NewUnstartedServer(mux)
			srv.Config.Addr = "the server"
			srv.Config.BaseContext = func(net.Listener) context.Context {
				return context.WithValue(context.Background(), keyOf("base"), "base")
			}
			srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
				conns.Add(1)
				return context.WithValue(ctx, keyOf("conn"), c)
			}
			if secure {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			require.NoError(t, err)
			if secure {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			l := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
			page := func() {
				l.Says(request("POST /page/me HTTP/1.1", "hello"))
				assert.Equal(t, "hello", ReadAnswer(t, l.R))
			}
			bosh := func(body string) string {
				return strings.Replace(RawRequest(body), "/http-bind", "/bosh/a", 1)
			}
			page()
			l.Says(bosh(Creation()))
			body, err := boshtest.ParseBody([]byte(ReadAnswer(t, l.R)))
			require.NoError(t, err)
			l.Sid, l.App = body.Attr("sid"), Accept(t, h)
			for rid := int64(1001); rid < 1021; rid += 2 {
				for i := range int64(2) {
					Write(t, l.App, X("b"))
					l.Says(bosh(l.Body(rid+i, X("a"))))
					l.Hears(Answer(X("b")))
					RequireRead(t, l.App, X("a"))
				}
				page()
			}
			assert.EqualValues(t, 10, direct.Load(), "taken over again each time")
			for _, s := range seen {
				assert.Equal(t, seen[0], s)
			}
			l.Says("GET /socket HTTP/1.1\r\nHost: bosh.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
			resp, err := http.ReadResponse(l.R, nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			RequireRead(t, l.R, "hello")
			l.Says("again")
			RequireRead(t, l.R, "again")
		})
	}
}

// A connection that was taken over keeps its certificate, and may not be used for
// the session of another.
func TestDirectTLS(t *testing.T) {
	o := StdOptions
	o.Direct = true
	h := NewHandler(t, o)
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	defer srv.Close()
	plain := httptest.NewServer(h)
	defer plain.Close()
	connect := func(cert *tls.Certificate, at *httptest.Server) *Line {
		conn, err := net.Dial("tcp", at.Listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		if at == srv {
			c := &tls.Config{InsecureSkipVerify: true}
			if cert != nil {
				c.Certificates = []tls.Certificate{*cert}
			}
			conn = tls.Client(conn, c)
		}
		l := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
		l.Peer, l.App = l.Opens(t, h)
		return l
	}
	a, _ := Certificate(t)
	b, _ := Certificate(t)
	mine := connect(&a, srv)
	require.NotNil(t, mine.App.Session().TLS())
	assert.Equal(t, a.Certificate[0], mine.App.Session().TLS().PeerCertificates[0].Raw)
	assert.True(t, mine.App.Session().Secure())
	for name, other := range map[string]*Line{"another": connect(&b, srv), "none": connect(nil, srv), "plain": connect(nil, plain)} {
		other.Says(mine.Req(1001, X("forged")))
		_, err := other.R.ReadByte()
		assert.Error(t, err, name)
	}
	again := connect(&a, srv) // the same certificate on another connection that was taken over
	Write(t, mine.App, X("out"))
	again.Says(mine.Req(1001, X("in")))
	again.Hears(Answer(X("out")))
	RequireRead(t, mine.App, X("in"))
	mine.Says(mine.Req(1002, ""), mine.Req(1003, X("more")))
	mine.Hears(Empty)
	RequireRead(t, mine.App, X("more"))
}

// A client that has ended what it sends is gone.
func TestDirectHalfClose(t *testing.T) {
	o := StdOptions
	o.Direct = true
	h := NewHandler(t, o)
	srv := httptest.NewServer(h)
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	l := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
	l.Peer, l.App = l.Opens(t, h)
	l.Says(l.Req(1001, X("a")), l.Req(1002, "")[:20])
	RequireRead(t, l.App, X("a"))
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	l.Ends()
	for l.App.Session().Stats().Open > 0 {
		runtime.Gosched()
	}

	// net/http has something to say to half a head.
	conn, err = net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	other := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
	other.Opens(t, h)
	other.Says("POST /http-bind HTTP/1.1")
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	text, err := io.ReadAll(other.R)
	require.NoError(t, err)
	assert.Contains(t, string(text), "400 Bad Request")
}

// sockets runs f with a server with the direct engine and a connection to it that
// was taken over, over sockets, with TLS and without.
func sockets(t *testing.T, name string, o bosh.Options, f func(t *testing.T, h *bosh.Handler, srv *http.Server, l *Line)) {
	t.Helper()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("%s, TLS %t", name, secure), func(t *testing.T) {
			o.Direct = true
			h := NewHandler(t, o)
			srv := httptest.NewUnstartedServer(h)
			if secure {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(64<<10)) // for the slow reader
			require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			if secure {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			l := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
			l.Peer, l.App = l.Opens(t, h)
			f(t, h, srv.Config, l)
		})
	}
}

func TestDirectSockets(t *testing.T) {
	sockets(t, "an idle connection", StdOptions, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *Line) {
		require.NoError(t, srv.Shutdown(t.Context()))
		l.Ends()
		l.IsClosed()
	})

	sockets(t, "held requests", StdOptions, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *Line) {
		l.Says(l.Req(1001, ""))
		for s := l.App.Session(); s.Stats().Requests < 2 || s.Stats().Open > 1; {
			runtime.Gosched() // until the creation is over
		}
		require.NoError(t, srv.Shutdown(t.Context()))
		time.Sleep(50 * time.Millisecond) // it tells the Handler by a goroutine
		Write(t, l.App, X("c"))
		r := l.Answers()
		assert.Equal(t, Complete(Answer(X("c"))), r.Text)
		assert.True(t, r.Close)
		l.Ends()
		l.IsClosed()
	})

	sockets(t, "the end of the Handler", StdOptions, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *Line) {
		l.Says(l.Req(1001, ""))
		for s := l.App.Session(); s.Stats().Requests < 2 || s.Stats().Open > 1; {
			runtime.Gosched() // until the creation is over
		}
		require.NoError(t, h.Shutdown(t.Context()))
		assert.Equal(t, Complete(Condition(bosh.SystemShutdown)), l.Answers().Text)
		l.Ends()
	})

	slow := With(func(o *bosh.Options) { o.WriteTimeout, o.WriteBuffer = 100*time.Millisecond, 64<<20 })
	sockets(t, "a slow reader", slow, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *Line) {
		payload := X(strings.Repeat("y", 900<<10))
		var b strings.Builder
		for range 8 {
			b.WriteString(payload)
		}
		Write(t, l.App, b.String())
		l.Says(l.Req(1001, ""))
		for l.App.Session().Stats().Requests < 2 || l.App.Session().Stats().Open > 0 {
			time.Sleep(time.Millisecond)
		}
		assert.NoError(t, l.App.Session().Err())
	})

	sockets(t, "many at once", StdOptions, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *Line) {
		const n = 300
		for rid := int64(1001); rid < 1001+n; rid++ {
			Write(t, l.App, X("b"))
			l.Says(l.Req(rid, X("a")))
			l.Hears(Answer(X("b")))
		}
		RequireRead(t, l.App, strings.Repeat(X("a"), n))
	})
}

// A request that opens a stream, and has to wait for one on another connection,
// is shown to Admit all the same.
func TestDirectEarlyOpening(t *testing.T) {
	var from atomic.Value
	o := With(func(o *bosh.Options) {
		o.MaxStreams = 2
		o.Admit = func(_ context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
			from.Store(r.Header.Get("X-Conn"))
			return nil, nil
		}
	})
	tapped(t, "early", o, func(t *testing.T, l *tap) {
		other := l.connect(t)
		other.Opens(t, l.h)
		early := strings.Replace(RawRequest(l.Body(1002, "", "to='example.net'")), "Host:", "X-Conn: other\r\nHost:", 1)
		other.Says(early)
		synctest.Wait()
		l.Says(l.Req(1001, X("a")))
		l.Hears(Empty)
		Accept(t, l.h)
		assert.Equal(t, "other", from.Load())
	})
}

// What somebody in front of the Handler says of the connection counts.
func TestDirectNotTaken(t *testing.T) {
	for name, wrap := range map[string]func(h http.Handler) http.Handler{
		"it is to be closed": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Connection", "close")
				h.ServeHTTP(w, r)
			})
		},
		"the time is limited": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), time.Hour)
				defer cancel()
				w.Header().Set("X-Seen", "each")
				h.ServeHTTP(w, r.WithContext(ctx))
			})
		},
		"it cannot be hijacked": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Seen", "each")
				h.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := StdOptions
				o.Direct = true
				srv := boshtest.NewPipeServer(wrap(NewHandler(t, o)))
				defer srv.Close()
				conn, err := srv.Listener.DialContext(t.Context(), "", "")
				require.NoError(t, err)
				defer conn.Close()
				l := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
				for range 8 {
					l.Says(Taken)
					r := l.Answers()
					assert.Equal(t, Complete(Condition(bosh.ItemNotFound)), r.Text)
					if r.Close {
						l.Ends()
						return
					}
					assert.Equal(t, "each", r.Header.Get("X-Seen"))
				}
			})
		})
	}
}

// A client is gone at once also if its end comes along with its last request.
func TestDirectGoneWithRequest(t *testing.T) {
	o := StdOptions
	o.Direct = true
	h := NewHandler(t, o)
	srv := httptest.NewServer(h)
	defer srv.Close()
	const clients = 30
	late := 0
	for range clients {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		l := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
		l.Peer, l.App = l.Opens(t, h)
		l.Says(l.Req(1001, ""))
		require.NoError(t, conn.Close())
		began, s := time.Now(), l.App.Session()
		for s.Stats().Requests < 2 || s.Stats().Open > 0 {
			runtime.Gosched()
		}
		if time.Since(began) > time.Second/2 {
			late++
		}
	}
	assert.Less(t, late, clients/3, "clients that were thought to be there still: a busy machine may have a few")
}

// Middleware may change the request, and the headers of its answer, after the
// Handler has returned. The answer is the engine's by then.
func TestDirectMiddlewareGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var paths, agents []string
		h := NewHandler(t, With(func(o *bosh.Options) {
			o.Direct = true
			o.AllowOrigin = func(origin string) bool { return origin == "https://page.test" }
			o.Admit = func(_ context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
				paths, agents = append(paths, r.URL.Path), append(agents, r.UserAgent())
				return nil, nil
			}
		}))
		p := Dial(t, boshtest.InMemory(h))
		app := Accept(t, h)
		l := Wrapped(t, h, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Before", "1")
				next.ServeHTTP(w, r)
				w.Header()["X-Before"][0] = "2"
				w.Header().Set("Server-Timing", "total;dur=1")
				r.Header["User-Agent"][0] = "another"
				r.Header.Del("Origin")
				r.URL.Path = "/elsewhere"
			})
		})
		from := func(body string) string {
			return strings.Replace(RawRequest(body), "Host:", "User-Agent: me\r\nOrigin: https://page.test\r\nHost:", 1)
		}
		l.Says(from(p.Body(1001, "")))
		l.Silent()
		Write(t, app, X("a"))
		r := l.Answers()
		assert.Equal(t, Complete(Answer(X("a"))), r.Text)
		assert.Equal(t, []string{"1"}, r.Header["X-Before"])
		assert.Empty(t, r.Header["Server-Timing"])
		assert.Equal(t, "https://page.test", r.Header.Get("Access-Control-Allow-Origin"))

		l.Says(from(Creation()))
		assert.Contains(t, l.Answers().Text, "sid=")
		assert.Equal(t, "/http-bind", paths[len(paths)-1])
		assert.Equal(t, "me", agents[len(agents)-1])
	})
}

// A gzipWriter compresses what is written through it.
type gzipWriter struct {
	http.ResponseWriter
	gz    *gzip.Writer
	wrote bool
}

func (w *gzipWriter) Write(p []byte) (int, error) { w.wrote = true; return w.gz.Write(p) }

func (w *gzipWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// compressor is middleware as there is much of: it says before it calls the handler
// how the body will be compressed.
func compressor(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Add("Vary", "Accept-Encoding")
		gw := &gzipWriter{ResponseWriter: w, gz: gzip.NewWriter(w)}
		defer func() {
			if !gw.wrote {
				w.Header().Del("Content-Encoding")
				gw.gz.Reset(io.Discard)
			}
			gw.gz.Close()
		}()
		next.ServeHTTP(gw, r)
	})
}

// An answer is as its headers say, whatever middleware compresses, and whatever
// Compress does.
func TestCompressingMiddleware(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		for _, compress := range []int{0, 1} {
			t.Run(fmt.Sprintf("Direct %v, Compress %d", isDirect, compress), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := WithEngine(t, With(func(o *bosh.Options) { o.Compress = compress }), isDirect)
					l := Wrapped(t, h, compressor)
					says := func(body string) string {
						l.Says(strings.Replace(RawRequest(body), "Host:", "Accept-Encoding: gzip\r\nHost:", 1))
						return decoded(t, l.Answers())
					}
					created, err := boshtest.ParseBody([]byte(says(Creation())))
					require.NoError(t, err)
					l.Sid, l.App = created.Attr("sid"), Accept(t, h)
					for rid := int64(1001); rid < 1005; rid++ {
						payload := X(strings.Repeat("long ", int(rid-1001)*1000))
						Write(t, l.App, payload)
						assert.Equal(t, Complete(Answer(payload)), says(l.Body(rid, "")))
					}
				})
			})
		}
	}
}

// A field that describes the body, or how it is sent, is not the middleware's to
// set. All others are on the answer.
func TestDirectHeadersOfMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, With(func(o *bosh.Options) { o.Direct = true }))
		l := Wrapped(t, h, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				hd := w.Header()
				for _, name := range []string{
					"Content-Encoding", "content-encoding", "Content-Length", "content-length", "Content-Type", "content-type",
					"Content-Language", "Content-Location", "Content-Range", "Content-Disposition", "Content-MD5", "Content-Digest",
					"Repr-Digest", "Digest", "ETag", "Etag", "Last-Modified", "Accept-Ranges", "Transfer-Encoding", "transfer-encoding",
					"Trailer", "Trailer:X-Sum", "Keep-Alive", "Upgrade", "TE", "Proxy-Connection", "date",
				} {
					hd[name] = []string{"gzip"}
				}
				hd["Set-Cookie"] = []string{"a=b", "c=d"}
				hd["x-request-id"] = []string{"7"}
				hd["cache-control"] = []string{"public"}
				hd["Content-Security-Policy-Report-Only"] = []string{"default-src 'self'"}
				next.ServeHTTP(w, r)
			})
		})
		first, later := "", ""
		for i, head := range []*string{&first, &later} {
			l.Says(Taken)
			r := l.Answers()
			assert.Equal(t, Complete(Condition(bosh.ItemNotFound)), r.Text)
			assert.Equal(t, []string{"no-store"}, r.Header["Cache-Control"])
			assert.Equal(t, []string{"text/xml; charset=utf-8"}, r.Header["Content-Type"])
			assert.Len(t, r.Header["Date"], 1)
			if i == 0 {
				assert.Equal(t, []string{"a=b", "c=d"}, r.Header["Set-Cookie"])
				assert.Equal(t, "7", r.Header.Get("X-Request-Id"))
				assert.NotEmpty(t, r.Header["Content-Security-Policy-Report-Only"])
				for _, name := range []string{"Set-Cookie", "X-Request-Id", "Content-Security-Policy-Report-Only"} {
					r.Header.Del(name)
				}
			}
			*head = fmt.Sprint(r.Header, r.ContentLength, r.TransferEncoding, r.Trailer)
		}
		assert.Equal(t, later, first)
	})
}

// A request is shown as it came, and not as another one with the same head.
func TestDirectContentLength(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		t.Run(fmt.Sprint("Direct ", isDirect), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked []*http.Request
				h := WithEngine(t, With(func(o *bosh.Options) {
					o.Admit = func(_ context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
						asked = append(asked, r)
						return nil, nil
					}
				}), isDirect)
				l := Wrapped(t, h, func(next http.Handler) http.Handler { return next })
				for i := range 4 {
					body := Creation(strings.Repeat(" ", 10*i))
					l.Says(RawRequest(body))
					assert.Contains(t, l.Answers().Text, "sid=")
					assert.EqualValues(t, len(body), asked[i].ContentLength)
					assert.Equal(t, fmt.Sprint(len(body)), asked[i].Header.Get("Content-Length"))
					r := Accept(t, h).Session().Request()
					assert.Zero(t, r.ContentLength)
					assert.NotContains(t, r.Header, "Content-Length")
				}
			})
		})
	}
}

// Empty lines behind a request, as old clients send them, are no request: they
// neither begin its time limit nor end a poll. B5-1.
func TestEmptyLinesBehindPost(t *testing.T) {
	for _, lines := range []string{"\r\n", "\n", "\r", "\r\n\r\n"} {
		for _, together := range []bool{false, true} {
			for _, isDirect := range []bool{false, true} {
				t.Run(fmt.Sprintf("%q, together %v, Direct %v", lines, together, isDirect), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						h := WithEngine(t, StdOptions, isDirect)
						l := Wrapped(t, h, func(next http.Handler) http.Handler { return next })
						l.Peer, l.App = l.Opens(t, h)
						for rid := int64(1001); rid < 1005; rid++ {
							if together {
								l.Says(l.Req(rid, "") + lines)
							} else {
								l.Says(l.Req(rid, ""))
								synctest.Wait()
								l.Says(lines)
							}
							assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
							time.Sleep(time.Minute / 4)
						}
						assert.NoError(t, l.App.Session().Err())
					})
				})
			}
		}
	}
}

// A Server that keeps no connections alive closes them after their next answer,
// whoever serves them.
func TestKeepAlivesDisabled(t *testing.T) {
	const page = "GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n"
	for _, isDirect := range []bool{false, true} {
		t.Run(fmt.Sprint("Direct ", isDirect), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := WithEngine(t, StdOptions, isDirect)
				mux := http.NewServeMux()
				mux.Handle("/http-bind", h)
				mux.HandleFunc("/page", func(http.ResponseWriter, *http.Request) {})
				srv := &http.Server{Handler: mux}
				pipe := boshtest.Pipe(srv)
				defer pipe.Close()
				connect := func() *Line {
					conn, err := pipe.Listener.DialContext(t.Context(), "", "")
					require.NoError(t, err)
					t.Cleanup(func() { conn.Close() })
					l := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
					l.Peer, l.App = l.Opens(t, h)
					return l
				}
				last := func(l *Line, want string) {
					t.Helper()
					r := l.Answers()
					assert.Equal(t, want, r.Text)
					assert.True(t, r.Close)
					l.Ends()
				}

				held, other, idle, back := connect(), connect(), connect(), connect()
				back.Says(page)
				back.Answers()
				held.Says(held.Req(1001, ""))
				other.Says(other.Req(1001, ""))
				synctest.Wait()
				srv.SetKeepAlivesEnabled(false)
				Write(t, held.App, X("a"))
				last(held, Complete(Answer(X("a"))))
				time.Sleep(time.Second)
				idle.Ends()
				if isDirect { // net/http has closed it
					back.Says(page)
					last(back, "")
				}
				Write(t, other.App, X("b"))
				last(other, Complete(Answer(X("b"))))

				conn, err := pipe.Listener.DialContext(t.Context(), "", "")
				require.NoError(t, err)
				defer conn.Close()
				fresh := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
				fresh.Says(Taken)
				last(fresh, Complete(Condition(bosh.ItemNotFound)))

				srv.SetKeepAlivesEnabled(true)
				again := connect()
				for rid := int64(1001); rid < 1004; rid++ {
					Write(t, again.App, X("c"))
					again.Says(again.Req(rid, ""))
					again.Hears(Answer(X("c")))
				}
			})
		})
	}
}
