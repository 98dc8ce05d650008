package direct

import "time"

// settle takes note of the fate of q, and writes as much as possible now. It is called with
// the lock, and releases it.
func (c *conn) settle(q *Request, s status) {
	q.status = s
	if c.first.status != waiting && c.writer == nobody {
		c.writer = somebody
		c.flush()
		return
	}
	behind := false
	for p := c.first; p != q; p = p.next {
		behind = behind || p.status == waiting
	}
	q.finished = behind
	c.mu.Unlock()
	if behind {
		c.over(q)
	}
}

// over calls Done.
func (c *conn) over(q *Request) {
	if !c.e.guard(c.e.Done, q) {
		c.fail()
	}
}

// flush writes the answer to the oldest request, and further answers, as long as it does
// not block. Then the rest is left to the reader. The writer calls it with the lock. It
// releases the lock.
func (c *conn) flush() {
	for more := true; more; {
		q, over := c.first, c.phase == gone
		c.mu.Unlock()
		switch {
		case over:
		case q.status == aborted:
			c.fail()
		case !c.write(q.out) && c.leaveRest():
			return
		}
		c.mu.Lock()
		more = c.pop()
	}
}

// pop removes the oldest request after its answer. It is called with the lock, and releases
// it unless there is more to write.
func (c *conn) pop() (more bool) {
	q := c.first
	if c.first = q.next; c.first == nil {
		c.last = nil
	}
	c.count--
	if c.route.server.idle > 0 {
		if c.since = time.Now(); c.reader == none {
			c.e.unrest()
		}
	}
	if c.room > 0 && c.count < c.room {
		c.room = 0
		c.call()
	}
	shared := c.phase == gone || q.finished // leave or settle may have it
	more = c.first != nil && c.first.status != waiting
	if c.writer = nobody; more {
		c.writer = somebody
	}
	end := c.first == nil && c.ending.Load()
	c.mu.Unlock()
	putBuffer(q.out)
	if !q.finished {
		c.over(q)
	}
	if !shared {
		q.free()
	}
	if end {
		c.closeWrite()
	}
	if more {
		c.mu.Lock()
	}
	return more
}

// write writes as much of b as possible without waiting. It reports whether b is done, or
// the connection has failed.
func (c *conn) write(b []byte) (done bool) {
	c.unsent = b
	if c.raw == nil {
		return false
	}
	if err := c.raw.Write(c.writable); err != nil || c.broken {
		c.fail()
		return true
	}
	return len(c.unsent) == 0
}

// leaveRest leaves the unsent rest to the reader, and everything after it. It reports
// whether there will be a reader.
func (c *conn) leaveRest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == gone {
		return false
	}
	c.writer = theReader
	if c.reader != away {
		c.call()
	}
	return true
}

// finish writes the rest left to the reader. The reader calls it before it reads.
func (c *conn) finish() {
	c.mu.Lock()
	for c.writer == theReader {
		c.writer, c.reader = somebody, away
		c.mu.Unlock()
		c.writeRest()
		c.mu.Lock()
		if c.pop() {
			c.flush()
		}
		c.mu.Lock()
	}
	c.reader = reads
	c.held = c.first != nil
	c.mu.Unlock()
}

// writeRest writes the unsent rest, as long as the client takes it.
func (c *conn) writeRest() {
	b := c.unsent
	c.unsent = nil
	c.mu.Lock()
	over := c.phase == gone
	c.mu.Unlock()
	if over {
		return
	}
	if err := c.sendPaced(b); err != nil {
		c.fail()
		return
	}
	c.freeWrite()
}

// sendPaced writes b within its limit.
func (c *conn) sendPaced(b []byte) error {
	l := c.e.Writing
	if !l.On() {
		_, err := c.send(b)
		return err
	}
	p, chunk := l.Begin(), l.Chunk()
	c.writeUntil(l.Deadline(&p))
	for len(b)/2 > chunk { // so much is taken within the time-out
		if _, err := c.send(b[:chunk]); err != nil {
			return err
		}
		if b = b[chunk:]; l.Flowed(&p, chunk) {
			c.writeUntil(l.Deadline(&p))
		}
	}
	_, err := c.send(b)
	return err
}

// writeUntil sets the time when writing must end.
func (c *conn) writeUntil(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setWriteLimit(t)
}

// send writes to the connection. Somebody's own connection may panic.
func (c *conn) send(b []byte) (n int, err error) {
	defer c.e.caught("Write of a connection")
	err = errPanicked
	return c.rwc.Write(b)
}

// freeWrite ends the effect of limitWrite. Over TLS reading may write, and must not take
// longer for it than for a request. It is called by the reader.
func (c *conn) freeWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw == nil && c.limited {
		c.setWriteLimit(c.until)
	} else {
		c.setWriteLimit(time.Time{})
	}
}

// limitWrite gives the client WriteTimeout from now. It is called with the lock.
func (c *conn) limitWrite() {
	if c.e.Writing.On() {
		c.setWriteLimit(c.e.Writing.Soon())
	}
}

// setWriteLimit sets the time when writing must end. It is called with the lock.
func (c *conn) setWriteLimit(t time.Time) {
	if c.phase != gone {
		c.rwc.SetWriteDeadline(t)
	}
}
