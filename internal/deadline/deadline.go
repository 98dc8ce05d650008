// Package deadline implements the deadlines of a net.Conn.
package deadline

import (
	"sync"
	"time"
)

// A Deadline ends what waits on its channel when a time has come. The zero
// value is one that never comes. Its owner's lock guards it: all methods must
// be called with that lock held.
type Deadline struct {
	expired bool
	passed  chan struct{} // closed when expired; made when somebody waits
	timer   *time.Timer
	turn    int // tells the timer that counts from those that came too late to be stopped
}

// Expired reports whether the time has come.
func (d *Deadline) Expired() bool { return d.expired }

// Done returns a channel that is closed when the time has come, as it is set
// now or will be set while somebody waits. It stays closed if the deadline is
// moved after that: whoever waits on it must give up then, and not look at the
// deadline again, or a deadline that is set and cleared at once would be missed.
func (d *Deadline) Done() <-chan struct{} {
	d.make()
	return d.passed
}

func (d *Deadline) make() {
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
}

// Set sets the time; the zero time is never. mu is the owner's lock.
func (d *Deadline) Set(mu sync.Locker, t time.Time) {
	d.turn++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.expired {
		d.expired, d.passed = false, nil
	}
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.expire()
		return
	}
	turn := d.turn
	d.timer = time.AfterFunc(wait, func() {
		mu.Lock()
		defer mu.Unlock()
		if d.turn == turn {
			d.expire()
		}
	})
}

func (d *Deadline) expire() {
	d.make()
	d.expired = true
	close(d.passed)
}
