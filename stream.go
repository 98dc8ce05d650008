package bosh

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/wire"
	"github.com/gobosh/bosh/internal/xmlscan"
)

// A Stream is one stream of a BOSH session, the [net.Conn] that an application
// reads and writes. What its bytes are is a matter of its [Framing].
//
// Read and Write may be used by several goroutines, with the usual semantics
// of a net.Conn: deadlines, set before or meanwhile, end what is blocked with
// an error that is [os.ErrDeadlineExceeded]; Close ends it with one that is
// [net.ErrClosed]; and once the session has ended both return the cause, which
// is [io.EOF] if the client ended it in good order. Read returns what arrived
// before the end first.
type Stream struct {
	s       *Session
	name    string
	opening Opening
	local   net.Addr
	ctx     context.Context
	cancel  context.CancelCauseFunc

	writing chan struct{} // of capacity 1, full while a Write is under way; guards cut
	cut     framing.Cutter

	// All that follows is guarded by s.mu.

	in    []byte // unread input
	off   int    // how much of in has been read
	marks []int  // where in in a body ends: Read stops there
	cause error  // what Read returns behind the input, and Write: the end
	ended bool   // the application has ended the output, by the end tag or an error

	out   []byte // written, and waiting for the client
	count int64  // elements in out
	final *Error // how the stream ends once its output has gone; nil while it lives

	head      framing.Head // the server's header
	announce  bool         // head has not been told to the client yet
	announced bool         // it has
	closed    bool         // Close has been called

	readable, writable chan struct{} // closed when Read or Write may go on; nil if none waits
	rdeadline          deadline
	wdeadline          deadline
}

// Opening is what the client said when it opened a stream. None of it is
// verified.
type Opening struct {
	To, From, Lang, Route string

	// Version is the version of XMPP that the client asks for.
	Version string

	// Framing is what the stream will carry. Admit may change it.
	Framing Framing

	// Attr holds the attributes of the request that mean nothing to BOSH.
	Attr []Attr
}

// Attr is an attribute with its namespace, empty if it has none.
type Attr = wire.Attr

var (
	errInactive = errors.New("client inactive")
	errUnread   = errors.New("application does not read")
)

// open reports whether the client may still send to the stream.
func (st *Stream) open() bool { return st.cause == nil }

// pending reports whether the stream has something for the client.
func (st *Stream) pending() bool { return len(st.out) > 0 || st.final != nil }

// unread is how much input waits for Read.
func (st *Stream) unread() int { return len(st.in) - st.off }

// greet makes up the header that an XMPP client would have sent.
func (st *Stream) greet() {
	if st.opening.Framing != XMPP {
		return
	}
	o := &st.opening
	b := append(st.in, "<stream:stream xmlns='jabber:client' xmlns:stream='"+wire.NSStream+"'"...)
	for _, a := range [...]struct{ name, value string }{
		{"to", o.To}, {"from", o.From}, {"version", o.Version}, {"xml:lang", o.Lang},
	} {
		if a.value != "" {
			b = append(append(append(b, ' '), a.name...), "='"...)
			b = append(xmlscan.AppendEscaped(b, a.value), '\'')
		}
	}
	st.in = append(b, '>')
	st.arrived()
}

// restart begins the XMPP stream anew. What the request does not say is as at
// the beginning.
func (st *Stream) restart(req *wire.Request) {
	if len(req.To) > 0 {
		st.opening.To = string(req.To)
	}
	if len(req.Lang) > 0 {
		st.opening.Lang = string(req.Lang)
	}
	if len(req.From) > 0 {
		st.opening.From = string(req.From)
	}
	st.greet()
}

// feed appends the payloads of a request to the input.
func (st *Stream) feed(req *wire.Request) Condition {
	if st.closed {
		return "" // it reads no more
	}
	for _, p := range req.Payloads {
		switch st.opening.Framing {
		case XMPP:
			st.in = req.AppendStanza(st.in, p)
		case Elements:
			st.in = req.AppendElement(st.in, p)
		case Opaque:
			var ok bool
			if st.in, ok = appendData(st.in, req, p); !ok {
				return BadRequest
			}
		}
	}
	st.arrived()
	return ""
}

// arrived ends the input of one body.
func (st *Stream) arrived() {
	if st.opening.Framing != Opaque {
		st.marks = append(st.marks, len(st.in))
	}
	st.wakeReader()
}

// appendData appends what an element of an Opaque stream carries.
func appendData(dst []byte, req *wire.Request, p wire.Payload) ([]byte, bool) {
	if string(p.Local) != "data" || string(p.URI) != OpaqueNS {
		return dst, false
	}
	text, ok := req.Text(p)
	if !ok {
		return dst, false
	}
	n := len(dst)
	dst, err := base64.StdEncoding.AppendDecode(dst, text)
	if err != nil {
		return dst[:n], false
	}
	return dst, true
}

func (st *Stream) wakeReader() {
	if st.readable != nil {
		close(st.readable)
		st.readable = nil
	}
}

func (st *Stream) wakeWriter() {
	if st.writable != nil {
		close(st.writable)
		st.writable = nil
	}
}

// Read reads what the client sent. It blocks until there is something, the
// read deadline passes, the stream is closed, or the session ends. With the
// framings XMPP and Elements one Read never returns bytes of two requests.
func (st *Stream) Read(p []byte) (int, error) {
	n, err := st.read(p)
	if err != nil && err != io.EOF {
		err = st.opError("read", err)
	}
	return n, err
}

func (st *Stream) read(p []byte) (int, error) {
	for {
		st.s.mu.Lock()
		switch {
		case st.closed:
			st.s.unlock()
			return 0, net.ErrClosed
		case st.rdeadline.expired:
			st.s.unlock()
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			st.s.unlock()
			return 0, nil
		case st.unread() > 0:
			n := st.consume(p)
			st.s.unlock()
			return n, nil
		case st.cause != nil:
			err := st.cause
			st.s.unlock()
			return 0, err
		}
		if st.readable == nil {
			st.readable = make(chan struct{})
		}
		readable, late := st.readable, st.rdeadline.channel()
		st.s.unlock()
		select {
		case <-readable:
		case <-late:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// consume moves input to p, and lets requests be answered that waited for it.
func (st *Stream) consume(p []byte) int {
	full := st.unread() > st.s.h.o.ReadBuffer
	b := st.in[st.off:]
	if len(st.marks) > 0 {
		b = st.in[st.off:st.marks[0]]
	}
	n := copy(p, b)
	st.off += n
	if len(st.marks) > 0 && st.off == st.marks[0] {
		st.marks = st.marks[:copy(st.marks, st.marks[1:])]
	}
	switch {
	case st.off == len(st.in):
		st.in, st.off = st.in[:0], 0
		if cap(st.in) > maxIdleBuffer {
			st.in = nil
		}
	case st.off > len(st.in)/2 && st.off > maxIdleBuffer:
		for i := range st.marks {
			st.marks[i] -= st.off
		}
		st.in = st.in[:copy(st.in, st.in[st.off:])]
		st.off = 0
	}
	if full && st.unread() <= st.s.h.o.ReadBuffer {
		st.s.settle(st.s.h.now())
	}
	return n
}

// maxIdleBuffer is the largest buffer that a stream at rest keeps.
const maxIdleBuffer = 1 << 10

// Write sends to the client. It returns when everything is queued, and blocks
// while [Options.WriteBuffer] is full, until the client has taken some of it,
// the write deadline passes, the stream is closed, or the session ends. The
// bytes may be cut anywhere; an element goes to the client when it is whole.
//
// With the framings XMPP and Elements a Write of what is not well-formed, or
// larger than [Options.MaxElement], fails and ends the stream with
// [InternalServerError].
func (st *Stream) Write(p []byte) (int, error) {
	n, err := st.write(p)
	if err != nil {
		err = st.opError("write", err)
	}
	return n, err
}

func (st *Stream) write(p []byte) (n int, err error) {
	if err := st.lockWrite(); err != nil {
		return 0, err
	}
	defer func() { <-st.writing }()
	for {
		if err := st.room(nil); err != nil {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		took, err := st.fill(p[n:])
		n += took
		if err != nil {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
	}
}

// lockWrite waits for other Writes.
func (st *Stream) lockWrite() error {
	select {
	case st.writing <- struct{}{}:
		return nil
	default:
	}
	for {
		st.s.mu.Lock()
		err := st.writeErr()
		if err != nil {
			st.s.unlock()
			return err
		}
		late := st.wdeadline.channel()
		st.s.unlock()
		select {
		case st.writing <- struct{}{}:
			return nil
		case <-late:
			return os.ErrDeadlineExceeded
		}
	}
}

// writeErr returns why nothing can be written, or nil.
func (st *Stream) writeErr() error {
	switch {
	case st.closed:
		return net.ErrClosed
	case st.wdeadline.expired:
		return os.ErrDeadlineExceeded
	case st.cause != nil && !st.lingers():
		return st.cause
	}
	return nil
}

// lingers reports whether writes are still taken although the client has ended
// the stream: an XMPP server has to end its own side.
func (st *Stream) lingers() bool {
	return st.opening.Framing == XMPP && st.cause == io.EOF && !st.ended
}

// room waits until there is room for output. Its done, if not nil, ends the
// waiting too.
func (st *Stream) room(done <-chan struct{}) error {
	for {
		st.s.mu.Lock()
		if err := st.writeErr(); err != nil || len(st.out) < st.s.h.o.WriteBuffer {
			st.s.unlock()
			return err
		}
		if st.writable == nil {
			st.writable = make(chan struct{})
		}
		writable, late := st.writable, st.wdeadline.channel()
		st.s.unlock()
		select {
		case <-writable:
		case <-late:
			return os.ErrDeadlineExceeded
		case <-done:
			return context.Canceled
		}
	}
}

// fill queues what there is room for, and returns how much of p that was.
func (st *Stream) fill(p []byte) (n int, err error) {
	if st.opening.Framing == Opaque {
		return st.fillOpaque(p), nil
	}
	queued := false
	defer func() {
		if queued {
			st.s.mu.Lock()
			st.s.settle(st.s.h.now())
			st.s.unlock()
		}
	}()
	for n < len(p) {
		took, it, err := st.cut.Cut(p[n:])
		n += took
		if err != nil {
			st.CloseWithError(&Error{Condition: InternalServerError, Err: err})
			return n, err
		}
		if it.Kind == framing.None {
			return n, nil
		}
		full, err := st.put(it)
		if err != nil {
			return n, err
		}
		queued = true
		if full {
			return n, nil
		}
	}
	return n, nil
}

// put queues one item, and reports whether the queue is full now.
func (st *Stream) put(it framing.Item) (full bool, err error) {
	st.s.mu.Lock()
	defer st.s.unlock()
	switch it.Kind {
	case framing.Header:
		st.head = it.Head
		st.announce = !st.announced
	case framing.End:
		st.ended = true
		st.finish(&Error{})
	case framing.Error:
		st.ended = true
		st.finish(&Error{Condition: RemoteStreamError, Payload: append([]byte(nil), it.XML...)})
	default:
		if st.cause != nil {
			return false, st.cause
		}
		if st.final != nil {
			return false, net.ErrClosed
		}
		st.out = append(st.out, it.XML...)
		st.count++
	}
	return len(st.out) >= st.s.h.o.WriteBuffer, nil
}

func (st *Stream) fillOpaque(p []byte) int {
	st.s.mu.Lock()
	defer st.s.unlock()
	n := min(len(p), st.s.h.o.WriteBuffer-len(st.out))
	st.out = append(st.out, p[:n]...)
	st.count++
	st.s.settle(st.s.h.now())
	return n
}

// taken is called when the client is given the output.
func (st *Stream) taken() {
	st.s.stats.PayloadsOut += st.count
	st.out, st.count = st.out[:0], 0
	if cap(st.out) > maxIdleBuffer {
		st.out = nil
	}
	st.wakeWriter()
}

// finish makes the stream end by e when its output has gone. Reading goes on
// until then. It does nothing if the end has come already.
func (st *Stream) finish(e *Error) {
	if st.final != nil || st.s.final != nil || st.s.ended || st.cause != nil {
		return
	}
	if st.s.others(st) {
		st.final = e
	} else {
		st.s.final = e
	}
}

// end ends the stream by cause. The input so far can still be read.
func (st *Stream) end(cause error) {
	if st.cause != nil {
		return
	}
	st.cause = cause
	// An XMPP server is told by the end tag, whoever ended first.
	if cause == io.EOF && st.opening.Framing == XMPP && !st.closed {
		st.in = append(st.in, "</stream:stream>"...)
		st.marks = append(st.marks, len(st.in))
	}
	st.wakeReader()
	st.wakeWriter()
	if cancel := st.cancel; cancel != nil {
		st.s.todo(func() { cancel(cause) })
	}
}

// Close ends the stream in good order. What was written is still delivered: the
// client has as long as it may be inactive to fetch it, and the session ends
// then, or at once if nobody is left to tell. Close does not wait for that. A
// Read or Write that is blocked ends with an error that is [net.ErrClosed], as
// do all later ones.
func (st *Stream) Close() error {
	return st.CloseWithError(nil)
}

// CloseWithError is Close with a condition for the client. The error's Payload
// goes out behind all that was written. Nil, or an error without Condition, is
// a graceful end. If the end has begun already, by [RemoteStreamError] for a
// stream error that was written, that stands.
func (st *Stream) CloseWithError(e *Error) error {
	e, err := checkError(e)
	if err != nil {
		return err
	}
	st.s.mu.Lock()
	defer st.s.unlock()
	if st.closed {
		return st.opError("close", net.ErrClosed)
	}
	st.closed = true
	st.finish(e)
	st.in, st.off, st.marks = nil, 0, nil
	st.rdeadline.set(st.s, time.Time{})
	st.wdeadline.set(st.s, time.Time{})
	st.wakeReader()
	st.wakeWriter()
	st.s.settle(st.s.h.now())
	return nil
}

// SetDeadline sets the read and write deadlines. It never fails.
func (st *Stream) SetDeadline(t time.Time) error {
	st.SetReadDeadline(t)
	return st.SetWriteDeadline(t)
}

// SetReadDeadline sets the time at which a Read that is blocked, and every later
// one, fails. The zero time means never.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.s.mu.Lock()
	defer st.s.unlock()
	if st.closed {
		return st.opError("set", net.ErrClosed)
	}
	st.rdeadline.set(st.s, t)
	return nil
}

// SetWriteDeadline is SetReadDeadline for Write.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.s.mu.Lock()
	defer st.s.unlock()
	if st.closed {
		return st.opError("set", net.ErrClosed)
	}
	st.wdeadline.set(st.s, t)
	return nil
}

// LocalAddr returns the address that the request which opened the stream came
// in on. It is never nil.
func (st *Stream) LocalAddr() net.Addr { return st.local }

// RemoteAddr returns the address of the client, as [Session.RemoteAddr] does.
// It is never nil.
func (st *Stream) RemoteAddr() net.Addr { return st.s.addr }

// Name returns the stream's name in a session of several streams.
func (st *Stream) Name() string { return st.name }

// Opening returns what the client said when it opened the stream, as Admit left
// it; and, after a restart, as the restart changed it.
func (st *Stream) Opening() Opening {
	st.s.mu.Lock()
	defer st.s.unlock()
	return st.opening
}

// Session returns the session that the stream belongs to.
func (st *Stream) Session() *Session { return st.s }

// Context returns a context that is cancelled when the stream ends.
func (st *Stream) Context() context.Context { return st.ctx }

func (st *Stream) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "bosh", Source: st.local, Addr: st.s.addr, Err: err}
}

// A deadline ends what waits on its channel when a time has come. It is
// guarded by the session's mutex.
type deadline struct {
	expired bool
	passed  chan struct{} // closed when expired; made when somebody waits
	timer   *time.Timer
	turn    int // tells the timer that is meant from earlier ones
}

// channel returns what is closed at the deadline as it is set now or will be
// set while somebody waits. It stays closed even if the deadline is moved
// afterwards.
func (d *deadline) channel() <-chan struct{} {
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

func (d *deadline) set(s *Session, t time.Time) {
	d.turn++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.expired {
		d.expired, d.passed = false, nil
	}
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.expire()
		return
	}
	turn := d.turn
	d.timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.turn == turn {
			d.expire()
		}
	})
}

func (d *deadline) expire() {
	d.expired = true
	close(d.channelForClose())
}

func (d *deadline) channelForClose() chan struct{} {
	d.channel()
	return d.passed
}
