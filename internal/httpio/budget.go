package httpio

import (
	"errors"
	"sync/atomic"
)

// ErrNoRoom is the error for a body refused because all bodies together would
// take too much.
var ErrNoRoom = errors.New("no room for the body: Options.MaxMemory allows no more")

// A Budget bounds the memory of all bodies being received together.
type Budget struct {
	Max   int64        // no limit if not positive
	Other func() int64 // what else counts

	taken atomic.Int64
}

// Taken returns how much is taken.
func (b *Budget) Taken() int64 { return b.taken.Load() }

func (b *Budget) take(n int64) bool {
	if b.taken.Add(n)+b.Other() > b.Max && b.Max > 0 {
		b.taken.Add(-n)
		return false
	}
	return true
}

// FreeBytes is how many bytes of a body are not counted.
const FreeBytes = 64 << 10

// A Share is one body's part of a Budget. A nil *Share, or one of no Budget, is
// never short of room.
type Share struct {
	Budget *Budget
	n      int64
}

// Reach takes the room for a buffer of this size, and reports whether there is
// enough.
func (s *Share) Reach(size int) bool {
	if s == nil || s.Budget == nil || size <= FreeBytes {
		return true
	}
	d := int64(size-FreeBytes) - s.n
	if d <= 0 {
		return true
	}
	if !s.Budget.take(d) {
		return false
	}
	s.n += d
	return true
}

// Give gives everything back.
func (s *Share) Give() {
	if s.n > 0 {
		s.Budget.taken.Add(-s.n)
		s.n = 0
	}
}
