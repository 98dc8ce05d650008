package bosh

import (
	"bytes"
	"context"
	"crypto/tls"
	"hash/maphash"
	"net"
	"net/http"

	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/gobosh/bosh/internal/session"
)

// An exchange is one HTTP request under way: what the session's machine knows of it, and
// what its answer needs. It is part of its carrier.
type exchange struct {
	x       session.Exchange
	session *Session // nil if there is none
	content string   // the media type of the answer
	away    *away    // if its session is another node's
}

// An away is an exchange whose session is another node's.
type away struct {
	trip *relay.Trip
	line uint64 // a number for the session
}

// ex returns the exchange of a carrier.
func (ex *exchange) ex() *exchange { return ex }

// via returns the carrier of an exchange.
func (ex *exchange) via() carrier { return ex.x.Carrier.(carrier) }

// A carrier is where an exchange came in, and where its answer goes. There are two: a
// goroutine of net/http waits for the answer; and for a request of the direct engine, or
// of another node, whoever makes the answer writes it.
type carrier interface {
	session.Carrier
	ex() *exchange

	// What the request says. local is for the context that values returned; info is what
	// is to be kept; header goes by the canonical name of a field.
	request() *http.Request
	values() context.Context
	local(values context.Context) net.Addr
	remote() net.Addr
	info() reqinfo.Info
	header(name string) []string
	tls() *tls.ConnectionState

	// keep makes the request the exchange's own, for those who look at it when its
	// handler may have returned.
	keep()

	// left reports whether the client is known to have left.
	left() bool

	// arrived is called when s takes the exchange, with the lock held, and attended when
	// the application knows of it.
	arrived(s *Session)
	attended(s *Session)

	// wake has the exchange answered. It is called with the lock of s held.
	wake(s *Session)

	// abandoned is called when nobody will attend to the exchange.
	abandoned(s *Session)

	// relayed returns the call that brings the request of another node, or nil.
	relayed() *relay.Call

	// travelled is called when another node has given the answer, or will not.
	travelled(h *Handler)
}

// forwarded reports whether a proxy says that it has forwarded the request of c.
func forwarded(c carrier) bool {
	for _, name := range reqinfo.ForwardedBy {
		if len(c.header(name)) > 0 {
			return true
		}
	}
	return false
}

// A waiting is an exchange of net/http. The goroutine that serves it waits for ready,
// and then calls Session.take to get the answer, and Session.done when that is written,
// or when the client has left.
type waiting struct {
	exchange
	h     *Handler
	ready chan struct{} // of capacity 1
	r     *http.Request
}

func newWaiting(h *Handler) *waiting { return &waiting{h: h, ready: make(chan struct{}, 1)} }

// exchangeOf returns an exchange that only tells of its request.
func exchangeOf(r *http.Request) *exchange {
	w := &waiting{r: r}
	w.x.Carrier = w
	return &w.exchange
}

// reset makes w ready for another request.
func (w *waiting) reset() {
	select {
	case <-w.ready:
	default:
	}
	*w = waiting{h: w.h, ready: w.ready}
}

func (w *waiting) request() *http.Request      { return w.r }
func (w *waiting) keep()                       { w.r = w.r.Clone(w.r.Context()) }
func (w *waiting) values() context.Context     { return context.WithoutCancel(w.r.Context()) }
func (w *waiting) remote() net.Addr            { return reqinfo.Addr(w.r.RemoteAddr) }
func (w *waiting) info() reqinfo.Info          { return reqinfo.Keep(w.r) }
func (w *waiting) header(name string) []string { return w.r.Header[name] }
func (w *waiting) tls() *tls.ConnectionState   { return w.r.TLS }
func (w *waiting) left() bool                  { return w.r.Context().Err() != nil }
func (w *waiting) Forwarded() bool             { return forwarded(w) }

// local does not ask values, which would need room for it.
func (w *waiting) local(context.Context) net.Addr { return reqinfo.Local(w.r.Context(), w.r.Host) }

// Connection returns 0 for a connection that keeps no answers in order: those of HTTP/2
// are written side by side, and all of a Unix socket have the same name.
func (w *waiting) Connection() uint64 {
	h, addr := w.h, w.r.RemoteAddr
	if _, _, err := net.SplitHostPort(addr); err != nil || w.r.ProtoMajor != 1 {
		return 0
	}
	if h.o.Proof != ByProtocol { // then another connection from the same port is to be told apart
		local, _ := w.r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
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

func (w *waiting) arrived(*Session)  {}
func (w *waiting) attended(*Session) {}

func (w *waiting) wake(*Session) {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

func (w *waiting) Receipt() any { return nil }

func (w *waiting) abandoned(s *Session) { s.done(&w.exchange) }
func (w *waiting) relayed() *relay.Call { return nil }

func (w *waiting) travelled(h *Handler) {
	w.x.Reply.Body = bytes.Clone(w.x.Reply.Body)
	h.lines.Enter(w.away.line, w.ready)
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

// A written is an exchange of a caller. Nobody waits for its answer: see answerLocked.
type written struct {
	exchange
	q caller
	r *http.Request // nil until somebody has asked

	// The session's lock guards the following.

	queued bool // it is in Session.queue
	taken  bool // somebody has the answer, or the client has left
	gone   bool // it has
}

func (w *written) request() *http.Request {
	if w.r == nil {
		w.r = w.q.HTTP()
	}
	return w.r
}

func (w *written) keep()                                 { w.request() }
func (w *written) values() context.Context               { return w.q.Values() }
func (w *written) local(values context.Context) net.Addr { return reqinfo.Local(values, w.q.Host()) }
func (w *written) remote() net.Addr                      { return w.q.Origin().RemoteAddr() }
func (w *written) info() reqinfo.Info                    { return w.q.Origin() }
func (w *written) header(name string) []string           { return w.q.Header(name) }
func (w *written) tls() *tls.ConnectionState             { return w.q.TLS() }
func (w *written) left() bool                            { return false }
func (w *written) Connection() uint64                    { return w.q.Connection() }
func (w *written) Forwarded() bool                       { return forwarded(w) }
func (w *written) abandoned(*Session)                    {} // it will be over when its connection is
func (w *written) arrived(s *Session)                    { s.attending++ }

func (w *written) wake(s *Session) {
	if !w.queued && !w.taken {
		s.queue.Push(&w.x)
		w.queued = true
	}
}

func (w *written) travelled(h *Handler) { h.answer(w) }

func (w *written) Receipt() any {
	if q, ok := w.q.(*direct.Request); ok && w.session.h.o.Proof == ByKernel && !forwarded(w) {
		return q.Receipt()
	}
	return nil
}

func (w *written) relayed() *relay.Call {
	c, _ := w.q.(*relay.Call)
	return c
}

// write writes the answer, if there is one, and reports whether there was.
func (w *written) write(h *Handler) bool {
	if !w.x.Reply.Given() {
		return false
	}
	switch q := w.q.(type) {
	case *relay.Call:
		q.Answer(relay.Answer{Status: w.x.Reply.Status, Content: w.content, Body: w.x.Reply.Body})
	case *direct.Request:
		a, ok := h.raw(w, q)
		if !ok {
			return false
		}
		q.Answer(a)
	}
	return true
}

// attended waits for an answer that comes before any alarm is due, to write it: nobody
// else need be woken for that.
func (w *written) attended(s *Session) {
	s.lock()
	s.attending--
	if !s.m.Watched() || s.parked != nil || s.attending > 0 || !s.queue.Empty() || w.relayed() != nil {
		s.answerOrUnlock()
		return
	}
	parked := s.h.parking.Get().(chan bool)
	s.parked = parked
	s.unlock()
	answers := <-parked
	s.h.parking.Put(parked)
	if answers {
		s.answerQueue()
	}
}

// leave takes note that the client has left before w was answered. It reports whether
// nobody is answering it.
func (w *written) leave(s *Session) bool {
	s.lock()
	defer s.unlock()
	if w.taken {
		return false
	}
	w.taken, w.gone = true, true
	s.queue.Remove(&w.x)
	return true
}

// unpark lets whoever is parked go on: to answer the queue, as if answering had been
// set by it, or to serve the next request.
func (s *Session) unpark(answers bool) {
	s.parked <- answers
	s.parked = nil
}

// answerQueue is answerLocked without the lock.
func (s *Session) answerQueue() {
	s.lock()
	s.answerLocked()
}

// answerOrUnlock is unlock for those who may answer the requests in the queue.
func (s *Session) answerOrUnlock() {
	if s.queue.Empty() || s.answering || s.attending > 0 {
		s.unlock()
		return
	}
	s.answering = true
	s.answerLocked()
}

// answerLocked answers the requests in the queue. One goroutine does it at a time, which
// has set answering: who receives a request, since the application's answer to it
// mostly comes at once, or else one that is made for it. It is called with the
// lock, which it releases.
func (s *Session) answerLocked() {
	for !s.queue.Empty() && s.attending == 0 {
		w := s.queue.Pop().Carrier.(*written)
		w.queued = false
		if w.taken || !s.give(&w.exchange) {
			continue
		}
		w.taken = true
		s.unlock() // and no more: we are answering
		s.h.answer(w)
		s.lock()
	}
	s.answering = false
	s.unlock()
}
