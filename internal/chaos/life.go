package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/timers"
)

// patience is how long a session may take before it counts as dead.
const patience = 5 * time.Minute

// A life is one session from the client's side.
type life struct {
	w     *world
	id    int
	rng   *rand.Rand
	cfg   boshtest.Config
	route route
	pause bool
	c     *boshtest.Client

	// One of each for each stream:
	names   []string // of the jobs
	jobs    []*job
	streams []*boshtest.Client
	downs   []boshtest.Sequence
}

// live lives one session, if it is of a wanted kind. The seed and the number
// decide on all of it.
func (w *world) live(ctx context.Context, id int, o options) {
	rng := rand.New(rand.NewPCG(w.seed, 3+uint64(id)))
	l := &life{w: w, id: id, rng: rng, route: w.routes[id%len(w.routes)], pause: rng.IntN(3) == 0}
	l.cfg = boshtest.Config{
		URL: l.route.url, Transport: l.route.transport, Backoff: 5 * time.Millisecond,
		Acks: rng.IntN(2) == 0, Hold: []int{1, 1, 1, 2, -1}[rng.IntN(5)],
	}
	if rng.IntN(3) == 0 {
		l.cfg.Keys = 2 + rng.IntN(20)
	}
	faults := &boshtest.Faults{Seed: rng.Uint64(), Rates: boshtest.Evenly(o.rate), Latency: 10 * time.Millisecond}
	if !l.route.proxied {
		l.cfg.Fault = faults
	}
	streams := max(1, rng.IntN(8)-4)
	ends := streams == 1 && rng.IntN(4) == 0
	total := 0
	for i := range streams {
		j := &job{n: 1 + rng.IntN(200), close: ends, seed: rng.Uint64(), reports: make(chan error, 1)}
		total += 2 * j.n
		l.names, l.jobs = append(l.names, fmt.Sprintf("s%d-%d.test", id, i)), append(l.jobs, j)
	}
	if !l.isAll(o.only) {
		return
	}
	for i, name := range l.names {
		w.put(name, l.jobs[i])
		defer w.remove(name)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := l.run(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.totals.failures = append(w.totals.failures, fmt.Errorf("%s: %w", l, err))
	}
	w.totals.sessions++
	w.totals.payloads += total
	w.totals.routes[l.route.name]++
	w.totals.add(faults.Stats())
}

// String names the kind of the session.
func (l *life) String() string {
	kind := fmt.Sprintf("session %d: %s, hold %d, %d streams", l.id, l.route.name, l.cfg.Hold, len(l.jobs))
	for what, is := range map[string]bool{"acks": l.cfg.Acks, "keys": l.cfg.Keys > 0, "pauses": l.pause, "ended by the server": l.jobs[0].close} {
		if is {
			kind += ", " + what
		}
	}
	return kind
}

// isAll reports whether the session is of all these kinds.
func (l *life) isAll(kinds []string) bool {
	description := l.String()
	for _, kind := range kinds {
		if !strings.Contains(description, strings.TrimSpace(kind)) {
			return false
		}
	}
	return true
}

// run lives the session.
func (l *life) run(ctx context.Context) error {
	l.cfg.To = l.names[0]
	c, err := dial(ctx, l.cfg)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer c.Close()
	l.c = c
	for _, j := range l.jobs {
		j.client.Store(c)
	}
	l.streams = []*boshtest.Client{c}
	for _, name := range l.names[1:] {
		stream, err := c.AddStream(ctx, name)
		if err != nil {
			return fmt.Errorf("add stream: %w", err)
		}
		l.streams = append(l.streams, stream)
	}
	l.downs = make([]boshtest.Sequence, len(l.jobs))
	sent := make(chan error, 1)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer c.Close()
	sending.Go(func() { sent <- l.send(ctx) })
	if err := l.receive(ctx); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	if !l.jobs[0].close {
		for _, stream := range l.streams {
			if err := stream.Terminate(ctx); err != nil {
				return fmt.Errorf("terminate: %w", err)
			}
		}
	}
	for i, j := range l.jobs {
		select {
		case err := <-j.reports:
			if err != nil {
				return fmt.Errorf("%s: %w", l.names[i], err)
			}
			if j.n > 100 && j.proven.Load() == 0 {
				return fmt.Errorf("%s: nothing was ever proven", l.names[i])
			}
		case <-ctx.Done():
			return fmt.Errorf("%s: the application knows of no end", l.names[i])
		}
	}
	return nil
}

// dial creates the session, again if a fault has hit the creation.
func dial(ctx context.Context, cfg boshtest.Config) (c *boshtest.Client, err error) {
	for range 10 {
		var refused boshclient.Condition
		if c, err = boshtest.Dial(ctx, cfg); err == nil || errors.As(err, &refused) {
			return c, err
		}
	}
	return nil, err
}

// send sends all numbers, and pauses now and then.
func (l *life) send(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(l.jobs[0].seed, 4))
	most := 0
	for _, j := range l.jobs {
		most = max(most, j.n)
	}
	for i := range most {
		for k, j := range l.jobs {
			if i >= j.n {
				continue
			}
			if err := l.streams[k].Send(ctx, string(boshtest.Numbered(i, rng.IntN(200)))); err != nil {
				return fmt.Errorf("send %d: %w", i, err)
			}
		}
		switch {
		case l.pause && i%40 == 39 && i < most-1:
			if err := l.c.Pause(ctx, l.c.Granted().MaxPause/2); err != nil {
				return fmt.Errorf("pause: %w", err)
			}
		case rng.IntN(3) > 0:
			if err := timers.Sleep(ctx, time.Duration(rng.Int64N(int64(6*time.Millisecond)))); err != nil {
				return err
			}
		}
	}
	return nil
}

// receive takes all numbers, and the server's end if it is to come.
func (l *life) receive(ctx context.Context) error {
	errs := make(chan error, len(l.streams))
	for i := range l.streams {
		go func() { errs <- l.receiveFrom(ctx, i) }()
	}
	var err error
	for range l.streams {
		if e := <-errs; e != nil && err == nil {
			err = e
			l.c.Close() // which ends the others
		}
	}
	if err == nil && l.jobs[0].close {
		if el, end := l.c.Recv(ctx); !errors.Is(end, io.EOF) {
			return fmt.Errorf("at the end: %q, %v", el, end)
		}
	}
	return err
}

// receiveFrom takes all numbers of a stream.
func (l *life) receiveFrom(ctx context.Context, i int) error {
	for left := l.jobs[i].n; left > 0; left-- {
		el, err := l.streams[i].Recv(ctx)
		if err != nil {
			return fmt.Errorf("receive from %s, %d left: %w, %+v", l.names[i], left, err, l.c.Stats())
		}
		n, ok := boshtest.Number(el)
		if !ok {
			return fmt.Errorf("received %q from %s", el, l.names[i])
		}
		l.downs[i].Got(n)
	}
	if err := l.downs[i].Check(l.jobs[i].n); err != nil {
		return fmt.Errorf("down %s: %w", l.names[i], err)
	}
	return nil
}
