// Package pipeline serves HTTP handlers that hold a request of HTTP/1. It tells
// them when the client has sent more on the same connection.
//
// net/http serves the requests of a connection one after the other, so a held one
// blocks those behind it. Meanwhile it does read a byte ahead, to see whether the
// client is still there; a Conn sees that byte go by. Requests that came together
// with the held one are in net/http's buffer already. A Conn knows of them
// because it follows where requests begin and end.
//
// Package direct needs none of this: it takes the connection over from net/http,
// and reads the requests itself.
package pipeline

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// A Listener wraps the connections of another in Conns.
type Listener struct{ net.Listener }

// Accept accepts the next connection.
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}

// A Conn is a connection of an HTTP server. Reading neither delays nor copies the
// bytes.
type Conn struct {
	net.Conn
	local *addr

	// The fields below belong to the one goroutine that reads.

	tls      bool
	requests requests
	records  records

	// mu guards the following.

	mu      sync.Mutex
	ahead   int    // requests that have come behind the one that is served
	blind   bool   // it cannot be told where requests begin
	total   int64  // bytes read
	release func() // called when a request begins
	off     bool   // this is not HTTP/1
}

func newConn(c net.Conn) *Conn {
	pc := &Conn{Conn: c}
	pc.local = &addr{Addr: c.LocalAddr(), conn: pc}
	return pc
}

// An addr is how a handler finds the Conn: net/http gives it the local address,
// also of connections under TLS.
type addr struct {
	net.Addr
	conn *Conn
}

// Unwrap returns the original local address that a Conn has replaced by its own,
// or a itself.
func Unwrap(a net.Addr) net.Addr {
	if a, ok := a.(*addr); ok {
		return a.Addr
	}
	return a
}

// LocalAddr returns the local address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// NetConn returns the connection inside c.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends the writing side, if the connection can.
func (c *Conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

// ReadFrom writes all of r, as fast as the connection can.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// Read reads from the connection. Under TLS it reads one record at a time.
// Otherwise the TLS layer could take the next one along with the last of a
// request, unseen by anybody.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	off := c.off
	c.mu.Unlock()
	if off {
		return c.Conn.Read(p)
	}
	between := c.requests.between()
	n, err := c.Conn.Read(p[:c.records.limit(len(p))])
	if n == 0 {
		return n, err
	}
	if c.requests.start() && p[0] == handshake {
		c.tls = true
		c.requests.state = lost
	}
	if c.tls {
		c.records.follow(p[:n])
	}
	begun := c.requests.follow(p[:n])

	c.mu.Lock()
	c.total += int64(n)
	c.blind = c.requests.state == lost
	switch {
	case len(p) == 1: // net/http reads ahead
		c.ahead += begun
	case between && begun > 0: // it has nothing left of what it has read before
		c.ahead = begun - 1
	default: // it waits for the rest of a request
		c.ahead = begun
	}
	var release func()
	if begun > 0 || c.blind { // and not by an empty line
		release, c.release = c.release, nil
	}
	c.mu.Unlock()
	if release != nil {
		release()
	}
	return n, err
}

// A Request is a request from a Conn.
type Request struct {
	c    *Conn
	body io.ReadCloser
	left int64 // of the body
	mark int64 // what had been read of the connection before its last byte; -1 if that is not known
}

// Watch returns the Request for r if it came over a Conn, or else nil. It must be
// called before the body is read, since it replaces the body by its own.
func Watch(r *http.Request) *Request {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(*addr)
	if !ok {
		return nil
	}
	if r.ProtoMajor != 1 {
		a.conn.mu.Lock()
		a.conn.off = true
		a.conn.mu.Unlock()
		return nil
	}
	q := &Request{c: a.conn, body: r.Body, left: r.ContentLength, mark: -1}
	if r.ContentLength > 0 {
		r.Body = q
	}
	return q
}

// Read reads the body, and its last byte by itself: at that byte net/http begins
// to read ahead. Bytes read from a connection after that are beyond the request,
// unless the byte had still to come: a client that sends it in a record of its
// own has to poll a little more often.
func (q *Request) Read(p []byte) (int, error) {
	switch {
	case q.left > 1:
		p = p[:min(int64(len(p)), q.left-1)]
	case q.left == 1:
		q.c.mu.Lock()
		q.mark = q.c.total
		q.c.mu.Unlock()
	}
	n, err := q.body.Read(p)
	q.left -= int64(n)
	return n, err
}

// Close closes the body.
func (q *Request) Close() error { return q.body.Close() }

// Hold calls release once when more has come than this request, maybe at once. It
// does not after stop has been called.
func (q *Request) Hold(release func()) (stop func()) {
	c := q.c
	c.mu.Lock()
	more := c.ahead > 0 || c.blind && q.mark >= 0 && c.total != q.mark
	if c.ahead > 0 {
		c.ahead--
	}
	if !more {
		c.release = release
	}
	c.mu.Unlock()
	if more {
		release()
	}
	return func() {
		c.mu.Lock()
		c.release = nil
		c.mu.Unlock()
	}
}
