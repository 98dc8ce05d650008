package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/timers"
)

// A world is a handler, the ways to it, and the checks of the application
// behind it.
type world struct {
	seed   uint64
	h      *bosh.Handler
	routes []route
	closer []func()
	soak   bool // the application sends back what it gets

	starved atomic.Pointer[chan struct{}] // closed when the handler gets time again; nil if it has it

	mu sync.Mutex
	// Protects following.
	jobs   map[string]*job
	totals totals
}

// A route is a way to the handler.
type route struct {
	name      string
	url       string
	transport http.RoundTripper // nil: a transport of the client's own
	proxied   bool              // the faults are on the way
}

// A totals counts the events of a run.
type totals struct {
	sessions, payloads int // payloads both ways
	exchanges, hit     int
	hits               map[boshtest.Fault]int
	routes             map[string]int // sessions
	failures           []error
}

func (t *totals) add(st boshtest.FaultStats) {
	t.exchanges += st.Requests
	t.hit += st.Hit()
	for f, n := range st.Hits {
		t.hits[f] += n
	}
	if st.Differing > 0 {
		t.failures = append(t.failures, fmt.Errorf("%d repeats got another answer", st.Differing))
	}
}

// newWorld makes a world without routes.
func newWorld(seed uint64) *world {
	w := &world{seed: seed, jobs: make(map[string]*job)}
	w.totals.hits = make(map[boshtest.Fault]int)
	w.totals.routes = make(map[string]int)
	w.h = bosh.New(bosh.Options{
		Framing: bosh.Elements, MaxStreams: 4, Hold: 2, Polling: time.Second, Serve: w.serve,
		MaxRepeats: 30, // the faults double requests, which clients repeat ten times
		Logger:     slog.New(slog.DiscardHandler),
		Trace:      &bosh.Trace{SessionEnd: w.ended},
		Admit: func(_ context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			if !w.soak && w.job(o.To) == nil {
				return nil, &bosh.Error{Condition: bosh.HostUnknown}
			}
			return nil, nil
		},
	})
	w.closer = append(w.closer, func() { w.h.Close() })
	return w
}

// ended records a session without an end in good order: the news for its client
// may get lost, and then the client hears item-not-found.
func (w *world) ended(s *bosh.Session) {
	var e *bosh.Error
	if !errors.As(s.Err(), &e) || e.Condition == "" || e.Condition == bosh.SystemShutdown {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.totals.failures = append(w.totals.failures, fmt.Errorf("the server has ended session %s: %w, %+v", s.ID(), e, s.Stats()))
}

// close ends everything.
func (w *world) close() {
	for i := len(w.closer) - 1; i >= 0; i-- {
		w.closer[i]()
	}
}

// ServeHTTP is the handler. It has to wait while the process is starved.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if ch := w.starved.Load(); ch != nil {
		<-*ch
	}
	w.h.ServeHTTP(rw, r)
}

// starve lets nothing reach the handler for a moment, again and again.
func (w *world) starve(ctx context.Context) {
	rng := rand.New(rand.NewPCG(w.seed, 1))
	for timers.Sleep(ctx, time.Duration(rng.Int64N(int64(time.Second)))) == nil {
		ch := make(chan struct{})
		w.starved.Store(&ch)
		timers.Sleep(ctx, time.Duration(rng.Int64N(int64(100*time.Millisecond))))
		w.starved.Store(nil)
		close(ch)
	}
}

// server returns a server for a version of HTTP.
func (w *world) server(version int) *http.Server {
	srv := &http.Server{Handler: w, Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	srv.Protocols.SetHTTP1(version == 1)
	srv.Protocols.SetUnencryptedHTTP2(version == 2)
	return srv
}

// overPipes adds routes without sockets. They work in a bubble of time too.
func (w *world) overPipes() {
	for version := 1; version <= 2; version++ {
		s := boshtest.Pipe(w.server(version))
		s.Transport.MaxIdleConnsPerHost = 1000
		if version == 2 {
			s.Transport.Protocols = new(http.Protocols)
			s.Transport.Protocols.SetUnencryptedHTTP2(true)
		}
		w.routes = append(w.routes, route{name: fmt.Sprintf("HTTP/%d in memory", version), url: s.URL, transport: s})
		w.closer = append(w.closer, func() { s.Close() })
	}
}

// overSockets adds a route over TCP for each version. If rate is not 0 it adds
// one through a proxy, which cuts connections with this probability.
func (w *world) overSockets(rate float64) error {
	for version := 1; version <= 2; version++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		srv := w.server(version)
		go srv.Serve(l)
		w.closer = append(w.closer, func() { srv.Close() })
		r := route{name: fmt.Sprintf("HTTP/%d over TCP", version), url: "http://" + l.Addr().String()}
		if version == 2 {
			t := &http.Transport{Protocols: new(http.Protocols)}
			t.Protocols.SetUnencryptedHTTP2(true)
			w.closer = append(w.closer, t.CloseIdleConnections)
			r.transport = t
		}
		w.routes = append(w.routes, r)
		if version == 2 || rate == 0 {
			continue
		}
		p, err := boshtest.NewProxy(l.Addr().String(), boshtest.ProxyFaults{Seed: w.seed, Rates: boshtest.Evenly(rate,
			boshtest.CutBefore, boshtest.CutAfter, boshtest.CutMiddle, boshtest.CutHeld, boshtest.Delay)})
		if err != nil {
			return err
		}
		w.routes = append(w.routes, route{name: "HTTP/1 through a proxy", url: "http://" + p.Addr(), proxied: true})
		w.closer = append(w.closer, func() {
			p.Close()
			st := p.Stats()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.totals.add(st)
		})
	}
	return nil
}

// A job is the work of one stream: n numbers each way.
type job struct {
	n       int
	close   bool // the application ends the stream when it has all
	seed    uint64
	reports chan error // of the application, one for each stream that was opened for the job and used

	client atomic.Pointer[boshtest.Client] // of its session, once that is known
	proven atomic.Int64                    // how often the application was told what the client has
}

// has checks n, the number of proven elements for the application, against the
// client's real count over all streams.
func (w *world) has(j *job, n int64) {
	c := j.client.Load()
	if c == nil {
		return
	}
	j.proven.Add(1)
	if got := c.Stats().PayloadsIn; n > got {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.totals.failures = append(w.totals.failures, fmt.Errorf("%d are proven of the %d that the client has", n, got))
	}
}

func (w *world) job(name string) *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.jobs[name]
}

// put makes a job known by its name, and remove forgets it.
func (w *world) put(name string, j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs[name] = j
}

func (w *world) remove(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.jobs, name)
}

// received returns a function to read up to n elements of s as ReadElement does, but by
// Receive.
func received(s *bosh.Stream, n int) func(context.Context) ([]byte, error) {
	type input struct {
		el  []byte
		err error
	}
	in := make(chan input, n+1) // so that the last call, of which nobody may want to know, does not block
	err := s.Receive(func(el []byte, err error) { in <- input{bytes.Clone(el), err} })
	return func(context.Context) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		i := <-in
		return i.el, i.err
	}
}

// serve is the application.
func (w *world) serve(s *bosh.Stream) {
	if w.soak {
		echo(s)
		return
	}
	j := w.job(s.Opening().To)
	if j == nil {
		return // the client has given up meanwhile
	}
	s.OnProven(func(n int64) { w.has(j, n) })
	ctx := context.Background()
	read := s.ReadElement
	if j.seed%2 == 1 {
		read = received(s, j.n)
	}
	written := make(chan error, 1)
	go func() {
		rng := rand.New(rand.NewPCG(j.seed, 2))
		for i := range j.n {
			if err := s.WriteElement(ctx, boshtest.Numbered(i, rng.IntN(200))); err != nil {
				written <- err
				return
			}
			if rng.IntN(3) == 0 {
				timers.Sleep(s.Context(), time.Duration(rng.Int64N(int64(4*time.Millisecond))))
			}
		}
		written <- nil
	}()
	var up boshtest.Sequence
	var end error
	for end == nil && !(j.close && up.Count() == j.n) {
		var el []byte
		if el, end = read(ctx); end == nil {
			if n, ok := boshtest.Number(el); ok {
				up.Got(n)
			}
		}
	}
	if up.Count() == 0 {
		s.Close()
		<-written
		return // a session that was made by a repeat of its creation
	}
	werr := <-written
	s.Close()
	switch err := up.Check(j.n); {
	case err != nil:
		end = fmt.Errorf("up: %w (ended by %v)", err, end)
	case werr != nil:
		end = fmt.Errorf("write: %w", werr)
	case end != nil && !errors.Is(end, io.EOF):
		end = fmt.Errorf("read: %w", end)
	default:
		end = nil
	}
	j.reports <- end
}
