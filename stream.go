package bosh

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"time"

	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/netconn"
	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/gobosh/bosh/internal/session"
	"github.com/gobosh/bosh/internal/state"
	"github.com/gobosh/bosh/internal/wire"
)

// A Stream is one stream of a BOSH session: the application's [net.Conn]. Its [Framing]
// says what its bytes are.
//
// Several goroutines may use Read and Write, with the usual semantics of a net.Conn.
// Deadlines, set before or meanwhile, end a blocked call with [os.ErrDeadlineExceeded].
// Close ends it with [net.ErrClosed]. After the end of the session both return the cause:
// [io.EOF] if the client ended it in good order. Before that, Read returns the input from
// before the end. But for io.EOF their errors are in a [*net.OpError].
//
// Besides bytes, a stream of [Elements] can be read and written by whole
// elements, and any stream of XML by tokens. Use one way of reading and one way
// of writing for a stream.
type Stream struct {
	s     *Session
	local net.Addr

	// The rest is guarded by s.mu, but for Framing, Name and the pointer scope: they never change.

	state netconn.State
	scope *reqinfo.LazyContext // nil unless the session may have several streams
}

// owner returns the Stream around x.
func owner(x *session.Stream) *Stream { return x.Owner.(*Stream) }

// conn returns the stream as package netconn sees it.
func (st *Stream) conn() *netconn.Conn {
	return &netconn.Conn{State: &st.state, M: &st.s.m, S: (*locker)(st.s)}
}

// woken wakes the waiting users of the stream, also those who wait for more to be proven. It
// is called with the lock held, and adds to after the work without it.
func (st *Stream) woken(w session.Wake, proved bool, after []func()) []func() {
	st.conn().Woken(w, proved)
	if w&session.WakeEnd != 0 && st.scope != nil {
		cancel, cause := st.scope.Cancel(), public(st.state.Cause())
		after = append(after, func() { cancel(cause) })
	}
	return after
}

// Opening is the client's request for a stream. None of it is verified. To is the wanted
// host or domain, From the client's name for itself, and Lang its xml:lang.
type Opening struct {
	To, From, Lang, Route string

	// Version is the wanted version of XMPP.
	Version string

	// Framing is the stream's framing. Admit may change it.
	Framing Framing

	// Wait is the granted wait for an answer: a longer Admit comes too late. It is 0 for a
	// client in polling mode. To change it has no effect. XEP-0124, section 7.1.
	Wait time.Duration

	// Attr holds the attributes of the request without a meaning for BOSH.
	Attr []Attr
}

// openingOf returns o for the application.
func openingOf(o *session.Opening) Opening {
	said := Opening{
		To: o.To, From: o.From, Lang: o.Lang, Route: o.Route, Version: o.Version,
		Framing: framingOf(o.Framing), Wait: o.Wait,
	}
	for _, a := range o.Attr {
		said.Attr = append(said.Attr, Attr(a))
	}
	return said
}

// An Attr is an attribute, its value without references. Space is its namespace, or empty.
type Attr struct{ Space, Local, Value string }

// opening returns a request's wishes for its stream. Missing ones are as in def.
func (h *Handler) opening(w session.Wants, def Opening) Opening {
	o := Opening{
		To: w.To, From: w.From, Lang: w.Lang, Route: w.Route, Version: w.Version,
		Framing: def.Framing, Wait: def.Wait,
	}
	if o.Lang == "" {
		o.Lang = def.Lang
	}
	if f := o.Framing.bytes(); o.Version == "" && f != nil && f.Headed() {
		o.Version = "1.0"
	}
	if len(w.Attr) > 0 {
		o.Attr = make([]Attr, len(w.Attr))
	}
	for i, a := range w.Attr {
		o.Attr[i] = Attr(a)
	}
	return o
}

// share returns o for the machine. Many streams share one: those without From and Attr.
func (h *Handler) share(o Opening) *session.Opening {
	shared := session.Opening{
		To: o.To, From: o.From, Lang: o.Lang, Route: o.Route, Version: o.Version,
		Framing: o.Framing.bytes(), Wait: o.Wait,
	}
	for _, a := range o.Attr {
		shared.Attr = append(shared.Attr, wire.Attr(a))
	}
	last := h.opened.Load()
	if last != nil && last.Same(&shared) {
		return last
	}
	kept := shared
	if o.Attr == nil && o.From == "" {
		h.opened.Store(&kept)
	}
	return &kept
}

// newStream returns a stream for s, opened by a request to the address local.
func (h *Handler) newStream(s *Session, local net.Addr, o Opening) *Stream {
	st := &Stream{s: s, local: local}
	st.state.Stream = session.Stream{Opening: h.share(o), Framing: o.Framing.bytes(), Owner: st}
	if h.o.MaxStreams > 1 {
		st.state.Name = rand.Text()
	}
	return st
}

// Read reads input from the client. It blocks until there is something, the read deadline
// passes, the stream is closed, or the session ends. With the framings XMPP and Elements
// one Read never returns bytes of two requests.
func (st *Stream) Read(p []byte) (n int, err error) {
	n, err = st.conn().Read(p)
	return n, st.ioError("read", err)
}

// WriteTo writes the client's input to w until the stream has ended, or w fails. It waits
// and fails as Read does, but the end is no error here. By it [io.Copy] needs no buffer for
// a silent stream. Bytes count as unread until the Write of w returns.
func (st *Stream) WriteTo(w io.Writer) (n int64, err error) {
	n, wrote, err := st.conn().CopyTo(w)
	if err == io.EOF {
		err = nil
	}
	return n, cmp.Or(wrote, st.ioError("read", err))
}

// ioError returns err as Read and Write do, if there is one: the end as it is.
func (st *Stream) ioError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return st.opError(op, public(err))
}

// ReadElement returns the client's next element, with all its namespaces declared on
// itself. The caller owns it. It blocks as Read does, and until ctx is done. It is for
// streams of [Elements].
func (st *Stream) ReadElement(ctx context.Context) ([]byte, error) {
	return st.AppendElement(ctx, nil)
}

// AppendElement is ReadElement into a buffer of the caller's: it appends the element to b,
// and returns b as it is after an error. A loop that is done with an element before the
// next one spares an allocation for each.
func (st *Stream) AppendElement(ctx context.Context, b []byte) ([]byte, error) {
	return st.appendElement(ctx, "ReadElement", b)
}

// appendElement is AppendElement for a method with a name.
func (st *Stream) appendElement(ctx context.Context, method string, b []byte) (_ []byte, err error) {
	if !st.state.Framing.ByElement() {
		return b, st.opError("read", st.notElements(method, "Read"))
	}
	b, err = st.conn().AppendElement(ctx, b)
	return b, st.ioError("read", err)
}

// Receive calls f with the client's input: with each element of a stream of [Elements], as
// from ReadElement, and otherwise with the bytes so far, cut anywhere. It returns at once,
// and [Options.Serve] may return then, too, without the stream being closed. There is no
// goroutine without input: a silent stream takes some 3 KB less than with a blocked Read.
//
// The calls come one after the other, and b is f's until it returns, and counts as unread:
// the client waits as it does for a slow reader. See [Options.ReadBuffer]. When nothing
// more will come f is called for the last time, with the error of Read: [io.EOF] if the
// client has ended the stream, [os.ErrDeadlineExceeded] if the read deadline has passed.
// Earlier input is f's. The stream is closed when that last call returns, unless f has
// closed it itself, as by CloseWithError. A panic of f is logged, and ends the stream by
// [InternalServerError].
//
// All input is f's: Read and its kin fail, as does another Receive.
func (st *Stream) Receive(f func(b []byte, err error)) error {
	g := f
	if f != nil {
		g = func(b []byte, err error) { f(b, st.ioError("read", err)) }
	}
	return st.ioError("read", st.conn().Receive(g))
}

// Detach takes Receive's function away from the stream, so that its session can be
// exported, or the input be read in another way. It waits until the function has
// returned, and nothing more is given to it; or until ctx is done, whose cause it returns:
// then the function has not returned, and Export fails by [ErrBusy] until it has. Input
// that comes meanwhile waits, and the stream stays open. The function itself must not call it.
func (st *Stream) Detach(ctx context.Context) error {
	return st.ioError("read", st.conn().Detach(ctx))
}

// Imported returns what [Session.Export] was given, if the session comes from another
// process or Handler; nil for a session that began here, or had nothing. It is the same
// for all streams of the session, and nobody may change it.
func (st *Stream) Imported() []byte {
	st.s.lock()
	defer st.s.unlock()
	if st.s.rare == nil {
		return nil
	}
	return st.s.rare.app
}

// Import goes on with a session that another process, or Handler, has exported. Its streams
// come out of [Options.Serve] or [Handler.Listener] as new ones do. Admit is not asked, and
// their contexts have no values: [Stream.Imported] must tell who the client is. Opening,
// Label, RemoteAddr, Request, certificate and Proven are as they were; ID is another one, and
// Stats begin anew. The framing, and all that the client was told, are the session's. All
// other options are those of h. The client has the rest of its inactivity to come back.
//
// It does not block. It fails if exported is damaged, or of a later version: it reads this
// one and the one before. It fails as a creation does if h takes no sessions any more or has
// too many, unless h itself exported the session in the last 30 s; and if h has it already.
// Another may import it then. It is believed: take it from your own processes alone.
func (h *Handler) Import(exported []byte) (*Session, error) {
	x, err := state.Read(exported)
	if err != nil {
		return nil, err
	}
	s := &Session{h: h, alarm: h.clock.Alarm(), secure: x.Secure, rare: &rare{label: x.Label, app: bytes.Clone(x.App)}}
	if s.info, err = reqinfo.Import(&x.Origin); err != nil {
		return nil, err
	}
	back := h.replays.Moved([]byte(x.SID)) // it was here a moment ago, and has its place
	if e := h.full(len(exported)); e != nil && !back {
		return nil, e
	}
	owner := s.owner()
	if err := h.quota.Take(owner); err != nil {
		return nil, &Error{Condition: PolicyViolation, Err: err}
	}
	streams, err := h.restore(s, x)
	h.created.Add(1)
	if err == nil && back {
		h.replays.Return([]byte(x.SID)) // or what has ended would be said to have moved
	}
	if err == nil && h.inflight.Draining() && !back {
		err = h.shut() // Drain may not have seen it
	} else if err == nil && !h.sessions.Add(x.SID, s) {
		err = errTwice
	}
	if err != nil {
		h.created.Add(-1)
		for range streams {
			h.unreserve()
		}
		h.leaves(owner)
		return nil, err
	}
	h.began(s)
	for _, st := range streams {
		if !h.deliver(st) {
			s.Terminate(h.farewell())
		}
	}
	if h.inflight.Closed() {
		s.Terminate(h.farewell()) // Shutdown may have been too early to see it
	}
	s.lock()
	defer s.unlock()
	s.settle()
	return s, nil
}

var errTwice = errors.New("bosh: the Handler has the session already")

// Token returns the next token of the input: a Stream is an [xml.TokenReader]. It blocks
// and fails as Read does, but after an error every later call returns the same one: it may
// have come in the middle of a token. To survive a read deadline, use ReadElement. It is
// for one goroutine, as are EncodeToken and Flush.
func (st *Stream) Token() (xml.Token, error) {
	x := st.conn().Tokens()
	if x.Dec == nil {
		x.Dec = xml.NewDecoder(st)
	}
	t, err := x.Dec.Token()
	return xml.CopyToken(t), err
}

var errForeignStream = errors.New("stream of another Handler")

// notElements returns the error of a method only for streams of Elements, with its
// replacement.
func (st *Stream) notElements(method, instead string) error {
	return fmt.Errorf("%s is for a stream of %v, and this one is of %v: see Options.Framing, or use %s",
		method, Elements, st.state.Framing, instead)
}

// Write sends to the client. It returns when everything is queued. It blocks while
// [Options.WriteBuffer] is full, until the client has taken some of it, the write deadline
// passes, the stream is closed, or the session ends. The bytes may be cut anywhere; an
// element goes to the client when it is whole.
//
// With the framings XMPP and Elements a Write fails if its bytes are not well-formed, or an
// element is larger than [Options.MaxElement]. It ends the stream by [InternalServerError].
func (st *Stream) Write(p []byte) (n int, err error) {
	n, err = st.conn().Write(p)
	return n, st.ioError("write", err)
}

// WriteElement sends one or several whole elements: either all of b is queued, or nothing.
// Unlike Write it does no harm to the stream if b is no good. It blocks as Write does, and
// until ctx is done. It is for streams of [Elements].
func (st *Stream) WriteElement(ctx context.Context, b []byte) error {
	return st.ioError("write", st.writeWhole(ctx, "WriteElement", b))
}

// writeWhole is WriteElement for a method with a name.
func (st *Stream) writeWhole(ctx context.Context, method string, b []byte) error {
	if !st.state.Framing.ByElement() {
		return st.notElements(method, "Write")
	}
	b, n, err := framing.Elements(b, st.s.h.o.MaxElement)
	if err != nil {
		return err
	}
	return st.conn().WriteWhole(ctx, b, n)
}

// TryWrite is a Write without waiting. It queues as much of p as there is room for, as
// Write does, and returns how much. If some is left the error is [ErrFull], as it is while
// another Write is blocked. An element is taken whole once its beginning fits.
func (st *Stream) TryWrite(p []byte) (n int, err error) {
	n, err = st.conn().TryWrite(p)
	return n, st.ioError("write", err)
}

// ErrFull is the error of calls without waiting, when the stream has no room: its client is
// slow.
var ErrFull = netconn.ErrNoRoom

// WriteJSON sends v, as encoding/json has it, in an element of its own: a container of
// XEP-0335. It blocks and fails as WriteElement does. If v is not fit for JSON it returns
// the error of [json.Marshal], and nothing is sent.
func (st *Stream) WriteJSON(ctx context.Context, v any) error {
	b, err := EncodeJSON(v)
	if err != nil {
		return err
	}
	return st.ioError("write", st.writeWhole(ctx, "WriteJSON", b))
}

// ReadJSON reads the next element, and stores the JSON in it in v, as [json.Unmarshal]
// does. It blocks and fails as ReadElement does. If the element is no container of
// XEP-0335, or its JSON does not fit v, the error is a [*JSONError] with the element. The
// element has been read, and the next call reads the next one.
func (st *Stream) ReadJSON(ctx context.Context, v any) error {
	b, err := st.appendElement(ctx, "ReadJSON", nil)
	if err != nil {
		return err
	}
	return DecodeJSON(b, v)
}

// EncodeJSON returns v as an element as of WriteJSON, for [Handler.Broadcast] and other
// writers of elements. Its errors are those of [json.Marshal].
func EncodeJSON(v any) ([]byte, error) { return framing.AppendJSON(nil, v) }

// DecodeJSON stores the JSON of an element in v, as ReadJSON does, for [Stream.Receive] and
// other readers of elements. Every error is a [*JSONError].
func DecodeJSON(element []byte, v any) error {
	if err := framing.DecodeJSON(element, v); err != nil {
		return &JSONError{element, err}
	}
	return nil
}

// A JSONError is an element without the expected JSON.
type JSONError struct {
	Element []byte // as it was read

	// Err is an error of encoding/json, or says that the element is no container of
	// XEP-0335.
	Err error
}

func (e *JSONError) Error() string { return "bosh: no JSON: " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *JSONError) Unwrap() error { return e.Err }

// Broadcast sends one or several whole elements to each of the streams. They are of
// [Elements]. It checks them once, and keeps their bytes once for all streams. They count
// towards [Options.MaxMemory] once, until no client needs them and the garbage collector
// has noticed. If to is nil, it sends to all streams of Elements of the Handler.
//
// It never waits. A stream without room is skipped, and gets nothing. The result lists them
// with a reason: [ErrFull] for a slow client, and otherwise the error of WriteElement.
// Broadcast fails only if b is no good, as WriteElement does, and then nobody is sent
// anything. For complete delivery let the skipped ones fetch the missing elements, or end
// them.
//
// It is not atomic. Streams may get it or not while they begin or end. Of two Broadcasts at
// the same time either may come first at a stream.
func (h *Handler) Broadcast(b []byte, to iter.Seq[*Stream]) (skipped []Skipped, err error) {
	b, n, err := framing.Elements(b, h.o.MaxElement)
	if err != nil || n == 0 {
		return nil, err
	}
	if to == nil {
		to = h.listeners()
	}
	event := session.NewEvent(b, int64(n), &h.memory)
	var waiting rush
	defer waiting.start() // also if to panics
	for st := range to {
		if settle, err := st.share(h, event); settle {
			waiting.add(st.s)
		} else if err != nil {
			skipped = append(skipped, Skipped{st, st.ioError("write", err)})
		}
	}
	return skipped, nil
}

// Skipped is a stream without the [Handler.Broadcast].
type Skipped struct {
	Stream *Stream
	Err    error // why: see Broadcast
}

// listeners yields the open streams of Elements.
func (h *Handler) listeners() iter.Seq[*Stream] {
	return func(yield func(*Stream) bool) {
		for s := range h.Sessions() {
			for _, st := range s.Streams() {
				if st.state.Framing.ByElement() && !yield(st) {
					return
				}
			}
		}
	}
}

// share queues an event of h, unless the stream cannot take it now. It reports whether the
// caller must have the session settled.
func (st *Stream) share(h *Handler, e *session.Event) (settle bool, err error) {
	if st.s.h != h {
		return false, errForeignStream
	}
	if !st.state.Framing.ByElement() {
		return false, st.notElements("Broadcast", "Write")
	}
	st.s.lock()
	defer st.s.unlock()
	return st.conn().Share(e)
}

// A rush is sessions with output at the same time. A few goroutines answer their requests,
// so that Broadcast need not, and all processors can.
type rush []*Session

func (r *rush) add(s *Session) {
	if *r = append(*r, s); len(*r) == 64 {
		r.start()
	}
}

// start has the added ones settled, if there are any.
func (r *rush) start() {
	sessions := *r
	if *r = nil; len(sessions) == 0 {
		return
	}
	go func() {
		for _, s := range sessions {
			s.lock()
			s.settle()
			if s.release() {
				netconn.GrowStack(0)
				s.answerQueue()
			}
		}
	}()
}

// EncodeToken adds a token to the output, and Flush writes the added ones. The namespaces
// of elements and attributes are those of their names; declarations among the attributes
// are not needed, and left out. An element without a namespace is in its parent's, unless
// it has an attribute xmlns="".
func (st *Stream) EncodeToken(t xml.Token) error {
	x := st.conn().Tokens()
	if x.Enc == nil {
		x.Enc = framing.NewTokenEncoder(st)
	}
	return x.Enc.EncodeToken(t)
}

// Flush writes the tokens added by EncodeToken. It blocks and fails as Write
// does.
func (st *Stream) Flush() error {
	enc := st.conn().Tokens().Enc
	if enc == nil {
		return nil
	}
	return enc.Flush()
}

// lapse ends the stream because ctx is done, the context of Admit for it; unless the
// session's is done, too.
func (st *Stream) lapse(ctx context.Context) {
	e := lapsed(ctx)
	st.s.lock()
	if st.s.scope.Values().Err() != nil || !st.state.Open() {
		st.s.unlock()
		return
	}
	st.s.m.LapseStream(st.s.h.now(), &st.state.Stream, newEnd(e))
	st.s.unlock()
	st.s.h.notices.Stream(slog.LevelInfo, "bosh: stream ends", st.s.ID(), string(e.Condition), st.RemoteAddr().String(), e.why())
}

// Close ends the stream in good order. Earlier output is still delivered. The client has
// its inactivity time to fetch it. Then the session ends, or at once if nobody is left to
// tell. Close does not wait for any of this. A blocked Read or Write ends with
// [net.ErrClosed], as do all later ones.
func (st *Stream) Close() error { return st.CloseWithError(nil) }

// CloseWithError is Close with a condition for the client. The error's Payload goes out
// behind all output. Nil, or an error without Condition, is a graceful end. An earlier end
// stands, for example by a written stream error.
//
// An error unfit for sending, with an unknown Condition or a malformed Payload, is
// returned, and the stream stays open.
func (st *Stream) CloseWithError(e *Error) error {
	e, err := checkError(e)
	if err == nil {
		err = st.ioError("close", st.conn().Close(newEnd(e)))
	}
	return err
}

// A Payload is output without proof of its arrival.
type Payload struct {
	// Data is one element, or any bytes if the stream is Opaque.
	Data []byte

	// Sent says that an answer carried it, but that nothing proves the answer's arrival:
	// neither an ack, nor a later request that depends on the answer. After the client's
	// own end it counts as delivered; see [Stream.Undelivered].
	Sent bool
}

// Undelivered yields the undelivered output, in its order, once the stream has ended.
// Before that it yields nothing: wait for the end of [Stream.Context], which may take some
// time after Close. Sent payloads may have arrived all the same. They count as delivered if
// the client has ended the session, with [io.EOF] from [Session.Err]: such a client has
// read its answers. An XMPP server drops presence, bounces iq and stores messages
// (XEP-0206, section 7).
func (st *Stream) Undelivered() iter.Seq[Payload] {
	return func(yield func(Payload) bool) {
		for _, p := range st.undelivered() {
			if !yield(p) {
				return
			}
		}
	}
}

func (st *Stream) undelivered() (lost []Payload) {
	st.s.lock()
	defer st.s.unlock()
	x := &st.state.Stream
	if x.Open() || st.s.m.Phase() != session.Ended && !x.Gone && x.Final() != nil {
		return nil
	}
	of := framing.Undelivered{Name: x.Name, First: !x.Added()}
	for _, body := range st.s.m.Unproven() {
		for _, data := range x.Framing.Payloads(&of, body) {
			lost = append(lost, Payload{Data: data, Sent: true})
		}
	}
	for _, data := range x.Framing.Rest(x.Out.Bytes(), x.Late()) {
		lost = append(lost, Payload{Data: data})
	}
	return lost
}

// A Proof says how a client proves the arrival of an answer: see [Options.Proof].
type Proof uint8

const (
	// ByProtocol believes only the protocol: the client's ack, and requests beyond the
	// number `requests` of open ones, impossible without the answer. It is true with
	// anything between the client and this process. XEP-0124, sections 9.2 and 14.
	ByProtocol Proof = iota

	// ByConnection also believes a new request on the HTTP/1.1 connection of the answer:
	// the client has read it. This is one request sooner than by the protocol. The
	// connections must be the clients' own: a proxy reads answers for others, and
	// pipelining clients send requests before they read. Requests with a header of a proxy,
	// as X-Forwarded-For or Via, and HTTP/2 are not believed.
	ByConnection

	// ByKernel also believes, on Linux and with [Options.Direct], the client's operating
	// system: it has acknowledged the last byte of the answer. It is asked 5 ms after the
	// write, and then ever less often. This is weaker: the client itself may be gone
	// without reading the answer. It is for services in danger of their own end, not of
	// their clients'. Elsewhere it is [ByConnection].
	ByKernel
)

// Proven returns how much of the output the client has beyond doubt: elements, or bytes if
// the stream is Opaque, from the first on. The client has its acknowledged answers, and all
// those without which it could not have sent its last request. Without acks the proof may
// come as many requests later as the client may have open. See [Options.Proof] for more.
// The client's page may not have looked at it yet. XEP-0124, sections 9.2 and 14.
//
// The header and the end tag of an XMPP stream are no elements, nor is a stream error.
// Output queued after the client's end is not proven any more: see [Stream.Undelivered].
func (st *Stream) Proven() int64 { return st.conn().Proven() }

// OnProven calls f with the number of Proven when it grows, and soon if it is not 0 now.
// The calls come one after the other, in a goroutine only for them. n grows from each to
// the next by the proof in between. f may block, and only f waits for it. There may be
// calls after the end of the stream, but none when [Options.Undelivered] has been called. A
// panic of f is logged, and ends the stream by [InternalServerError]. A later OnProven
// replaces f, and nil ends the calls.
func (st *Stream) OnProven(f func(n int64)) { st.conn().OnProven(f) }

// why returns why the stream has ended.
func (st *Stream) why() error {
	st.s.lock()
	defer st.s.unlock()
	if e := st.state.Final(); e != nil {
		return errorOf(e).cause()
	}
	return st.s.cause()
}

// owes says whether Options.Undelivered is to be called for the stream. Shutdown waits
// for it then.
func (st *Stream) owes(yes bool) {
	st.s.lock()
	defer st.s.unlock()
	switch {
	case st.state.Owed == yes:
	case yes:
		st.s.h.inflight.Enter()
	default:
		st.s.h.inflight.Leave()
	}
	st.state.Owed = yes
}

// HandBack tells the application the undelivered output of a stream. See netconn.Session.
func (l *locker) HandBack(x *session.Stream) {
	st, h := owner(x), l.h
	go func() {
		defer h.inflight.Leave()
		defer h.caught("Options.Undelivered")
		h.o.Undelivered(st, st.undelivered(), st.why())
	}()
}

// SetDeadline sets the read and write deadlines.
func (st *Stream) SetDeadline(t time.Time) error {
	if err := st.SetReadDeadline(t); err != nil {
		return err
	}
	return st.SetWriteDeadline(t)
}

// SetReadDeadline sets the time from which a blocked or later Read, ReadElement,
// AppendElement or Token fails by [os.ErrDeadlineExceeded], and Receive ends. The zero time
// means never. It fails only if the stream is closed.
func (st *Stream) SetReadDeadline(t time.Time) error {
	return st.ioError("set", st.conn().SetReadDeadline(t))
}

// SetWriteDeadline is SetReadDeadline for Write, WriteElement and Flush.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	return st.ioError("set", st.conn().SetWriteDeadline(t))
}

// LocalAddr returns the local address of the opening request. It is never nil.
func (st *Stream) LocalAddr() net.Addr { return st.local }

// RemoteAddr returns the client's address, never nil, as [Session.RemoteAddr] does.
func (st *Stream) RemoteAddr() net.Addr { return st.s.RemoteAddr() }

// Name returns the stream's name on the wire: empty unless
// [Options.MaxStreams] allows for several streams.
func (st *Stream) Name() string { return st.state.Name }

// Opening returns the client's wishes at the opening, as Admit left them, and as the last
// restart changed them.
func (st *Stream) Opening() Opening {
	st.s.lock()
	defer st.s.unlock()
	return openingOf(st.state.Opening)
}

// Session returns the session of the stream.
func (st *Stream) Session() *Session { return st.s }

// Context returns a context. The end of the stream cancels it. It descends from Admit's
// context.
func (st *Stream) Context() context.Context {
	if st.scope == nil {
		return st.s.Context()
	}
	st.s.lock()
	defer st.s.unlock()
	return st.scope.Context(public(st.state.Cause()))
}

func (st *Stream) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "bosh", Source: st.local, Addr: st.RemoteAddr(), Err: err}
}
