//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A scenario is one way to use a server.
type scenario struct {
	name  string
	about string
	does  []string // what the servers do that it is for
	run   func(*run) (figures, error)
	rows  []row
}

// figures are the results of one run of a scenario, by name.
type figures map[string]float64

// A row is a line of the table.
type row struct {
	figure  string
	what    string
	ratio   bool    // the targets are for the ratio to the floor
	ours    bool    // the value is the difference to the bare server
	best    bool    // of the least of the runs instead of their median: what disturbs one can only add to it
	targets targets // none if empty
	least   bool    // the targets are lower limits
	alone   bool    // that of the standard engine is for an application without a goroutine for each session
}

// targets are by engine; 0 is none.
type targets [engines]float64

// burst is how many stanzas a body has in the scenario burst.
const burst = 50

var (
	few     = []string{doesFloor, doesElements}
	plain   = []string{doesFloor, doesGoroutine, doesElements}
	both    = []string{doesFloor, doesGoroutine, doesElements, doesReceive}
	copying = []string{doesFloor, doesGoroutine, doesElements, doesReceive, doesBytes}
	full    = []string{doesFloor, doesGoroutine, doesElements, doesReceive, doesBytes, doesBare}
	kept    = []string{doesFloor, doesGoroutine, doesElements, doesReceive, doesBare}
)

var scenarios = []scenario{
	{"roundtrip", "200 sessions, one stanza each way, as fast as it goes", full, roundTrips(200, 200, 1), []row{
		{figure: "per CPU", what: "round trips per CPU second", ratio: true, targets: targets{0.85, 2.2}, least: true},
		{figure: "requests", what: "HTTP requests per round trip", targets: targets{1.05, 1.05}},
		{figure: "allocs", what: "allocations per request"},
		{figure: "allocs", what: "allocations per request, over bare net/http", ours: true},
		tail50, tail99, tailWorst,
	}},
	{"burst", "20 sessions, 50 stanzas a body each way", copying, roundTrips(20, 20, burst), []row{
		{figure: "per CPU", what: "stanzas per CPU second", ratio: true, targets: targets{0.5}, least: true},
		{figure: "per CPU", what: "stanzas per CPU second", targets: targets{250_000}, least: true},
		{figure: "requests", what: "HTTP requests per stanza"},
		tail50, tail99, tailWorst,
	}},
	{"push", "to 500 sessions, one stanza each", plain, push, []row{
		{figure: "per CPU", what: "deliveries per CPU second", ratio: true, targets: targets{0.85, 1.8}, least: true},
		{figure: "requests", what: "HTTP requests per delivery", targets: targets{1.05, 1.05}},
		tail50, tail99, tailWorst,
	}},
	{"broadcast", "to 10,000 sessions, one element of 200 bytes each, as one and in a loop", few, broadcast, []row{
		{figure: "last", what: "until the last client has it, ms", ratio: true, targets: targets{1.2, 1.2}},
		{figure: "call one/loop", what: "CPU of the call, Broadcast to a loop of WriteElement", targets: targets{0.7, 0.7}},
		{figure: "cpu one/loop", what: "CPU of the process until the last client has it, the same"},
		{figure: "call", what: "CPU µs of the call per delivery"},
		{figure: "cpu", what: "CPU µs of the process until then, per delivery"},
	}},
	{"churn", "sessions created and terminated", both, churn, []row{
		{figure: "per CPU", what: "sessions per CPU second", ratio: true, targets: targets{0.7, 1.4}, least: true},
		tail50, tail99, tailWorst,
	}},
	{"idle1k", "1,000 sessions, one held request each", kept, idle(1_000), idleRows},
	{"idle10k", "10,000 sessions, one held request each", kept, idle(10_000), idleRows},
	{"rate300", "100 sessions, 300 queries/s", plain, rate(300), rateRows},
	{"rate2000", "100 sessions, 2,000 queries/s", plain, rate(2000), rateRows},
	{"rate20", "100 sessions, 20 queries/s", plain, rate(20), rateRows[1:2]},
	{"pipelined", "100 sessions, 300 queries/s, half of them over one connection each", []string{doesPipelined}, pipelining(300), []row{
		{figure: "p99 one/two", what: "latency, 99 %, one connection to two", targets: targets{direct: 1.2}},
		{figure: "p50 one/two", what: "latency, median, one connection to two", targets: targets{direct: 1.2}},
		{figure: "p99 one", best: true, what: "latency, 99 %, ms, one connection"},
		{figure: "p99 two", best: true, what: "latency, 99 %, ms, two connections"},
		{figure: "p50 one", best: true, what: "latency, median, ms, one connection"},
		{figure: "p50 two", best: true, what: "latency, median, ms, two connections"},
	}},
}

var (
	tail50    = row{figure: "p50", what: "latency, median, ms", ratio: true}
	tail99    = row{figure: "p99", what: "latency, 99 %, ms", ratio: true}
	tailWorst = row{figure: "worst", what: "latency, worst, ms", ratio: true}
)

// seldom is how often some scenarios are run at most: they take long, or their figures
// differ little from run to run.
var seldom = map[string]int{
	"roundtrip": 2, "burst": 2, "push": 2, "churn": 2, "broadcast": 1, "idle1k": 1, "idle10k": 1, "idletls": 1, "idleh2": 1, "rate20": 1,
	"rate300": 2, "rate2000": 2, "heads": 1, "sends500": 2, "sends45k": 2, "beside2": 2, "beside8": 2, "upload": 2, "download": 2,
	"echo1": 2, "echo64k": 2,
}

// asked are run only if -run names them: idle10k takes two minutes for what idle1k says, too.
var asked = []string{"idle10k"}

// The runtime collects the garbage of an idle process every two minutes: too long
// to wait for.
var idleRows = []row{
	{figure: "rss", what: "resident bytes per session, 3 s after the last was created", ratio: true, targets: targets{1.15, 0.4}},
	{figure: "rss collected", what: "resident bytes per session, after a collection", ratio: true, targets: targets{1.10, 0.35}, alone: true},
	{figure: "heap", what: "heap bytes per session, over bare net/http", ours: true, targets: targets{2048}},
	{figure: "stack", what: "stack bytes per session, over bare net/http", ours: true},
	{figure: "goroutines", what: "goroutines per session, over bare net/http", ours: true},
	{figure: "cpu", what: "CPU µs per session and second, with one poll of each"},
}

var rateRows = []row{
	{figure: "p99", what: "latency, 99 %, ms", ratio: true, best: true, targets: targets{1.3, 1.0}},
	{figure: "requests", what: "HTTP requests per query", targets: targets{1.05, 1.05}},
	{figure: "p50", what: "latency, median, ms", best: true},
	{figure: "worst", what: "latency, worst, ms", ratio: true, best: true},
	{figure: "cpu", what: "CPU µs per query"},
}

// A run is one run of a scenario against one server.
type run struct {
	server *process
	load   load
	does   string // what the server does
	close  func() // closes what else there is
	warm   bool   // see warms
}

// warmUp is how long a server is used before its work is measured. In its first second
// all memory is new to it, and costs more than any work.
const warmUp = time.Second

// warms returns how long the server is to be used before it is measured.
func (r *run) warms() time.Duration {
	if r.warm {
		return *duration / 4
	}
	r.warm = true
	return max(*duration/4, warmUp)
}

// start opens n clients with a held request each.
func (r *run) start(n, wait int, reach func(i int) reach) error {
	r.load.addr, r.load.wait, r.load.hold = r.server.addr, wait, true
	if err := r.load.dial(n, reach); err != nil {
		return err
	}
	for _, c := range r.load.clients {
		c.poll()
	}
	return nil
}

// measure runs f and returns the server's cost meanwhile per unit. f returns
// the number of units.
func (r *run) measure(f func() float64) (figures, error) {
	if _, err := r.server.do("begin"); err != nil {
		return nil, err
	}
	before, err := r.server.stats()
	if err != nil {
		return nil, err
	}
	requests := r.load.requests.Load()
	units := f()
	requests = r.load.requests.Load() - requests
	after, err := r.server.stats()
	if err != nil {
		return nil, err
	}
	cpu := after.CPU - before.CPU
	return figures{
		"per CPU":  units / cpu.Seconds(),
		"cpu":      cpu.Seconds() * 1e6 / units,
		"requests": float64(requests) / units,
		"allocs":   float64(after.Mallocs-before.Mallocs) / float64(requests),
	}, r.load.err()
}

// roundTrips has each of active clients of n send a number of stanzas in one
// request as soon as all its earlier ones have come back.
func roundTrips(n, active, number int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		next := func(c *client) {
			c.expected = number
			c.due = append(c.due[:0], time.Now())
			c.send(number)
		}
		r.load.got = func(c *client, n int) {
			if c.expected -= n; n > 0 && c.expected <= 0 {
				c.latency = append(c.latency, time.Since(c.due[0]))
				next(c)
			}
		}
		err := r.start(n, 60, func(i int) reach {
			if i < active {
				return overTwo
			}
			return overOne
		})
		if err != nil {
			return nil, err
		}
		time.Sleep(*duration/10 + time.Duration(n)*50*time.Microsecond) // until the server has them all
		for _, c := range r.load.clients[:active] {
			c.mu.Lock()
			next(c)
			c.mu.Unlock()
		}
		time.Sleep(r.warms())
		return r.tailed(func() float64 {
			before := r.load.stanzas.Load()
			time.Sleep(*duration)
			return float64(r.load.stanzas.Load() - before)
		})
	}
}

// tailed is measure with how long clients have waited meanwhile.
func (r *run) tailed(f func() float64) (figures, error) {
	for _, c := range r.load.clients {
		c.mu.Lock()
		c.latency = c.latency[:0]
		c.mu.Unlock()
	}
	fs, err := r.measure(f)
	if err == nil {
		err = fs.latency("", r.load.clients)
	}
	return fs, err
}

// push has the server send a stanza to each client, again and again.
func push(r *run) (figures, error) {
	const n = 500
	var want atomic.Int64
	var began atomic.Pointer[time.Time]
	round := make(chan struct{}, 1)
	r.load.got = func(c *client, stanzas int) {
		if stanzas > 0 {
			c.latency = append(c.latency, time.Since(*began.Load()))
		}
		if r.load.stanzas.Load() == want.Load() {
			select {
			case round <- struct{}{}:
			default:
			}
		}
	}
	if err := r.start(n, 60, allOver(overTwo)); err != nil {
		return nil, err
	}
	time.Sleep(*duration / 10)
	var err error
	rounds := func(d time.Duration) float64 {
		before := r.load.stanzas.Load()
		for end := time.Now().Add(d); time.Now().Before(end) && err == nil; {
			want.Add(n)
			now := time.Now()
			began.Store(&now)
			if _, err = r.server.do("push"); err != nil {
				break
			}
			select {
			case <-round:
			case <-time.After(10 * time.Second):
				err = fmt.Errorf("%d of %d came", r.load.stanzas.Load(), want.Load())
			}
		}
		return float64(r.load.stanzas.Load() - before)
	}
	rounds(r.warms())
	f, merr := r.tailed(func() float64 { return rounds(*duration) })
	if err == nil {
		err = merr
	}
	return f, err
}

// broadcast sends to many sessions, by turns as one thing and in a loop.
func broadcast(r *run) (figures, error) {
	const n, settle = 10_000, 300 * time.Millisecond
	var came atomic.Int64
	last := make(chan time.Time, 1)
	r.load.got = func(_ *client, stanzas int) {
		if stanzas > 0 && came.Add(int64(stanzas))%n == 0 {
			last <- time.Now()
		}
	}
	if err := r.start(n, 600, allOver(overOne)); err != nil {
		return nil, err
	}
	r.load.hold = false // the next requests are no part of it
	time.Sleep(settle)
	var calls, cpus, times [2]time.Duration
	rounds := 0
	for began := time.Now(); rounds < 3 || time.Since(began) < *duration; rounds++ {
		for i, command := range []string{"broadcast", "loop"} {
			before, err := r.server.cpu()
			if err != nil {
				return nil, err
			}
			sent := time.Now()
			if _, err := r.server.do(command); err != nil {
				return nil, err
			}
			var took time.Duration
			select {
			case at := <-last:
				took = at.Sub(sent)
			case <-time.After(30 * time.Second):
				return nil, fmt.Errorf("%d came, in %d rounds", came.Load(), rounds)
			}
			after, err := r.server.cpu()
			if err != nil {
				return nil, err
			}
			for _, c := range r.load.clients {
				c.poll()
			}
			time.Sleep(3 * settle) // until the server has them all
			if rounds > 0 {        // or buffers have had to be made
				calls[i] += after.Call - before.Call
				cpus[i] += after.CPU - before.CPU
				times[i] += took
			}
		}
	}
	per := func(d time.Duration) float64 { return d.Seconds() * 1e6 / n / float64(rounds-1) }
	return figures{
		"last":          per(times[0]) * n / 1e3,
		"last loop":     per(times[1]) * n / 1e3,
		"call":          per(calls[0]),
		"call one/loop": per(calls[0]) / per(calls[1]),
		"cpu":           per(cpus[0]),
		"cpu one/loop":  per(cpus[0]) / per(cpus[1]),
	}, r.load.err()
}

// churn creates sessions and terminates them.
func churn(r *run) (figures, error) {
	const n = 100
	over := make(map[*client]chan struct{})
	r.load.got = func(c *client, _ int) { over[c] <- struct{}{} }
	r.load.addr, r.load.wait = r.server.addr, 60
	if err := r.load.dial(n, allOver(overOne)); err != nil {
		return nil, err
	}
	for _, c := range r.load.clients {
		over[c] = make(chan struct{}, 1)
	}
	var wg sync.WaitGroup
	var sessions atomic.Int64
	var stop atomic.Bool
	for _, c := range r.load.clients {
		wg.Go(func() {
			for !stop.Load() && r.load.err() == nil {
				began := time.Now()
				c.mu.Lock()
				c.terminate()
				c.mu.Unlock()
				select {
				case <-over[c]:
				case <-time.After(10 * time.Second):
					return
				}
				sessions.Add(1)
				if c.create() != nil {
					return
				}
				c.mu.Lock()
				c.latency = append(c.latency, time.Since(began))
				c.mu.Unlock()
			}
		})
	}
	time.Sleep(r.warms())
	f, err := r.tailed(func() float64 {
		before := sessions.Load()
		time.Sleep(*duration)
		return float64(sessions.Load() - before)
	})
	stop.Store(true)
	wg.Wait()
	return f, err
}

// idle has n silent clients.
func idle(n int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		if _, err := r.server.do("collect"); err != nil {
			return nil, err
		}
		before, err := r.server.stats()
		if err != nil {
			return nil, err
		}
		if err := r.start(n, int(idleTime.Seconds())+2, allOver(overOne)); err != nil {
			return nil, err
		}
		time.Sleep(3 * time.Second) // idle, that is
		held, err := r.server.stats()
		if err != nil {
			return nil, err
		}
		if _, err := r.server.do("collect"); err != nil {
			return nil, err
		}
		after, err := r.server.stats()
		if err != nil {
			return nil, err
		}
		per := func(a, b int64) float64 { return float64(a-b) / float64(n) }
		f := figures{
			"rss":           per(held.RSS, before.RSS),
			"rss collected": per(after.RSS, before.RSS),
			"heap":          per(after.Heap, before.Heap),
			"stack":         per(after.Stack, before.Stack),
			"goroutines":    per(after.Goroutines, before.Goroutines),
		}
		time.Sleep(*idleTime)
		end, err := r.server.stats()
		f["cpu"] = float64((end.CPU - after.CPU).Microseconds()) / idleTime.Seconds() / float64(n)
		if err == nil {
			err = r.load.err()
		}
		return f, err
	}
}

// rate has 100 clients send so many queries a second between them, whether or
// not the earlier ones have been answered.
func rate(perSecond int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		f, err := r.query(100, perSecond, allOver(overTwo))
		if err == nil {
			err = f.latency("", r.load.clients)
		}
		return f, err
	}
}

// pipelining is like rate, but every other client has one connection only.
// Their requests come behind the held one.
func pipelining(perSecond int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		f, err := r.query(100, perSecond, func(i int) reach { return []reach{overTwo, behindHeld}[i%2] })
		if err != nil {
			return nil, err
		}
		var one, two []*client
		for i, c := range r.load.clients {
			if i%2 == 0 {
				two = append(two, c)
			} else {
				one = append(one, c)
			}
		}
		if err := errors.Join(f.latency(" one", one), f.latency(" two", two)); err != nil {
			return nil, err
		}
		f["p50 one/two"] = f["p50 one"] / f["p50 two"]
		f["p99 one/two"] = f["p99 one"] / f["p99 two"]
		return f, nil
	}
}

// query has n clients take turns to send a query. Each notes how long it waits
// for the answers.
func (r *run) query(n, perSecond int, reach func(i int) reach) (figures, error) {
	r.load.got = func(c *client, stanzas int) {
		for range min(stanzas, len(c.due)) {
			c.latency = append(c.latency, time.Since(c.due[0]))
			c.due = c.due[1:]
		}
	}
	if err := r.start(n, 60, reach); err != nil {
		return nil, err
	}
	time.Sleep(*duration / 10)
	return r.measure(func() float64 {
		due, sent := time.Now(), 0
		for end := due.Add(*duration); due.Before(end); sent++ {
			time.Sleep(time.Until(due))
			c := r.load.clients[sent%n]
			c.mu.Lock()
			c.due = append(c.due, due)
			c.send(1)
			c.mu.Unlock()
			due = due.Add(time.Second / time.Duration(perSecond))
		}
		time.Sleep(100 * time.Millisecond)
		return float64(sent)
	})
}

// latency adds how long clients have waited for answers, in milliseconds.
func (f figures) latency(suffix string, clients []*client) error {
	var all []time.Duration
	for _, c := range clients {
		c.mu.Lock()
		all = append(all, c.latency...)
		c.mu.Unlock()
	}
	if len(all) == 0 {
		return errors.New("nothing came back")
	}
	slices.Sort(all)
	f["p50"+suffix] = all[len(all)/2].Seconds() * 1e3
	f["p99"+suffix] = all[len(all)*99/100].Seconds() * 1e3
	f["worst"+suffix] = all[len(all)-1].Seconds() * 1e3
	return nil
}
