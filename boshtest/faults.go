package boshtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/timers"
)

// ErrCut is the error of an exchange cut by [Faults].
var ErrCut = errors.New("boshtest: connection cut")

// A Fault is the fate of an exchange.
type Fault uint8

const (
	// Pass leaves the exchange alone.
	Pass Fault = iota

	// CutBefore breaks the connection before the server sees the request.
	CutBefore

	// CutRequest breaks it in the middle of the request's body: the server gets half
	// of it, then an error.
	CutRequest

	// CutAfter breaks it when the server has handled the request and written
	// its answer. The client gets nothing of the answer.
	CutAfter

	// CutMiddle breaks it in the middle of the answer: the client gets half
	// of the body, then [io.ErrUnexpectedEOF].
	CutMiddle

	// CutHeld breaks it while the server has the request and has not
	// answered: the request's context ends after a time up to Latency. An
	// earlier answer passes.
	CutHeld

	// Duplicate sends the request over two connections at once. The client
	// gets the answer of the first: if the server takes the other for the
	// newer one, a recoverable error.
	Duplicate

	// DuplicateLate sends the request again after it has been answered,
	// while the client does not have the answer yet. The server has to give
	// the same answer; Faults checks it: see [FaultStats.Differing].
	DuplicateLate

	// Delay keeps the request or the answer back for a time up to Latency.
	Delay

	// Reorder keeps the request back until a later one has gone before it,
	// for at most Latency.
	Reorder

	faults // how many there are
)

var faultNames = [faults]string{"pass", "cut before", "cut in the request", "cut after", "cut in the middle",
	"cut while held", "duplicate", "late duplicate", "delay", "reorder"}

func (f Fault) String() string {
	if f < faults {
		return faultNames[f]
	}
	return fmt.Sprintf("Fault(%d)", uint8(f))
}

// Evenly returns Rates with the same share of a total for each of the faults:
// Evenly(0.1) hits a tenth of all exchanges. No faults are all of them.
func Evenly(total float64, which ...Fault) map[Fault]float64 {
	if len(which) == 0 {
		for f := Pass + 1; f < faults; f++ {
			which = append(which, f)
		}
	}
	rates := make(map[Fault]float64, len(which))
	for _, f := range which {
		rates[f] = total / float64(len(which))
	}
	return rates
}

// Faults is a harmful [http.RoundTripper]. Seed and the order of the requests
// decide on the hit requests and their faults. A client true to the protocol
// loses nothing by it, at any rates.
//
// Its goroutines end with their RoundTrip. It may serve several clients, but
// reorders one client's requests only if this client has a Faults of its own.
// The fields may not be changed once it is in use.
type Faults struct {
	// Transport carries the requests.
	Transport http.RoundTripper

	// Seed makes another run of the same rates.
	Seed uint64

	// Rates is the probability of each fault. The rest up to 1 passes.
	Rates map[Fault]float64

	// Plan, if set, chooses the fault of each request in place of Rates.
	// n counts the requests from 0, and repeats are requests.
	Plan func(n int, body []byte) Fault

	// Latency is the longest time of CutHeld, Delay and Reorder. The default
	// is 20 ms.
	Latency time.Duration

	// Creations lets Rates hit requests without a sid too. They are spared
	// otherwise, since the protocol cannot repeat them: the server would make
	// a second session.
	Creations bool

	mu sync.Mutex
	// Protects following.
	stats  FaultStats
	passed signal // a request has gone to the server
}

// FaultStats count the actions of a [Faults].
type FaultStats struct {
	Requests  int           // that came
	Hits      map[Fault]int // that were hit, by fault; one that had no effect is not counted
	Differing int           // answers to late duplicates that were not the same, byte for byte
}

// Hit returns how many requests were hit at all.
func (s FaultStats) Hit() int {
	n := 0
	for _, hits := range s.Hits {
		n += hits
	}
	return n
}

// Stats returns the counts so far.
func (f *Faults) Stats() FaultStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Hits = maps.Clone(s.Hits)
	return s
}

// RoundTrip implements [http.RoundTripper].
func (f *Faults) RoundTrip(r *http.Request) (*http.Response, error) {
	return f.roundTrip(f.Transport, r)
}

// over returns f with another transport.
func (f *Faults) over(rt http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { return f.roundTrip(rt, r) })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f *Faults) roundTrip(rt http.RoundTripper, r *http.Request) (*http.Response, error) {
	var text []byte
	if r.Body != nil {
		var err error
		text, err = io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	n := f.stats.Requests
	f.stats.Requests++
	f.mu.Unlock()
	rng := rand.New(rand.NewPCG(f.Seed, uint64(n)))
	x := &exchange{f: f, rt: rt, r: r, text: text, rng: rng}
	return x.do(f.choose(n, text, rng))
}

// choose returns the fault of request n.
func (f *Faults) choose(n int, text []byte, rng *rand.Rand) Fault {
	if f.Plan != nil {
		return f.Plan(n, text)
	}
	dice := rng.Float64()
	if !f.Creations && !bytes.Contains(text, []byte(" sid=")) {
		return Pass
	}
	for fault := Pass + 1; fault < faults; fault++ {
		if dice -= f.Rates[fault]; dice < 0 {
			return fault
		}
	}
	return Pass
}

func (f *Faults) hit(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stats.Hits == nil {
		f.stats.Hits = make(map[Fault]int)
	}
	f.stats.Hits[fault]++
}

// An exchange is one request on its way through Faults.
type exchange struct {
	f    *Faults
	rt   http.RoundTripper
	r    *http.Request
	text []byte
	rng  *rand.Rand
}

// latency returns a time up to Latency, and not 0.
func (x *exchange) latency() time.Duration {
	return 1 + time.Duration(x.rng.Int64N(int64(cmp.Or(x.f.Latency, 20*time.Millisecond))))
}

func (x *exchange) do(fault Fault) (*http.Response, error) {
	switch fault {
	case CutBefore:
		x.f.hit(fault)
		return nil, fmt.Errorf("%w: %v", ErrCut, fault)
	case CutRequest:
		return x.cutRequest()
	case CutAfter, CutMiddle:
		return x.cutAnswer(fault)
	case CutHeld:
		return x.cutHeld()
	case Duplicate:
		return x.duplicate()
	case DuplicateLate:
		return x.duplicateLate()
	case Delay:
		return x.delay()
	case Reorder:
		return x.reorder()
	}
	return x.send(x.r.Context())
}

// send sends the request once.
func (x *exchange) send(ctx context.Context) (*http.Response, error) {
	x.f.mu.Lock()
	x.f.passed.send()
	x.f.mu.Unlock()
	r := x.r.WithContext(ctx)
	if len(x.text) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(x.text))
	}
	r.GetBody = nil
	return x.rt.RoundTrip(r)
}

// whole sends the request once and reads all of the answer.
func (x *exchange) whole(ctx context.Context) (*http.Response, []byte, error) {
	resp, err := x.send(ctx)
	if err != nil {
		return nil, nil, err
	}
	data, err := readBody(resp)
	if err != nil {
		return nil, nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, data, nil
}

func (x *exchange) cutRequest() (*http.Response, error) {
	x.f.hit(CutRequest)
	r := x.r.Clone(x.r.Context())
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(x.text[:len(x.text)/2]), brokenReader{io.ErrUnexpectedEOF}))
	r.GetBody = nil
	if resp, err := x.rt.RoundTrip(r); err == nil {
		readBody(resp) // the server has said something to the half
	}
	return nil, fmt.Errorf("%w: %v", ErrCut, CutRequest)
}

func (x *exchange) cutAnswer(fault Fault) (*http.Response, error) {
	resp, data, err := x.whole(x.r.Context())
	if err != nil {
		return nil, err
	}
	x.f.hit(fault)
	if fault == CutAfter {
		return nil, fmt.Errorf("%w: %v", ErrCut, fault)
	}
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data[:len(data)/2]), brokenReader{io.ErrUnexpectedEOF}))
	return resp, nil
}

func (x *exchange) cutHeld() (*http.Response, error) {
	ctx, cancel := context.WithTimeoutCause(x.r.Context(), x.latency(), ErrCut)
	defer cancel()
	resp, _, err := x.whole(ctx)
	if err != nil && context.Cause(ctx) == ErrCut {
		x.f.hit(CutHeld)
		return nil, fmt.Errorf("%w: %v", ErrCut, CutHeld)
	}
	return resp, err
}

func (x *exchange) duplicate() (*http.Response, error) {
	x.f.hit(Duplicate)
	ctx, cancel := context.WithCancel(x.r.Context())
	var other sync.WaitGroup
	other.Go(func() { x.whole(ctx) })
	resp, data, err := x.whole(ctx)
	if err != nil || isRecoverable(data) {
		// The other has taken this one's place, and may be held for long.
		cancel()
	}
	// Otherwise it is answered at once, with a copy or a recoverable error.
	// It must not be left to arrive when the client is far ahead.
	other.Wait()
	cancel()
	return resp, err
}

func isRecoverable(answer []byte) bool {
	b, err := ParseBody(answer)
	return err == nil && b.Attr("type") == "error"
}

func (x *exchange) duplicateLate() (*http.Response, error) {
	resp, first, err := x.whole(x.r.Context())
	if err != nil {
		return nil, err
	}
	if b, err := ParseBody(first); err != nil || b.Attr("type") != "" {
		return resp, nil // the end of the session, after which nothing need be kept
	}
	if timers.Sleep(x.r.Context(), x.latency()) == nil {
		x.f.hit(DuplicateLate)
		if _, second, err := x.whole(x.r.Context()); err == nil && !bytes.Equal(first, second) {
			x.f.mu.Lock()
			x.f.stats.Differing++
			x.f.mu.Unlock()
		}
	}
	return resp, nil
}

func (x *exchange) delay() (*http.Response, error) {
	x.f.hit(Delay)
	ctx, d := x.r.Context(), x.latency()
	if x.rng.IntN(2) == 0 {
		if err := timers.Sleep(ctx, d); err != nil {
			return nil, err
		}
		return x.send(ctx)
	}
	resp, _, err := x.whole(ctx)
	if err != nil {
		return nil, err
	}
	if err := timers.Sleep(ctx, d); err != nil {
		return nil, err
	}
	return resp, nil
}

func (x *exchange) reorder() (*http.Response, error) {
	x.f.mu.Lock()
	passed := x.f.passed.wait()
	x.f.mu.Unlock()
	ctx := x.r.Context()
	t := time.NewTimer(cmp.Or(x.f.Latency, 20*time.Millisecond))
	defer t.Stop()
	select {
	case <-passed:
		// It has been handed on; now let it arrive.
		if err := timers.Sleep(ctx, time.Millisecond); err != nil {
			return nil, err
		}
		x.f.hit(Reorder)
	case <-t.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return x.send(ctx)
}
