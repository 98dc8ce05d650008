package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// maxLoad is how long a load may take.
const maxLoad = time.Minute

// A load makes clients in this process, as many as a button of the page asks
// for. They talk real HTTP to the handler, over connections in memory.
type load struct {
	server *boshtest.PipeServer
	rtt    *histogram                // of what is sent and comes back
	report func(load, result string) // tells all pages

	mu     sync.Mutex
	stops  map[string]context.CancelFunc // of the loads that run
	closed bool
	wg     sync.WaitGroup
}

func newLoad(h http.Handler, rtt *histogram, report func(load, result string)) *load {
	l := &load{server: boshtest.NewPipeServer(h), rtt: rtt, report: report, stops: make(map[string]context.CancelFunc)}
	l.server.Transport.MaxIdleConnsPerHost = 512
	return l
}

// scenarios are the loads by their names. Each returns its result as a text.
var scenarios = map[string]func(*load, context.Context) (string, error){
	"idle":   (*load).idle,
	"talk":   (*load).talk,
	"burst":  (*load).burst,
	"broken": (*load).broken,
	"vanish": (*load).vanish,
}

// start starts a load. Each runs once at a time.
func (l *load) start(name string) error {
	run, ok := scenarios[name]
	if !ok {
		return errors.New("there is no such load")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stops[name] != nil || l.closed {
		return errors.New("this load runs already")
	}
	ctx, stop := context.WithTimeout(context.Background(), maxLoad)
	l.stops[name] = stop
	l.wg.Go(func() {
		defer stop()
		text, err := run(l, ctx)
		if errors.Is(ctx.Err(), context.Canceled) {
			text = "Stopped."
		} else if err != nil {
			text = fmt.Sprintf("Failed: %v.", err)
		}
		l.mu.Lock()
		delete(l.stops, name)
		l.mu.Unlock()
		l.report(name, text)
	})
	return nil
}

// running returns the names of the running loads.
func (l *load) running() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.AppendSeq([]string{}, maps.Keys(l.stops))
}

// stop stops all loads. It waits for their end.
func (l *load) stop() {
	l.mu.Lock()
	for _, stop := range l.stops {
		stop()
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// close stops all loads for good.
func (l *load) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.server.Close()
}

// clients runs work with n clients at the same time, and returns their total
// and the first error.
func (l *load) clients(ctx context.Context, n int, config func(i int) boshtest.Config,
	work func(ctx context.Context, c *boshtest.Client) error) (sum boshclient.Stats, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range n {
		wg.Go(func() {
			cfg := config(i)
			cfg.To, cfg.Transport = hostEcho, l.server
			c, err := boshtest.Dial(ctx, cfg)
			if err != nil {
				cancel(err)
				return
			}
			defer c.Close()
			if err = work(ctx, c); err != nil {
				cancel(err)
				bye, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer stop()
				c.Terminate(bye) // rather than leave it to the server to find out
			}
			mu.Lock()
			sum.Requests += c.Stats().Requests
			sum.Repeats += c.Stats().Repeats
			mu.Unlock()
		})
	}
	wg.Wait()
	return sum, context.Cause(ctx)
}

func plain(int) boshtest.Config { return boshtest.Config{} }
