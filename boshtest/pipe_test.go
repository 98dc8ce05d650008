package boshtest

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
)

func TestPipeConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = newPipe(1234)
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

func TestPipeListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ListenPipe()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := l.DialContext(ctx, "", "")
		assert.ErrorIs(t, err, context.DeadlineExceeded, "nobody accepts")
		require.NoError(t, l.Close())
		_, err = l.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = l.DialContext(t.Context(), "", "")
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestPipeServer(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gone := make(chan time.Duration, 1)
				start := time.Now()
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					assert.Equal(t, version, r.Proto)
					data, _ := io.ReadAll(r.Body)
					if string(data) == "hang" {
						<-r.Context().Done()
						gone <- time.Since(start)
						return
					}
					io.WriteString(w, strings.ToUpper(string(data)))
				})}
				srv.Protocols = new(http.Protocols)
				srv.Protocols.SetHTTP1(version == "HTTP/1.1")
				srv.Protocols.SetUnencryptedHTTP2(version == "HTTP/2.0")
				s := Pipe(srv)
				s.Transport.Protocols = srv.Protocols
				defer s.Close()
				got, err := post(t, s, t.Context(), s.URL, "a")
				require.NoError(t, err)
				assert.Equal(t, "A", got)
				large := strings.Repeat("a", 3*pipeBuffer)
				got, err = post(t, s, t.Context(), s.URL, large)
				require.NoError(t, err)
				assert.Equal(t, strings.ToUpper(large), got)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err = post(t, s, ctx, s.URL, "hang")
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, time.Second, <-gone, "the server sees it")
			})
		})
	}
}

func TestClientOverPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		srv := NewPipeServer(s)
		defer srv.Close()
		c := dial(t, s, Config{URL: srv.URL, Transport: srv})
		require.NoError(t, c.Send(t.Context(), "<a xmlns='u'/>"))
		assert.Equal(t, "<a xmlns='u'/>", recv(t, c))
		require.NoError(t, c.Terminate(t.Context()))
	})
}
