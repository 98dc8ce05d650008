// Package alarm is a timer for an owner whose next event changes all the time.
package alarm

import "time"

// An Alarm calls a function at or before the time it is set to. It is set
// lazily: as long as it fires early enough it is left alone, so its owner must
// look what there is to do, and set it again. The zero value is ready. Its
// owner's lock guards it.
type Alarm struct {
	timer *time.Timer
	at    time.Duration // when it fires; 0 if it does not
}

// Set has f called at next at the latest. Both times count from the same
// moment.
func (a *Alarm) Set(now, next time.Duration, f func()) {
	if a.at != 0 && a.at <= next && a.at > now {
		return
	}
	a.at = next
	d := max(next-now, 0)
	if a.timer == nil {
		a.timer = time.AfterFunc(d, f)
		return
	}
	a.timer.Reset(d)
}

// Fired must be called by f.
func (a *Alarm) Fired() { a.at = 0 }
