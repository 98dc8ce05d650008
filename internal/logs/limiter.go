package logs

import (
	"sync/atomic"
	"time"
)

// Every is the least time between two logged events.
const Every = 10 * time.Second

// A Limiter limits the log about one kind of events. The zero value is ready for use,
// by several goroutines at once.
type Limiter struct {
	next atomic.Int64 // when there may be something said again
	held atomic.Int64 // events since the last one that was spoken of
}

// Take takes note of an event at the time now. It reports whether to log the event, and
// the number of unlogged ones before it.
func (r *Limiter) Take(now time.Duration) (held int64, ok bool) {
	next := r.next.Load()
	if int64(now) < next || !r.next.CompareAndSwap(next, int64(now+Every)) {
		r.held.Add(1)
		return 0, false
	}
	return r.held.Swap(0), true
}
