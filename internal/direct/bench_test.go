package direct

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/gobosh/bosh/internal/httpio"
	"github.com/stretchr/testify/require"
)

// BenchmarkRoundTrip is a request and its answer over a socket, by the goroutine
// that has read the request and by another one.
func BenchmarkRoundTrip(b *testing.B) {
	answer := func(q *Request) { q.Answer(httpio.RawAnswer{Body: []byte("hello")}) }
	for _, secure := range []string{"plain", "TLS"} {
		b.Run(secure+"/by the reader", func(b *testing.B) { benchmark(b, secure == "TLS", answer) })
		b.Run(secure+"/12 KB each way", func(b *testing.B) {
			large := bytes.Repeat([]byte("hello, "), 12<<10/7)
			s := newBench(b, secure == "TLS", func(q *Request) { q.Answer(httpio.RawAnswer{Body: large}) })
			b.ReportAllocs()
			for b.Loop() {
				s.exchange(large, len(large))
			}
		})
		b.Run(secure+"/by another", func(b *testing.B) {
			qs := make(chan *Request, 1)
			defer close(qs)
			go func() {
				for q := range qs {
					answer(q)
				}
			}()
			benchmark(b, secure == "TLS", func(q *Request) { qs <- q })
		})
	}
}

// BenchmarkAfterRest is a request and its answer over a connection that was at
// rest.
func BenchmarkAfterRest(b *testing.B) {
	s := newBench(b, false, func(q *Request) { q.Answer(httpio.RawAnswer{Body: []byte("hello")}) })
	s.roundTrip()
	var took time.Duration
	for b.Loop() {
		for at := false; !at; runtime.Gosched() {
			s.e.each(func(c *conn) {
				c.look()
				c.mu.Lock()
				at = c.activity == rested && (c.reader == none || !watches)
				c.mu.Unlock()
			})
		}
		began := time.Now()
		s.roundTrip()
		took += time.Since(began)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/roundtrip")
}

func benchmark(b *testing.B, secure bool, serve func(*Request)) {
	s := newBench(b, secure, serve)
	b.ReportAllocs()
	for b.Loop() {
		s.roundTrip()
	}
}

// A bench is an Engine behind a server, and a client's connection.
type bench struct {
	b    *testing.B
	e    *Engine
	conn net.Conn
	r    *bufio.Reader
	out  []byte
}

func newBench(b *testing.B, secure bool, serve func(*Request)) *bench {
	e := &Engine{
		Serve: func(q *Request, _ []byte) { serve(q) }, Gone: (*Request).Abort, Done: func(*Request) {},
		MaxBody: 1 << 20, Writing: httpio.NewLimit(30*time.Second, 0), Logger: slog.New(slog.DiscardHandler),
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		e.Take(w, r).Begin(serve)
	}))
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	b.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(b, err)
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	b.Cleanup(func() { conn.Close() })
	return &bench{b: b, e: e, conn: conn, r: bufio.NewReader(conn)}
}

func (s *bench) roundTrip() { s.exchange([]byte("hello"), len("hello")) }

// exchange sends a request and reads its answer, whose length must be known.
func (s *bench) exchange(body []byte, answer int) {
	s.out = fmt.Appendf(s.out[:0], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	_, err := s.conn.Write(s.out)
	require.NoError(s.b, err)
	for line := ""; line != "\r\n"; {
		line, err = s.r.ReadString('\n')
		require.NoError(s.b, err)
	}
	_, err = s.r.Discard(answer)
	require.NoError(s.b, err)
}
