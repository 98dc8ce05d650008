package netconn

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/session"
)

// ErrNoRoom is the error of writing without waiting, when there is no room.
var ErrNoRoom = errors.New("no room in the WriteBuffer")

var errPartial = errors.New("a Write before it has left an element that is not whole")

// Write queues all of p, and waits for room.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.S.Lock()
	defer c.S.Unlock()
	if err = c.lockWrite(nil); err == nil {
		n, err = c.write(p)
		c.unlockWrite()
	}
	return n, err
}

func (c *Conn) write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, c.writeErr()
	}
	for n < len(p) && err == nil {
		if err = c.room(nil); err == nil {
			var took int
			took, err = c.fill(p[n:])
			n += took
		}
	}
	return n, err
}

// TryWrite queues as much of p as there is room for.
func (c *Conn) TryWrite(p []byte) (n int, err error) {
	c.S.Lock()
	defer c.S.Unlock()
	if err = c.tries(); err == nil && len(p) > 0 {
		c.Writing = true
		n, err = c.fill(p)
		c.unlockWrite()
	}
	if err == nil && n < len(p) {
		err = ErrNoRoom
	}
	return n, err
}

// WriteWhole queues n elements as soon as there is room: all or none. It waits until ctx
// is done.
func (c *Conn) WriteWhole(ctx context.Context, b []byte, n int) error {
	return caused(ctx, c.writeWhole(ctx.Done(), b, n))
}

func (c *Conn) writeWhole(done <-chan struct{}, b []byte, n int) (err error) {
	c.S.Lock()
	defer c.S.Unlock()
	if err = c.lockWrite(done); err != nil {
		return err
	}
	defer c.unlockWrite()
	if c.partial() {
		return errPartial
	}
	if err := c.room(done); err != nil {
		return err
	}
	before := c.Out.Len()
	err = c.Queue(b, int64(n))
	c.spoken(before)
	return err
}

// Share queues an event, unless the stream cannot take it now. It reports whether the
// session is to be settled. It is called with the lock held.
func (c *Conn) Share(e *session.Event) (settle bool, err error) {
	if err = c.tries(); err == nil && c.partial() {
		err = errPartial
	}
	if err != nil {
		return false, err
	}
	before := c.Out.Len()
	c.Out.Share(e)
	return c.M.Spoken(&c.Stream, before), nil
}

// partial reports whether a Write has left an incomplete element.
func (c *Conn) partial() bool { return c.cut != nil && c.cut.Pending() }

// lockWrite waits for other Writes. Like all writing functions, it is called with the
// lock held, and may release it meanwhile.
func (c *Conn) lockWrite(done <-chan struct{}) error {
	for c.Writing {
		err := c.writeErr()
		if err == nil {
			err = c.wait(done, &c.unlocked, &c.wdeadline)
		}
		if err != nil {
			wake(c.unlocked)
			return err
		}
	}
	c.Writing = true
	return nil
}

// unlockWrite lets the next Write go on.
func (c *Conn) unlockWrite() {
	c.Writing = false
	wake(c.unlocked)
}

// writeErr returns why nothing can be written, or nil.
func (c *Conn) writeErr() error {
	err := c.WriteErr()
	if err != net.ErrClosed && c.wdeadline.Expired() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// space returns how many bytes may be queued.
func (c *Conn) space() int { return c.M.Space(&c.Stream) }

// room waits until there is room for output.
func (c *Conn) room(done <-chan struct{}) error {
	for {
		err, full := c.writeErr(), c.space() <= 0
		if err == nil && full {
			err = c.Cause() // then nobody will make room
		}
		if err != nil || !full {
			return err
		}
		c.makeRoom()
		if err := c.wait(done, &c.writable, &c.wdeadline); err != nil {
			return err
		}
	}
}

// tries returns why nothing can be written now, or nil.
func (c *Conn) tries() error {
	switch err := c.writeErr(); {
	case err != nil:
		return err
	case c.Writing:
		return ErrNoRoom
	case c.space() > 0:
		return nil
	case c.Cause() != nil:
		return c.Cause()
	}
	c.makeRoom()
	return ErrNoRoom
}

// makeRoom sends the output at once, although the application may have more for the same
// body: nothing else would send it for the rest of Grace.
func (c *Conn) makeRoom() { c.settle(c.M.Hasten()) }

// fill queues as much of p as there is room for, and returns that amount.
func (c *Conn) fill(p []byte) (n int, err error) {
	before := c.Out.Len()
	defer func() { c.spoken(before) }()
	if c.cut == nil {
		c.cut = c.M.Cutter(&c.Stream)
	}
	if c.cut == nil {
		n = min(len(p), c.space())
		c.Out.Add(p[:n], 1)
		return n, nil
	}
	for n < len(p) && err == nil && c.space() > 0 {
		var r framing.Run
		r, err = c.cutRun(p[n:])
		before = min(before, c.Out.Len()) // the client may have been given it meanwhile
		if r.Count > 0 {
			refused := c.Queue(r.Elements, int64(r.Count))
			if r.Owned {
				buffer.Rest(r.Elements)
			}
			if refused != nil {
				return n, refused
			}
			if r.Restart {
				c.Called()
			}
		}
		c.M.Item(&c.Stream, &r.Next)
		n += r.Took
	}
	if err != nil {
		c.close(c.S.Fault(err))
	}
	return n, err
}

// spoken is called when there is more output, or its end has come. There were so many
// bytes before.
func (c *Conn) spoken(before int) { c.settle(c.M.Spoken(&c.Stream, before)) }

// cutRun cuts elements from p up to the free space, without the lock.
func (c *Conn) cutRun(p []byte) (framing.Run, error) {
	space := c.space()
	c.S.Unlock()
	defer c.S.Lock()
	return c.cut.CutRun(p, space)
}
