package direct

import (
	"errors"
	"net"
	"time"
)

// The reader is mostly in the middle of reading, where only a deadline reaches it. So
// others leave their wishes to it, and call it by a deadline in the past. Afterwards its
// own deadline comes into force again.

var past = time.Unix(1, 0)

// errCalled is returned by read if the reader was called.
var errCalled = errors.New("direct: the reader was called")

// call calls the reader, or has there be one. It is called with the lock.
func (c *conn) call() {
	if c.called || c.phase == gone {
		return
	}
	c.called = true
	c.rwc.SetReadDeadline(past)
	if c.raw == nil && c.reader != away {
		c.limitWrite() // the reader may be writing: TLS answers some of what it reads
	}
	c.signal()
	c.unwatch()
}

// signal has the reader look again if it waits without reading. It is called
// with the lock.
func (c *conn) signal() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// attend does the reader's task after a call, if there is one. It reports whether it has.
func (c *conn) attend() bool {
	c.mu.Lock()
	if !c.called || c.phase == gone {
		c.mu.Unlock()
		return false
	}
	c.called = false
	closes := c.phase == closing
	if closes {
		c.phase = shut
	}
	c.rwc.SetReadDeadline(c.until)
	c.mu.Unlock()
	c.freeWrite()
	c.finish()
	if closes {
		c.finishClose()
	}
	return true
}

// limit sets the time when reading must end.
func (c *conn) limit(t time.Time) {
	c.mu.Lock()
	c.setLimit(t)
	c.mu.Unlock()
}

// setLimit is limit, called with the lock. Those of finishClose and fail stay.
func (c *conn) setLimit(t time.Time) {
	if c.phase != open {
		return
	}
	c.until = t
	if !c.called {
		c.rwc.SetReadDeadline(t)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
