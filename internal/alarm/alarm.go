// Package alarm is a timer for an owner whose next event changes all the time.
package alarm

import "time"

// An Alarm calls a function at or before the time it is set to. It is set
// lazily: as long as it fires early enough it is left alone, so its owner must
// look what there is to do, and set it again. Its owner's lock guards it. Make
// it by New.
type Alarm struct {
	timer *time.Timer
	at    time.Duration // when it fires; 0 if it does not
}

// New returns an Alarm that calls f.
func New(f func()) Alarm {
	timer := time.AfterFunc(never, f)
	timer.Stop()
	return Alarm{timer: timer}
}

const never = time.Duration(1<<63 - 1)

// soon is when it is cheaper to put the timer off than to be called for nothing:
// most of what is due that soon is done before.
const soon = 100 * time.Millisecond

// Set has the function called at next at the latest. Both times count from the
// same moment.
func (a *Alarm) Set(now, next time.Duration) {
	if a.at == next || a.at > now+soon && a.at < next {
		return
	}
	a.at = next
	a.timer.Reset(max(next-now, 0))
}

// Stop keeps the function from being called, if that has not begun, and lets go
// of it until the next Set.
func (a *Alarm) Stop() {
	if a.at != 0 {
		a.timer.Stop()
		a.at = 0
	}
}

// Fired must be called by the function.
func (a *Alarm) Fired() { a.at = 0 }
