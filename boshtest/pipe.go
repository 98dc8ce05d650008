package boshtest

import (
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// pipeBuffer is how many bytes a pipe takes in each direction before Write
// blocks, about as many as a kernel would.
const pipeBuffer = 64 << 10

// A PipeListener is a [net.Listener] with connections in memory. They are
// buffered, have deadlines, and work in the bubbles of [testing/synctest], if
// they and the listener were made there.
type PipeListener struct {
	backlog chan net.Conn
	closed  chan struct{}
	once    sync.Once
	dialed  atomic.Int64
}

// ListenPipe returns a new listener.
func ListenPipe() *PipeListener {
	return &PipeListener{backlog: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for a Dial.
func (l *PipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "pipe", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close makes Accept and DialContext fail. Connections stay open.
func (l *PipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns an address without meaning.
func (l *PipeListener) Addr() net.Addr { return pipeAddr("192.0.2.2:80") }

// DialContext connects to the listener for any address. It has the form for
// [net/http.Transport]. Each client has a port of its own, from 1234 on.
func (l *PipeListener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := newPipe(1233 + l.dialed.Add(1))
	select {
	case l.backlog <- server:
		return client, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "pipe", Addr: l.Addr(), Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "pipe", Addr: l.Addr(), Err: context.Cause(ctx)}
	}
}

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

// newPipe returns the two ends of a connection. The client has the port.
func newPipe(port int64) (client, server net.Conn) {
	up, down := newHalf(), newHalf()
	c, s := pipeAddr("192.0.2.1:"+strconv.FormatInt(port, 10)), pipeAddr("192.0.2.2:80")
	return &pipeConn{in: down, out: up, local: c, remote: s},
		&pipeConn{in: up, out: down, local: s, remote: c}
}

// A pipeConn is one end of a connection.
type pipeConn struct {
	in, out       *half
	local, remote pipeAddr
	closed        func(net.Conn) // called by Close, if not nil
}

func (c *pipeConn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	if err != nil && err != io.EOF {
		err = &net.OpError{Op: "read", Net: "pipe", Source: c.local, Addr: c.remote, Err: err}
	}
	return n, err
}

func (c *pipeConn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	if err != nil {
		err = &net.OpError{Op: "write", Net: "pipe", Source: c.local, Addr: c.remote, Err: err}
	}
	return n, err
}

// Close ends both directions. The peer can still read earlier bytes.
func (c *pipeConn) Close() error {
	c.in.close(io.ErrClosedPipe, net.ErrClosed)
	c.out.close(net.ErrClosed, io.EOF)
	if c.closed != nil {
		c.closed(c)
	}
	return nil
}

func (c *pipeConn) LocalAddr() net.Addr  { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr { return c.remote }

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.in.reader.set(c.in, t)
	c.out.writer.set(c.out, t)
	return nil
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.reader.set(c.in, t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.writer.set(c.out, t)
	return nil
}

// A half is one direction of a connection.
type half struct {
	mu   sync.Mutex
	cond *sync.Cond // on mu: something below has changed

	// Protects following.
	buf      []byte
	writeErr error // what Write returns once the half is closed
	readErr  error // what Read returns then, when buf is empty; or at once if it is net.ErrClosed
	reader   deadline
	writer   deadline
}

func newHalf() *half {
	h := new(half)
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *half) close(writeErr, readErr error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writeErr == nil || writeErr == net.ErrClosed {
		h.writeErr = writeErr
	}
	if h.readErr == nil || readErr == net.ErrClosed {
		h.readErr = readErr
	}
	h.reader.stop()
	h.writer.stop()
	h.cond.Broadcast()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readErr == net.ErrClosed:
			return 0, h.readErr
		case h.reader.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			h.buf = h.buf[:copy(h.buf, h.buf[n:])]
			h.cond.Broadcast()
			return n, nil
		case h.readErr != nil:
			return 0, h.readErr
		}
		h.cond.Wait()
	}
}

func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writeErr != nil:
			return n, h.writeErr
		case h.writer.passed:
			return n, os.ErrDeadlineExceeded
		}
		if room := pipeBuffer - len(h.buf); room > 0 && len(p) > 0 {
			m := min(room, len(p))
			h.buf = append(h.buf, p[:m]...)
			p = p[m:]
			n += m
			h.cond.Broadcast()
		}
		if len(p) == 0 {
			return n, nil
		}
		h.cond.Wait()
	}
}

// A deadline is one of a half's two, under its lock.
type deadline struct {
	timer  *time.Timer
	passed bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) set(h *half, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.stop()
	d.passed = false
	if t.IsZero() || h.readErr == net.ErrClosed {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.passed = true
		h.cond.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if d.timer == timer {
			d.passed = true
			h.cond.Broadcast()
		}
	})
	d.timer = timer
}
