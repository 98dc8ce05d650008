package carrier

import (
	"sync"

	"github.com/gobosh/bosh/internal/session"
)

// A Desk is where answers of a session are written for which nobody waits. One goroutine
// at a time takes them from the queue. Mostly it is the receiver of a request, since the
// application's answer mostly comes at once. Otherwise one is started for it. The
// session's lock guards the Desk.
type Desk struct {
	queue     session.Line // to be answered
	parked    chan bool    // of a goroutine that waits for something to write, or nil
	attending int32        // requests that the application has still to learn of, and may answer
	writing   bool         // somebody writes the queue
	watched   bool         // the machine is, as of the last Claim
}

// Claim reports whether the caller must write the queue. A parked goroutine does it in
// the caller's place; it goes on, too, when watched is false. Claim is called whenever the
// lock is released. watched reports whether the machine is watched.
func (d *Desk) Claim(watched bool) (write bool) {
	d.watched = watched
	write = d.idle() && !d.queue.Empty()
	d.writing = d.writing || write
	if d.parked != nil && (write || !watched) {
		d.parked <- write
		d.parked, write = nil, false
	}
	return write
}

// idle reports whether somebody may begin to write.
func (d *Desk) idle() bool { return !d.writing && d.attending == 0 }

// Begin reports whether the caller is to write the queue now, in this goroutine.
func (d *Desk) Begin() bool {
	if d.queue.Empty() || !d.idle() {
		return false
	}
	d.writing = true
	return true
}

// Next returns the next one to be written, or nil. Then the caller does not write any
// more.
func (d *Desk) Next() *Written {
	for !d.queue.Empty() && d.attending == 0 {
		w := d.queue.Pop().Carrier.(*Written)
		if w.Queued = false; w.Phase == Open {
			return w
		}
	}
	d.writing = false
	return nil
}

// Attended takes note of the application learning of a request. If an answer may come
// before any alarm is due, it returns the channel to wait on for it: then nobody else
// need be woken. With waits set the goroutine may wait.
func (d *Desk) Attended(waits bool, p *Parking) chan bool {
	d.attending--
	if !waits || !d.watched || d.parked != nil || d.attending > 0 || !d.queue.Empty() {
		return nil
	}
	d.parked = p.get()
	return d.parked
}

// Take gives the caller w, to send it, and ends the caller's claim. The next Claim says who
// writes the rest.
func (d *Desk) Take(w *Written) { w.Phase, d.writing = Taken, false }

// A Parking has channels of waiting goroutines.
type Parking struct{ free sync.Pool }

func (p *Parking) get() chan bool {
	if c, ok := p.free.Get().(chan bool); ok {
		return c
	}
	return make(chan bool, 1)
}

// Wait waits on a channel of Attended. It reports whether the caller is to write the
// queue.
func (p *Parking) Wait(c chan bool) (write bool) {
	write = <-c
	p.free.Put(c)
	return write
}
