package session

import (
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/wire"
)

// A Request is a client's request.
type Request struct {
	*wire.Request
	Sum       uint64 // hash of its body
	Malformed bool   // it could not be parsed to its end
	Spare     bool   // the process has time to spare: see Look
	Share     int64  // bytes that the session may keep to send anything new; negative if it may keep all it has
}

// Start makes the creation request the session's first one.
func (m *Machine) Start(now time.Duration, req Request, x *Exchange) {
	m.win = NewWindow[Exchange, openRequest](req.Rid.N, m.Grant.Requests)
	m.win.Keep = req.Ack.Set && req.Ack.OK && req.Ack.N > 0
	m.win.Limit = int32(m.cfg.ReplayBuffer)
	if len(req.NewKey) > 0 {
		m.win.ExpectKey(string(req.NewKey))
	}
	m.Arrive(now, req.Request, x)
	m.win.Insert(heldRecord{Rid: x.Rid, At: now, Exchange: x})
	r := m.win.Take()
	wait := m.openingWait(m.streams.All()[0])
	r.Held.until = now + wait
	if wait > 0 {
		m.defers(req.Spare)
	}
	if len(req.Payloads) > 0 {
		m.works(now)
	}
	m.Settle(now)
}

// Arrive takes note of a request. It is over with Done.
func (m *Machine) Arrive(now time.Duration, req *wire.Request, x *Exchange) {
	m.live++
	m.Stats.Requests++
	m.Stats.BytesIn += int64(len(req.Body))
	x.Rid, x.Arrived, m.Heard = req.Rid.N, now, now
	m.limited = m.limited || x.Limit > 0
}

// Receive takes an arrived request. Its answer becomes ready on x. The session has not
// ended. It is followed by Early, until there is no more, and Settle.
func (m *Machine) Receive(now time.Duration, req Request, x *Exchange) {
	verdict := m.win.Classify(x.Rid, m.Grant.Extra(req.Request))
	if (verdict == Turn || verdict == Ahead) && req.Share >= 0 && m.kept > req.Share && !Terminates(req.Request) {
		m.failBy(x, PolicyViolation, ErrShare)
		return
	}
	switch verdict {
	case Beyond:
		m.fail(x, ItemNotFound)
	case Gone:
		if !m.holdStale(x) {
			m.fail(x, ItemNotFound)
		}
	case Repeat:
		m.repeat(req, x)
	case Ahead:
		if req.Malformed {
			m.fail(x, BadRequest)
			break
		}
		m.infers(x)
		m.win.Insert(heldRecord{Rid: x.Rid, Sum: req.Sum, Key: m.key(req.Request), At: now, Exchange: x, Early: slices.Clone(req.Body)})
		x.Early = true
	case Turn:
		if req.Malformed {
			m.fail(x, BadRequest)
			break
		}
		m.infers(x)
		m.win.Insert(heldRecord{Rid: x.Rid, Sum: req.Sum, Key: m.key(req.Request), At: now, Exchange: x})
		m.takeTurn(now, req)
	}
	m.proved = true
}

// infers takes note of the proof by the connection of a new request.
func (m *Machine) infers(x *Exchange) {
	if m.cfg.ByConnection && m.follows(x) {
		m.win.Prove(m.carried)
	}
}

// Early returns the body of an early request in its turn, if there is one. It is to be
// parsed again, and given to TakeEarly, before any other event.
func (m *Machine) Early() (body []byte, ok bool) {
	if r := m.win.Turn(); r != nil && m.goesOn() {
		return r.Early, true
	}
	return nil, false
}

// TakeEarly takes the request of that body.
func (m *Machine) TakeEarly(now time.Duration, req Request) { m.takeTurn(now, req) }

// takeTurn processes the request in turn. XEP-0124, section 8, and the order of the checks
// in sections 11, 14 and 15.
func (m *Machine) takeTurn(now time.Duration, req Request) {
	r := m.win.Find(m.win.Last() + 1)
	x := r.Exchange
	if !m.win.CheckKey(string(req.Key), string(req.NewKey)) {
		m.fail(x, ItemNotFound)
		return
	}
	restart, excused, ok := m.restarts(req.Request)
	if !ok {
		m.fail(x, BadRequest)
		return
	}
	if (restart || len(req.Payloads) > 0) && m.flooded() {
		m.failBy(x, PolicyViolation, ErrFlooded)
		return
	}
	opens := m.Grant.Opens(req.Request)
	pause := m.Grant.Pauses(req.Request)
	r.Pause, r.End = pause > 0, Terminates(req.Request)
	r.Empty = len(req.Payloads) == 0 && pause == 0 && !r.End && !restart && !excused && !opens
	if m.win.Overactive(r, m.Grant.Polling, m.Grant.Polls(), m.Grant.Extra(req.Request)) {
		m.failBy(x, PolicyViolation, ErrOveractive)
		return
	}
	lost := m.lost(r.Rid, req.Ack, now)
	r = m.win.Take()
	m.pause = 0
	r.Held = openRequest{until: max(now, r.At+m.Grant.Patience()), lost: lost}
	r.Release = r.Release || lost != nil // it may have been released while it was early
	asks := len(req.Payloads) > 0 && !restart && !r.Pause && !r.End
	if asks && m.cfg.Grace > 0 {
		m.defers(req.Spare && !m.inVain())
	}
	switch {
	case restart:
		m.restart(req.Request, now)
	case opens:
		m.openStream(r, req.Request)
		return
	default:
		if cond := m.forward(req.Request); cond != "" {
			m.fail(x, cond)
			return
		}
	}
	r = m.win.Find(m.win.Last())
	if m.cfg.WhitespaceKeepalive && len(req.Payloads) == 0 && !restart && !r.End {
		m.keepAlive(req.Request)
	}
	switch {
	case r.End:
		if cond := m.terminated(req.Request); cond != "" {
			m.fail(x, cond)
		}
	case pause > 0:
		m.pause = seconds(pause)
		m.win.Release(MaxRid + 1)
	case asks:
		m.works(now)
		if m.Grant.Polls() && !m.inVain() {
			r.Held.until = now + m.cfg.Grace
		}
	}
}

// seconds returns a granted time in seconds, at most MaxSeconds.
func seconds(d time.Duration) uint16 { return uint16(d / time.Second) }

// flooded reports whether more input waits for the application than may come while
// requests go unanswered. Such a client got answers all the same, since there was
// something to say, or it asked for them by a pause, and nothing else stops it.
func (m *Machine) flooded() bool {
	limit := int64(m.cfg.ReadBuffer) + int64(m.Grant.Requests)*m.cfg.MaxBody
	return slices.ContainsFunc(m.streams.All(), func(st *Stream) bool { return int64(st.In.Behind()) > limit })
}

// lost takes note of the acks of the request rid, and returns the lost answer to report to
// the client, or nil. XEP-0124, section 9.2.
func (m *Machine) lost(rid int64, ack wire.Number, now time.Duration) *lost {
	r := m.win.Ack(rid, ack)
	if r == nil || !m.Grant.Acks || m.cfg.ReportAfter < 0 || now-r.At < m.cfg.ReportAfter {
		return nil
	}
	return &lost{r.Rid, now - r.At}
}

// goesOn reports whether the client may still send: it has neither asked for the end nor
// caused it.
func (m *Machine) goesOn() bool { return m.phase != Ended && m.streams.find(nil) != nil }

// given is a request's age without an answer from which a repeat is no fault of the client:
// we, or somebody in between, have cut the request short. Such a repeat does not count.
const given = time.Second

// repeat handles a request with a known rid. XEP-0124, section 14.3.
func (m *Machine) repeat(req Request, x *Exchange) {
	r := m.win.Find(x.Rid)
	m.Stats.Repeats++
	x.Repeat = true
	if r.Key != nil && *r.Key != string(req.Key) {
		m.fail(x, ItemNotFound)
		return
	}
	if !r.Matches(req.Sum) {
		// Something else under a taken rid. It is not acted on and gets nothing to see; the
		// session is not at fault.
		m.Override(x, m.terminal(ItemNotFound))
		return
	}
	if old := r.Exchange; r.State >= Answered || old != nil && x.Arrived-old.Arrived < given {
		if n := r.Repeat(); m.cfg.MaxRepeats >= 0 && n > m.cfg.MaxRepeats {
			m.failBy(x, PolicyViolation, ErrRepeats)
			return
		}
	}
	if r.State >= Answered {
		if r.Pause && r.Rid == m.win.Last() {
			m.pause = seconds(m.Grant.Pauses(req.Request))
		}
		m.giveWay(r.Rid)
		if r.Payload { // it is on its way again
			m.sends(x, x.Arrived)
		}
		m.Override(x, Reply{Body: r.Body})
		return
	}
	old := r.Exchange
	r.Exchange = x
	if old == nil {
		return
	}
	if m.writing == old {
		m.writing = nil
	}
	m.Override(old, Reply{Body: []byte(wire.Again)})
}

// giveWay takes the turn away from the writers of the answer to rid. The client has asked
// for it elsewhere, so their connections are dead, and may block until WriteTimeout is
// over.
func (m *Machine) giveWay(rid int64) {
	if m.writing != nil && m.writing.Rid == rid {
		m.writing = nil
	}
	for x := m.chain.first; x != nil; x = x.next {
		if x.Rid == rid {
			m.chain.Remove(x)
			m.wake(x)
			return
		}
	}
}

// Override answers x out of turn.
func (m *Machine) Override(x *Exchange, a Reply) {
	x.Reply = a
	m.wake(x)
}

// doubtful is how long a broken connection may take to be noticed. It was broken before the
// request was read, so only two delays remain. The process waits for the processor, which
// may be long under load or a quota. And the end of the connection arrives later than its
// bytes did: if it gets lost, about as long as TCP takes to send it again.
const doubtful = time.Second

// maxStale is how many stale requests there may be in a session at a time.
const maxStale = 64

// holdStale adds x to the stale requests, unless there are too many. The rid of a stale
// request was forgotten long ago. It ends the session, as the XEP has it, unless nobody
// waits for its answer. Then it is a copy of an abandoned request, delayed by the network
// or our own sluggishness, and the client has done nothing wrong.
func (m *Machine) holdStale(x *Exchange) bool {
	if m.stale.Len() == maxStale {
		return false
	}
	m.stale.Push(x)
	return true
}

// decided returns when the first stale request is decided on.
func (m *Machine) decided() time.Duration {
	if m.stale.Empty() {
		return never
	}
	return m.stale.first.Arrived + doubtful
}

// decide ends the session by a stale request at the end of its time. XEP-0124, section
// 14.3.
func (m *Machine) decide(now time.Duration) {
	if m.decided() <= now {
		m.fail(m.stale.Pop(), ItemNotFound)
	}
}
