package boshclient_test

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	_ "github.com/gobosh/bosh/internal/enginetest"
)

var quiet = slog.New(slog.DiscardHandler)

// TestConn is the test of the net package for implementations of net.Conn, over real
// HTTP. Package bosh has it for the server's end.
func TestConn(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			h := bosh.New(bosh.Options{Framing: bosh.Opaque, WriteBuffer: 32 << 10, Logger: quiet})
			defer h.Close()
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Proto != version {
					t.Errorf("a request by %s", r.Proto)
				}
				h.ServeHTTP(w, r)
			}))
			if version == "HTTP/2.0" {
				srv.EnableHTTP2 = true
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			pipe := func() (c, s net.Conn, stop func(), err error) {
				c, err = boshclient.Dial(t.Context(), srv.URL, &boshclient.Options{
					Framing: boshclient.Opaque, HTTPClient: srv.Client(), WriteBuffer: 32 << 10})
				if err != nil {
					return nil, nil, nil, err
				}
				s, err = h.Listener().Accept()
				return c, s, func() {
					s.Close()
					c.Close()
				}, err
			}
			nettest.TestConn(t, pipe)
		})
	}
}
