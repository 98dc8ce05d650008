// Package registry keeps account of the sessions of a Handler: the sessions
// themselves, their limits, their counts, and work still in flight.
package registry

import (
	"iter"
	"sync"
)

// shards is how many locks a Table has. It must be a power of two.
const shards = 64

// A Table maps keys to values. The zero value is an empty table. Keys should be
// random in their first two bytes: those choose the lock.
type Table[V any] struct {
	shard [shards]shard[V]
}

type shard[V any] struct {
	mu sync.RWMutex // guards m
	m  map[string]V
}

func (t *Table[V]) of(b0, b1 byte) *shard[V] { return &t.shard[(b0*31+b1)%shards] }

// Get returns the value of key.
func (t *Table[V]) Get(key []byte) (v V, ok bool) {
	if len(key) < 2 {
		return v, false
	}
	s := t.of(key[0], key[1])
	s.mu.RLock()
	v, ok = s.m[string(key)]
	s.mu.RUnlock()
	return v, ok
}

// Put sets the value of key. The key must have at least two bytes.
func (t *Table[V]) Put(key string, v V) {
	s := t.of(key[0], key[1])
	s.mu.Lock()
	if s.m == nil {
		s.m = make(map[string]V)
	}
	s.m[key] = v
	s.mu.Unlock()
}

// Add sets the value of key, unless it has one. It reports whether it has set it.
func (t *Table[V]) Add(key string, v V) bool {
	s := t.of(key[0], key[1])
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, had := s.m[key]; had {
		return false
	}
	if s.m == nil {
		s.m = make(map[string]V)
	}
	s.m[key] = v
	return true
}

// Delete removes key.
func (t *Table[V]) Delete(key string) {
	s := t.of(key[0], key[1])
	s.mu.Lock()
	delete(s.m, key)
	s.mu.Unlock()
}

// Remove removes key if f holds for its value. It is called with a lock held.
func (t *Table[V]) Remove(key string, f func(V) bool) {
	s := t.of(key[0], key[1])
	s.mu.Lock()
	if v, ok := s.m[key]; ok && f(v) {
		delete(s.m, key)
	}
	s.mu.Unlock()
}

// All returns the values there are. No lock is held while they are used, and new
// ones may be missing.
func (t *Table[V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		var vs []V
		for i := range t.shard {
			s := &t.shard[i]
			s.mu.RLock()
			vs = vs[:0]
			for _, v := range s.m {
				vs = append(vs, v)
			}
			s.mu.RUnlock()
			for _, v := range vs {
				if !yield(v) {
					return
				}
			}
		}
	}
}
