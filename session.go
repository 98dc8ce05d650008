package bosh

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/wire"
)

// A Session is one BOSH session: the rid window, the requests that are held,
// and the streams that share them. XEP-0124.
//
// All its methods may be called from any goroutine, also from the callbacks of
// [Options].
type Session struct {
	h       *Handler
	id      string // for logs
	sid     string // the secret
	grant   grant
	ctx     context.Context
	cancel  context.CancelCauseFunc
	request *http.Request
	addr    net.Addr
	secure  bool
	peer    string // digest of the client's certificate, if secure

	mu sync.Mutex // guards everything below, and the guarded fields of the streams

	win     window
	streams []*Stream // that are open, or have something to say
	turn    int       // where the search for output begins, so that every stream has its turn
	closed  []string  // names of streams that were closed lately
	named   bool      // a second stream has been opened: answers name their stream

	created   bool   // the creation has been answered
	final     *Error // how the session is to end, once the client has been told; nil while it goes on
	ended     bool   // nothing is done for the client any more but repeats
	cause     error  // why it ended
	forgotten bool   // the sid is unknown again

	live    int         // exchanges that wait for their answer or are being answered
	writing *exchange   // the one that is being answered: one at a time keeps them in order
	chain   []*exchange // answered, and to be written in this order after writing

	grace       time.Duration // until then a surplus request waits for output
	gapSince    time.Duration // when the first early request came
	idleSince   time.Duration // when the last exchange was done
	pause       time.Duration // granted pause, which replaces the inactivity limit; 0 if none
	lastArrival time.Duration // of the request that took its turn last
	lastEmpty   bool          // that request was empty

	timer *time.Timer
	armed time.Duration // when the timer fires; 0 if it is not set

	stats SessionStats
	after []func() // to be called after mu is released
}

// An exchange is one HTTP request under way, as the session sees it: a place
// to answer. Whoever serves it waits for ready, and then calls take to get the
// answer and done when it is written; or gone, if the client has left.
type exchange struct {
	ready chan struct{} // of capacity 1
	rid   int64
	reply *reply // set when there is an answer for it

	request *http.Request // for those who must decide on it
}

// A reply is an answer as the HTTP edge needs it.
type reply struct {
	body   []byte
	status int // if not 0, an HTTP error without a body instead
}

func (ex *exchange) wake() {
	select {
	case ex.ready <- struct{}{}:
	default:
	}
}

// start makes the creation request the session's first one. The session is
// not yet known to anyone else. It returns why the request is unacceptable, or
// nothing.
func (s *Session) start(req *wire.Request, ex *exchange) Condition {
	s.mu.Lock()
	defer s.unlock()
	now := s.h.now()
	s.win = newWindow(req.Rid.N, s.grant.requests)
	s.win.keep = req.Ack.Set && req.Ack.OK && req.Ack.N > 0
	s.win.limit = s.h.o.ReplayBuffer
	s.win.next = string(req.NewKey)
	s.live++
	ex.rid = req.Rid.N
	r := s.win.insert(record{rid: ex.rid, sum: s.h.sum(req.Body), arrived: now, ex: ex})
	s.win.take(r)
	s.lastArrival = now
	st := s.streams[0]
	r.open.until = now + s.openingWait(st)
	st.greet()
	s.stats.Requests++
	cond := s.forward(req)
	s.settle(now)
	return cond
}

// openingWait is how long the answer that opens st waits for its first output.
func (s *Session) openingWait(st *Stream) time.Duration {
	if st.opening.Framing != XMPP || s.grant.polls() {
		return s.h.o.Grace
	}
	return min(s.h.o.CreateTimeout, s.grant.patience())
}

// receive takes a request of the session. Its answer becomes ready on ex. It
// reports whether it keeps req. If req could not be parsed to its end,
// malformed is set.
func (s *Session) receive(req *wire.Request, ex *exchange, malformed bool) (kept bool) {
	sum := s.h.sum(req.Body)
	s.mu.Lock()
	now := s.h.now()
	s.live++
	s.stats.Requests++
	ex.rid = req.Rid.N
	defer s.unlock()
	if s.ended {
		s.resend(req, ex, sum)
		return false
	}
	switch s.win.classify(ex.rid, s.extra(req)) {
	case ridBeyond, ridGone:
		s.fail(ex, ItemNotFound)
	case ridRepeat:
		s.repeat(req, ex, sum)
	case ridAhead:
		if malformed {
			s.fail(ex, BadRequest)
			break
		}
		if !s.win.gap() {
			s.gapSince = now
		}
		s.win.insert(record{rid: ex.rid, sum: sum, key: s.key(req), arrived: now, ex: ex, early: req})
		kept = true
	case ridTurn:
		if malformed {
			s.fail(ex, BadRequest)
			break
		}
		s.win.insert(record{rid: ex.rid, sum: sum, key: s.key(req), arrived: now, ex: ex})
		s.takeTurn(req, now)
		for r := s.win.turn(); r != nil && !s.ended; r = s.win.turn() {
			early := r.early
			r.early = nil
			s.takeTurn(early, now)
			s.h.free(early)
		}
	}
	s.settle(now)
	return kept
}

// key returns what must be remembered of the request's key.
func (s *Session) key(req *wire.Request) string {
	if s.win.next == "" {
		return ""
	}
	return string(req.Key)
}

// extra reports whether the request may go one beyond the window.
func (s *Session) extra(req *wire.Request) bool {
	return terminates(req) || s.pauses(req) > 0
}

// terminates reports whether the request ends the session. One client says
// terminal.
func terminates(req *wire.Request) bool {
	return string(req.Type) == "terminate" || string(req.Type) == "terminal"
}

// pauses returns the pause that is granted to the request, or 0.
func (s *Session) pauses(req *wire.Request) time.Duration {
	if !req.Pause.OK || req.Pause.N == 0 || s.grant.pause == 0 {
		return 0
	}
	return min(time.Duration(min(req.Pause.N, 1<<16))*time.Second, s.grant.pause)
}

// takeTurn processes the request whose turn has come. XEP-0124, section 8,
// and the order of the checks in sections 11, 14 and 15.
func (s *Session) takeTurn(req *wire.Request, now time.Duration) {
	r := s.win.find(s.win.last + 1)
	ex := r.ex
	if !s.win.unlock(string(req.Key), string(req.NewKey)) {
		s.fail(r.ex, ItemNotFound)
		return
	}
	restart, ok := s.restarts(req)
	if !ok {
		s.fail(r.ex, BadRequest)
		return
	}
	opens := s.opens(req)
	pause := s.pauses(req)
	r.pause = pause > 0
	r.empty = len(req.Payloads) == 0 && pause == 0 && !terminates(req) && !restart && !opens
	if s.overactive(r, req) {
		s.fail(r.ex, PolicyViolation)
		return
	}
	if lost := s.win.ack(r.rid, req.Ack); lost != nil && s.h.o.ReportAfter >= 0 && now-lost.sent >= s.h.o.ReportAfter && s.grant.acks {
		rid, sent := lost.rid, lost.sent
		r = s.win.find(s.win.last + 1)
		r.open = openRequest{lost: rid, age: now - sent, release: true}
	} else {
		r = s.win.find(s.win.last + 1) // the window may have been trimmed
	}
	s.win.take(r)
	s.lastArrival, s.lastEmpty = r.arrived, r.empty
	s.pause = 0
	r.open.until = max(now, r.arrived+s.grant.patience())
	switch {
	case restart:
		s.restart(req)
	case opens:
		s.openStream(r, req)
		return
	default:
		if cond := s.forward(req); cond != "" {
			s.fail(ex, cond)
			return
		}
	}
	r = s.win.find(s.win.last)
	switch {
	case terminates(req):
		s.terminated(req)
	case pause > 0:
		s.pause = pause
		s.win.release(maxRid + 1)
	case len(req.Payloads) > 0 && !restart:
		s.grace = now + s.h.o.Grace
		if s.grant.polls() {
			r.open.until = now + s.h.o.Grace
		}
	}
}

// restarts reports whether the request restarts its stream, and whether it
// says so in a valid way. XEP-0206, section 5.
func (s *Session) restarts(req *wire.Request) (yes, ok bool) {
	if req.Restart == nil {
		return false, true
	}
	yes, ok = wire.Bool(req.Restart)
	st := s.stream(req)
	return yes && st != nil && st.opening.Framing == XMPP, ok
}

// restart begins the request's stream anew. Older requests are answered at
// once, so that the features go where clients look for them: into the answer
// to the restart. Payloads beside a restart are ignored, as the XEP has it.
func (s *Session) restart(req *wire.Request) {
	s.win.release(s.win.last)
	s.stream(req).restart(req)
}

// stream returns the open stream that the request names, or else the first.
func (s *Session) stream(req *wire.Request) *Stream {
	for _, st := range s.streams {
		if st.open() && (len(req.Stream) == 0 || st.name == string(req.Stream)) {
			return st
		}
	}
	return nil
}

// others reports whether a stream other than st is open.
func (s *Session) others(st *Stream) bool {
	for _, x := range s.streams {
		if x != st && x.open() && x.final == nil {
			return true
		}
	}
	return false
}

// opens reports whether the request opens a further stream. XEP-0124, section
// 16.3.
func (s *Session) opens(req *wire.Request) bool {
	return s.h.o.MaxStreams > 1 && len(req.Payloads) == 0 && len(req.To) > 0 &&
		req.Restart == nil && !terminates(req) && s.pauses(req) == 0
}

// openStream opens a further stream for the open request r. The application is
// asked when the lock is released.
func (s *Session) openStream(r *record, req *wire.Request) {
	r.open.opening = true
	rid, o := r.rid, s.h.opening(req, s.streams[0].opening)
	hr := s.request
	if r.ex != nil {
		hr = r.ex.request
	}
	s.todo(func() {
		st, err := s.h.admit(s, hr, o)
		s.addStream(rid, st, err)
		if err == nil {
			if err := s.h.deliver(st); err != nil {
				st.CloseWithError(err)
			}
		}
	})
}

// addStream adds the stream that the request rid has opened, or that was
// refused, which the client is told in the stream's name.
func (s *Session) addStream(rid int64, st *Stream, refused *Error) {
	s.mu.Lock()
	defer s.unlock()
	if s.ended {
		st.end(s.cause)
		return
	}
	now := s.h.now()
	if r := s.win.find(rid); r != nil && r.state == ridOpen {
		r.open.opening, r.open.opener = false, st
		r.open.until = now + s.openingWait(st)
	}
	s.named = true
	s.streams = append(s.streams, st)
	if refused != nil {
		st.final = refused
		st.end(refused)
	} else {
		st.greet()
	}
	s.settle(now)
}

// overactive applies the rules on frequency to the request whose turn it is.
// XEP-0124, sections 11 and 12.
func (s *Session) overactive(r *record, req *wire.Request) bool {
	if s.grant.polls() && r.empty && s.lastEmpty && r.arrived-s.lastArrival < s.grant.polling {
		before := s.win.find(r.rid - 1)
		if before != nil && before.state == ridAnswered && !before.payload {
			return true
		}
	}
	if r.ex == nil {
		return false
	}
	_, live := s.win.oldestLive()
	switch {
	case int64(live)+1 > s.win.size:
		return !s.extra(req)
	case int64(live)+1 == s.win.size && !s.grant.polls():
		return r.empty && r.arrived-s.lastArrival < s.grant.polling
	}
	return false
}

// forward hands the payloads of a request to the streams they are for.
func (s *Session) forward(req *wire.Request) Condition {
	if len(req.Payloads) == 0 {
		return ""
	}
	s.stats.PayloadsIn += int64(len(req.Payloads))
	if len(req.Stream) > 0 && s.h.o.MaxStreams > 1 {
		st := s.stream(req)
		if st == nil {
			if slices.Contains(s.closed, string(req.Stream)) {
				return ""
			}
			return ItemNotFound
		}
		return st.feed(req)
	}
	for _, st := range s.streams {
		if st.open() {
			if cond := st.feed(req); cond != "" {
				return cond
			}
		}
	}
	return ""
}

// repeat handles a request whose rid is known. XEP-0124, section 14.3.
func (s *Session) repeat(req *wire.Request, ex *exchange, sum uint64) {
	r := s.win.find(ex.rid)
	s.stats.Repeats++
	if r.key != "" && r.key != string(req.Key) {
		s.fail(ex, ItemNotFound)
		return
	}
	if r.sum != sum {
		// Something else under a rid that is taken. It is not acted on and
		// gets nothing to see; the session is not at fault.
		s.override(ex, s.h.terminal(ItemNotFound, s.grant.legacy))
		return
	}
	if r.repeats++; s.h.o.MaxRepeats >= 0 && r.repeats > s.h.o.MaxRepeats {
		s.fail(ex, PolicyViolation)
		return
	}
	if r.state == ridAnswered {
		if r.pause {
			s.pause = s.pauses(req)
		}
		s.override(ex, &reply{body: r.body})
		return
	}
	old := r.ex
	r.ex = ex
	if old == nil {
		return
	}
	if s.writing == old {
		s.writing = nil
	}
	s.override(old, &reply{body: []byte(wire.Again)})
}

// resend answers a request to a session that is over.
func (s *Session) resend(req *wire.Request, ex *exchange, sum uint64) {
	r := s.win.find(ex.rid)
	if r == nil || r.state != ridAnswered || r.sum != sum || r.key != "" && r.key != string(req.Key) {
		s.override(ex, s.h.terminal(ItemNotFound, s.grant.legacy))
		return
	}
	s.stats.Repeats++
	s.override(ex, &reply{body: r.body})
}

// override answers ex out of turn.
func (s *Session) override(ex *exchange, a *reply) {
	ex.reply = a
	ex.wake()
}

// settle wakes the oldest open request if something is due on it, and sets
// the timer for what comes next. It is called after everything that happens
// to a session.
func (s *Session) settle(now time.Duration) {
	if s.writing == nil && len(s.chain) > 0 {
		s.writing = s.chain[0]
		s.chain = s.chain[1:]
		s.writing.wake()
	}
	if s.writing == nil && !s.ended {
		s.settleEnd(now)
	}
	next := s.nextExpiry()
	if s.writing == nil && !s.ended {
		if r, at := s.due(); r != nil {
			if at <= now {
				s.settleOrphans(r.rid)
				s.writing = s.win.find(r.rid).ex // orphans settled, records may have moved
				s.writing.wake()
			} else {
				next = min(next, at)
			}
		}
	}
	s.arm(now, next)
}

// settleEnd ends a session whose client has asked for it and left without
// waiting for the answer.
func (s *Session) settleEnd(now time.Duration) {
	if s.final == nil || !s.final.Remote {
		return
	}
	if live, _ := s.due(); live != nil {
		return
	}
	if r, _ := s.win.oldest(); r != nil {
		s.answer(r, now)
	}
}

const never = time.Duration(1<<63 - 1)

// due returns the oldest request that is open on a live connection, and when
// it is to be answered if nothing happens before.
func (s *Session) due() (*record, time.Duration) {
	oldest, live := s.win.oldestLive()
	if oldest == nil {
		return nil, 0
	}
	o := &oldest.open
	if o.opening && s.final == nil {
		return oldest, o.until
	}
	if s.final != nil || o.release || oldest.pause || s.output(o.opener) {
		return oldest, 0
	}
	at := o.until
	if full := s.full(); full && s.grant.polls() {
		at += stall
	} else if live > s.grant.hold && !full {
		at = min(at, s.grace)
	}
	return oldest, at
}

// stall is how long a polling session waits for an application that does not
// read.
const stall = 10 * time.Second

// output reports whether there is anything to say, on the stream only if it is
// not nil.
func (s *Session) output(only *Stream) bool {
	if only != nil {
		return only.pending()
	}
	for _, st := range s.streams {
		if st.pending() {
			return true
		}
	}
	return false
}

// full reports whether the application is behind with reading, so that the
// client must wait.
func (s *Session) full() bool {
	for _, st := range s.streams {
		if st.unread() > s.h.o.ReadBuffer {
			return true
		}
	}
	return false
}

// settleOrphans answers the requests below rid whose connection broke by an
// empty body that waits for their repeat.
func (s *Session) settleOrphans(rid int64) {
	for {
		r, _ := s.win.oldest()
		if r == nil || r.rid >= rid {
			return
		}
		s.win.answer(r.rid, blank, false, s.h.now())
	}
}

// take returns the answer for ex, which was woken. Only now is it made, so
// that it carries all there is. It returns nil for a false alarm: ex was woken,
// and before it could take its answer another request took its place.
func (s *Session) take(ex *exchange) *reply {
	s.mu.Lock()
	defer s.unlock()
	if ex.reply == nil {
		if s.writing != ex {
			return nil
		}
		ex.reply = &reply{body: s.answer(s.win.find(ex.rid), s.h.now())}
	}
	s.stats.BytesOut += int64(len(ex.reply.body))
	return ex.reply
}

// gone takes note that the connection of ex has broken before its answer: no
// payload is spent on it, and its rid stays open for a repeat.
func (s *Session) gone(ex *exchange) {
	s.mu.Lock()
	if r := s.win.find(ex.rid); r != nil && r.ex == ex {
		r.ex = nil
	}
	s.mu.Unlock()
	s.done(ex)
}

// done takes note that ex is over, answered or not.
func (s *Session) done(ex *exchange) {
	s.mu.Lock()
	now := s.h.now()
	if s.live--; s.live == 0 {
		s.idleSince = now
	}
	if s.writing == ex {
		s.writing = nil
	}
	if i := slices.Index(s.chain, ex); i >= 0 {
		s.chain = slices.Delete(s.chain, i, i+1)
	}
	s.settle(now)
	s.unlock()
}

// nextExpiry returns when the session must end if nothing happens.
func (s *Session) nextExpiry() time.Duration {
	at := never
	if s.win.gap() && !s.ended {
		at = s.gapSince + s.grant.wait + s.idleLimit()
	}
	if s.live == 0 && !s.forgotten {
		if limit := s.idleLimit(); limit < never-s.idleSince {
			at = min(at, s.idleSince+limit)
		}
	}
	return at
}

// idleLimit is how long the client may be without an open request.
func (s *Session) idleLimit() time.Duration {
	switch {
	case s.ended:
		return afterlife
	case s.pause > 0:
		return s.pause
	case s.grant.inactivity > 0:
		return s.grant.inactivity
	case s.final != nil, s.win.gap():
		return defaultInactivity
	}
	return never >> 1
}

// afterlife is how long a session that is over answers repeats at the most.
const afterlife = 30 * time.Second

// arm sets the timer to fire at next at the latest. It may fire too early.
func (s *Session) arm(now, next time.Duration) {
	if next == never || s.armed != 0 && s.armed <= next && s.armed > now {
		return
	}
	s.armed = next
	d := max(next-now, 0)
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.tick)
		return
	}
	s.timer.Reset(d)
}

// tick is called by the timer.
func (s *Session) tick() {
	s.mu.Lock()
	now := s.h.now()
	s.armed = 0
	if at := s.nextExpiry(); at <= now {
		s.expire(now)
	}
	s.settle(now)
	s.unlock()
}

// expire ends the session because of silence, or a gap that was not filled.
func (s *Session) expire(now time.Duration) {
	switch {
	case s.ended:
		s.forget()
	case s.live > 0 || s.win.gap():
		s.giveUp()
	default:
		cause := s.final
		if cause == nil {
			cause = &Error{Remote: true, Err: errInactive}
		}
		s.end(cause)
	}
}

// todo has f called as soon as the lock is released. What calls out of the
// session goes through here.
func (s *Session) todo(f func()) { s.after = append(s.after, f) }

// unlock releases the lock and then does what there is to do.
func (s *Session) unlock() {
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// answer makes the answer to the open request r, and keeps it for repeats.
func (s *Session) answer(r *record, now time.Duration) []byte {
	rid, opener := r.rid, r.open.opener
	a := wire.Response{Report: r.open.lost, Time: min(r.open.age.Milliseconds(), 1<<16-1)}
	if s.grant.acks && (!s.created || s.win.last != rid) {
		a.Ack = s.win.last
	}
	var from *Stream
	ends := s.final != nil && !r.pause && !(s.named && s.output(nil))
	switch {
	case ends:
		from = s.streams[0]
		s.farewell(&a, s.final)
	case r.pause:
	case s.created:
		from = s.speaker(opener)
	default:
		from = s.streams[0]
		a.Granted, a.From = s.grant.attributes(s), from.opening.To
		if s.h.o.MaxStreams > 1 {
			a.Stream = from.name
		}
	}
	if from != nil {
		s.carry(&a, from, opener)
	}
	body := blank
	if !a.Empty() {
		body = a.Bytes()
	}
	s.win.answer(rid, body, len(a.Payload) > 0, now)
	s.created = true
	if from != nil {
		from.taken()
	}
	if ends {
		s.dismiss(s.final, now)
	}
	return body
}

// speaker returns the stream whose output goes next, or nil. If only is set it
// is that one.
func (s *Session) speaker(only *Stream) *Stream {
	if only != nil {
		return only
	}
	for i := range s.streams {
		n := (s.turn + i) % len(s.streams)
		if st := s.streams[n]; st.pending() {
			s.turn = n + 1
			return st
		}
	}
	return nil
}

// carry puts the output of st into a.
func (s *Session) carry(a *wire.Response, st, opener *Stream) {
	a.Payload = st.out
	switch st.opening.Framing {
	case XMPP:
		a.XMPP = true
	case Opaque:
		a.Opaque = OpaqueNS
	}
	if st.announce && (len(st.out) > 0 || a.Granted != nil) {
		a.Version, a.AuthID = st.head.Version, st.head.ID
		st.announce, st.announced = false, true
	}
	if st == opener {
		a.From = st.opening.To
	}
	if s.named && (len(st.out) > 0 || st == opener) {
		a.Stream = st.name
	}
	if st.final != nil {
		a.Stream = st.name
		s.farewell(a, st.final)
		s.closeStream(st)
	}
}

// farewell makes a the last answer of a session or stream that ends by e.
func (s *Session) farewell(a *wire.Response, e *Error) {
	a.Terminate = true
	a.Condition, a.URI, a.Last = string(e.Condition), e.URI, e.Payload
	a.XMPP = a.XMPP || e.Condition == RemoteStreamError
}

// closeStream removes a stream whose end has been told.
func (s *Session) closeStream(st *Stream) {
	st.end(st.final.streamCause())
	s.streams = slices.DeleteFunc(s.streams, func(x *Stream) bool { return x == st })
	s.closed = append(s.closed, st.name)
	if len(s.closed) > maxClosedNames {
		s.closed = slices.Delete(s.closed, 0, 1)
	}
}

// maxClosedNames is how many streams a session remembers that it had.
const maxClosedNames = 16

// streamCause returns what Read and Write say after the end by e.
func (e *Error) streamCause() error {
	if e.Condition == "" || e.Condition == RemoteStreamError && !e.Remote {
		return io.EOF
	}
	return e
}

// terminated ends the session, or the stream that the request names, by the
// client's wish. XEP-0124, section 13.
func (s *Session) terminated(req *wire.Request) {
	e := &Error{Remote: true}
	if len(req.Stream) > 0 && s.named {
		if st := s.stream(req); st != nil && s.others(st) {
			st.final = e
			st.end(io.EOF)
			return
		}
	}
	if s.final == nil {
		s.final = e
	}
	for _, st := range s.streams {
		st.end(io.EOF)
	}
}

// dismiss ends the session by e after its last answer has been made. What else
// is open gets an answer of its own: an empty one if the client asked for the
// end. XEP-0124, section 13.
func (s *Session) dismiss(e *Error, now time.Duration) {
	body := blank
	if !e.Remote {
		a := wire.Response{Terminate: true}
		if e.Condition == SystemShutdown || e.Condition == SeeOtherURI {
			a.Condition, a.URI = string(e.Condition), e.URI
		}
		body = a.Bytes()
	}
	for {
		r, _ := s.win.oldest()
		if r == nil {
			break
		}
		ex := r.ex
		s.win.answer(r.rid, body, false, now)
		if ex != nil {
			s.dismissed(ex, &reply{body: body})
		}
	}
	for _, r := range s.win.records {
		if r.ex != nil {
			s.dismissed(r.ex, &reply{body: body})
		}
	}
	s.end(e)
}

// dismissed has ex answered after those that are being answered already.
func (s *Session) dismissed(ex *exchange, a *reply) {
	ex.reply = a
	if s.writing != ex {
		s.chain = append(s.chain, ex)
	}
}

// fail ends the session because of the request on ex, which gets the
// condition, after all other open ones got other-request. XEP-0124, section
// 17.
func (s *Session) fail(ex *exchange, cond Condition) {
	for i := range s.win.records {
		if r := &s.win.records[i]; r.ex != nil && r.ex != ex {
			s.dismissed(r.ex, s.h.terminal(OtherRequest, s.grant.legacy))
		}
	}
	if ex != nil {
		s.dismissed(ex, s.h.terminal(cond, s.grant.legacy))
	}
	s.end(&Error{Condition: cond, Remote: true})
	s.forget()
}

// giveUp ends the session because a missing request did not come. The early
// ones get item-not-found.
func (s *Session) giveUp() {
	for i := range s.win.records {
		if r := &s.win.records[i]; r.state == ridEarly && r.ex != nil {
			s.dismissed(r.ex, s.h.terminal(ItemNotFound, s.grant.legacy))
			r.ex = nil
		}
	}
	early := s.chain
	s.chain = nil
	s.fail(nil, ItemNotFound)
	s.chain = append(s.chain, early...)
}

// reject ends the session at its creation.
func (s *Session) reject(ex *exchange, cond Condition) {
	s.mu.Lock()
	defer s.unlock()
	s.fail(ex, cond)
	s.settle(s.h.now())
}

// forget makes the sid unknown.
func (s *Session) forget() {
	s.forgotten = true
	s.todo(func() { s.h.forget(s) })
}

// end ends the session for the application. Answers that were given are kept
// for repeats.
func (s *Session) end(e *Error) {
	if s.ended {
		return
	}
	s.ended = true
	s.cause = e
	if e.Remote && e.Condition == "" && e.Err == nil {
		s.cause = io.EOF
	}
	for _, req := range s.win.abandon() {
		s.h.free(req)
	}
	cause := e.streamCause()
	if e.Err != nil {
		cause = e
	}
	for _, st := range s.streams {
		st.end(cause)
	}
	s.todo(func() {
		s.cancel(s.cause)
		s.h.over(s)
	})
}

// Terminate ends the session: every stream, and every request. The client gets
// the condition of e behind all that was written, as by
// [Stream.CloseWithError]; nil is a graceful end. It does not wait. A session
// that is ending already is left alone.
func (s *Session) Terminate(e *Error) error {
	e, err := checkError(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.unlock()
	if s.final == nil && !s.ended {
		s.final = e
		s.settle(s.h.now())
	}
	return nil
}

// ID returns a name for the session that is safe to log and to show: it is not
// the sid, and does not tell it.
func (s *Session) ID() string { return s.id }

// Context returns the session's context. It descends from the one that Admit
// returned and is cancelled when the session ends, by the cause that Err
// returns.
func (s *Session) Context() context.Context { return s.ctx }

// Err returns nil while the session lives, and then why it ended: an *Error,
// or io.EOF if the client ended it in good order.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Request returns the request that created the session, without its body and
// context.
func (s *Session) Request() *http.Request { return s.request }

// TLS returns the state of the connection that the session was created over,
// with the client's certificates for SASL EXTERNAL; nil if that was not TLS.
func (s *Session) TLS() *tls.ConnectionState {
	if s.request == nil {
		return nil
	}
	return s.request.TLS
}

// Secure reports whether the session was created over TLS, as
// [Options.Secure] has it. A secure session takes no insecure request.
func (s *Session) Secure() bool { return s.secure }

// RemoteAddr returns the address that the session was created from, as
// [Options.ClientAddr] has it. Later requests may come from others.
func (s *Session) RemoteAddr() net.Addr { return s.addr }

// Streams returns the session's open streams.
func (s *Session) Streams() []*Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.streams), func(st *Stream) bool { return !st.open() })
}

// SessionStats are counts of one session.
type SessionStats struct {
	Requests    int64 // received, repeats included
	Repeats     int64
	PayloadsIn  int64 // elements
	PayloadsOut int64 // elements; writes for Opaque
	BytesIn     int64 // of request bodies
	BytesOut    int64 // of response bodies
	Held        int   // requests waiting for an answer now
}

// Stats returns the session's counts.
func (s *Session) Stats() SessionStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Held = s.live
	return st
}
