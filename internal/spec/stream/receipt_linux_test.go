package stream_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The client's operating system acknowledges an answer before the client says anything,
// or even has read it; but not one that it has no room for.
func TestProofByKernel(t *testing.T) {
	for _, room := range []bool{true, false} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint("room ", room, " TLS ", secure), func(t *testing.T) {
				o := Elements()
				o.Proof, o.WriteBuffer, o.MaxElement = bosh.ByKernel, 64<<20, 64<<20
				h := WithEngine(t, o, true)
				srv := httptest.NewUnstartedServer(h)
				if secure {
					srv.StartTLS()
				} else {
					srv.Start()
				}
				defer srv.Close()
				defer h.Close()
				conn, err := net.Dial("tcp", srv.Listener.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(64<<10))
				client := conn
				if secure {
					client = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				}
				post := func(body string) {
					_, err := fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					require.NoError(t, err)
				}
				var sid string
				post(Creation())
				answer := make([]byte, 4096)
				for !strings.Contains(sid, "</body>") && !strings.Contains(sid, "/>") {
					n, err := client.Read(answer)
					require.NoError(t, err)
					sid += string(answer[:n])
				}
				_, sid, _ = strings.Cut(sid, "sid='")
				sid, _, _ = strings.Cut(sid, "'")
				s := Accept(t, h)
				told := make(chan int64, 10)
				s.OnProven(func(n int64) { told <- n })
				size := 10
				if !room {
					size = 1 << 20 // which is in the socket, and that is all
				}
				Write(t, s, el+strings.Repeat("x", size)+"'/>")
				post(fmt.Sprintf("<body rid='1001' sid='%s' xmlns='%s'/>", sid, NsBind))
				if room {
					assert.Equal(t, int64(1), <-told)
					assert.Equal(t, int64(1), s.Proven())
					return
				}
				select {
				case n := <-told:
					t.Errorf("proven: %d", n)
				case <-time.After(300 * time.Millisecond):
				}
				go io.Copy(io.Discard, client)
				assert.Equal(t, int64(1), <-told)
			})
		}
	}
}

// A connection that has broken proves nothing.
func TestProofByKernelOfBrokenConnections(t *testing.T) {
	o := Elements()
	o.Proof = bosh.ByKernel
	h := WithEngine(t, o, true)
	srv := httptest.NewServer(h)
	defer srv.Close()
	defer h.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	p := Dial(t, through(func(r *http.Request) (*http.Response, error) {
		r.URL.Host = "x"
		return transport.RoundTrip(r)
	}))
	s := Accept(t, h)
	told := make(chan int64, 10)
	s.OnProven(func(n int64) { told <- n })
	p.Post("")
	for s.Session().Stats().Open == 0 {
		time.Sleep(time.Millisecond)
	}
	require.NoError(t, conn.(*net.TCPConn).SetLinger(0)) // so that Close resets it
	conn.Close()
	Write(t, s, el+"1'/>")
	select {
	case n := <-told:
		t.Errorf("proven: %d", n)
	case <-time.After(200 * time.Millisecond):
	}
}
