package main

import "sync"

// A feed is the common output to all pages, in order. It keeps the newest
// elements for late and slow pages: slow pages miss the elements in between,
// and cost nobody any memory.
type feed struct {
	mu      sync.Mutex
	newest  [][]byte // ring: the element number n is at n % len
	n       int      // how many there were
	changed chan struct{}
}

func newFeed(keep int) *feed {
	return &feed{newest: make([][]byte, keep), changed: make(chan struct{})}
}

// publish adds an element.
func (f *feed) publish(element []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newest[f.n%len(f.newest)] = element
	f.n++
	close(f.changed)
	f.changed = make(chan struct{})
}

// since returns the elements from number n on as far as they are kept, and the
// number of the next. The channel is closed when there is a next one.
func (f *feed) since(n int) (elements [][]byte, next int, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n = max(n, f.n-len(f.newest)); n < f.n; n++ {
		elements = append(elements, f.newest[n%len(f.newest)])
	}
	return elements, n, f.changed
}
