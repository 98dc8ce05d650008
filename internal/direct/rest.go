package direct

import "time"

// A goroutine that has served a request has a stack of 8 KB, of which it needs
// little to wait for the next one, but the runtime leaves it at least 4. A request
// is mostly held for long. So a connection that has been waiting for a while gets a
// new goroutine, which has 2.

// sweepEvery is how often connections are looked at. One that has had no request
// meanwhile gets a new goroutine, if it had one since it got the last.
const sweepEvery = time.Second

// unrest has the connections looked at.
func (e *Engine) unrest() {
	if e.sweeping.CompareAndSwap(false, true) {
		time.AfterFunc(sweepEvery, e.sweep)
	}
}

// sweep looks at the connections.
func (e *Engine) sweep() {
	e.sweeping.Store(false)
	busy := false
	e.each(func(c *conn) { busy = c.rest() || busy })
	if busy {
		e.unrest()
	}
}

// rest sees to it that the connection gets a new goroutine if it has been waiting
// since the last call. It reports whether it is to be called again.
func (c *conn) rest() (busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.rested || c.shut || c.gone:
		return false
	case c.served != c.seen || c.room != 0:
		c.seen = c.served
		return true
	}
	c.rested, c.retires = true, true
	c.call()
	return false
}

// retired reports whether the connection is to get a new goroutine, now that the
// reader has been called.
func (c *conn) retired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	retires := c.retires && !c.shut && !c.gone
	c.retires = false
	return retires
}

// renew has another goroutine go on.
func (c *conn) renew() { go c.serve() }
