package timers

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An Idle calls back for owners of type T. Make it by NewIdle. It may be used by
// several goroutines at once.
type Idle[T any] struct {
	now  func() time.Duration
	look func(owner T, last bool) (done bool)
	run  func() // watch, bound once: a go statement would allocate it each time

	spare atomic.Bool  // the process has time
	again atomic.Int64 // when to find out whether it has, if not spare

	mu      sync.Mutex // guards the following
	added   []watched[T]
	running bool
	since   time.Duration // when watch was started

	watched []watched[T] // for watch alone
}

type watched[T any] struct {
	owner T
	looks int
}

const (
	// long is how late a goroutine may run in a process with time to spare. A busy
	// process has time slices of 10 ms.
	long = time.Millisecond

	// pause is how long a process without time is left alone.
	pause = 10 * time.Millisecond

	// trials is how often a yield must be short to prove time to spare.
	trials = 4

	// looks is how often an owner is looked at.
	looks = 20
)

// NewIdle returns an Idle with the clock now. It calls look for an owner, in a
// goroutine of its own, until look reports that the owner has nothing more to wait
// for. With last set there will be no other call.
func NewIdle[T any](now func() time.Duration, look func(owner T, last bool) (done bool)) *Idle[T] {
	s := &Idle[T]{now: now, look: look}
	s.run = s.watch
	return s
}

// Spare reports whether the process has time to spare. If that is unknown it starts
// finding out for later calls, and reports false.
func (s *Idle[T]) Spare(now time.Duration) bool {
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
func (s *Idle[T]) try() {
	for range trials {
		if s.yield() {
			return
		}
	}
	s.spare.Store(true)
}

// yield lets other goroutines run. It reports whether they took long.
func (s *Idle[T]) yield() (late bool) {
	began := s.now()
	runtime.Gosched()
	return s.late(began)
}

// late reports whether it is long since began. If so the process has no time.
func (s *Idle[T]) late(began time.Duration) bool {
	now := s.now()
	if now-began <= long {
		return false
	}
	s.again.Store(int64(now + pause))
	s.spare.Store(false)
	return true
}

// After calls look for owner once the ready goroutines have run.
func (s *Idle[T]) After(now time.Duration, owner T) {
	s.mu.Lock()
	s.added = append(s.added, watched[T]{owner: owner})
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
func (s *Idle[T]) watch() {
	late := s.late(s.since)
	for s.collect() {
		s.watched = slices.DeleteFunc(s.watched, func(e watched[T]) bool {
			last := late || e.looks == looks
			return s.look(e.owner, last) || last
		})
		if late = false; len(s.watched) > 0 {
			late = s.yield()
		}
	}
}

// collect adds the new owners to the watched ones. It reports whether there are
// any.
func (s *Idle[T]) collect() bool {
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
