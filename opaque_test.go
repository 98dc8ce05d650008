package bosh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
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
			h := newHandler(t, bosh.Options{Framing: bosh.Opaque, WriteBuffer: 32 << 10})
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
		h := newHandler(t, bosh.Options{Framing: bosh.Opaque})
		c, s, err := opaquePair(t.Context(), h, "http://example.com/", boshtest.InMemory(h))
		require.NoError(t, err)
		cert, roots := certificate(t)
		server := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{cert}})
		client := tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "example.com"})

		echoed := async(func() error {
			defer server.Close()
			_, err := io.Copy(server, server)
			return err
		})
		sent := make([]byte, 300_000)
		rand.Read(sent)
		wrote := async(func() error { _, err := client.Write(sent); return err })
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

// certificate returns one for example.com that names itself as its root.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
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
			_, p := connect(t, bosh.Options{Framing: bosh.Opaque})
			requireEnd(t, p.send(bad), bosh.BadRequest)
		})
	}
}

func TestOpaqueInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, bosh.Options{Framing: bosh.Opaque})
		p.send(encode([]byte("a")) + "\n" + encode(nil) + "<d:data xmlns:d='" + bosh.OpaqueNS + "' other='>'> Y m\nM= </d:data>" +
			"<data xmlns='" + bosh.OpaqueNS + "'/>" + encode([]byte{0, 255}))
		requireRead(t, s, "abc\x00\xff")
	})
}

// Many small Writes while no request is open make one element.
func TestOpaqueOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, bosh.Options{Framing: bosh.Opaque})
		for range 100 {
			write(t, s, "0123456789")
		}
		r := p.send("")
		assert.Len(t, r.Payloads, 1)
		assert.Equal(t, string(bytes.Repeat([]byte("0123456789"), 100)), decode(t, r.Payloads))
		assert.Empty(t, r.Attr("xmlns:stream"))
		assert.Empty(t, p.created.Attr("xmpp:restartlogic"))
	})
}
