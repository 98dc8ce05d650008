package logs

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	origins    = 16              // that are looked at, at a time
	unanswered = 3               // preflights without a request
	atLeast    = 2 * time.Second // from the first to the last of them
	forgotten  = 10 * time.Minute
)

// Preflights notice pages whose browser asks for leave by CORS and does not like the
// answer: preflights come, and no requests after them. The zero value is ready for use,
// by several goroutines at once.
type Preflights struct {
	pending atomic.Int32 // len(asked), so that requests need no lock
	mu      sync.Mutex
	asked   map[string]*asked // by origin
	said    Limiter
}

type asked struct {
	first, last time.Duration
	count       int
}

// Preflight takes note of a preflight for a page of an origin at the time now. It
// reports whether to log that no requests follow.
func (w *Preflights) Preflight(origin string, now time.Duration) bool {
	w.mu.Lock()
	a := w.asked[origin]
	if a == nil || now-a.last > forgotten {
		if a == nil && len(w.asked) >= origins && !w.forget(now) {
			w.mu.Unlock()
			return false
		}
		if w.asked == nil {
			w.asked = make(map[string]*asked)
		}
		a = &asked{first: now}
		w.asked[origin] = a
		w.pending.Store(int32(len(w.asked)))
	}
	a.last = now
	a.count++
	found := a.count >= unanswered && now-a.first >= atLeast
	w.mu.Unlock()
	if !found {
		return false
	}
	_, ok := w.said.Take(now)
	return ok
}

// forget makes room for another origin, if one has been silent for long.
func (w *Preflights) forget(now time.Duration) (ok bool) {
	for origin, a := range w.asked {
		if now-a.last > forgotten {
			delete(w.asked, origin)
			ok = true
		}
	}
	return ok
}

// Request takes note of a request sent by a page of an origin.
func (w *Preflights) Request(origin string) {
	if w.pending.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.asked, origin)
	w.pending.Store(int32(len(w.asked)))
}

// Pending reports whether there are preflights that wait for a Request.
func (w *Preflights) Pending() bool { return w.pending.Load() != 0 }
