package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/boshtest"
)

// idle has silent sessions.
func (l *load) idle(ctx context.Context) (string, error) {
	const n, long = 200, 25 * time.Second
	sum, err := l.clients(ctx, n, plain, func(ctx context.Context, c *boshtest.Client) error {
		if err := pause(ctx, long); err != nil {
			return err
		}
		return c.Terminate(ctx)
	})
	return fmt.Sprintf("%d sessions said nothing for %g s. That took %d requests: the server holds each as long as it may.",
		n, long.Seconds(), sum.Requests), err
}

// talk has sessions send now and then.
func (l *load) talk(ctx context.Context) (string, error) {
	const n, each, every = 20, 100, 200 * time.Millisecond
	sum, err := l.clients(ctx, n, plain, func(ctx context.Context, c *boshtest.Client) error {
		if err := l.converse(ctx, c, each, every); err != nil {
			return err
		}
		return c.Terminate(ctx)
	})
	return fmt.Sprintf("%d sessions sent %d payloads, one every %d ms each, and got their echoes, with %d requests: %.2f for both ways.",
		n, n*each, every.Milliseconds(), sum.Requests, float64(sum.Requests)/(n*each)), err
}

// burst has sessions send all they have at once.
func (l *load) burst(ctx context.Context) (string, error) {
	const n, each = 20, 500
	began := time.Now()
	sum, err := l.clients(ctx, n, plain, func(ctx context.Context, c *boshtest.Client) error {
		if err := l.converse(ctx, c, each, 0); err != nil {
			return err
		}
		return c.Terminate(ctx)
	})
	return fmt.Sprintf("%d sessions sent %d payloads at once and had all echoed in %d ms, with %d requests: what waits together travels together.",
		n, n*each, time.Since(began).Milliseconds(), sum.Requests), err
}

// broken has sessions on a bad network: every third exchange breaks.
func (l *load) broken(ctx context.Context) (string, error) {
	const n, each, every, rate = 20, 150, 100 * time.Millisecond, 1.0 / 3
	network := make([]*boshtest.Faults, n)
	config := func(i int) boshtest.Config {
		network[i] = &boshtest.Faults{Seed: uint64(i) + 1, Rates: boshtest.Evenly(rate), Latency: 100 * time.Millisecond}
		return boshtest.Config{Fault: network[i]}
	}
	sum, err := l.clients(ctx, n, config, func(ctx context.Context, c *boshtest.Client) error {
		if err := l.converse(ctx, c, each, every); err != nil {
			return err
		}
		return c.Terminate(ctx)
	})
	var all, hit int
	for _, f := range network {
		s := f.Stats()
		all += s.Requests
		hit += s.Hit()
	}
	return fmt.Sprintf("%d of %d exchanges were cut, doubled, delayed or reordered, and %d repeated. "+
		"Of %d payloads each way none was lost, none came twice, none out of order.", hit, all, sum.Repeats, n*each), err
}

// vanish has clients go away without a word.
func (l *load) vanish(ctx context.Context) (string, error) {
	const n = 30
	_, err := l.clients(ctx, n, plain, func(ctx context.Context, c *boshtest.Client) error {
		if err := l.converse(ctx, c, 1, 0); err != nil {
			return err
		}
		return c.Close()
	})
	return fmt.Sprintf("%d clients have gone without a word. Their sessions will end by inactivity.", n), err
}

// converse sends payloads and waits until each has come back once and in
// order; it is an error if not. With no time between them they leave together.
func (l *load) converse(ctx context.Context, c *boshtest.Client, n int, every time.Duration) error {
	sent := make([]atomic.Int64, n) // when, on the clock that began is on
	began := time.Now()
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for i := range n {
			sent[i].Store(int64(time.Since(began)))
			if err := c.Send(ctx, string(boshtest.Numbered(i, 0))); err != nil {
				failed <- err
				return
			}
			if every > 0 && pause(ctx, every) != nil {
				break // whoever ended it knows why
			}
		}
		failed <- nil
	}()
	var back boshtest.Sequence
	for range n {
		element, err := c.Recv(ctx)
		if err != nil {
			cancel()
			<-failed
			return err
		}
		i, ok := boshtest.Number(element)
		if !ok || i >= n {
			cancel()
			<-failed
			return fmt.Errorf("got %q, which nobody has sent", element)
		}
		back.Got(i)
		l.rtt.add(time.Since(began) - time.Duration(sent[i].Load()))
	}
	if err := <-failed; err != nil {
		return err
	}
	return back.Check(n)
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
