// Package timers calls sessions back. A Clock has one lazily set alarm for each of
// many sessions; an Idle looks after those mostly in no need of an alarm.
package timers

import (
	"sync"
	"sync/atomic"
	"time"
)

// shards is how many locks and timers a Clock has.
const shards = 16

// A Clock rings the alarms of owners of type T. One timer serves many of them, so an
// alarm takes a fraction of the room of a time.Timer. Make it by NewClock.
type Clock[T any] struct {
	epoch  time.Time
	of     func(T) *Alarm
	ring   func(T)
	made   atomic.Uint32 // how many alarms
	shards [shards]shard[T]
}

// An Alarm rings at or before the time it is set to. It is set lazily: an alarm that
// rings early enough is left alone. So its owner must look what is due, and set it
// again. Make it by Clock.Alarm.
type Alarm struct {
	at    time.Duration // when it rings; 0 if it does not. Its owner's lock guards it.
	place int32         // see queue; the shard's lock guards it
	shard uint32        // never changes
}

// A shard is a Clock for some of the alarms.
type shard[T any] struct {
	mu    sync.Mutex // guards the following
	queue queue[T]
	timer *time.Timer   // nil until there is an alarm
	at    time.Duration // when timer fires; 0 if it does not
}

// NewClock returns a Clock. It calls ring for an owner whose alarm is due, in a
// goroutine of its own. of returns the owner's field with the Alarm.
func NewClock[T any](of func(T) *Alarm, ring func(T)) *Clock[T] {
	c := &Clock[T]{epoch: time.Now(), of: of, ring: ring}
	for i := range c.shards {
		c.shards[i].queue.of = of
	}
	return c
}

// Now returns the time since the Clock was made: half the size of a time.Time.
func (c *Clock[T]) Now() time.Duration { return time.Since(c.epoch) }

// Time returns the time at which Now was or will be d.
func (c *Clock[T]) Time(d time.Duration) time.Time { return c.epoch.Add(d) }

// Alarm returns an unset Alarm.
func (c *Clock[T]) Alarm() Alarm { return Alarm{shard: c.made.Add(1) % shards} }

// soon is when putting an alarm off is cheaper than ringing for nothing: most things
// due that soon are done before.
const soon = 100 * time.Millisecond

// Set has the owner's alarm ring at next at the latest. It is now now. The owner's
// lock must be held.
func (c *Clock[T]) Set(owner T, now, next time.Duration) {
	a := c.of(owner)
	if a.at == next || a.at > now+soon && a.at < next {
		return
	}
	a.at = next
	s := &c.shards[a.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.put(owner, next)
	if s.at == 0 || next < s.at {
		c.arm(s, now)
	}
}

// Stop keeps the owner's alarm from ringing, if that has not begun, and lets go of
// the owner until the next Set. The owner's lock must be held.
func (c *Clock[T]) Stop(owner T) {
	a := c.of(owner)
	a.at = 0
	s := &c.shards[a.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.remove(owner); s.queue.empty() && s.at != 0 {
		s.timer.Stop()
		s.at = 0
	}
}

// Rung takes note of the alarm's ringing. Its owner must call it then.
func (a *Alarm) Rung() { a.at = 0 }

// arm sets the timer of s for its first alarm, if there is one.
func (c *Clock[T]) arm(s *shard[T], now time.Duration) {
	if s.queue.empty() {
		s.at = 0
		return
	}
	s.at = s.queue.first().at
	d := max(s.at-now, 0)
	if s.timer == nil {
		s.timer = time.AfterFunc(d, func() { c.fire(s) })
		return
	}
	s.timer.Reset(d)
}

// fire rings the due alarms of s. None of them has to wait for the effects of
// another one.
func (c *Clock[T]) fire(s *shard[T]) {
	s.mu.Lock()
	now := c.Now()
	var due []T
	for !s.queue.empty() && s.queue.first().at <= now {
		owner := s.queue.first().owner
		s.queue.remove(owner)
		due = append(due, owner)
	}
	c.arm(s, now)
	s.mu.Unlock()
	for i, owner := range due {
		if i < len(due)-1 {
			go c.ring(owner)
		} else {
			c.ring(owner)
		}
	}
}
