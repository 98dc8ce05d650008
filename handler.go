package bosh

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/carrier"
	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/hostmeta"
	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/monitor"
	"github.com/gobosh/bosh/internal/netconn"
	"github.com/gobosh/bosh/internal/prebind"
	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/gobosh/bosh/internal/replay"
	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/gobosh/bosh/internal/session"
	"github.com/gobosh/bosh/internal/timers"
	"github.com/gobosh/bosh/internal/wire"
)

// A Handler serves BOSH. Mount it on any path, with and without a trailing
// slash. It must be made by [New]. All its methods may be called from any
// goroutine.
type Handler struct {
	o        Options
	terms    session.Terms
	config   session.Config // of all machines
	edge     *httpio.Endpoint
	clock    *timers.Clock[*Session]
	seed     maphash.Seed
	sessions registry.Table[*Session]        // that have not ended
	replays  *replay.Store                   // those that have, and may be asked to repeat an answer
	quota    registry.Quota                  // of sessions that have not ended
	serial   atomic.Int64                    // for Session.ID
	created  atomic.Int64                    // sessions
	grants   session.GrantCache              // of the sessions
	opened   atomic.Pointer[session.Opening] // see share
	memory   atomic.Int64                    // bytes that the sessions keep; see Session.act
	bodies   httpio.Budget                   // of those that are being received
	requests wire.Pool                       // that are being parsed and taken in
	carriers carrier.Pool                    // of requests of net/http
	accept   *netconn.Listener
	past     registry.Totals        // of all sessions, and those that have ended
	turned   registry.ByName        // sessions refused, by condition
	inflight *registry.InFlight     // closed by Shutdown; counts the requests being served
	idle     *timers.Idle[*Session] // see Machine.defers
	turns    timers.Turns           // of clients
	parking  carrier.Parking        // of the sessions
	engine   *direct.Engine         // nil without Options.Direct
	front    *relay.Front           // where requests go whose sessions are other nodes'
	owner    *relay.Owner           // where those of other nodes go
	suffix   string                 // of the sids
	lines    relay.Lines            // of the answers of other nodes
	notices  logs.Notices           // for operators
}

// New returns a Handler. It copies o. It panics if Node is no name, or Relay is set
// without one.
func New(o Options) *Handler {
	h := &Handler{
		o:     o.withDefaults(),
		clock: timers.NewClock(func(s *Session) *timers.Alarm { return &s.alarm }, (*Session).tick),
		seed:  maphash.MakeSeed(),
	}
	h.idle = timers.NewIdle(h.now, (*Session).look)
	h.notices.Logger = h.o.Logger
	h.replays = replay.New(afterlife, h.now, &h.memory)
	h.terms, h.config = h.o.terms(), h.o.config()
	reading, writing := httpio.NewLimit(h.o.ReadTimeout, h.o.MinRate), httpio.NewLimit(h.o.WriteTimeout, h.o.MinRate)
	h.edge = httpio.NewEndpoint(httpio.Options{
		Headers: httpio.Headers{
			AllowOrigin: h.o.AllowOrigin, NoCORS: h.o.NoCORS, AllowHeaders: h.o.AllowHeaders, Credentials: h.o.AllowCredentials,
		},
		MaxBody: h.o.MaxBody, Reading: reading, Writing: writing,
		Compress: h.o.Compress, Logger: h.o.Logger,
	})
	h.bodies.Max, h.bodies.Other = h.o.MaxMemory, h.memory.Load
	if h.o.Direct || direct.Always() {
		h.engine = &direct.Engine{
			Serve: h.serveDirect, Gone: h.leave, Done: h.doneDirect, Flowing: h.flowingDirect, Flowed: h.flowedDirect,
			Budget: &h.bodies, MaxBody: h.o.MaxBody, Reading: reading, Writing: writing, Logger: h.o.Logger,
		}
	}
	h.joins()
	h.quota.Max, h.quota.MaxEach = h.o.MaxSessions, h.o.MaxPerAddr
	h.inflight = registry.NewInFlight(func() bool { return h.quota.Taken() > 0 })
	h.requests.Limits = wire.Limits{Payloads: h.o.MaxPayloads}
	h.carriers.Seed, h.carriers.Sockets = h.seed, h.o.Proof != ByProtocol
	h.accept = netconn.NewListener(reqinfo.Name("bosh"), h.o.Backlog, func(c net.Conn) {
		c.(*Stream).CloseWithError(h.farewell())
	})
	if h.o.Serve != nil {
		h.accept.Unused(errServed)
	}
	return h
}

// line returns a number for the session of a sid.
func (h *Handler) line(sid []byte) uint64 { return maphash.Bytes(h.seed, sid) }

// ServeHTTP serves one request: BOSH by POST, CORS by OPTIONS, and a notice
// for the curious by GET.
//
// It returns without an answer, and has the connection closed, if the client has left or
// the request does not arrive whole. It panics with [http.ErrAbortHandler], as handlers may
// do, where silence could be taken for an answer. That is so for a request less secure than
// its session, for one whose context's deadline passes before the answer, and in the first
// two cases if w has no write deadline. A request with a deadline in its context is
// answered a little before, if possible.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.inflight.Enter()
	defer h.inflight.Leave()
	if r.Method == http.MethodPost {
		h.post(w, r)
	} else {
		h.edge.Other(w, r)
	}
}

// terminal returns the answer for the end of a session by a condition.
func (h *Handler) terminal(c Condition, legacy bool) session.Reply {
	return h.refusal(&Error{Condition: c}, legacy)
}

// refusal returns the answer to a creation request refused by e.
func (h *Handler) refusal(e *Error, legacy bool) session.Reply {
	return session.Refusal(newEnd(e), legacy)
}

// create opens and returns the session of a creation request. If there is to be none, the
// answer is on ex. With bad the request could not be read to its end.
func (h *Handler) create(ex *carrier.Exchange, req *wire.Request, bad error) (s *Session) {
	ex.Creates = true
	g, err := h.settle(req, bad)
	if err == nil {
		err = h.available(ex)
	}
	ex.Content = g.Content
	if err == nil {
		s, err = h.open(req, ex, g)
	}
	if err != nil {
		h.refused(ex, err)
		ex.Reply = h.refusal(err, g.Legacy)
	}
	return s
}

// refused tells the application and the log about a refused session.
func (h *Handler) refused(ex *carrier.Exchange, e *Error) {
	h.turned.Add(string(e.Condition))
	cause := logs.ByClient
	switch {
	case e.Err == registry.ErrMax:
		cause = logs.BySessions
	case e.Err == registry.ErrMaxEach:
		cause = logs.ByAddress
	case e.Err == registry.ErrMemory, e.Err == httpio.ErrNoRoom:
		cause = logs.ByMemory
	case e.trouble() && !ex.Via().Left():
		cause = logs.Trouble
	}
	h.notices.Refused(h.now(), cause, string(e.Condition), func() string { return h.remote(ex) },
		func() string { return strings.Join(ex.Via().Header("Origin"), ", ") }, e.why())
	if t := h.o.Trace; t != nil && t.Refused != nil {
		defer h.caught("Trace.Refused")
		t.Refused(ex.Via().Request(), e)
	}
}

// streamRefused has the log say why s gets no further stream.
func (h *Handler) streamRefused(s *Session, e *Error) {
	level := slog.LevelDebug
	if e.trouble() {
		level = slog.LevelWarn
	}
	h.notices.Stream(level, "bosh: stream refused", s.ID(), string(e.Condition), s.RemoteAddr().String(), e.why())
}

// trouble reports whether a refusal by e is trouble of the application, for the log.
func (e *Error) trouble() bool {
	return e.Condition == InternalServerError && e.Err != netconn.ErrFull && e.Err != errUnattended
}

// why returns the cause of e, for the log.
func (e *Error) why() error { return cmp.Or(e.Err, errRefused) }

// remote returns where ex came from, for the log.
func (h *Handler) remote(ex *carrier.Exchange) string {
	addr := ex.Via().Remote()
	if h.o.ClientAddr != nil {
		func() {
			defer h.caught("ClientAddr")
			if a := h.o.ClientAddr(ex.Via().Request()); a != nil {
				addr = a
			}
		}()
	}
	return logs.Text(addr.String())
}

// settle settles the terms of a creation request.
func (h *Handler) settle(req *wire.Request, bad error) (session.Grant, *Error) {
	g, err := h.terms.Settle(req)
	if bad != nil {
		g.Legacy = false // it could not be read well enough to tell
		return g, malformed(bad)
	}
	if err != nil {
		return g, &Error{Condition: BadRequest, Err: err}
	}
	return g, nil
}

// malformed returns the refusal of a body with the fault err.
func malformed(err error) *Error {
	return &Error{Condition: BadRequest, Err: fmt.Errorf("malformed body: %w", err)}
}

var (
	errForeign = errors.New("page of an origin that is not allowed")
	errShut    = errors.New("there are no new sessions any more")
	errNowhere = errors.New("no host is named in `to`")
	errPanic   = errors.New("panic in Admit")
	errPayload = errors.New("payload that the framing does not allow")
	errStreams = errors.New("too many streams")
	errRefused = errors.New("refused by Admit")
)

// available returns why no session can be had by ex, or nil.
func (h *Handler) available(ex *carrier.Exchange) *Error {
	if h.o.AllowOrigin != nil && h.edge.Foreign(ex.Via().Request()) {
		return &Error{Condition: PolicyViolation, Err: errForeign}
	}
	return h.full(0)
}

// full returns why there are no more sessions, or none that keeps so many bytes, or nil.
func (h *Handler) full(more int) *Error {
	switch {
	case h.inflight.Draining() || h.o.Serve == nil && h.accept.Closed():
		return h.shut()
	case h.crowded(more):
		return &Error{Condition: PolicyViolation, Err: registry.ErrMemory}
	}
	return nil
}

// farewell is the end of all sessions at shutdown.
func (h *Handler) farewell() *Error {
	if h.o.SeeOther != "" {
		return &Error{Condition: SeeOtherURI, URI: h.o.SeeOther}
	}
	return &Error{Condition: SystemShutdown}
}

// shut is farewell for late comers.
func (h *Handler) shut() *Error {
	e := h.farewell()
	e.Err = errShut
	return e
}

// open opens a session.
func (h *Handler) open(req *wire.Request, ex *carrier.Exchange, g session.Grant) (*Session, *Error) {
	s := h.newSession(ex)
	owner := s.owner()
	if err := h.quota.Take(owner); err != nil {
		return nil, &Error{Condition: PolicyViolation, Err: err}
	}
	begun := false
	defer func() { // also if ConnContext panics, or a method of a context
		if !begun {
			h.leaves(owner)
		}
	}()
	if h.inflight.Draining() {
		return nil, h.shut() // Drain may not have seen it
	}
	values := ex.Via().Values()
	asked, opening := h.asked(ex.Via()), h.opening(session.Wanted(req), Opening{Framing: h.o.Framing, Wait: g.Wait})
	large := asked != nil && req.Size() > wire.MaxPooled
	if large { // Admit may take its time, and nothing counts this
		req.Drop()
	}
	ctx, o, e := h.admit(values, asked, opening)
	if large {
		h.requests.Parse(req)
	}
	var st *Stream
	if e == nil {
		s.scope = *reqinfo.NewLazyContext(ctx)
		st = h.newStream(s, ex.Via().Local(values), o)
		e = s.begin(h.grants.Share(g), st, req)
		if st.state.Name != "" {
			st.scope = reqinfo.NewLazyContext(s.Context())
		}
	}
	if e == nil {
		e = h.reserve()
	}
	if e != nil {
		return nil, e
	}
	s.serial = h.serial.Add(1)
	h.created.Add(1)
	s.began = int32(h.now() / time.Second)
	ex.Session, begun = s, true
	s.start(req, ex)
	delivered, goesOn := false, false
	defer func() { // the same, and a callback that ends its goroutine
		switch {
		case goesOn:
			return
		case !delivered:
			h.deliver(st)
		}
		s.abandon(ex)
	}()
	h.sessions.Put(s.m.SID, s)
	h.began(s)
	delivered = true
	if !h.deliver(st) {
		s.Terminate(h.farewell())
	}
	s.follow(ctx)
	if h.inflight.Closed() {
		s.Terminate(h.farewell()) // Shutdown may have been too early to see it
	}
	goesOn = true
	return s, nil
}

// asked returns the request for the application's Admit, or nil without one.
func (h *Handler) asked(via carrier.Carrier) *http.Request {
	if h.o.Admit == nil {
		return nil
	}
	return via.Request()
}

// reserve makes sure of a place for a new stream.
func (h *Handler) reserve() *Error {
	if h.o.Serve != nil {
		return nil
	}
	switch err := h.accept.Reserve(); err {
	case nil:
		return nil
	case net.ErrClosed:
		return h.shut()
	default:
		if !h.accept.Attended() {
			err = errUnattended
		}
		return &Error{Condition: InternalServerError, Err: err}
	}
}

// The faults of Options.Serve and Handler.Listener: both are used, or neither.
var (
	errServed     = errors.New("Options.Serve is set, and gets the streams: leave it out to accept them")
	errUnattended = errors.New("backlog is full, and " + logs.Unaccepted)
)

// unreserve takes back what reserve has seen to.
func (h *Handler) unreserve() {
	if h.o.Serve == nil {
		h.accept.Cancel()
	}
}

// deliver hands a new stream with a reserved place to the application. It reports whether
// the application takes streams still.
func (h *Handler) deliver(st *Stream) bool {
	st.owes(h.o.Undelivered != nil)
	if h.o.Serve != nil {
		go h.run(st)
		return true
	}
	if h.accept.Fill(st) != nil {
		st.owes(false)
		return false
	}
	return true
}

// run runs the application on a stream.
func (h *Handler) run(st *Stream) {
	goesOn := false
	defer (*locker)(st.s).Served(&st.state.Stream, "Serve", &goesOn)
	h.o.Serve(st)
	goesOn = st.conn().Received()
}

// began takes note of a new session.
func (h *Handler) began(s *Session) {
	h.notices.Begins(s.ID, func() string { return s.RemoteAddr().String() })
	if t := h.o.Trace; t != nil && t.SessionStart != nil {
		defer h.caught("Trace.SessionStart")
		t.SessionStart(s)
	}
}

// over takes note of a session's end by e. The Logger gets ctx, which has the values of the
// session's context.
func (h *Handler) over(ctx context.Context, s *Session, e *Error) {
	h.leaves(s.owner())
	h.sessions.Delete(s.m.SID)
	level := slog.LevelDebug
	if _, timed := e.Err.(lapse); timed {
		level = slog.LevelInfo
	} else if e.Condition == InternalServerError {
		level = slog.LevelWarn
	}
	if h.o.Logger.Enabled(ctx, level) {
		h.logEnd(ctx, level, s, e)
	}
	if h.o.Serve == nil && !h.accept.Attended() && !h.accept.Closed() {
		h.notices.Alone(s.ID())
	}
	if t := h.o.Trace; t != nil && t.SessionEnd != nil {
		defer h.caught("Trace.SessionEnd")
		t.SessionEnd(s)
	}
}

func (h *Handler) logEnd(ctx context.Context, level slog.Level, s *Session, e *Error) {
	h.o.Logger.Log(ctx, level, "bosh: session ends", "session", s.ID(), "remote", logs.Text(s.RemoteAddr().String()),
		"reason", e.reason(), "requests", s.Stats().Requests, "label", s.Label(), "error", logs.Error(e))
}

// leaves gives back the place of a session.
func (h *Handler) leaves(owner string) {
	if h.quota.Give(owner) == 0 {
		h.inflight.Notify()
	}
}

// SessionStats are counts of one session.
type SessionStats struct {
	Requests    int64 // received, repeats included
	Repeats     int64
	PayloadsIn  int64 // elements
	PayloadsOut int64 // elements; writes for Opaque
	BytesIn     int64 // of request bodies
	BytesOut    int64 // of response bodies
	Open        int   // requests that are held, early, or being answered
	Queued      int   // bytes that wait for the client
	Unread      int   // bytes that wait for the application, or that WriteTo or Receive is giving it
}

// Stats returns the counts of all sessions.
func (h *Handler) Stats() HandlerStats {
	sum, ended := h.past.Sum(h.ask)
	n := HandlerStats{
		SessionStats: SessionStats(sum), Ended: ended, Refused: h.turned.All(),
		MaxSessions: int64(max(h.o.MaxSessions, 0)), MaxMemory: max(h.o.MaxMemory, 0),
		Memory: h.memory.Load() + h.bodies.Taken(), Created: h.created.Load(), // later than Ended, or more might have ended
	}
	n.Sessions = n.Created
	for _, ended := range ended {
		n.Sessions -= ended
	}
	for node, c := range h.front.Peers().Counts() {
		if n.Relayed == nil {
			n.Relayed = make(map[string]RelayStats)
		}
		n.Relayed[node] = RelayStats(c)
	}
	return n
}

// ask asks all sessions for their counts: see [registry.Totals].
func (h *Handler) ask(m registry.Mark, sum *registry.Counts) {
	for s := range h.sessions.All() {
		s.lock()
		if !s.summed { // or the Totals have been
			s.asked = m
			sum.Add(s.counted())
		}
		s.looked()
	}
}

// secure reports whether ex came over TLS.
func (h *Handler) secure(ex *carrier.Exchange) bool { return ex.Via().Secure(h.o.Secure) }

// sameSecurity reports whether a request is secure, as the session's first one
// was, and of the same client as far as certificates tell. XEP-0124, section 19.1:
// close the connection, and no more.
func (h *Handler) sameSecurity(ex *carrier.Exchange, cert []byte) bool {
	return h.secure(ex) && bytes.Equal(cert, ex.Via().Cert())
}

// owner returns the owner of the session for [Options.MaxPerAddr].
func (s *Session) owner() string {
	if s.h.o.MaxPerAddr == 0 {
		return ""
	}
	return reqinfo.Owner(s.RemoteAddr(), s.h.o.AddrPrefix)
}

// Sessions returns the sessions without the ended ones.
func (h *Handler) Sessions() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for s := range h.sessions.All() {
			if s.Err() == nil && !yield(s) {
				return
			}
		}
	}
}

// Listener returns the listener of new streams, for a Handler without [Options.Serve]. Its
// Accept returns a *Stream, and fails if Serve is set. Its Close makes Accept fail with
// [net.ErrClosed], and lets no further session begin, but leaves the accepted streams
// alone. Shutdown and Close of the Handler do the same to Accept; the first Close of the
// listener returns nil all the same. All calls return the same listener.
func (h *Handler) Listener() net.Listener { return h.accept }

// Drain refuses new sessions by system-shutdown, or by see-other-uri if
// [Options.SeeOther] is set, and serves all others until they have ended or ctx is done.
// Those that are left then are ended as by Shutdown, and Drain returns the error of ctx
// at once; it returns nil if there are none. In both cases call Shutdown after it, which
// waits until the last answers are written:
//
//	h.Drain(ctx) // may take hours
//	h.Shutdown(soon)
//	server.Shutdown(soon)
//
// Requests of other nodes' sessions are passed on meanwhile, and sessions may open
// further streams. There is no way back. Several may wait.
func (h *Handler) Drain(ctx context.Context) error {
	h.inflight.Drain()
	err := h.inflight.WaitIdle(ctx)
	if err != nil {
		h.end()
	}
	return err
}

// Draining reports whether there are no new sessions any more, since Drain, Shutdown or
// Close has been called. A health check should say so, and ask for nothing else: live
// sessions are served as ever.
func (h *Handler) Draining() bool { return h.inflight.Draining() }

// Shutdown refuses new sessions. It ends all others by system-shutdown, or by see-other-uri
// if [Options.SeeOther] is set. It waits until every client has been told, or until ctx is
// done, and then returns the error of ctx. A client between two requests is told at its
// next one. So call it before the Shutdown of the [http.Server], which stops listening:
//
//	h.Shutdown(ctx)
//	server.Shutdown(ctx)
//
// Earlier output is delivered along. Streams can be read until their client has been told.
// A client without a further request is waited for until it is inactive. Told means a
// written answer: a client without it cannot ask again once the http.Server has stopped. To
// replace a process behind a proxy, start the new one first, send new sessions to it, and
// then shut down the old one: it goes on answering its own.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.end()
	defer h.closeConns()
	return h.inflight.Wait(ctx)
}

// end ends all sessions once their clients have been told.
func (h *Handler) end() {
	h.inflight.Close()
	h.accept.Shut()
	for s := range h.Sessions() {
		s.Terminate(h.farewell())
	}
	h.front.Hurry()
}

// closeConns ends the connections of the direct engine.
func (h *Handler) closeConns() {
	if h.engine != nil {
		h.engine.Close()
	}
}

// Close refuses new sessions and ends all others at once. Open requests get
// system-shutdown, and so do clients between two requests, if they come in 30 s.
func (h *Handler) Close() error {
	h.inflight.Close()
	h.accept.Shut()
	for s := range h.Sessions() {
		s.abort(h.farewell())
	}
	h.front.Close()
	h.closeConns()
	return nil
}

// Prebind opens a session in this process for a page. The server logs its user in, and
// hands sid and rid to the page, for a call of its client library such as Strophe's attach.
// The session gets the address and security of r, the request of that page.
//
// The sid and the rid are enough to take over the session, logged in as it is. Hand them
// out over TLS only, in an answer without caching, to the proven user. The page must
// connect before [Options.Inactivity] is over.
//
// It blocks as long as the answer to a creation does: see [Options.CreateTimeout]. If ctx
// is done before, the session ends. If the session is refused, or has ended, the error is
// an *[Error], also from the methods of the Prebound.
func (h *Handler) Prebind(ctx context.Context, r *http.Request, o Opening) (*Prebound, error) {
	ask := wire.Ask{To: o.To, From: o.From, Lang: o.Lang, Version: o.Version}
	if o.Route != "" {
		ask.Attrs = []wire.Attr{{Local: "route", Value: o.Route}}
	}
	c, first, err := prebind.Open(ctx, h, r, ask)
	if err != nil {
		return nil, prebindError(err)
	}
	return &Prebound{First: first, c: c}, nil
}

// prebindError returns err as Prebind and the methods of a Prebound do.
func prebindError(err error) error {
	if end := (*prebind.EndError)(nil); errors.As(err, &end) {
		return &Error{Condition: Condition(end.Condition)}
	}
	if err != nil {
		err = fmt.Errorf("bosh: prebind: %w", err)
	}
	return err
}

// A Prebound is a session opened by [Handler.Prebind] and not yet handed over.
// It is for one goroutine.
type Prebound struct {
	// First is the application's first output: the stream features in XMPP.
	First []byte

	c *prebind.Client
}

// Exchange sends elements to the stream, none or more, and returns the application's
// answer. It blocks until there is something, for at most a minute, or until ctx is done.
// The elements have been sent then, unless ctx was done from the start. Their answer comes
// with the next Exchange, or to the page.
func (p *Prebound) Exchange(ctx context.Context, elements []byte) ([]byte, error) {
	answer, err := p.c.Exchange(ctx, elements)
	return answer, prebindError(err)
}

// Restart restarts an XMPP stream after authentication, and returns its
// features. It blocks, and ends with ctx, as Exchange does.
func (p *Prebound) Restart(ctx context.Context) ([]byte, error) {
	answer, err := p.c.Restart(ctx)
	return answer, prebindError(err)
}

// Attach returns the data for the page: the sid, and the rid of the last request. The
// page's first request must have the next one.
func (p *Prebound) Attach() (sid string, rid int64) { return p.c.Attach() }

// Monitor returns a handler for operators. It shows the live sessions, a hundred at a time,
// as a page and as JSON (by the header Accept or by ?format=json). It ends the session with
// the posted id by policy-violation. Pages of other origins cannot do so; a program sends a
// header Bosh-Monitor along.
//
// By ?q= it shows the sessions with this ID, or with this text in address, domain or label.
// By ?sort=age, last, queued, unread or repeats the highest come first. By ?page= it shows
// further ones.
//
// It shows addresses, domains, labels and counts, never a payload nor a sid. Even so
// it is for operators: mount it where only they come.
func (h *Handler) Monitor() http.Handler {
	return monitor.New(monitor.Source[*Session]{
		Totals: func() monitor.Totals {
			n := h.Stats()
			return monitor.Totals{
				Counts: registry.Counts(n.SessionStats), Sessions: n.Sessions, Created: n.Created, Ended: n.Ended, Refused: n.Refused,
				Relayed: h.front.Peers().Counts(), Memory: n.Memory, MaxSessions: n.MaxSessions, MaxMemory: n.MaxMemory, Uptime: h.now(),
			}
		},
		Sessions: h.Sessions(),
		Serial:   func(s *Session) int64 { return s.serial },
		Remote:   func(s *Session) string { return s.info.Remote() },
		Names:    (*Session).names,
		Look:     (*Session).shown,
		Streams:  (*Session).domains,
		End: func(s *Session) {
			s.Terminate(&Error{Condition: PolicyViolation, Err: errors.New("ended by an operator")})
		},
	})
}

// A Link is a link of the documents of [Handler.HostMeta].
type Link struct {
	// Rel is the relation: [LinkBOSH], [LinkWebSocket], or any other relation, as "lrdd".
	Rel string `json:"rel"`

	// Type is the media type of the target, or empty.
	Type string `json:"type,omitempty"`

	// Href is the absolute URL of the target. Template is a URL with a variable, as
	// "https://example.com/who?{uri}". A link has one of the two.
	Href     string `json:"href,omitempty"`
	Template string `json:"template,omitempty"`
}

// The relations of the links to the endpoints of a domain.
const (
	LinkBOSH      = hostmeta.BOSH      // to an https URL
	LinkWebSocket = hostmeta.WebSocket // to a wss URL
)

// HostMeta returns a handler that leads clients to the endpoints of a domain. It serves the
// given links, to this Handler's URL and any others, at /.well-known/host-meta and, as
// JSON, at /.well-known/host-meta.json. Mount it at these two paths of the domain itself.
// Pages of all origins may read it, without leave to use the endpoints.
//
// Clients can trust only documents from TLS, so an insecure request, as [Options.Secure]
// has it, finds nothing. HostMeta refuses links to anything but https and wss URLs.
// XEP-0156.
func (h *Handler) HostMeta(links ...Link) (http.Handler, error) {
	ls := make([]hostmeta.Link, len(links))
	for i, l := range links {
		ls[i] = hostmeta.Link(l)
	}
	hm, err := hostmeta.New(func(r *http.Request) bool { return carrier.Telling(r).Secure(h.o.Secure) }, ls)
	if err != nil {
		return nil, fmt.Errorf("bosh: host-meta: %w", err)
	}
	return hm, nil
}
