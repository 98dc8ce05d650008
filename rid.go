package bosh

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/negotiate"
	"github.com/gobosh/bosh/internal/origin"
	"github.com/gobosh/bosh/internal/peer"
	"github.com/gobosh/bosh/internal/tomb"
	"github.com/gobosh/bosh/internal/wire"
)

// A ridState is how far a request has come.
type ridState uint8

const (
	ridEarly    ridState = iota // received, but a lower rid is missing
	ridOpen                     // its turn has come, but it is not answered
	ridAnswered                 // answered, and the answer is kept
)

// A record is what a window keeps of one request.
type record struct {
	rid     int64
	at      time.Duration // when it arrived; and once it is answered, when that was
	sum     uint64        // hash of the body, for telling a repeat from an impostor; 0 for the creation
	key     string        // the key it came with, in a keyed session
	repeats int32
	weight  uint32 // what the window counts of it
	state   ridState

	// pause says that the request asks for a pause, and end that it asks for
	// the end of the session or of a stream. The client may send it with the
	// window full, so its answer takes no place there. XEP-0124, sections 11
	// and 14.3.
	pause, end bool

	// empty says that the request carried nothing that calls for attention,
	// which is what the rules on frequency are about.
	empty bool

	payload bool   // answered: the answer carries payloads
	body    []byte // answered: the answer, byte for byte

	// The fields below are kept here for the session; the window does not
	// touch them.
	early *wire.Request // early: the request that waits for its turn; see weigh
	ex    *exchange     // early, open: where to answer; nil if the connection broke
	open  openRequest   // open: what is due
}

// recordSize is what a record takes besides what it refers to, about.
const recordSize = 200

// matches reports whether a request whose body has the hash sum is a repeat of
// r. The request that created the session cannot be repeated word for word: it
// had no sid.
func (r *record) matches(sum uint64) bool { return r.sum == sum || r.sum == 0 }

// extra reports whether r was allowed one place beyond the window.
func (r *record) extra() bool { return r.pause || r.end }

// An openRequest is what a session knows of a request that is being held.
type openRequest struct {
	until   time.Duration // when its wait is over
	opener  *Stream       // the answer names this new stream
	lost    *lost         // the answer reports this, if not nil
	release bool          // answer it at once
	opening bool          // it opens a stream that the application has not admitted yet
}

// A lost is an answer that the client seems to have lost.
type lost struct {
	rid int64
	age time.Duration
}

// A window is the request-id arithmetic of one session: which rid is new,
// early, repeated or out of bounds, which answers are kept, and which key is
// expected. It is a plain value without clock, lock or I/O. XEP-0124,
// sections 9.2, 14 and 15.
type window struct {
	last    int64         // end of the gapless sequence received
	arrived time.Duration // when that one came
	records []record      // by rid, ascending; answers kept and requests open or early
	limit   int           // bytes of answers kept beyond the last size, for a client that acknowledges
	size    int32         // R, how many requests the client may have unanswered
	empty   bool          // the last one was empty
	keep    bool          // the client acknowledges: answers are kept until it does
	acked   int64         // all answers up to this rid have been acknowledged
	weight  int           // bytes that all records take, about
	next    string        // what the SHA-1 of the next key must be; "" if there are no keys
}

func newWindow(rid int64, size int) window {
	return window{last: rid - 1, size: int32(size), acked: rid - 1, records: make([]record, 0, 2)}
}

// A verdict is what a window says of a rid.
type verdict uint8

const (
	ridTurn   verdict = iota // the next one
	ridAhead                 // acceptable, but a lower one is missing
	ridRepeat                // received before, and known
	ridGone                  // received before, and forgotten
	ridBeyond                // above the window
)

// classify judges a rid. A request that asks for a pause or for the end is
// allowed one place more (extra).
func (w *window) classify(rid int64, extra bool) verdict {
	top := w.last + int64(w.size)
	if extra {
		top++
	}
	switch {
	case rid > min(top, negotiate.MaxRid):
		return ridBeyond
	case w.find(rid) != nil:
		return ridRepeat
	case rid <= w.last:
		return ridGone
	case rid == w.last+1:
		return ridTurn
	}
	return ridAhead
}

// find returns the record of rid, or nil. It is good until the next insert,
// or answer.
func (w *window) find(rid int64) *record {
	for i := len(w.records) - 1; i >= 0 && w.records[i].rid >= rid; i-- {
		if w.records[i].rid == rid {
			return &w.records[i]
		}
	}
	return nil
}

// insert adds the record of a new rid, in order.
func (w *window) insert(r record) *record {
	i := len(w.records)
	w.records = append(w.records, record{})
	for i > 0 && w.records[i-1].rid > r.rid {
		w.records[i] = w.records[i-1]
		i--
	}
	w.records[i] = r
	w.weigh(&w.records[i])
	return &w.records[i]
}

// weigh takes note of what r takes, after that has changed.
func (w *window) weigh(r *record) {
	n := recordSize + len(r.body) + len(r.key)
	if r.early != nil {
		n += cap(r.early.Body)
	}
	w.weight += n - int(r.weight)
	r.weight = uint32(n)
}

// turn returns the record whose turn it is, if it has been received.
func (w *window) turn() *record {
	if r := w.find(w.last + 1); r != nil && r.state == ridEarly {
		return r
	}
	return nil
}

// gap reports whether a request waits for a missing one.
func (w *window) gap() bool {
	n := len(w.records)
	return n > 0 && w.records[n-1].state == ridEarly
}

// take gives the next request its turn. What need not be kept any more goes.
func (w *window) take() *record {
	r := w.find(w.last + 1)
	r.state = ridOpen
	w.last, w.arrived, w.empty = r.rid, r.at, r.empty
	w.trim()
	return w.find(w.last)
}

// overactive applies the rules on frequency to r, whose turn it is. If the
// session polls, two empty requests may not follow each other within the
// interval polling, unless the answer to the first had payloads. In other
// sessions the last request that the client may have open may not be empty and
// follow the one before so soon; and if it opens more than it may, that is
// excused only for an extra one. One that came before its predecessor is not
// soon: nobody can tell how late the predecessor was. XEP-0124, sections 11
// and 12.
func (w *window) overactive(r *record, polling time.Duration, polls, extra bool) bool {
	soon := r.empty && r.at >= w.arrived && r.at-w.arrived < polling
	if polls && soon && w.empty {
		if before := w.find(r.rid - 1); before != nil && before.state == ridAnswered && !before.payload {
			return true
		}
	}
	if r.ex == nil {
		return false
	}
	_, n := w.oldestLive()
	switch n++; {
	case n > int(w.size):
		return !extra
	case n == int(w.size):
		return soon && !polls
	}
	return false
}

// answer keeps body as the answer to the open request rid.
func (w *window) answer(rid int64, body []byte, payload bool, now time.Duration) {
	r := w.find(rid)
	r.state, r.body, r.payload, r.at = ridAnswered, body, payload, now
	r.ex, r.open = nil, openRequest{}
	w.weigh(r)
	w.trim()
}

// trim forgets the answers that need not be kept: all but the last size, and,
// for a client that acknowledges, those that it has acknowledged or that
// exceed the limit. An answer to an extra request takes none of these places, but
// a repeat of it that comes late is no reason to end the session.
func (w *window) trim() {
	n, kept, bytes := len(w.records), int32(0), 0
	passed := w.passed()
	for i := n - 1; i >= 0; i-- {
		r := &w.records[i]
		if r.state != ridAnswered {
			continue
		}
		if r.extra() {
			if r.rid <= passed {
				w.remove(i)
			}
			continue
		}
		if kept++; kept <= w.size {
			continue
		}
		bytes += len(r.body) + len(r.key) + recordSize
		if !w.keep || r.rid <= w.acked || bytes > w.limit {
			w.remove(i)
		}
	}
}

func (w *window) remove(i int) {
	w.weight -= int(w.records[i].weight)
	n := len(w.records) - 1
	copy(w.records[i:], w.records[i+1:])
	w.records[n] = record{}
	w.records = w.records[:n]
}

// ack takes note of the ack of the request rid, or of its absence, which has a
// meaning if the client acknowledges. It returns the answer that the client
// seems to have lost, or nil. Acks that make no sense are ignored.
func (w *window) ack(rid int64, ack wire.Number) (lost *record) {
	n := rid - 1
	if ack.Set {
		n = ack.N
		if !ack.OK || n < 1 || n >= rid {
			return nil
		}
	} else if !w.keep {
		return nil
	}
	// Only what was answered can have arrived.
	for i := range w.records {
		if r := &w.records[i]; r.rid <= n && r.state != ridAnswered {
			n = r.rid - 1
		}
	}
	if ack.Set && n < ack.N {
		return nil // it acknowledges an answer that was never given
	}
	w.acked = max(w.acked, n)
	w.trim()
	if ack.Set {
		if r := w.find(ack.N + 1); r != nil && r.state == ridAnswered {
			return r
		}
	}
	return nil
}

// proven returns the highest rid whose answer the client has beyond doubt:
// because it acknowledged it, or because it could not have sent its last
// request otherwise.
func (w *window) proven() int64 { return max(w.acked, w.passed()) }

// passed returns the highest rid that must have been answered for the client to
// send its last request.
func (w *window) passed() int64 {
	n := w.last - int64(w.size)
	if r := w.find(w.last); r != nil && r.extra() {
		n--
	}
	return n
}

// unproven returns the answers with payloads that the client may not have.
func (w *window) unproven() (bodies [][]byte) {
	proven := w.proven()
	for i := range w.records {
		if r := &w.records[i]; r.payload && r.rid > proven {
			bodies = append(bodies, r.body)
		}
	}
	return bodies
}

// oldest returns the lowest open request, and how many open ones there are.
func (w *window) oldest() (r *record, n int) {
	for i := range w.records {
		if w.records[i].state == ridOpen {
			if n++; n == 1 {
				r = &w.records[i]
			}
		}
	}
	return r, n
}

// oldestLive returns the lowest open request that has a connection, and how
// many such there are.
func (w *window) oldestLive() (r *record, n int) {
	for i := range w.records {
		if x := &w.records[i]; x.state == ridOpen && x.ex != nil {
			if n++; n == 1 {
				r = x
			}
		}
	}
	return r, n
}

// release has all open requests below rid answered at once.
func (w *window) release(rid int64) {
	for i := range w.records {
		if r := &w.records[i]; r.state == ridOpen && r.rid < rid {
			r.open.release = true
		}
	}
}

// answers appends the answers that are kept to as.
func (w *window) answers(as []tomb.Answer) []tomb.Answer {
	for i := range w.records {
		if r := &w.records[i]; r.state == ridAnswered {
			as = append(as, tomb.Answer{Rid: r.rid, Sum: r.sum, Key: r.key, Body: r.body})
		}
	}
	return as
}

// abandon forgets all requests that are not answered, and returns those that
// were early.
func (w *window) abandon() (early []*wire.Request) {
	for i := len(w.records) - 1; i >= 0; i-- {
		r := &w.records[i]
		if r.early != nil {
			early = append(early, r.early)
		}
		if r.state != ridAnswered {
			w.remove(i)
		}
	}
	return early
}

// unlock checks the key of the request whose turn it is, and takes it and its
// newkey into account. XEP-0124, section 15.
func (w *window) unlock(key, newkey string) bool {
	if w.next == "" {
		return true
	}
	sum := sha1.Sum([]byte(key))
	if !strings.EqualFold(hex.EncodeToString(sum[:]), w.next) {
		return false
	}
	w.next = key
	if newkey != "" {
		w.next = newkey
	}
	return true
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

	arrived                time.Duration
	repeat, early, creates bool

	request *http.Request // for those who must decide on it: see http

	// What follows is for a request on a connection that was taken over,
	// which nobody waits for: see speak. The session's lock guards it.

	direct *direct.Request
	next   *exchange // to be answered behind this one
	queued bool      // it is to be answered
	taken  bool      // somebody has the answer, or the client has left
	left   bool      // it has
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

// http returns the HTTP request.
func (ex *exchange) http() *http.Request {
	if ex.request == nil {
		ex.request = ex.direct.HTTP()
	}
	return ex.request
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
		return peer.Local(ctx, ex.direct.Host())
	}
	return peer.Local(ctx, ex.request.Host)
}

// origin returns what is to be kept of the HTTP request.
func (ex *exchange) origin() origin.Origin {
	if ex.direct != nil {
		return ex.direct.Origin()
	}
	return origin.Keep(ex.request)
}

// tls returns the state of the connection, or nil.
func (ex *exchange) tls() *tls.ConnectionState {
	if ex.direct != nil {
		return ex.direct.TLS()
	}
	return ex.request.TLS
}

// A reply is an answer as the HTTP edge needs it. It is never empty.
type reply struct {
	body   []byte
	status int // if not 0, an HTTP error without a body instead
}

// given reports whether there is a reply.
func (a reply) given() bool { return a.body != nil || a.status != 0 }

// receive takes a request of the session. Its answer becomes ready on ex. It
// reports whether it keeps req. If req could not be parsed to its end,
// malformed is set.
func (s *Session) receive(req *wire.Request, ex *exchange, malformed bool) (kept bool) {
	sum := s.h.sum(req.Body)
	s.mu.Lock()
	now := s.h.now()
	s.arrive(req, ex, now)
	defer s.unlock()
	if s.ended {
		s.resend(req, ex)
		return false
	}
	verdict := s.win.classify(ex.rid, s.grant.Extra(req))
	if (verdict == ridTurn || verdict == ridAhead) && s.hogs() && !negotiate.Terminates(req) {
		s.fail(ex, PolicyViolation)
		s.settle(now)
		return false
	}
	switch verdict {
	case ridBeyond:
		s.fail(ex, ItemNotFound)
	case ridGone:
		if len(s.doubts) == maxDoubts {
			s.fail(ex, ItemNotFound)
			break
		}
		s.doubts = append(s.doubts, doubt{ex, now + doubtful})
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
		s.win.insert(record{rid: ex.rid, sum: sum, key: s.key(req), at: now, ex: ex, early: req})
		kept, ex.early = true, true
	case ridTurn:
		if malformed {
			s.fail(ex, BadRequest)
			break
		}
		s.win.insert(record{rid: ex.rid, sum: sum, key: s.key(req), at: now, ex: ex})
		s.takeTurn(req, now)
		for r := s.win.turn(); r != nil && s.goesOn(); r = s.win.turn() {
			early := r.early
			r.early = nil
			s.win.weigh(r)
			s.takeTurn(early, now)
			s.h.free(early)
		}
	}
	s.settle(now)
	return kept
}

// arrive takes note of a request.
func (s *Session) arrive(req *wire.Request, ex *exchange, now time.Duration) {
	s.live++
	s.stats.Requests++
	s.stats.BytesIn += int64(len(req.Body))
	ex.rid, ex.arrived = req.Rid.N, now
	if ex.direct != nil {
		s.attending++
	}
}

// yield gives the application the chance to answer a request before a timer is
// set for it. Most do so at once, and a timer costs more than all else there is
// to do for a request, since an idle process wakes up for it. It is called by
// whoever has called receive.
func (s *Session) yield(ex *exchange) {
	s.mu.Lock()
	for range yields {
		_, live := s.win.oldestLive()
		if s.ended || s.writing != nil || s.created && live <= s.grant.Hold {
			s.yielding = false
		}
		if !s.yielding {
			break
		}
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
	if s.yielding {
		s.yielding = false
		s.settle(s.h.now())
	}
	if ex.direct != nil {
		s.attending--
		s.speakUp()
		return
	}
	s.unlock()
}

// yields is how often it is tried, which takes some microseconds if nothing else
// is to be done.
const yields = 20

// key returns what must be remembered of the request's key.
func (s *Session) key(req *wire.Request) string {
	if s.win.next == "" {
		return ""
	}
	return string(req.Key)
}

// repeat handles a request whose rid is known. XEP-0124, section 14.3.
func (s *Session) repeat(req *wire.Request, ex *exchange, sum uint64) {
	r := s.win.find(ex.rid)
	s.stats.Repeats++
	ex.repeat = true
	if r.key != "" && r.key != string(req.Key) {
		s.fail(ex, ItemNotFound)
		return
	}
	if !r.matches(sum) {
		// Something else under a rid that is taken. It is not acted on and
		// gets nothing to see; the session is not at fault.
		s.override(ex, s.h.terminal(ItemNotFound, s.grant.Legacy))
		return
	}
	if r.repeats++; s.h.o.MaxRepeats >= 0 && int(r.repeats) > s.h.o.MaxRepeats {
		s.fail(ex, PolicyViolation)
		return
	}
	if r.state == ridAnswered {
		if r.pause && r.rid == s.win.last {
			s.pause = s.grant.Pauses(req)
		}
		s.override(ex, reply{body: r.body})
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
	s.override(old, reply{body: []byte(wire.Again)})
}

// resend answers a request to a session that has ended meanwhile.
func (s *Session) resend(req *wire.Request, ex *exchange) {
	stone, ok := s.h.yard.Get(req.SID)
	if !ok {
		s.override(ex, s.h.terminal(ItemNotFound, s.grant.Legacy))
		return
	}
	s.override(ex, s.h.again(stone, req))
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
		ex.reply = reply{body: s.answer(s.win.find(ex.rid), s.h.now())}
	}
	s.stats.BytesOut += int64(len(ex.reply.body))
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
	last := &s.queue
	for *last != nil {
		last = &(*last).next
	}
	*last, ex.queued = ex, true
}

// unqueue takes ex out of the queue.
func (s *Session) unqueue(ex *exchange) {
	for p := &s.queue; *p != nil; p = &(*p).next {
		if *p == ex {
			*p = ex.next
			break
		}
	}
	ex.next, ex.queued = nil, false
}

// speakUp is unlock for those who may answer the requests in the queue.
func (s *Session) speakUp() {
	if s.queue == nil || s.speaking || s.attending > 0 {
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
	for s.queue != nil && s.attending == 0 {
		ex := s.queue
		s.unqueue(ex)
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
	s.unqueue(ex)
	return true
}

// hurry has ex answered as if its wait were over, and what must be answered
// before it.
func (s *Session) hurry(ex *exchange) {
	s.mu.Lock()
	defer s.unlock()
	if r := s.win.find(ex.rid); r != nil && r.ex == ex {
		s.win.release(ex.rid)
		r.open.release = true
		s.settle(s.h.now())
	}
}

// A doubt is a request whose rid was forgotten long ago. It ends the session,
// as the XEP has it, unless it turns out that nobody waits for its answer: then
// it is a copy of a request that was given up, which the network or our own
// sluggishness has delayed, and the client has done nothing wrong.
type doubt struct {
	ex    *exchange
	until time.Duration
}

// doubtful is how long a broken connection may take to be noticed. It has been
// broken before the request was read, so that takes no time but what the process
// waits for the processor, which is much under load or a quota, and what the end
// of the connection takes longer to arrive than its bytes did: if it gets lost,
// about as long as TCP takes to send it again.
const doubtful = time.Second

// maxDoubts is how many there may be in a session at a time.
const maxDoubts = 64

// decide ends the session by a doubt that is due. XEP-0124, section 14.3.
func (s *Session) decide(now time.Duration) {
	for _, d := range s.doubts {
		if d.until <= now {
			s.fail(d.ex, ItemNotFound)
			return
		}
	}
}

// done takes note that ex is over. If it has not been answered its connection has
// broken: no payload is spent on it, and its rid stays open for a repeat.
func (s *Session) done(ex *exchange) {
	s.mu.Lock()
	now := s.h.now()
	if r := s.win.find(ex.rid); r != nil && r.ex == ex {
		r.ex = nil
	}
	if s.live--; s.live == 0 {
		s.idleSince = now
	}
	if s.writing == ex {
		s.writing = nil
	}
	if i := slices.Index(s.chain, ex); i >= 0 {
		s.chain = slices.Delete(s.chain, i, i+1)
	}
	if len(s.doubts) > 0 {
		s.doubts = slices.DeleteFunc(s.doubts, func(d doubt) bool { return d.ex == ex })
	}
	s.settle(now)
	s.unlock()
}
