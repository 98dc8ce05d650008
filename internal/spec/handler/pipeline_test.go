package handler_test

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
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pipelined runs f in a bubble, with a client of a server whose listener is a
// PipelineListener.
func pipelined(t *testing.T, name string, f func(t *testing.T, l *Line)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, StdOptions)
			listener := boshtest.ListenPipe()
			srv := &http.Server{Handler: h}
			go srv.Serve(bosh.PipelineListener(listener))
			defer srv.Close()
			transport := &http.Transport{DialContext: listener.DialContext}
			defer transport.CloseIdleConnections()
			p := Dial(t, transport)
			conn, err := listener.DialContext(t.Context(), "", "")
			require.NoError(t, err)
			defer conn.Close()
			f(t, &Line{Peer: p, Conn: conn, R: bufio.NewReader(conn), App: Accept(t, h)})
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

func TestPipelineListener(t *testing.T) {
	skipPipelineListener(t)
	pipelined(t, "a poll is held as long as nothing comes", func(t *testing.T, l *Line) {
		l.Says(l.Req(1001, ""))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
		l.Says(l.Req(1002, ""))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "also if it came in pieces", func(t *testing.T, l *Line) {
		for rid := int64(1001); rid < 1004; rid++ {
			for _, c := range l.Req(rid, "") {
				l.Says(string(c))
				synctest.Wait()
			}
			assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
		}
	})

	pipelined(t, "what comes behind it releases it", func(t *testing.T, l *Line) {
		for rid := int64(1001); rid < 1020; rid += 2 {
			l.Says(l.Req(rid, ""))
			time.Sleep(time.Second)
			l.Says(l.Req(rid+1, X("a")))
			assert.Zero(t, Elapsed(func() {
				l.Hears(Empty)
				RequireRead(t, l.App, X("a"))
			}))
			_, err := io.WriteString(l.App, X("b"))
			require.NoError(t, err)
			l.Hears(Answer(X("b")))
		}
	})

	pipelined(t, "the first byte will do", func(t *testing.T, l *Line) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		l.Says("P")
		assert.Zero(t, Elapsed(func() { l.Hears(Empty) }))
		l.Says(strings.TrimPrefix(l.Req(1002, ""), "P"))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "an empty line behind it does not", func(t *testing.T, l *Line) {
		for rid := int64(1001); rid < 1005; rid += 2 {
			l.Says(l.Req(rid, ""), "\r\n")
			assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
			l.Says(l.Req(rid+1, ""))
			synctest.Wait()
			l.Says("\r\n")
			assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
		}
		l.Says(l.Req(1005, "")+"\r\n", l.Req(1006, X("a")))
		assert.Zero(t, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "what came along with it releases it", func(t *testing.T, l *Line) {
		l.Says(l.Req(1001, ""), l.Req(1002, X("a")), l.Req(1003, ""), l.Req(1004, X("b")))
		assert.Zero(t, Elapsed(func() {
			l.Hears(Empty)
			l.Hears(Empty)
			l.Hears(Empty)
			RequireRead(t, l.App, X("a"))
			RequireRead(t, l.App, X("b"))
		}))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "half of it does too", func(t *testing.T, l *Line) {
		second := l.Req(1002, "")
		l.Says(l.Req(1001, ""), second[:30])
		assert.Zero(t, Elapsed(func() { l.Hears(Empty) }))
		l.Says(second[30:])
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "large requests", func(t *testing.T, l *Line) {
		large := X(strings.Repeat("a", 20_000))
		l.Says(l.Req(1001, large), l.Req(1002, large))
		assert.Zero(t, Elapsed(func() { l.Hears(Empty) }))
		RequireRead(t, l.App, large+large)
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "requests that are none of BOSH", func(t *testing.T, l *Line) {
		get := "GET / HTTP/1.1\r\nHost: bosh.test\r\n\r\n"
		l.Says(l.Req(1001, ""), get, l.Req(1002, ""))
		assert.Zero(t, Elapsed(func() {
			l.Hears(Empty)
			assert.Contains(t, ReadAnswer(t, l.R), "BOSH endpoint")
			l.Hears(Empty) // in vain, but once
		}))
		l.Says(l.Req(1003, ""))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "a chunked request", func(t *testing.T, l *Line) {
		body := l.Body(1001, "")
		l.Says(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body))
		synctest.Wait()
		time.Sleep(time.Second)
		l.Says(l.Req(1002, ""))
		assert.Zero(t, Elapsed(func() { l.Hears(Empty) }))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "answers stay in order, whatever is held elsewhere", func(t *testing.T, l *Line) {
		l.Says(l.Req(1002, X("b")))
		synctest.Wait()
		l.Says(l.Req(1003, X("c"))) // above the window until 1001 has come
		other := boshtest.Post(t, l.Rt, l.Body(1001, X("a")))
		assert.Empty(t, other.Wait().Payload())
		assert.Zero(t, Elapsed(func() { l.Hears(Empty) }))
		RequireRead(t, l.App, X("a")+X("b")+X("c"))
		assert.Equal(t, Patience, Elapsed(func() { l.Hears(Empty) }))
	})

	pipelined(t, "a client that vanishes behind a pipelined byte", func(t *testing.T, l *Line) {
		l.Says(l.Req(1001, ""))
		synctest.Wait()
		l.Says("P")
		l.Conn.Close()
		synctest.Wait()
		assert.EqualValues(t, 2, l.App.Session().Stats().Requests)
		_, err := io.WriteString(l.App, X("a"))
		require.NoError(t, err)
		assert.Equal(t, Complete(Empty), boshtest.Exchange(t, l.Rt, l.Body(1001, "")).String())
		assert.Equal(t, Complete(Answer(X("a"))), boshtest.Exchange(t, l.Rt, l.Body(1002, "")).String())
		time.Sleep(33 * time.Second)
		assert.Error(t, l.App.Session().Err())
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
			h := NewHandler(t, With(func(o *bosh.Options) {
				o.Trace = &bosh.Trace{Request: func(_ *bosh.Session, i bosh.RequestInfo) { seen <- i.Rid }}
			}))
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			srv := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: certificates.TLS.Certificates}}
			done := Async(func() error { return serve(srv, bosh.PipelineListener(listener)) })
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
			l := &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
			l.Says(RawRequest(Creation()))
			body, err := boshtest.ParseBody([]byte(ReadAnswer(t, l.R)))
			require.NoError(t, err)
			l.Sid, l.App = body.Attr("sid"), Accept(t, h)
			assert.Equal(t, listener.Addr(), l.App.LocalAddr())
			assert.Equal(t, name != "plain", l.App.Session().Secure())

			// A poll, and then a message.
			for rid := int64(1001); rid < 1011; rid += 2 {
				l.Says(l.Req(rid, ""))
				assert.Equal(t, rid, <-seen)
				l.Says(l.Req(rid+1, X("a")))
				l.Hears(Empty)
				assert.Equal(t, rid+1, <-seen)
				RequireRead(t, l.App, X("a"))
				_, err := io.WriteString(l.App, X("b"))
				require.NoError(t, err)
				l.Hears(Answer(X("b")))
			}

			// Both at once, in two records if there are such.
			for rid := int64(1011); rid < 1021; rid += 2 {
				l.Says(l.Req(rid, ""))
				l.Says(l.Req(rid+1, X("a")))
				l.Hears(Empty)
				RequireRead(t, l.App, X("a"))
				_, err := io.WriteString(l.App, X("b"))
				require.NoError(t, err)
				l.Hears(Answer(X("b")))
				<-seen
				<-seen
			}

			// Head and body apart are one request, which is held.
			head, body2, _ := strings.Cut(l.Req(1021, ""), "<")
			l.Says(head)
			l.Says("<" + body2)
			<-seen
			_, err = io.WriteString(l.App, X("c"))
			require.NoError(t, err)
			l.Hears(Answer(X("c")))

			// A client that vanishes behind a byte.
			l.Says(l.Req(1022, ""))
			<-seen
			l.Says("P")
			l.Hears(Empty)
			l.Conn.Close()
			conn = connect()
			l = &Line{Peer: l.Peer, Conn: conn, R: bufio.NewReader(conn), App: l.App}
			l.Says(l.Req(1022, ""))
			l.Hears(Empty)
		})
	}
}

// HTTP/2 has no need of it, and what else goes over the connection releases
// nothing.
func TestPipelineListenerHTTP2(t *testing.T) {
	seen := make(chan int64, 1)
	h := NewHandler(t, With(func(o *bosh.Options) {
		o.Trace = &bosh.Trace{Request: func(_ *bosh.Session, i bosh.RequestInfo) { seen <- i.Rid }}
	}))
	srv := httptest.NewUnstartedServer(h)
	srv.Listener = bosh.PipelineListener(srv.Listener)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	rt := RoundTripper(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "https", srv.Listener.Addr().String()
		return srv.Client().Transport.RoundTrip(r)
	})
	p := Dial(t, rt)
	app := Accept(t, h)
	poll := p.Post("")
	<-seen
	for range 20 {
		resp, err := srv.Client().Get(srv.URL)
		require.NoError(t, err)
		assert.Equal(t, 2, resp.ProtoMajor)
		require.NoError(t, resp.Body.Close())
	}
	assert.False(t, poll.Answered())
	_, err := io.WriteString(app, X("a"))
	require.NoError(t, err)
	assert.Equal(t, X("a"), poll.Wait().Payload())
}

// The connections are still what they were.
func TestPipelineListenerConn(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := bosh.PipelineListener(inner)
	defer l.Close()
	assert.Equal(t, inner.Addr(), l.Addr())
	accepted := Async(func() net.Conn {
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
	RequireRead(t, conn, "hi")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(-time.Second)))
	_, err = conn.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "timeout")

	require.NoError(t, l.Close())
	_, err = l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
}
