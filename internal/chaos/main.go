// Chaos lets many BOSH sessions live at once over breaking connections. Clients
// and application number their payloads. It checks them for losses, doubles and
// disorder, and that no session dies.
//
//	go run ./internal/chaos                             # 100,000 payloads, a quarter of the exchanges hit
//	go run -race ./internal/chaos -n 20000              # with the race detector
//	go run ./internal/chaos -d 1h -seed 7               # an hour, of a known seed
//	go run ./internal/chaos -only 'HTTP/1, acks, keys' # those sessions of the seed that are so described
//	go run ./internal/chaos -direct                     # with the direct engine
//	go run ./internal/chaos -soak 30m -plot soak.svg    # see below
//
// A soak keeps a number of sessions coming and going under a steady load, and
// measures heap, goroutines and file descriptors. These must not grow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/direct"
)

func main() {
	var o options
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of everything that chance decides")
	flag.IntVar(&o.payloads, "n", 100_000, "at least so many `payloads`")
	flag.DurationVar(&o.time, "d", 0, "go on for at least so `long`")
	flag.IntVar(&o.sessions, "sessions", 0, "so many at a time; the default is 100, and 2000 for a soak")
	flag.Float64Var(&o.rate, "rate", 0.25, "the `share` of exchanges to hit")
	flag.BoolVar(&o.starve, "starve", true, "stop the handler for a moment, again and again")
	only := flag.String("only", "", "run only sessions of these `kinds`, with commas between: parts of how failures describe a session")
	soak := flag.Duration("soak", 0, "run a soak for so `long` instead")
	useDirect := flag.Bool("direct", false, "use the direct engine")
	plot := flag.String("plot", "", "write the soak's measurements to this `file`, as SVG")
	flag.Parse()
	direct.Always = func() bool { return *useDirect }
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("seed %d\n", o.seed)
	var err error
	if *soak > 0 {
		err = runSoak(ctx, o, *soak, *plot, os.Stdout)
	} else {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	seed     uint64
	payloads int
	time     time.Duration
	sessions int
	rate     float64
	starve   bool
	only     []string // what sessions must be described as
}

// run runs chaos over sockets.
func run(ctx context.Context, o options, out io.Writer) error {
	w := newWorld(o.seed)
	w.overPipes()
	if err := w.overSockets(o.rate / 2); err != nil {
		return err
	}
	start := time.Now()
	w.run(ctx, o)
	w.close()
	fmt.Fprintf(out, "%s in %v, %d goroutines left\n", w, time.Since(start).Round(time.Millisecond), runtime.NumGoroutine())
	return w.verdict()
}

// run has sessions live until there have been enough.
func (w *world) run(ctx context.Context, o options) {
	var living, starving sync.WaitGroup
	defer starving.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.starve {
		starving.Go(func() { w.starve(ctx) })
	}
	start := time.Now()
	var id atomic.Int64
	if o.sessions == 0 {
		o.sessions = 100
	}
	for range o.sessions {
		living.Go(func() {
			for {
				w.mu.Lock()
				enough := w.totals.payloads >= o.payloads && time.Since(start) >= o.time || len(w.totals.failures) > 0
				w.mu.Unlock()
				if enough || ctx.Err() != nil {
					return
				}
				w.live(ctx, int(id.Add(1)), o)
			}
		})
	}
	living.Wait()
}

// String summarises the run.
func (w *world) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &w.totals
	s := fmt.Sprintf("%d sessions, %d payloads, %d exchanges, %d hit (%.1f %%)", t.sessions, t.payloads, t.exchanges, t.hit, t.share()*100)
	for f := boshtest.CutBefore; f <= boshtest.Reorder; f++ {
		s += fmt.Sprintf("\n  %-20s %d", f, t.hits[f])
	}
	var names []string
	for name := range t.routes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		s += fmt.Sprintf("\n  %-24s %d sessions", name, t.routes[name])
	}
	return s + fmt.Sprintf("\n%d sessions failed", len(t.failures))
}

// share is how much of the exchanges was hit.
func (t *totals) share() float64 { return float64(t.hit) / float64(max(t.exchanges, 1)) }

// verdict returns the failure of the run, or nil.
func (w *world) verdict() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &w.totals
	switch {
	case len(t.failures) > 0:
		return fmt.Errorf("seed %d: of %d failures the first: %w", w.seed, len(t.failures), errors.Join(t.failures...))
	case t.share() < 0.1:
		return fmt.Errorf("seed %d: only %.1f %% of the exchanges were hit", w.seed, t.share()*100)
	}
	return nil
}
