package boshclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"
)

// Terminate ends the stream in good order: the server gets all written bytes, and
// then the end. It blocks until the server has answered or ctx is done; then it
// returns the cause of ctx. The Conn must be closed all the same. Input from before
// the end can still be read, but replies to the last writes may come too late.
// Nothing more can be written.
//
// It returns nil if the server has taken everything, or had ended the stream in good
// order itself. With XMPP, writing the end tag does the same without waiting.
func (c *Conn) Terminate(ctx context.Context) error {
	c.s.mu.Lock()
	if c.closed {
		c.s.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	c.putEnd()
	c.s.mu.Unlock()
	select {
	case <-c.ctx.Done():
	case <-ctx.Done():
		return c.opError("close", context.Cause(ctx))
	}
	if err := context.Cause(c.ctx); !well(err) {
		return c.opError("close", err)
	}
	return nil
}

// putEnd queues the end of the stream, unless it has come or is queued.
func (c *Conn) putEnd() {
	if c.cause == nil && !c.finishing {
		c.finishing = true
		c.out.put(item{kind: terminate})
		wake(c.writable)
		wake(c.unlocked)
	}
	c.s.pump()
}

// Close ends the stream in good order as Terminate does, for at most
// [Options.CloseTimeout], and then as CloseNow. Unread input is dropped. A blocked
// Read or Write ends at once with [net.ErrClosed], as do all later ones.
//
// It returns nil if the stream had ended before, and an error if the server may not
// have taken all written bytes.
func (c *Conn) Close() error {
	c.s.mu.Lock()
	if c.closed {
		c.s.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	if c.s.o.CloseTimeout == 0 {
		c.s.mu.Unlock()
		return c.CloseNow()
	}
	c.close()
	c.in.Clear()
	over, last := c.cause != nil, !c.s.others(c)
	c.putEnd()
	c.s.mu.Unlock()
	t := time.NewTimer(c.s.o.CloseTimeout)
	defer t.Stop()
	late := false
	select {
	case <-c.ctx.Done():
	case <-t.C:
		late = true
	}
	if late || last {
		c.s.abandon()
	}
	err := context.Cause(c.ctx)
	switch {
	case over || well(err):
		return nil
	case late:
		err = os.ErrDeadlineExceeded
	}
	return c.opError("close", err)
}

// others reports whether a stream other than c is open.
func (s *session) others(c *Conn) bool {
	return slices.ContainsFunc(s.conns, func(x *Conn) bool { return x != c })
}

// close marks the Conn as closed by the application.
func (c *Conn) close() {
	c.closed = true
	c.rdeadline.Set(&c.s.mu, time.Time{}, nil)
	c.wdeadline.Set(&c.s.mu, time.Time{}, nil)
	wake(c.readable)
	wake(c.writable)
	wake(c.unlocked)
}

// CloseNow stops the session without a word to the server. The server ends it after
// the time of inactivity, unless [Resume] goes on with it from [Conn.State]. It
// breaks the requests under way and waits until their goroutines have ended. Read
// and Write fail by [net.ErrClosed]. All streams of the session are stopped.
func (c *Conn) CloseNow() error {
	c.s.mu.Lock()
	closed := c.closed
	for _, x := range append(slices.Clone(c.s.conns), c) {
		if !x.closed {
			x.close()
		}
	}
	c.s.mu.Unlock()
	c.s.abandon()
	if closed {
		return c.opError("close", net.ErrClosed)
	}
	return nil
}

// Pause announces to the server a silence of at most d, between a second and
// [Granted.MaxPause]. It sends earlier writes first, and blocks until the server has
// answered or ctx is done. The session then sends nothing until something is written,
// [Conn.Wake] is called, or nine tenths of d are over. Some servers grant pauses and do
// not answer them, such as ejabberd 23.01: set a deadline for ctx. XEP-0124, section
// 10.
func (c *Conn) Pause(ctx context.Context, d time.Duration) error {
	limit := c.s.granted.MaxPause
	if limit == 0 {
		return c.opError("pause", errors.New("the server grants no pauses"))
	}
	if d < time.Second || d > limit {
		return c.opError("pause", fmt.Errorf("%v is not between 1s and the %v that the server grants", d, limit))
	}
	_, err := c.call(ctx, item{kind: pause, pause: d})
	return c.opError("pause", err)
}

// Wake ends a pause: the session asks the server for input again. Without a pause it
// does nothing.
func (c *Conn) Wake() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.pauses = time.Time{}
	c.s.polls++
	c.s.pump()
}

// OpenStream opens a further stream in the same session, to a domain. The Conns of a
// session share its requests: while the input of one is not read and fills its buffer,
// nothing is fetched for the others. Each is closed by itself, and the session ends
// with the last one. It blocks until the server has answered, or until ctx is done. It
// fails if the server knows one stream only, see [Granted.Streams]. XEP-0124, section
// 16.
func (c *Conn) OpenStream(ctx context.Context, to string) (*Conn, error) {
	switch {
	case !c.s.granted.Streams:
		return nil, c.opError("open", errors.New("the server has one stream in a session: Dial another"))
	case to == "":
		return nil, c.opError("open", errors.New("no domain is named"))
	}
	more, err := c.call(ctx, item{kind: another, to: to})
	return more, c.opError("open", err)
}

// call sends an item and waits for the answer to it.
func (c *Conn) call(ctx context.Context, it item) (*Conn, error) {
	got := make(chan reply, 1)
	it.reply = got
	c.s.mu.Lock()
	err := c.writeErr()
	if err == nil && c.cause != nil {
		err = c.cause
	}
	if err == nil {
		c.out.put(it)
		c.s.pump()
	}
	c.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case r := <-got:
		return r.conn, r.err
	case <-c.ctx.Done():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case r := <-got:
		return r.conn, r.err
	default:
		return nil, context.Cause(c.ctx)
	}
}
