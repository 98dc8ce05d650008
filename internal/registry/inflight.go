package registry

import (
	"context"
	"sync/atomic"
)

// An InFlight counts the current work. Make it by NewInFlight. It may be used by several
// goroutines at once.
type InFlight struct {
	busy   func() bool
	active atomic.Int64
	closed atomic.Bool
	drains atomic.Bool

	// Each has a token when the InFlight drains and something is over. They are of capacity 1,
	// and one for each thing to wait for: who waits for more would take the others' token.
	quiet, idle chan struct{}
}

// NewInFlight returns an InFlight. busy reports whether there is anything to wait for besides
// the work entered by Enter. It may be called by any waiting goroutine; code that makes it
// false calls Notify.
func NewInFlight(busy func() bool) *InFlight {
	return &InFlight{busy: busy, quiet: make(chan struct{}, 1), idle: make(chan struct{}, 1)}
}

// Enter counts a piece of work. A closed InFlight does so too: whether it still lets
// something begin is the caller's matter.
func (f *InFlight) Enter() { f.active.Add(1) }

// Leave is called when a piece of work is over.
func (f *InFlight) Leave() {
	if f.active.Add(-1) == 0 {
		f.Notify()
	}
}

// Drain says: nothing new is to begin.
func (f *InFlight) Drain() { f.drains.Store(true) }

// Draining reports whether nothing new is to begin.
func (f *InFlight) Draining() bool { return f.drains.Load() }

// Close closes the InFlight for good. It drains, too.
func (f *InFlight) Close() {
	f.Drain()
	f.closed.Store(true)
}

// Closed reports whether the InFlight is closed.
func (f *InFlight) Closed() bool { return f.closed.Load() }

// Notify has Wait look again.
func (f *InFlight) Notify() {
	if !f.Draining() {
		return
	}
	for _, waits := range [...]chan struct{}{f.quiet, f.idle} {
		select {
		case waits <- struct{}{}:
		default:
		}
	}
}

// Wait waits until nothing is going on, or ctx is done. Then it returns the error of ctx. The
// InFlight must be closed. Several may wait.
func (f *InFlight) Wait(ctx context.Context) error {
	return f.wait(ctx, f.quiet, func() bool { return f.busy() || f.active.Load() > 0 })
}

// WaitIdle is Wait without the work entered by Enter. It is enough that the InFlight drains.
func (f *InFlight) WaitIdle(ctx context.Context) error { return f.wait(ctx, f.idle, f.busy) }

func (f *InFlight) wait(ctx context.Context, over chan struct{}, busy func() bool) error {
	for busy() {
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.Notify() // for another one that waits
	return nil
}
