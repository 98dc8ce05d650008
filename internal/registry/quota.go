package registry

import (
	"errors"
	"sync"
	"sync/atomic"
)

// A Quota is a number of places. Its limits may not be changed while it is in
// use; 0 means none.
type Quota struct {
	Max, MaxEach int

	total atomic.Int64
	mu    sync.Mutex     // guards each
	each  map[string]int // places taken, by owner; only used if MaxEach is set
}

// The reasons for a refusal.
var (
	ErrMax     = errors.New("too many sessions: Options.MaxSessions allows no more")
	ErrMaxEach = errors.New("too many sessions of one address: Options.MaxPerAddr allows no more")
	ErrMemory  = errors.New("sessions keep too much: Options.MaxMemory allows no more")
)

// Take takes a place for an owner.
func (q *Quota) Take(owner string) error {
	if n := q.total.Add(1); q.Max > 0 && n > int64(q.Max) {
		q.total.Add(-1)
		return ErrMax
	}
	if q.MaxEach <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.each[owner] >= q.MaxEach {
		q.total.Add(-1)
		return ErrMaxEach
	}
	if q.each == nil {
		q.each = make(map[string]int)
	}
	q.each[owner]++
	return nil
}

// Give gives a place back. It returns how many are taken still.
func (q *Quota) Give(owner string) int64 {
	if q.MaxEach > 0 {
		q.mu.Lock()
		if q.each[owner]--; q.each[owner] == 0 {
			delete(q.each, owner)
		}
		q.mu.Unlock()
	}
	return q.total.Add(-1)
}

// Taken returns how many places are taken.
func (q *Quota) Taken() int64 { return q.total.Load() }
