package netconn

import (
	"context"
	"encoding/xml"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/session"
)

// A Session is the owner of a machine, and of its lock. Unlock does first what the
// machine wants done.
type Session interface {
	sync.Locker

	// Now is the time by the machine's clock, and Settle has the machine see what is due
	// now.
	Now() time.Duration
	Settle()

	// Direct reports whether the reader of a stream writes answers, too.
	Direct() bool

	// Fault returns the end of a stream by a fault of the application.
	Fault(err error) *session.End

	// Served is to be deferred where a callback serves a stream. It closes the stream,
	// unless that goes on.
	Served(x *session.Stream, callback string, goesOn *bool)

	// HandBack tells the application, without waiting for it, what x has not delivered.
	HandBack(x *session.Stream)
}

// A State is a stream of a machine, and those who wait for it. Its session's lock guards
// it, but for Tokens.
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

	prover  func(int64) // of OnProven
	proving bool        // it has a goroutine
	told    int64       // the last number that it was called with
}

// Tokens are the halves of a stream that is used by tokens. They are for one goroutine.
type Tokens struct {
	Dec *xml.Decoder
	Enc *framing.TokenEncoder
}

// A Conn is a State with its session. It is made for each call.
type Conn struct {
	*State
	M *session.Machine
	S Session
}

// extra returns the extras. It is called with the lock held.
func (c Conn) extra() *extras {
	if c.extras == nil {
		c.extras = new(extras)
	}
	return c.extras
}

// Tokens returns the Tokens.
func (c Conn) Tokens() *Tokens {
	c.S.Lock()
	defer c.S.Unlock()
	return &c.extra().tokens
}

// settle has the machine see what is due now, if it says that something may be.
func (c Conn) settle(due bool) {
	if due {
		c.S.Settle()
	}
}

// Woken has those look again who wait for the stream. It is called with the lock held.
func (c Conn) Woken(w session.Wake) {
	if w&session.WakeReader != 0 {
		c.wakeReader()
	}
	if w&session.WakeWriter != 0 {
		wake(c.writable)
	}
}

// wake lets one of those go on that wait on one of the stream's channels. It may find
// that it must wait again; if there is more to do, it wakes the next.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // nobody ever waited, or the token is there
	}
}

// wait waits without the lock until ch is woken, the deadline passes, or ctx is done, and
// returns with the lock.
func (c Conn) wait(ctx context.Context, ch *chan struct{}, d *Deadline) (err error) {
	if *ch == nil {
		*ch = make(chan struct{}, 1)
	}
	// ctx may be nil, or somebody's own: it panics with the lock, which callers release.
	woken, passed, done, over := *ch, d.Passed(), ctx.Done(), false
	c.S.Unlock()
	if done == nil {
		<-woken
	} else {
		select {
		case <-woken:
		case <-done:
			over = true
		}
	}
	c.S.Lock()
	if over {
		err = context.Cause(ctx)
	}
	if d.Passed() != passed {
		err = os.ErrDeadlineExceeded
	}
	return err
}

// SetReadDeadline sets the deadline of reading.
func (c Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.rdeadline, t, c.wakeReader) }

// SetWriteDeadline sets the deadline of writing.
func (c Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(&c.wdeadline, t, func() {
		wake(c.writable)
		wake(c.unlocked)
	})
}

func (c Conn) setDeadline(d *Deadline, t time.Time, passed func()) error {
	c.S.Lock()
	defer c.S.Unlock()
	if c.Closed() {
		return net.ErrClosed
	}
	d.Set(c.S, t, passed)
	return nil
}

// Close closes the stream, which ends by e, or gracefully.
func (c Conn) Close(e *session.End) error {
	c.S.Lock()
	defer c.S.Unlock()
	return c.close(e)
}

// close is Close, called with the lock held.
func (c Conn) close(e *session.End) error {
	if c.Closed() {
		return net.ErrClosed
	}
	c.M.Close(c.S.Now(), &c.Stream, e)
	c.rdeadline.Set(c.S, time.Time{}, nil)
	c.wdeadline.Set(c.S, time.Time{}, nil)
	c.HandBack()
	return nil
}
