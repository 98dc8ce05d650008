// Package slack tells whether a process has time to spare.
package slack

import (
	"runtime"
	"sync/atomic"
	"time"
)

// A Slack lets other goroutines run, unless they are many. Make it by New.
type Slack struct {
	now  func() time.Duration
	long time.Duration
	busy atomic.Int64 // until when nobody yields; 0 if there is time
}

// New returns a Slack that measures time by now. It takes a process to have time if
// all others have had their turn within long.
func New(now func() time.Duration, long time.Duration) *Slack { return &Slack{now: now, long: long} }

// pause is how often it is tried whether a process has time again.
const pause = 10 * time.Millisecond

// Yield lets the goroutines run that are ready, and reports true. If that has taken
// long of late it does not, and reports false: there is always something else to do
// in that process, and to come back to a request when others have had their turn
// costs more than to be done with it, since nothing of it is in the caches any more.
func (s *Slack) Yield() bool {
	began := s.now()
	until := s.busy.Load()
	if until > int64(began) || until > 0 && !s.busy.CompareAndSwap(until, int64(began+pause)) {
		return false
	}
	runtime.Gosched()
	switch ended := s.now(); {
	case ended-began > s.long:
		s.busy.Store(int64(ended + pause))
	case until > 0:
		s.busy.Store(0)
	}
	return true
}
