package model_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/gobosh/bosh/internal/spec/harness"
)

// A model is a BOSH session as section 7.3 of the requirements tells it, in the
// plainest way: it looks through all the requests there ever were, whenever
// anything happens. TestModel compares the library with it.
type model struct {
	hold, requests int
	polls          bool
	wait           time.Duration // how long a request is held
	granted        time.Duration // the wait that was granted
	inactivity     time.Duration
	polling        time.Duration

	now     time.Duration
	last    int // end of the gapless sequence
	reqs    []*modelRequest
	in, out []string // at the application, and waiting for the client

	client, app bool // who wants the end
	over        bool
	ended       time.Duration
	forgotten   bool

	arrived  time.Duration // of the request before
	empty    bool          // that one was
	pause    time.Duration
	idle     time.Duration // since when no connection waits
	kept     []*modelRequest
	doubts   []modelDoubt
	answered []string // what has been answered, in order: "connection: answer"
}

// A modelDoubt is a request whose answer is no longer kept.
type modelDoubt struct {
	conn  int
	until time.Duration
}

type modelRequest struct {
	rid      int
	arrived  time.Duration
	payloads []string
	pause    time.Duration
	end      bool // type='terminate'
	conn     int  // 0: broken
	open     bool // its turn has come
	done     bool
	release  bool
	repeats  int
	copied   time.Duration // when the last copy came
	answer   string
}

func (r *modelRequest) empty() bool { return len(r.payloads) == 0 && r.pause == 0 && !r.end }

// modelAfterlife is how long a session that is over answers repeats.
const modelAfterlife = 30 * time.Second

func (m *model) say(conn int, answer string) {
	m.answered = append(m.answered, fmt.Sprintf("%d: %s", conn, answer))
}

// where returns the requests that f holds of, by rid.
func (m *model) where(f func(*modelRequest) bool) (found []*modelRequest) {
	for _, r := range m.reqs {
		if f(r) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *modelRequest) int { return cmp.Compare(a.rid, b.rid) })
	return found
}

func (m *model) held() []*modelRequest {
	return m.where(func(r *modelRequest) bool { return r.open && !r.done && r.conn != 0 })
}

func (m *model) early() []*modelRequest {
	return m.where(func(r *modelRequest) bool { return !r.open && !r.done })
}

func (m *model) find(rid int) *modelRequest {
	for _, r := range m.reqs {
		if r.rid == rid && (!r.done || slices.Contains(m.kept, r)) {
			return r
		}
	}
	return nil
}

// request is a request that arrives on a connection.
func (m *model) request(r *modelRequest) {
	r.arrived = m.now
	if m.over {
		m.afterwards(r)
		return
	}
	top := m.last + m.requests
	if r.end || r.pause > 0 {
		top++
	}
	known := m.find(r.rid)
	switch {
	case r.rid > top:
		m.fail(r.conn, "item-not-found")
	case known == nil && r.rid <= m.last:
		m.doubts = append(m.doubts, modelDoubt{r.conn, m.now + Doubt})
	case known != nil:
		m.repeat(known, r)
	default:
		r.copied = r.arrived
		m.reqs = append(m.reqs, r)
		m.turns()
	}
	m.settle()
}

func (m *model) repeat(known, r *modelRequest) {
	if known.done || known.conn != 0 && r.arrived-known.copied < time.Second {
		if known.repeats++; known.repeats > 10 {
			m.fail(r.conn, "policy-violation")
			return
		}
	}
	known.copied = r.arrived
	if known.done {
		if known.pause > 0 && known.rid == m.last {
			m.pause = known.pause
		}
		m.say(r.conn, known.answer)
		m.rest()
		return
	}
	if known.conn != 0 {
		m.say(known.conn, "error")
	}
	known.conn = r.conn
}

// turns gives all their turns that have no gap before them.
func (m *model) turns() {
	for !m.over && !m.client {
		r := m.find(m.last + 1)
		if r == nil {
			return
		}
		soon := r.empty() && r.arrived >= m.arrived && r.arrived-m.arrived < m.polling
		if before := m.find(m.last); m.polls && soon && m.empty && before != nil && before.done && !strings.HasPrefix(before.answer, "body ") {
			m.fail(r.conn, "policy-violation")
			return
		}
		if r.conn != 0 {
			n := len(m.held()) + 1
			if n > m.requests && !r.end && r.pause == 0 || n == m.requests && soon && !m.polls {
				m.fail(r.conn, "policy-violation")
				return
			}
		}
		r.open = true
		m.last, m.arrived, m.empty, m.pause = r.rid, r.arrived, r.empty(), 0
		m.forget()
		m.in = append(m.in, r.payloads...)
		switch {
		case r.end:
			m.client = true
		case r.pause > 0:
			m.pause = r.pause
			for _, o := range m.where(func(o *modelRequest) bool { return o.open && !o.done }) {
				o.release = true
			}
		}
	}
}

// settle answers what is due.
func (m *model) settle() {
	for !m.over {
		held := m.held()
		if len(held) == 0 {
			if !m.client {
				return
			}
			switch r := m.where(func(r *modelRequest) bool { return r.open && !r.done })[0]; {
			case r.pause > 0:
				m.answer(r, "body")
			default:
				m.end(r)
			}
			continue
		}
		r := held[0]
		at := r.arrived + m.wait
		if m.polls {
			at = r.arrived
		}
		ends := m.client || m.app
		if !ends && !r.release && len(m.out) == 0 && len(held) <= m.hold && m.now < at {
			return
		}
		for _, o := range m.where(func(o *modelRequest) bool { return o.open && !o.done && o.rid < r.rid }) {
			m.answer(o, "body")
		}
		switch {
		case r.pause > 0:
			m.answer(r, "body")
		case ends:
			m.end(r)
		default:
			m.answer(r, m.body("body"))
		}
	}
}

// body takes what waits for the client.
func (m *model) body(kind string) string {
	kind = strings.Join(append([]string{kind}, m.out...), " ")
	m.out = nil
	return kind
}

func (m *model) answer(r *modelRequest, answer string) {
	r.done, r.answer = true, answer
	m.kept = append(m.kept, r)
	m.forget()
	if r.conn != 0 {
		m.say(r.conn, answer)
		m.rest()
	}
}

// forget drops the answers that need not be kept.
func (m *model) forget() {
	slices.SortFunc(m.kept, func(a, b *modelRequest) int { return cmp.Compare(b.rid, a.rid) })
	n, passed := 0, m.passed()
	m.kept = slices.DeleteFunc(m.kept, func(r *modelRequest) bool {
		if r.pause > 0 || r.end {
			return r.rid <= passed
		}
		n++
		return n > m.requests
	})
}

// passed returns the last rid whose answer the client must have.
func (m *model) passed() int {
	if slices.ContainsFunc(m.reqs, func(r *modelRequest) bool { return r.rid == m.last && r.open && (r.pause > 0 || r.end) }) {
		return m.last - m.requests - 1 // it was one more than the window takes
	}
	return m.last - m.requests
}

// proven returns how many payloads it must have had.
func (m *model) proven() (n int64) {
	for _, r := range m.reqs {
		if r.done && r.rid <= m.passed() {
			n += int64(len(r.told()))
		}
	}
	return n
}

// told returns the payloads of the answer.
func (r *modelRequest) told() []string {
	return strings.Fields(strings.TrimLeft(r.answer, "abcdefghijklmnopqrstuvwxyz-"))
}

// rest takes note of the time when a connection is done with.
func (m *model) rest() { m.idle = m.now }

// end answers r as the last one.
func (m *model) end(r *modelRequest) {
	m.answer(r, m.body("terminate"))
	rest := "terminate"
	if !m.app {
		rest = "body"
	}
	for _, o := range m.where(func(o *modelRequest) bool { return o.open && !o.done }) {
		m.answer(o, rest)
	}
	for _, o := range m.early() {
		if o.conn != 0 {
			m.say(o.conn, rest)
			m.rest()
		}
	}
	m.over, m.ended = true, m.now
	m.refuse(0)
}

// refuse answers the requests in doubt, but for the one on conn.
func (m *model) refuse(conn int) {
	for _, d := range m.doubts {
		if d.conn != conn {
			m.say(d.conn, "terminate item-not-found")
		}
	}
	m.doubts = nil
}

// fail ends the session because of what came on conn, if that is not 0.
func (m *model) fail(conn int, condition string) {
	for _, r := range m.where(func(r *modelRequest) bool { return !r.done && r.conn != 0 && r.conn != conn }) {
		m.say(r.conn, "terminate other-request")
	}
	if conn != 0 {
		m.say(conn, "terminate "+condition)
	}
	m.refuse(conn)
	m.over, m.forgotten = true, true
}

// afterwards is a request to a session that is over.
func (m *model) afterwards(r *modelRequest) {
	if known := m.find(r.rid); known != nil && known.done && !m.forgotten {
		m.say(r.conn, known.answer)
	} else {
		m.say(r.conn, "terminate item-not-found")
	}
	m.rest()
}

// cut breaks a connection.
func (m *model) cut(conn int) {
	for _, r := range m.reqs {
		if r.conn == conn && !r.done {
			r.conn = 0
			m.rest()
			m.settlePassed()
		}
	}
	if n := len(m.doubts); n > 0 {
		m.doubts = slices.DeleteFunc(m.doubts, func(d modelDoubt) bool { return d.conn == conn })
		if len(m.doubts) < n {
			m.rest()
		}
	}
	m.settle()
}

// move has another process go on: no connection gets an answer.
func (m *model) move() {
	for _, r := range m.where(func(r *modelRequest) bool { return !r.done && r.conn != 0 }) {
		r.conn = 0
		m.rest()
	}
	if len(m.doubts) > 0 {
		m.doubts = nil
		m.rest()
	}
	for _, r := range m.reqs {
		r.repeats = 0
	}
	m.settlePassed()
	m.settle()
}

// settlePassed answers the oldest requests whose connections are broken, if the client
// cannot ask about them any more.
func (m *model) settlePassed() {
	for _, o := range m.where(func(o *modelRequest) bool { return o.open && !o.done }) {
		if o.conn != 0 || o.rid > m.passed() {
			return
		}
		m.answer(o, "body")
	}
}

// next returns when the clock brings something about, and does what it is.
func (m *model) next() (at time.Duration, do func()) {
	at, do = 1<<63-1, m.silence
	if m.forgotten {
		return at, nil
	}
	waiting := len(m.doubts)+len(m.where(func(r *modelRequest) bool { return !r.done && r.conn != 0 })) > 0
	if m.over {
		return m.ended + modelAfterlife, func() { m.forgotten = true }
	}
	limit := m.inactivity
	if m.pause > 0 {
		limit = m.pause + Overtime
	}
	if !waiting {
		at = m.idle + limit
	}
	for _, r := range m.early() {
		at = min(at, r.arrived+m.granted+m.inactivity)
	}
	if held := m.held(); len(held) > 0 && held[0].arrived+m.wait < at {
		at, do = held[0].arrived+m.wait, m.settle
	}
	if len(m.doubts) > 0 && m.doubts[0].until < at {
		d := m.doubts[0]
		return d.until, func() { m.fail(d.conn, "item-not-found") }
	}
	return at, do
}

// silence ends a session whose client is gone, or leaves a gap.
func (m *model) silence() {
	for _, r := range m.where(func(r *modelRequest) bool { return !r.done && r.conn != 0 }) {
		if r.open {
			m.say(r.conn, "terminate other-request")
		}
	}
	for _, r := range m.early() {
		if r.conn != 0 {
			m.say(r.conn, "terminate item-not-found")
		}
	}
	m.refuse(0)
	m.over, m.forgotten = true, true
}

// advance lets the clock go on.
func (m *model) advance(d time.Duration) {
	end := m.now + d
	for {
		at, do := m.next()
		if at > end {
			break
		}
		m.now = max(m.now, at)
		do()
	}
	m.now = end
}
