package session

import (
	"errors"
	"io"
	"time"

	"github.com/gobosh/bosh/internal/wire"
)

// The conditions by which a Machine itself ends a session, or known to it.
const (
	BadRequest        = "bad-request"
	ItemNotFound      = "item-not-found"
	OtherRequest      = "other-request"
	PolicyViolation   = "policy-violation"
	InternalError     = "internal-server-error"
	RemoteStreamError = "remote-stream-error"
	SeeOtherURI       = "see-other-uri"
	SystemShutdown    = "system-shutdown"
)

// An End is how a session or stream has ended, or is to end.
type End struct {
	Condition string // what the client is told, or was told; empty for a graceful end
	Remote    bool   // the client has brought it about, by its request or its absence
	URI       string // where the client is to go instead
	Payload   []byte // elements that go into the last body
	Err       error  // the cause
	Public    error  // what the application calls it; its owner's
}

// Error makes an End the cause of a stream's errors.
func (e *End) Error() string { return "session ended: " + e.Condition }

// streamCause returns the cause of a stream's errors after the end by e.
func (e *End) streamCause() error {
	if e.Condition == "" || e.Condition == RemoteStreamError && !e.Remote {
		return io.EOF
	}
	return e
}

// Graceful reports whether the client has ended the session in good order.
func (e *End) Graceful() bool { return e.Remote && e.Condition == "" && e.Err == nil }

// Told reports whether the client has to be told of e, because it did not bring it about.
func (e *End) Told() bool { return !e.Remote && e.Condition != "" }

// ByClient is an end at the client's wish.
var ByClient = &End{Remote: true}

// The causes of an End without one.
var (
	ErrInactive   = errors.New("client inactive")
	ErrUncreated  = errors.New("client left before it was told of its session")
	ErrShare      = errors.New("the session keeps more than its share of Options.MaxMemory")
	ErrFlooded    = errors.New("client sends on, while more than Options.ReadBuffer is unread")
	ErrOveractive = errors.New("client asks more often, or has more requests open, than its session allows")
	ErrRepeats    = errors.New("client repeats a request more often than Options.MaxRepeats")
)

// finish makes the session end by e once the client has been told, unless it is ending.
func (m *Machine) finish(e *End) {
	if m.phase == Running {
		m.final, m.phase = e, Ending
	}
}

// Terminate ends the session by e, behind all output.
func (m *Machine) Terminate(now time.Duration, e *End) {
	if m.phase == Running {
		m.finish(e)
		m.Settle(now)
	}
}

// Lapse is Terminate for a client without a right to be here any more: its input is
// dropped.
func (m *Machine) Lapse(now time.Duration, e *End) {
	for _, st := range m.streams.All() {
		st.intake = max(st.intake, lapsed)
	}
	m.Terminate(now, e)
}

// Abort ends the session by e at once.
func (m *Machine) Abort(now time.Duration, e *End) {
	if m.phase != Ended {
		m.dismiss(e, now)
		m.Settle(now)
	}
}

// Abandon ends the session because its creation on x has failed within the Handler, and
// nobody will attend to it.
func (m *Machine) Abandon(now time.Duration, x *Exchange) {
	m.fail(x, InternalError)
	m.Settle(now)
}

// settleEnd ends a session whose client has asked for the end and left without waiting for
// the answer.
func (m *Machine) settleEnd(now time.Duration) {
	if m.final == nil || m.goesOn() || !m.final.Remote && m.streams.named() { // the last: there may be output for each stream
		return
	}
	if live, _ := m.due(now); live != nil {
		return
	}
	for m.phase != Ended { // but for a pause, whose answer is always empty, by the first one
		r, _ := m.win.Oldest()
		if r == nil {
			return
		}
		m.answer(r, now)
	}
}

// terminated ends the session, or the named stream, at the client's wish. XEP-0124,
// sections 13 and 16.5.
func (m *Machine) terminated(req *wire.Request) (condition string) {
	if len(req.Stream) > 0 && m.Grant.Streams {
		st := m.streams.find(req.Stream)
		switch {
		case st == nil && m.streams.knew(req.Stream):
			return "" // it crossed the stream's end
		case st == nil:
			return ItemNotFound
		case m.streams.others(st):
			if st.final == nil {
				st.final = ByClient
			}
			st.end(io.EOF)
			return ""
		}
	}
	m.finish(ByClient)
	for _, st := range m.streams.All() {
		st.end(io.EOF)
	}
	return ""
}

// dismiss ends the session by e after its last answer has been made. Each other open
// request gets an answer of its own: an empty one if the client asked for the end.
// XEP-0124, section 13.
func (m *Machine) dismiss(e *End, now time.Duration) {
	body := blank
	if !e.Remote {
		a := wire.Response{Terminate: true}
		if e.Condition == SystemShutdown || e.Condition == SeeOtherURI {
			a.Condition, a.URI = e.Condition, e.URI
		}
		body = a.Bytes(nil)
	}
	for {
		r, _ := m.win.Oldest()
		if r == nil {
			break
		}
		x := r.Exchange
		m.win.Answer(r.Rid, body, false, now)
		if x != nil {
			m.dismissed(x, Reply{Body: body})
		}
	}
	for _, r := range m.win.Records() {
		if r.Exchange != nil {
			m.dismissed(r.Exchange, Reply{Body: body})
		}
	}
	m.end(e)
}

// dismissed answers x after those in progress.
func (m *Machine) dismissed(x *Exchange, a Reply) {
	x.Reply = a
	if m.writing != x {
		m.chain.Push(x)
	}
}

// fail ends the session because of the request on x. That one gets the condition, after all
// other open ones got other-request. XEP-0124, section 17.
func (m *Machine) fail(x *Exchange, condition string) { m.failBy(x, condition, nil) }

// failBy is fail with a cause.
func (m *Machine) failBy(x *Exchange, condition string, cause error) {
	records := m.win.Records()
	for i := range records {
		if r := &records[i]; r.Exchange != nil && r.Exchange != x {
			m.dismissed(r.Exchange, m.terminal(OtherRequest))
		}
	}
	if x != nil {
		m.dismissed(x, m.terminal(condition))
	}
	m.end(&End{Condition: condition, Remote: true, Err: cause})
}

// expire ends the session because of silence, or of an unfilled gap.
func (m *Machine) expire() {
	if m.live > 0 {
		m.giveUp()
		return
	}
	e := m.final
	if e == nil {
		e = &End{Remote: true, Err: ErrInactive}
	}
	m.end(e)
}

// giveUp ends the session because a missing request did not come. The early ones get
// item-not-found.
func (m *Machine) giveUp() {
	records := m.win.Records()
	for i := range records {
		if r := &records[i]; r.State == Early && r.Exchange != nil {
			m.dismissed(r.Exchange, m.terminal(ItemNotFound))
			r.Exchange = nil
		}
	}
	early := m.chain
	m.chain = Line{}
	m.fail(nil, ItemNotFound)
	for !early.Empty() {
		m.chain.Push(early.Pop())
	}
}

// end ends the session for the application.
func (m *Machine) end(e *End) {
	if m.phase == Ended {
		return
	}
	m.phase, m.final, m.over = Ended, e, true
	m.win.Abandon()
	for !m.stale.Empty() {
		m.dismissed(m.stale.Pop(), m.terminal(ItemNotFound))
	}
	m.alarm = 0
	m.keep = m.keep || e.Told() && m.created
	m.proved = true
	cause := e.streamCause()
	if e.Err != nil {
		cause = e
	}
	for _, st := range m.streams.All() {
		st.end(cause)
	}
}

// Cause returns why the session has ended, or nil: io.EOF, or an End.
func (m *Machine) Cause() error {
	switch {
	case m.phase != Ended:
		return nil
	case m.final.Graceful():
		return io.EOF
	default:
		return m.final
	}
}
