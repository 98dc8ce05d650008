package session

import (
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/wire"
)

// streams are the streams of a session that are open, or have output.
type streams struct {
	RoundRobin[*Stream, company]
}

// company is the additional state for several streams, present or possible.
type company struct {
	named   bool      // there has been a second one: answers name their stream
	opened  uint16    // how many there have been besides the first
	asking  int       // how many the application has still to admit
	asked   []Asked   // effects: see TakeAsked
	removed []*Stream // see Removed
}

// Asked is a client's wish for a further stream.
type Asked struct {
	Rid      int64
	Exchange *Exchange // where it asks, or nil if that is over
	Request  Wants
	TooMany  bool // there are as many as there may be
}

// Wants is a client's wish for a stream.
type Wants struct {
	To, From, Lang, Route, Version string
	Attr                           []wire.Attr
}

// Wanted returns the wish of a request for its stream.
func Wanted(req *wire.Request) Wants {
	return Wants{
		To: string(req.To), From: string(req.From), Lang: string(req.Lang), Route: string(req.Route),
		Version: string(req.Version), Attr: slices.Clone(req.Other),
	}
}

// named reports whether answers name their stream.
func (ss *streams) named() bool {
	c := ss.With()
	return c != nil && c.named
}

// find returns the open stream of a name, or the first if there is no name.
func (ss *streams) find(name []byte) *Stream {
	for _, st := range ss.All() {
		if st.Open() && (len(name) == 0 || st.Name == string(name)) {
			return st
		}
	}
	return nil
}

// knew reports whether a stream is known by name, even if it is not open any more.
func (ss *streams) knew(name []byte) bool {
	return ss.Left(string(name)) ||
		slices.ContainsFunc(ss.All(), func(st *Stream) bool { return st.Name == string(name) })
}

// others reports whether a stream other than st is open.
func (ss *streams) others(st *Stream) bool {
	return slices.ContainsFunc(ss.All(), func(x *Stream) bool { return x != st && x.Open() && x.final == nil })
}

// pending reports whether there is anything to say.
func (ss *streams) pending() bool { return slices.ContainsFunc(ss.All(), (*Stream).pending) }

// speaker returns the stream with the next output, or nil.
func (ss *streams) speaker() *Stream {
	if st, ok := ss.Next((*Stream).pending); ok {
		return st
	}
	return nil
}

// Several reports whether there may be several streams with effects to be taken.
func (m *Machine) Several() bool { return m.streams.With() != nil }

// remove removes a stream after its end was told.
func (m *Machine) remove(st *Stream) {
	st.end(st.final.streamCause())
	m.countInput(st) // nobody does it any more but who reads
	c := m.streams.Several()
	c.removed = append(c.removed, st)
	m.streams.Remove(st, st.Name)
}

// Removed returns the removed streams until Forget is called for them. They may have
// effects.
func (m *Machine) Removed() []*Stream {
	if c := m.streams.With(); c != nil {
		return c.removed
	}
	return nil
}

// Forget forgets the unwanted ones of the removed streams.
func (m *Machine) Forget(wanted func(*Stream) bool) {
	c := m.streams.Several()
	c.removed = slices.DeleteFunc(c.removed, func(st *Stream) bool { return !wanted(st) })
}

// stream returns the open stream of the request, or nil.
func (m *Machine) stream(req *wire.Request) *Stream {
	if !m.Grant.Streams {
		return m.streams.find(nil)
	}
	return m.streams.find(req.Stream)
}

// forward hands the payloads of a request to the streams they are for.
func (m *Machine) forward(req *wire.Request) (condition string) {
	if len(req.Payloads) == 0 {
		return ""
	}
	m.Stats.PayloadsIn += int64(len(req.Payloads))
	if len(req.Stream) > 0 && m.Grant.Streams {
		st := m.streams.find(req.Stream)
		switch {
		case st != nil:
			return m.feed(st, req)
		case m.streams.knew(req.Stream):
			return "" // it crossed the stream's end
		}
		return ItemNotFound
	}
	for _, st := range m.streams.All() {
		if st.Open() {
			if condition := m.feed(st, req); condition != "" {
				return condition
			}
		}
	}
	return ""
}

// Fill gives the first stream the input of the creation request. It returns why the request
// is unacceptable, if it is.
func (m *Machine) Fill(req *wire.Request) (condition string) {
	m.streams.All()[0].Greet()
	return m.forward(req)
}

// restarts reports whether the request restarts its stream, and whether it says so in a
// valid way. A restart without a call for it becomes an empty request, and is excused from
// the rules on frequency once. Some clients send one before they authenticate, and a server
// from TCP ends the stream at a second header. XEP-0206, section 5.
func (m *Machine) restarts(req *wire.Request) (yes, excused, ok bool) {
	if req.Restart == nil {
		return false, false, true
	}
	yes, ok = wire.Bool(req.Restart)
	st := m.stream(req)
	if !yes || st == nil || !st.Framing.Headed() {
		return false, false, ok
	}
	if st.restarts == called {
		return true, false, true
	}
	excused = st.restarts == uncalled
	st.restarts, req.Payloads = wasted, req.Payloads[:0]
	return false, excused, true
}

// restart begins the request's stream anew. Older requests are answered with the present
// output. The features then go into the answer to the restart, where clients look for them.
// Payloads beside a restart are ignored, as the XEP has it.
func (m *Machine) restart(req *wire.Request, now time.Duration) {
	st := m.stream(req)
	for m.final == nil {
		r, _ := m.win.Oldest()
		if r == nil || r.Rid == m.win.Last() {
			break
		}
		if x := r.Exchange; x != nil {
			m.dismissed(x, Reply{Body: m.answer(r, now)})
		} else {
			m.settleOrphan(r, now)
		}
	}
	st.restart(req)
}

// openStream asks for a further stream, opened by the request r. The other streams go on
// meanwhile.
func (m *Machine) openStream(r *heldRecord, req *wire.Request) {
	c := m.streams.Several()
	asked := Asked{Rid: r.Rid, Exchange: r.Exchange, Request: Wanted(req)}
	asked.TooMany = len(m.streams.All())+c.asking >= m.cfg.MaxStreams
	r.Held.opening = true
	if m.Grant.Polls() && !asked.TooMany {
		r.Held.until += stall
	}
	c.asking++
	c.asked = append(c.asked, asked)
}

// TakeAsked returns the wanted streams. Each is followed by AddStream.
func (m *Machine) TakeAsked() []Asked {
	c := m.streams.With()
	if c == nil {
		return nil
	}
	asked := c.asked
	c.asked = nil
	return asked
}

// AddStream adds the stream of the request rid, admitted or refused. The client is told in
// the stream's name: by the answer to that request, or, if it has had one already, by the
// next.
func (m *Machine) AddStream(now time.Duration, rid int64, st *Stream, refused *End) {
	c := m.streams.Several()
	c.asking--
	c.opened++
	st.number = c.opened
	if m.phase == Ended {
		st.end(m.Cause())
		c.removed = append(c.removed, st)
		m.Settle(now)
		return
	}
	if r := m.win.Find(rid); r != nil && r.State == Open {
		r.Held.opening, r.Held.opener, st.naming = false, st, hidden
		m.win.Release(rid) // what is older would hold it up
		r.Held.until = now + m.openingWait(st)
	} else {
		st.naming = untold
	}
	m.streams.Add(st)
	c.named = true
	if refused != nil {
		st.final = refused
		st.end(refused)
	} else {
		st.Greet()
	}
	m.Settle(now)
}
