package registry

import (
	"maps"
	"sync"
)

// ByName counts things with one of a few names. The zero value is ready for use, by
// several goroutines at once.
type ByName struct {
	mu sync.Mutex
	n  map[string]int64
}

// Add counts one of a name.
func (b *ByName) Add(name string) { b.AddN(name, 1) }

// AddN counts n of a name. With 0 the name is there, and nothing has been counted.
func (b *ByName) AddN(name string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == nil {
		b.n = make(map[string]int64)
	}
	b.n[name] += n
}

// All returns the counts, as a copy for the caller.
func (b *ByName) All() map[string]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]int64, len(b.n))
	maps.Copy(all, b.n)
	return all
}
