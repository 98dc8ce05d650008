package direct

import (
	"bufio"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkRoundTrip is a request and its answer over a socket, by the goroutine
// that has read the request and by another one.
func BenchmarkRoundTrip(b *testing.B) {
	answer := func(q *Request) { q.Answer(Answer{Body: []byte("hello")}) }
	for _, secure := range []string{"plain", "TLS"} {
		b.Run(secure+"/by the reader", func(b *testing.B) { benchmark(b, secure == "TLS", answer) })
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

func benchmark(b *testing.B, secure bool, serve func(*Request)) {
	e := &Engine{Serve: serve, Gone: (*Request).Abort, Done: func(*Request) {}, MaxBody: 1 << 20, WriteTimeout: 30e9, Logger: slog.New(slog.DiscardHandler)}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		e.Take(w, r).Begin(serve)
	}))
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(b, err)
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	b.ReportAllocs()
	for b.Loop() {
		_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		require.NoError(b, err)
		for line := ""; line != "\r\n"; {
			line, err = r.ReadString('\n')
			require.NoError(b, err)
		}
		_, err = r.Discard(5)
		require.NoError(b, err)
	}
}
