package netconn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"github.com/gobosh/bosh/internal/buffer"
)

// Why Receive fails, and reading besides Receive.
var (
	errNoReceiver = errors.New("Receive without a function")
	errNoReceive  = errors.New("Detach without Receive")
	errReceived   = errors.New("input is Receive's, and nobody else can read it")
)

// Read reads input, and waits for it.
func (c *Conn) Read(p []byte) (n int, err error) {
	c.S.Lock()
	defer c.S.Unlock()
	if err = c.input(nil, len(p) == 0); err == nil && len(p) > 0 {
		before := c.In.Behind()
		n = c.In.Read(p)
		c.goes(before)
	}
	return n, err
}

// AppendElement appends the next element of the input to b. It waits until ctx is done.
// The goroutines of most applications wait here, so it has no defer, and a small frame.
func (c *Conn) AppendElement(ctx context.Context, b []byte) ([]byte, error) {
	done := ctx.Done()
	c.S.Lock()
	err := c.input(done, false)
	if err == nil {
		b = c.next(b)
	}
	c.S.Unlock()
	return b, caused(ctx, err)
}

// next is AppendElement if there is one. It is called with the lock held.
func (c *Conn) next(b []byte) []byte {
	before := c.In.Behind()
	b = c.In.Next(b)
	c.goes(before)
	return b
}

// CopyTo writes all input to w. An error of w is wrote, and one of reading is err.
func (c *Conn) CopyTo(w io.Writer) (n int64, wrote, err error) {
	var l loan
	defer func() { c.repay(l) }() // whatever w does
	for {
		if l, err = c.takeInput(l); err != nil {
			return n, nil, err
		}
		took, err := w.Write(l.input)
		if n += int64(took); err == nil && took < len(l.input) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, err, nil
		}
	}
}

// A loan is input lent to a user. Until the user is done with it, it counts as unread.
type loan struct {
	b     []byte // the buffer that it is in, or a spare one
	input []byte
}

// takeInput waits for input, and lends all of it. The caller is done with l.
func (c *Conn) takeInput(l loan) (loan, error) {
	c.S.Lock()
	defer c.S.Unlock()
	c.repaid(l)
	spare := buffer.Rest(l.b) // a large one is nobody's while we wait
	if err := c.input(nil, false); err != nil {
		return loan{}, err
	}
	return c.lendAll(spare), nil
}

// lendAll lends all input, in its buffer, for another one.
func (c *Conn) lendAll(spare []byte) (l loan) {
	l.b, l.input = c.In.Take(spare)
	c.goes(c.In.Behind())
	return l
}

// lendElement lends the next element of the input, in the buffer b or a larger one.
func (c *Conn) lendElement(b []byte) loan {
	before := c.In.Behind()
	b = c.In.Next(b)
	c.In.Lend(len(b), cap(b))
	c.goes(before)
	return loan{b, b}
}

// repay takes note that the user is done with l.
func (c *Conn) repay(l loan) {
	if len(l.input) == 0 {
		return
	}
	c.S.Lock()
	defer c.S.Unlock()
	c.repaid(l)
}

// repaid is repay, called with the lock held.
func (c *Conn) repaid(l loan) {
	if len(l.input) > 0 {
		before := c.In.Behind()
		c.In.Return(len(l.input), cap(l.b))
		c.consumed(before)
	}
}

// goes is called when a user goes off with some of the input. There were so many bytes
// before.
func (c *Conn) goes(before int) {
	c.Goes()
	c.consumed(before)
}

// consumed is called when some of the input was read, or lent or repaid. There were so
// many bytes before.
func (c *Conn) consumed(before int) {
	if c.In.Len() > 0 || c.Cause() != nil {
		c.wakeReader() // there may be another one, and the end came along with the input
	}
	c.settle(c.M.Consumed(&c.Stream, before))
}

// returns takes note of a user coming for input. It may have gone off with some.
func (c *Conn) returns() { c.settle(c.M.Returns(&c.Stream)) }

// listens takes note of the application waiting for input.
func (c *Conn) listens() { c.settle(c.M.Listens(&c.Stream)) }

// input waits until there is input, or there need not be any. It is called with the lock
// held, and may release it meanwhile.
func (c *Conn) input(done <-chan struct{}, idle bool) error {
	c.returns()
	ready, err := c.readReady(idle)
	for !ready && err == nil {
		c.listens()
		err = c.wait(done, &c.readable, &c.rdeadline)
		if err == nil || err != os.ErrDeadlineExceeded && c.In.Len() > 0 {
			ready, err = c.readReady(idle) // input that came before ctx was done is not lost
		}
	}
	if err != nil {
		wake(c.readable)
	}
	return err
}

func (c *Conn) readReady(idle bool) (ready bool, err error) {
	if c.receives() && !c.Closed() {
		return false, errReceived
	}
	return c.inputReady(idle)
}

// inputReady reports whether there is input, or there need not be any.
func (c *Conn) inputReady(idle bool) (ready bool, err error) {
	switch {
	case c.Closed():
		return false, net.ErrClosed
	case c.rdeadline.Expired():
		return false, os.ErrDeadlineExceeded
	case idle || c.In.Len() > 0:
		return true, nil
	}
	return false, c.Cause()
}

// Receive has f called with all input.
func (c *Conn) Receive(f func([]byte, error)) error {
	c.S.Lock()
	defer c.S.Unlock()
	switch {
	case f == nil:
		return errNoReceiver
	case c.receives() || c.extras != nil && c.extras.receiving:
		return errReceived
	}
	c.extra().receiver = f
	wake(c.readable) // whoever is blocked in Read
	if ready, err := c.inputReady(false); ready || err != nil {
		c.wakeReader()
	} else {
		c.listens()
	}
	return nil
}

// receives reports whether the input is Receive's.
func (c *Conn) receives() bool { return c.extras != nil && c.extras.receiver != nil }

// Received reports whether the input is Receive's, or was until Detach.
func (c *Conn) Received() bool {
	c.S.Lock()
	defer c.S.Unlock()
	return c.receives() || c.extras != nil && c.extras.detached
}

// Detach ends Receive, and waits until its function has returned, or ctx is done.
func (c *Conn) Detach(ctx context.Context) error {
	stopped, err := c.detach()
	if stopped == nil {
		return err
	}
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// detach returns what is closed when the function has returned, or nil if it is not being
// called.
func (c *Conn) detach() (stopped chan struct{}, err error) {
	c.S.Lock()
	defer c.S.Unlock()
	x := c.extras
	switch {
	case c.Closed():
		return nil, net.ErrClosed
	case x == nil || x.receiver == nil && !x.detached:
		return nil, errNoReceive
	}
	x.receiver, x.detached = nil, true
	if x.receiving && x.stopped == nil {
		x.stopped = make(chan struct{})
	}
	return x.stopped, nil
}

// stops takes note that the goroutine of the receiver is over. If it goes on there may be
// another one.
func (c *Conn) stops(goesOn bool) {
	c.S.Lock()
	defer c.S.Unlock()
	x := c.extras
	x.receiving = x.receiving && !goesOn
	if x.stopped != nil {
		close(x.stopped)
		x.stopped = nil
	}
}

// wakeReader lets the reader go on.
func (c *Conn) wakeReader() {
	if !c.receives() {
		wake(c.readable)
		return
	}
	if x := c.extras; !x.receiving {
		x.receiving = true
		d := *c // as in prove
		go d.receive(x.receiver)
	}
}

// receive calls f until there is no more input.
func (c *Conn) receive(f func([]byte, error)) {
	if c.S.Direct() {
		GrowStack(0)
	}
	goesOn, detached := false, false
	defer c.S.Served(&c.Stream, "Receive", &goesOn)
	defer func() {
		if detached || !goesOn {
			c.stops(goesOn)
		}
	}()
	room := receiveRoom.Get().(*[]byte)
	l := loan{b: *room}
	defer func() {
		c.repay(l) // f has panicked
		*room = buffer.Rest(l.b)
		receiveRoom.Put(room)
	}()
	for {
		var err error
		l, detached, err = c.nextInput(l)
		if goesOn = len(l.input) == 0 && err == nil; goesOn {
			return
		}
		if f(l.input, err); err != nil {
			return
		}
	}
}

// GrowStack makes the goroutine's stack grow now. With the direct engine it would soon
// grow in any case, since the goroutine that makes the answer writes it. By then many
// frames would have to be moved, at 1.4 µs of the 10 of a round trip.
//
//go:noinline
func GrowStack(i int) byte {
	var frame [4 << 10]byte
	return frame[i]
}

// receiveRoom has buffers for received input.
var receiveRoom = sync.Pool{New: func() any { return new([]byte) }}

// nextInput lends the receiver the input of its next call; it is done with l. If there
// is none its goroutine no longer counts as present.
func (c *Conn) nextInput(l loan) (_ loan, detached bool, err error) {
	c.S.Lock()
	defer c.S.Unlock()
	c.repaid(l)
	c.returns()
	if !c.receives() {
		return loan{b: l.b}, true, nil
	}
	if c.In.Len() > 0 { // even if a deadline has passed: nobody else would read it
		if c.Framing.ByElement() {
			return c.lendElement(l.b[:0]), false, nil
		}
		return c.lendAll(l.b[:0]), false, nil
	}
	if _, err = c.inputReady(false); err == nil {
		c.extras.receiving = false
		c.listens()
	}
	return loan{b: l.b}, false, err
}
