package netconn

import "github.com/gobosh/bosh/internal/session"

// Proven returns how much of the output the client has beyond doubt.
func (c *Conn) Proven() int64 {
	c.S.Lock()
	defer c.S.Unlock()
	return c.proven()
}

// proven is Proven, called with the lock held.
func (c *Conn) proven() int64 { return c.M.Proven(&c.Stream) }

// OnProven has f called when more is proven. Nil ends the calls.
func (c *Conn) OnProven(f func(n int64)) {
	c.S.Lock()
	defer c.S.Unlock()
	if f == nil && c.extras == nil {
		return
	}
	c.extra().prover = f
	c.prove()
}

// Proves reports more proven output to its waiting users, and hands back undelivered
// output. It reports whether anybody waits for more. It is called with the lock held.
func (c *Conn) Proves() (wanted bool) {
	c.prove()
	c.HandBack()
	return c.Owed || c.extras != nil && c.extras.prover != nil
}

// prove has the function of OnProven called, unless it knows how much is proven.
func (c *Conn) prove() {
	if x := c.extras; x != nil && x.prover != nil && !x.proving && c.proven() > x.told {
		x.proving = true
		d := *c // c stays on the stack of its caller
		go d.tellProven()
	}
}

// tellProven calls the function of OnProven until there is nothing new.
func (c *Conn) tellProven() {
	goesOn := false
	defer c.S.Served(&c.Stream, "OnProven", &goesOn)
	defer func() {
		if !goesOn { // f has panicked
			c.S.Lock()
			defer c.S.Unlock()
			c.extras.prover, c.extras.proving = nil, false
			c.HandBack()
		}
	}()
	for {
		f, n := c.nextProven()
		if goesOn = f == nil; goesOn {
			return
		}
		f(n)
	}
}

// nextProven returns the next call of the function of OnProven, or nil. Then there is no
// goroutine any more.
func (c *Conn) nextProven() (f func(int64), n int64) {
	c.S.Lock()
	defer c.S.Unlock()
	x := c.extras
	if n = c.proven(); x.prover == nil || n <= x.told {
		x.proving = false
		c.HandBack()
		return nil, 0
	}
	x.told = n
	return x.prover, n
}

// HandBack hands back the undelivered output, if nothing more can be written or proven.
// It is called with the lock held.
func (c *Conn) HandBack() {
	over := c.Closed() && (c.M.Phase() == session.Ended || c.Gone)
	if c.Owed && over && (c.extras == nil || !c.extras.proving) {
		c.Owed = false
		c.S.HandBack(&c.Stream)
	}
}
