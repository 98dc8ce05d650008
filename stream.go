package bosh

import (
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
	"github.com/gobosh/bosh/internal/wire"
)

// A Stream is one stream of a BOSH session, the [net.Conn] that an application
// reads and writes. What its bytes are is a matter of its [Framing].
//
// Read and Write may be used by several goroutines, with the usual semantics
// of a net.Conn: deadlines, set before or meanwhile, end what is blocked with
// an error that is [os.ErrDeadlineExceeded]; Close ends it with one that is
// [net.ErrClosed]; and once the session has ended both return the cause, which
// is [io.EOF] if the client ended it in good order. Read returns what arrived
// before the end first. But for io.EOF their errors are in a [*net.OpError].
//
// Besides bytes, a stream of [Elements] can be read and written by whole
// elements, and any stream of XML by tokens. Use one way of reading and one way
// of writing for a stream.
type Stream struct {
	s     *Session
	local net.Addr

	// The rest is guarded by s.mu.

	state netconn.State
	scope *reqinfo.LazyContext // nil unless the session may have several streams
}

// owner returns the Stream that keeps x.
func owner(x *session.Stream) *Stream { return x.Owner.(*Stream) }

// conn returns the stream as package netconn sees it.
func (st *Stream) conn() netconn.Conn {
	return netconn.Conn{State: &st.state, M: &st.s.m, S: (*locker)(st.s)}
}

// woken has those look again who wait for the stream. It is called with the lock held,
// and adds to after what is to be done without.
func (st *Stream) woken(w session.Wake, after []func()) []func() {
	st.conn().Woken(w)
	if w&session.WakeEnd != 0 && st.scope != nil {
		cancel, cause := st.scope.Cancel(), public(st.state.Cause())
		after = append(after, func() { cancel(cause) })
	}
	return after
}

// Opening is what the client said when it opened a stream. None of it is
// verified. To is the host or domain that it wants, From who it says it is, and
// Lang its xml:lang.
type Opening struct {
	To, From, Lang, Route string

	// Version is the version of XMPP that the client asks for.
	Version string

	// Framing is what the stream will carry. Admit may change it.
	Framing Framing

	// Wait is how long the client waits for an answer, as it is granted: an
	// Admit that takes longer comes too late. It is 0 for a client that asks
	// for that, to poll. To change it has no effect. XEP-0124, section 7.1.
	Wait time.Duration

	// Attr holds the attributes of the request that mean nothing to BOSH.
	Attr []Attr
}

// openingOf returns what the application is told of o.
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

// An Attr is an attribute, its value without references. Space is its namespace, which
// is empty if it has none.
type Attr struct{ Space, Local, Value string }

// opening returns what a request says of the stream that it opens. What it
// does not say is as in def.
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

// share returns what o says, for the machine. Many streams say the same: those that do
// not say who they are from, and have no Attr.
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

// newStream returns a stream for s that a request asks for which came in on the
// address local.
func (h *Handler) newStream(s *Session, local net.Addr, o Opening) *Stream {
	st := &Stream{s: s, local: local}
	st.state.Stream = session.Stream{Opening: h.share(o), Framing: o.Framing.bytes(), Owner: st}
	if h.o.MaxStreams > 1 {
		st.state.Name = rand.Text()
	}
	return st
}

// Read reads what the client sent. It blocks until there is something, the
// read deadline passes, the stream is closed, or the session ends. With the
// framings XMPP and Elements one Read never returns bytes of two requests.
func (st *Stream) Read(p []byte) (n int, err error) {
	n, err = st.conn().Read(p)
	return n, st.ioError("read", err)
}

// WriteTo writes what the client sends to w, until the stream has ended, or w fails.
// It waits and fails as Read does, but for the end, which is not an error here. By it
// [io.Copy] needs no buffer for a stream that says nothing. What w is being given
// counts as unread until its Write returns.
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

// ReadElement returns the next element that the client sent, with all the
// namespaces it needs declared on itself. The caller owns it. It blocks as Read
// does, and until ctx is done. It is for streams of [Elements].
func (st *Stream) ReadElement(ctx context.Context) ([]byte, error) {
	return st.AppendElement(ctx, nil)
}

// AppendElement is ReadElement into a buffer of the caller's: it appends the element
// to b, and returns b as it is after an error. A loop that is done with an element
// before it reads the next spares an allocation for each.
func (st *Stream) AppendElement(ctx context.Context, b []byte) ([]byte, error) {
	return st.appendElement(ctx, "ReadElement", b)
}

// appendElement is AppendElement for a method of that name.
func (st *Stream) appendElement(ctx context.Context, method string, b []byte) (_ []byte, err error) {
	if !st.state.Framing.ByElement() {
		return b, st.opError("read", st.notElements(method, "Read"))
	}
	b, err = st.conn().AppendElement(ctx, b)
	return b, st.ioError("read", err)
}

// Receive has f called with what the client sends: with each element of a stream of
// [Elements], as ReadElement returns it, or else with the bytes that have come, cut
// anywhere. It returns at once, and [Options.Serve] may return then, too, without the
// stream being closed. There is no goroutine while nothing comes, so that a stream
// which says nothing takes some 3 KB less than with one that is blocked in Read.
//
// The calls come one after the other, and b is f's until it returns, and counts as
// unread: the client waits as it does for a slow reader. See [Options.ReadBuffer].
// When nothing more will come f is called for the last time, with the error of Read:
// [io.EOF] if the client has ended the stream, [os.ErrDeadlineExceeded] if the read
// deadline has passed, and what came before it is f's. The stream is closed when that
// call returns, unless f has closed it itself, as by CloseWithError. If f panics, that
// is logged, and the stream ends by [InternalServerError].
//
// All input is f's: Read and all others that read fail, as does another Receive.
func (st *Stream) Receive(f func(b []byte, err error)) error {
	g := f
	if f != nil {
		g = func(b []byte, err error) { f(b, st.ioError("read", err)) }
	}
	return st.ioError("read", st.conn().Receive(g))
}

// Token returns the next token of the input, so that a Stream is an
// [xml.TokenReader]. It blocks and fails as Read does, but after an error every
// later call returns the same one, since it may have come in the middle of a token:
// where a read deadline is to be survived, use ReadElement. It is for one
// goroutine, as are EncodeToken and Flush.
func (st *Stream) Token() (xml.Token, error) {
	x := st.conn().Tokens()
	if x.Dec == nil {
		x.Dec = xml.NewDecoder(st)
	}
	t, err := x.Dec.Token()
	return xml.CopyToken(t), err
}

var errForeignStream = errors.New("stream of another Handler")

// notElements returns the error of a method that is for streams of Elements only, and
// says what to call in its place.
func (st *Stream) notElements(method, instead string) error {
	return fmt.Errorf("%s is for a stream of %v, and this one is of %v: see Options.Framing, or use %s",
		method, Elements, st.state.Framing, instead)
}

// Write sends to the client. It returns when everything is queued, and blocks
// while [Options.WriteBuffer] is full, until the client has taken some of it,
// the write deadline passes, the stream is closed, or the session ends. The
// bytes may be cut anywhere; an element goes to the client when it is whole.
//
// With the framings XMPP and Elements a Write of what is not well-formed, or of
// an element larger than [Options.MaxElement], fails and ends the stream by
// [InternalServerError].
func (st *Stream) Write(p []byte) (n int, err error) {
	n, err = st.conn().Write(p)
	return n, st.ioError("write", err)
}

// WriteElement sends one element, or several, which must be whole: either all
// of b is queued, or nothing. Unlike Write it does no harm to the stream if b
// is no good. It blocks as Write does, and until ctx is done. It is for streams
// of [Elements].
func (st *Stream) WriteElement(ctx context.Context, b []byte) error {
	return st.ioError("write", st.writeWhole(ctx, "WriteElement", b))
}

// writeWhole is WriteElement for a method of that name.
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

// TryWrite is a Write that never waits. It queues as much of p as there is room for,
// as Write does, and returns how much that was. If that is not all, the error is
// [ErrFull], as it is while another Write is blocked. An element that has begun to fit
// is taken whole.
func (st *Stream) TryWrite(p []byte) (n int, err error) {
	n, err = st.conn().TryWrite(p)
	return n, st.ioError("write", err)
}

// ErrFull is the error of what does not wait, when the stream has no room: its client
// is slow.
var ErrFull = netconn.ErrNoRoom

// WriteJSON sends v, as encoding/json has it, in an element of its own: a container of
// XEP-0335. It blocks and fails as WriteElement does. If v is not fit for JSON the error
// is that of [json.Marshal], and nothing is sent.
func (st *Stream) WriteJSON(ctx context.Context, v any) error {
	b, err := EncodeJSON(v)
	if err != nil {
		return err
	}
	return st.ioError("write", st.writeWhole(ctx, "WriteJSON", b))
}

// ReadJSON reads the next element, and stores the JSON in it in v, as [json.Unmarshal]
// does. It blocks and fails as ReadElement does. If the element is no container of
// XEP-0335, or what is in it is not fit for v, the error is a [*JSONError], which has the
// element: it has been read, and the next call reads the next one.
func (st *Stream) ReadJSON(ctx context.Context, v any) error {
	b, err := st.appendElement(ctx, "ReadJSON", nil)
	if err != nil {
		return err
	}
	return DecodeJSON(b, v)
}

// EncodeJSON returns v as the element that WriteJSON sends, for [Handler.Broadcast] and
// for all that writes elements. Its errors are those of [json.Marshal].
func EncodeJSON(v any) ([]byte, error) { return framing.AppendJSON(nil, v) }

// DecodeJSON stores the JSON in an element in v, as ReadJSON does, for
// [Stream.Receive] and for all that reads elements. Every error is a [*JSONError].
func DecodeJSON(element []byte, v any) error {
	if err := framing.DecodeJSON(element, v); err != nil {
		return &JSONError{element, err}
	}
	return nil
}

// A JSONError is an element without the JSON that was expected.
type JSONError struct {
	Element []byte // as it was read

	// Err is an error of encoding/json if the element is a container of XEP-0335, and
	// otherwise says that it is none.
	Err error
}

func (e *JSONError) Error() string { return "bosh: no JSON: " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *JSONError) Unwrap() error { return e.Err }

// Broadcast sends one element, or several, which must be whole, to each of the streams,
// which are of [Elements]. It checks them once, and keeps their bytes once for all
// streams: they count towards [Options.MaxMemory] once, until no client waits for them
// or may ask for them again, and the garbage collector has noticed. If to is nil, it
// sends to all streams of Elements that the Handler has.
//
// It never waits. A stream that cannot take the element now is skipped, and gets nothing
// of it. The result says which they are, and why: [ErrFull] for a slow client, and
// otherwise the error of WriteElement. Broadcast fails only if b is no good, as
// WriteElement does, and then nobody is sent anything. To have everybody get
// everything, let those that are skipped fetch what they have missed, or end them.
//
// It is not atomic: streams that begin or end meanwhile may get it or not, and of
// two Broadcasts at the same time either may be the first that a stream gets.
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
		answer, err := st.share(h, event)
		if answer {
			waiting.add(st.s)
		}
		if err != nil {
			skipped = append(skipped, Skipped{st, st.ioError("write", err)})
		}
	}
	return skipped, nil
}

// Skipped is a stream that a [Handler.Broadcast] has not been sent to.
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

// share queues an event of h, unless the stream cannot take it now. It reports whether
// the caller must see to it that the queue is answered.
func (st *Stream) share(h *Handler, e *session.Event) (answer bool, err error) {
	if st.s.h != h {
		return false, errForeignStream
	}
	if !st.state.Framing.ByElement() {
		return false, st.notElements("Broadcast", "Write")
	}
	st.s.lock()
	err = st.conn().Share(e)
	return st.s.release(), err
}

// A rush is sessions that have something to say at the same time. A few goroutines do it
// for all of them.
type rush struct{ sessions []*Session }

// rushSize is how many sessions have one goroutine.
const rushSize = 64

func (r *rush) add(s *Session) {
	if r.sessions = append(r.sessions, s); len(r.sessions) == rushSize {
		r.start()
	}
}

// start has the queues answered of those that were added.
func (r *rush) start() {
	if sessions := r.sessions; len(sessions) > 0 {
		r.sessions = nil
		go func() {
			netconn.GrowStack(0)
			for _, s := range sessions {
				s.answerQueue()
			}
		}()
	}
}

// EncodeToken adds a token to the output, and Flush writes what was added. The
// namespaces of elements and attributes are those of their names; declarations
// among the attributes are not needed, and left out. An element whose name has
// no namespace is in that of its parent, unless it has an attribute xmlns="".
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

// lapse ends the stream because ctx is done, which Admit has returned for it; unless
// that is so because the session's is.
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

// Close ends the stream in good order. What was written is still delivered: the
// client has as long as it may be inactive to fetch it, and the session ends
// then, or at once if nobody is left to tell. Close does not wait for that. A
// Read or Write that is blocked ends with an error that is [net.ErrClosed], as
// do all later ones.
func (st *Stream) Close() error { return st.CloseWithError(nil) }

// CloseWithError is Close with a condition for the client. The error's Payload
// goes out behind all that was written. Nil, or an error without Condition, is
// a graceful end. If the end has begun already, for example by a stream error
// that was written, that stands.
//
// An error that is not fit to be sent, with an unknown Condition or a Payload
// that is not well-formed, is returned, and the stream stays open.
func (st *Stream) CloseWithError(e *Error) error {
	e, err := checkError(e)
	if err == nil {
		err = st.ioError("close", st.conn().Close(newEnd(e)))
	}
	return err
}

// A Payload is something that was written to a stream and is not known to have
// reached the client.
type Payload struct {
	// Data is one element, or any bytes if the stream is Opaque.
	Data []byte

	// Sent says that an answer carried it, but nothing proves that the
	// client received that answer: by an ack, or by a later request that it
	// could not have sent without. After the client's own end it counts as
	// delivered; see [Stream.Undelivered].
	Sent bool
}

// Undelivered yields what the stream could not deliver, in the order in which
// it was written, once the stream has ended; before that it yields nothing, so
// wait for the end of [Stream.Context], which after Close may take some time.
// What is marked Sent may have arrived all the same. It counts as delivered if the
// client has ended the session, so that [Session.Err] is [io.EOF]: such a client
// has read the answers that it got. An XMPP server drops presence, bounces iq and
// stores messages (XEP-0206, section 7).
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

// A Proof says how a client proves that it has an answer: see [Options.Proof].
type Proof uint8

const (
	// ByProtocol believes only the protocol: the client's ack, and requests beyond the number
	// `requests` of open ones, which the client could not send without the answer. It is true
	// with anything between the client and this process. XEP-0124, sections 9.2 and 14.
	ByProtocol Proof = iota

	// ByConnection also believes a new request on the HTTP/1.1 connection of the answer: the
	// client has read it. That is one request sooner than by the protocol. The connections must
	// be the clients' own: a proxy reads answers for others, and a client that pipelines sends
	// requests before it reads. Requests with a header of a proxy, as X-Forwarded-For or Via,
	// and HTTP/2 are not believed.
	ByConnection

	// ByKernel also believes, on Linux and with [Options.Direct], the client's operating
	// system: it has acknowledged the last byte of the answer. It is asked 5 ms after the
	// write, and then ever less often. This is weaker: the client itself may be gone without
	// reading the answer. It is for services whose own end is the danger, not their clients'.
	// Elsewhere it is [ByConnection].
	ByKernel
)

// Proven returns how much of what was written to the stream the client has beyond
// doubt: so many elements, or bytes if it is Opaque, from the first on. It has an
// answer that it has acknowledged, and one without which it could not have sent its
// last request: of a client that does not acknowledge, it may be as many requests
// later as it may have open. See [Options.Proof] for more. That the client has it does
// not mean that a page has looked at it. XEP-0124, sections 9.2 and 14.
//
// The header and the end tag of an XMPP stream are no elements, nor is a stream error.
// What is queued after the client's end is not proven any more: see
// [Stream.Undelivered].
func (st *Stream) Proven() int64 { return st.conn().Proven() }

// OnProven has f called with what Proven returns, when that has grown; and soon if it
// is not 0 by now. The calls come one after the other, in a goroutine that there is
// only meanwhile, and n grows from each to the next, by what has been proven in
// between: f may block, and nothing but f waits for it. There may be calls after the
// end of the stream, but none when [Options.Undelivered] has been called. If f panics, that
// is logged, and the stream ends by [InternalServerError]. A later OnProven replaces
// f, and nil ends the calls.
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

// HandBack tells the application what a stream has not delivered. See netconn.Session.
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

// SetReadDeadline sets the time at which a Read, ReadElement, AppendElement or Token
// that is blocked, and every later one, fails by [os.ErrDeadlineExceeded], and Receive
// ends. The zero time means never. It fails only if the stream is closed.
func (st *Stream) SetReadDeadline(t time.Time) error {
	return st.ioError("set", st.conn().SetReadDeadline(t))
}

// SetWriteDeadline is SetReadDeadline for Write, WriteElement and Flush.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	return st.ioError("set", st.conn().SetWriteDeadline(t))
}

// LocalAddr returns the address that the request which opened the stream came
// in on. It is never nil.
func (st *Stream) LocalAddr() net.Addr { return st.local }

// RemoteAddr returns the address of the client, as [Session.RemoteAddr] does.
// It is never nil.
func (st *Stream) RemoteAddr() net.Addr { return st.s.RemoteAddr() }

// Name returns the stream's name on the wire: empty unless
// [Options.MaxStreams] allows for several streams.
func (st *Stream) Name() string { return st.state.Name }

// Opening returns what the client said when it opened the stream, as Admit left
// it; and, after a restart, as the restart changed it.
func (st *Stream) Opening() Opening {
	st.s.lock()
	defer st.s.unlock()
	return openingOf(st.state.Opening)
}

// Session returns the session that the stream belongs to.
func (st *Stream) Session() *Session { return st.s }

// Context returns a context that is cancelled when the stream ends. It descends
// from the one that Admit returned.
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
