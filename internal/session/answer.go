package session

import (
	"time"

	"github.com/gobosh/bosh/internal/replay"
	"github.com/gobosh/bosh/internal/wire"
)

var blank = []byte(wire.Blank)

// Give puts the answer for x on it, after x was woken. It is made only now, with all the
// output there is. There is none after a false alarm: x was woken, and before it could be
// given its answer another request took its place. For a session that has moved x has no
// Reply: whoever waits asks again.
func (m *Machine) Give(now time.Duration, x *Exchange) (ok bool) {
	if !x.Reply.Given() {
		if m.moved {
			return true
		}
		if m.writing != x {
			return false
		}
		if r, at := m.due(now); r == nil || r.Exchange != x || min(at, m.limit()) > now {
			m.writing = nil // what it would carry now, and did not when it was due, must wait
			m.Settle(now)
			return false
		}
		x.Reply = Reply{Body: m.answer(m.win.Find(x.Rid), now)}
	}
	m.Stats.BytesOut += int64(len(x.Reply.Body))
	return true
}

// Done takes note of the end of x. If it has not been answered its connection has broken:
// no payload is spent on it, and its rid stays open for a repeat. It reports whether x was
// given up.
func (m *Machine) Done(now time.Duration, x *Exchange) (gaveUp bool) {
	if r := m.win.Find(x.Rid); r != nil {
		if r.Wrote(x.Reply.Body) {
			m.sends(x, now)
			if handle := m.handle(x); handle != nil {
				m.receipt = &Receipt{Handle: handle}
				m.receipt.later(now)
			}
		}
		if r.Exchange == x {
			gaveUp = !x.Reply.Given()
			r.Exchange = nil
			m.settlePassed(now)
		}
	}
	if x.Creates && !m.created {
		m.end(&End{Remote: true, Err: ErrUncreated}) // nobody else knows of it
	}
	if m.live--; m.live == 0 {
		m.idleSince = now
	}
	if m.writing == x {
		m.writing = nil
	}
	m.chain.Remove(x)
	m.stale.Remove(x)
	m.Settle(now)
	return gaveUp
}

// answer makes the answer to the open request r, and keeps it for repeats.
func (m *Machine) answer(r *heldRecord, now time.Duration) []byte {
	rid, opener := r.Rid, r.Held.opener
	var a wire.Response
	if l := r.Held.lost; l != nil {
		a.Report, a.Time = l.rid, min(l.age.Milliseconds(), 1<<16-1)
	}
	if m.Grant.Acks && (!m.created || m.win.Last() != rid) {
		a.Ack = m.win.Last()
	}
	var from *Stream
	ends := m.final != nil && !r.Pause && (m.final.Remote || !m.streams.named() || !m.streams.pending())
	switch {
	case ends:
		if !m.streams.named() { // an answer for all streams has no room for the output of one
			from = m.streams.All()[0]
		}
		farewell(&a, m.final)
	case r.Pause:
	case m.created:
		if from = opener; from == nil {
			from = m.streams.speaker()
		}
	default:
		from = m.streams.All()[0]
		a.Granted, a.From = m.Grant.Attributes(), from.Opening.To
		a.Granted.SID, a.Granted.Restarts = m.SID, from.Framing.Headed()
		if m.Grant.Streams {
			a.Stream = from.Name
		}
	}
	if from != nil {
		m.carry(&a, from, r)
	}
	body := blank
	if !a.Empty() {
		body = a.Bytes(r.Body)
	}
	if a.Whole != nil && &body[0] == &a.Whole[0] {
		m.win.Share(rid, body, now)
	} else {
		m.win.Answer(rid, body, len(a.Payload) > 0, now)
	}
	m.created = true
	if from != nil {
		m.Stats.PayloadsOut += from.taken()
	}
	m.proved = m.proved || rid <= m.win.Passed() // the client has gone on as if it had it
	if ends {
		m.dismiss(m.final, now)
		m.keep = m.keep || !m.final.Told() // or else end has seen to it
	}
	return body
}

// carry puts the output of st into a, the answer to r.
func (m *Machine) carry(a *wire.Response, st *Stream, r *heldRecord) {
	a.Payload, a.Whole = st.Out.Bytes(), st.Out.Answer()
	r.Of, r.Load = st.number, st.carried()
	xmpp, opaque := st.Framing.Marks()
	a.XMPP, a.Opaque = a.XMPP || xmpp, opaque
	if st.head != nil && (!st.Out.Empty() || a.Granted != nil) {
		a.Version, a.AuthID = st.head.Version, st.head.ID
		st.head, st.announced = nil, true
	}
	if st == r.Held.opener || st.naming == untold {
		a.From, a.Stream = st.Opening.To, st.Name
		st.naming = named
	}
	if m.streams.named() && !st.Out.Empty() {
		a.Stream = st.Name
	}
	if st.final != nil {
		a.Stream = st.Name
		farewell(a, st.final)
		m.remove(st)
	}
}

// farewell makes a the last answer of a session or stream ending by e.
func farewell(a *wire.Response, e *End) {
	a.Terminate = true
	a.Condition, a.URI, a.Last = e.Condition, e.URI, e.Payload
	a.XMPP = a.XMPP || e.Condition == RemoteStreamError
}

// terminal returns the answer with the end of the session by a condition.
func (m *Machine) terminal(condition string) Reply {
	return Refusal(&End{Condition: condition}, m.Grant.Legacy)
}

// Answers appends the given answers, kept for repeats, to as.
func (m *Machine) Answers(as []replay.Answer) []replay.Answer { return m.win.Answers(as) }

// Unproven returns the answers with payloads without proof of their arrival.
func (m *Machine) Unproven() [][]byte { return m.win.Unproven() }
