package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobosh/bosh"
)

const (
	// away is the time without a request after which the end does not wait for a
	// client. A living client comes back at once, or, if it polls, every 5 s.
	away = 6 * time.Second

	// leaveLimit is how long it takes to take leave of a server at the most.
	leaveLimit = 2*leaveTimeout + time.Second

	// webLimit is how long HTTP connections may take to end, once they have been
	// answered.
	webLimit = 2 * time.Second
)

// sessionLimit is how long clients may take to hear of the end, of the time there
// is for all: servers have to hear of it as well.
func sessionLimit(drain time.Duration) time.Duration { return drain - min(drain/2, leaveLimit) }

// shutdown ends all sessions, and waits until their clients have been told or
// ctx is done, but not for clients away. It returns the number of clients not
// told.
func (p *proxy) shutdown(ctx context.Context) (untold int) {
	p.close(errClosing)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		p.awaitAway(ctx)
		cancel()
	}()
	if p.bosh.Shutdown(ctx) != nil {
		for s := range p.bosh.Sessions() {
			if s.Stats().Open == 0 {
				untold++
			}
		}
		p.bosh.Close()
		late, cancel := context.WithTimeout(context.Background(), webLimit)
		defer cancel()
		p.bosh.Shutdown(late) // for the answers that are on their way
	}
	cancel()
	<-watched
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return untold
}

// awaitAway waits until all clients of sessions are away, or ctx is done.
func (p *proxy) awaitAway(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for p.anybody() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// anybody reports whether any client lives, or there is nobody to wait for.
func (p *proxy) anybody() bool {
	sessions := 0
	for s := range p.bosh.Sessions() {
		if lives(s) {
			return true
		}
		sessions++
	}
	return sessions == 0
}

// lives reports whether the client of a session is there, or may be.
func lives(s *bosh.Session) bool {
	e, ok := s.Context().Value(errandKey{}).(*errand)
	return !ok || s.Stats().Open > 0 || time.Since(time.Unix(0, e.seen.Load())) < away
}

// wait waits until the proxy has taken leave of all servers, for at most
// leaveLimit.
func (p *proxy) wait() error {
	p.end(errClosing)
	done := make(chan struct{})
	go func() {
		p.bridges.Wait()
		close(done)
	}()
	late := time.NewTimer(leaveLimit)
	defer late.Stop()
	select {
	case <-done:
		return nil
	case <-late.C:
		return fmt.Errorf("%d servers were not taken leave of", p.living.Load())
	}
}

// linger refuses new sessions until all have ended or the time is over. If nothing can
// be served any more it returns an error.
func (w *web) linger(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		w.proxy.bosh.Drain(ctx)
	}()
	select {
	case <-drained:
		return nil
	case err := <-w.failed:
		cancel()
		<-drained
		return err
	}
}

// shutdown ends the sessions, and then the servers. Nobody waits for longer than
// drain, except for the leave from servers.
func (w *web) shutdown(drain time.Duration) (untold int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), sessionLimit(drain))
	defer cancel()
	untold = w.proxy.shutdown(ctx)
	ctx, cancel = context.WithTimeout(context.Background(), webLimit)
	defer cancel()
	errs := make(chan error, len(w.servers))
	for _, s := range w.servers {
		go func() {
			err := s.Shutdown(ctx)
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				// All have been told. What is left has no session: a connection, say, without
				// any request so far, for which net/http would wait for 5 s.
				err = s.Close()
			case err != nil:
				err = errors.Join(err, s.Close())
			}
			errs <- err
		}()
	}
	err = w.proxy.wait()
	for range w.servers {
		err = errors.Join(err, <-errs)
	}
	return untold, err
}
