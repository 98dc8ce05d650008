package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/state"
	"github.com/gobosh/bosh/internal/wire"
)

// A line is a connection of the client, which keeps answers in order.
type testLine uint64

func (l testLine) Connection() uint64 { return uint64(l) }
func (testLine) Forwarded() bool      { return false }
func (testLine) Receipt() any         { return nil }

// A life drives a Machine at random, without HTTP: its client repeats, breaks off, and
// sends requests out of order; its application reads and writes when it likes; and time
// goes on as it likes.
type life struct {
	*testing.T
	rand *rand.Rand
	now  time.Duration
	m    Machine
	st   *Stream

	alarm time.Duration
	woken []*Exchange
	desk  Line // the same, as a Carrier may keep them
	open  map[*Exchange]bool

	bodies   map[int64]string // what was sent under each rid
	arrived  map[int64]bool
	answers  map[int64]string // what the client has
	rid      int64            // the last one sent
	low      int64            // the client has the answers below
	in, read int              // payloads that the client has sent, and the application has read
	out      int              // those that the application has written
	steps    int
}

func newLife(t *testing.T, seed uint64, hold int) *life {
	l := &life{
		T: t, rand: rand.New(rand.NewPCG(seed, 1)), open: make(map[*Exchange]bool), bodies: make(map[int64]string),
		arrived: make(map[int64]bool), answers: make(map[int64]string), rid: 1000, low: 1000, now: time.Hour,
	}
	l.st = &Stream{Opening: &Opening{To: "example.com", Framing: framing.ElementStream{}}, Framing: framing.ElementStream{}}
	grant := &Grant{Wait: time.Minute, Inactivity: time.Minute, Pause: 2 * time.Minute, Hold: hold, Requests: hold + 1, Ver: "1.11", Acks: true, Content: wire.TextXML}
	config := &Config{
		Grace: 5 * time.Millisecond, CreateTimeout: 10 * time.Second, ReportAfter: 5 * time.Second, MaxBody: 1 << 20,
		ReadBuffer: 64 << 10, WriteBuffer: 64 << 10, ReplayBuffer: 64 << 10, MaxStreams: 1, MaxRepeats: -1,
	}
	l.m = New(config, grant, "sid", 100, l.st)
	body := "<body xmlns='" + wire.NS + "' rid='1000' to='example.com' ver='1.11' wait='60' hold='" + strconv.Itoa(hold) + "'/>"
	l.bodies[1000], l.arrived[1000] = body, true
	req := l.parse(body)
	require.Empty(l, l.m.Fill(req))
	x := &Exchange{Carrier: testLine(1), Creates: true}
	l.open[x] = true
	l.m.Start(l.now, Request{Request: req}, x)
	l.act()
	return l
}

func (l *life) parse(body string) *wire.Request {
	req := &wire.Request{Body: []byte(body)}
	err := req.Parse(wire.Limits{})
	l.holds(err == nil, "a body is read", err)
	return req
}

// holds fails unless ok. Package require would take more time than the machine.
func (l *life) holds(ok bool, args ...any) {
	if !ok {
		l.Fatal(args...)
	}
}

// act takes the effects.
func (l *life) act() {
	l.m.TakeWatch()
	l.st.TakeWake()
	l.m.TakeProved()
	e := l.m.Effects()
	for x := l.m.TakeWoken(); x != nil; x = l.m.TakeWoken() {
		if !slices.Contains(l.woken, x) {
			l.woken = append(l.woken, x)
			l.desk.Push(x)
			x.Queued = true
		}
	}
	l.holds(l.desk.Len() == len(l.woken), "each is in one Line")
	if e.Alarm != 0 && (l.alarm == 0 || e.Alarm < l.alarm) {
		l.alarm = e.Alarm
	}
	l.holds(l.m.Quiet(), "all effects are taken")
	l.holds(len(l.open) == l.m.Live(), "each exchange is over once")
}

// send sends the body of rid, for the first time or again.
func (l *life) send(rid int64) {
	x := &Exchange{Carrier: testLine(l.rand.IntN(3))}
	l.open[x] = true
	req := l.parse(l.bodies[rid])
	l.arrived[rid] = true
	l.m.Arrive(l.now, req, x)
	if l.m.Phase() == Ended {
		l.m.Override(x, Refusal(&End{Condition: ItemNotFound}, false))
	} else {
		l.m.Receive(l.now, Request{Request: req, Sum: uint64(rid), Share: -1}, x)
		for body, ok := l.m.Early(); ok; body, ok = l.m.Early() {
			l.m.TakeEarly(l.now, Request{Request: l.parse(string(body))})
		}
		l.m.Settle(l.now)
	}
	l.act()
}

// missing returns the rids that were sent and whose answers the client does not have.
func (l *life) missing() (rids []int64) {
	for rid := l.low; rid <= l.rid; rid++ {
		if _, ok := l.answers[rid]; !ok {
			rids = append(rids, rid)
		} else if rid == l.low {
			l.low++
		}
	}
	return rids
}

// may reports whether the client may send n requests more.
func (l *life) may(n int64) bool {
	missing := l.missing()
	return len(missing) == 0 || l.rid+n < missing[0]+int64(l.m.Grant.Requests)
}

// next makes the body of the client's next request, with payloads or none.
func (l *life) next() {
	l.rid++
	var b strings.Builder
	fmt.Fprintf(&b, "<body xmlns='%s' rid='%d' sid='sid'", wire.NS, l.rid)
	b.WriteByte('>')
	for range l.rand.IntN(3) {
		l.in++
		fmt.Fprintf(&b, "<c xmlns='u'>%d</c>", l.in)
	}
	b.WriteString("</body>")
	l.bodies[l.rid] = b.String()
}

// deliver has a woken exchange answered, or lost on the way.
func (l *life) deliver(i int, lost bool) {
	x := l.woken[i]
	l.woken = slices.Delete(l.woken, i, i+1)
	l.desk.Remove(x)
	if x.Queued = false; !l.open[x] {
		return
	}
	if !l.m.Give(l.now, x) {
		l.act()
		return
	}
	body := string(x.Reply.Body)
	if !lost && body != wire.Again && l.m.Phase() != Ended {
		if had, ok := l.answers[x.Rid]; ok {
			l.holds(had == body, "an answer is the same whenever it is given:", had, body)
		}
		l.answers[x.Rid] = body
	}
	l.over(x)
}

func (l *life) over(x *Exchange) {
	delete(l.open, x)
	l.m.Done(l.now, x)
	l.act()
}

// step does one thing.
func (l *life) step() {
	l.steps++
	missing := l.missing()
	switch n := l.rand.IntN(20); {
	case n < 4: // the client sends what is new
		if l.may(1) {
			l.next()
			l.send(l.rid)
		}
	case n < 5: // two out of order
		if l.may(2) {
			l.next()
			l.next()
			l.send(l.rid)
			l.send(l.rid - 1)
		}
	case n < 6: // it repeats, of what it has no answer to
		if len(missing) > 0 && missing[0] > 1000 {
			l.send(missing[l.rand.IntN(len(missing))])
		}
	case n < 7: // a connection breaks
		for x := range l.open {
			if !x.Creates && !x.Reply.Given() {
				l.over(x)
				break
			}
		}
	case n < 12:
		if len(l.woken) > 0 {
			i := l.rand.IntN(len(l.woken))
			l.deliver(i, l.woken[i].Rid > 1000 && l.rand.IntN(5) == 0)
		}
	case n < 14: // the application writes
		before := l.st.Out.Len()
		l.out++
		l.holds(l.st.Queue(fmt.Appendf(nil, "<s xmlns='u'>%d</s>", l.out), 1) == nil, "there is room")
		if l.m.Spoken(l.st, before) {
			l.m.Settle(l.now)
		}
		l.act()
	case n < 18: // and reads
		l.reads()
	default:
		l.passes(time.Duration(l.rand.Int64N(int64(20 * time.Millisecond))))
	}
}

func (l *life) reads() {
	if l.m.Returns(l.st) || l.st.In.Len() == 0 && l.m.Listens(l.st) {
		l.m.Settle(l.now)
	}
	for l.st.In.Len() > 0 {
		before := l.st.In.Behind()
		el := l.st.In.Next(nil)
		l.read++
		l.holds(string(el) == fmt.Sprintf("<c xmlns='u'>%d</c>", l.read), "in order, and once:", string(el))
		if l.m.Consumed(l.st, before) {
			l.m.Settle(l.now)
		}
	}
	l.act()
}

// passes lets time pass, and the alarm ring.
func (l *life) passes(d time.Duration) {
	end := l.now + d
	for l.alarm != 0 && l.alarm <= end {
		l.now = max(l.now, l.alarm)
		l.alarm = 0
		l.m.Tick(l.now)
		l.act()
	}
	l.now = end
}

// finish has the client fetch all there is.
func (l *life) finish() {
	for range 1000 {
		l.reads()
		for len(l.woken) > 0 {
			l.deliver(0, false)
		}
		l.passes(100 * time.Millisecond)
		missing := l.missing()
		for _, rid := range missing {
			if rid > 1000 && !l.waits(rid) {
				l.send(rid)
			}
		}
		if l.st.Out.Empty() && len(missing) == 0 {
			return
		}
		if !l.st.Out.Empty() && l.may(1) {
			l.next()
			l.send(l.rid)
		}
	}
}

// waits reports whether a request with the rid is open.
func (l *life) waits(rid int64) bool {
	for x := range l.open {
		if x.Rid == rid {
			return true
		}
	}
	return false
}

// An answer that is ready may wait in the Line of a Carrier. If the client repeats its
// request meanwhile, or the session moves, those behind it stay there.
func TestOthersBehindInLine(t *testing.T) {
	for name, event := range map[string]func(l *life){
		"repeat": func(l *life) { l.send(1002) },
		"move":   func(l *life) { l.m.Move(l.now, &End{Err: ErrUncreated}) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t, 1, 1)
			says := func() {
				require.NoError(t, l.st.Queue([]byte("<s xmlns='u'/>"), 1))
				l.m.Settle(l.now)
				l.act()
				for range 100 {
					l.passes(10 * time.Millisecond)
				}
				require.Len(t, l.woken, 1)
			}
			says()
			l.deliver(0, false)
			for rid := int64(1001); rid <= 1002; rid++ {
				l.next()
				l.send(rid)
				l.reads()
				says()
				if rid == 1001 {
					l.deliver(0, false)
				}
			}
			l.send(1001)
			require.Len(t, l.woken, 2, "behind the answer to 1002")
			event(l)
			l.act()
			for range 100 {
				for len(l.woken) > 0 {
					l.deliver(0, false)
				}
				l.passes(10 * time.Millisecond)
			}
			require.Empty(t, l.open)
		})
	}
}

// Whatever happens, each payload arrives once and in order, both ways, and each exchange
// is answered or over.
func TestMachine(t *testing.T) {
	steps := 0
	begun := time.Now()
	for _, hold := range []int{1, 2, 3} {
		for seed := range uint64(60) {
			l := newLife(t, seed, hold)
			for range 300 {
				l.step()
				l.holds(l.m.Phase() == Running, "it goes on: hold", hold, "seed", seed, l.m.Final())
			}
			l.finish()
			require.Equal(t, Running, l.m.Phase(), "hold %d, seed %d: %v", hold, seed, l.m.Final())
			require.Empty(t, l.missing(), "hold %d, seed %d: requests without an answer", hold, seed)
			require.Equal(t, l.in, l.read, "hold %d, seed %d: all that the client has sent is read", hold, seed)
			var got []string
			for rid := int64(1000); rid <= l.rid; rid++ {
				req := &wire.Request{Body: []byte(l.answers[rid])}
				require.NoError(t, req.Parse(wire.Ours), "hold %d, seed %d, rid %d", hold, seed, rid)
				for _, p := range req.Payloads {
					got = append(got, string(req.AppendElement(nil, p)))
				}
			}
			var want []string
			for n := 1; n <= l.out; n++ {
				want = append(want, fmt.Sprintf("<s xmlns='u'>%d</s>", n))
			}
			require.Equal(t, want, got, "hold %d, seed %d", hold, seed)
			steps += l.steps
		}
	}
	t.Logf("%.0f steps a second", float64(steps)/time.Since(begun).Seconds())
}

// B14.2-7: a gap lasts as long however the bodies come. One on its way may fill it, and if
// it is lost there is time to send it again.
func TestGapAndBodiesOnTheirWay(t *testing.T) {
	l := newLife(t, 1, 1)
	l.act()
	for len(l.woken) > 0 {
		l.deliver(0, false)
	}
	l.next()
	l.next()
	l.send(1002)
	begun := l.now
	end := begun + l.m.Grant.Wait + l.m.Grant.Inactivity + overtime
	for range 3 {
		l.now += 20 * time.Second
		l.m.Comes(l.now)
		l.now += time.Second
		l.m.ComesNoMore(l.now)
		require.Equal(t, end, l.m.nextExpiry(), "a body that has come changes nothing")
	}
	l.m.Comes(l.now)
	require.Equal(t, never, l.m.nextExpiry())
	l.now = end + time.Minute
	l.m.Comes(l.now)
	l.m.ComesNoMore(l.now)
	require.Equal(t, never, l.m.nextExpiry(), "the other one is still on its way")
	l.m.ComesNoMore(l.now)
	require.Equal(t, l.now+overtime, l.m.nextExpiry())

	l.m.Comes(l.now + time.Second)
	l.m.ComesNoMore(l.now + time.Second)
	require.Equal(t, l.now+overtime, l.m.nextExpiry(), "it came at once")
}

// A client whose body is on its way is not inactive where its session moves to, either.
func TestExportWithBodyOnItsWay(t *testing.T) {
	l := newLife(t, 1, 1)
	l.act()
	l.now += time.Minute
	l.m.Tick(l.now)
	l.act()
	for len(l.woken) > 0 {
		l.deliver(0, false)
	}
	require.Zero(t, l.m.Live())
	age := l.m.Grant.Inactivity + time.Minute
	l.m.Comes(l.now)
	var s state.Session
	l.m.Export(l.now+age, &s)
	require.Zero(t, s.Idle)
	l.m.ComesNoMore(l.now + age)
	s = state.Session{}
	l.m.Export(l.now+age+time.Second, &s)
	require.Equal(t, time.Second, s.Idle)
}
