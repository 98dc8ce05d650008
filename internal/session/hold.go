package session

import (
	"slices"
	"time"
)

// openingWait is how long the opening answer of st waits for its first output.
func (m *Machine) openingWait(st *Stream) time.Duration {
	if !st.Framing.Headed() || m.Grant.Polls() {
		return m.cfg.Grace
	}
	return min(m.cfg.CreateTimeout, m.Grant.Patience())
}

// Listens takes note of an application waiting for input on st, and reports whether Settle
// is to be called. If the client waits for the first output there, this ends the wait; but
// an XMPP server always has something to say.
func (m *Machine) Listens(st *Stream) (settle bool) {
	if m.created && st.naming != hidden || st.Framing.Headed() {
		return false
	}
	records := m.win.Records()
	for i := range records {
		if r := &records[i]; r.State == Open && (!m.created || r.Held.opener == st) {
			r.Release = true
			return true
		}
	}
	return false
}

// rests takes note of an application without work left, perhaps. It reports whether Settle
// is to be called.
func (m *Machine) rests() (settle bool) {
	if m.working && !m.busy() {
		m.working = false
		return m.writing == nil && m.streams.pending()
	}
	return false
}

// Hasten takes note of output without room, and reports whether Settle is to be called: the
// output there must go, or nothing would for the rest of Grace.
func (m *Machine) Hasten() (settle bool) {
	settle = m.working || m.cfg.Throttle
	m.working = false
	return settle
}

// lapses takes note of an application too slow to be waited for. A reader may have gone off
// with input for good.
func (m *Machine) lapses() {
	m.working = false
	for _, st := range m.streams.All() {
		st.away = 0
	}
}

// inVain reports whether the last bodies had no reply within Grace. Then the client does
// not wait for one to the next.
func (m *Machine) inVain() bool { return m.vain > 3 }

// works takes note of a body with payloads for the application.
func (m *Machine) works(now time.Duration) {
	m.grace = now + m.cfg.Grace
	m.vain = min(m.vain+1, 100)
	m.working = m.cfg.Grace > 0 && m.busy()
}

// defers has the session's next work looked at soon, instead of by an alarm, if the process
// has time to spare. Most applications answer a request at once.
func (m *Machine) defers(spare bool) {
	m.watched = spare
	m.watch = m.watch || spare
}

// Look sets the alarm postponed by defers, unless nothing is left to wait for. It reports
// whether the wait is over, and whether Settle is to be called. With last set there will be
// no other Look.
func (m *Machine) Look(last bool) (done, settle bool) {
	_, live := m.win.OldestLive()
	over := m.phase == Ended || m.writing != nil || m.created && live <= m.Grant.Hold && !m.working
	if !m.watched || !over && !last {
		return !m.watched, false
	}
	m.watched = false
	return true, !over
}

// due returns the oldest request that is open on a live connection, and when it is to be
// answered if nothing happens before.
func (m *Machine) due(now time.Duration) (*heldRecord, time.Duration) {
	oldest, live := m.win.OldestLive()
	if oldest == nil {
		return nil, 0
	}
	o := &oldest.Held
	if o.opening && m.final == nil {
		return oldest, o.until
	}
	switch {
	case m.throttled():
		return oldest, never // until Consumed, or Hasten
	case oldest.Pause: // its answer carries nothing
		return oldest, 0
	case m.final != nil || m.output(o):
		return oldest, m.ready(oldest, now)
	case oldest.Release:
		return oldest, 0
	}
	at := o.until
	if !m.created && m.watched {
		at = never
	} else if full := m.full(); full && m.Grant.Polls() {
		at += stall
	} else if live > m.Grant.Hold && !full && !m.watched {
		if at = min(at, m.grace); m.inVain() {
			at = 0
		}
	}
	return oldest, at
}

// throttled reports whether the client has to wait until the application has read some of
// the input.
func (m *Machine) throttled() bool {
	return m.cfg.Throttle && m.created && m.final == nil && m.full() &&
		!slices.ContainsFunc(m.streams.All(), func(st *Stream) bool { return m.Space(st) <= 0 })
}

// full reports whether the application is so far behind with reading that the client must
// wait.
func (m *Machine) full() bool {
	for _, st := range m.streams.All() {
		if st.In.Behind() > m.cfg.ReadBuffer {
			return true
		}
	}
	return false
}

// limit returns the latest time for the answer to an open request, whatever it waits for:
// somebody in front of the Handler would answer it then. The open ones before it are
// answered then, too.
func (m *Machine) limit() time.Duration {
	at := never
	if m.limited {
		for _, r := range m.win.Records() {
			if x := r.Exchange; r.State == Open && x != nil && x.Limit > 0 {
				at = min(at, x.Limit)
			}
		}
	}
	return at
}

// ready returns when output, or the end, may go out on r. Most clients take answers
// as their connections deliver them, and not in the order of their rids. So:
//
//   - While the application works on a body (working), its replies gather, and go out in
//     one answer. It is at work while there is unread input, and until all readers are back
//     for more; but not if its output has no room, or the answer must go (Release).
//   - While an answer with payloads is on its way (sent, Window.InDoubt), other connections
//     could overtake it. The proof of its arrival is an ack, or a request impossible
//     without it. A poll proves nothing: it may have been sent before.
//
// Neither lasts longer than Grace, from the body and from the last byte written; but for an
// answer of another process, whose last byte nobody here has seen (transit).
func (m *Machine) ready(r *heldRecord, now time.Duration) (at time.Duration) {
	if m.working && m.final == nil && !r.Release {
		if at = m.grace; m.watched {
			return never // until Look sets the alarm
		}
	}
	return max(at, m.clear(r.Exchange, now))
}

// clear returns when nothing on x can overtake an answer on its way on another connection.
// Mostly the last one was long ago: then nothing else is looked at.
func (m *Machine) clear(x *Exchange, now time.Duration) time.Duration {
	at := max(m.sent+m.cfg.Grace, m.former)
	if m.cfg.Grace <= 0 || m.sent == 0 || at <= now || !m.win.InDoubt(x.Rid) || m.follows(x) {
		return 0
	}
	return at
}

// sends takes note of x, an answer with payloads.
func (m *Machine) sends(x *Exchange, now time.Duration) {
	m.sent, m.carrier, m.carried, m.receipt = now, x.Carrier.Connection(), x.Rid, nil
	m.former = 0
}

// transit is how long an answer may be on its way that another process has made, before the
// session moved: perhaps by a third one, which is as busy as both are then.
const transit = 100 * time.Millisecond

// follows reports whether x came on the connection of the last payloads. A connection of a
// proxy is none of the client's.
func (m *Machine) follows(x *Exchange) bool {
	return m.carrier != 0 && m.carrier == x.Carrier.Connection() && !x.Carrier.Forwarded()
}

// stall is how long a polling session waits for an application to read, or to admit a
// stream.
const stall = 10 * time.Second

// output reports whether there is anything to say on an open request.
func (m *Machine) output(o *openRequest) bool {
	if o.opener != nil {
		return o.opener.speaks()
	}
	return m.streams.pending()
}

// settleOrphans answers requests below rid with a broken connection, by an empty body. It
// waits for their repeat.
func (m *Machine) settleOrphans(rid int64, now time.Duration) {
	for {
		r, _ := m.win.Oldest()
		if r == nil || r.Rid >= rid {
			return
		}
		m.settleOrphan(r, now)
	}
}

// settlePassed answers requests too old for a repeat, as settleOrphans does: a client that
// breaks off all its requests would leave ever more.
func (m *Machine) settlePassed(now time.Duration) {
	for {
		r, _ := m.win.Oldest()
		if r == nil || r.Exchange != nil || r.Rid > m.win.Passed() {
			return
		}
		m.settleOrphan(r, now)
	}
}

// settleOrphan answers one of them. The name of its stream goes with the next answer.
func (m *Machine) settleOrphan(r *heldRecord, now time.Duration) {
	if st := r.Held.opener; st != nil {
		st.naming = untold
	}
	m.win.Answer(r.Rid, blank, false, now)
}

// Release answers x, and all before it, as if its wait were over.
func (m *Machine) Release(now time.Duration, x *Exchange) {
	if r := m.win.Find(x.Rid); r != nil && r.Exchange == x {
		m.win.Release(x.Rid)
		r.Release = true
		m.Settle(now)
	}
}
