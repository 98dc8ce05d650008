package netconn

import (
	"context"
	"encoding/xml"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/session"
)

// A Session is the owner of a machine, and of its lock. Unlock first carries out the
// machine's effects.
type Session interface {
	sync.Locker

	// Now is the time by the machine's clock, and Settle makes the machine do everything
	// due now.
	Now() time.Duration
	Settle()

	// Direct reports whether the goroutines of Receive need a large stack: see GrowStack.
	Direct() bool

	// Fault returns the end of a stream by a fault of the application.
	Fault(err error) *session.End

	// Served is to be deferred around a callback that serves a stream. It closes the
	// stream, unless the callback keeps it.
	Served(x *session.Stream, callback string, goesOn *bool)

	// HandBack tells the application, without waiting for it, about the undelivered
	// output of x.
	HandBack(x *session.Stream)
}

// A State is a stream of a machine, with its waiting users. Its session's lock guards it,
// but for Tokens.
type State struct {
	session.Stream

	cut    *framing.Cutter // for whoever has set Writing; nil until Write is called
	extras *extras         // nil until one of them is needed: see extra

	readable, writable, unlocked chan struct{} // of capacity 1, for waiting: see wake
	rdeadline, wdeadline         Deadline
}

// extras are for few streams.
type extras struct {
	tokens Tokens

	receiver  func([]byte, error) // of Receive
	receiving bool                // it has a goroutine, or has had its last one
	stopped   chan struct{}       // of Detach; closed when that goroutine is gone
	detached  bool                // there has been a receiver

	prover  func(int64) // of OnProven
	proving bool        // it has a goroutine
	told    int64       // the last number that it was called with
}

// Tokens are the halves of a stream used by tokens. They are for one goroutine.
type Tokens struct {
	Dec *xml.Decoder
	Enc *framing.TokenEncoder
}

// A Conn is a State with its session. It is made for each call, on the caller's stack: no
// method may keep it.
type Conn struct {
	*State
	M *session.Machine
	S Session
}

// extra returns the extras. It is called with the lock held.
func (c *Conn) extra() *extras {
	if c.extras == nil {
		c.extras = new(extras)
	}
	return c.extras
}

// Tokens returns the Tokens.
func (c *Conn) Tokens() *Tokens {
	c.S.Lock()
	defer c.S.Unlock()
	return &c.extra().tokens
}

// settle makes the machine do everything due now, if due says that there may be
// something.
func (c *Conn) settle(due bool) {
	if due {
		c.S.Settle()
	}
}

// Woken wakes the users who wait for the stream. With proved set more may be proven than
// before. It is called with the lock held.
func (c *Conn) Woken(w session.Wake, proved bool) {
	if w&session.WakeReader != 0 {
		c.wakeReader()
	}
	if w&session.WakeWriter != 0 {
		wake(c.writable)
	}
	if proved {
		c.Proves()
	}
}

// wake lets one of the users go on who wait on a channel of the stream. It may find that
// it must wait again; if there is more to do, it wakes the next.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // nobody ever waited, or the token is there
	}
}

// errDone says that the ctx of a call is done: see caused.
var errDone = errors.New("ctx is done")

// caused returns err, or the cause of ctx for errDone. It is called without the lock, as
// all methods of ctx are: it may be nil, or the caller's own type, and panic.
func caused(ctx context.Context, err error) error {
	if err == errDone {
		return context.Cause(ctx)
	}
	return err
}

// wait waits without the lock until ch is woken, the deadline passes, or done is closed,
// and returns with the lock.
func (c *Conn) wait(done <-chan struct{}, ch *chan struct{}, d *Deadline) (err error) {
	if *ch == nil {
		*ch = make(chan struct{}, 1)
	}
	woken, passed := *ch, d.Passed()
	c.S.Unlock()
	if !either(woken, done) {
		err = errDone
	}
	c.S.Lock()
	if d.Passed() != passed {
		err = os.ErrDeadlineExceeded
	}
	return err
}

// either reports whether woken came before done. It is no part of wait: the goroutines of
// most applications are here when the lock is given back, and have a stack of 2 KB.
//
//go:noinline
func either(woken, done <-chan struct{}) bool {
	if done == nil {
		<-woken
		return true
	}
	select {
	case <-woken:
		return true
	case <-done:
		return false
	}
}

// SetReadDeadline sets the deadline of reading.
func (c *Conn) SetReadDeadline(t time.Time) error {
	d := *c // see Conn
	return c.setDeadline(&c.rdeadline, t, func() {
		c := d
		c.wakeReader()
	})
}

// SetWriteDeadline sets the deadline of writing.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	state := c.State // see Conn
	return c.setDeadline(&c.wdeadline, t, func() {
		wake(state.writable)
		wake(state.unlocked)
	})
}

func (c *Conn) setDeadline(d *Deadline, t time.Time, passed func()) error {
	c.S.Lock()
	defer c.S.Unlock()
	if c.Closed() {
		return net.ErrClosed
	}
	d.Set(c.S, t, passed)
	return nil
}

// Close closes the stream. It ends by e, or gracefully.
func (c *Conn) Close(e *session.End) error {
	c.S.Lock()
	defer c.S.Unlock()
	return c.close(e)
}

// close is Close, called with the lock held.
func (c *Conn) close(e *session.End) error {
	if c.Closed() {
		return net.ErrClosed
	}
	c.M.Close(c.S.Now(), &c.Stream, e)
	c.rdeadline.Set(c.S, time.Time{}, nil)
	c.wdeadline.Set(c.S, time.Time{}, nil)
	c.HandBack()
	return nil
}
