package carrier

import (
	"bytes"
	"context"
	"crypto/tls"
	"hash/maphash"
	"net"
	"net/http"
	"sync"

	"github.com/gobosh/bosh/internal/relay"
	"github.com/gobosh/bosh/internal/reqinfo"
)

// A NetHTTP carries an exchange of net/http. The goroutine of the request waits for
// Ready, and then takes the answer.
type NetHTTP struct {
	Exchange
	R     *http.Request
	Ready chan struct{} // of capacity 1

	pool *Pool
	line uint64 // see Connection
	told bool   // line is known
}

// A Pool has NetHTTPs. Sockets says whether two connections from the same port must be
// told apart.
type Pool struct {
	Seed    maphash.Seed
	Sockets bool

	free sync.Pool
}

// Get returns a carrier of r.
func (p *Pool) Get(r *http.Request) *NetHTTP {
	c, ok := p.free.Get().(*NetHTTP)
	if !ok {
		c = &NetHTTP{pool: p, Ready: make(chan struct{}, 1)}
	}
	c.R, c.Carrier = r, c
	if p.Sockets {
		c.Connection() // now: it asks the context of r, perhaps the application's, and a session asks under its lock
	}
	return c
}

// Put takes back an unused carrier.
func (p *Pool) Put(c *NetHTTP) {
	select {
	case <-c.Ready:
	default:
	}
	*c = NetHTTP{pool: p, Ready: c.Ready}
	p.free.Put(c)
}

// Telling returns a carrier with the data of its request only.
func Telling(r *http.Request) Carrier { return &NetHTTP{R: r} }

func (c *NetHTTP) Request() *http.Request      { return c.R }
func (c *NetHTTP) Keep()                       { c.R = c.R.Clone(c.R.Context()) }
func (c *NetHTTP) Values() context.Context     { return context.WithoutCancel(c.R.Context()) }
func (c *NetHTTP) Host() string                { return c.R.Host }
func (c *NetHTTP) Remote() net.Addr            { return reqinfo.Addr(c.R.RemoteAddr) }
func (c *NetHTTP) Info() reqinfo.Info          { return reqinfo.Keep(c.R) }
func (c *NetHTTP) Header(name string) []string { return c.R.Header[name] }
func (c *NetHTTP) TLS() *tls.ConnectionState   { return c.R.TLS }
func (c *NetHTTP) Cert() []byte                { return reqinfo.Certificate(c.R.TLS) }
func (c *NetHTTP) Left() bool                  { return c.R.Context().Err() != nil }
func (c *NetHTTP) Forwarded() bool             { return forwarded(c.Header) }
func (c *NetHTTP) Relayed() bool               { return false }
func (c *NetHTTP) Hops() uint8                 { return 0 }
func (c *NetHTTP) Receipt() any                { return nil }
func (c *NetHTTP) Arrived(*Desk)               {}
func (c *NetHTTP) Abandoned() bool             { return true }

// Local does not ask values: they would need room for it.
func (c *NetHTTP) Local(context.Context) net.Addr { return reqinfo.Local(c.R.Context(), c.R.Host) }

func (c *NetHTTP) Secure(ask func(*http.Request) bool) bool {
	if ask != nil {
		return ask(c.R)
	}
	return c.R.TLS != nil
}

// Connection returns 0 for a connection that keeps no answers in order: those of HTTP/2
// are written side by side, and all of a Unix socket have the same name.
func (c *NetHTTP) Connection() uint64 {
	if !c.told { // a session asks several times
		c.line, c.told = c.connection(), true
	}
	return c.line
}

func (c *NetHTTP) connection() uint64 {
	addr := c.R.RemoteAddr
	if _, _, err := net.SplitHostPort(addr); err != nil || c.R.ProtoMajor != 1 {
		return 0
	}
	if c.pool.Sockets {
		local, _ := c.R.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		return maphash.Comparable(c.pool.Seed, place{addr, local}) | 1
	}
	return maphash.String(c.pool.Seed, addr) | 1
}

// A place is a connection: its client's address, and its own one. Each connection has a
// copy of its own one.
type place struct {
	remote string
	local  *net.TCPAddr
}

func (c *NetHTTP) Wake(*Desk) {
	select {
	case c.Ready <- struct{}{}:
	default:
	}
}

func (c *NetHTTP) Travelled(lines *relay.Lines, _ func(*Written)) {
	c.Reply.Body = bytes.Clone(c.Reply.Body)
	lines.Enter(c.Away.Line, c.Ready)
}
