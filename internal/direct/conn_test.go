package direct

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/httpio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A rig is an Engine behind a server, in a bubble, and a client's connection. The
// test answers the requests.
type rig struct {
	t      *testing.T
	e      *Engine
	srv    *http.Server
	client net.Conn
	r      *bufio.Reader

	mu     sync.Mutex // guards what follows
	qs     map[string]*Request
	done   []string
	gone   []string
	panics string // the body of the request whose Done panics

	wrap func(net.Conn) net.Conn // the server's connections; may be nil
}

func newRig(t *testing.T, tune ...func(g *rig)) *rig {
	g := &rig{t: t, qs: make(map[string]*Request)}
	g.e = &Engine{MaxBody: 1 << 20, Reading: httpio.NewLimit(time.Minute, 0), Writing: httpio.NewLimit(30*time.Second, 0), Logger: slog.New(slog.DiscardHandler)}
	g.e.Serve = func(q *Request, body []byte) { g.serve(q, string(body)) }
	g.e.Gone = func(q *Request) {
		g.mu.Lock()
		g.gone = append(g.gone, q.Context.(string))
		g.mu.Unlock()
		q.Abort()
	}
	g.e.Done = func(q *Request) {
		g.mu.Lock()
		g.done = append(g.done, q.Context.(string))
		oops := g.panics == q.Context
		g.mu.Unlock()
		if oops {
			panic("oops")
		}
	}
	l := boshtest.ListenPipe()
	g.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if q := g.e.Take(w, r); q != nil {
			q.Begin(func(q *Request) { g.serve(q, string(body)) })
			return
		}
		fmt.Fprintf(w, "net/http has %q", body)
	})}
	for _, f := range tune {
		f(g)
	}
	if g.wrap != nil {
		go g.srv.Serve(wrapping{l, g.wrap})
	} else {
		go g.srv.Serve(l)
	}
	var err error
	g.client, err = l.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	g.r = bufio.NewReader(g.client)
	t.Cleanup(func() {
		g.client.Close()
		g.srv.Close()
		synctest.Wait()
		assert.Zero(t, g.e.Conns())
	})
	return g
}

func (g *rig) serve(q *Request, body string) {
	q.Context = body
	g.mu.Lock()
	g.qs[body] = q
	g.mu.Unlock()
}

// sends sends requests by their bodies.
func (g *rig) sends(bodies ...string) {
	g.t.Helper()
	for _, b := range bodies {
		_, err := fmt.Fprintf(g.client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
		require.NoError(g.t, err)
	}
	synctest.Wait()
}

// q returns a request by its body.
func (g *rig) q(body string) *Request {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.qs[body]
	require.NotNil(g.t, q, body)
	delete(g.qs, body)
	return q
}

func (g *rig) answers(body, text string) { g.q(body).Answer(httpio.RawAnswer{Body: []byte(text)}) }

func (g *rig) hears(want string) {
	g.t.Helper()
	resp, err := http.ReadResponse(g.r, nil)
	require.NoError(g.t, err)
	got, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	assert.Equal(g.t, want, string(got))
}

// over returns what is over, in order.
func (g *rig) over() string {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.done, "")
}

// left returns what nobody waits for any more.
func (g *rig) left() []string {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gone
}

func (g *rig) ends() {
	g.t.Helper()
	_, err := g.r.ReadByte()
	assert.Equal(g.t, io.EOF, err)
}

// theConn returns the only connection, at rest.
func (g *rig) theConn() *conn {
	synctest.Wait()
	g.e.mu.Lock()
	defer g.e.mu.Unlock()
	require.Len(g.t, g.e.conns, 1)
	for _, c := range g.e.conns {
		return c
	}
	return nil
}

func rigged(t *testing.T, name string, f func(t *testing.T, g *rig), tune ...func(g *rig)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, newRig(t, tune...)) })
	})
}

func TestConn(t *testing.T) {
	rigged(t, "answers are written in the order of the requests", func(t *testing.T, g *rig) {
		g.sends("a", "b", "c", "d")
		g.answers("c", "3")
		g.answers("b", "2")
		assert.Equal(t, "cb", g.over(), "they are on their way as far as anybody can see")
		g.answers("d", "4")
		g.answers("a", "1")
		for _, want := range []string{"1", "2", "3", "4"} {
			g.hears(want)
		}
		assert.Equal(t, "cbda", g.over())
	})

	rigged(t, "and at once by many", func(t *testing.T, g *rig) {
		for round := range 50 {
			var all sync.WaitGroup
			var names []string
			for i := range 30 {
				names = append(names, fmt.Sprintf("%d-%d ", round, i))
			}
			g.sends(names...)
			for _, name := range names {
				q := g.q(name)
				all.Go(func() { q.Answer(httpio.RawAnswer{Body: []byte(name)}) })
			}
			for _, name := range names {
				g.hears(name)
			}
			all.Wait()
		}
		g.over()
		assert.Len(t, g.done, 50*30)
	})

	rigged(t, "an abort ends it, after what is before", func(t *testing.T, g *rig) {
		g.sends("a", "b", "c")
		g.q("b").Abort()
		g.answers("a", "1")
		g.hears("1")
		g.ends()
		synctest.Wait()
		assert.Equal(t, []string{"c"}, g.left())
		assert.Equal(t, "bac", g.over())
	})

	rigged(t, "Done may panic", func(t *testing.T, g *rig) {
		g.panics = "a"
		g.sends("a", "b")
		g.answers("a", "1")
		g.hears("1")
		g.ends()
		assert.Equal(t, "ab", g.over())
	})

	rigged(t, "Done may panic, behind another", func(t *testing.T, g *rig) {
		g.panics = "b"
		g.sends("a", "b")
		g.answers("b", "2")
		g.ends()
		assert.Equal(t, "ba", g.over())
	})

	rigged(t, "Serve may panic", func(t *testing.T, g *rig) {
		g.e.Logger = slog.New(slog.DiscardHandler)
		serve := g.e.Serve
		g.sends("a")
		g.answers("a", "1")
		g.hears("1")
		g.e.Serve = func(q *Request, body []byte) {
			serve(q, body)
			panic("oops")
		}
		g.sends("b", "c")
		g.ends()
		assert.Equal(t, "ab", g.over(), "what is behind it is not served")
	})

	rigged(t, "a client that leaves", func(t *testing.T, g *rig) {
		g.sends("a", "b", "c")
		b := g.q("b")
		b.Answer(httpio.RawAnswer{})
		require.NoError(t, g.client.Close())
		synctest.Wait()
		assert.Equal(t, []string{"a", "c"}, g.left())
		assert.Equal(t, "bac", g.over())
	})

	rigged(t, "one that leaves in front of a full buffer", func(t *testing.T, g *rig) {
		g.sends("a")
		go fmt.Fprintf(g.client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", 1<<20, strings.Repeat("x", 1<<20))
		c := g.theConn()
		assert.Equal(t, maxAhead, len(c.buf)-c.used)
		g.answers("a", strings.Repeat("x", 1<<20))
		synctest.Wait()
		require.NoError(t, g.client.Close())
		assert.Equal(t, "a", g.over())
	})

	rigged(t, "what is not ours is given back", func(t *testing.T, g *rig) {
		for range 5 {
			g.sends("a", "b")
			go io.WriteString(g.client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nput")
			synctest.Wait()
			g.answers("b", "2")
			g.answers("a", "1")
			g.hears("1")
			g.hears("2")
			g.hears(`net/http has "put"`)
			assert.Zero(t, g.e.Conns())
			g.sends("c")
			_, wrapped := g.theConn().rwc.(*returned)
			assert.False(t, wrapped)
			g.answers("c", "3")
			g.hears("3")
		}
		assert.Equal(t, strings.Repeat("bac", 5), g.over())
	})

	rigged(t, "it has no limits of ours then", func(t *testing.T, g *rig) {
		g.sends("a")
		g.answers("a", "1")
		g.hears("1")
		io.WriteString(g.client, "POST / HTT") // for which there is a limit
		time.Sleep(time.Second)
		io.WriteString(g.client, "P/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		time.Sleep(time.Hour)
		io.WriteString(g.client, "put")
		resp, err := http.ReadResponse(g.r, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusContinue, resp.StatusCode)
		g.hears(`net/http has "put"`)
	})

	rigged(t, "too large a body is given back, and is not taken again", func(t *testing.T, g *rig) {
		g.sends("a")
		g.answers("a", "1")
		g.hears("1")
		g.sends(strings.Repeat("x", 2000))
		g.hears(fmt.Sprintf("net/http has %q", strings.Repeat("x", 2000)))
		g.sends("b")
		g.hears(`net/http has "b"`)
	}, func(g *rig) { g.e.MaxBody = 1000 })

	rigged(t, "heads that the server does not take are left to it", func(t *testing.T, g *rig) {
		g.sends("a")
		g.answers("a", "1")
		g.hears("1")
		_, err := fmt.Fprintf(g.client, "POST / HTTP/1.1\r\nHost: a\r\nX-A: %s\r\nContent-Length: 1\r\n\r\nb", strings.Repeat("x", 6000))
		require.NoError(t, err)
		resp, err := http.ReadResponse(g.r, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
		_, err = io.Copy(io.Discard, g.r)
		require.NoError(t, err)
		time.Sleep(time.Second) // net/http does, before it closes the connection
	}, func(g *rig) { g.srv.MaxHeaderBytes = 1000 })

	rigged(t, "while it waits it has no buffer", func(t *testing.T, g *rig) {
		g.sends("a", strings.Repeat("b", 100<<10))
		c := g.theConn()
		assert.Nil(t, c.buf)
		g.answers("a", "1")
		g.hears("1")
		synctest.Wait()
		assert.Nil(t, c.buf)
		io.WriteString(g.client, "\r\n\r\n")
		synctest.Wait()
		assert.Nil(t, c.buf)
		g.sends("c")
		assert.Nil(t, c.buf)
		io.WriteString(g.client, "POST")
		synctest.Wait()
		assert.Equal(t, "POST", string(c.buf[c.used:]))
		assert.Len(t, c.buf, 4)
	})

	rigged(t, "an idle one is closed", func(t *testing.T, g *rig) {
		g.sends("a")
		time.Sleep(time.Hour) // held, not idle
		g.answers("a", "1")
		g.hears("1")
		began := time.Now()
		g.ends()
		assert.GreaterOrEqual(t, time.Since(began), time.Minute)
		assert.LessOrEqual(t, time.Since(began), 2*time.Minute)
	}, func(g *rig) { g.srv.IdleTimeout = time.Minute })

	for header, want := range map[string]int{"X-Forwarded-For": 1, "Forwarded": 1, "Origin": 0} {
		var log bytes.Buffer
		rigged(t, "that is logged if something is in front: "+header, func(t *testing.T, g *rig) {
			fmt.Fprintf(g.client, "POST / HTTP/1.1\r\nHost: a\r\n%s: for=192.0.2.1\r\nContent-Length: 1\r\n\r\na", header)
			synctest.Wait()
			g.answers("a", "1")
			g.hears("1")
			g.ends()
			synctest.Wait()
			assert.Equal(t, want, strings.Count(log.String(), "idle-timeout=1m0s"), log.String())
		}, func(g *rig) {
			g.srv.IdleTimeout = time.Minute
			g.e.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
	}

	rigged(t, "a slow request ends it", func(t *testing.T, g *rig) {
		g.sends("a")
		io.WriteString(g.client, "P")
		began := time.Now()
		for range 59 {
			time.Sleep(time.Second)
			io.WriteString(g.client, "OST / HTTP/1.1\r\nHost: a\r\nX-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"[time.Since(began)/time.Second-1:][:1])
		}
		g.ends()
		assert.Equal(t, time.Minute, time.Since(began))
		assert.Equal(t, []string{"a"}, g.left())
	})

	rigged(t, "a slow reader ends it", func(t *testing.T, g *rig) {
		g.sends("a", "b")
		g.answers("a", strings.Repeat("x", 1<<20))
		g.answers("b", "2")
		assert.Equal(t, "", g.over())
		time.Sleep(30 * time.Second)
		assert.Equal(t, "ab", g.over())
	})

	rigged(t, "a reader that is slow, but not too slow", func(t *testing.T, g *rig) {
		g.sends("a", "b")
		g.answers("a", strings.Repeat("x", 100<<10))
		g.answers("b", "2")
		time.Sleep(29 * time.Second)
		g.hears(strings.Repeat("x", 100<<10))
		g.hears("2")
		time.Sleep(time.Hour)
		g.sends("c")
		g.answers("c", "3")
		g.hears("3")
	})
}

func TestClose(t *testing.T) {
	rigged(t, "while idle", func(t *testing.T, g *rig) {
		g.sends("a")
		g.answers("a", "1")
		g.hears("1")
		g.e.Close()
		g.ends()
	})

	rigged(t, "with requests", func(t *testing.T, g *rig) {
		g.sends("a", "b")
		g.e.Close()
		io.WriteString(g.client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nc") // too late
		synctest.Wait()
		g.answers("b", "2")
		g.answers("a", "1")
		g.hears("1")
		g.hears("2")
		g.ends()
		assert.Equal(t, "ba", g.over())
	})

	rigged(t, "with as many requests as may be", func(t *testing.T, g *rig) {
		var names []string
		for i := range 2 * maxCount {
			names = append(names, fmt.Sprintf("%02d", i))
		}
		g.sends(names...)
		assert.EqualValues(t, maxCount, g.theConn().count)
		g.answers("00", "1") // the reader goes on
		g.e.Close()
		synctest.Wait()
		g.mu.Lock()
		left := len(g.qs)
		g.mu.Unlock()
		for i := range left {
			g.answers(names[i+1], "1")
		}
		for range left + 1 {
			g.hears("1")
		}
		g.ends()
	})

	rigged(t, "before", func(t *testing.T, g *rig) {
		g.e.Close()
		g.sends("a")
		g.hears(`net/http has "a"`)
	})

	rigged(t, "of the server, before", func(t *testing.T, g *rig) {
		g.sends("a")
		require.NoError(t, g.srv.Shutdown(t.Context()))
		g.answers("a", "1")
		g.hears("1")
		g.ends()
	})
}

// A fragile is a connection that panics, as a wrapper with a bug may, when it is armed.
type fragile struct {
	net.Conn
	reads, writes, closes *atomic.Bool
}

func (c fragile) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.reads.Load() {
		panic("oops, reading")
	}
	return n, err
}

func (c fragile) Write(p []byte) (int, error) {
	if c.writes.Load() {
		panic("oops, writing")
	}
	return c.Conn.Write(p)
}

func (c fragile) Close() error {
	err := c.Conn.Close()
	if c.closes.Load() {
		panic("oops, closing")
	}
	return err
}

// A wrapping is a listener whose connections are wrapped.
type wrapping struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrapping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// A connection that panics ends. Nothing else does, and what it has asked is over.
func TestFragileConn(t *testing.T) {
	var reads, writes, closes atomic.Bool
	fragile := func(g *rig) { g.wrap = func(c net.Conn) net.Conn { return fragile{c, &reads, &writes, &closes} } }
	test := func(name string, arm *atomic.Bool, f func(g *rig)) {
		rigged(t, name, func(t *testing.T, g *rig) {
			g.sends("a")
			g.answers("a", "1")
			g.hears("1")
			g.sends("b", "c")
			arm.Store(true)
			defer arm.Store(false)
			f(g)
			assert.Len(t, g.over(), 3)
		}, fragile)
	}
	test("reading", &reads, func(g *rig) { g.sends("d"); g.ends() })
	test("writing", &writes, func(g *rig) { g.answers("b", "2"); g.ends() })
	test("closing", &closes, func(g *rig) { g.client.Close() })
}

// Conns returns how many connections there are.
func (e *Engine) Conns() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)
}

// There is room for a request like the last one, which counts, and without it a common
// buffer does.
func TestBorrow(t *testing.T) {
	b := &httpio.Budget{Max: 64 << 10, Other: func() int64 { return 0 }}
	c := &conn{share: httpio.Share{Budget: b}}
	for _, test := range []struct{ last, least, most int }{
		{0, bufferSize, bufferSize}, {bufferSize - 1, bufferSize, bufferSize}, {bufferSize, buffer.Block, buffer.Block},
		{90 << 10, 90<<10 + 1, 115 << 10}, {200 << 10, bufferSize, bufferSize}, {buffer.Large - 1, bufferSize, bufferSize},
	} {
		c.usual = int32(test.last)
		c.borrow()
		assert.GreaterOrEqual(t, cap(c.buf), test.least, test.last)
		assert.LessOrEqual(t, cap(c.buf), test.most, test.last)
		assert.GreaterOrEqual(t, b.Taken(), int64(cap(c.buf)-httpio.FreeBytes), test.last)
		c.release()
		assert.Nil(t, c.buf)
		assert.Zero(t, b.Taken())
	}
}
