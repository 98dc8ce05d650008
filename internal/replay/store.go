package replay

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Store keeps Entries, each for the same time. Make it by New.
type Store struct {
	keep time.Duration
	now  func() time.Duration
	size *atomic.Int64
	seed maphash.Seed

	mu      sync.Mutex // guards the following
	batches []*batch   // the oldest first
	timer   *time.Timer
	armed   bool // timer is to fire
}

// sweepInterval is how long the Store is left alone at least. Looking at each Entry when
// its time comes costs more than keeping some for longer. Nobody gets to see those.
const sweepInterval = time.Second

// overhead is the memory of an Entry besides its text, with its place, in bytes, about.
const overhead = 100

// New returns a Store. It keeps Entries for the time keep on the clock now. It adds their
// bytes to size, about.
func New(keep time.Duration, now func() time.Duration, size *atomic.Int64) *Store {
	s := &Store{keep: keep, now: now, size: size, seed: maphash.MakeSeed()}
	s.timer = time.AfterFunc(keep, s.expired)
	s.timer.Stop()
	return s
}

// Put adds the Entry of a session, whose sid may have up to 255 bytes. If there is one
// already, since the session had moved and has come back, the later one counts. It is now
// now, or was a moment ago.
func (s *Store) Put(now time.Duration, l *Session, answers []Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	n := s.batch(now).put(now+s.keep, l, answers)
	s.size.Add(int64(n) + overhead)
	s.arm(now)
}

// batch returns the batch for a new Entry.
func (s *Store) batch(now time.Duration) *batch {
	if n := len(s.batches); n > 0 && now-s.batches[n-1].begun < sweepInterval {
		return s.batches[n-1]
	}
	p := &batch{begun: now}
	s.batches = append(s.batches, p)
	return p
}

// Get returns the last Entry of a sid.
func (s *Store) Get(sid []byte) (_ Entry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, hash := s.now(), maphash.Bytes(s.seed, sid)
	for _, p := range slices.Backward(s.batches) {
		p.index(s.seed)
		at, ok := p.places[hash]
		if !ok {
			continue
		}
		if text, until := p.entry(at); string(sidOf(text)) == string(sid) {
			return Entry{string(text)}, now < until
		}
	}
	return Entry{}, false
}

// Moved reports whether there is an Entry of a session that has moved, and not ended.
func (s *Store) Moved(sid []byte) bool {
	e, ok := s.Get(sid)
	return ok && e.Session().Moved
}

// Return takes note that a session which had moved is back.
func (s *Store) Return(sid []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := maphash.Bytes(s.seed, sid)
	for _, p := range s.batches {
		p.index(s.seed)
		if at, ok := p.places[hash]; ok {
			if text, _ := p.entry(at); string(sidOf(text)) == string(sid) {
				delete(p.places, hash)
			}
		}
	}
}

// Ended reports whether there is an Entry of a session that has ended, and not moved.
func (s *Store) Ended(sid []byte) bool {
	e, ok := s.Get(sid)
	return ok && !e.Session().Moved
}

// sweep removes the Entries past their end.
func (s *Store) sweep(now time.Duration) {
	n := 0
	for n < len(s.batches) && s.batches[n].until <= now {
		p := s.batches[n]
		s.size.Add(-int64(p.size) - int64(p.count)*overhead)
		n++
	}
	s.batches = slices.Delete(s.batches, 0, n)
}

// expired is called by the timer.
func (s *Store) expired() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	now := s.now()
	if s.sweep(now); len(s.batches) > 0 {
		s.arm(now)
	}
}

// arm sets the timer for the first batch, unless it is set: nothing can be due before the
// batch it is set for.
func (s *Store) arm(now time.Duration) {
	if !s.armed {
		s.timer.Reset(max(s.batches[0].until-now, sweepInterval))
		s.armed = true
	}
}
