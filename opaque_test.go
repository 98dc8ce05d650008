package bosh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/deadline"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
)

// An opaqueConn is the client's end of an Opaque stream.
type opaqueConn struct {
	c   *boshtest.Client
	end context.CancelFunc

	writing sync.Mutex
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed chan struct{}
	buf    []byte
	err    error         // why there is no more input
	change chan struct{} // closed when buf or err has changed
	rd, wr lateness
}

// lateness is a deadline and what to wait on for it.
type lateness struct {
	deadline.Deadline
	passed chan struct{} // closed when it passes, and replaced
}

// maxUnread is how much an opaqueConn reads ahead.
const maxUnread = 64 << 10

func dialOpaque(ctx context.Context, cfg boshtest.Config) (*opaqueConn, error) {
	cfg.Queue, cfg.Batch = 64<<10, 64<<10
	client, err := boshtest.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c := &opaqueConn{c: client, closed: make(chan struct{}), change: make(chan struct{})}
	c.rd.passed, c.wr.passed = make(chan struct{}), make(chan struct{})
	ctx, c.end = context.WithCancel(context.Background())
	c.running.Go(func() { c.pump(ctx) })
	return c, nil
}

// pump moves what arrives to the buffer.
func (c *opaqueConn) pump(ctx context.Context) {
	for {
		el, err := c.c.Recv(ctx)
		var b []byte
		if err == nil {
			b, err = base64.StdEncoding.AppendDecode(nil, el[bytes.IndexByte(el, '>')+1:bytes.LastIndexByte(el, '<')])
		}
		c.mu.Lock()
		c.buf, c.err = append(c.buf, b...), err
		close(c.change)
		c.change = make(chan struct{})
		for len(c.buf) > maxUnread && ctx.Err() == nil {
			change := c.change
			c.mu.Unlock()
			select {
			case <-change:
			case <-ctx.Done():
			}
			c.mu.Lock()
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *opaqueConn) Read(p []byte) (int, error) {
	for {
		c.mu.Lock()
		n, err := c.read(p)
		change, late := c.change, c.rd.passed
		c.mu.Unlock()
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		select {
		case <-change:
		case <-c.closed:
		case <-late:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (c *opaqueConn) read(p []byte) (int, error) {
	switch {
	case c.isClosed():
		return 0, net.ErrClosed
	case c.rd.Expired():
		return 0, os.ErrDeadlineExceeded
	case len(c.buf) == 0:
		return 0, c.err
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	close(c.change)
	c.change = make(chan struct{})
	return n, nil
}

func (c *opaqueConn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	expired, late := c.wr.Expired(), c.wr.passed
	c.mu.Unlock()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case <-late:
			cancel(os.ErrDeadlineExceeded)
		case <-c.closed:
			cancel(net.ErrClosed)
		case <-ctx.Done():
		}
	}()
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		switch {
		case c.isClosed():
			return n, net.ErrClosed
		case expired:
			return n, os.ErrDeadlineExceeded
		case n == len(p):
			return n, nil
		}
		part := p[n:min(len(p), n+8<<10)]
		if err := c.c.Send(ctx, encode(part)); err != nil {
			return n, err
		}
		n += len(part)
	}
}

func (c *opaqueConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// Close ends the session in good order, but not at any price.
func (c *opaqueConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed() {
		return net.ErrClosed
	}
	close(c.closed)
	c.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), second)
		defer cancel()
		c.c.Terminate(ctx)
		c.end()
		c.c.Close()
	})
	return nil
}

func (c *opaqueConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *opaqueConn) SetReadDeadline(t time.Time) error  { return c.set(&c.rd, t) }
func (c *opaqueConn) SetWriteDeadline(t time.Time) error { return c.set(&c.wr, t) }

func (c *opaqueConn) set(d *lateness, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.Set(&c.mu, t, func() {
		close(d.passed)
		d.passed = make(chan struct{})
	})
	return nil
}

func (c *opaqueConn) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (c *opaqueConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// opaquePair returns the two ends of a stream through a Handler.
func opaquePair(ctx context.Context, h *bosh.Handler, cfg boshtest.Config) (client *opaqueConn, server net.Conn, err error) {
	client, err = dialOpaque(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	server, err = h.Listener().Accept()
	return client, server, err
}

// TestConn is the test of the net package for implementations of net.Conn, in
// both directions over real HTTP.
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
			pipe := func() (*opaqueConn, net.Conn, func(), error) {
				c, s, err := opaquePair(t.Context(), h, boshtest.Config{URL: srv.URL, Transport: srv.Client().Transport})
				return c, s, func() {
					s.Close()
					c.Close()
					c.running.Wait()
				}, err
			}
			t.Run("client", func(t *testing.T) {
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					c, s, stop, err := pipe()
					return c, s, stop, err
				})
			})
			t.Run("server", func(t *testing.T) {
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					c, s, stop, err := pipe()
					return s, c, stop, err
				})
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
		c, s, err := opaquePair(t.Context(), h, boshtest.Config{Transport: boshtest.InMemory(h)})
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
		c.running.Wait()
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
