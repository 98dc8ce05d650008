package bosh

import (
	"context"
	"crypto/tls"
	"hash/maphash"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/gobosh/bosh/internal/session"

	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/relay"

	"github.com/gobosh/bosh/internal/wire"
)

// A record is what the session's window keeps of a request.
type record = session.Record[exchange, openRequest]

// An openRequest is what a session knows of a request that is being held.
type openRequest struct {
	until   time.Duration // when its wait is over
	opener  *Stream       // the answer names this new stream
	lost    *lost         // the answer reports this, if not nil
	opening bool          // it opens a stream that the application has not admitted yet
}

// A lost is an answer that the client seems to have lost.
type lost struct {
	rid int64
	age time.Duration
}

// An exchange is one HTTP request under way, as the session sees it: a place
// to answer. Whoever serves it waits for ready, and then calls take to get the
// answer and done when it is written, or when the client has left.
type exchange struct {
	ready   chan struct{} // of capacity 1; nil if direct is set
	session *Session      // nil if there is none
	rid     int64
	reply   reply  // the zero value until there is an answer for it
	content string // its media type

	arrived time.Duration
	limit   time.Duration // when it must be answered, or somebody in front of the Handler will; 0 if that is not known
	next    *exchange     // in the line that it is in; the session's lock guards it
	request *http.Request // for those who must decide on it: see http

	repeat, early, creates bool

	// What follows is for a request on a connection that was taken over,
	// which nobody waits for: see speak. The session's lock guards it.

	queued bool // it is in Session.queue
	taken  bool // somebody has the answer, or the client has left
	left   bool // it has
	direct caller
	trip   *relay.Trip // if its session is another node's
	line   uint64      // and then a number for that
}

// A caller is a request that nobody waits for: of the direct engine, or of another node.
type caller interface {
	HTTP() *http.Request
	Values() context.Context
	Host() string
	Header(name string) []string
	Origin() reqinfo.Info
	TLS() *tls.ConnectionState
	Connection() uint64
	Abort()
}

func newExchange() *exchange { return &exchange{ready: make(chan struct{}, 1)} }

// reset makes an exchange that is over ready for another request.
func (ex *exchange) reset() {
	select {
	case <-ex.ready:
	default:
	}
	*ex = exchange{ready: ex.ready}
}

// relayed returns the call that brings the request of another node, or nil.
func (ex *exchange) relayed() *relay.Call {
	c, _ := ex.direct.(*relay.Call)
	return c
}

// http returns the HTTP request.
func (ex *exchange) http() *http.Request {
	if ex.request == nil {
		ex.request = ex.direct.HTTP()
	}
	return ex.request
}

// keep makes the HTTP request the exchange's own, for those who look at it when its
// handler may have returned.
func (ex *exchange) keep() {
	if r := ex.http(); ex.direct == nil {
		ex.request = r.Clone(r.Context())
	}
}

// values returns a context that has the values of the HTTP request's, and outlives
// it.
func (ex *exchange) values() context.Context {
	if ex.direct != nil {
		return ex.direct.Values()
	}
	return context.WithoutCancel(ex.request.Context())
}

// local returns the address that the request with the values of ctx came in on.
func (ex *exchange) local(ctx context.Context) net.Addr {
	if ex.direct != nil {
		return reqinfo.Local(ctx, ex.direct.Host())
	}
	return reqinfo.Local(ex.request.Context(), ex.request.Host) // which ctx would need room to ask
}

// origin returns what is to be kept of the HTTP request.
func (ex *exchange) origin() reqinfo.Info {
	if ex.direct != nil {
		return ex.direct.Origin()
	}
	return reqinfo.Keep(ex.request)
}

// remote returns the address that the request came from. It is never nil.
func (ex *exchange) remote() net.Addr {
	if ex.direct != nil {
		return ex.direct.Origin().RemoteAddr()
	}
	return reqinfo.Addr(ex.request.RemoteAddr)
}

// header returns the values of a field, by its canonical name.
func (ex *exchange) header(name string) []string {
	if ex.direct != nil {
		return ex.direct.Header(name)
	}
	return ex.request.Header[name]
}

// abandoned reports whether the client is known to have left.
func (ex *exchange) abandoned() bool {
	return ex.direct == nil && ex.request.Context().Err() != nil
}

// tls returns the state of the connection, or nil.
func (ex *exchange) tls() *tls.ConnectionState {
	if ex.direct != nil {
		return ex.direct.TLS()
	}
	return ex.request.TLS
}

// A line is a queue of exchanges, of which each is in one line at most.
type line struct{ first *exchange }

func (l *line) empty() bool { return l.first == nil }

func (l *line) len() (n int) {
	for ex := l.first; ex != nil; ex = ex.next {
		n++
	}
	return n
}

// push adds ex at the end.
func (l *line) push(ex *exchange) {
	p := &l.first
	for *p != nil {
		p = &(*p).next
	}
	*p = ex
}

// pop removes the first one and returns it, or nil if there is none.
func (l *line) pop() *exchange {
	ex := l.first
	if ex != nil {
		l.remove(ex)
	}
	return ex
}

// remove removes ex, if it is in the line.
func (l *line) remove(ex *exchange) {
	for p := &l.first; *p != nil; p = &(*p).next {
		if *p == ex {
			*p, ex.next = ex.next, nil
			return
		}
	}
}

// A reply is an answer as the HTTP edge needs it. It is never empty.
type reply struct {
	body   []byte
	status int // if not 0, an HTTP error without a body instead
}

// given reports whether there is a reply.
func (a reply) given() bool { return a.body != nil || a.status != 0 }

// fill gives the first stream what the creation request has for it. The session is not
// yet known to anyone else. It returns why the request is unacceptable, or nil.
func (s *Session) fill(req *wire.Request) *Error {
	s.streams.All()[0].greet()
	if cond := s.forward(req); cond != "" {
		return &Error{Condition: cond, Err: errPayload}
	}
	return nil
}

// start makes the creation request the session's first one. The session is
// not yet known to anyone else.
func (s *Session) start(req *wire.Request, ex *exchange) {
	s.mu.Lock()
	defer s.unlock()
	now := s.h.now()
	s.win = session.NewWindow[exchange, openRequest](req.Rid.N, s.grant.Requests)
	s.win.Keep = req.Ack.Set && req.Ack.OK && req.Ack.N > 0
	s.win.Limit = int32(s.h.o.ReplayBuffer)
	if len(req.NewKey) > 0 {
		s.win.ExpectKey(string(req.NewKey))
	}
	s.arrive(req, ex, now)
	s.win.Insert(record{Rid: ex.rid, At: now, Exchange: ex})
	r := s.win.Take()
	wait := s.openingWait(s.streams.All()[0])
	r.Held.until = now + wait
	if wait > 0 {
		s.defers(now)
	}
	if len(req.Payloads) > 0 {
		s.works(now)
	}
	s.settle(now)
}

// receive takes a request of the session. Its answer becomes ready on ex. If req could
// not be parsed to its end, malformed is set.
func (s *Session) receive(req *wire.Request, ex *exchange, malformed bool) {
	sum := s.h.sum(req.Body)
	s.mu.Lock()
	now := s.h.now()
	s.arrive(req, ex, now)
	defer s.unlock()
	if s.ended {
		s.resend(req, ex)
		return
	}
	verdict := s.win.Classify(ex.rid, s.grant.Extra(req))
	if (verdict == session.Turn || verdict == session.Ahead) && s.hogs() && !session.Terminates(req) {
		s.fail(ex, PolicyViolation)
		s.settle(now)
		return
	}
	switch verdict {
	case session.Beyond:
		s.fail(ex, ItemNotFound)
	case session.Gone:
		if !s.doubt(ex) {
			s.fail(ex, ItemNotFound)
		}
	case session.Repeat:
		s.repeat(req, ex, sum)
	case session.Ahead:
		if malformed {
			s.fail(ex, BadRequest)
			break
		}
		s.infers(ex)
		s.win.Insert(record{Rid: ex.rid, Sum: sum, Key: s.key(req), At: now, Exchange: ex, Early: req.Keep()})
		ex.early = true
	case session.Turn:
		if malformed {
			s.fail(ex, BadRequest)
			break
		}
		s.infers(ex)
		s.win.Insert(record{Rid: ex.rid, Sum: sum, Key: s.key(req), At: now, Exchange: ex})
		s.takeTurn(req, now)
		s.takeEarly()
	}
	s.proves()
	s.settle(now)
}

// infers takes note of what a new request proves by the connection that it has come on.
func (s *Session) infers(ex *exchange) {
	if s.h.o.Proof != ByProtocol && s.follows(ex) {
		s.win.Prove(s.carried)
	}
}

// takeEarly processes the early requests whose turn has come. It releases the lock to
// parse them again. Meanwhile nobody else takes a turn, since these are theirs.
func (s *Session) takeEarly() {
	for s.goesOn() {
		body, ok := s.win.Fetch()
		if !ok {
			return
		}
		s.mu.Unlock()
		req := s.h.reread(body)
		s.mu.Lock()
		if !s.goesOn() {
			s.win.Leave()
			return
		}
		s.takeTurn(req, s.h.now())
		s.h.free(req)
	}
}

// hogs reports whether all sessions together keep more than they may, and this
// one more than its share of that.
func (s *Session) hogs() bool {
	return s.h.crowded() && s.kept > s.h.o.MaxMemory/max(s.h.quota.Taken(), 1)
}

// arrive takes note of a request.
func (s *Session) arrive(req *wire.Request, ex *exchange, now time.Duration) {
	s.live++
	s.stats.Requests++
	s.stats.BytesIn += int64(len(req.Body))
	if s.told {
		s.h.past.Add(registry.Counts{Requests: 1, BytesIn: int64(len(req.Body))})
	}
	ex.rid, ex.arrived, s.heard = req.Rid.N, now, now
	s.limited = s.limited || ex.limit > 0
	if ex.direct != nil {
		s.attending++
	}
}

// takeTurn processes the request whose turn has come. XEP-0124, section 8,
// and the order of the checks in sections 11, 14 and 15.
func (s *Session) takeTurn(req *wire.Request, now time.Duration) {
	r := s.win.Find(s.win.Last() + 1)
	ex := r.Exchange
	if !s.win.CheckKey(string(req.Key), string(req.NewKey)) {
		s.fail(r.Exchange, ItemNotFound)
		return
	}
	restart, excused, ok := s.restarts(req)
	if !ok {
		s.fail(r.Exchange, BadRequest)
		return
	}
	if (restart || len(req.Payloads) > 0) && s.flooded() {
		s.fail(r.Exchange, PolicyViolation)
		return
	}
	opens := s.grant.Opens(req)
	pause := s.grant.Pauses(req)
	r.Pause, r.End = pause > 0, session.Terminates(req)
	r.Empty = len(req.Payloads) == 0 && pause == 0 && !r.End && !restart && !excused && !opens
	if s.win.Overactive(r, s.grant.Polling, s.grant.Polls(), s.grant.Extra(req)) {
		s.fail(r.Exchange, PolicyViolation)
		return
	}
	lost := s.lost(r.Rid, req.Ack, now)
	r = s.win.Take()
	s.pause = 0
	r.Held = openRequest{until: max(now, r.At+s.grant.Patience()), lost: lost}
	r.Release = r.Release || lost != nil // it may have been released while it was early
	asks := len(req.Payloads) > 0 && !restart && !r.Pause && !r.End
	if asks && s.h.o.Grace > 0 {
		s.defers(now) // before the application is woken, so that it comes first
	}
	switch {
	case restart:
		s.restart(req, now)
	case opens:
		s.openStream(r, req)
		return
	default:
		if cond := s.forward(req); cond != "" {
			s.fail(ex, cond)
			return
		}
	}
	r = s.win.Find(s.win.Last())
	if s.h.o.WhitespaceKeepalive && len(req.Payloads) == 0 && !restart && !r.End {
		s.keepAlive(req)
	}
	switch {
	case session.Terminates(req):
		if cond := s.terminated(req); cond != "" {
			s.fail(ex, cond)
		}
	case pause > 0:
		s.pause = seconds(pause)
		s.win.Release(session.MaxRid + 1)
	case asks:
		s.works(now)
		if s.grant.Polls() && !s.inVain() {
			r.Held.until = now + s.h.o.Grace
		}
	}
}

// inVain reports whether the last bodies had no reply within Grace, so that the client
// does not wait for one to the next.
func (s *Session) inVain() bool { return s.vain > 3 }

// keepAlive has the streams that a request without payloads is about read a space.
func (s *Session) keepAlive(req *wire.Request) {
	for _, st := range s.streams.All() {
		if st.open() && (len(req.Stream) == 0 || !s.grant.Streams || st.Name() == string(req.Stream)) {
			st.keepAlive()
		}
	}
}

// seconds returns a granted time, which is at most negotiate.MaxSeconds, in seconds.
func seconds(d time.Duration) uint16 { return uint16(d / time.Second) }

// works takes note that the application has been given a body with payloads.
func (s *Session) works(now time.Duration) {
	s.grace = now + s.h.o.Grace
	s.vain = min(s.vain+1, 100)
	s.working = s.h.o.Grace > 0 && s.busy()
}

// flooded reports whether more input waits for the application than may come
// while requests go unanswered. Such a client got answers all the same, since
// there was something to say, or it asked for them by a pause, and nothing else
// stops it.
func (s *Session) flooded() bool {
	limit := int64(s.h.o.ReadBuffer) + int64(s.grant.Requests)*s.h.o.MaxBody
	return slices.ContainsFunc(s.streams.All(), func(st *Stream) bool { return int64(st.in.Behind()) > limit })
}

// lost takes note of what the request rid acknowledges, and returns the answer
// that the client should be told it has lost, or nil. XEP-0124, section 9.2.
func (s *Session) lost(rid int64, ack wire.Number, now time.Duration) *lost {
	r := s.win.Ack(rid, ack)
	if r == nil || !s.grant.Acks || s.h.o.ReportAfter < 0 || now-r.At < s.h.o.ReportAfter {
		return nil
	}
	return &lost{r.Rid, now - r.At}
}

// goesOn reports whether the client may still send: it has not asked for the
// end, and has done nothing that brings it about.
func (s *Session) goesOn() bool { return !s.ended && s.streams.find(nil) != nil }

// defers has what the session waits for looked at soon, instead of setting an
// alarm for it. Most applications answer a request at once.
func (s *Session) defers(now time.Duration) {
	if s.yielding = s.h.idle.Spare(now); s.yielding {
		s.h.idle.After(now, s)
	}
}

// look sets the alarm that defers has put off, unless nothing is to be waited for
// any more. It reports whether that is over. See [timers.NewIdle].
func (s *Session) look(last bool) (done bool) {
	s.mu.Lock()
	defer s.unlock()
	_, live := s.win.OldestLive()
	over := s.ended || s.writing != nil || s.created && live <= s.grant.Hold && !s.working
	if !s.yielding || !over && !last {
		return !s.yielding
	}
	s.yielding = false
	if !over {
		s.settle(s.h.now())
	}
	return true
}

// attended is called by whoever has called receive for ex, when the application
// knows of it. On a connection that was taken over it waits for an answer that comes
// before any alarm is due, to write it: nobody else need be woken for that.
func (s *Session) attended(ex *exchange) {
	if ex.direct == nil {
		return
	}
	s.mu.Lock()
	s.attending--
	if !s.yielding || s.parked != nil || s.attending > 0 || !s.queue.empty() || ex.relayed() != nil {
		s.speakUp()
		return
	}
	parked := s.h.parking.Get().(chan bool)
	s.parked = parked
	s.unlock()
	speaks := <-parked
	s.h.parking.Put(parked)
	if speaks {
		s.mu.Lock()
		s.speak()
	}
}

// unpark lets whoever is parked go on: to answer the queue, as if speaking had been
// set by it, or to serve the next request.
func (s *Session) unpark(speaks bool) {
	s.parked <- speaks
	s.parked = nil
}

// due returns the oldest request that is open on a live connection, and when
// it is to be answered if nothing happens before.
func (s *Session) due() (*record, time.Duration) {
	oldest, live := s.win.OldestLive()
	if oldest == nil {
		return nil, 0
	}
	o := &oldest.Held
	if o.opening && s.final == nil {
		return oldest, o.until
	}
	switch {
	case s.throttled():
		return oldest, never // until consumed, or room
	case oldest.Pause: // its answer carries nothing
		return oldest, 0
	case s.final != nil || s.output(o):
		return oldest, s.ready(oldest)
	case oldest.Release:
		return oldest, 0
	}
	at := o.until
	if !s.created && s.yielding {
		at = never
	} else if full := s.streams.full(); full && s.grant.Polls() {
		at += stall
	} else if live > s.grant.Hold && !full && !s.yielding {
		if at = min(at, s.grace); s.inVain() {
			at = 0
		}
	}
	return oldest, at
}

// throttled reports whether the client has to wait until the application has read
// some of the input. See [Options.Throttle].
func (s *Session) throttled() bool {
	return s.h.o.Throttle && s.created && s.final == nil && s.streams.full() &&
		!slices.ContainsFunc(s.streams.All(), func(st *Stream) bool { return st.space() <= 0 })
}

// limit returns when an open request must be answered whatever it waits for, or
// somebody in front of the Handler will. Those that are open before it are answered
// then, too.
func (s *Session) limit() time.Duration {
	at := never
	if s.limited {
		for _, r := range s.win.Records() {
			if ex := r.Exchange; r.State == session.Open && ex != nil && ex.limit > 0 {
				at = min(at, ex.limit)
			}
		}
	}
	return at
}

// ready returns when output, or the end, may go out on r. Most clients take answers
// as their connections deliver them, and not in the order of their rids. So:
//
//   - While the application works on a body (working), its replies gather, and go out in
//     one answer. It works on it as long as there is input that it has not read, and
//     until all that went off with input are back for more; but not if its output has no
//     room, or the answer must go (Release).
//   - While an answer with payloads is on its way (sent, Window.InDoubt), other
//     connections could overtake it. It has arrived if the client proves that, by an ack
//     or a request that it could not have sent otherwise. A poll proves nothing: it may
//     have been sent before.
//
// Neither lasts longer than Grace, from the body and from the last byte written.
func (s *Session) ready(r *record) (at time.Duration) {
	if s.working && s.final == nil && !r.Release {
		if at = s.grace; s.yielding {
			return never // until look sets the alarm
		}
	}
	return max(at, s.clear(r.Exchange))
}

// clear returns when nothing on ex can overtake an answer that is on its way on another
// connection.
func (s *Session) clear(ex *exchange) time.Duration {
	if s.h.o.Grace <= 0 || s.sent == 0 || !s.win.InDoubt(ex.rid) || s.follows(ex) {
		return 0
	}
	return s.sent + s.h.o.Grace
}

// sends takes note that ex brings payloads to the client.
func (s *Session) sends(ex *exchange, now time.Duration) {
	s.sent, s.carrier, s.carried, s.receipt = now, ex.connection(s.h), ex.rid, nil
}

// A receipt is asked for until the client's operating system has acknowledged the answer
// that was written last.
type receipt struct {
	direct.Receipt
	next, pause time.Duration // when it is asked for, and how long before it was
}

// due returns when the receipt is to be asked for.
func (r *receipt) due() time.Duration {
	if r == nil {
		return never
	}
	return r.next
}

// later has the receipt asked for after some time, twice as long as the last time.
func (r *receipt) later(now time.Duration) {
	r.pause = min(max(2*r.pause, firstReceipt), lastReceipt)
	r.next = now + r.pause
}

const (
	firstReceipt = 5 * time.Millisecond // most clients are not so near
	lastReceipt  = 5 * time.Second
)

// collect asks for a receipt that is due. It is called without the lock, since that is
// a system call.
func (s *Session) collect() {
	s.mu.Lock()
	r := s.receipt
	due := r.due() <= s.h.now()
	s.mu.Unlock()
	if !due {
		return
	}
	all, known := r.Arrived()
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.receipt != r: // there is a later answer
	case all:
		s.win.Prove(s.carried)
		s.receipt = nil
		s.proves()
	case known:
		r.later(s.h.now())
	default:
		s.receipt = nil
	}
}

// follows reports whether ex came on the connection that the last payloads went out
// on. A connection of a proxy is none of the client's.
func (s *Session) follows(ex *exchange) bool {
	return s.carrier != 0 && s.carrier == ex.connection(s.h) && !ex.forwarded()
}

// connection returns a number for the connection of ex, or 0 if it has none that keeps
// answers in order: those of HTTP/2 are written side by side, and all of a Unix socket
// have the same name.
func (ex *exchange) connection(h *Handler) uint64 {
	if ex.direct != nil {
		return ex.direct.Connection()
	}
	addr := ex.request.RemoteAddr
	if _, _, err := net.SplitHostPort(addr); err != nil || ex.request.ProtoMajor != 1 {
		return 0
	}
	if h.o.Proof != ByProtocol { // then another connection from the same port is to be told apart
		local, _ := ex.request.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		return maphash.Comparable(h.seed, place{addr, local}) | 1
	}
	return maphash.String(h.seed, addr) | 1
}

// A place is a connection: its client's address, and its own one, of which each
// connection has a copy.
type place struct {
	remote string
	local  *net.TCPAddr
}

// forwarded reports whether a proxy says that it has forwarded the request.
func (ex *exchange) forwarded() bool {
	for _, name := range reqinfo.ForwardedBy {
		if len(ex.header(name)) > 0 {
			return true
		}
	}
	return false
}

// stall is how long a polling session waits for an application that does not
// read, or that is asked to admit a stream.
const stall = 10 * time.Second

// output reports whether there is anything to say on an open request.
func (s *Session) output(o *openRequest) bool {
	if o.opener != nil {
		return o.opener.speaks()
	}
	return s.streams.pending()
}

// settleOrphans answers the requests below rid whose connection broke by an
// empty body that waits for their repeat.
func (s *Session) settleOrphans(rid int64) {
	for {
		r, _ := s.win.Oldest()
		if r == nil || r.Rid >= rid {
			return
		}
		s.settleOrphan(r, s.h.now())
	}
}

// settlePassed answers those that the client cannot ask about any more, as
// settleOrphans does: one that breaks off all its requests would leave ever more.
func (s *Session) settlePassed(now time.Duration) {
	for {
		r, _ := s.win.Oldest()
		if r == nil || r.Exchange != nil || r.Rid > s.win.Passed() {
			return
		}
		s.settleOrphan(r, now)
	}
}

// settleOrphan answers one of them. The name that it has asked for goes with
// the next answer.
func (s *Session) settleOrphan(r *record, now time.Duration) {
	if st := r.Held.opener; st != nil {
		st.naming = untold
	}
	s.win.Answer(r.Rid, blank, false, now)
}

// key returns what must be remembered of the request's key.
func (s *Session) key(req *wire.Request) *string {
	if !s.win.Keyed() {
		return nil
	}
	key := string(req.Key)
	return &key
}

// given is how long a request may be without an answer before a repeat of it is
// nobody's fault but ours, or of somebody between us and the client who has cut it
// short. Such a repeat does not count.
const given = time.Second

// repeat handles a request whose rid is known. XEP-0124, section 14.3.
func (s *Session) repeat(req *wire.Request, ex *exchange, sum uint64) {
	r := s.win.Find(ex.rid)
	s.stats.Repeats++
	ex.repeat = true
	if r.Key != nil && *r.Key != string(req.Key) {
		s.fail(ex, ItemNotFound)
		return
	}
	if !r.Matches(sum) {
		// Something else under a rid that is taken. It is not acted on and
		// gets nothing to see; the session is not at fault.
		s.override(ex, s.h.terminal(ItemNotFound, s.grant.Legacy))
		return
	}
	if old := r.Exchange; r.State >= session.Answered || old != nil && ex.arrived-old.arrived < given {
		if n := r.Repeat(); s.h.o.MaxRepeats >= 0 && n > s.h.o.MaxRepeats {
			s.fail(ex, PolicyViolation)
			return
		}
	}
	if r.State >= session.Answered {
		if r.Pause && r.Rid == s.win.Last() {
			s.pause = seconds(s.grant.Pauses(req))
		}
		s.giveWay(r.Rid)
		if r.Payload { // it is on its way again
			s.sends(ex, ex.arrived)
		}
		s.override(ex, reply{body: r.Body})
		return
	}
	old := r.Exchange
	r.Exchange = ex
	if old == nil {
		return
	}
	if s.writing == old {
		s.writing = nil
	}
	s.override(old, reply{body: []byte(wire.Again)})
}

// giveWay takes their turn away from those that are to write the answer to rid, or
// do: the client has asked for it elsewhere, so their connections are dead, and may
// block until WriteTimeout is over.
func (s *Session) giveWay(rid int64) {
	if s.writing != nil && s.writing.rid == rid {
		s.writing = nil
	}
	for ex := s.chain.first; ex != nil; ex = ex.next {
		if ex.rid == rid {
			s.chain.remove(ex)
			s.wake(ex)
			return
		}
	}
}

// resend answers a request to a session that has ended meanwhile.
func (s *Session) resend(req *wire.Request, ex *exchange) {
	entry, ok := s.h.replays.Get(req.SID)
	if !ok {
		s.override(ex, s.h.terminal(ItemNotFound, s.grant.Legacy))
		return
	}
	s.override(ex, s.h.again(entry, req))
}

// override answers ex out of turn.
func (s *Session) override(ex *exchange, a reply) {
	ex.reply = a
	s.wake(ex)
}

// take takes the answer for ex, which was woken. Only now is it made, so that it
// carries all there is. There is none after a false alarm: ex was woken, and
// before it could take its answer another request took its place.
func (s *Session) take(ex *exchange) (ok bool) {
	s.mu.Lock()
	defer s.unlock()
	return s.give(ex)
}

// give puts the answer for ex on it, if there is one.
func (s *Session) give(ex *exchange) (ok bool) {
	if !ex.reply.given() {
		if s.writing != ex {
			return false
		}
		now := s.h.now()
		if r, at := s.due(); r == nil || r.Exchange != ex || min(at, s.limit()) > now {
			s.writing = nil // what it would carry now, and did not when it was due, must wait
			s.settle(now)
			return false
		}
		ex.reply = reply{body: s.answer(s.win.Find(ex.rid), now)}
	}
	s.stats.BytesOut += int64(len(ex.reply.body))
	if s.told {
		s.h.past.Add(registry.Counts{BytesOut: int64(len(ex.reply.body))})
	}
	return true
}

// wake has ex answered.
func (s *Session) wake(ex *exchange) {
	if ex.direct == nil {
		select {
		case ex.ready <- struct{}{}:
		default:
		}
		return
	}
	if ex.queued || ex.taken {
		return
	}
	s.queue.push(ex)
	ex.queued = true
}

// speakUp is unlock for those who may answer the requests in the queue.
func (s *Session) speakUp() {
	if s.queue.empty() || s.speaking || s.attending > 0 {
		s.unlock()
		return
	}
	s.speaking = true
	s.speak()
}

// speak answers the requests in the queue. One goroutine does it at a time, which
// has set speaking: who receives a request, since the application's answer to it
// mostly comes at once, or else one that is made for it. It is called with the
// lock, which it releases.
func (s *Session) speak() {
	for !s.queue.empty() && s.attending == 0 {
		ex := s.queue.pop()
		ex.queued = false
		if ex.taken || !s.give(ex) {
			continue
		}
		ex.taken = true
		s.unlock() // and no more: we are speaking
		s.h.answer(ex)
		s.mu.Lock()
	}
	s.speaking = false
	s.unlock()
}

// leave takes note that the client has left before ex was answered. It reports
// whether nobody is answering it.
func (s *Session) leave(ex *exchange) bool {
	s.mu.Lock()
	defer s.unlock()
	if ex.taken {
		return false
	}
	ex.taken, ex.left = true, true
	s.queue.remove(ex)
	return true
}

// hurry has ex answered as if its wait were over, and what must be answered
// before it.
func (s *Session) hurry(ex *exchange) {
	s.mu.Lock()
	defer s.unlock()
	if r := s.win.Find(ex.rid); r != nil && r.Exchange == ex {
		s.win.Release(ex.rid)
		r.Release = true
		s.settle(s.h.now())
	}
}

// doubtful is how long a broken connection may take to be noticed. It has been
// broken before the request was read, so that takes no time but what the process
// waits for the processor, which is much under load or a quota, and what the end
// of the connection takes longer to arrive than its bytes did: if it gets lost,
// about as long as TCP takes to send it again.
const doubtful = time.Second

// maxDoubts is how many doubts there may be in a session at a time.
const maxDoubts = 64

// doubt adds ex to the doubts, unless there are too many. A doubt is a request whose
// rid was forgotten long ago. It ends the session, as the XEP has it, unless it turns
// out that nobody waits for its answer: then it is a copy of a request that was given
// up, which the network or our own sluggishness has delayed, and the client has done
// nothing wrong.
func (s *Session) doubt(ex *exchange) bool {
	if s.doubts.len() == maxDoubts {
		return false
	}
	s.doubts.push(ex)
	return true
}

// decided returns when the first doubt is decided.
func (s *Session) decided() time.Duration {
	if s.doubts.empty() {
		return never
	}
	return s.doubts.first.arrived + doubtful
}

// decide ends the session by a doubt that is due. XEP-0124, section 14.3.
func (s *Session) decide(now time.Duration) {
	if s.decided() <= now {
		s.fail(s.doubts.pop(), ItemNotFound)
	}
}

// done takes note that ex is over. If it has not been answered its connection has
// broken: no payload is spent on it, and its rid stays open for a repeat.
func (s *Session) done(ex *exchange) {
	s.mu.Lock()
	now, age := s.h.now(), time.Duration(0)
	if r := s.win.Find(ex.rid); r != nil {
		if r.Wrote(ex.reply.body) {
			s.sends(ex, now)
			if q, ok := ex.direct.(*direct.Request); ok && s.h.o.Proof == ByKernel && !ex.forwarded() {
				s.receipt = &receipt{Receipt: q.Receipt()}
				s.receipt.later(now)
			}
		}
		if r.Exchange == ex {
			if !ex.reply.given() {
				age = now - ex.arrived
			}
			r.Exchange = nil
			s.settlePassed(now)
		}
	}
	if ex.creates && !s.created {
		s.end(&Error{Remote: true, Err: errUncreated}) // nobody else knows of it
	}
	if s.live--; s.live == 0 {
		s.idleSince = now
	}
	if s.writing == ex {
		s.writing = nil
	}
	s.chain.remove(ex)
	s.doubts.remove(ex)
	s.settle(now)
	s.unlock()
	if age > 0 {
		s.h.cutOff(s, age, now)
	}
}
