package bosh_test

import (
	"bufio"
	"bytes"
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
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A tap is a server with the direct engine, in a bubble, and a client of it.
type tap struct {
	*line
	h      *bosh.Handler
	srv    *http.Server
	l      *boshtest.PipeListener
	served atomic.Int32 // requests that net/http has handed to the Handler
	log    *logBuffer
}

// A logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tapped runs f in a bubble, with a client that has a session, and a connection
// that was taken over.
func tapped(t *testing.T, name string, o bosh.Options, f func(t *testing.T, l *tap)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &tap{l: boshtest.ListenPipe(), log: new(logBuffer)}
			o.Direct, o.Logger = true, slog.New(slog.NewTextHandler(l.log, nil))
			l.h = newHandler(t, o)
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
			l.line = l.connect(t)
			l.line.peer, l.app = l.opens(t)
			f(t, l)
			l.Close()
		})
	})
}

// connect returns another connection.
func (l *tap) connect(t *testing.T) *line {
	conn, err := l.l.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
}

// opens creates a session over the line.
func (l *line) opens(t *testing.T, h *bosh.Handler) (*peer, *bosh.Stream) {
	t.Helper()
	l.says(rawRequest(creation()))
	body, err := boshtest.ParseBody([]byte(readAnswer(t, l.r)))
	require.NoError(t, err)
	return &peer{t: t, sid: body.Attr("sid"), rid: 1000}, accept(t, h)
}

func (l *tap) opens(t *testing.T) (*peer, *bosh.Stream) { return l.line.opens(t, l.h) }

// ends asserts that the server closes the connection, and says nothing before.
func (l *line) ends() {
	l.t.Helper()
	_, err := l.r.ReadByte()
	assert.Equal(l.t, io.EOF, err)
}

// silent asserts that nothing comes.
func (l *line) silent() {
	l.t.Helper()
	synctest.Wait()
	require.NoError(l.t, l.SetReadDeadline(time.Unix(1, 0)))
	_, err := l.r.Peek(1)
	assert.Error(l.t, err)
	assert.NotEqual(l.t, io.EOF, err)
	require.NoError(l.t, l.SetReadDeadline(time.Time{}))
	l.r.Reset(l.Conn)
}

func TestDirectPipelining(t *testing.T) {
	std := stdOptions
	tapped(t, "a poll, and something to say behind it", std, func(t *testing.T, l *tap) {
		for rid := int64(1001); rid < 1021; rid += 2 {
			l.says(l.req(rid, ""))
			time.Sleep(time.Second)
			l.says(l.req(rid+1, x("a")))
			assert.Zero(t, elapsed(func() {
				l.hears(empty)
				requireRead(t, l.app, x("a"))
			}))
			write(t, l.app, x("b"))
			l.hears(answer(x("b")))
		}
		assert.EqualValues(t, 1, l.served.Load(), "net/http has seen the first only")
	})

	tapped(t, "the answer to the poll is there first", std, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		write(t, l.app, x("b"))
		l.says(l.req(1002, x("a")))
		l.hears(answer(x("b")))
		requireRead(t, l.app, x("a"))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	tapped(t, "more than the window allows", std, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""), l.req(1002, x("a")), l.req(1005, x("b")), l.req(1006, x("c")))
		l.hears(empty)
		l.hears(condition(bosh.OtherRequest))
		l.hears(condition(bosh.ItemNotFound))
		l.hears(condition(bosh.ItemNotFound)) // the session is over
		assert.Error(t, l.app.Session().Err())
	})

	tapped(t, "rids out of order", std, func(t *testing.T, l *tap) {
		l.says(l.req(1002, x("b")), l.req(1001, x("a")))
		requireRead(t, l.app, x("a")+x("b"))
		l.silent()
		write(t, l.app, x("c"))
		l.hears(answer(x("c"))) // 1002, for 1001 has been answered
		l.hears(empty)
		assert.Equal(t, 0, l.app.Session().Stats().Open)
	})

	tapped(t, "a repeat behind the original", std, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""))
		l.silent()
		l.says(l.req(1001, ""))
		assert.Zero(t, elapsed(func() { l.hears("<body type='error'/>") }))
		l.silent()
		write(t, l.app, x("c"))
		l.hears(answer(x("c")))
		l.says(l.req(1001, ""), l.req(1001, ""))
		l.hears(answer(x("c")))
		l.hears(answer(x("c")))
	})

	tapped(t, "two sessions", std, func(t *testing.T, l *tap) {
		other, app := l.opens(t)
		request := func(rid int64, payload string) string { return rawRequest(other.body(rid, payload)) }
		l.says(l.req(1001, ""), request(1001, x("o")))
		requireRead(t, app, x("o"))
		write(t, app, x("p"))
		l.silent() // since the first one waits
		assert.Equal(t, 0, app.Session().Stats().Open, "it is on its way as far as the session can see")
		l.says(request(1002, ""), request(1003, x("r")))
		requireRead(t, app, x("r"))
		time.Sleep(time.Second)
		assert.Equal(t, 1, app.Session().Stats().Open)
		write(t, l.app, x("a"))
		l.hears(answer(x("a")))
		l.hears(answer(x("p")))
		l.hears(empty)
		l.silent()
		write(t, app, x("q"))
		l.hears(answer(x("q")))
	})

	tapped(t, "half a request", std, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		second := l.req(1002, x("a"))
		for i := range 10 {
			l.says(second[10*i : 10*i+10])
			time.Sleep(time.Second)
		}
		l.silent()
		write(t, l.app, x("c"))
		l.hears(answer(x("c")))
		l.says(second[100:])
		requireRead(t, l.app, x("a"))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	tapped(t, "half a request, and no more", std, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		l.says(l.req(1002, "")[:50])
		assert.Equal(t, 15*time.Second, elapsed(l.ends))
		synctest.Wait()
		assert.Equal(t, 0, l.app.Session().Stats().Open)
		other := l.connect(t)
		other.says(l.req(1001, ""))
		write(t, l.app, x("c"))
		other.hears(answer(x("c")))
	})

	tapped(t, "a page", std, func(t *testing.T, l *tap) {
		const get = "GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n"
		l.says(l.req(1001, ""), get, l.req(1002, x("a")))
		l.silent()
		write(t, l.app, x("c"))
		l.hears(answer(x("c")))
		assert.Equal(t, "0", readAnswer(t, l.r))
		requireRead(t, l.app, x("a"))
		l.says(l.req(1003, x("b")))
		requireRead(t, l.app, x("b"))
		l.hears(empty)
		assert.EqualValues(t, 2, l.served.Load(), "it was taken over again")
	})

	tapped(t, "a client that vanishes", std, func(t *testing.T, l *tap) {
		other, app := l.opens(t)
		l.says(l.req(1001, ""), rawRequest(other.body(1001, "")))
		l.silent()
		assert.Equal(t, 1, l.app.Session().Stats().Open)
		assert.Equal(t, 1, app.Session().Stats().Open)
		l.Close()
		synctest.Wait()
		assert.Equal(t, 0, l.app.Session().Stats().Open)
		assert.Equal(t, 0, app.Session().Stats().Open)
	})

	tapped(t, "a client that vanishes behind a page", std, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""), "GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n")
		l.silent()
		l.Close()
		synctest.Wait()
		assert.Equal(t, 0, l.app.Session().Stats().Open)
	})
}

// What is read behind a held request is bounded.
func TestDirectReadsAhead(t *testing.T) {
	tapped(t, "by bytes", stdOptions, func(t *testing.T, l *tap) {
		body := strings.Repeat("x", 1<<20)
		l.says(l.req(1001, ""))
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
		l.silent()
		assert.InDelta(t, 128<<10, sent.Load(), 4<<10, "64 KiB, and as much in the pipe")
		write(t, l.app, x("c"))
		l.hears(answer(x("c")))
		assert.Equal(t, fmt.Sprint(len(body)), readAnswer(t, l.r))
	})

	tapped(t, "by bytes, of a client that vanishes", stdOptions, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		go io.WriteString(l.Conn, request("POST /page HTTP/1.1", strings.Repeat("x", 1<<20)))
		l.silent()
		write(t, l.app, x(strings.Repeat("y", 200<<10))) // more than the pipe takes
		synctest.Wait()
		l.Close()
		synctest.Wait()
		assert.Equal(t, 0, l.app.Session().Stats().Open)
	})

	var admitted atomic.Int32
	o := with(func(o *bosh.Options) {
		o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) {
			if admitted.Add(1) > 1 {
				return nil, &bosh.Error{Condition: bosh.PolicyViolation}
			}
			return nil, nil
		}
	})
	tapped(t, "by requests", o, func(t *testing.T, l *tap) {
		const n = 100
		l.says(l.req(1001, ""))
		go func() {
			for range n {
				io.WriteString(l.Conn, rawRequest(creation()))
			}
		}()
		l.silent()
		assert.EqualValues(t, 32, admitted.Load(), "its own, and 31 behind the one that is held")
		write(t, l.app, x("c"))
		l.hears(answer(x("c")))
		for range n {
			l.hears(condition(bosh.PolicyViolation))
		}
		assert.EqualValues(t, 1+n, admitted.Load())
		l.says(l.req(1002, ""))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})
}

// A client that does not read its answer loses its connection, and nothing else.
func TestDirectSlowReader(t *testing.T) {
	tapped(t, "one", stdOptions, func(t *testing.T, l *tap) {
		payload := x(strings.Repeat("y", 200<<10))
		l.says(l.req(1001, ""))
		synctest.Wait()
		write(t, l.app, payload)
		time.Sleep(30*time.Second - 1)
		synctest.Wait()
		assert.Equal(t, 1, l.app.Session().Stats().Open)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 0, l.app.Session().Stats().Open)
		_, err := io.Copy(io.Discard, l.r)
		assert.NoError(t, err, "it was closed")
		other := l.connect(t)
		other.says(l.req(1001, ""))
		other.hears(answer(payload))
	})

	const n = 1000
	o := with(func(o *bosh.Options) { o.MaxSessions = n + 1 })
	tapped(t, "a thousand", o, func(t *testing.T, l *tap) {
		payload := x(strings.Repeat("y", 100<<10))
		lines := make([]*line, n)
		for i := range lines {
			lines[i] = l.connect(t)
			lines[i].peer, lines[i].app = lines[i].opens(t, l.h)
			lines[i].says(lines[i].req(1001, ""))
		}
		synctest.Wait()
		before := heap()
		for _, s := range lines {
			write(t, s.app, payload)
		}
		synctest.Wait()
		// The answer as it is kept for repeats, the one that is written, each
		// with room to grow, and the pipe's buffer with as much.
		each := (heap() - before) / n
		t.Logf("%d KiB each", each>>10)
		assert.Less(t, each, int64(5*len(payload)))
		assert.EqualValues(t, n, l.h.Stats().Open)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		assert.Zero(t, l.h.Stats().Open)
		time.Sleep(overtime)
		synctest.Wait()
		assert.EqualValues(t, n, l.h.Stats().Sessions, "but for the one that did nothing")
	})
}

func heap() int64 {
	var m runtime.MemStats
	for range 3 { // what is in a pool survives one or two
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// answers reads the next answer with its head.
func (l *line) answers() httpAnswer {
	l.t.Helper()
	resp, err := http.ReadResponse(l.r, nil)
	require.NoError(l.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(l.t, err)
	return httpAnswer{resp, string(body)}
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
		tapped(t, name+", an idle connection", stdOptions, func(t *testing.T, l *tap) {
			assert.NoError(t, shutdown(l))
			l.ends()
		})
		tapped(t, name+", one that was given back", stdOptions, func(t *testing.T, l *tap) {
			l.says("GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n")
			assert.Equal(t, "0", readAnswer(t, l.r))
			assert.NoError(t, shutdown(l))
			l.ends()
		})
		tapped(t, name+", half a request", stdOptions, func(t *testing.T, l *tap) {
			l.says(l.req(1001, "")[:30])
			synctest.Wait()
			assert.NoError(t, shutdown(l))
			l.ends()
		})
	}

	tapped(t, "of the server, a held request", stdOptions, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		assert.NoError(t, l.srv.Shutdown(t.Context()))
		l.silent()
		write(t, l.app, x("c"))
		r := l.answers()
		assert.Equal(t, complete(answer(x("c"))), r.text)
		assert.True(t, r.Close)
		l.ends()
	})

	tapped(t, "of the Handler, a held request", stdOptions, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		assert.NoError(t, l.h.Shutdown(t.Context()))
		assert.Equal(t, complete(condition(bosh.SystemShutdown)), l.answers().text)
		l.ends()
	})

	tapped(t, "of the Handler, which gives up", stdOptions, func(t *testing.T, l *tap) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, l.h.Shutdown(ctx), context.DeadlineExceeded)
		l.ends()
		other := l.connect(t) // it is served all the same
		other.says(l.req(1001, ""))
		assert.Equal(t, complete(condition(bosh.SystemShutdown)), other.answers().text)
	})

	tapped(t, "of the Handler, closing a held request", stdOptions, func(t *testing.T, l *tap) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		assert.NoError(t, l.h.Close())
		assert.Equal(t, complete(condition(bosh.SystemShutdown)), l.answers().text)
		l.ends()
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
		o := with(func(o *bosh.Options) {
			o.Trace = new(bosh.Trace)
			test.o(o)
		})
		tapped(t, name, o, func(t *testing.T, l *tap) {
			on.Store(true)
			switch {
			case test.creates:
				l.says(strings.Replace(rawRequest(creation()), "Host:", "Origin: https://a.test\r\nHost:", 1))
			case test.terminate:
				l.says(rawRequest(l.body(1001, "", "type='terminate'")))
			default:
				l.says(l.req(1001, ""))
				synctest.Wait()
				write(t, l.app, x("a")) // by another goroutine
			}
			synctest.Wait()
			on.Store(false)
			assert.Contains(t, l.log.String(), "oops, a callback")
			assert.Contains(t, l.log.String(), "direct_test.go", "the stack")
			if test.survives {
				assert.NotContains(t, readAnswer(t, l.r), "condition")
				l.says("GET /page HTTP/1.1\r\nHost: bosh.test\r\n\r\n")
				assert.Equal(t, "0", readAnswer(t, l.r))
			} else {
				io.Copy(io.Discard, l.r) // to its end
			}
			if !test.terminate {
				assert.Zero(t, l.h.Stats().Open)
				other := l.connect(t)
				other.says(l.req(1001, "")) // again, perhaps
				synctest.Wait()
				if test.creates {
					write(t, l.app, x("a"))
				}
				other.hears(answer(x("a")))
			}
			done := goShutdown(t, l.h, 0)
			time.Sleep(time.Minute) // for the sessions to become inactive
			assert.False(t, pending(done))
			assert.NoError(t, <-done)
		})
	}
}

// What is not BOSH is served as if nothing had happened, by net/http.
func TestDirectElse(t *testing.T) {
	type keyOf string
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
			o := stdOptions
			o.Direct = true
			h := newHandler(t, o)
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
			l := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
			page := func() {
				l.says(request("POST /page/me HTTP/1.1", "hello"))
				assert.Equal(t, "hello", readAnswer(t, l.r))
			}
			bosh := func(body string) string {
				return strings.Replace(rawRequest(body), "/http-bind", "/bosh/a", 1)
			}
			page()
			l.says(bosh(creation()))
			body, err := boshtest.ParseBody([]byte(readAnswer(t, l.r)))
			require.NoError(t, err)
			l.sid, l.app = body.Attr("sid"), accept(t, h)
			for rid := int64(1001); rid < 1021; rid += 2 {
				for i := range int64(2) {
					write(t, l.app, x("b"))
					l.says(bosh(l.body(rid+i, x("a"))))
					l.hears(answer(x("b")))
					requireRead(t, l.app, x("a"))
				}
				page()
			}
			assert.EqualValues(t, 10, direct.Load(), "taken over again each time")
			for _, s := range seen {
				assert.Equal(t, seen[0], s)
			}
			l.says("GET /socket HTTP/1.1\r\nHost: bosh.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
			resp, err := http.ReadResponse(l.r, nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			requireRead(t, l.r, "hello")
			l.says("again")
			requireRead(t, l.r, "again")
		})
	}
}

// A connection that was taken over keeps its certificate, and may not be used for
// the session of another.
func TestDirectTLS(t *testing.T) {
	o := stdOptions
	o.Direct = true
	h := newHandler(t, o)
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	defer srv.Close()
	plain := httptest.NewServer(h)
	defer plain.Close()
	connect := func(cert *tls.Certificate, at *httptest.Server) *line {
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
		l := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
		l.peer, l.app = l.opens(t, h)
		return l
	}
	a, _ := certificate(t)
	b, _ := certificate(t)
	mine := connect(&a, srv)
	require.NotNil(t, mine.app.Session().TLS())
	assert.Equal(t, a.Certificate[0], mine.app.Session().TLS().PeerCertificates[0].Raw)
	assert.True(t, mine.app.Session().Secure())
	for name, other := range map[string]*line{"another": connect(&b, srv), "none": connect(nil, srv), "plain": connect(nil, plain)} {
		other.says(mine.req(1001, x("forged")))
		_, err := other.r.ReadByte()
		assert.Error(t, err, name)
	}
	again := connect(&a, srv) // the same certificate on another connection that was taken over
	write(t, mine.app, x("out"))
	again.says(mine.req(1001, x("in")))
	again.hears(answer(x("out")))
	requireRead(t, mine.app, x("in"))
	mine.says(mine.req(1002, ""), mine.req(1003, x("more")))
	mine.hears(empty)
	requireRead(t, mine.app, x("more"))
}

// A client that has ended what it sends is gone.
func TestDirectHalfClose(t *testing.T) {
	o := stdOptions
	o.Direct = true
	h := newHandler(t, o)
	srv := httptest.NewServer(h)
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	l := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
	l.peer, l.app = l.opens(t, h)
	l.says(l.req(1001, x("a")), l.req(1002, "")[:20])
	requireRead(t, l.app, x("a"))
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	l.ends()
	for l.app.Session().Stats().Open > 0 {
		runtime.Gosched()
	}

	// net/http has something to say to half a head.
	conn, err = net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	other := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
	other.opens(t, h)
	other.says("POST /http-bind HTTP/1.1")
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	text, err := io.ReadAll(other.r)
	require.NoError(t, err)
	assert.Contains(t, string(text), "400 Bad Request")
}

// sockets runs f with a server with the direct engine and a connection to it that
// was taken over, over sockets, with TLS and without.
func sockets(t *testing.T, name string, o bosh.Options, f func(t *testing.T, h *bosh.Handler, srv *http.Server, l *line)) {
	t.Helper()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("%s, TLS %t", name, secure), func(t *testing.T) {
			o.Direct = true
			h := newHandler(t, o)
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
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			if secure {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			l := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
			l.peer, l.app = l.opens(t, h)
			f(t, h, srv.Config, l)
		})
	}
}

// isClosed asserts that the server has closed the connection, or does soon, rather
// than wait for the client.
func (l *line) isClosed() {
	l.t.Helper()
	for {
		if _, err := l.Write([]byte("x")); err != nil {
			assert.NotErrorIs(l.t, err, context.DeadlineExceeded)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestDirectSockets(t *testing.T) {
	sockets(t, "an idle connection", stdOptions, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *line) {
		require.NoError(t, srv.Shutdown(t.Context()))
		l.ends()
		l.isClosed()
	})

	sockets(t, "held requests", stdOptions, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *line) {
		l.says(l.req(1001, ""))
		for s := l.app.Session(); s.Stats().Requests < 2 || s.Stats().Open > 1; {
			runtime.Gosched() // until the creation is over
		}
		require.NoError(t, srv.Shutdown(t.Context()))
		time.Sleep(50 * time.Millisecond) // it tells the Handler by a goroutine
		write(t, l.app, x("c"))
		r := l.answers()
		assert.Equal(t, complete(answer(x("c"))), r.text)
		assert.True(t, r.Close)
		l.ends()
		l.isClosed()
	})

	sockets(t, "the end of the Handler", stdOptions, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *line) {
		l.says(l.req(1001, ""))
		for s := l.app.Session(); s.Stats().Requests < 2 || s.Stats().Open > 1; {
			runtime.Gosched() // until the creation is over
		}
		require.NoError(t, h.Shutdown(t.Context()))
		assert.Equal(t, complete(condition(bosh.SystemShutdown)), l.answers().text)
		l.ends()
	})

	slow := with(func(o *bosh.Options) { o.WriteTimeout, o.WriteBuffer = 100*time.Millisecond, 64<<20 })
	sockets(t, "a slow reader", slow, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *line) {
		payload := x(strings.Repeat("y", 900<<10))
		var b strings.Builder
		for range 20 {
			b.WriteString(payload)
		}
		write(t, l.app, b.String())
		l.says(l.req(1001, ""))
		for l.app.Session().Stats().Requests < 2 || l.app.Session().Stats().Open > 0 {
			time.Sleep(time.Millisecond)
		}
		assert.NoError(t, l.app.Session().Err())
	})

	sockets(t, "many at once", stdOptions, func(t *testing.T, h *bosh.Handler, srv *http.Server, l *line) {
		const n = 300
		for rid := int64(1001); rid < 1001+n; rid++ {
			write(t, l.app, x("b"))
			l.says(l.req(rid, x("a")))
			l.hears(answer(x("b")))
		}
		requireRead(t, l.app, strings.Repeat(x("a"), n))
	})
}

// A request that opens a stream, and has to wait for one on another connection,
// is shown to Admit all the same.
func TestDirectEarlyOpening(t *testing.T) {
	var from atomic.Value
	o := with(func(o *bosh.Options) {
		o.MaxStreams = 2
		o.Admit = func(_ context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
			from.Store(r.Header.Get("X-Conn"))
			return nil, nil
		}
	})
	tapped(t, "early", o, func(t *testing.T, l *tap) {
		other := l.connect(t)
		other.opens(t, l.h)
		early := strings.Replace(rawRequest(l.body(1002, "", "to='example.net'")), "Host:", "X-Conn: other\r\nHost:", 1)
		other.says(early)
		synctest.Wait()
		l.says(l.req(1001, x("a")))
		l.hears(empty)
		accept(t, l.h)
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
				o := stdOptions
				o.Direct = true
				srv := boshtest.NewPipeServer(wrap(newHandler(t, o)))
				defer srv.Close()
				conn, err := srv.Listener.DialContext(t.Context(), "", "")
				require.NoError(t, err)
				defer conn.Close()
				l := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
				for range 3 {
					l.says(taken)
					r := l.answers()
					assert.Equal(t, complete(condition(bosh.ItemNotFound)), r.text)
					if r.Close {
						l.ends()
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
	o := stdOptions
	o.Direct = true
	h := newHandler(t, o)
	srv := httptest.NewServer(h)
	defer srv.Close()
	const clients = 30
	late := 0
	for range clients {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		l := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
		l.peer, l.app = l.opens(t, h)
		l.says(l.req(1001, ""))
		require.NoError(t, conn.Close())
		began, s := time.Now(), l.app.Session()
		for s.Stats().Requests < 2 || s.Stats().Open > 0 {
			runtime.Gosched()
		}
		if time.Since(began) > time.Second/2 {
			late++
		}
	}
	assert.Less(t, late, clients/3, "clients that were thought to be there still: a busy machine may have a few")
}

// wrapped is a server in memory whose Handler is behind middleware, and a
// connection to it.
func wrapped(t *testing.T, h *bosh.Handler, middleware func(next http.Handler) http.Handler) *line {
	t.Helper()
	srv := boshtest.NewPipeServer(middleware(h))
	t.Cleanup(func() { srv.Close() })
	conn, err := srv.Listener.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
}

// Middleware may change the request, and the headers of its answer, after the
// Handler has returned. The answer is the engine's by then.
func TestDirectMiddlewareGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var paths, agents []string
		h := newHandler(t, with(func(o *bosh.Options) {
			o.Direct = true
			o.AllowOrigin = func(origin string) bool { return origin == "https://page.test" }
			o.Admit = func(_ context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
				paths, agents = append(paths, r.URL.Path), append(agents, r.UserAgent())
				return nil, nil
			}
		}))
		p := dial(t, boshtest.InMemory(h))
		app := accept(t, h)
		l := wrapped(t, h, func(next http.Handler) http.Handler {
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
			return strings.Replace(rawRequest(body), "Host:", "User-Agent: me\r\nOrigin: https://page.test\r\nHost:", 1)
		}
		l.says(from(p.body(1001, "")))
		l.silent()
		write(t, app, x("a"))
		r := l.answers()
		assert.Equal(t, complete(answer(x("a"))), r.text)
		assert.Equal(t, []string{"1"}, r.Header["X-Before"])
		assert.Empty(t, r.Header["Server-Timing"])
		assert.Equal(t, "https://page.test", r.Header.Get("Access-Control-Allow-Origin"))

		l.says(from(creation()))
		assert.Contains(t, l.answers().text, "sid=")
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
					h := withEngine(t, with(func(o *bosh.Options) { o.Compress = compress }), isDirect)
					l := wrapped(t, h, compressor)
					says := func(body string) string {
						l.says(strings.Replace(rawRequest(body), "Host:", "Accept-Encoding: gzip\r\nHost:", 1))
						return decoded(t, l.answers())
					}
					created, err := boshtest.ParseBody([]byte(says(creation())))
					require.NoError(t, err)
					l.sid, l.app = created.Attr("sid"), accept(t, h)
					for rid := int64(1001); rid < 1005; rid++ {
						payload := x(strings.Repeat("long ", int(rid-1001)*1000))
						write(t, l.app, payload)
						assert.Equal(t, complete(answer(payload)), says(l.body(rid, "")))
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
		h := newHandler(t, with(func(o *bosh.Options) { o.Direct = true }))
		l := wrapped(t, h, func(next http.Handler) http.Handler {
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
			l.says(taken)
			r := l.answers()
			assert.Equal(t, complete(condition(bosh.ItemNotFound)), r.text)
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
				h := withEngine(t, with(func(o *bosh.Options) {
					o.Admit = func(_ context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
						asked = append(asked, r)
						return nil, nil
					}
				}), isDirect)
				l := wrapped(t, h, func(next http.Handler) http.Handler { return next })
				for i := range 4 {
					body := creation(strings.Repeat(" ", 10*i))
					l.says(rawRequest(body))
					assert.Contains(t, l.answers().text, "sid=")
					assert.EqualValues(t, len(body), asked[i].ContentLength)
					assert.Equal(t, fmt.Sprint(len(body)), asked[i].Header.Get("Content-Length"))
					r := accept(t, h).Session().Request()
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
						h := withEngine(t, stdOptions, isDirect)
						l := wrapped(t, h, func(next http.Handler) http.Handler { return next })
						l.peer, l.app = l.opens(t, h)
						for rid := int64(1001); rid < 1005; rid++ {
							if together {
								l.says(l.req(rid, "") + lines)
							} else {
								l.says(l.req(rid, ""))
								synctest.Wait()
								l.says(lines)
							}
							assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
							time.Sleep(time.Minute / 4)
						}
						assert.NoError(t, l.app.Session().Err())
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
				h := withEngine(t, stdOptions, isDirect)
				mux := http.NewServeMux()
				mux.Handle("/http-bind", h)
				mux.HandleFunc("/page", func(http.ResponseWriter, *http.Request) {})
				srv := &http.Server{Handler: mux}
				pipe := boshtest.Pipe(srv)
				defer pipe.Close()
				connect := func() *line {
					conn, err := pipe.Listener.DialContext(t.Context(), "", "")
					require.NoError(t, err)
					t.Cleanup(func() { conn.Close() })
					l := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
					l.peer, l.app = l.opens(t, h)
					return l
				}
				last := func(l *line, want string) {
					t.Helper()
					r := l.answers()
					assert.Equal(t, want, r.text)
					assert.True(t, r.Close)
					l.ends()
				}

				held, other, idle, back := connect(), connect(), connect(), connect()
				back.says(page)
				back.answers()
				held.says(held.req(1001, ""))
				other.says(other.req(1001, ""))
				synctest.Wait()
				srv.SetKeepAlivesEnabled(false)
				write(t, held.app, x("a"))
				last(held, complete(answer(x("a"))))
				time.Sleep(time.Second)
				idle.ends()
				if isDirect { // net/http has closed it
					back.says(page)
					last(back, "")
				}
				write(t, other.app, x("b"))
				last(other, complete(answer(x("b"))))

				conn, err := pipe.Listener.DialContext(t.Context(), "", "")
				require.NoError(t, err)
				defer conn.Close()
				fresh := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
				fresh.says(taken)
				last(fresh, complete(condition(bosh.ItemNotFound)))

				srv.SetKeepAlivesEnabled(true)
				again := connect()
				for rid := int64(1001); rid < 1004; rid++ {
					write(t, again.app, x("c"))
					again.says(again.req(rid, ""))
					again.hears(answer(x("c")))
				}
			})
		})
	}
}
