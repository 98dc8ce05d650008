package direct

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/logs"
)

// Buffers are lent to a connection while there is something in them.
const bufferSize = 4 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func getBuffer() []byte { return buffers.Get().(*[bufferSize]byte)[:0] }

// borrow gets a buffer for the next request. It has room for one like the last one, and to
// see that there is no more: a large one need not be read, and copied, piece by piece.
func (c *conn) borrow() {
	if n := int(c.usual) + 1; n > bufferSize && c.share.Reach(n+n/4) { // as much as Grow may make of it
		c.buf = buffer.Grow(nil, n)
	} else {
		c.buf = getBuffer()
	}
}

// putBuffer takes a buffer back.
func putBuffer(b []byte) {
	if cap(b) == bufferSize {
		buffers.Put((*[bufferSize]byte)(b[:bufferSize]))
		return
	}
	buffer.Rest(b)
}

// growBuffer returns b with room for n more bytes, but no more if it is large. It takes
// back the old buffer of b if it is another one.
func growBuffer(b []byte, n int) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	var grown []byte
	if need <= buffer.Large {
		grown = buffer.Grow(nil, need)
	} else {
		grown = make([]byte, 0, need)
	}
	grown = append(grown, b...)
	putBuffer(b)
	return grown
}

// read reads more into the buffer. If the reader is called, it attends to the call.
func (c *conn) read() error {
	err := c.readMore()
	if err != nil && c.attend() {
		return errCalled
	}
	return err
}

func (c *conn) readMore() error {
	c.makeRoom()
	switch {
	case c.raw != nil:
		return c.readRaw()
	case c.buf == nil:
		// There will be a buffer when there is something to put into it.
		n, err := c.receive(c.one[:])
		if n > 0 {
			c.borrow()
			c.buf = append(c.buf, c.one[0])
			return nil
		}
		c.err = err
		return err
	}
	n, err := c.receive(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	c.err = err
	return err
}

// receive reads from the connection. Somebody's own connection may panic, without an end
// for others.
func (c *conn) receive(p []byte) (n int, err error) {
	defer c.e.caught("Read of a connection")
	err = errPanicked
	return c.rwc.Read(p)
}

var errPanicked = errors.New("direct: the connection panicked")

// makeRoom makes room for reading.
func (c *conn) makeRoom() {
	if len(c.buf) < cap(c.buf) || c.buf == nil {
		return
	}
	old := c.buf
	if c.used > 0 {
		c.buf = old[:copy(old, old[c.used:])]
		c.used = 0
		return
	}
	c.buf = growBuffer(old, len(old))
}

// readRaw reads as soon as there is something to read, and has no buffer before.
func (c *conn) readRaw() error {
	if err := c.raw.Read(c.readable); err != nil {
		return err
	}
	return c.err
}

// fill reads more of a request, or waits for one.
func (c *conn) fill() error {
	if len(c.buf) > c.used {
		c.flowing()
		return c.read()
	}
	c.release()
	idle := c.route.server.idle
	if idle <= 0 {
		return c.read()
	}
	c.mu.Lock()
	c.setLimit(c.idleSince().Add(idle))
	c.mu.Unlock()
	err := c.read()
	if err == nil {
		c.limit(time.Time{})
	} else if isTimeout(err) {
		if !c.idle() {
			return nil
		}
		c.expired(idle)
	}
	return err
}

// An arrival is how a request comes little by little.
type arrival struct {
	pace  httpio.Pace
	seen  int // bytes that have come
	state any // what Engine.Flowing has returned, if it is due to Flowed
	spare any // that for another request
}

// flowing takes note of how much of an unfinished request has come.
func (c *conn) flowing() {
	if c.coming == nil {
		c.coming = new(arrival)
	}
	a, came := c.coming, len(c.buf)-c.used
	switch l := c.e.Reading; {
	case !l.On():
	case !c.limited:
		c.limited = true
		a.pace = l.Begin()
		c.extend(l.Deadline(&a.pace))
	case came > a.seen && l.Flowed(&a.pace, came-a.seen):
		c.extend(l.Deadline(&a.pace))
	}
	a.seen = came
	if body := c.buf[c.used+c.begun:]; c.begun > 0 && len(body) > 0 && c.e.Flowing != nil {
		a.state = c.e.Flowing(a.spare, body, c.head.encoding)
		a.spare = a.state
	}
}

// extend sets the time when reading the request must end.
func (c *conn) extend(t time.Time) {
	c.limit(t)
	c.freeWrite()
}

// flowed takes note of a request served, or lost.
func (c *conn) flowed() {
	if c.coming != nil && c.coming.state != nil {
		c.coming.state = nil
		c.e.Flowed(c.coming.spare)
	}
}

// idle reports whether the connection has been idle for so long that it is to be closed.
func (c *conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase != open || c.first == nil && time.Since(c.since) >= c.route.server.idle
}

// expired logs the end of an idle connection, if it is one of something in front.
func (c *conn) expired(idle time.Duration) {
	c.mu.Lock()
	told := c.front && c.phase == open
	c.mu.Unlock()
	if told {
		c.e.expired.Do(func() { logs.IdleClosed(c.e.Logger, idle) })
	}
}

// idleSince returns since when the connection has been idle. It is called with the
// lock.
func (c *conn) idleSince() time.Time {
	if c.first != nil {
		return time.Now()
	}
	return c.since
}

// wait waits until there are less than n requests. Meanwhile it reads on, to notice the
// client's end. It reports whether the connection goes on.
func (c *conn) wait(n uint8) bool {
	c.busy = true
	defer func() { c.busy = false }()
	for {
		c.mu.Lock()
		if c.phase == gone {
			c.mu.Unlock()
			return false
		}
		ending := c.ending.Load()
		if ending {
			n = 1
		}
		if c.count < n {
			c.room, c.freed = 0, nil
			c.mu.Unlock()
			if ending {
				c.drain()
			}
			return !ending
		}
		if c.freed == nil {
			c.freed, c.limited = make(chan struct{}, 1), false
			c.setLimit(time.Time{})
			c.setWriteLimit(time.Time{})
			if c.called { // before, when there was nothing to signal by
				c.signal()
			}
		}
		c.room = n
		freed := c.freed
		c.mu.Unlock()
		if len(c.buf)-c.used >= maxAhead {
			<-freed
			c.attend()
			continue
		}
		if err := c.read(); err != nil && err != errCalled && !isTimeout(err) {
			return false
		}
	}
}

// plain returns c as a connection of the operating system, or nil. It may not be a wrapped
// one: the wrapper would be passed over.
func plain(c net.Conn) syscallConn {
	switch c := c.(type) {
	case *net.TCPConn:
		return c
	case *net.UnixConn:
		return c
	}
	return nil
}
