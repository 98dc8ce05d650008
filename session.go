package bosh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/carrier"
	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/monitor"
	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/replay"
	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/gobosh/bosh/internal/session"
	"github.com/gobosh/bosh/internal/state"
	"github.com/gobosh/bosh/internal/timers"
	"github.com/gobosh/bosh/internal/wire"
)

// A Session is one BOSH session: the rid window, the held requests, and their streams.
// XEP-0124.
//
// All its methods may be called from any goroutine, also from the callbacks of
// [Options].
type Session struct {
	h      *Handler
	serial int64        // for logs
	info   reqinfo.Info // what created it
	began  int32        // when it began, in seconds by the clock; maybe in another process, before that
	secure bool

	summed bool          // it has ended, and the Totals have its counts; guarded by mu, as all that follows
	asked  registry.Mark // for its stats: see Handler.Stats

	mu sync.Mutex // comes first: see Locks in internal/README.md; see lock, release and looked, which alone may touch it

	m     session.Machine
	desk  carrier.Desk // where answers are written that nobody waits for
	scope reqinfo.LazyContext
	alarm timers.Alarm // rings for the next thing that is due
	rare  *rare        // nil until one of them is needed
}

// rare is for few sessions.
type rare struct {
	label string    // see SetLabel
	app   []byte    // what Export was given, in another process
	left  *leftover // nil while the session lives, and mostly behind that
}

// seldom returns the rare things.
func (s *Session) seldom() *rare {
	if s.rare == nil {
		s.rare = new(rare)
	}
	return s.rare
}

// newSession returns a session created by ex.
func (h *Handler) newSession(ex *carrier.Exchange) *Session {
	s := &Session{h: h, alarm: h.clock.Alarm(), info: ex.Via().Info(), secure: h.secure(ex)}
	if h.o.ClientAddr != nil {
		s.info = reqinfo.WithAddr(h.o.ClientAddr(ex.Via().Request()), s.info)
	}
	return s
}

// sessionOf returns the session of an exchange, or nil.
func sessionOf(ex *carrier.Exchange) *Session {
	s, _ := ex.Session.(*Session)
	return s
}

// crowded reports whether the sessions, and more bytes, are more than they may keep.
func (h *Handler) crowded(more int) bool {
	return h.o.MaxMemory > 0 && h.memory.Load()+int64(more) > h.o.MaxMemory
}

// lock takes the lock. It is given back by unlock, or by release.
func (s *Session) lock() { s.mu.Lock() }

// now is the time since the Handler was made.
func (h *Handler) now() time.Duration { return h.clock.Now() }

// unlock does the machine's work, releases the lock, and then does the work without the
// lock.
func (s *Session) unlock() {
	if s.release() {
		go s.answerQueue()
	}
}

// looked is unlock for callers who have changed nothing: there is no work to do.
func (s *Session) looked() { s.mu.Unlock() }

// release is unlock for callers who answer the queue themselves, if it reports so.
func (s *Session) release() (answer bool) {
	var after []func()
	m, summed := &s.m, s.summed
	if !m.Calm() { // as it is for most stanzas of a body with many
		if m.TakeWatch() {
			s.h.idle.After(s.h.now(), s) // before the application is woken, so that it comes first
		}
		if m.Several() {
			after = s.actForStreams()
		}
		proved := m.TakeProved()
		for _, st := range m.Streams() {
			if w := st.TakeWake(); w != 0 || proved {
				after = owner(st).woken(w, proved, after)
			}
		}
		if !m.Quiet() {
			s.act()
		}
		for x := m.TakeWoken(); x != nil; x = m.TakeWoken() {
			x.Carrier.(carrier.Carrier).Wake(&s.desk)
		}
	}
	over := s.summed != summed
	answer = s.desk.Claim(m.Watched())
	s.mu.Unlock()
	for _, f := range after {
		f()
	}
	if over {
		s.over()
	}
	return answer
}

// actForStreams takes the effects of streams, if there may be several. It is called with
// the lock held, and returns the work without the lock.
func (s *Session) actForStreams() (after []func()) {
	for _, asked := range s.m.TakeAsked() {
		after = append(after, s.openStream(asked))
	}
	for _, st := range s.m.Removed() {
		after = owner(st).woken(st.TakeWake(), false, after)
	}
	s.m.Forget(func(x *session.Stream) (wanted bool) {
		x.Gone = s.m.AllProven(x)
		wanted = owner(x).conn().Proves()
		return !x.Gone && wanted
	})
	return after
}

// act takes the other effects of the machine, but for the woken exchanges: release wakes
// those itself, on less of the stack. The lock is held.
func (s *Session) act() {
	e := s.m.Effects()
	if e.Over {
		s.h.clock.Stop(s)
	}
	if e.Alarm != 0 {
		s.h.clock.Set(s, s.h.now(), e.Alarm)
	}
	if e.Memory != 0 {
		s.h.memory.Add(e.Memory)
	}
	if e.Over || s.summed {
		s.leaveBehind(e.Kept)
	}
	if e.Keep {
		s.keepAnswers()
	}
	if e.Over {
		s.count()
	}
}

// count adds the session to those that have ended. It is called with the lock held.
func (s *Session) count() {
	s.summed = true
	e := s.m.Final()
	end := errorOf(e)
	if e.Public == nil && e != session.ByClient {
		e.Public = end
	}
	s.h.past.Ended(s.counted(), s.asked, end.reason())
}

// A locker is a Session as its streams see it: see netconn.Session.
type locker Session

func (l *locker) Lock()              { (*Session)(l).lock() }
func (l *locker) Unlock()            { (*Session)(l).unlock() }
func (l *locker) Now() time.Duration { return l.h.now() }
func (l *locker) Settle()            { l.m.Settle(l.h.now()) }
func (l *locker) Direct() bool       { return l.h.engine != nil }

func (l *locker) Fault(err error) *session.End {
	return newEnd(&Error{Condition: InternalServerError, Err: err})
}

// Served closes a stream after a callback, unless the stream goes on.
func (l *locker) Served(x *session.Stream, callback string, goesOn *bool) {
	st := owner(x)
	var e *Error
	if v := recover(); v != nil {
		l.h.o.Logger.Error("bosh: "+callback+" panicked", "session", st.s.ID(), "panic", v, "stack", string(debug.Stack()))
		e = &Error{Condition: InternalServerError}
	} else if *goesOn {
		return
	}
	st.CloseWithError(e)
}

// settle has the machine see the work that is due now.
func (s *Session) settle() { s.m.Settle(s.h.now()) }

// openStream asks the application for a further stream, in a goroutine, since the other
// streams go on meanwhile. It is called with the lock held, and its result without.
func (s *Session) openStream(asked session.Asked) (after func()) {
	first := owner(s.m.Streams()[0])
	o := s.h.opening(asked.Request, openingOf(first.state.Opening))
	if asked.TooMany {
		e := &Error{Condition: PolicyViolation, Err: errStreams}
		st := s.h.newStream(s, first.local, o)
		st.scope = reqinfo.NewLazyContext(s.scope.Context(s.cause()))
		s.m.AddStream(s.h.now(), asked.Rid, &st.state.Stream, newEnd(e))
		return func() { s.h.streamRefused(s, e) }
	}
	local, r := func() net.Addr { return first.local }, s.Request()
	if x := asked.Exchange; x != nil {
		kept := x.Carrier.(carrier.Carrier).Request() // see Keep
		local, r = func() net.Addr { return reqinfo.Local(kept.Context(), kept.Host) }, kept
	}
	return func() { go s.admitStream(asked.Rid, local(), r, o) } // local may call the application
}

// admitStream asks the application for it.
func (s *Session) admitStream(rid int64, local net.Addr, r *http.Request, o Opening) {
	ctx, o, err := s.h.admit(s.Context(), r, o)
	if err == nil {
		err = s.h.reserve()
	}
	st := s.h.newStream(s, local, o)
	st.scope = reqinfo.NewLazyContext(ctx)
	s.lock()
	s.m.AddStream(s.h.now(), rid, &st.state.Stream, newEnd(err))
	if st.state.Open() && ctx != s.scope.Values() { // or the session sees to it
		st.scope.Watch(ctx, func() { st.lapse(ctx) })
	}
	s.unlock()
	if err != nil {
		s.h.streamRefused(s, err)
	} else if !s.h.deliver(st) {
		st.CloseWithError(s.h.farewell())
	}
}

// admit asks the application for leave to open a stream by o. In any case it returns the
// context of the stream, and o as the application left it. The request r is not looked at
// without Options.Admit.
func (h *Handler) admit(ctx context.Context, r *http.Request, o Opening) (context.Context, Opening, *Error) {
	if h.o.Admit != nil {
		asked := o // which takes an allocation, and o none
		c, e := h.callAdmit(ctx, r, &asked)
		if o = asked; c != nil {
			ctx = c
		}
		if e == nil && ctx.Err() != nil {
			e = lapsed(ctx)
		}
		if e != nil {
			return ctx, o, e
		}
	}
	switch f := o.Framing.bytes(); {
	case f == nil:
		return ctx, o, &Error{Condition: InternalServerError, Err: fmt.Errorf("no such framing, use one of %v: %v", framing.All, o.Framing)}
	case f.Headed() && o.To == "":
		return ctx, o, &Error{Condition: ImproperAddressing, Err: errNowhere}
	}
	return ctx, o, nil
}

func (h *Handler) callAdmit(ctx context.Context, r *http.Request, o *Opening) (c context.Context, e *Error) {
	defer func() {
		if v := recover(); v != nil {
			h.o.Logger.Error("bosh: Admit panicked", "panic", v, "stack", string(debug.Stack()))
			c, e = nil, &Error{Condition: InternalServerError, Err: errPanic}
		}
	}()
	c, err := h.o.Admit(ctx, r, o)
	if c != nil {
		c.Done() // one that panics, as a nil pointer does, should do so here
	}
	if err == nil {
		return c, nil
	}
	if errors.As(err, &e) && wire.Defined(string(e.Condition)) {
		if e, err = checkError(e); err == nil {
			return c, e
		}
	}
	return c, &Error{Condition: InternalServerError, Err: err}
}

// A leftover is the unread input of a session after its end.
type leftover struct {
	bytes  int64
	memory *atomic.Int64 // which counts it
}

// leaveBehind notes the memory of a session after its end. It counts no more when the
// application has forgotten the session without closing its streams.
func (s *Session) leaveBehind(kept int64) {
	if s.rare != nil && s.rare.left != nil {
		s.rare.left.bytes = kept
	} else if kept > 0 {
		l := &leftover{kept, &s.h.memory}
		s.seldom().left = l
		runtime.AddCleanup(s, func(l *leftover) { l.memory.Add(-l.bytes) }, l)
	}
}

// afterlife is how long answers are kept after the end of their session.
const afterlife = 30 * time.Second

// tick is called by the clock.
func (s *Session) tick() {
	s.collect()
	s.lock()
	defer s.unlock()
	now := s.h.now()
	s.alarm.Rung()
	s.m.Tick(now)
}

// collect asks for a due receipt. It does so without the lock: it is a system call.
func (s *Session) collect() {
	if s.h.o.Proof != ByKernel {
		return
	}
	s.lock()
	r := s.m.ReceiptDue(s.h.now())
	s.unlock()
	if r == nil {
		return
	}
	all, known := r.Handle.(direct.Receipt).Arrived()
	s.lock()
	defer s.unlock()
	s.m.ReceiptAsked(s.h.now(), r, all, known)
}

// look sets the alarm postponed by the machine, unless nothing is left to wait for. It
// reports whether the wait is over. See [timers.NewIdle].
func (s *Session) look(last bool) (done bool) {
	s.lock()
	defer s.unlock()
	done, settle := s.m.Look(last)
	if settle {
		s.settle()
	}
	return done
}

// keepAnswers keeps the given answers for repeats after the end, and the reason of the end
// for late requests.
func (s *Session) keepAnswers() {
	l := replay.Session{SID: s.m.SID, Content: s.m.Grant.Content, Legacy: s.m.Grant.Legacy, Secure: s.secure}
	if s.secure {
		l.Cert = reqinfo.Certificate(s.TLS())
	}
	l.Moved = s.m.Moved()
	if e := s.m.Final(); e.Told() {
		l.Condition, l.URI = e.Condition, e.URI
		if len(e.Payload) <= maxLast {
			l.Payload = string(e.Payload)
		}
	}
	var room [2]replay.Answer
	s.h.replays.Put(s.h.now(), &l, s.m.Answers(room[:0]))
}

// maxLast is the largest Payload of an Error for late requests.
const maxLast = 4 << 10

// over tells the application about the end of the session.
func (s *Session) over() {
	s.lock()
	scope, e := s.scope, errorOf(s.m.Final())
	s.unlock()
	scope.Cancel()(e.cause())
	s.h.over(scope.Values(), s, e)
}

// cause returns why the session has ended, or nil. It is called with the lock held.
func (s *Session) cause() error { return public(s.m.Cause()) }

// checkError returns a copy of e that is fit to be sent, or nil for nil.
func checkError(e *Error) (*Error, error) {
	if e == nil {
		return nil, nil
	}
	if e.Condition != "" && !wire.Defined(string(e.Condition)) {
		return nil, fmt.Errorf("bosh: no such condition: %q", e.Condition)
	}
	c := *e
	c.Remote = false
	var err error
	if c.Payload, err = framing.Last(e.Payload); err != nil {
		return nil, fmt.Errorf("bosh: payload of an Error: %w", err)
	}
	return &c, nil
}

// newEnd returns how a session or stream ends by e, or nil.
func newEnd(e *Error) *session.End {
	if e == nil {
		return nil
	}
	return &session.End{Condition: string(e.Condition), Remote: e.Remote, URI: e.URI, Payload: e.Payload, Err: e.Err, Public: e}
}

// orGraceful is newEnd, but a graceful end for nil.
func orGraceful(e *Error) *session.End {
	if e == nil {
		return &session.End{Public: new(Error)}
	}
	return newEnd(e)
}

// byClient is an end by the client.
var byClient = &Error{Remote: true}

// errorOf returns an end as the application is told of it.
func errorOf(e *session.End) *Error {
	switch {
	case e == session.ByClient:
		return byClient
	case e.Public != nil:
		return e.Public.(*Error)
	}
	return &Error{Condition: Condition(e.Condition), Remote: e.Remote, URI: e.URI, Payload: e.Payload, Err: e.Err}
}

// public returns an error of the machine as the application is told of it.
func public(err error) error {
	if e, ok := err.(*session.End); ok {
		return errorOf(e)
	}
	return err
}

// cause returns the end by e as the application is told of it.
func (e *Error) cause() error {
	if e.Remote && e.Condition == "" && e.Err == nil {
		return io.EOF
	}
	return e
}

// reason returns the name under which the end is counted.
func (e *Error) reason() string {
	switch {
	case e.Condition != "":
		return string(e.Condition)
	case e.Err == session.ErrInactive, e.Err == session.ErrUncreated:
		return "inactive"
	case e.Err == ErrMoved:
		return "moved"
	}
	return "closed"
}

// ID returns a name for the session, safe to log and to show: it is not the sid, and does
// not tell it.
func (s *Session) ID() string { return strconv.FormatInt(s.serial, 36) }

// Context returns the session's context. It descends from Admit's context. The end of the
// session cancels it, with the error of Err as its cause.
func (s *Session) Context() context.Context {
	s.lock()
	defer s.unlock()
	return s.scope.Context(s.cause())
}

// Err returns nil while the session lives, and then why it ended: an *Error,
// or io.EOF if the client ended it in good order.
func (s *Session) Err() error {
	s.lock()
	defer s.looked()
	return s.cause()
}

// Request returns a copy of the session's first request, without its body, Content-Length
// and context.
func (s *Session) Request() *http.Request { return s.info.Request() }

// TLS returns the state of the first request's connection, with the client's certificates
// for SASL EXTERNAL; nil without TLS.
func (s *Session) TLS() *tls.ConnectionState { return s.info.TLS() }

// Secure reports whether the session was created over TLS, as
// [Options.Secure] has it. A secure session takes no insecure request.
func (s *Session) Secure() bool { return s.secure }

// RemoteAddr returns the address of the first request, as [Options.ClientAddr] has it.
// Later requests may come from others.
func (s *Session) RemoteAddr() net.Addr { return s.info.RemoteAddr() }

// LastRequest returns the arrival time of the client's last request, repeats and the first
// one included. Between two of them there may be as much as [Options.Wait] and
// [Options.Inactivity], or a pause, together.
func (s *Session) LastRequest() time.Time {
	s.lock()
	defer s.looked()
	return s.h.clock.Time(s.m.Heard)
}

// SetLabel sets a text for operators, such as the user's name: they find the session by it
// on the page of [Handler.Monitor]. It stands in the log at the session's end, too. It is
// cut at 256 bytes, and counts towards [Options.MaxMemory]. The last one set stands.
func (s *Session) SetLabel(label string) {
	label = strings.Clone(logs.Text(strings.ToValidUTF8(label, "\uFFFD")))
	s.lock()
	defer s.unlock()
	s.seldom().label = label
	s.m.SetExtra(s.extra())
}

// extra returns how many bytes it keeps that the machine does not know of.
func (s *Session) extra() int {
	n := s.info.Size()
	if s.rare != nil {
		n += len(s.rare.label) + len(s.rare.app)
	}
	return n
}

// Label returns the last text of SetLabel.
func (s *Session) Label() string {
	s.lock()
	defer s.looked()
	return s.labelled()
}

// labelled is Label, called with the lock held.
func (s *Session) labelled() string {
	if s.rare == nil {
		return ""
	}
	return s.rare.label
}

// Streams returns the session's open streams, in the order of their opening.
func (s *Session) Streams() []*Stream {
	s.lock()
	defer s.looked()
	var open []*Stream
	for _, st := range s.m.Streams() {
		if st.Open() {
			open = append(open, owner(st))
		}
	}
	return open
}

// Stats returns the session's counts.
func (s *Session) Stats() SessionStats {
	s.lock()
	defer s.looked()
	return SessionStats(s.counted())
}

// counted is Stats, called with the lock held.
func (s *Session) counted() registry.Counts {
	c, open := &s.m.Stats, s.m.Live()
	queued, unread := s.m.Waiting()
	return registry.Counts{
		Requests: c.Requests, Repeats: c.Repeats, PayloadsIn: c.PayloadsIn, PayloadsOut: c.PayloadsOut,
		BytesIn: c.BytesIn, BytesOut: c.BytesOut, Open: open, Queued: queued, Unread: unread,
	}
}

// names returns the texts of s for Monitor.
func (s *Session) names() (n monitor.Names) {
	s.lock()
	defer s.looked()
	n.Label = s.labelled()
	if all := s.m.Streams(); len(all) > 0 {
		n.To, n.Several = all[0].Opening.To, len(all) > 1
	}
	return n
}

// domains returns the domains of its open streams for it.
func (s *Session) domains() (to []string) {
	for _, st := range s.Streams() {
		to = append(to, st.Opening().To)
	}
	return to
}

// shown returns the changing part of s for it.
func (s *Session) shown() monitor.Look {
	s.lock()
	defer s.looked()
	now := s.h.now()
	return monitor.Look{
		Counts: s.counted(), Label: s.labelled(), State: s.state(),
		Age: max(now-time.Duration(s.began)*time.Second, 0), Last: max(now-s.m.Heard, 0),
	}
}

// state returns the present state of s, in a word.
func (s *Session) state() string {
	switch {
	case s.m.Final() != nil:
		return monitor.Ending
	case s.m.Live() > 0:
		return monitor.Held
	case s.m.Paused():
		return monitor.Paused
	case s.m.Grant.Polls():
		return monitor.Polling
	}
	return monitor.Away
}

// Terminate ends the session: every stream, and every request. The client gets the
// condition of e behind all output, as by [Stream.CloseWithError]; nil is a graceful end.
// It does not wait. During an earlier end it does nothing.
func (s *Session) Terminate(e *Error) error {
	e, err := checkError(e)
	if err != nil {
		return err
	}
	end := orGraceful(e)
	s.lock()
	defer s.unlock()
	s.m.Terminate(s.h.now(), end)
	return nil
}

// Export ends the session in this process, and returns what another one needs to go on
// with it by [Handler.Import]. [Stream.Imported] returns app there. The client is told
// nothing: requests that are open here get no answer, and their repeats are answered where
// the session is by then. See "Moving sessions" in the package's documentation.
//
// The application must have dealt with all it has read. A blocked Read ends with
// [ErrMoved], as do all later calls, and so does the session's context. Call
// [Stream.Detach] before if there is a [Stream.Receive]. What is unread, unsent or
// unproven goes along.
//
// It does not block. With [ErrBusy] the session lives on, and a later call may succeed:
// a Write is under way or an element of it is not whole, the creation is not answered, a
// stream is being opened, or the session or a stream is ending. A stream that is read or
// written by tokens cannot be moved at all. Behind the end, the error is its cause.
func (s *Session) Export(app []byte) ([]byte, error) {
	s.lock()
	defer s.unlock()
	if err := s.cause(); err != nil {
		return nil, err
	}
	if err := s.m.Busy(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	now := s.h.now()
	x := state.Session{
		Secure: s.secure, Origin: reqinfo.Export(s.info), Label: s.labelled(), Age: now - time.Duration(s.began)*time.Second, App: app,
	}
	s.m.Export(now, &x)
	for i, st := range s.m.Streams() {
		if err := owner(st).conn().Busy(); err != nil {
			return nil, err
		}
		owner(st).conn().Export(&x.Streams[i])
		x.Streams[i].Local = owner(st).local.String()
	}
	b := x.Append(make([]byte, 0, 1<<10+len(app)))
	if _, err := state.Read(b); err != nil { // or it would be lost
		return nil, err
	}
	s.h.front.Export()
	s.m.Move(now, newEnd(&Error{Err: ErrMoved}))
	return b, nil
}

// abort ends the session by e at once.
func (s *Session) abort(e *Error) {
	s.lock()
	defer s.unlock()
	s.m.Abort(s.h.now(), newEnd(e))
}

// follow ends the session when ctx is done, the context of Admit.
func (s *Session) follow(ctx context.Context) {
	if ctx.Done() == nil {
		return // mostly
	}
	s.lock()
	defer s.unlock()
	if s.m.Phase() != session.Ended {
		s.scope.Watch(ctx, func() { s.lapse(ctx) })
	}
}

// lapse ends the session because ctx is done. The client may have no right to be here any
// more. It is told as by Terminate, but its input is dropped.
func (s *Session) lapse(ctx context.Context) {
	s.lock()
	defer s.unlock()
	s.m.Lapse(s.h.now(), newEnd(lapsed(ctx)))
}

// lapsed returns the end by a context of Admit.
func lapsed(ctx context.Context) *Error {
	return &Error{Condition: PolicyViolation, Err: lapse{context.Cause(ctx)}}
}

// A lapse is why the context of Admit is done.
type lapse struct{ error }

func (l lapse) Error() string { return "the context that Admit returned is done: " + l.error.Error() }
func (l lapse) Unwrap() error { return l.error }

// begin makes the session's machine, and gives its first stream the input of the creation
// request. It returns why that is unacceptable, or nil. Nobody else knows the session yet.
func (s *Session) begin(g *session.Grant, st *Stream, req *wire.Request) *Error {
	s.m = session.New(&s.h.config, g, rand.Text()+s.h.suffix, s.info.Size(), &st.state.Stream)
	if c := s.m.Fill(req); c != "" {
		return &Error{Condition: Condition(c), Err: errPayload}
	}
	return nil
}
