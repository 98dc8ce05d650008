// Package slack calls back soon, but only in a process with time to spare.
//
// To set a timer a few milliseconds ahead wakes an idle process twice, which
// costs more than to serve a request. If what the timer is for is mostly over
// when the goroutines that are ready have run, it is cheaper to look then, and
// to set a timer only if it is not over.
//
// In a busy process nobody knows when these goroutines have run: each of them
// may take 10 ms. So nothing may depend on the moment of a callback but the
// setting of a timer, and only the goroutine that calls back ever yields.
package slack

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Slack calls back for owners of type T. Make it by New. It may be used by
// several goroutines at once.
type Slack[T any] struct {
	now  func() time.Duration
	look func(owner T, last bool) (done bool)
	run  func() // watch, bound once: a go statement would allocate it each time

	spare atomic.Bool  // the process has time
	again atomic.Int64 // when to find out whether it has, if not spare

	mu      sync.Mutex // guards the following
	added   []entry[T]
	running bool
	since   time.Duration // when watch was started

	watched []entry[T] // for watch alone
}

type entry[T any] struct {
	owner T
	looks int
}

const (
	// long is how late a goroutine may run in a process with time to spare. One
	// that computes has time slices of 10 ms.
	long = time.Millisecond

	// pause is how long a process without time is left alone.
	pause = 10 * time.Millisecond

	// trials is how often a yield must be short to prove that there is time.
	trials = 4

	// looks is how often an owner is looked at.
	looks = 20
)

// New returns a Slack that measures time by now. It calls look for an owner, in
// a goroutine of its own, until look reports that the owner has nothing more to
// wait for. With last set there will be no other call.
func New[T any](now func() time.Duration, look func(owner T, last bool) (done bool)) *Slack[T] {
	s := &Slack[T]{now: now, look: look}
	s.run = s.watch
	return s
}

// Spare reports whether the process has time to spare. If that is unknown it has
// it found out for later calls, and reports false.
func (s *Slack[T]) Spare(now time.Duration) bool {
	if s.spare.Load() {
		return true
	}
	again := s.again.Load()
	if int64(now) >= again && s.again.CompareAndSwap(again, int64(now+pause)) {
		go s.try()
	}
	return false
}

// try finds out whether the process has time. No request waits for it.
func (s *Slack[T]) try() {
	for range trials {
		if s.yield() {
			return
		}
	}
	s.spare.Store(true)
}

// yield lets other goroutines run. It reports whether that took long.
func (s *Slack[T]) yield() (late bool) {
	began := s.now()
	runtime.Gosched()
	return s.late(began)
}

// late reports whether it is long since began. If so the process has no time.
func (s *Slack[T]) late(began time.Duration) bool {
	now := s.now()
	if now-began <= long {
		return false
	}
	s.again.Store(int64(now + pause))
	s.spare.Store(false)
	return true
}

// After has owner looked at when the goroutines that are ready have run.
func (s *Slack[T]) After(now time.Duration, owner T) {
	s.mu.Lock()
	s.added = append(s.added, entry[T]{owner: owner})
	start := !s.running
	if start {
		s.running, s.since = true, now
	}
	s.mu.Unlock()
	if start {
		go s.run()
	}
}

// watch looks at the owners until none is left.
func (s *Slack[T]) watch() {
	late := s.late(s.since)
	for s.collect() {
		s.watched = slices.DeleteFunc(s.watched, func(e entry[T]) bool {
			last := late || e.looks == looks
			return s.look(e.owner, last) || last
		})
		if late = false; len(s.watched) > 0 {
			late = s.yield()
		}
	}
}

// collect adds the owners that have come to those that are watched. It reports
// whether there are any.
func (s *Slack[T]) collect() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched = append(s.watched, s.added...)
	for i := range s.watched {
		s.watched[i].looks++
	}
	clear(s.added)
	s.added = s.added[:0]
	s.running = len(s.watched) > 0
	return s.running
}
