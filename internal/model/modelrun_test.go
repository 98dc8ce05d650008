package model_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
)

var (
	modelSeed  = flag.Uint64("modelseed", 0, "replay TestModel with this seed only")
	modelFirst = flag.Uint64("modelfirst", 0, "first seed of TestModel")
	modelSteps = flag.Int("modelsteps", 300, "steps of TestModel for each seed")
	modelSeeds = flag.Int("modelseeds", 20, "seeds of TestModel for each kind of session")
)

// TestModel lets chance decide what client, network, application and clock do,
// and compares every answer and the moment it comes with the model's. The seed
// of a failure is printed; -modelseed replays it.
func TestModel(t *testing.T) {
	for _, kind := range []struct {
		name       string
		wait, hold int
	}{
		{"hold 1", 60, 1},
		{"hold 2", 60, 2},
		{"short wait", 10, 1},
		{"polling", 60, 0},
		{"polling by wait", 0, 1},
	} {
		t.Run(kind.name, func(t *testing.T) {
			seeded(t, (*modelSeeds+OneOf-1)/OneOf, func(t *testing.T, seed uint64) {
				newModelRun(t, seed, kind.wait, kind.hold).run()
			})
		})
	}
}

// seeded runs f in a bubble with each of n seeds, and says how a run that has failed is had
// again.
func seeded(t *testing.T, n int, f func(t *testing.T, seed uint64)) {
	first := *modelFirst
	if *modelSeed != 0 {
		first, n = *modelSeed, 1
	}
	for i := range uint64(n) {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("to replay: -run '%s$' -modelseed %d", t.Name(), first+i)
				}
			}()
			f(t, first+i)
		})
	}
}

// TestModelOfNodes is TestModel on three nodes: the requests come in at any of them.
func TestModelOfNodes(t *testing.T) {
	seeded(t, *modelSeeds, func(t *testing.T, seed uint64) {
		r := newModelRun(t, seed, 60, int(seed%3))
		r.several = true
		r.run()
	})
}

// TestModelOfMoves is TestModel with two Handlers between which the session moves.
func TestModelOfMoves(t *testing.T) {
	seeded(t, (*modelSeeds*3+OneOf-1)/OneOf, func(t *testing.T, seed uint64) {
		wait := []int{60, 60, 10, 60, 0}[seed%5]
		r := newModelRun(t, seed, wait, []int{1, 2, 1, 0, 1}[seed%5])
		r.moves = true
		r.run()
	})
}

// A modelRun is one random life of one session after the other.
type modelRun struct {
	*testing.T
	rand       *rand.Rand
	receives   bool // the application does by Receive what others do by ReadElement
	several    bool // there are three nodes, and each request comes in at any
	moves      bool // there are two Handlers, and the session moves from one to the other
	wait, hold int
	log        []string

	h       *bosh.Handler
	nodes   []*bosh.Handler // besides h, where requests may come in, too
	other   *bosh.Handler   // that the session may move to
	stream  *bosh.Stream
	streams <-chan *bosh.Stream
	ctx     context.Context
	sid     string
	m       *model
	epoch   time.Time
	conns   int
	bodies  map[int]*modelRequest // what was sent under each rid
	n       int                   // payloads so far

	mu       sync.Mutex
	proven   int64    // as the application has been told
	in       []string // at the application
	answered []string
	cut      map[int]context.CancelFunc
}

func newModelRun(t *testing.T, seed uint64, wait, hold int) *modelRun {
	return &modelRun{T: t, rand: rand.New(rand.NewPCG(seed, 0)), receives: seed%2 == 1, wait: wait, hold: hold, cut: make(map[int]context.CancelFunc)}
}

func (r *modelRun) run() {
	streams, stop := r.start()
	defer stop()
	for range *modelSteps {
		if r.m == nil || r.m.forgotten {
			r.create(streams)
		}
		r.step()
		synctest.Wait()
		if r.compare(); r.Failed() {
			r.Logf("what happened:\n%s", strings.Join(r.log, "\n"))
			return
		}
	}
}

// start makes the Handler, and an application that notes what it reads and
// hands out its streams.
func (r *modelRun) start() (streams chan *bosh.Stream, stop func()) {
	ctx, cancel := context.WithCancel(r.Context())
	r.ctx = ctx
	streams = make(chan *bosh.Stream, 1)
	r.streams = streams
	o := bosh.Options{
		Framing: bosh.Elements, Grace: -1, NoAcks: true, MaxRepeats: 10, Polling: 5 * time.Second,
		Inactivity: 30 * time.Second, Pause: 50 * time.Second, Hold: 2, Logger: slog.New(slog.DiscardHandler),
		Serve: func(s *bosh.Stream) {
			s.OnProven(func(n int64) {
				r.mu.Lock()
				defer r.mu.Unlock()
				if n <= r.proven {
					r.Errorf("proven: %d, and then %d", r.proven, n)
				}
				r.proven = n
			})
			streams <- s
			if r.receives {
				s.Receive(r.read)
				return
			}
			for {
				el, err := s.ReadElement(context.Background())
				if err != nil {
					return
				}
				r.read(el, nil)
			}
		},
	}
	if !r.several {
		r.h, r.other = bosh.New(o), bosh.New(o)
	} else {
		var c boshtest.Cluster
		for _, name := range []string{"a", "b", "c"} {
			o.Node, o.Relay = name, c.Relay(name)
			h := bosh.New(o)
			c.Add(name, h)
			r.nodes = append(r.nodes, h)
		}
		r.h, r.nodes = r.nodes[0], r.nodes[1:]
	}
	return streams, func() {
		r.h.Close()
		if r.other != nil {
			r.other.Close()
		}
		for _, h := range r.nodes {
			h.Close()
		}
		cancel()
		synctest.Wait()
	}
}

// read is the application's.
func (r *modelRun) read(el []byte, err error) {
	if err == nil {
		r.mu.Lock()
		r.in = append(r.in, payload.FindStringSubmatch(string(el))[1])
		r.mu.Unlock()
	}
}

func (r *modelRun) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf("%8v ", time.Since(r.epoch))+fmt.Sprintf(format, args...))
}

// create opens a session, in the library and in the model.
func (r *modelRun) create(streams chan *bosh.Stream) {
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(fmt.Sprintf(
		"<body rid='1000' wait='%d' hold='%d' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>", r.wait, r.hold))))
	_, after, _ := strings.Cut(w.Body.String(), "sid='")
	r.sid, _, _ = strings.Cut(after, "'")
	r.stream = <-streams
	wait := time.Duration(r.wait) * time.Second
	m := &model{
		hold: r.hold, requests: r.hold + 1, polls: r.wait == 0 || r.hold == 0,
		wait: wait - min(wait/20, time.Second), granted: wait, inactivity: 30*time.Second + Overtime, polling: 5 * time.Second, last: 1000,
	}
	if m.polls {
		m.inactivity = 65*time.Second + Overtime
	}
	m.reqs = []*modelRequest{{rid: 1000, open: true, done: true, answer: "created"}}
	m.kept = m.reqs[:1:1]
	r.m, r.epoch, r.log = m, time.Now(), nil
	r.bodies = make(map[int]*modelRequest)
	r.in, r.answered, r.proven = nil, nil, 0
}

// step does one thing at random.
func (r *modelRun) step() {
	top := r.m.last
	for rid := range r.bodies {
		top = max(top, rid)
	}
	if r.moves && r.rand.IntN(8) == 0 {
		r.move()
		return
	}
	switch p := r.rand.IntN(100); {
	case p < 30:
		r.request(r.m.last+1, r.rand.IntN(3) > 0)
	case p < 40:
		r.request(top+1, r.rand.IntN(2) > 0)
	case p < 50:
		r.request(r.m.last+r.rand.IntN(4)-2, true)
	case p < 52:
		r.request(r.m.last+2+r.rand.IntN(3), true)
	case p < 60:
		r.breakOne()
	case p < 74:
		r.write(1 + r.rand.IntN(3))
	case p < 75:
		r.close()
	default:
		ds := []time.Duration{1, 10, 500, 1000, 3000, 5000, 8000, 20000, 29999, 30001, 32001, 70000}
		d := ds[r.rand.IntN(len(ds))] * time.Millisecond
		r.note("%v pass", d)
		r.m.advance(d)
		time.Sleep(d)
	}
}

// request sends a request: what was sent under its rid before, or a new one.
func (r *modelRun) request(rid int, loaded bool) {
	q := r.bodies[rid]
	if q == nil {
		if rid <= 1000 {
			return
		}
		q = &modelRequest{rid: rid}
		if loaded {
			for range 1 + r.rand.IntN(2) {
				r.n++
				q.payloads = append(q.payloads, fmt.Sprint(r.n))
			}
		}
		switch r.rand.IntN(25) {
		case 0:
			q.end = true
		case 1, 2:
			q.pause = 50 * time.Second
		}
		r.bodies[rid] = q
	}
	r.conns++
	c := *q
	c.conn = r.conns
	r.note("%d: rid %d payloads %v pause %v end %v", c.conn, rid, c.payloads, c.pause, c.end)
	r.send(&c)
	r.m.request(&c)
}

func (r *modelRun) send(q *modelRequest) {
	var b strings.Builder
	fmt.Fprintf(&b, "<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'", q.rid, r.sid)
	if q.pause > 0 {
		fmt.Fprintf(&b, " pause='%d'", q.pause/time.Second)
	}
	if q.end {
		b.WriteString(" type='terminate'")
	}
	b.WriteString(">")
	for _, p := range q.payloads {
		fmt.Fprintf(&b, "<p n='%s' xmlns=''/>", p)
	}
	b.WriteString("</body>")
	ctx, cancel := context.WithCancel(r.ctx)
	conn, h := q.conn, r.h
	if i := r.rand.IntN(len(r.nodes) + 1); i > 0 {
		h = r.nodes[i-1]
	}
	r.mu.Lock()
	r.cut[conn] = cancel
	r.mu.Unlock()
	go func() {
		w := httptest.NewRecorder()
		Serve(h, w, httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(b.String())))
		body, _ := io.ReadAll(w.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.cut, conn)
		if len(body) > 0 {
			r.answered = append(r.answered, fmt.Sprintf("%d: %s", conn, plain(string(body))))
		}
	}()
	synctest.Wait()
}

var payload = regexp.MustCompile(`<p(?: xmlns='')? n='(\d+)'`)

// plain says what a body says in the model's words.
func plain(body string) string {
	kind := "body"
	switch {
	case strings.Contains(body, "sid='"):
		return "created"
	case strings.Contains(body, "type='error'"):
		kind = "error"
	case strings.Contains(body, "type='terminate'"):
		kind = "terminate"
	}
	if _, after, ok := strings.Cut(body, "condition='"); ok {
		condition, _, _ := strings.Cut(after, "'")
		kind += " " + condition
	}
	for _, p := range payload.FindAllStringSubmatch(body, -1) {
		kind += " " + p[1]
	}
	return kind
}

// breakOne breaks one of the connections that wait.
func (r *modelRun) breakOne() {
	var waiting []int
	for _, q := range r.m.reqs {
		if !q.done && q.conn != 0 {
			waiting = append(waiting, q.conn)
		}
	}
	for _, d := range r.m.doubts {
		waiting = append(waiting, d.conn)
	}
	if len(waiting) == 0 || r.m.over {
		return
	}
	conn := waiting[r.rand.IntN(len(waiting))]
	r.note("%d breaks", conn)
	r.mu.Lock()
	cancel := r.cut[conn]
	r.mu.Unlock()
	cancel()
	r.m.cut(conn)
}

func (r *modelRun) write(n int) {
	if r.m.over || r.m.client || r.m.app {
		return
	}
	var b strings.Builder
	for range n {
		r.n++
		fmt.Fprintf(&b, "<p n='%d'/>", r.n)
		r.m.out = append(r.m.out, fmt.Sprint(r.n))
	}
	r.note("the application writes %d", n)
	if _, err := io.WriteString(r.stream, b.String()); err != nil {
		r.Errorf("write: %v", err)
	}
	r.m.settle()
}

func (r *modelRun) close() {
	if r.m.over || r.m.client || r.m.app {
		return
	}
	r.note("the application closes")
	r.stream.Close()
	r.m.app = true
	r.m.settle()
}

// move moves the session to the other Handler.
func (r *modelRun) move() {
	if r.receives {
		r.stream.Detach(r.ctx)
	}
	state, err := r.stream.Session().Export([]byte("app"))
	switch ends := r.m.client || r.m.app; {
	case r.m.over:
		if err == nil || errors.Is(err, bosh.ErrBusy) {
			r.Errorf("export behind the end: %v", err)
		}
		return
	case ends:
		if !errors.Is(err, bosh.ErrBusy) {
			r.Errorf("export of a session that ends: %v", err)
		}
		if r.receives {
			r.stream.Receive(r.read)
		}
		return
	}
	if err != nil {
		r.Errorf("export: %v", err)
		return
	}
	synctest.Wait()
	r.note("the session moves, in %d bytes", len(state))
	r.mu.Lock()
	r.proven = 0
	r.mu.Unlock()
	if _, err := r.other.Import(state); err != nil {
		r.Errorf("import: %v", err)
		return
	}
	r.h, r.other = r.other, r.h
	r.stream = <-r.streams
	if string(r.stream.Imported()) != "app" {
		r.Errorf("imported: %q", r.stream.Imported())
	}
	r.m.move()
}

// compare compares what has been answered, and what the application has read.
func (r *modelRun) compare() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.answered {
		r.note("answered %s", a)
	}
	sortAnswers(r.answered)
	want := r.m.answered
	sortAnswers(want)
	if got, want := strings.Join(r.answered, "; "), strings.Join(want, "; "); got != want {
		r.Errorf("answers\n got %s\nwant %s", got, want)
	}
	r.answered, r.m.answered = nil, nil
	if got, want := r.stream.Proven(), r.m.proven(); got != want || r.proven != want {
		r.Errorf("proven: %d, the application has been told %d, want %d", got, r.proven, want)
	}
	if r.m.app {
		r.in = nil // it does not read any more
		r.m.in = nil
	}
	if got, want := strings.Join(r.in, " "), strings.Join(r.m.in, " "); got != want {
		r.Errorf("at the application\n got %s\nwant %s", got, want)
	}
	r.in, r.m.in = nil, nil
}

// sortAnswers puts answers in an order of their own: the goroutines that note
// them do not keep the order in which they were written.
func sortAnswers(a []string) {
	for i := range a {
		for j := i; j > 0 && a[j] < a[j-1]; j-- {
			a[j], a[j-1] = a[j-1], a[j]
		}
	}
}
