// Package netconn makes a stream of a machine a net.Conn. It has the deadlines, and
// the waits for input, for room and for each other. It has a queue of connections for
// Accept, too.
package netconn

import (
	"sync"
	"time"
)

// A Deadline wakes its owner when a time has come. The zero value never passes. Its
// owner's lock guards it: all methods must be called with that lock held.
type Deadline struct {
	*countdown // nil until it is set: most never are
}

type countdown struct {
	timer   *time.Timer
	expired bool
	passed  uint32 // how often the time has come
	turn    uint32 // tells the timer that counts from those that came too late to be stopped
}

// Expired reports whether the time has come.
func (d Deadline) Expired() bool { return d.countdown != nil && d.expired }

// Passed returns how often the time has come. A waiting caller must give up if that
// changes meanwhile. Asking whether the deadline is still expired would miss one set
// and cleared at once.
func (d Deadline) Passed() uint32 {
	if d.countdown == nil {
		return 0
	}
	return d.passed
}

// Set sets the time; the zero time is never. When it comes, wake is called with
// the owner's lock mu held.
func (d *Deadline) Set(mu sync.Locker, t time.Time, wake func()) {
	if d.countdown == nil {
		if t.IsZero() {
			return
		}
		d.countdown = new(countdown)
	}
	d.set(mu, t, wake)
}

func (d *countdown) set(mu sync.Locker, t time.Time, wake func()) {
	d.turn++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.expired = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.expire(wake)
		return
	}
	turn := d.turn
	d.timer = time.AfterFunc(wait, func() {
		mu.Lock()
		defer mu.Unlock()
		if d.turn == turn {
			d.expire(wake)
		}
	})
}

func (d *countdown) expire(wake func()) {
	d.expired = true
	d.passed++
	wake()
}
