package boshclient

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/netconn"
)

// A Conn is a stream over BOSH. It is a [net.Conn]; its [Framing] gives its bytes
// their meaning. It is the only stream of its session unless [Conn.OpenStream]
// opens more.
//
// Its methods may be called at the same time. The end of the session unblocks
// them. Input from before the end can still be read.
type Conn struct {
	s    *session
	name string // of the stream, on the wire; empty if the server knows one only
	to   string
	ctx  context.Context
	end  context.CancelCauseFunc

	cut *framing.Cutter // for whoever has set writing; nil until Write is called

	// s.mu guards all fields below.

	in    buffer.Inbox
	out   outbox
	cause error // the end: what Read returns behind the input, and Write

	greeted   bool // XMPP: the client has written its first header, and may read the server's
	headers   int  // XMPP: of the server that are to come
	fresh     bool // the next payload is of a new stream, whose opening was answered
	finishing bool // the end of the stream is in out or was sent: nothing more may be written
	closed    bool // Close or CloseNow has been called
	writing   bool // a Write is under way

	readable, writable, unlocked chan struct{} // of capacity 1, for waiting: see wake
	rdeadline, wdeadline         netconn.Deadline
}

// newConn makes the Conn of a stream after the server has opened it.
func (s *session) newConn(name, to string) *Conn {
	c := &Conn{s: s, name: name, to: to,
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1), unlocked: make(chan struct{}, 1)}
	c.out.chunk = min(maxChunk, s.o.Batch)
	c.ctx, c.end = context.WithCancelCause(s.base)
	if s.o.Framing == XMPP {
		c.headers = 1
	}
	s.conns = append(s.conns, c)
	if s.first == nil {
		s.first = c
	}
	return c
}

// drop removes the Conn of an ended stream.
func (s *session) drop(c *Conn) {
	for i := range s.conns {
		if s.conns[i] == c {
			s.conns = append(s.conns[:i:i], s.conns[i+1:]...)
			return
		}
	}
}

// wake lets one waiter of the channel go on. It may have to wait again; if there is
// more to do, it wakes the next.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // the token is there
	}
}

// wait waits without the lock until ch is woken, the deadline passes, or ctx is done,
// and returns with the lock.
func (c *Conn) wait(ctx context.Context, ch chan struct{}, d *netconn.Deadline) (err error) {
	passed := d.Passed()
	c.s.mu.Unlock()
	select {
	case <-ch:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	c.s.mu.Lock()
	if d.Passed() != passed {
		err = os.ErrDeadlineExceeded
	}
	return err
}

// unread returns how many bytes of input wait.
func (c *Conn) unread() int {
	if c.closed {
		return 0
	}
	return c.in.Len()
}

// Read reads input from the server. It blocks until there is input, the read deadline
// passes, the Conn is closed, or the session ends. With XMPP and Elements one Read
// never returns bytes of two answers.
func (c *Conn) Read(p []byte) (n int, err error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err = c.input(context.Background(), len(p) == 0); err == nil && len(p) > 0 {
		n = c.in.Read(p)
		c.consumed()
	}
	return n, c.opError("read", err)
}

// ReadElement returns the next element, with all the namespaces it needs declared on
// itself. The caller owns it. It blocks as Read does, and until ctx is done. It is for
// [Elements].
func (c *Conn) ReadElement(ctx context.Context) (b []byte, err error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.o.Framing != Elements {
		return nil, c.opError("read", errNotElements)
	}
	if err = c.input(ctx, false); err == nil {
		b = c.in.Next(nil)
		c.consumed()
	}
	return b, c.opError("read", err)
}

// input waits until there is input, or there need not be any.
func (c *Conn) input(ctx context.Context, idle bool) error {
	ready, err := c.inputReady(idle)
	for !ready && err == nil {
		err = c.wait(ctx, c.readable, &c.rdeadline)
		if err == nil || err != os.ErrDeadlineExceeded && c.in.Len() > 0 {
			ready, err = c.inputReady(idle) // what came before ctx was done is not lost
		}
	}
	if err != nil {
		wake(c.readable)
	}
	return err
}

func (c *Conn) inputReady(idle bool) (ready bool, err error) {
	hidden := c.s.o.Framing == XMPP && !c.greeted && c.cause == nil
	switch {
	case c.closed:
		return false, net.ErrClosed
	case c.rdeadline.Expired():
		return false, os.ErrDeadlineExceeded
	case idle || c.in.Len() > 0 && !hidden:
		return true, nil
	}
	return false, c.cause
}

// consumed is called when some of the input was read.
func (c *Conn) consumed() {
	if c.in.Len() > 0 {
		wake(c.readable)
	}
	c.s.pump() // it may have waited for room
}

// Write sends to the server. It returns when everything is queued, and blocks while
// [Options.WriteBuffer] is full, until the server has taken some of it, the write
// deadline passes, the Conn is closed, or the session ends. The bytes may be cut
// anywhere; an element goes out when it is whole.
//
// With XMPP and Elements, a Write fails if its text is not well-formed or an element
// is larger than [Options.MaxElement]. All later Writes then fail too.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err = c.lockWrite(context.Background()); err == nil {
		n, err = c.write(p)
		c.unlockWrite()
	}
	return n, c.opError("write", err)
}

func (c *Conn) write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, c.writeErr()
	}
	for n < len(p) && err == nil {
		if err = c.room(context.Background()); err == nil {
			var took int
			took, err = c.accept(p[n:])
			n += took
		}
	}
	return n, err
}

// WriteElement sends one or several whole elements. It queues all of b or nothing.
// Unlike Write it does no harm to the stream if b is no good. It blocks as Write
// does, and until ctx is done. It is for [Elements].
func (c *Conn) WriteElement(ctx context.Context, b []byte) error {
	return c.opError("write", c.writeElement(ctx, b))
}

func (c *Conn) writeElement(ctx context.Context, b []byte) error {
	o := &c.s.o
	if o.Framing != Elements {
		return errNotElements
	}
	whole := framing.Elements
	if o.Version != "" {
		whole = framing.Stanzas
	}
	b, n, err := whole(b, o.MaxElement)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err = c.lockWrite(ctx); err != nil {
		return err
	}
	defer c.unlockWrite()
	if c.cut != nil && c.cut.Pending() {
		return errMidElement
	}
	if err = c.room(ctx); err == nil && n > 0 {
		c.add(b, int64(n))
		c.s.pump()
	}
	return err
}

// add queues n whole elements. Together they may be too much for one request.
func (c *Conn) add(b []byte, n int64) {
	if n == 1 || len(b) <= c.out.chunk {
		c.out.add(b, n)
		return
	}
	cut := c.cutter(false)
	for len(b) > 0 {
		r, err := cut.CutRun(b, c.out.chunk)
		if err != nil || r.Took == 0 {
			return // not possible: it has been cut before
		}
		c.out.add(r.Elements, int64(r.Count))
		b = b[r.Took:]
	}
}

// Restart asks the server for a new stream in place of this one, as XMPP wants it after
// authentication. Later writes go out after it. The server's new features come out of
// Read. It blocks while another Write does, and until ctx is done. It is for Elements
// with [Options.Version]; with XMPP, write a header. XEP-0206, section 5.
func (c *Conn) Restart(ctx context.Context) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	err := errors.New("Restart is for a Conn of Elements with Options.Version; with XMPP, write a header")
	if c.s.o.Framing == Elements && c.s.o.Version != "" {
		err = c.lockWrite(ctx)
	}
	if err == nil {
		c.out.put(item{kind: restart})
		c.s.pump()
		c.unlockWrite()
	}
	return c.opError("write", err)
}

// lockWrite waits for other Writes. As in all writing functions, the caller holds
// the lock, and it may be released meanwhile.
func (c *Conn) lockWrite(ctx context.Context) error {
	for {
		err := c.writeErr()
		if err == nil && !c.writing {
			c.writing = true
			return nil
		}
		if err == nil {
			err = c.wait(ctx, c.unlocked, &c.wdeadline)
		}
		if err != nil {
			wake(c.unlocked)
			return err
		}
	}
}

// unlockWrite lets the next Write go on.
func (c *Conn) unlockWrite() {
	c.writing = false
	wake(c.unlocked)
}

// writeErr returns why nothing can be written, or nil.
func (c *Conn) writeErr() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.wdeadline.Expired():
		return os.ErrDeadlineExceeded
	case c.lingers():
		return nil
	case c.cause != nil:
		return c.cause
	case c.finishing:
		return net.ErrClosed
	case c.s.end != nil:
		return c.s.end
	}
	return nil
}

// lingers reports whether an end tag may still be written although the server has
// ended the stream: on TCP it would be, and an XMPP client takes an error for one.
func (c *Conn) lingers() bool {
	return c.s.o.Framing == XMPP && c.cause == io.EOF && !c.finishing
}

// room waits until there is room for output.
func (c *Conn) room(ctx context.Context) error {
	for {
		err := c.writeErr()
		if err != nil || c.space() > 0 {
			return err
		}
		if err := c.wait(ctx, c.writable, &c.wdeadline); err != nil {
			return err
		}
	}
}

// space returns how many bytes may be queued.
func (c *Conn) space() int { return c.s.o.WriteBuffer - c.out.size }

// SetDeadline sets the read and write deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets a time. From then on a blocked Read or ReadElement, and
// every later one, fails by [os.ErrDeadlineExceeded]. The zero time means never. It
// fails only if the Conn is closed.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(&c.rdeadline, t, func() { wake(c.readable) })
}

// SetWriteDeadline is SetReadDeadline for Write, WriteElement and Restart.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(&c.wdeadline, t, func() {
		wake(c.writable)
		wake(c.unlocked)
	})
}

func (c *Conn) setDeadline(d *netconn.Deadline, t time.Time, passed func()) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	d.Set(&c.s.mu, t, passed)
	return nil
}

// network is the name of the network of an Addr.
const network = "bosh"

// An addr is a session's URL.
type addr string

func (addr) Network() string  { return network }
func (a addr) String() string { return string(a) }

// LocalAddr returns an empty address, since requests may come from several. It is
// never nil.
func (c *Conn) LocalAddr() net.Addr { return addr("") }

// RemoteAddr returns the URL of the session, without query and user, as an address of
// the network "bosh".
func (c *Conn) RemoteAddr() net.Addr { return addr(c.s.shown) }

// Context returns a context. The end of the stream cancels it, with the error of Read
// as its cause. It has the values of the context of Dial.
func (c *Conn) Context() context.Context { return c.ctx }

// Granted returns the server's grants to the session.
func (c *Conn) Granted() Granted { return c.s.granted }

// Stats returns the counts of the session so far.
func (c *Conn) Stats() Stats {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.stats
}
