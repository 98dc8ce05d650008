package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/timers"
)

// A sample holds the figures of a moment of a soak.
type sample struct {
	at         time.Duration
	heap       float64 // MiB that are reachable
	goroutines float64
	files      float64 // descriptors; 0 where they cannot be counted
	sessions   float64
	rate       float64 // requests a second since the last sample
}

// runSoak has sessions come and go for d, and reports whether anything grows.
func runSoak(ctx context.Context, o options, d time.Duration, plot string, out io.Writer) error {
	if o.sessions == 0 {
		o.sessions = 2000
	}
	w := newWorld(o.seed)
	w.soak = true
	if err := w.overSockets(0); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var living sync.WaitGroup
	var id atomic.Int64
	for range o.sessions {
		living.Go(func() {
			for ctx.Err() == nil {
				w.visit(ctx, int(id.Add(1)), o.rate)
			}
		})
	}
	samples := w.measure(ctx, d, out)
	cancel()
	living.Wait()
	w.close()
	fmt.Fprintf(out, "%s\n", w)
	if plot != "" {
		if err := os.WriteFile(plot, draw(samples, fmt.Sprintf("%d sessions coming and going for %v", o.sessions, d)), 0o666); err != nil {
			return err
		}
	}
	if err := flat(samples); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.totals.failures...)
}

// measure takes two hundred samples in d.
func (w *world) measure(ctx context.Context, d time.Duration, out io.Writer) (samples []sample) {
	every := max(d/200, time.Second)
	start, last := time.Now(), int64(0)
	for time.Since(start) < d && timers.Sleep(ctx, every) == nil {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		st := w.h.Stats()
		s := sample{
			at: time.Since(start), heap: float64(m.HeapAlloc) / (1 << 20), goroutines: float64(runtime.NumGoroutine()),
			sessions: float64(st.Sessions), rate: float64(st.Requests-last) / every.Seconds(),
		}
		last = st.Requests
		if files, err := os.ReadDir("/proc/self/fd"); err == nil {
			s.files = float64(len(files))
		}
		samples = append(samples, s)
		if len(samples)%10 == 1 {
			fmt.Fprintf(out, "%6.0f s: %4.0f sessions, %5.0f requests/s, heap %5.1f MiB, %5.0f goroutines, %5.0f files\n",
				s.at.Seconds(), s.sessions, s.rate, s.heap, s.goroutines, s.files)
		}
	}
	return samples
}

// visit is one session of a soak: it says something every few seconds for a
// while, and then ends in one of the possible ways.
func (w *world) visit(ctx context.Context, id int, rate float64) {
	rng := rand.New(rand.NewPCG(w.seed, 5+uint64(id)))
	if timers.Sleep(ctx, time.Duration(rng.Int64N(int64(4*time.Second)))) != nil {
		return
	}
	r := w.routes[id%len(w.routes)]
	faults := &boshtest.Faults{Seed: rng.Uint64(), Rates: boshtest.Evenly(rate / 5)}
	c, err := dial(ctx, boshtest.Config{
		URL: r.url, Transport: r.transport, Fault: faults, To: "soak.test", Acks: rng.IntN(2) == 0,
	})
	if err != nil {
		w.failed(ctx, id, err)
		return
	}
	defer c.Close()
	var echoes boshtest.Sequence
	n := 1 + rng.IntN(30)
	for i := range n {
		if timers.Sleep(ctx, time.Duration(rng.Int64N(int64(4*time.Second)))) != nil {
			return
		}
		if err := c.Send(ctx, string(boshtest.Numbered(i, rng.IntN(2000)))); err != nil {
			w.failed(ctx, id, err)
			return
		}
		el, err := c.Recv(ctx)
		if err != nil {
			w.failed(ctx, id, err)
			return
		}
		if k, ok := boshtest.Number(el); ok {
			echoes.Got(k)
		}
	}
	err = echoes.Check(n)
	if rng.IntN(4) > 0 { // the others leave without a word
		err = errors.Join(err, c.Terminate(ctx))
	}
	w.failed(ctx, id, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.totals.sessions++
	w.totals.payloads += 2 * n
	w.totals.routes[r.name]++
	w.totals.add(faults.Stats())
}

// failed records a failure, unless it comes from the end of the run.
func (w *world) failed(ctx context.Context, id int, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.totals.failures = append(w.totals.failures, fmt.Errorf("session %d: %w", id, err))
}

// echo is the application of a soak.
func echo(s *bosh.Stream) {
	for {
		el, err := s.ReadElement(context.Background())
		if err != nil {
			return
		}
		if s.WriteElement(context.Background(), el) != nil {
			return
		}
	}
}

// flat returns an error if one of the figures has grown: its median in the last
// third is above the one in the second by more than a tenth, and by more than
// noise.
func flat(samples []sample) error {
	if len(samples) < 30 {
		return nil
	}
	third := len(samples) / 3
	var grown []error
	for _, c := range curves {
		if c.free {
			continue
		}
		before, after := median(samples[third:2*third], c.value), median(samples[2*third:], c.value)
		if after > before*1.1+c.noise {
			grown = append(grown, fmt.Errorf("%s have grown from %.1f to %.1f", c.name, before, after))
		}
	}
	return errors.Join(grown...)
}

func median(samples []sample, value func(*sample) float64) float64 {
	var all []float64
	for i := range samples {
		all = append(all, value(&samples[i]))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
