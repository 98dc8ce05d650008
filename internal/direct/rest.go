package direct

import "time"

// A request is mostly held for long, and its goroutine has a stack of 8 KB after serving.
// So a connection is left to the poller of its Engine after a while, and has no goroutine
// until something comes. Without a poller, and over TLS, it gets a new goroutine with a
// stack of 2 KB: the runtime would leave the old one at least 4.

// sweepEvery is how often connections are looked at. A connection without a request
// meanwhile comes to rest, if it had one since its last rest.
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
	e.heed()
	again := false
	e.each(func(c *conn) { again = c.look() || again })
	if again {
		e.unrest()
	}
}

// look has the connection come to rest if it has been waiting since the last call.
// It reports whether it is to be called again.
func (c *conn) look() (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.phase != open:
		return false
	case c.reader == none:
		return c.lookAtRest()
	case c.activity >= tired:
		return false
	case c.activity == active || c.room > 0:
		c.activity = quiet
		return true
	}
	c.activity = tired
	c.call()
	return false
}

// lookAtRest is look for a connection without a goroutine. It may have been idle for too
// long. An owner by ConnContext may have closed it, but for that alone there is no further
// sweep.
func (c *conn) lookAtRest() (again bool) {
	idle := c.route.server.idle
	limited := idle > 0 && c.first == nil
	if limited && time.Since(c.idleSince()) >= idle || c.raw.Control(func(uintptr) {}) != nil {
		c.call()
		return false
	}
	return limited
}

// rests reports whether the connection is to come to rest, after a call of the reader.
func (c *conn) rests() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.activity != tired {
		return false
	}
	c.activity = rested
	return true
}

// rest has the connection go on without this goroutine.
func (c *conn) rest() {
	if !c.watch() {
		go c.serve()
	}
}

// watch has the connection watched by the poller, if possible.
func (c *conn) watch() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw == nil || c.buf != nil || c.called || c.phase != open {
		return false
	}
	c.setLimit(time.Time{})
	if !c.e.poller.watch(c) {
		return false
	}
	c.reader = none
	if c.route.server.idle > 0 {
		c.e.unrest() // for lookAtRest: the reader does not look at the clock any more
	}
	return true
}

// unwatch gives the connection a reader if there is none. It is called with the
// lock.
func (c *conn) unwatch() {
	if c.reader != none {
		return
	}
	c.reader, c.activity = reads, quiet
	c.e.poller.unwatch(c)
	c.e.unrest()
	go c.serve()
}

// wake is unwatch, called without the lock.
func (c *conn) wake() {
	c.mu.Lock()
	c.unwatch()
	c.mu.Unlock()
}
