package session

import (
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/wire"
)

// A Config is the common part of a Handler's Machines: its options.
type Config struct {
	Grace, CreateTimeout, ReportAfter    time.Duration
	MaxBody                              int64
	MaxElement                           int
	ReadBuffer, WriteBuffer              int
	ReplayBuffer, MaxStreams, MaxRepeats int
	WhitespaceKeepalive, PassUpgrades    bool

	Throttle     bool // a client waits until the application has read
	ByConnection bool // a new request on the connection of an answer proves that the client has it
	ByKernel     bool // so does a receipt
}

// A Phase is how far a session has come.
//
//	Running ──► Ending ──► Ended
//	   └─────────────────────▲
//
// It is Running from its creation on. It is Ending after the application or the client has
// asked for the end: the next answer tells the client, if it comes for it in time. It is
// Ended after that answer, or after a fault, or silence.
type Phase uint8

const (
	Running Phase = iota
	Ending
	Ended // nothing is done for the client any more
)

// A Machine is a BOSH session: the window of rids, the held requests, their streams, and
// the time of each duty. It has no lock, no clock and no connection, and it calls nobody
// back. Its owner tells it events with their time. It notes the work to do, for the owner
// to take afterwards: see Effects.
//
// All of its state is data. Without the Exchanges under way, it can be written down and
// read back.
type Machine struct {
	Grant *Grant // shared
	SID   string // the secret
	cfg   *Config

	Stats Counters
	Heard time.Duration // when the last request arrived

	win     Window[Exchange, openRequest]
	streams streams

	final *End // how the session has ended, or is to end once the client has been told; nil while it is Running

	writing *Exchange // the one that is being answered: one at a time keeps them in order
	chain   Line      // answered, and to be written in this order after writing
	stale   Line      // with a rid that was forgotten long ago: see holdStale

	grace     time.Duration // until then a surplus request waits for output, and output for the application: see ready
	sent      time.Duration // when payloads were last written to the client
	former    time.Duration // until then those of another process may be on their way: see clear; 0 if all are later
	carrier   uint64        // the connection they went out on; 0 if that is unknown
	carried   int64         // the rid whose answer they were
	receipt   *Receipt      // of it; nil if nobody asks for one, or it is there
	idleSince time.Duration // when the last exchange was done
	comes     time.Duration // since when bodies have been on their way without a break: see Comes
	came      time.Duration // when the last of them had been on its way, if that took time

	kept   int64  // bytes that it keeps, as it was last accounted for
	unread int    // bytes of memory that the input of its streams takes
	live   int32  // exchanges that wait for their answer or are being answered
	coming int32  // bodies that are on their way: see Comes
	extra  uint32 // bytes that its owner keeps for it
	pause  uint16 // granted pause in seconds, which replaces the inactivity limit; 0 if none

	phase   Phase
	created bool // the creation has been answered
	moved   bool // another process has the session: who waits gets no answer
	watched bool // neither grace nor the wait for the first output counts yet: see defers
	working bool // the application may still reply to the last body with payloads, until grace is over: see ready
	limited bool // there has been a request with a Limit
	vain    int8 // how many of the last bodies had no reply within Grace, the last one included; at most 100

	// The effects follow.

	watch   bool          // see Effects
	account bool          // it is time to account for what is kept
	over    bool          // the session has ended
	keep    bool          // the answers are to be kept for repeats
	proved  bool          // more may be proven than before
	woken   Line          // to be answered
	alarm   time.Duration // when to call Tick at the latest; 0 if that has not changed
}

// Counters count the work of a session.
type Counters struct{ Requests, Repeats, PayloadsIn, PayloadsOut, BytesIn, BytesOut int64 }

// An openRequest is the session's part of a held request.
type openRequest struct {
	until   time.Duration // when its wait is over
	opener  *Stream       // the answer names this new stream
	lost    *lost         // the answer reports this, if not nil
	opening bool          // it opens a stream that the application has not admitted yet
}

// A lost is an answer that seems to have been lost.
type lost struct {
	rid int64
	age time.Duration
}

// A record is the window's part of a request.
type heldRecord = Record[Exchange, openRequest]

// New returns the Machine of a session with the first stream st. Its owner keeps extra
// bytes for it.
func New(cfg *Config, grant *Grant, sid string, extra int, st *Stream) Machine {
	return Machine{cfg: cfg, Grant: grant, SID: sid, extra: uint32(extra), streams: streams{RoundRobinOf[*Stream, company](st)}}
}

// never is a time without end.
const never = time.Duration(1<<63 - 1)

// The following methods take the effects. All return the zero value if there is none. They
// are to be called after each event, with no other event in between, in this order.

// TakeWatch reports whether Look is to be called, after the ready goroutines have run,
// until it reports the end.
func (m *Machine) TakeWatch() bool {
	w := m.watch
	m.watch = false
	return w
}

// TakeProved reports whether more may be proven of the streams than before, or they have
// ended.
func (m *Machine) TakeProved() bool {
	p := m.proved
	m.proved = false
	return p
}

// Quiet reports whether there are no Effects, as mostly.
func (m *Machine) Quiet() bool { return !m.account && !m.keep && !m.over && m.alarm == 0 }

// Calm reports whether there is nothing to take at all, from the streams either.
func (m *Machine) Calm() bool {
	return m.streams.several == nil && m.streams.one[0].wake == 0 && !m.watch && !m.proved && m.Quiet() && m.woken.Empty()
}

// Effects are work for the owner, besides that of the other methods.
type Effects struct {
	Alarm  time.Duration // when to call Tick at the latest; 0 if that has not changed
	Kept   int64         // bytes that the session keeps
	Memory int64         // their growth
	Over   bool          // the session has ended
	Keep   bool          // Answers are to be kept for repeats, after the end
}

// Effects takes the Effects.
func (m *Machine) Effects() Effects {
	e := Effects{Alarm: m.alarm, Over: m.over, Keep: m.keep}
	if m.account {
		e.Memory = m.recount()
	}
	e.Kept = m.kept
	m.alarm, m.over, m.keep, m.account = 0, false, false, false
	return e
}

// TakeWoken returns an exchange with an answer to be taken: see Give.
func (m *Machine) TakeWoken() *Exchange {
	x := m.woken.Pop()
	if x != nil {
		x.woken = false
	}
	return x
}

// Phase returns how far the session has come.
func (m *Machine) Phase() Phase { return m.phase }

// Final returns how the session has ended, or is to end, or nil.
func (m *Machine) Final() *End { return m.final }

// Live returns how many exchanges wait for their answer or are being answered.
func (m *Machine) Live() int { return int(m.live) }

// Created reports whether the creation has been answered.
func (m *Machine) Created() bool { return m.created }

// Paused reports whether the client has a pause.
func (m *Machine) Paused() bool { return m.pause > 0 }

// SetExtra takes note of its owner's bytes for the session.
func (m *Machine) SetExtra(n int) {
	m.extra = uint32(n)
	m.account = m.phase != Ended
}

// Watched reports whether Look is being called.
func (m *Machine) Watched() bool { return m.watched }

// Streams returns the streams that are open, or have output. They are not to be changed,
// and good until the next event.
func (m *Machine) Streams() []*Stream { return m.streams.All() }

// Settle wakes the oldest open request if something is due on it, and sets the alarm for
// the next duty. It is called after every event of a session.
func (m *Machine) Settle(now time.Duration) {
	if m.vain > 0 && now < m.grace && m.streams.pending() {
		m.vain = 0
	}
	if m.working && m.grace <= now {
		m.lapses()
	}
	if m.writing == nil && m.phase != Ended {
		m.settleEnd(now)
	}
	next := never
	if m.writing == nil && !m.chain.Empty() {
		if at := m.clear(m.chain.first, now); at <= now {
			m.writing = m.chain.Pop()
			m.wake(m.writing)
		} else {
			next = min(next, at)
		}
	}
	if m.phase != Ended {
		next = min(next, m.nextExpiry(), m.decided(), m.receipt.due())
	}
	if m.writing == nil && m.chain.Empty() && m.phase != Ended {
		if r, at := m.due(now); r != nil {
			if at = min(at, m.limit()); at <= now {
				m.writing = r.Exchange
				m.settleOrphans(r.Rid, now)
				m.wake(m.writing)
			} else {
				next = min(next, at)
			}
		}
	}
	if next != never {
		m.alarm = max(next, 1) // 0 is no alarm, and an imported session may be late
	}
	m.account = true
}

// wake has x answered, unless that is already to be.
func (m *Machine) wake(x *Exchange) {
	if !x.woken && !x.Queued {
		x.woken = true
		m.woken.Push(x)
	}
}

// recount counts the session's memory, and returns its growth, if it is worth it. Most
// sessions never keep so much.
func (m *Machine) recount() int64 {
	n := 0
	for _, st := range m.streams.All() {
		m.countInput(st)
		n += st.Opening.size() + st.Out.Size()
	}
	n += m.unread + int(m.extra) + m.win.Weight()
	if m.phase == Ended {
		if n = m.unread; n < worthCounting { // all else that is left is the application's
			n = 0
		}
	}
	d := int64(n) - m.kept
	if d >= worthCounting || d <= -worthCounting || m.phase == Ended {
		m.kept = int64(n)
		return d
	}
	return 0
}

// worthCounting is how many bytes of a session go uncounted.
const worthCounting = 1 << 10

// worthAccounting reports whether slowly growing output is to be accounted for: each time
// it crosses a multiple of often. The next request or answer accounts for the rest.
func worthAccounting(before, after int) bool { return before/often != after/often }

// often is after how many bytes of a buffer it is.
const often = 4 << 10

// nextExpiry returns when the session must end if nothing happens.
func (m *Machine) nextExpiry() time.Duration {
	if m.phase == Ended || m.coming > 0 {
		return never
	}
	at := never
	since, gap := m.win.Gap()
	if gap {
		at = max(since+m.Grant.Wait+m.inactivity(), m.came+overtime) // what was lost on its way is to be sent again
	}
	idle := max(m.idleSince, m.came)
	switch {
	case m.live > 0:
	case m.pause > 0:
		at = min(at, idle+time.Duration(m.pause)*time.Second+overtime)
	case m.Grant.Inactivity > 0 || m.final != nil || gap:
		at = min(at, idle+m.inactivity())
	}
	return at
}

// Comes takes note of a request's body on its way, perhaps for long. As long as it is, the
// client is not inactive.
func (m *Machine) Comes(now time.Duration) {
	if m.coming == 0 {
		m.comes = now
	}
	m.coming++
}

// ComesNoMore takes note of its arrival, after Receive, or loss.
func (m *Machine) ComesNoMore(now time.Duration) {
	m.coming--
	if now > m.comes {
		m.came = now
	}
	m.Settle(now)
}

// inactivity is how long a client may be silent when silence has a limit.
func (m *Machine) inactivity() time.Duration {
	if m.Grant.Inactivity == 0 {
		return DefaultInactivity + overtime
	}
	return m.Grant.Inactivity + overtime
}

// DefaultInactivity is how long a client may be silent when it is not told.
const DefaultInactivity = 75 * time.Second

// overtime is added to a client's time of silence: it counts from the arrival of the last
// answer, its timer is late, and its request needs to arrive.
const overtime = 2 * time.Second

// Tick is called at the time of the alarm, or later.
func (m *Machine) Tick(now time.Duration) {
	if m.decide(now); m.nextExpiry() <= now {
		m.expire()
	}
	m.Settle(now)
}

// Waiting returns how many bytes wait for the client and for the application.
func (m *Machine) Waiting() (queued, unread int) {
	for _, st := range m.streams.All() {
		queued += st.Out.Len()
		unread += st.In.Behind()
	}
	return queued, unread
}

// busy reports whether the application has input to work on.
func (m *Machine) busy() bool { return slices.ContainsFunc(m.streams.All(), (*Stream).busy) }

// key returns the part of the request's key to be remembered.
func (m *Machine) key(req *wire.Request) *string {
	if !m.win.Keyed() {
		return nil
	}
	key := string(req.Key)
	return &key
}
