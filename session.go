package bosh

import (
	"context"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/gobosh/bosh/internal/session"
	"github.com/gobosh/bosh/internal/timers"

	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/replay"

	"github.com/gobosh/bosh/internal/wire"
)

// A Session is one BOSH session: the rid window, the requests that are held,
// and the streams that share them. XEP-0124.
//
// All its methods may be called from any goroutine, also from the callbacks of
// [Options].
type Session struct {
	h      *Handler
	serial int64          // for logs
	sid    string         // the secret
	grant  *session.Grant // shared
	origin reqinfo.Info   // what created it

	mu sync.Mutex // guards everything below, and the guarded fields of the streams

	live      int32 // exchanges that wait for their answer or are being answered
	attending int32 // requests on connections that were taken over that the application has still to learn of, and may answer

	secure   bool // not guarded, since it never changes
	created  bool // the creation has been answered
	ended    bool // nothing is done for the client any more
	told     bool // the application knows
	yielding bool // neither grace nor the wait for the first output counts yet: see defers
	speaking bool // somebody answers the queue
	working  bool // the application may still reply to the last body with payloads, until grace is over: see ready
	limited  bool // there has been a request with a limit
	vain     int8 // how many of the last bodies had no reply within Grace, the last one included; at most 100

	pause uint16 // granted pause in seconds, which replaces the inactivity limit; 0 if none
	began uint32 // when it began, in seconds by the clock

	parked chan bool // of somebody who waits for something to answer: see unpark; or nil

	scope   reqinfo.LazyContext
	win     session.Window[exchange, openRequest]
	streams streams

	final *Error // how the session has ended, or is to end once the client has been told; nil while it goes on

	writing *exchange // the one that is being answered: one at a time keeps them in order
	chain   line      // answered, and to be written in this order after writing
	queue   line      // to be answered on connections that were taken over
	doubts  line      // that may be nobody's: see doubtful

	grace     time.Duration // until then a surplus request waits for output, and output for the application: see ready
	sent      time.Duration // when payloads were last written to the client
	carrier   uint64        // the connection they went out on; 0 if that is unknown
	carried   int64         // the rid whose answer they were
	receipt   *receipt      // of it; nil if nobody asks for one, or it is there
	idleSince time.Duration // when the last exchange was done
	came      time.Duration // when the last body had been on its way that counts in coming
	heard     time.Duration // when the last request arrived

	kept   int64   // what the handler's memory counts of it
	unread int     // bytes of memory that the input of its streams takes
	legacy *legacy // nil while it lives, and mostly behind that
	label  *string // see SetLabel; nil if there is none

	asked  registry.Mark // for its stats: see Handler.Stats
	coming int32         // bodies that are on their way: see comes

	alarm timers.Alarm // rings for the next thing that is due

	stats counts
}

// counts are what a session counts as it goes: see SessionStats.
type counts struct{ Requests, Repeats, PayloadsIn, PayloadsOut, BytesIn, BytesOut int64 }

// openingWait is how long the answer that opens st waits for its first output.
func (s *Session) openingWait(st *Stream) time.Duration {
	if !st.framing.Headed() || s.grant.Polls() {
		return s.h.o.Grace
	}
	return min(s.h.o.CreateTimeout, s.grant.Patience())
}

// listens takes note that the application waits for input on st. If the client
// waits for what it says first there, that is nothing; but an XMPP server always
// has something to say.
func (s *Session) listens(st *Stream) {
	if s.created && st.naming != hidden || st.framing.Headed() {
		return
	}
	records := s.win.Records()
	for i := range records {
		if r := &records[i]; r.State == session.Open && (!s.created || r.Held.opener == st) {
			r.Release = true
			s.settle(s.h.now())
			return
		}
	}
}

// rests takes note that the application may have done with all that the client sent.
func (s *Session) rests() {
	if s.working && !s.busy() {
		s.working = false
		if s.writing == nil && s.streams.pending() {
			s.settle(s.h.now())
		}
	}
}

// lapses takes note that the application has taken too long to be waited for. Whoever
// went off with input may never come back.
func (s *Session) lapses() {
	s.working = false
	for _, st := range s.streams.All() {
		st.away = 0
	}
}

// busy reports whether the application has something to do with what the client sent.
func (s *Session) busy() bool { return slices.ContainsFunc(s.streams.All(), (*Stream).busy) }

// restarts reports whether the request restarts its stream, and whether it
// says so in a valid way. A restart that nothing calls for becomes an empty request,
// and is excused from the rules on frequency once: there are clients that send one
// before they authenticate, and a server that is used to TCP ends the stream at a
// second header. XEP-0206, section 5.
func (s *Session) restarts(req *wire.Request) (yes, excused, ok bool) {
	if req.Restart == nil {
		return false, false, true
	}
	yes, ok = wire.Bool(req.Restart)
	st := s.stream(req)
	if !yes || st == nil || !st.framing.Headed() {
		return false, false, ok
	}
	if st.restarts == called {
		return true, false, true
	}
	excused = st.restarts == uncalled
	st.restarts, req.Payloads = wasted, req.Payloads[:0]
	return false, excused, true
}

// restart begins the request's stream anew. Older requests are answered with
// what there is now, so that the features go where clients look for them: into
// the answer to the restart. Payloads beside a restart are ignored, as the XEP
// has it.
func (s *Session) restart(req *wire.Request, now time.Duration) {
	st := s.stream(req)
	for s.final == nil {
		r, _ := s.win.Oldest()
		if r == nil || r.Rid == s.win.Last() {
			break
		}
		if ex := r.Exchange; ex != nil {
			s.dismissed(ex, reply{body: s.answer(r, now)})
		} else {
			s.settleOrphan(r, now)
		}
	}
	st.restart(req)
}

// stream returns the open stream that the request is about, or nil.
func (s *Session) stream(req *wire.Request) *Stream {
	if !s.grant.Streams {
		return s.streams.find(nil)
	}
	return s.streams.find(req.Stream)
}

// openStream opens a further stream for the open request r. The application is
// asked in a goroutine, since the other streams go on meanwhile.
func (s *Session) openStream(r *record, req *wire.Request) {
	rid, o := r.Rid, s.h.opening(req, *s.streams.All()[0].opening)
	if len(s.streams.All())+s.streams.Several().asking >= s.h.o.MaxStreams {
		st := s.h.newStream(s, s.streams.All()[0].local, o)
		st.member.scope = *reqinfo.NewLazyContext(s.scope.Context(s.cause()))
		s.addStream(rid, st, &Error{Condition: PolicyViolation, Err: errStreams})
		return
	}
	r.Held.opening = true
	if s.grant.Polls() {
		r.Held.until += stall
	}
	s.streams.Several().asking++
	local, asked := s.streams.All()[0].local, s.Request()
	if r.Exchange != nil {
		local, asked = r.Exchange.local(r.Exchange.values()), s.h.asked(r.Exchange)
	}
	go func() {
		ctx, o, err := s.h.admit(s.Context(), asked, o)
		if err == nil {
			err = s.h.reserve()
		}
		st := s.h.newStream(s, local, o)
		st.member.scope = *reqinfo.NewLazyContext(ctx)
		s.mu.Lock()
		s.streams.Several().asking--
		s.addStream(rid, st, err)
		if st.cause == nil && ctx != s.scope.Values() { // or the session sees to it
			st.member.scope.Watch(ctx, func() { st.lapse(ctx) })
		}
		s.settle(s.h.now())
		s.unlock()
		if err == nil && !s.h.deliver(st) {
			st.CloseWithError(s.h.farewell())
		}
	}()
}

// addStream adds the stream that the request rid has opened, or that was
// refused, which the client is told in the stream's name: by the answer to that
// request, or if it has had one already, by the next.
func (s *Session) addStream(rid int64, st *Stream, refused *Error) {
	c := s.streams.Several()
	c.opened++
	st.member.added, st.member.n = true, c.opened
	if s.ended {
		st.end(s.cause())
		return
	}
	if r := s.win.Find(rid); r != nil && r.State == session.Open {
		r.Held.opening, r.Held.opener, st.naming = false, st, hidden
		s.win.Release(rid) // what is older would hold it up
		r.Held.until = s.h.now() + s.openingWait(st)
	} else {
		st.naming = untold
	}
	s.streams.Add(st)
	c.named = true
	if refused != nil {
		st.final = refused
		st.end(refused)
		s.streams.todo(func() { s.h.streamRefused(s, refused) })
	} else {
		st.greet()
	}
}

// forward hands the payloads of a request to the streams they are for.
func (s *Session) forward(req *wire.Request) Condition {
	if len(req.Payloads) == 0 {
		return ""
	}
	s.stats.PayloadsIn += int64(len(req.Payloads))
	if len(req.Stream) > 0 && s.grant.Streams {
		st := s.streams.find(req.Stream)
		switch {
		case st != nil:
			return st.feed(req)
		case s.streams.knew(req.Stream):
			return "" // it crossed the stream's end
		}
		return ItemNotFound
	}
	for _, st := range s.streams.All() {
		if st.open() {
			if cond := st.feed(req); cond != "" {
				return cond
			}
		}
	}
	return ""
}

// settle wakes the oldest open request if something is due on it, and sets
// the alarm for what comes next. It is called after everything that happens
// to a session.
func (s *Session) settle(now time.Duration) {
	if s.vain > 0 && now < s.grace && s.streams.pending() {
		s.vain = 0
	}
	if s.working && s.grace <= now {
		s.lapses()
	}
	next := never
	if s.writing == nil && !s.chain.empty() {
		if at := s.clear(s.chain.first); at <= now {
			s.writing = s.chain.pop()
			s.wake(s.writing)
		} else {
			next = min(next, at)
		}
	}
	if s.writing == nil && !s.ended {
		s.settleEnd(now)
	}
	if !s.ended {
		next = min(next, s.nextExpiry(), s.decided(), s.receipt.due())
	}
	if s.writing == nil && s.chain.empty() && !s.ended {
		if r, at := s.due(); r != nil {
			if at = min(at, s.limit()); at <= now {
				s.writing = r.Exchange
				s.settleOrphans(r.Rid)
				s.wake(s.writing)
			} else {
				next = min(next, at)
			}
		}
	}
	if next != never {
		s.h.clock.Set(s, now, next)
	}
	s.account()
}

// account tells the Handler how much the session keeps, if that has changed by
// enough to be worth it. Most sessions never keep so much.
func (s *Session) account() {
	n := 0
	for _, st := range s.streams.All() {
		st.recount()
		n += st.opening.size() + st.out.Size()
	}
	n += s.unread + s.origin.Size() + s.win.Weight()
	if s.label != nil {
		n += len(*s.label)
	}
	if s.ended {
		if n = s.unread; n < worthCounting { // all else that is left is the application's
			n = 0
		}
	}
	if d := int64(n) - s.kept; d >= worthCounting || d <= -worthCounting || s.ended {
		s.kept = int64(n)
		s.h.memory.Add(d)
		s.bequeath()
	}
}

// worthCounting is how many bytes of a session go uncounted.
const worthCounting = 1 << 10

// A legacy is what a session keeps that is over: input that the application has not read.
type legacy struct {
	bytes  int64
	memory *atomic.Int64 // which counts it
}

// bequeath notes what a session keeps that is over, so that it does not count any more
// when the application has forgotten the session without having closed its streams.
func (s *Session) bequeath() {
	if s.legacy != nil {
		s.legacy.bytes = s.kept
	} else if s.ended && s.kept > 0 {
		s.legacy = &legacy{s.kept, &s.h.memory}
		runtime.AddCleanup(s, func(l *legacy) { l.memory.Add(-l.bytes) }, s.legacy)
	}
}

// worthAccounting reports whether it is time to account for output that grows little by
// little: each time that it crosses a multiple of often. The next request or answer
// accounts for what is left.
func worthAccounting(before, after int) bool { return before/often != after/often }

// often is after how many bytes of a buffer it is.
const often = 4 << 10

// settleEnd ends a session whose client has asked for it and left without
// waiting for the answer.
func (s *Session) settleEnd(now time.Duration) {
	if s.final == nil || !s.final.Remote {
		return
	}
	if live, _ := s.due(); live != nil {
		return
	}
	if r, _ := s.win.Oldest(); r != nil {
		s.answer(r, now)
	}
}

const never = time.Duration(1<<63 - 1)

// nextExpiry returns when the session must end if nothing happens.
func (s *Session) nextExpiry() time.Duration {
	if s.ended || s.coming > 0 {
		return never
	}
	at := never
	since, gap := s.win.Gap()
	if gap {
		at = max(since, s.came) + s.grant.Wait + s.inactivity()
	}
	idle := max(s.idleSince, s.came)
	switch {
	case s.live > 0:
	case s.pause > 0:
		at = min(at, idle+time.Duration(s.pause)*time.Second+overtime)
	case s.grant.Inactivity > 0 || s.final != nil || gap:
		at = min(at, idle+s.inactivity())
	}
	return at
}

// comes takes note that the body of a request is on its way, which may take long. As long
// as it is, the client is not inactive.
func (s *Session) comes() {
	s.mu.Lock()
	s.coming++
	s.mu.Unlock()
}

// comesNoMore takes note that it has arrived, or will not.
func (s *Session) comesNoMore() {
	s.mu.Lock()
	defer s.unlock()
	now := s.h.now()
	s.coming--
	s.came = now
	s.settle(now)
}

// inactivity is how long a client may be silent when silence has a limit.
func (s *Session) inactivity() time.Duration {
	if s.grant.Inactivity == 0 {
		return defaultInactivity + overtime
	}
	return s.grant.Inactivity + overtime
}

// overtime is how much longer than it was told a client may be silent: it counts from
// when the last answer arrived, its timer is late, and its request needs to arrive.
const overtime = 2 * time.Second

// afterlife is how long the answers of a session are kept that has ended.
const afterlife = 30 * time.Second

// tick is called by the clock.
func (s *Session) tick() {
	s.collect()
	s.mu.Lock()
	now := s.h.now()
	s.alarm.Rung()
	if s.decide(now); s.nextExpiry() <= now {
		s.expire()
	}
	s.settle(now)
	s.unlock()
}

// expire ends the session because of silence, or a gap that was not filled.
func (s *Session) expire() {
	if s.live > 0 {
		s.giveUp()
		return
	}
	cause := s.final
	if cause == nil {
		cause = &Error{Remote: true, Err: errInactive}
	}
	s.end(cause)
}

// unlock releases the lock and then does what there is to do.
func (s *Session) unlock() {
	if s.release() {
		go s.speaks()
	}
}

// speaks is speak without the lock.
func (s *Session) speaks() {
	s.mu.Lock()
	s.speak()
}

// release is unlock for those who see to it that somebody speaks, if that is to be.
func (s *Session) release() (speak bool) {
	if s.streams.With() == nil && s.queue.empty() && s.told == s.ended && s.parked == nil {
		s.mu.Unlock() // mostly
		return false
	}
	after, over, scope := s.streams.after(), s.ended && !s.told, s.scope
	s.told = s.ended
	if over {
		s.h.past.Ended(registry.Counts(s.counted()), s.asked, s.final.reason())
	}
	speak = !s.queue.empty() && !s.speaking && s.attending == 0
	if speak {
		s.speaking = true
	}
	if s.parked != nil && (speak || !s.yielding) {
		s.unpark(speak)
		speak = false
	}
	s.mu.Unlock()
	for _, f := range after {
		f()
	}
	if over {
		s.over(scope)
	}
	return speak
}

// answer makes the answer to the open request r, and keeps it for repeats.
func (s *Session) answer(r *record, now time.Duration) []byte {
	rid, opener := r.Rid, r.Held.opener
	var a wire.Response
	if l := r.Held.lost; l != nil {
		a.Report, a.Time = l.rid, min(l.age.Milliseconds(), 1<<16-1)
	}
	if s.grant.Acks && (!s.created || s.win.Last() != rid) {
		a.Ack = s.win.Last()
	}
	var from *Stream
	ends := s.final != nil && !r.Pause && (s.final.Remote || !s.streams.named() || !s.streams.pending())
	switch {
	case ends:
		if !s.streams.named() { // an answer for all streams has no room for the output of one
			from = s.streams.All()[0]
		}
		s.farewell(&a, s.final)
	case r.Pause:
	case s.created:
		if from = opener; from == nil {
			from = s.streams.speaker()
		}
	default:
		from = s.streams.All()[0]
		a.Granted, a.From = s.grant.Attributes(), from.opening.To
		a.Granted.SID, a.Granted.Restarts = s.sid, from.framing.Headed()
		if s.grant.Streams {
			a.Stream = from.Name()
		}
	}
	if from != nil {
		s.carry(&a, from, opener)
	}
	body := blank
	if !a.Empty() {
		body = a.Bytes(r.Body)
	}
	if from != nil {
		r.Of, r.Load = from.number(), from.carried()
	}
	if a.Whole != nil && &body[0] == &a.Whole[0] {
		s.win.Share(rid, body, now)
	} else {
		s.win.Answer(rid, body, len(a.Payload) > 0, now)
	}
	s.created = true
	if from != nil {
		from.taken()
	}
	if ends {
		s.dismiss(s.final, now)
		if !s.final.told() { // or else end has done it
			s.keepAnswers(now)
		}
	}
	return body
}

// carry puts the output of st into a.
func (s *Session) carry(a *wire.Response, st, opener *Stream) {
	a.Payload, a.Whole = st.out.Bytes(), st.out.Answer()
	st.framing.Mark(a)
	if st.head != nil && (!st.out.Empty() || a.Granted != nil) {
		a.Version, a.AuthID = st.head.Version, st.head.ID
		st.head, st.announced = nil, true
	}
	if st == opener || st.naming == untold {
		a.From, a.Stream = st.opening.To, st.Name()
		st.naming = named
	}
	if s.streams.named() && !st.out.Empty() {
		a.Stream = st.Name()
	}
	if st.final != nil {
		a.Stream = st.Name()
		s.farewell(a, st.final)
		s.streams.remove(st)
	}
}

// farewell makes a the last answer of a session or stream that ends by e.
func (s *Session) farewell(a *wire.Response, e *Error) {
	a.Terminate = true
	a.Condition, a.URI, a.Last = string(e.Condition), e.URI, e.Payload
	a.XMPP = a.XMPP || e.Condition == RemoteStreamError
}

// terminated ends the session, or the stream that the request names, by the
// client's wish. XEP-0124, sections 13 and 16.5.
func (s *Session) terminated(req *wire.Request) Condition {
	if len(req.Stream) > 0 && s.grant.Streams {
		st := s.streams.find(req.Stream)
		switch {
		case st == nil && s.streams.knew(req.Stream):
			return "" // it crossed the stream's end
		case st == nil:
			return ItemNotFound
		case s.streams.others(st):
			if st.final == nil {
				st.final = byClient
			}
			st.end(io.EOF)
			return ""
		}
	}
	if s.final == nil {
		s.final = byClient
	}
	for _, st := range s.streams.All() {
		st.end(io.EOF)
	}
	return ""
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
		body = a.Bytes(nil)
	}
	for {
		r, _ := s.win.Oldest()
		if r == nil {
			break
		}
		ex := r.Exchange
		s.win.Answer(r.Rid, body, false, now)
		if ex != nil {
			s.dismissed(ex, reply{body: body})
		}
	}
	for _, r := range s.win.Records() {
		if r.Exchange != nil {
			s.dismissed(r.Exchange, reply{body: body})
		}
	}
	s.end(e)
}

// dismissed has ex answered after those that are being answered already.
func (s *Session) dismissed(ex *exchange, a reply) {
	ex.reply = a
	if s.writing != ex {
		s.chain.push(ex)
	}
}

// fail ends the session because of the request on ex, which gets the
// condition, after all other open ones got other-request. XEP-0124, section
// 17.
func (s *Session) fail(ex *exchange, cond Condition) {
	records := s.win.Records()
	for i := range records {
		if r := &records[i]; r.Exchange != nil && r.Exchange != ex {
			s.dismissed(r.Exchange, s.h.terminal(OtherRequest, s.grant.Legacy))
		}
	}
	if ex != nil {
		s.dismissed(ex, s.h.terminal(cond, s.grant.Legacy))
	}
	s.end(&Error{Condition: cond, Remote: true})
}

// giveUp ends the session because a missing request did not come. The early
// ones get item-not-found.
func (s *Session) giveUp() {
	records := s.win.Records()
	for i := range records {
		if r := &records[i]; r.State == session.Early && r.Exchange != nil {
			s.dismissed(r.Exchange, s.h.terminal(ItemNotFound, s.grant.Legacy))
			r.Exchange = nil
		}
	}
	early := s.chain
	s.chain = line{}
	s.fail(nil, ItemNotFound)
	for !early.empty() {
		s.chain.push(early.pop())
	}
}

// abandon ends the session because its creation on ex has panicked, and nobody will
// attend to it.
func (s *Session) abandon(ex *exchange) {
	s.mu.Lock()
	s.fail(ex, InternalServerError)
	s.settle(s.h.now())
	s.unlock()
	if ex.direct == nil { // or else it will be over when its connection is
		s.done(ex)
	}
}

// keepAnswers has the answers that were given kept for repeats, after the end, and why it has
// ended, for requests that come late.
func (s *Session) keepAnswers(now time.Duration) {
	l := replay.Session{SID: s.sid, Content: s.grant.Content, Legacy: s.grant.Legacy, Secure: s.secure}
	if s.secure {
		l.Cert = reqinfo.Certificate(s.TLS())
	}
	if s.final.told() {
		l.Condition, l.URI = string(s.final.Condition), s.final.URI
		if len(s.final.Payload) <= maxLast {
			l.Payload = string(s.final.Payload)
		}
	}
	var room [2]replay.Answer
	s.h.replays.Put(now, &l, s.win.Answers(room[:0]))
}

// maxLast is the largest Payload of an Error that requests are told which come late.
const maxLast = 4 << 10

// told reports whether e is something that a client has to be told, which has not
// brought it about itself.
func (e *Error) told() bool { return !e.Remote && e.Condition != "" }

// end ends the session for the application, and makes the sid unknown.
func (s *Session) end(e *Error) {
	if s.ended {
		return
	}
	s.ended, s.final = true, e
	s.win.Abandon()
	for !s.doubts.empty() {
		s.dismissed(s.doubts.pop(), s.h.terminal(ItemNotFound, s.grant.Legacy))
	}
	s.h.clock.Stop(s)
	if e.told() && s.created {
		s.keepAnswers(s.h.now())
	}
	cause := e.streamCause()
	if e.Err != nil {
		cause = e
	}
	for _, st := range s.streams.All() {
		st.end(cause)
		st.handBack()
	}
	s.proves()
}

// proves has whoever wants to know told if more is proven than before.
func (s *Session) proves() {
	for _, st := range s.streams.All() {
		st.prove()
	}
	c := s.streams.With()
	if c == nil || len(c.left) == 0 {
		return
	}
	c.left = slices.DeleteFunc(c.left, func(st *Stream) bool {
		st.gone = s.win.Doubtful(st.number()) == 0
		st.prove()
		st.handBack()
		return st.gone
	})
}

// over tells the application that the session has ended.
func (s *Session) over(scope reqinfo.LazyContext) {
	scope.Cancel()(s.cause())
	s.h.over(scope.Values(), s, s.final)
}

// cause returns why the session has ended, or nil.
func (s *Session) cause() error {
	if !s.ended {
		return nil
	}
	return s.final.cause()
}

// cause returns the end by e as the application is told of it.
func (e *Error) cause() error {
	if e.Remote && e.Condition == "" && e.Err == nil {
		return io.EOF
	}
	return e
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
		s.final = orGraceful(e)
		s.settle(s.h.now())
	}
	return nil
}

// follow ends the session when ctx is done, which Admit has returned for it.
func (s *Session) follow(ctx context.Context) {
	if ctx.Done() == nil {
		return // mostly
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.scope.Watch(ctx, func() { s.lapse(ctx) })
	}
}

// lapse ends the session because ctx is done. The client, which may have no right to be
// here any more, is told as by Terminate, but nothing of it is taken.
func (s *Session) lapse(ctx context.Context) {
	s.mu.Lock()
	defer s.unlock()
	for _, st := range s.streams.All() {
		st.lapsed = true
	}
	if s.final == nil && !s.ended {
		s.final = lapsed(ctx)
		s.settle(s.h.now())
	}
}

// lapsed returns the end by a context that Admit has returned, which is done.
func lapsed(ctx context.Context) *Error {
	return &Error{Condition: PolicyViolation, Err: lapse{context.Cause(ctx)}}
}

// A lapse is why the context of Admit is done.
type lapse struct{ error }

func (l lapse) Error() string { return "the context that Admit returned is done: " + l.error.Error() }
func (l lapse) Unwrap() error { return l.error }

// orGraceful returns e, or a graceful end if it is nil.
func orGraceful(e *Error) *Error {
	if e == nil {
		return new(Error)
	}
	return e
}

// byClient is the end that a client has asked for.
var byClient = &Error{Remote: true}
