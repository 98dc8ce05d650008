package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/framing"
	"mellium.im/xmpp/stream"
)

const (
	// maxPreAuth is how much a client may send at a time before it has
	// logged in, and maxStanza how large a stanza may be.
	maxPreAuth = 16 << 10
	maxStanza  = 256 << 10

	// loginTimeout is how long a client may take until it is bound.
	loginTimeout = 30 * time.Second

	// closeTimeout bounds how long a client may take to hear the end, and
	// lingerTimeout how long it may take to close afterwards.
	closeTimeout  = 5 * time.Second
	lingerTimeout = 2 * time.Second
)

// A conn is a connection as an xml.Decoder likes it. Since it has ReadByte the
// Decoder makes no buffer of its own. So bytes right behind a restart of the
// stream are not lost with the old Decoder.
type conn struct {
	net.Conn
	r      *bufio.Reader
	trim   bool        // white space is skipped up to the next element
	left   int         // how much the client may still send
	failed error       // the first error of Read
	opened atomic.Bool // the stream header has been sent
	shut   atomic.Bool // the end tag has been sent by the negotiation

	cutter   *framing.Cutter // of what the negotiation writes; nil when that is over
	elements int64           // that it has written
}

// errTooLarge is the end of a client after too large a stanza.
var errTooLarge = fmt.Errorf("too much at once: %w", stream.PolicyViolation)

func newConn(c net.Conn) *conn {
	return &conn{Conn: c, r: bufio.NewReader(c), left: maxPreAuth, cutter: framing.NewXMPP(maxStanza)}
}

func (c *conn) ReadByte() (byte, error) {
	for {
		if c.left--; c.left < 0 {
			return 0, errTooLarge
		}
		b, err := c.r.ReadByte()
		if err != nil && c.failed == nil {
			c.failed = err
		}
		if c.trim && err == nil && (b == ' ' || b == '\n' || b == '\r' || b == '\t') {
			continue
		}
		c.trim = false
		return b, err
	}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && c.failed == nil {
		c.failed = err
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.shut.Load() {
		return 0, net.ErrClosed
	}
	c.opened.Store(true)
	n, err := c.Conn.Write(p)
	for p = p[:n]; len(p) > 0 && c.cutter != nil; {
		took, it, cerr := c.cutter.Cut(p)
		if cerr != nil {
			break // the stream has ended by it
		}
		if p = p[took:]; it.Kind == framing.Element || it.Kind == framing.Features {
			c.elements++
		}
	}
	return n, err
}

// counted returns how many elements the negotiation has written. It ends the counting.
func (c *conn) counted() int64 {
	c.cutter = nil
	return c.elements
}

// allow lets the client send n more bytes, regardless of earlier ones.
func (c *conn) allow(n int) { c.left = n }

// restart prepares for a new stream header from the client.
func (c *conn) restart() {
	c.opened.Store(false)
	c.left = maxPreAuth
}

// dead reports whether the client is gone and cannot be told anything.
func (c *conn) dead() bool {
	var ne net.Error
	return c.failed != nil && !(errors.As(c.failed, &ne) && ne.Timeout())
}

// hangUp closes for writing, and gives the client a moment to read it all: to
// close a TCP connection at once might lose unread bytes. Without half-closed
// connections there is nothing to wait for.
func (c *conn) hangUp(last stream.Error) {
	if closeBOSH(c.Conn, last) {
		return
	}
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		c.Close()
		return
	}
	c.SetReadDeadline(time.Now().Add(lingerTimeout))
}

// drain reads a client's last bytes after hangUp.
func (c *conn) drain() { io.CopyN(io.Discard, c.r, maxStanza) }

// loopback reports whether the client is on this machine.
func (c *conn) loopback() bool {
	addr, err := netip.ParseAddrPort(c.RemoteAddr().String())
	return err == nil && addr.Addr().Unmap().IsLoopback()
}
