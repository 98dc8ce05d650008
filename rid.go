package bosh

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/negotiate"
	"github.com/gobosh/bosh/internal/origin"
	"github.com/gobosh/bosh/internal/peer"
	"github.com/gobosh/bosh/internal/window"
	"github.com/gobosh/bosh/internal/wire"
)

// A record is what the session's window keeps of a request.
type record = window.Record[exchange, openRequest]

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
	verdict := s.win.Classify(ex.rid, s.grant.Extra(req))
	if (verdict == window.Turn || verdict == window.Ahead) && s.hogs() && !negotiate.Terminates(req) {
		s.fail(ex, PolicyViolation)
		s.settle(now)
		return false
	}
	switch verdict {
	case window.Beyond:
		s.fail(ex, ItemNotFound)
	case window.Gone:
		if len(s.doubts) == maxDoubts {
			s.fail(ex, ItemNotFound)
			break
		}
		s.doubts = append(s.doubts, doubt{ex, now + doubtful})
	case window.Repeat:
		s.repeat(req, ex, sum)
	case window.Ahead:
		if malformed {
			s.fail(ex, BadRequest)
			break
		}
		if !s.win.Gap() {
			s.gapSince = now
		}
		s.win.Insert(record{Rid: ex.rid, Sum: sum, Key: s.key(req), At: now, Exchange: ex, Early: req})
		kept, ex.early = true, true
	case window.Turn:
		if malformed {
			s.fail(ex, BadRequest)
			break
		}
		s.win.Insert(record{Rid: ex.rid, Sum: sum, Key: s.key(req), At: now, Exchange: ex})
		s.takeTurn(req, now)
		for r := s.win.Turn(); r != nil && s.goesOn(); r = s.win.Turn() {
			early := s.win.Fetch(r)
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
		_, live := s.win.OldestLive()
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
	if s.win.Next == "" {
		return ""
	}
	return string(req.Key)
}

// repeat handles a request whose rid is known. XEP-0124, section 14.3.
func (s *Session) repeat(req *wire.Request, ex *exchange, sum uint64) {
	r := s.win.Find(ex.rid)
	s.stats.Repeats++
	ex.repeat = true
	if r.Key != "" && r.Key != string(req.Key) {
		s.fail(ex, ItemNotFound)
		return
	}
	if !r.Matches(sum) {
		// Something else under a rid that is taken. It is not acted on and
		// gets nothing to see; the session is not at fault.
		s.override(ex, s.h.terminal(ItemNotFound, s.grant.Legacy))
		return
	}
	if r.Repeats++; s.h.o.MaxRepeats >= 0 && int(r.Repeats) > s.h.o.MaxRepeats {
		s.fail(ex, PolicyViolation)
		return
	}
	if r.State == window.Answered {
		if r.Pause && r.Rid == s.win.Last() {
			s.pause = s.grant.Pauses(req)
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
		ex.reply = reply{body: s.answer(s.win.Find(ex.rid), s.h.now())}
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
	if r := s.win.Find(ex.rid); r != nil && r.Exchange == ex {
		s.win.Release(ex.rid)
		r.Release = true
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
	if r := s.win.Find(ex.rid); r != nil && r.Exchange == ex {
		r.Exchange = nil
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
