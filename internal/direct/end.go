package direct

import (
	"io"
	"strings"
	"time"
)

// fail ends the connection: nothing more can be read or written. The reader closes it:
// Close would wait for a caller in the middle of reading.
func (c *conn) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == given {
		return // it is somebody else's
	}
	c.phase = gone
	c.rwc.SetDeadline(past)
	c.signal()
	c.unwatch()
}

// leave is called when the connection has ended.
func (c *conn) leave() {
	c.fail()
	c.finish()
	c.flowed()
	c.e.remove(c)
	putBuffer(c.buf)
	c.buf = nil
	c.share.Give()
	c.mu.Lock()
	var left []*Request
	for q := c.first; q != nil; q = q.next {
		if q.status == waiting {
			left = append(left, q)
		}
	}
	c.mu.Unlock()
	for _, q := range left {
		c.e.guard(c.e.Gone, q)
	}
	defer c.e.caught("Close of a connection")
	c.rwc.Close() // last, since TLS may take some seconds to say goodbye
}

// end closes the connection as soon as all has been answered.
func (c *conn) end() {
	c.mu.Lock()
	c.ending.Store(true)
	idle := c.first == nil
	c.mu.Unlock()
	if idle {
		c.closeWrite()
	}
}

// linger is a client's time to read the last answer: closing a connection with unread bytes
// destroys the bytes on their way.
const linger = 500 * time.Millisecond

// closeWrite has the reader tell the client about the end.
func (c *conn) closeWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != open {
		return
	}
	c.phase = closing
	c.call()
}

// finishClose tells the client about the end. The connection is closed when the client
// closes it, or soon.
func (c *conn) finishClose() {
	cw, ok := c.rwc.(interface{ CloseWrite() error })
	if !ok || cw.CloseWrite() != nil {
		c.fail()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until = time.Now().Add(linger); c.phase != gone {
		c.rwc.SetReadDeadline(c.until)
	}
}

// drain waits until the client has closed the connection.
func (c *conn) drain() {
	c.busy = true
	c.closeWrite()
	for err := error(nil); err == nil || err == errCalled; err = c.read() {
		c.buf, c.used = c.buf[:0], 0
	}
}

// giveBack gives the connection back to the server.
func (c *conn) giveBack() {
	c.mu.Lock()
	if c.phase == gone {
		c.mu.Unlock()
		c.leave()
		return
	}
	c.phase = given // nobody may set a limit any more
	c.rwc.SetDeadline(time.Time{})
	c.mu.Unlock()
	c.e.remove(c)
	c.flowed()
	unread := append([]byte(nil), c.buf[c.used:]...)
	putBuffer(c.buf)
	c.buf = nil
	c.share.Give()
	c.route.server.serve(&returned{
		Conn: c.rwc, unread: unread, tls: c.tls, routes: append(c.more, c.route),
		kept: c.kept(unread),
	})
}

// kept reports whether a connection given back with b is not to be taken over again, since
// it has foreign requests to us.
func (c *conn) kept(b []byte) bool {
	if c.strange {
		return len(c.more) == maxMore // or else it goes on with one route more
	}
	for rt := range c.routes() {
		rest, ok := strings.CutPrefix(string(b[:min(len(b), len("POST ")+len(rt.path)+1)]), "POST "+rt.path)
		if ok && (rest == " " || rest == "?") {
			return true
		}
	}
	return false
}

// back returns the way to give the connection back, if possible.
func (c *conn) back() func(*conn) {
	if c.wait(1) {
		return (*conn).giveBack
	}
	return (*conn).leave
}

// cut reports whether the client has closed its side in the middle of a request, and waits
// for nothing else. net/http has an answer to some of these.
func (c *conn) cut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == io.EOF && len(c.buf) > c.used && c.count == 0 && c.phase == open
}
