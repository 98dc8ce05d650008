package main

import (
	"errors"
	"sync"
)

// A budget bounds the bytes from servers that all bridges together keep: not
// yet taken by clients, or not yet whole.
type budget struct {
	max int64 // 0 for no limit

	mu   sync.Mutex // Protects following.
	used int64
	kept map[*bridge]int64
}

var errBudget = errors.New("the sessions keep more than -max-memory allows, and this one keeps most")

// free is the number of bytes a bridge may keep uncounted.
const free = 4 * minBuffer

// keeps notes the n bytes kept by b. If all together keep too much, it ends the
// bridges with the most.
func (u *budget) keeps(b *bridge, n int) {
	if n == b.counted {
		return // as mostly
	}
	b.counted = n
	for {
		most := u.count(b, n)
		if most == nil {
			return
		}
		most.evict()
		if most == b {
			return
		}
	}
}

// count counts the bytes of b, and returns a bridge to end.
func (u *budget) count(b *bridge, n int) (most *bridge) {
	size := int64(n)
	if size <= free {
		size = 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if before, ok := u.kept[b]; before == size || ok && before < 0 {
		return nil // as mostly; or it is being ended
	}
	u.set(b, size)
	if u.max == 0 || u.used <= u.max {
		return nil
	}
	for other, size := range u.kept {
		if size > u.kept[most] { // of nil that is 0
			most = other
		}
	}
	u.set(most, -1)
	return most
}

// leaves notes the end of b: it keeps nothing any more.
func (u *budget) leaves(b *bridge) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.set(b, 0)
}

// set sets the bytes kept by b: -1 if it is being ended.
func (u *budget) set(b *bridge, size int64) {
	u.used += max(size, 0) - max(u.kept[b], 0)
	if size == 0 {
		delete(u.kept, b)
		return
	}
	if u.kept == nil {
		u.kept = make(map[*bridge]int64)
	}
	u.kept[b] = size
}

// taken returns how many bytes are kept.
func (u *budget) taken() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.used
}
