package bosh_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/enginetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A line is a client's one connection to a server, on which it sends what it
// likes, whether or not the last request has been answered.
type line struct {
	*peer
	net.Conn
	r   *bufio.Reader
	app *bosh.Stream
}

// says writes requests.
func (l *line) says(requests ...string) {
	l.t.Helper()
	_, err := io.WriteString(l.Conn, strings.Join(requests, ""))
	require.NoError(l.t, err)
}

// req is a request of the session.
func (l *line) req(rid int64, payload string) string { return rawRequest(l.body(rid, payload)) }

// hears reads the next answer.
func (l *line) hears(want string) {
	l.t.Helper()
	assert.Equal(l.t, complete(want), readAnswer(l.t, l.r))
}

// pipelined runs f in a bubble, with a client of a server whose listener is a
// PipelineListener.
func pipelined(t *testing.T, name string, f func(t *testing.T, l *line)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHandler(t, stdOptions)
			listener := boshtest.ListenPipe()
			srv := &http.Server{Handler: h}
			go srv.Serve(bosh.PipelineListener(listener))
			defer srv.Close()
			transport := &http.Transport{DialContext: listener.DialContext}
			defer transport.CloseIdleConnections()
			p := dial(t, transport)
			conn, err := listener.DialContext(t.Context(), "", "")
			require.NoError(t, err)
			defer conn.Close()
			f(t, &line{peer: p, Conn: conn, r: bufio.NewReader(conn), app: accept(t, h)})
		})
	})
}

// skipPipelineListener skips a test of PipelineListener, which does nothing for
// the direct engine: that reads behind a held request anyway. See direct_test.go.
func skipPipelineListener(t *testing.T) {
	t.Helper()
	if enginetest.Direct() {
		t.Skip("the direct engine reads ahead by itself")
	}
}

// elapsed reports how long f takes.
func elapsed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func TestPipelineListener(t *testing.T) {
	skipPipelineListener(t)
	pipelined(t, "a poll is held as long as nothing comes", func(t *testing.T, l *line) {
		l.says(l.req(1001, ""))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
		l.says(l.req(1002, ""))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "also if it came in pieces", func(t *testing.T, l *line) {
		for rid := int64(1001); rid < 1004; rid++ {
			for _, c := range l.req(rid, "") {
				l.says(string(c))
				synctest.Wait()
			}
			assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
		}
	})

	pipelined(t, "what comes behind it releases it", func(t *testing.T, l *line) {
		for rid := int64(1001); rid < 1020; rid += 2 {
			l.says(l.req(rid, ""))
			time.Sleep(time.Second)
			l.says(l.req(rid+1, x("a")))
			assert.Zero(t, elapsed(func() {
				l.hears(empty)
				requireRead(t, l.app, x("a"))
			}))
			_, err := io.WriteString(l.app, x("b"))
			require.NoError(t, err)
			l.hears(answer(x("b")))
		}
	})

	pipelined(t, "the first byte will do", func(t *testing.T, l *line) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		l.says("P")
		assert.Zero(t, elapsed(func() { l.hears(empty) }))
		l.says(strings.TrimPrefix(l.req(1002, ""), "P"))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "an empty line behind it does not", func(t *testing.T, l *line) {
		for rid := int64(1001); rid < 1005; rid += 2 {
			l.says(l.req(rid, ""), "\r\n")
			assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
			l.says(l.req(rid+1, ""))
			synctest.Wait()
			l.says("\r\n")
			assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
		}
		l.says(l.req(1005, "")+"\r\n", l.req(1006, x("a")))
		assert.Zero(t, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "what came along with it releases it", func(t *testing.T, l *line) {
		l.says(l.req(1001, ""), l.req(1002, x("a")), l.req(1003, ""), l.req(1004, x("b")))
		assert.Zero(t, elapsed(func() {
			l.hears(empty)
			l.hears(empty)
			l.hears(empty)
			requireRead(t, l.app, x("a"))
			requireRead(t, l.app, x("b"))
		}))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "half of it does too", func(t *testing.T, l *line) {
		second := l.req(1002, "")
		l.says(l.req(1001, ""), second[:30])
		assert.Zero(t, elapsed(func() { l.hears(empty) }))
		l.says(second[30:])
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "large requests", func(t *testing.T, l *line) {
		large := x(strings.Repeat("a", 20_000))
		l.says(l.req(1001, large), l.req(1002, large))
		assert.Zero(t, elapsed(func() { l.hears(empty) }))
		requireRead(t, l.app, large+large)
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "requests that are none of BOSH", func(t *testing.T, l *line) {
		get := "GET / HTTP/1.1\r\nHost: bosh.test\r\n\r\n"
		l.says(l.req(1001, ""), get, l.req(1002, ""))
		assert.Zero(t, elapsed(func() {
			l.hears(empty)
			assert.Contains(t, readAnswer(t, l.r), "BOSH endpoint")
			l.hears(empty) // in vain, but once
		}))
		l.says(l.req(1003, ""))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "a chunked request", func(t *testing.T, l *line) {
		body := l.body(1001, "")
		l.says(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body))
		synctest.Wait()
		time.Sleep(time.Second)
		l.says(l.req(1002, ""))
		assert.Zero(t, elapsed(func() { l.hears(empty) }))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "answers stay in order, whatever is held elsewhere", func(t *testing.T, l *line) {
		l.says(l.req(1002, x("b")))
		synctest.Wait()
		l.says(l.req(1003, x("c"))) // above the window until 1001 has come
		other := boshtest.Post(t, l.rt, l.body(1001, x("a")))
		assert.Empty(t, other.Wait().Payload())
		assert.Zero(t, elapsed(func() { l.hears(empty) }))
		requireRead(t, l.app, x("a")+x("b")+x("c"))
		assert.Equal(t, patience, elapsed(func() { l.hears(empty) }))
	})

	pipelined(t, "a client that vanishes behind a pipelined byte", func(t *testing.T, l *line) {
		l.says(l.req(1001, ""))
		synctest.Wait()
		l.says("P")
		l.Conn.Close()
		synctest.Wait()
		assert.EqualValues(t, 2, l.app.Session().Stats().Requests)
		_, err := io.WriteString(l.app, x("a"))
		require.NoError(t, err)
		assert.Equal(t, complete(empty), boshtest.Exchange(t, l.rt, l.body(1001, "")).String())
		assert.Equal(t, complete(answer(x("a"))), boshtest.Exchange(t, l.rt, l.body(1002, "")).String())
		time.Sleep(33 * time.Second)
		assert.Error(t, l.app.Session().Err())
	})
}

// TestPipelineListenerSockets is the same over real connections: plain, and
// below TLS in the two ways in which it can be put there.
func TestPipelineListenerSockets(t *testing.T) {
	skipPipelineListener(t)
	certificates := httptest.NewTLSServer(nil)
	certificates.Close()
	for name, serve := range map[string]func(srv *http.Server, l net.Listener) error{
		"plain":    func(srv *http.Server, l net.Listener) error { return srv.Serve(l) },
		"ServeTLS": func(srv *http.Server, l net.Listener) error { return srv.ServeTLS(l, "", "") },
		"tls.NewListener": func(srv *http.Server, l net.Listener) error {
			return srv.Serve(tls.NewListener(l, srv.TLSConfig))
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan int64, 100)
			h := newHandler(t, with(func(o *bosh.Options) {
				o.Trace = &bosh.Trace{Request: func(_ *bosh.Session, i bosh.RequestInfo) { seen <- i.Rid }}
			}))
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			srv := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: certificates.TLS.Certificates}}
			done := async(func() error { return serve(srv, bosh.PipelineListener(listener)) })
			t.Cleanup(func() {
				srv.Close()
				<-done
			})
			connect := func() net.Conn {
				conn, err := net.Dial("tcp", listener.Addr().String())
				require.NoError(t, err)
				t.Cleanup(func() { conn.Close() })
				require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
				if name != "plain" {
					conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				}
				return conn
			}

			conn := connect()
			l := &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
			l.says(rawRequest(creation()))
			body, err := boshtest.ParseBody([]byte(readAnswer(t, l.r)))
			require.NoError(t, err)
			l.sid, l.app = body.Attr("sid"), accept(t, h)
			assert.Equal(t, listener.Addr(), l.app.LocalAddr())
			assert.Equal(t, name != "plain", l.app.Session().Secure())

			// A poll, and then a message.
			for rid := int64(1001); rid < 1011; rid += 2 {
				l.says(l.req(rid, ""))
				assert.Equal(t, rid, <-seen)
				l.says(l.req(rid+1, x("a")))
				l.hears(empty)
				assert.Equal(t, rid+1, <-seen)
				requireRead(t, l.app, x("a"))
				_, err := io.WriteString(l.app, x("b"))
				require.NoError(t, err)
				l.hears(answer(x("b")))
			}

			// Both at once, in two records if there are such.
			for rid := int64(1011); rid < 1021; rid += 2 {
				l.says(l.req(rid, ""))
				l.says(l.req(rid+1, x("a")))
				l.hears(empty)
				requireRead(t, l.app, x("a"))
				_, err := io.WriteString(l.app, x("b"))
				require.NoError(t, err)
				l.hears(answer(x("b")))
				<-seen
				<-seen
			}

			// Head and body apart are one request, which is held.
			head, body2, _ := strings.Cut(l.req(1021, ""), "<")
			l.says(head)
			l.says("<" + body2)
			<-seen
			_, err = io.WriteString(l.app, x("c"))
			require.NoError(t, err)
			l.hears(answer(x("c")))

			// A client that vanishes behind a byte.
			l.says(l.req(1022, ""))
			<-seen
			l.says("P")
			l.hears(empty)
			l.Conn.Close()
			conn = connect()
			l = &line{peer: l.peer, Conn: conn, r: bufio.NewReader(conn), app: l.app}
			l.says(l.req(1022, ""))
			l.hears(empty)
		})
	}
}

// HTTP/2 has no need of it, and what else goes over the connection releases
// nothing.
func TestPipelineListenerHTTP2(t *testing.T) {
	seen := make(chan int64, 1)
	h := newHandler(t, with(func(o *bosh.Options) {
		o.Trace = &bosh.Trace{Request: func(_ *bosh.Session, i bosh.RequestInfo) { seen <- i.Rid }}
	}))
	srv := httptest.NewUnstartedServer(h)
	srv.Listener = bosh.PipelineListener(srv.Listener)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "https", srv.Listener.Addr().String()
		return srv.Client().Transport.RoundTrip(r)
	})
	p := dial(t, rt)
	app := accept(t, h)
	poll := p.post("")
	<-seen
	for range 20 {
		resp, err := srv.Client().Get(srv.URL)
		require.NoError(t, err)
		assert.Equal(t, 2, resp.ProtoMajor)
		require.NoError(t, resp.Body.Close())
	}
	assert.False(t, poll.Answered())
	_, err := io.WriteString(app, x("a"))
	require.NoError(t, err)
	assert.Equal(t, x("a"), poll.Wait().Payload())
}

// A roundTripper is an http.RoundTripper by a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The connections are still what they were.
func TestPipelineListenerConn(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := bosh.PipelineListener(inner)
	defer l.Close()
	assert.Equal(t, inner.Addr(), l.Addr())
	accepted := async(func() net.Conn {
		c, err := l.Accept()
		assert.NoError(t, err)
		return c
	})
	client, err := net.Dial("tcp", inner.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	conn := <-accepted
	defer conn.Close()

	assert.Equal(t, client.RemoteAddr().String(), conn.LocalAddr().String())
	assert.Equal(t, "tcp", conn.LocalAddr().Network())
	assert.IsType(t, &net.TCPConn{}, conn.(interface{ NetConn() net.Conn }).NetConn())
	n, err := conn.(io.ReaderFrom).ReadFrom(strings.NewReader("hello"))
	require.NoError(t, err)
	assert.EqualValues(t, 5, n)
	require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))

	_, err = io.WriteString(client, "hi")
	require.NoError(t, err)
	requireRead(t, conn, "hi")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(-time.Second)))
	_, err = conn.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "timeout")

	require.NoError(t, l.Close())
	_, err = l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
}
