package session

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/state"
	"github.com/gobosh/bosh/internal/wire"
)

// Why a session cannot be exported just now.
var (
	errEnding  = errors.New("it is ending")
	errCreated = errors.New("its creation has not been answered")
	errWriting = errors.New("a Write is under way")
	errReading = errors.New("the application is being given input")
	errOpening = errors.New("a stream is being opened")
	errLeaving = errors.New("a stream has ended, and its client may not have all of it")
)

// Busy returns why the session cannot be exported just now, or nil.
func (m *Machine) Busy() error {
	switch {
	case m.phase != Running:
		return errEnding
	case !m.created:
		return errCreated
	case len(m.Removed()) > 0:
		return errLeaving
	}
	if c := m.streams.With(); c != nil && c.asking > 0 {
		return errOpening
	}
	for _, st := range m.streams.All() {
		switch {
		case st.Writing:
			return errWriting
		case st.final != nil || st.cause != nil || st.intake == closed:
			return errEnding
		case st.In.Lent():
			return errReading
		}
	}
	for _, r := range m.win.Records() {
		if r.Held.opening {
			return errOpening
		}
	}
	return nil
}

// Export puts the session into s, but for what its owner knows of it. It is not Busy.
// What s has is good until the next event.
func (m *Machine) Export(now time.Duration, s *state.Session) {
	age := func(at time.Duration) time.Duration { return max(now-at, 0) }
	g := m.Grant
	s.SID, s.Pause, s.Vain, s.Heard = m.SID, m.pause, uint8(m.vain), age(m.Heard)
	s.Grant = state.Grant{
		Wait: g.Wait, Inactivity: g.Inactivity, Polling: g.Polling, Pause: g.Pause, Hold: g.Hold, Requests: g.Requests,
		Ver: g.Ver, Content: g.Content, Legacy: g.Legacy, Acks: g.Acks, Streams: g.Streams,
	}
	if m.live == 0 && m.coming == 0 { // else the client is not inactive
		s.Idle = age(max(m.idleSince, m.came))
	}
	if m.writing != nil && m.writing.Reply.Given() || !m.chain.Empty() {
		s.Sent = &state.Sent{Rid: m.win.Last()} // it is on its way
	} else if m.sent != 0 {
		s.Sent = &state.Sent{Age: age(m.sent), Rid: m.carried}
	}
	w := &m.win
	s.Window = state.Window{
		Last: w.last, Acked: w.acked, Arrived: age(w.arrived), Keep: w.Keep, Empty: w.empty, Beyond: w.beyond, Next: w.next,
	}
	all := m.streams.All()
	for i := range w.records {
		s.Window.Records = append(s.Window.Records, exportRecord(&w.records[i], now, all))
	}
	for _, st := range all {
		s.Streams = append(s.Streams, st.export())
	}
	if c := m.streams.With(); c != nil {
		turn, left := m.streams.Begun()
		s.Company = &state.Company{Named: c.named, Opened: c.opened, Turn: turn, Left: left}
	}
}

// exportRecord returns r as it is when its connection has broken.
func exportRecord(r *heldRecord, now time.Duration, streams []*Stream) state.Record {
	x := state.Record{
		Rid: r.Rid, State: uint8(min(r.State, Answered)), Pause: r.Pause, End: r.End, Empty: r.Empty, Release: r.Release, Payload: r.Payload,
		Seen: r.seen, At: max(now-r.At, 0), Sum: r.Sum, Key: r.Key, Of: r.Of, Load: r.Load,
	}
	switch {
	case r.State == Early:
		x.Body = r.Early
	case r.State == Open:
		o := &r.Held
		x.Left = max(o.until-now, 0)
		x.Opener = slices.Index(streams, o.opener) + 1
		if o.lost != nil {
			x.Lost = &state.Lost{Rid: o.lost.rid, Age: o.lost.age}
		}
	default:
		x.Body = r.Body
	}
	return x
}

// export returns the Stream, but for what its owner knows of it.
func (st *Stream) export() (x state.Stream) {
	o := st.Opening
	x = state.Stream{
		Framing: st.Framing.String(), Name: st.Name, Number: st.number, Foreign: st.foreign,
		Opening: state.Opening{To: o.To, From: o.From, Lang: o.Lang, Route: o.Route, Version: o.Version, Wait: o.Wait},
		Out:     st.Out.Bytes(), Count: st.Out.Count(), Given: st.given,
		Announced: st.announced, Lapsed: st.intake == lapsed, Naming: uint8(st.naming), Restarts: uint8(st.restarts),
	}
	for _, a := range o.Attr {
		x.Opening.Attr = append(x.Opening.Attr, state.Attr(a))
	}
	x.In = st.In.Unread(func(end int, last bool) { x.Marks = append(x.Marks, state.Mark{End: end, Last: last}) })
	if h := st.head; h != nil {
		x.Head = (*state.Head)(h)
	}
	return x
}

// Move ends the session by e because another process has its state. Who waits gets no
// answer: not by this process.
func (m *Machine) Move(now time.Duration, e *End) {
	m.phase, m.final, m.moved, m.over = Ended, e, true, true
	for i := range m.win.records {
		if r := &m.win.records[i]; r.Exchange != nil {
			m.wake(r.Exchange)
		}
	}
	for !m.stale.Empty() {
		m.wake(m.stale.Pop())
	}
	if m.writing != nil && !m.writing.Reply.Given() {
		m.writing = nil
	}
	for _, st := range m.streams.All() {
		st.given = m.Proven(st)
	}
	m.win = Window[Exchange, openRequest]{}
	for _, st := range m.streams.All() {
		st.Out, st.foreign, st.head = Outbox{}, 0, nil
		st.In.Clear()
		st.end(e)
	}
	m.receipt, m.alarm, m.keep, m.proved = nil, 0, true, true
	m.Settle(now)
}

// Moved reports whether another process has the session.
func (m *Machine) Moved() bool { return m.moved }

// errForm says that a state has what this program does not know.
var errForm = errors.New("bosh: state of a session with a framing that is not known")

// Import puts what x has of a stream into a new one, which has its Opening and its Owner.
func (st *Stream) Import(x *state.Stream) error {
	if st.Framing = framing.Named(x.Framing); st.Framing == nil {
		return errForm
	}
	st.Name, st.number, st.foreign, st.given = x.Name, x.Number, x.Foreign, x.Given
	st.announced, st.naming, st.restarts = x.Announced, naming(x.Naming), restarts(x.Restarts)
	if x.Lapsed {
		st.intake = lapsed
	}
	st.head = (*framing.Head)(x.Head)
	if len(x.In) > 0 {
		st.In.Refill(x.In)
		for _, m := range x.Marks {
			st.In.Mark(m.End, m.Last)
		}
	}
	if len(x.Out) > 0 {
		st.Out.Add(x.Out, x.Count)
	}
	st.wake = WakeReader
	return nil
}

// OpeningOf returns what a client said.
func OpeningOf(x *state.Stream) *Opening {
	o := &x.Opening
	p := &Opening{
		To: o.To, From: o.From, Lang: o.Lang, Route: o.Route, Version: o.Version, Wait: o.Wait, Framing: framing.Named(x.Framing),
	}
	for _, a := range o.Attr {
		p.Attr = append(p.Attr, wire.Attr(a))
	}
	return p
}

// GrantOf returns what client and server have agreed on.
func GrantOf(g *state.Grant) Grant {
	return Grant{
		Wait: g.Wait, Inactivity: g.Inactivity, Polling: g.Polling, Pause: g.Pause, Hold: g.Hold, Requests: g.Requests,
		Ver: g.Ver, Content: g.Content, Legacy: g.Legacy, Acks: g.Acks, Streams: g.Streams,
	}
}

// Import returns the Machine of a session that another process has exported. Its streams
// have been imported. It is followed by Settle.
func Import(cfg *Config, now time.Duration, grant *Grant, extra int, s *state.Session, streams []*Stream) Machine {
	m := New(cfg, grant, s.SID, extra, streams[0])
	if c := s.Company; c != nil {
		for _, st := range streams[1:] {
			m.streams.Add(st)
		}
		m.streams.Resume(c.Turn, slices.Clone(c.Left))
		with := m.streams.With()
		with.named, with.opened = c.Named, c.Opened
	}
	m.created, m.pause, m.vain, m.Heard, m.idleSince = true, s.Pause, int8(s.Vain), now-s.Heard, now-s.Idle
	m.came = m.idleSince // a body that was on its way is to be sent again, and may fill a gap
	if s.Sent != nil {
		m.carried, m.sent, m.former = s.Sent.Rid, now-s.Sent.Age, now-s.Sent.Age+transit
		if m.sent == 0 {
			m.sent-- // which means that something has been sent
		}
	}
	w := &s.Window
	m.win = Window[Exchange, openRequest]{
		Limit: int32(cfg.ReplayBuffer), Keep: w.Keep, empty: w.Empty, beyond: w.Beyond, size: int16(s.Grant.Requests),
		last: w.Last, acked: w.Acked, arrived: now - w.Arrived, next: w.Next,
		records: make([]heldRecord, 0, len(w.Records)+1),
	}
	for i := range w.Records {
		m.win.records = append(m.win.records, importRecord(&w.Records[i], now, streams))
	}
	m.settlePassed(now)
	m.proved = true
	return m
}

func importRecord(x *state.Record, now time.Duration, streams []*Stream) heldRecord {
	r := heldRecord{
		Rid: x.Rid, State: State(x.State), Pause: x.Pause, End: x.End, Empty: x.Empty, Release: x.Release, Payload: x.Payload,
		seen: x.Seen, At: now - x.At, Sum: x.Sum, Key: x.Key, Of: x.Of, Load: x.Load,
	}
	switch r.State {
	case Early:
		r.Early = bytes.Clone(x.Body)
	case Open:
		r.Held.until = now + x.Left
		if x.Opener > 0 {
			r.Held.opener = streams[x.Opener-1]
		}
		if x.Lost != nil {
			r.Held.lost = &lost{x.Lost.Rid, x.Lost.Age}
		}
	default:
		r.State, r.Body = Written, bytes.Clone(x.Body)
	}
	return r
}
