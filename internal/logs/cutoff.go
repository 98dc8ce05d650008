package logs

import (
	"sync"
	"time"
)

const (
	slots  = 64               // sessions that are looked at, out of all
	enough = 3                // requests of one session that are given up at the same age
	stale  = 10 * time.Minute // after which another session is looked at instead
	least  = 500 * time.Millisecond
)

// Cutoffs notice a time-out in front of a server that is shorter than the hold of its
// requests. Then a session's requests are given up again and again, and always at the
// same age. The zero value is ready for use, by several goroutines at once.
type Cutoffs struct {
	mu   sync.Mutex
	seen [slots]slot
	said Limiter
}

// A slot is the memory of one session.
type slot struct {
	session int64
	age     time.Duration
	count   int
	at      time.Duration // of the last
}

// GivenUp takes note that at the time now a request of a session was given up, after
// being held for age. It reports whether to log that.
func (w *Cutoffs) GivenUp(session int64, age, now time.Duration) bool {
	if age < least {
		return false // such a client reloads its page, or moves to another network
	}
	w.mu.Lock()
	s := &w.seen[session%slots]
	switch {
	case s.session == session && near(s.age, age):
		s.count++
	case s.session == session || s.count == 0 || now-s.at > stale:
		*s = slot{session: session, count: 1}
	default:
		w.mu.Unlock()
		return false
	}
	s.age, s.at = age, now
	found := s.count >= enough
	w.mu.Unlock()
	if !found {
		return false
	}
	_, ok := w.said.Take(now)
	return ok
}

// near reports whether two requests may have been ended by the same time-out.
func near(a, b time.Duration) bool { return (a - b).Abs() <= max(a, b)/20+100*time.Millisecond }
