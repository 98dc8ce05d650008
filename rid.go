package bosh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gobosh/bosh/internal/carrier"
	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/netconn"
	"github.com/gobosh/bosh/internal/pipeline"
	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/gobosh/bosh/internal/replay"
	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/gobosh/bosh/internal/session"
	"github.com/gobosh/bosh/internal/state"
	"github.com/gobosh/bosh/internal/wire"
)

// post serves one BOSH request.
func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	req := h.requests.Get()
	pipelined := pipeline.Watch(r)
	share := httpio.Share{Budget: &h.bodies}
	defer share.Give()
	var body httpio.Incoming[*Session]
	defer body.Over((*Session).comesNoMore) // also if somebody panics
	var err error
	req.Body, err = h.edge.Read(w, r, req.Body[:0], &share, func(b []byte) {
		body.Flowing(b, r.Header["Content-Encoding"], h.coming)
	})
	if errors.Is(err, httpio.ErrBroken) {
		// The client will repeat the lost part. The part that has arrived must not be held
		// against it.
		h.requests.Put(req)
		h.abandon(w)
		return
	}
	if err == nil && h.takeOver(w, r, req, &share) {
		return
	}
	wt := h.carriers.Get(r)
	ex := &wt.Exchange
	ex.Limit = h.limit(r)
	s, info, away := h.begin(ex, req, err)
	share.Give()
	body.Over((*Session).comesNoMore)
	answered := true
	switch {
	case s != nil:
		if g := s.m.Grant; ex.Limit > 0 && ex.Limit < ex.Arrived+g.Patience() {
			h.notices.Hurried(ex.Limit-ex.Arrived, g.Wait)
		}
		answered = h.attend(w, s, wt, info, pipelined)
	case away:
		answered = h.travels(w, wt, pipelined)
	default:
		h.reply(w, wt)
	}
	if pipelined == nil && answered { // or it may still be released
		h.carriers.Put(wt)
	}
}

// coming returns the session of a body on its way, and tells it so.
func (h *Handler) coming(sid []byte) (s *Session, ok bool) {
	if s, ok = h.sessions.Get(sid); ok {
		s.comes()
	}
	return s, ok
}

// flowingDirect is called by the direct engine when some of a body has come, and not all.
// It returns the state for the engine's next body of the connection.
func (h *Handler) flowingDirect(state any, b []byte, encoding []string) any {
	body, ok := state.(*httpio.Incoming[*Session])
	if !ok {
		body = new(httpio.Incoming[*Session])
	}
	body.Flowing(b, encoding, h.coming)
	return body
}

// flowedDirect is called when that body has been served, or is lost.
func (h *Handler) flowedDirect(state any) {
	state.(*httpio.Incoming[*Session]).Over((*Session).comesNoMore)
}

// limit returns the latest time for the answer to r. Something in front of the Handler may
// have given r a deadline, and answers it or cuts it off then: the limit is a little
// before. It returns 0 without a deadline, or if the deadline is too short.
func (h *Handler) limit(r *http.Request) time.Duration {
	deadline, ok := r.Context().Deadline()
	if !ok {
		return 0
	}
	left := time.Until(deadline)
	if left < shortest {
		return 0
	}
	return h.now() + left - min(left/10, time.Second)
}

// shortest is the least useful time.
const shortest = 100 * time.Millisecond

// abandon ends a request without an answer. If the client has left, nothing else matters.
// Otherwise silence must not be taken for an answer: if silence is impossible it panics, as
// handlers may.
func (h *Handler) abandon(w http.ResponseWriter) {
	if !httpio.Silence(w) {
		panic(http.ErrAbortHandler)
	}
}

// begin takes in a request and returns its session. Without a session the answer is on ex,
// unless ex is away to another node: then the caller may not use ex any more. If err is not
// nil the request has not been read whole.
func (h *Handler) begin(ex *carrier.Exchange, req *wire.Request, err error) (s *Session, info RequestInfo, away bool) {
	ex.Content = wire.TextXML
	if perr := h.requests.Parse(req); err == nil {
		err = perr
	}
	if err == httpio.ErrTooLarge || err == httpio.ErrNoRoom && req.SID != nil {
		h.notices.Body(h.now(), err == httpio.ErrTooLarge, h.o.MaxBody, h.o.MaxMemory, func() string { return h.remote(ex) })
	}
	switch {
	case err == httpio.ErrNoRoom:
		ex.Reply = h.terminal(PolicyViolation, false)
		if req.SID == nil {
			h.refused(ex, &Error{Condition: PolicyViolation, Err: err})
		}
	case !req.Root:
		ex.Reply = h.terminal(BadRequest, false)
		h.refused(ex, malformed(err))
	case req.SID == nil && !ex.Via().Relayed():
		s = h.create(ex, req, err)
	default:
		var ok bool
		if s, ok = h.sessions.Get(req.SID); !ok {
			if away = h.sent(ex, req, err != nil); !away {
				h.late(ex, req)
			}
			break
		}
		info = RequestInfo{Bytes: len(req.Body), Payloads: len(req.Payloads)}
		h.resume(s, ex, req, err != nil)
		s = sessionOf(ex)
	}
	h.requests.Put(req)
	return s, info, away
}

// resume takes in a request of s. If the session does not take it, the answer is on ex,
// or there is none.
func (h *Handler) resume(s *Session, ex *carrier.Exchange, req *wire.Request, malformed bool) {
	switch {
	case s.secure && !h.sameSecurity(ex, reqinfo.Certificate(s.TLS())):
		return
	case !req.Rid.OK || req.Rid.N == 0:
		ex.Reply, ex.Content = h.terminal(BadRequest, s.m.Grant.Legacy), s.m.Grant.Content
		return
	}
	if s.m.Grant.Opens(req) { // before it is the session's, since ConnContext may panic
		ex.Via().Keep() // here, and not by whoever serves the request that is missing before it
	}
	ex.Session, ex.Content = s, s.m.Grant.Content
	s.receive(req, ex, malformed)
}

// late answers a request whose session is over or unknown.
func (h *Handler) late(ex *carrier.Exchange, req *wire.Request) {
	entry, ok := h.replays.Get(req.SID)
	if !ok {
		if ex.Moved = ex.Via().Relayed() && h.front.Foreign(req.SID); !ex.Moved { // or it may be on its way here
			ex.Reply = h.terminal(ItemNotFound, false)
		}
		return
	}
	was := entry.Session()
	if was.Secure && !h.sameSecurity(ex, was.Cert) {
		return
	}
	if ex.Moved = was.Moved; was.Moved {
		return // the client is to repeat it, and find the other process
	}
	ex.Reply, ex.Content = h.terminal(BadRequest, was.Legacy), was.Content
	if req.Rid.OK && req.Rid.N > 0 {
		ex.Reply = h.again(entry, req)
	}
}

// takeOver serves a request, and its successors on the connection, by the direct engine, if
// there is one and it can take the connection over.
func (h *Handler) takeOver(w http.ResponseWriter, r *http.Request, req *wire.Request, share *httpio.Share) bool {
	if h.engine == nil {
		return false
	}
	if httpio.Policed(w.Header()) {
		h.notices.Policed()
		return false
	}
	q := h.engine.Take(w, r)
	if q != nil {
		q.Begin(func(q *direct.Request) { h.serveRequest(h.enter(q), req, nil, share) })
	}
	return q != nil
}

// serveDirect serves a request of the direct engine.
func (h *Handler) serveDirect(q *direct.Request, body []byte) {
	w := h.enter(q)
	req := h.requests.Get()
	share := httpio.Share{Budget: &h.bodies}
	defer share.Give()
	var err error
	req.Body, err = httpio.Decode(req.Body[:0], body, q.Encoding(), h.o.MaxBody, &share)
	h.serveRequest(w, req, err, &share)
}

// enter counts a request of the direct engine until doneDirect, and returns its exchange.
// It comes before anything with a panic.
func (h *Handler) enter(q *direct.Request) *carrier.Written {
	h.inflight.Enter()
	return carrier.OfEngine(q)
}

// serveRequest serves a request with the body req, which has share. Nobody waits for its
// answer: the maker writes it, and then doneDirect is called.
func (h *Handler) serveRequest(w *carrier.Written, req *wire.Request, err error, share *httpio.Share) {
	refused := false
	defer func() { // also if somebody panics
		if refused {
			return // w may be another request's by now
		}
		if s := sessionOf(&w.Exchange); s != nil {
			s.attended(w)
		}
	}()
	s, info, away := h.begin(&w.Exchange, req, err)
	share.Give()
	if s == nil {
		if refused = true; !away {
			h.answer(w)
		}
		return
	}
	h.received(s, &w.Exchange, info)
}

// leave is called when the client has left before q was answered.
func (h *Handler) leave(q *direct.Request) { h.left(q.Context.(*carrier.Written)) }

func (h *Handler) left(w *carrier.Written) {
	if w.Away != nil && !w.Away.Trip.Cancel() {
		return
	}
	if s := sessionOf(&w.Exchange); s == nil || s.leave(w) {
		w.Abort()
	}
}

// doneDirect is called when q is over.
func (h *Handler) doneDirect(q *direct.Request) { h.done(q.Context.(*carrier.Written)) }

func (h *Handler) done(w *carrier.Written) {
	defer h.inflight.Leave() // also if somebody panics
	ex := &w.Exchange
	if s := sessionOf(ex); s != nil {
		defer s.done(ex)
		if w.Phase != carrier.Gone && ex.Reply.Given() {
			h.answered(s, ex)
		}
	}
}

// answer writes the answer to w. Without one it closes the connection.
func (h *Handler) answer(w *carrier.Written) {
	if a, ok := h.render(w); ok {
		w.Send(a)
	} else {
		w.Abort()
	}
}

// render returns the answer to w, if there is one. Its caller has made the answer, and
// must not suffer from a panic of AllowOrigin.
func (h *Handler) render(w *carrier.Written) (a httpio.RawAnswer, ok bool) {
	if !w.Reply.Given() {
		return a, false
	}
	defer h.caught("AllowOrigin")
	return w.Render(h.edge), true
}

// caught is to be deferred where the application is called. It logs a panic without other
// consequence.
func (h *Handler) caught(what string) {
	if v := recover(); v != nil {
		h.o.Logger.Error("bosh: "+what+" panicked", "panic", v, "stack", string(debug.Stack()))
	}
}

// joins makes the Handler a node, if it is to be one.
func (h *Handler) joins() {
	if h.o.Node != "" {
		if err := CheckNode(h.o.Node); err != nil {
			panic(err)
		}
		h.suffix = "." + h.o.Node
	} else if h.o.Relay != nil {
		panic("bosh: Options.Relay needs Options.Node, the name by which other nodes find this one")
	}
	h.front = relay.NewFront(h.o.Node, h.o.Relay, h.o.Logger)
	h.owner = &relay.Owner{
		Serve: h.serveRelayed, Peers: h.front.Peers(), Logger: h.o.Logger,
		Gone: func(c *relay.Call) { h.left(c.Context.(*carrier.Written)) },
		Done: func(c *relay.Call) { h.done(c.Context.(*carrier.Written)) },
		Hurry: func(c *relay.Call) {
			w := c.Context.(*carrier.Written)
			if s := sessionOf(&w.Exchange); s != nil {
				s.releaseNow(&w.Exchange)
			} else if w.Away != nil {
				w.Away.Trip.Hurry()
			}
		},
	}
}

// RelayStats are counts of the requests passed on between this node and another one. They
// only grow.
type RelayStats struct {
	Out    int64 `json:"out"`    // requests of its sessions that it was sent, and has answered
	In     int64 `json:"in"`     // requests that it has sent
	Failed int64 `json:"failed"` // requests that it was sent, and has not answered
}

// ErrNoNode is the answer of an [Options.Relay] without a node of that name.
var ErrNoNode = relay.ErrNoNode

// ErrMoved is how an exported session ends: the methods of its streams fail with it, and it
// is the cause of their end. As the answer of an [Options.Relay], it has the request passed
// on again a little later, for some 5 s; an error that wraps it, for as long as that is
// the answer.
var ErrMoved = relay.ErrMoved

// MovedTo is ErrMoved as the answer of an [Options.Relay], with the node that is asked next, at once.
type MovedTo = relay.MovedTo

// ErrBusy is the error of a [Session.Export] that may succeed a moment later.
var ErrBusy = netconn.ErrBusy

// CheckNode returns the fault of a name for [Options.Node], or nil.
func CheckNode(name string) error {
	if err := relay.CheckName(name); err != nil {
		return fmt.Errorf("bosh: %w", err)
	}
	return nil
}

// ServeRelay serves a message from the Relay of another node's Handler. It does not block,
// and message is not used after its return. Unless answer is nil, it is called once, from
// any goroutine; its message is good until it returns. Pass an error on to the answer of
// the Relay, too.
//
// Messages name the client of a request, and are believed: trust their senders like a node.
func (h *Handler) ServeRelay(message []byte, answer func(message []byte, err error)) {
	h.owner.Message(message, answer)
}

// serveRelayed serves a request from another node.
func (h *Handler) serveRelayed(c *relay.Call) {
	h.inflight.Enter()
	w := carrier.OfNode(c)
	if c.Left > 0 {
		w.Limit = h.now() + c.Left
	}
	req := h.requests.Get()
	share := httpio.Share{Budget: &h.bodies}
	defer share.Give()
	var err error
	if c.Malformed {
		err = relay.ErrMalformed
	}
	if !share.Reach(len(c.Body)) {
		err = httpio.ErrNoRoom
	}
	if cap(req.Body) < len(c.Body) {
		req.Body = make([]byte, 0, len(c.Body)) // append would make room for more, which counts
	}
	req.Body = append(req.Body[:0], c.Body...)
	h.serveRequest(w, req, err, &share)
}

// sent sends a request to the node of its session, and reports whether there is one. The
// answer comes by travelled.
func (h *Handler) sent(ex *carrier.Exchange, req *wire.Request, malformed bool) bool {
	node, hops := h.front.Where(req.SID, ex.Via(), h.replays.Ended)
	if node == "" {
		return false
	}
	q := relay.Request{
		Hops: hops, Passed: ex.Via().Relayed(), Body: req.Body, Malformed: malformed, Secure: h.secure(ex), Encrypted: ex.Via().TLS() != nil, Cert: ex.Via().Cert(),
	}
	if !ex.Via().Forwarded() {
		q.Conn = h.front.Conn(ex.Via().Connection())
	}
	if ex.Limit > 0 {
		q.Left = max(ex.Limit-h.now(), 1)
	}
	if h.o.MaxStreams > 1 && h.o.Admit != nil && len(req.To) > 0 {
		q.Head = relay.Head(ex.Via().Request()) // Admit may be asked there
	}
	ex.Away = &carrier.Away{Line: h.line(req.SID)}
	h.front.Go(node, &q, func(t *relay.Trip) { ex.Away.Trip = t }, func(a relay.Answer, err error) { h.travelled(ex, a, err) })
	return true
}

// travelled is called when another node has answered a request, or will not.
func (h *Handler) travelled(ex *carrier.Exchange, a relay.Answer, err error) {
	switch {
	case err == nil:
		ex.Reply, ex.Content = session.Reply{Body: a.Body, Status: a.Status}, a.Content
	case errors.Is(err, ErrNoNode):
		ex.Reply = h.terminal(ItemNotFound, false)
	case errors.Is(err, ErrMoved):
		ex.Moved = true
	}
	ex.Via().Travelled(&h.lines, h.answer)
}

// travels waits for another node's answer to a request, and writes it. It reports whether
// there was an answer.
func (h *Handler) travels(w http.ResponseWriter, wt *carrier.NetHTTP, pipelined *pipeline.Request) bool {
	if pipelined != nil {
		defer pipelined.Hold(wt.Away.Trip.Hurry)()
	}
	ctx := wt.R.Context()
	select {
	case <-wt.Ready:
	case <-ctx.Done():
		if wt.Away.Trip.Cancel() {
			if ctx.Err() == context.DeadlineExceeded { // somebody in front has given up waiting
				panic(http.ErrAbortHandler)
			}
			h.abandon(w)
			return false
		}
		<-wt.Ready
	}
	defer h.lines.Leave(wt.Away.Line)
	h.reply(w, wt)
	return true
}

// again returns the answer to a request after the end of its session: its earlier answer,
// or the reason of the end, or item-not-found.
func (h *Handler) again(entry replay.Entry, req *wire.Request) session.Reply {
	if body := entry.Answer(req.Rid.N, session.Sum(req.SID, req.Body), req.Key); body != nil {
		return session.Reply{Body: body}
	}
	was := entry.Session()
	return h.refusal(&Error{Condition: cmp.Or(Condition(was.Condition), ItemNotFound), URI: was.URI, Payload: []byte(was.Payload)}, was.Legacy)
}

// attend attends to a received request. It reports whether it was answered.
func (h *Handler) attend(w http.ResponseWriter, s *Session, wt *carrier.NetHTTP, info RequestInfo, pipelined *pipeline.Request) bool {
	ex := &wt.Exchange
	defer s.done(ex) // also if somebody panics
	h.received(s, ex, info)
	if pipelined != nil && !ex.Creates {
		defer pipelined.Hold(func() { s.releaseNow(ex) })()
	}
	return h.serve(w, s, wt)
}

// received tells the application of a request, unless it knows by the session.
func (h *Handler) received(s *Session, ex *carrier.Exchange, info RequestInfo) {
	if t := h.o.Trace; t != nil && t.Request != nil && !ex.Creates {
		defer h.caught("Trace.Request")
		info.Rid, info.Repeat, info.Early = ex.Rid, ex.Repeat, ex.Early
		t.Request(s, info)
	}
}

// answered tells the application of an answer.
func (h *Handler) answered(s *Session, ex *carrier.Exchange) {
	if t := h.o.Trace; t != nil && t.Response != nil {
		defer h.caught("Trace.Response")
		t.Response(s, ResponseInfo{Rid: ex.Rid, Bytes: len(ex.Reply.Body), Open: h.now() - ex.Arrived})
	}
}

// serve waits until wt can be answered, and answers it. It reports whether there was
// an answer.
func (h *Handler) serve(w http.ResponseWriter, s *Session, wt *carrier.NetHTTP) bool {
	ctx := wt.R.Context()
	for ok := false; !ok; {
		select {
		case <-wt.Ready: // mostly, and then ctx is spared to make a channel
		default:
			select {
			case <-wt.Ready:
			case <-ctx.Done():
			}
		}
		switch ctx.Err() {
		case nil:
		case context.DeadlineExceeded: // somebody in front has given up waiting
			panic(http.ErrAbortHandler)
		default: // the client has left, mostly
			h.abandon(w)
			return false
		}
		ok = s.take(&wt.Exchange)
	}
	h.reply(w, wt)
	h.answered(s, &wt.Exchange)
	return true
}

// reply writes the answer to wt. Without one it closes the connection, in spite of any
// recovery in front.
func (h *Handler) reply(w http.ResponseWriter, wt *carrier.NetHTTP) {
	if !wt.Reply.Given() {
		httpio.Silence(w)
		panic(http.ErrAbortHandler)
	}
	h.edge.Reply(w, wt.R, wt.Answer())
}

// attended is called once the application has learnt of w, always: nothing is written before.
// It waits for an answer before any alarm is due, and writes it: no other goroutine wakes.
func (s *Session) attended(w *carrier.Written) {
	s.lock()
	wait := s.desk.Attended(!w.Relayed(), &s.h.parking)
	if wait == nil && s.desk.Begin() {
		s.answerLocked()
		return
	}
	s.unlock()
	if wait != nil && s.h.parking.Wait(wait) {
		s.answerQueue()
	}
}

// leave takes note of the client's departure before the answer of w. It reports whether
// nobody is answering it.
func (s *Session) leave(w *carrier.Written) bool {
	s.lock()
	defer s.unlock()
	return w.Leave(&s.desk)
}

// answerQueue is answerLocked without the lock.
func (s *Session) answerQueue() {
	s.lock()
	s.answerLocked()
}

// answerLocked answers the requests on the desk: its caller has claimed it. It is called
// with the lock, and releases it. The claim ends before an answer is sent: so the last one
// needs no lock afterwards to see that there is no more.
func (s *Session) answerLocked() {
	for w := s.desk.Next(); w != nil; w = s.desk.Next() {
		if !s.give(&w.Exchange) {
			continue
		}
		s.desk.Take(w)
		more := s.release()
		s.h.answer(w)
		if !more {
			return
		}
		s.lock()
	}
	s.unlock()
}

// start makes the creation request the session's first one. The session is not yet known
// to anyone else.
func (s *Session) start(req *wire.Request, ex *carrier.Exchange) {
	s.lock()
	defer s.unlock()
	now := s.h.now()
	s.h.turns.Begin(0, now)
	ex.Via().Arrived(&s.desk)
	s.m.Start(now, session.Request{Request: req, Spare: s.h.idle.Spare(now)}, &ex.Exchange)
}

// receive takes a request of the session. Its answer becomes ready on ex. If req could
// not be parsed to its end, malformed is set.
func (s *Session) receive(req *wire.Request, ex *carrier.Exchange, malformed bool) {
	r := session.Request{Request: req, Sum: session.Sum(s.m.SID, req.Body), Malformed: malformed, Share: -1}
	if s.h.crowded(0) {
		r.Share = s.h.o.MaxMemory / max(s.h.quota.Taken(), 1)
	}
	s.lock()
	defer s.unlock()
	now := s.h.now()
	if _, waits := ex.Carrier.(*carrier.NetHTTP); waits && s.h.turns.Begin(s.m.Heard, now) {
		s.unlock()
		s.h.turns.Yield(s.h.now)
		s.lock()
		now = s.h.now()
	}
	grace := s.h.o.Grace > 0 // without it there is no need of time to spare
	r.Spare = grace && len(req.Payloads) > 0 && s.h.idle.Spare(now)
	ex.Via().Arrived(&s.desk)
	s.m.Arrive(now, req, &ex.Exchange)
	if s.summed {
		s.h.past.Add(registry.Counts{Requests: 1, BytesIn: int64(len(req.Body))})
	}
	if s.m.Phase() == session.Ended {
		var reply session.Reply // none if another process has it
		if !s.m.Moved() {
			reply = s.resend(req)
		}
		s.m.Override(&ex.Exchange, reply)
		return
	}
	s.m.Receive(now, r, &ex.Exchange)
	for body, ok := s.m.Early(); ok; body, ok = s.m.Early() {
		req := s.h.requests.Again(body)
		s.m.TakeEarly(now, session.Request{Request: req, Spare: grace && len(req.Payloads) > 0 && s.h.idle.Spare(now)})
		s.h.requests.Put(req)
	}
	s.m.Settle(now)
}

// resend returns the answer to a request of a session that has meanwhile ended.
func (s *Session) resend(req *wire.Request) session.Reply {
	entry, ok := s.h.replays.Get(req.SID)
	if !ok {
		return s.h.terminal(ItemNotFound, s.m.Grant.Legacy)
	}
	return s.h.again(entry, req)
}

// take takes the answer for ex after it was woken. There is none after a false alarm.
func (s *Session) take(ex *carrier.Exchange) (ok bool) {
	s.lock()
	defer s.unlock()
	return s.give(ex)
}

// give puts the answer for ex on it, if there is one. It is called with the lock held.
func (s *Session) give(ex *carrier.Exchange) (ok bool) {
	ex.Moved = s.m.Moved()
	ok = s.m.Give(s.h.now(), &ex.Exchange)
	if ok && s.summed {
		s.h.past.Add(registry.Counts{BytesOut: int64(len(ex.Reply.Body))})
	}
	return ok
}

// releaseNow answers ex and all requests before it as if their wait were over.
func (s *Session) releaseNow(ex *carrier.Exchange) {
	s.lock()
	defer s.unlock()
	s.m.Release(s.h.now(), &ex.Exchange)
}

// abandon ends the session because its creation on ex has panicked, and nobody will
// attend to it.
func (s *Session) abandon(ex *carrier.Exchange) {
	s.lock()
	s.m.Abandon(s.h.now(), &ex.Exchange)
	s.unlock()
	if ex.Via().Abandoned() {
		s.done(ex)
	}
}

// done takes note of the end of ex. If it has not been answered its connection has broken:
// no payload is spent on it, and its rid stays open for a repeat.
func (s *Session) done(ex *carrier.Exchange) {
	s.lock()
	now, age := s.h.now(), time.Duration(0)
	if s.m.Done(now, &ex.Exchange) {
		age = now - ex.Arrived
	}
	s.unlock()
	if age > 0 {
		s.h.notices.CutOff(s.serial, s.ID(), age, now, s.m.Grant.Wait)
	}
}

// comes takes note of a request's body on its way, perhaps for long. As long as it is, the
// client is not inactive.
func (s *Session) comes() {
	s.lock()
	defer s.unlock()
	s.m.Comes(s.h.now())
}

// comesNoMore takes note of its arrival, or loss.
func (s *Session) comesNoMore() {
	s.lock()
	defer s.unlock()
	s.m.ComesNoMore(s.h.now())
}

// RequestInfo describes a request of a session, the first excepted.
type RequestInfo struct {
	Rid      int64
	Bytes    int // of its body
	Payloads int
	Repeat   bool // it was received before
	Early    bool // a lower rid is missing
}

// ResponseInfo describes the answer to a request.
type ResponseInfo struct {
	Rid   int64
	Bytes int           // of its body
	Open  time.Duration // from the request's arrival to the call of Trace.Response
}

// restore fills s from x. Each stream that it returns has a place, for the caller to give back after an error.
func (h *Handler) restore(s *Session, x *state.Session) (streams []*Stream, err error) {
	now := h.now()
	s.scope, s.began, s.serial = *reqinfo.NewLazyContext(context.Background()), int32((now-x.Age)/time.Second), h.serial.Add(1)
	states := make([]*session.Stream, len(x.Streams))
	for i := range x.Streams {
		st := &Stream{s: s, local: reqinfo.Addr(x.Streams[i].Local)}
		st.state.Opening, st.state.Owner, states[i] = session.OpeningOf(&x.Streams[i]), st, &st.state.Stream
		if err := st.state.Stream.Import(&x.Streams[i]); err != nil {
			return streams, err
		}
		if err := h.reserve(); err != nil {
			return streams, err
		}
		streams = append(streams, st)
	}
	s.m = session.Import(&h.config, now, h.grants.Share(session.GrantOf(&x.Grant)), s.extra(), x, states)
	for i, st := range streams {
		st.conn().Import(&x.Streams[i])
		if st.state.Name != "" {
			st.scope = reqinfo.NewLazyContext(s.scope.Context(nil))
		}
	}
	return streams, nil
}
