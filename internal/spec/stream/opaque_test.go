package stream_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
)

// opaquePair returns the two ends of a stream through a Handler.
func opaquePair(ctx context.Context, h *bosh.Handler, url string, rt http.RoundTripper) (client *boshclient.Conn, server net.Conn, err error) {
	client, err = boshclient.Dial(ctx, url, &boshclient.Options{
		Framing: boshclient.Opaque, HTTPClient: &http.Client{Transport: rt}, WriteBuffer: 64 << 10,
	})
	if err != nil {
		return nil, nil, err
	}
	server, err = h.Listener().Accept()
	return client, server, err
}

// TestConn is the test of the net package for implementations of net.Conn, over real
// HTTP. Package boshclient has it for the client's end.
func TestConn(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			h := NewHandler(t, bosh.Options{Framing: bosh.Opaque, WriteBuffer: 32 << 10})
			var proto sync.Map
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				proto.Store(r.Proto, true)
				h.ServeHTTP(w, r)
			}))
			if version == "HTTP/2.0" {
				srv.EnableHTTP2 = true
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				c, s, err := opaquePair(t.Context(), h, srv.URL, srv.Client().Transport)
				return s, c, func() {
					s.Close()
					c.Close()
				}, err
			})
			_, ok := proto.Load(version)
			assert.True(t, ok, "the version was not used")
		})
	}
}

// Another protocol goes through an Opaque stream as through any connection.
func TestTLSThroughOpaque(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Opaque})
		c, s, err := opaquePair(t.Context(), h, "http://example.com/", boshtest.InMemory(h))
		require.NoError(t, err)
		cert, roots := Certificate(t)
		server := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{cert}})
		client := tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "example.com"})

		echoed := Async(func() error {
			defer server.Close()
			_, err := io.Copy(server, server)
			return err
		})
		sent := make([]byte, 300_000)
		rand.Read(sent)
		wrote := Async(func() error { _, err := client.Write(sent); return err })
		got := make([]byte, len(sent))
		_, err = io.ReadFull(client, got)
		require.NoError(t, err)
		require.NoError(t, <-wrote)
		assert.True(t, bytes.Equal(sent, got))
		assert.True(t, client.ConnectionState().HandshakeComplete)
		require.NoError(t, client.CloseWrite())
		assert.NoError(t, <-echoed)
		_, err = client.Read(got)
		assert.Equal(t, io.EOF, err)
		client.Close()
	})
}

// What is not base64 in the right element is no data, and ends the session.
func TestOpaqueMalformed(t *testing.T) {
	for _, bad := range []string{
		"<data xmlns='" + bosh.OpaqueNS + "'>AQ=</data>",
		"<data xmlns='" + bosh.OpaqueNS + "'>A!==</data>",
		"<data xmlns='" + bosh.OpaqueNS + "'>AQ==<b/></data>",
		"<data xmlns='" + bosh.OpaqueNS + "'>&#65;Q==</data>",
		"<data xmlns='" + bosh.OpaqueNS + "'><![CDATA[AQ==]]></data>",
		"<data xmlns='other'>AQ==</data>",
		"<data>AQ==</data>",
		"<date xmlns='" + bosh.OpaqueNS + "'>AQ==</date>",
	} {
		synctest.Test(t, func(t *testing.T) {
			_, p := Connect(t, bosh.Options{Framing: bosh.Opaque})
			RequireEnd(t, p.Send(bad), bosh.BadRequest)
		})
	}
}

func TestOpaqueInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Opaque})
		p.Send(Encode([]byte("a")) + "\n" + Encode(nil) + "<d:data xmlns:d='" + bosh.OpaqueNS + "' other='>'> Y m\nM= </d:data>" +
			"<data xmlns='" + bosh.OpaqueNS + "'/>" + Encode([]byte{0, 255}))
		RequireRead(t, s, "abc\x00\xff")
	})
}

// Many small Writes while no request is open make one element.
func TestOpaqueOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Opaque})
		for range 100 {
			Write(t, s, "0123456789")
		}
		r := p.Send("")
		assert.Len(t, r.Payloads, 1)
		assert.Equal(t, string(bytes.Repeat([]byte("0123456789"), 100)), Decode(t, r.Payloads))
		assert.Empty(t, r.Attr("xmlns:stream"))
		assert.Empty(t, p.Created.Attr("xmpp:restartlogic"))
	})
}
