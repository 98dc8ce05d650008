// Package gate lets work in until it is closed, and then tells when the last of
// it is over.
package gate

import (
	"context"
	"sync/atomic"
)

// A Gate counts the work that is going on. Make it by New. It may be used by
// several goroutines at once.
type Gate struct {
	busy   func() bool
	active atomic.Int64
	closed atomic.Bool
	quiet  chan struct{} // of capacity 1; gets a token when the Gate is closed and something is over
}

// New returns a Gate. busy reports whether there is anything to wait for besides
// what has come in by Enter. It may be called by any goroutine that waits; whoever
// makes it false calls Hush.
func New(busy func() bool) *Gate { return &Gate{busy: busy, quiet: make(chan struct{}, 1)} }

// Enter counts a piece of work. A closed Gate does so too: whether it still lets
// something begin is the caller's matter.
func (g *Gate) Enter() { g.active.Add(1) }

// Leave is called when a piece of work is over.
func (g *Gate) Leave() {
	if g.active.Add(-1) == 0 {
		g.Hush()
	}
}

// Close closes the Gate for good.
func (g *Gate) Close() { g.closed.Store(true) }

// Closed reports whether the Gate is closed.
func (g *Gate) Closed() bool { return g.closed.Load() }

// Hush has Wait look again.
func (g *Gate) Hush() {
	if g.closed.Load() {
		select {
		case g.quiet <- struct{}{}:
		default:
		}
	}
}

// Wait waits until nothing is going on, or ctx is done, whose error it returns
// then. The Gate must be closed. Several may wait.
func (g *Gate) Wait(ctx context.Context) error {
	for g.busy() || g.active.Load() > 0 {
		select {
		case <-g.quiet:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.Hush() // for another one that waits
	return nil
}
