//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/gobosh/bosh/internal/bench/lean"
)

// The scenarios of this file have a generator of their own. It shares nothing with
// load: see package lean. It has a processor to itself, and the server another. Clients
// and server speak XMPP: see router.

// pin has this thread, and the processes started by it, run on one processor, if there
// are several.
func pin(cpu int) {
	if runtime.NumCPU() < 2 {
		return
	}
	runtime.LockOSThread()
	mask := [16]uint64{1 << cpu}
	syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(mask), uintptr(unsafe.Pointer(&mask)))
}

// lean reports whether the clients of sc are those of package lean.
func (sc *scenario) lean() bool {
	return slices.Contains(sc.does, doesRoute) || slices.Contains(sc.does, doesCarry)
}

var (
	routed = []string{doesRouting, doesRoute}
	limits = []string{doesRouting, doesHijack, doesRoute}
)

// tails are how long it takes.
func tails(t99, worst targets) []row {
	p99, max := tail99, tailWorst
	p99.targets, max.targets = t99, worst
	return []row{tail50, p99, max}
}

// rated is the row of a rate, with others.
func rated(what string, t targets, others ...row) []row {
	return append([]row{
		{figure: "rate", what: what + " per second", ratio: true, targets: t, least: true},
		{figure: "per CPU", what: what + " per CPU second", ratio: true},
	}, others...)
}

var closed = []scenario{
	{"xmpp", "200 sessions, one ping each way, as fast as it goes; XMPP, generator of one thread", limits, pings(200, 1, nil),
		rated("round trips", targets{0.9, 2.8}, tails(targets{1.2, 0.4}, targets{1.5, 0.5})...)},
	{"fanout", "one session sends 10 messages a body to 500 that wait", routed, fanout,
		rated("deliveries", targets{0.85, 1.7}, append(tails(targets{}, targets{}),
			row{figure: "cpu", what: "CPU µs per delivery", ratio: true, targets: targets{1.15, 0.6}})...)},
	{"bodies", "20 sessions, 50 pings a body", routed, pings(20, 50, nil),
		rated("stanzas", targets{0.6, 0.95}, tails(targets{1.2, 1.0}, targets{})...)},
	{"heads", "as xmpp, with 300 forwarded addresses, trace ids, ten query strings and two Hosts by turns, to one head repeated", routed, heads, []row{
		{figure: "addresses", what: "CPU of a round trip, addresses and trace ids to one head", targets: targets{1.05, 1.1}},
		{figure: "queries", what: "CPU of a round trip, query strings to one head", targets: targets{1.05, 1.1}},
		{figure: "hosts", what: "CPU of a round trip, two Hosts to one head", targets: targets{1.05, 1.1}},
	}},
	{"logins", "50 clients create a session, authenticate, bind, and end it", routed, logins,
		rated("sessions", targets{0.8, 1.3}, tails(targets{}, targets{})...)},
	{"sends500", "one client only sends, 500 bytes a request", routed, sends(500), sendsRows},
	{"sends45k", "one client only sends, 45 kB a request", routed, sends(45_000), sendsRows},
	{"open300", "100 sessions, 300 pings/s", routed, open(300, 0), tails(targets{1.1, 1.0}, targets{})},
	{"open2000", "100 sessions, 2,000 pings/s", routed, open(2000, 0), tails(targets{1.1, 1.0}, targets{})},
	{"beside2", "100 sessions, 300 pings/s, 2 goroutines of the server compute", routed, open(300, 2), tails(targets{1.2, 1.2}, targets{})},
	{"beside8", "100 sessions, 300 pings/s, 8 goroutines of the server compute", routed, open(300, 8), tails(targets{1.2, 1.2}, targets{})},
}

var sendsRows = []row{
	{figure: "each", what: "µs per request", ratio: true, targets: targets{1.1, 0.7}},
	{figure: "cpu", what: "CPU µs per request", ratio: true},
}

// A person is a client of the router.
type person struct {
	*lean.Session
	name  string
	steps int       // of its login
	ready func()    // called when it has logged in
	sent  time.Time // what it waits for
	due   []time.Time
	wants int // stanzas
}

const ping = "<iq xmlns='jabber:client' type='get' id='p1' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>"

var results50 = []byte("<iq ")

// people are the clients of a run.
type people struct {
	r    *run
	l    *lean.Loop
	all  []*person
	took []time.Duration
	n    float64 // units
}

func (r *run) people(n, conns int) (*people, error) {
	l, err := lean.New(r.server.addr)
	if err != nil {
		return nil, err
	}
	r.close = l.Close
	ps := &people{r: r, l: l}
	for i := range n {
		s, err := l.Session(conns)
		if err != nil {
			return nil, err
		}
		p := &person{Session: s, name: fmt.Sprint("u", i)}
		s.Creation = " to='example.com' wait='60' hold='1' ver='1.11' xml:lang='en' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'"
		s.Restarted, s.Got = p.restarted, p.step
		ps.all = append(ps.all, p)
	}
	return ps, nil
}

// login logs a person in, and calls ready then.
func (p *person) login(ready func()) {
	p.steps, p.ready, p.Got = 0, ready, p.step
	p.Create()
}

func (p *person) restarted([]byte) {
	if p.steps++; p.steps == 1 {
		p.Send([]byte("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldABzZWNyZXQ=</auth>"))
		return
	}
	p.Send(fmt.Appendf(nil, "<iq xmlns='jabber:client' type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"+
		"<resource>%s</resource></bind></iq>", p.name))
}

func (p *person) step(payloads []byte) {
	if len(payloads) == 0 {
		p.Send(nil)
		return
	}
	if p.steps == 1 {
		p.Restart()
		return
	}
	p.ready()
}

// gather has all log in.
func (ps *people) gather() error {
	left := len(ps.all)
	for _, p := range ps.all {
		p.login(func() { left-- })
	}
	return ps.run(func() bool { return left == 0 }, 30*time.Second)
}

// run runs the loop until done, or for too long.
func (ps *people) run(done func() bool, limit time.Duration) error {
	end := time.Now().Add(limit)
	late := false
	err := ps.l.Run(func() bool { late = time.Now().After(end); return late || done() })
	if err == nil && late && !done() {
		err = errors.New("a client waits in vain")
	}
	return err
}

// measure runs the loop for the duration, and returns the figures of it.
func (ps *people) measure() (figures, error) {
	return ps.measureBy(ps.r.warms(), func(end time.Time) error {
		return ps.l.Run(func() bool { return !time.Now().Before(end) })
	})
}

// measureBy is measure with f in place of the loop. Before, f runs for a while.
func (ps *people) measureBy(before time.Duration, f func(end time.Time) error) (figures, error) {
	if err := f(time.Now().Add(before)); err != nil {
		return nil, err
	}
	var spent time.Duration
	var err error
	fs, merr := ps.r.measure(func() float64 {
		ps.n, ps.took = 0, ps.took[:0]
		began := time.Now()
		err = f(began.Add(*duration))
		spent = time.Since(began)
		return ps.n
	})
	if err = errors.Join(err, merr); err != nil {
		return nil, err
	}
	fs["rate"] = ps.n / spent.Seconds()
	fs["each"] = spent.Seconds() * 1e6 / ps.n
	slices.Sort(ps.took)
	if n := len(ps.took); n > 0 {
		ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
		fs["p50"], fs["p99"], fs["worst"] = ms(ps.took[n/2]), ms(ps.took[n*99/100]), ms(ps.took[n-1])
	}
	return fs, nil
}

// held keeps a request open, unless there is one.
func (p *person) held() {
	if p.Held() == 0 {
		p.Send(nil)
	}
}

// pings has each of n clients send a number of pings as soon as the last ones have come
// back.
func pings(n, number int, heads func() string) func(*run) (figures, error) {
	body := []byte(strings.Repeat(ping, number))
	return func(r *run) (figures, error) {
		ps, err := r.people(n, 2)
		if err == nil {
			err = ps.gather()
		}
		if err != nil {
			return nil, err
		}
		for _, p := range ps.all {
			p.Heads = heads
		}
		for _, p := range ps.all {
			next := func() {
				p.wants, p.sent = number, time.Now()
				p.Send(body)
			}
			p.Got = func(payloads []byte) {
				if p.wants -= bytes.Count(payloads, results50); len(payloads) > 0 && p.wants == 0 {
					ps.n += float64(number)
					ps.took = append(ps.took, time.Since(p.sent))
					next()
				}
				p.held()
			}
			p.Send(nil)
			next()
		}
		return ps.measure()
	}
}

// heads compares requests with different heads with requests with the same head.
func heads(r *run) (figures, error) {
	i := 0
	head := func(query, host, address, trace int) string {
		return fmt.Sprintf("POST /http-bind?room=%d HTTP/1.1\r\nHost: %d.bench.example\r\nX-Forwarded-For: 192.0.2.%d\r\n"+
			"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-%016x-01\r\nX-Forwarded-Proto: https\r\n"+
			"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\n"+
			"Accept-Encoding: gzip, deflate, br\r\nContent-Type: text/xml; charset=utf-8\r\ncontent-length: ", query, host, address, trace)
	}
	series := func(make func(i int) string) (all []string) {
		for i := range 600 {
			all = append(all, make(i))
		}
		return all
	}
	kinds := map[string][]string{
		"same":      series(func(int) string { return head(0, 0, 0, 0) }),
		"addresses": series(func(i int) string { return head(0, 0, i%300, i) }),
		"queries":   series(func(i int) string { return head(i%10, 0, 0, 0) }),
		"hosts":     series(func(i int) string { return head(0, i%2, 0, 0) }),
	}
	f := make(figures)
	before, last := 0.0, ""
	for n, name := range []string{"same", "addresses", "same", "queries", "same", "hosts", "same"} {
		all := kinds[name]
		got, err := pings(100, 1, func() string { i++; return all[i%len(all)] })(r)
		if err != nil {
			return nil, err
		}
		r.close()
		f[name] = got["cpu"]
		if name == "same" && n > 0 { // before and after, since sessions are left behind
			f[last] /= (f[name] + before) / 2
		}
		before, last = f["same"], name
	}
	r.close = func() {}
	return f, nil
}

// fanout has one client send to all others, again when all of them have got it.
func fanout(r *run) (figures, error) {
	const receivers, each = 500, 10
	ps, err := r.people(receivers+1, 2)
	if err == nil {
		err = ps.gather()
	}
	if err != nil {
		return nil, err
	}
	sender, rest := ps.all[0], ps.all[1:]
	var left [][]byte
	var bodies [][]byte
	for i := 0; i < receivers; i += each {
		var b []byte
		for _, p := range rest[i : i+each] {
			b = fmt.Appendf(b, "<message xmlns='jabber:client' to='%s' type='chat' id='c4f2f2a1-9d3c-4a5e'><body>Wherefore art thou, Romeo? "+
				"Deny thy father &amp; refuse thy name.</body></message>", p.name)
		}
		bodies = append(bodies, b)
	}
	due := 0
	sends := func() {
		if due == 0 {
			due, left = receivers, bodies
		}
		for len(left) > 0 && sender.Free() > 0 {
			now := time.Now()
			for _, p := range rest[receivers-len(left)*each:][:each] {
				p.sent = now
			}
			sender.Send(left[0])
			left = left[1:]
		}
	}
	for _, p := range rest {
		p.Got = func(payloads []byte) {
			p.Send(nil)
			if len(payloads) == 0 {
				return
			}
			ps.n++
			ps.took = append(ps.took, time.Since(p.sent))
			if due--; due == 0 {
				sends()
			}
		}
		p.Send(nil)
	}
	sender.Got = func([]byte) { sends() }
	sends()
	return ps.measure()
}

// logins has clients come and go.
func logins(r *run) (figures, error) {
	ps, err := r.people(50, 2)
	if err != nil {
		return nil, err
	}
	for _, p := range ps.all {
		var begin func()
		begin = func() {
			p.sent = time.Now()
			p.login(func() {
				p.Got = func([]byte) {
					ps.n++
					ps.took = append(ps.took, time.Since(p.sent))
					begin()
				}
				p.Terminate()
			})
		}
		begin()
	}
	return ps.measure()
}

// sends has one client send as fast as it may, to nobody.
func sends(size int) func(*run) (figures, error) {
	body := []byte("<message xmlns='jabber:client' to='nobody'><body>" + strings.Repeat("x", size-80) + "</body></message>")
	return func(r *run) (figures, error) {
		ps, err := r.people(1, 2)
		if err == nil {
			err = ps.gather()
		}
		if err != nil {
			return nil, err
		}
		p := ps.all[0]
		p.Got = func([]byte) {
			ps.n++
			for p.Free() > 0 {
				p.Send(body)
			}
		}
		p.Send(body)
		p.Send(body)
		return ps.measure()
	}
}

// open has 100 clients send so many pings a second between them, whether or not earlier
// ones have come back, while goroutines of the server compute.
func open(perSecond, computing int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		ps, err := r.people(100, 2)
		if err == nil {
			err = ps.gather()
		}
		if err != nil {
			return nil, err
		}
		for _, p := range ps.all {
			p.Got = func(payloads []byte) {
				for range bytes.Count(payloads, results50) {
					ps.n++
					ps.took = append(ps.took, time.Since(p.due[0]))
					p.due = p.due[1:]
				}
				for range min(p.wants, p.Free()) {
					p.wants--
					p.Send([]byte(ping))
				}
				p.held()
			}
			p.Send(nil)
		}
		for range computing {
			if _, err := r.server.do("compute"); err != nil {
				return nil, err
			}
		}
		i, due := 0, time.Now()
		return ps.measureBy(*duration/4, func(end time.Time) error {
			due = time.Now()
			return ps.l.Run(func() bool {
				now := time.Now()
				for ; due.Before(now); due = due.Add(time.Second / time.Duration(perSecond)) {
					p := ps.all[i%len(ps.all)]
					i++
					p.due = append(p.due, due)
					if p.Free() > 0 {
						p.Send([]byte(ping))
					} else {
						p.wants++
					}
				}
				return !now.Before(end)
			})
		})
	}
}
