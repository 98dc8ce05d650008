package bosh

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/buffer"
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
	s      *Session
	member *member // nil unless the session may have several streams
	local  net.Addr

	cut *framing.Cutter // for whoever has set writing; nil until Write is called

	// All that follows is guarded by s.mu.

	opening *Opening // shared, so it is not changed, but may be replaced
	extras  *extras  // nil until one of them is needed: see extra

	in      buffer.Inbox
	counted int // what Session.unread has of it

	cause error          // the end: what Read returns behind the input, and Write
	out   session.Outbox // written, and waiting for the client
	given int64          // what the client has been given: see carried
	final *Error         // how the stream ends once its output has gone; nil while it lives
	head  *framing.Head  // the server's header, which must be told to the client

	framing   framing.Framing // not guarded, since it never changes
	announced bool            // the header has been told, which is done once
	ended     bool            // the application has written the end of the XMPP stream
	closed    bool            // Close has been called
	lapsed    bool            // its time is over, and nothing more of the client is taken
	owed      bool            // Options.Undelivered is to be called for it
	gone      bool            // it has left its session, and the client has all that it was given
	away      int16           // goroutines that have read something, and have not come back for more: see returns
	foreign   uint16          // payloads in out that the application has not written
	naming    naming          // whether the client has been told the stream's name
	restarts  restarts        // whether the client has to restart the XMPP stream
	writing   bool            // a Write is under way

	readable, writable, unlocked chan struct{} // of capacity 1, for waiting: see wake
	rdeadline, wdeadline         netconn.Deadline
}

// naming says whether the client has been told a stream's name.
type naming uint8

const (
	named  naming = iota // it has, or need not be
	hidden               // the answer to the stream's opening will, and speaks for it alone
	untold               // the next answer will
)

// restarts says whether the client has to restart an XMPP stream.
type restarts uint8

const (
	uncalled restarts = iota // nothing that the server has written since its header calls for it
	wasted                   // nor now, and the client has done so all the same
	called                   // the server has called for it
)

// extras are what few streams need.
type extras struct {
	dec  *xml.Decoder          // of Token; for one goroutine
	enc  *framing.TokenEncoder // of EncodeToken; for one goroutine
	late []byte                // written after the client's end; guarded by s.mu

	receiver  func([]byte, error) // of Receive; guarded by s.mu
	receiving bool                // it has a goroutine, or has had its last one; guarded by s.mu

	prover  func(int64) // of OnProven; guarded by s.mu, as are the next two
	proving bool        // it has a goroutine
	told    int64       // what it has been called with
}

// A member is a stream as one of several of its session.
type member struct {
	name  string
	added bool                // the session had another one before
	n     uint16              // how many it had, which is a number for it for some time
	scope reqinfo.LazyContext // guarded by s.mu
}

// streams are the streams of a session that are open, or have something to say.
// The session's lock guards them.
type streams struct {
	session.RoundRobin[*Stream, company]
}

// company is what there is to streams of which there are several, or may be.
type company struct {
	named  bool      // there has been a second one: answers name their stream
	opened uint16    // how many there have been besides the first
	asking int       // how many the application has still to admit
	after  []func()  // to be called after the lock is released
	left   []*Stream // removed, and somebody wants to know what the client has
}

// todo has f called as soon as the lock is released.
func (ss *streams) todo(f func()) {
	c := ss.Several()
	c.after = append(c.after, f)
}

// after takes what is to be called after the lock is released.
func (ss *streams) after() (fs []func()) {
	if c := ss.With(); c != nil {
		fs, c.after = c.after, nil
	}
	return fs
}

// named reports whether answers name their stream.
func (ss *streams) named() bool {
	c := ss.With()
	return c != nil && c.named
}

// find returns the open stream of a name, or the first if there is no name.
func (ss *streams) find(name []byte) *Stream {
	for _, st := range ss.All() {
		if st.open() && (len(name) == 0 || st.Name() == string(name)) {
			return st
		}
	}
	return nil
}

// knew reports whether a stream is known by name, even if it is not open any
// more.
func (ss *streams) knew(name []byte) bool {
	return ss.Left(string(name)) ||
		slices.ContainsFunc(ss.All(), func(st *Stream) bool { return st.Name() == string(name) })
}

// others reports whether a stream other than st is open.
func (ss *streams) others(st *Stream) bool {
	return slices.ContainsFunc(ss.All(), func(x *Stream) bool { return x != st && x.open() && x.final == nil })
}

// pending reports whether there is anything to say.
func (ss *streams) pending() bool { return slices.ContainsFunc(ss.All(), (*Stream).pending) }

// full reports whether the application is behind with reading, so that the
// client must wait.
func (ss *streams) full() bool { return slices.ContainsFunc(ss.All(), (*Stream).full) }

// speaker returns the stream whose output goes next, or nil.
func (ss *streams) speaker() *Stream {
	if st, ok := ss.Next((*Stream).pending); ok {
		return st
	}
	return nil
}

// remove removes a stream whose end has been told.
func (ss *streams) remove(st *Stream) {
	st.end(st.final.streamCause())
	st.recount() // nobody does it any more but who reads
	if c := ss.Several(); st.owed || st.extras != nil && st.extras.prover != nil {
		c.left = append(c.left, st)
	}
	ss.Remove(st, st.Name())
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

// attrSize is what an Attr takes besides its texts, each of which is rounded up, in bytes.
const attrSize = 48 + 3*8

// size returns how many bytes the client has had us keep.
func (o *Opening) size() int {
	n := len(o.To) + len(o.From) + len(o.Lang) + len(o.Route) + len(o.Version)
	for _, a := range o.Attr {
		n += attrSize + len(a.Space) + len(a.Local) + len(a.Value)
	}
	return n
}

// same reports whether o can stand for p. One with Attr stands for itself.
func (o *Opening) same(p *Opening) bool {
	return o.To == p.To && o.From == p.From && o.Lang == p.Lang && o.Route == p.Route &&
		o.Version == p.Version && o.Framing == p.Framing && o.Wait == p.Wait && o.Attr == nil && p.Attr == nil
}

// An Attr is an attribute, its value without references. Space is its namespace, which
// is empty if it has none.
type Attr struct{ Space, Local, Value string }

// open reports whether the client may still send to the stream.
func (st *Stream) open() bool { return st.cause == nil }

// pending reports whether the stream has something for the client.
func (st *Stream) pending() bool { return st.naming != hidden && st.speaks() }

// speaks is pending for the answer to the stream's own opening.
func (st *Stream) speaks() bool { return !st.out.Empty() || st.final != nil || st.naming == untold }

// full reports whether the application is so far behind that the client must wait.
func (st *Stream) full() bool { return st.in.Behind() > st.s.h.o.ReadBuffer }

// greet makes up the header that an XMPP client would have sent.
func (st *Stream) greet() {
	if !st.framing.Headed() {
		return
	}
	o := st.opening
	st.in.Element(st.framing.AppendHeader(st.in.Buffer(0), framing.Head{To: o.To, From: o.From, Version: o.Version, Lang: o.Lang}), true)
	st.wakeReader()
}

// restart begins the XMPP stream anew. What the request does not say is as at
// the beginning.
func (st *Stream) restart(req *wire.Request) {
	o := *st.opening
	o.To, o.Lang, o.From = or(req.To, o.To), or(req.Lang, o.Lang), or(req.From, o.From)
	st.opening, st.restarts = st.s.h.share(o), uncalled
	st.greet()
}

// or returns value, or def if there is none.
func or(value []byte, def string) string {
	if len(value) == 0 {
		return def
	}
	return string(value)
}

// feed appends the payloads of a request to the input: all or none. The client is told
// that there is none of the upgrades that it asks for, and the application does not see
// that it asks.
func (st *Stream) feed(req *wire.Request) Condition {
	if st.closed || st.lapsed {
		return "" // it reads no more
	}
	payloads, asked := req.Payloads, framing.NoUpgrade
	if !st.s.h.o.PassUpgrades {
		asked = st.framing.Upgrades(payloads)
	}
	if asked != framing.NoUpgrade {
		payloads = slices.DeleteFunc(slices.Clone(payloads), func(p wire.Payload) bool {
			return framing.AsksFor(p.Local, p.URI) != framing.NoUpgrade
		})
	}
	if !st.framing.Feed(&st.in, req, payloads) {
		return BadRequest
	}
	if asked != framing.NoUpgrade {
		st.refuseUpgrades(asked)
	}
	st.wakeReader()
	return ""
}

// refuseUpgrades tells the client that there is none of those that it asks for: once,
// until it has taken that.
func (st *Stream) refuseUpgrades(asked framing.Upgrade) {
	for _, u := range framing.Upgrades {
		failure := []byte(u.Failure())
		if asked&u != 0 && !bytes.Contains(st.out.Bytes(), failure) && st.final == nil && st.s.final == nil {
			st.out.Add(failure, 1)
			st.foreign++
		}
	}
}

// keepAlive has the application read what a client on TCP would have sent to show
// that it is there: a space, unless something else waits for it, or the next it
// expects is the header of a new stream. RFC 6120, section 4.6.1.
func (st *Stream) keepAlive() {
	if space := st.framing.KeepAlive(); space != "" && !st.closed && !st.lapsed && st.restarts != called && st.in.Len() == 0 {
		st.in.Element(append(st.in.Buffer(0), space...), true)
		st.wakeReader()
	}
}

// wake lets one of those go on that wait on one of the stream's channels. It
// may find that it must wait again; if there is more to do, it wakes the next.
func (st *Stream) wake(ch *chan struct{}) {
	select {
	case *ch <- struct{}{}:
	default: // nobody ever waited, or the token is there
	}
}

// wait waits without the lock until ch is woken, the deadline passes, or ctx is
// done, and returns with the lock.
func (st *Stream) wait(ctx context.Context, ch *chan struct{}, d *netconn.Deadline) (err error) {
	if *ch == nil {
		*ch = make(chan struct{}, 1)
	}
	// ctx may be nil, or somebody's own: it panics with the lock, which callers release.
	woken, passed, done, over := *ch, d.Passed(), ctx.Done(), false
	st.s.unlock()
	if done == nil {
		<-woken
	} else {
		select {
		case <-woken:
		case <-done:
			over = true
		}
	}
	st.s.mu.Lock()
	if over {
		err = context.Cause(ctx)
	}
	if d.Passed() != passed {
		err = os.ErrDeadlineExceeded
	}
	return err
}

// Read reads what the client sent. It blocks until there is something, the
// read deadline passes, the stream is closed, or the session ends. With the
// framings XMPP and Elements one Read never returns bytes of two requests.
func (st *Stream) Read(p []byte) (n int, err error) {
	st.s.mu.Lock()
	defer st.s.unlock()
	if err = st.input(context.Background(), len(p) == 0); err == nil && len(p) > 0 {
		before := st.in.Behind()
		n = st.in.Read(p)
		st.goes()
		st.consumed(before)
	}
	return n, st.ioError("read", err)
}

// WriteTo writes what the client sends to w, until the stream has ended, or w fails.
// It waits and fails as Read does, but for the end, which is not an error here. By it
// [io.Copy] needs no buffer for a stream that says nothing. What w is being given
// counts as unread until its Write returns.
func (st *Stream) WriteTo(w io.Writer) (n int64, err error) {
	var l loan
	defer func() { st.repay(l) }() // whatever w does
	for {
		if l, err = st.takeInput(l); err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, st.ioError("read", err)
		}
		took, err := w.Write(l.input)
		if n += int64(took); err == nil && took < len(l.input) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, err
		}
	}
}

// A loan is input that somebody is being given. Until he is done with it, it counts
// as unread.
type loan struct {
	b     []byte // the buffer that it is in, or a spare one
	input []byte
}

// takeInput waits for input, and lends all there is to somebody who is done with l.
func (st *Stream) takeInput(l loan) (loan, error) {
	st.s.mu.Lock()
	defer st.s.unlock()
	st.repaid(l)
	if err := st.input(context.Background(), false); err != nil {
		return loan{}, err
	}
	return st.lendAll(buffer.Rest(l.b)), nil
}

// lendAll lends all input, in the buffer that it is in, for another one.
func (st *Stream) lendAll(spare []byte) (l loan) {
	l.b, l.input = st.in.Take(spare)
	st.goes()
	st.consumed(st.in.Behind())
	return l
}

// lendElement lends the next element of the input, in the buffer b or a larger one.
func (st *Stream) lendElement(b []byte) loan {
	before := st.in.Behind()
	b = st.in.Next(b)
	st.in.Lend(len(b), cap(b))
	st.goes()
	st.consumed(before)
	return loan{b, b}
}

// repay takes note that somebody is done with l.
func (st *Stream) repay(l loan) {
	if len(l.input) == 0 {
		return
	}
	st.s.mu.Lock()
	defer st.s.unlock()
	st.repaid(l)
}

// repaid is repay, called with the lock held.
func (st *Stream) repaid(l loan) {
	if len(l.input) > 0 {
		before := st.in.Behind()
		st.in.Return(len(l.input), cap(l.b))
		st.consumed(before)
	}
}

// takeElement appends the next element of the input to b.
func (st *Stream) takeElement(b []byte) []byte {
	before := st.in.Behind()
	b = st.in.Next(b)
	st.goes()
	st.consumed(before)
	return b
}

// goes takes note that whoever has read something goes off with it.
func (st *Stream) goes() { st.away = min(st.away+1, math.MaxInt16-1) }

// returns takes note that somebody comes for input: it may be one that has gone.
func (st *Stream) returns() {
	if st.away = max(st.away-1, 0); !st.busy() {
		st.s.rests()
	}
}

// busy reports whether the application has something to do with what the client sent.
func (st *Stream) busy() bool { return !st.closed && (st.in.Len() > 0 || st.away > 0) }

// input waits until there is input, or there need not be any. It is called with
// the lock held, and may release it meanwhile.
func (st *Stream) input(ctx context.Context, idle bool) error {
	st.returns()
	ready, err := st.readReady(idle)
	for !ready && err == nil {
		st.s.listens(st)
		err = st.wait(ctx, &st.readable, &st.rdeadline)
		if err == nil || err != os.ErrDeadlineExceeded && st.in.Len() > 0 {
			ready, err = st.readReady(idle) // what came before ctx was done is not lost
		}
	}
	if err != nil {
		st.wake(&st.readable)
	}
	return err
}

func (st *Stream) readReady(idle bool) (ready bool, err error) {
	if st.receives() && !st.closed {
		return false, errReceived
	}
	return st.inputReady(idle)
}

// inputReady reports whether there is input, or there need not be any.
func (st *Stream) inputReady(idle bool) (ready bool, err error) {
	switch {
	case st.closed:
		return false, net.ErrClosed
	case st.rdeadline.Expired():
		return false, os.ErrDeadlineExceeded
	case idle || st.in.Len() > 0:
		return true, nil
	}
	return false, st.cause
}

// consumed is called when some of the input was read, or lent or repaid, of which there
// were so many bytes before.
func (st *Stream) consumed(before int) {
	if st.in.Len() > 0 {
		st.wakeReader()
	}
	if before > st.s.h.o.ReadBuffer && !st.s.streams.full() {
		st.s.settle(st.s.h.now()) // the client need not wait any more
		return
	}
	if d := st.recount(); d >= worthCounting || d <= -worthCounting || d != 0 && st.s.ended {
		st.s.account()
	}
}

// recount counts the input that the stream keeps, and returns how much more that is
// than the last time.
func (st *Stream) recount() (d int) {
	d = st.in.Size() - st.counted
	st.counted += d
	st.s.unread += d
	return d
}

// ioError returns err as Read and Write do, if there is one: the end as it is.
func (st *Stream) ioError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return st.opError(op, err)
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
	if !st.framing.ByElement() {
		return b, st.opError("read", st.notElements(method, "Read"))
	}
	st.s.mu.Lock()
	defer st.s.unlock()
	if err = st.input(ctx, false); err == nil {
		b = st.takeElement(b)
	}
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
	st.s.mu.Lock()
	defer st.s.unlock()
	switch {
	case f == nil:
		return st.opError("read", errNoReceiver)
	case st.receives():
		return st.opError("read", errReceived)
	}
	st.extra().receiver = f
	st.wake(&st.readable) // whoever is blocked in Read
	if ready, err := st.inputReady(false); ready || err != nil {
		st.wakeReader()
	} else {
		st.s.listens(st)
	}
	return nil
}

// receives reports whether the input is Receive's.
func (st *Stream) receives() bool { return st.extras != nil && st.extras.receiver != nil }

// received is receives for those without the lock.
func (st *Stream) received() bool {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.receives()
}

// wakeReader has whoever reads go on.
func (st *Stream) wakeReader() {
	if !st.receives() {
		st.wake(&st.readable)
		return
	}
	if x := st.extras; !x.receiving {
		x.receiving = true
		go st.receive(x.receiver)
	}
}

// receive calls f until nothing more has come.
func (st *Stream) receive(f func([]byte, error)) {
	if st.s.h.engine != nil {
		growStack(0)
	}
	goesOn := false
	defer st.s.h.served(st, "Receive", &goesOn)
	room := receiveRoom.Get().(*[]byte)
	l := loan{b: *room}
	defer func() {
		st.repay(l) // f has panicked
		*room = buffer.Rest(l.b)
		receiveRoom.Put(room)
	}()
	for {
		var err error
		l, err = st.nextInput(l)
		if goesOn = len(l.input) == 0 && err == nil; goesOn {
			return
		}
		if f(l.input, st.ioError("read", err)); err != nil {
			return
		}
	}
}

// growStack has the goroutine's stack grow now. With the direct engine it soon would
// in any case, since whoever speaks writes the answer, and by then many frames would
// have to be moved, which takes 1.4 µs of the 10 of a round trip.
//
//go:noinline
func growStack(i int) byte {
	var frame [4 << 10]byte
	return frame[i]
}

// receiveRoom is for what is received.
var receiveRoom = sync.Pool{New: func() any { return new([]byte) }}

// nextInput lends the receiver, who is done with l, what he is to be called with next. If
// there is nothing his goroutine is no more taken to be there.
func (st *Stream) nextInput(l loan) (_ loan, err error) {
	st.s.mu.Lock()
	defer st.s.unlock()
	st.repaid(l)
	st.returns()
	if st.in.Len() > 0 { // even if a deadline has passed: nobody else would read it
		if st.framing.ByElement() {
			return st.lendElement(l.b[:0]), nil
		}
		return st.lendAll(l.b[:0]), nil
	}
	if _, err = st.inputReady(false); err == nil {
		st.extras.receiving = false
		st.s.listens(st)
	}
	return loan{b: l.b}, err
}

// Token returns the next token of the input, so that a Stream is an
// [xml.TokenReader]. It blocks and fails as Read does, but after an error every
// later call returns the same one, since it may have come in the middle of a token:
// where a read deadline is to be survived, use ReadElement. It is for one
// goroutine, as are EncodeToken and Flush.
func (st *Stream) Token() (xml.Token, error) {
	x := st.tokens()
	if x.dec == nil {
		x.dec = xml.NewDecoder(st)
	}
	t, err := x.dec.Token()
	return xml.CopyToken(t), err
}

var (
	errInactive   = errors.New("client inactive")
	errUncreated  = errors.New("client left before it was told of its session")
	errNoReceiver = errors.New("Receive without a function")
	errReceived   = errors.New("input is Receive's, and nobody else can read it")
	errPartial    = errors.New("a Write before it has left an element that is not whole")

	errForeignStream = errors.New("stream of another Handler")
)

// notElements returns the error of a method that is for streams of Elements only, and
// says what to call in its place.
func (st *Stream) notElements(method, instead string) error {
	return fmt.Errorf("%s is for a stream of %v, and this one is of %v: see Options.Framing, or use %s",
		method, Elements, st.framing, instead)
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
	st.s.mu.Lock()
	defer st.s.unlock()
	if err = st.lockWrite(context.Background()); err == nil {
		n, err = st.write(p)
		st.unlockWrite()
	}
	return n, st.ioError("write", err)
}

func (st *Stream) write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, st.writeErr()
	}
	for n < len(p) && err == nil {
		if err = st.room(context.Background()); err == nil {
			var took int
			took, err = st.fill(p[n:])
			n += took
		}
	}
	return n, err
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
	if !st.framing.ByElement() {
		return st.notElements(method, "Write")
	}
	b, n, err := framing.Elements(b, st.s.h.o.MaxElement)
	if err != nil {
		return err
	}
	st.s.mu.Lock()
	defer st.s.unlock()
	if err = st.lockWrite(ctx); err != nil {
		return err
	}
	defer st.unlockWrite() // also if ctx panics
	return st.queueWhole(ctx, b, n)
}

// queueWhole queues n elements as soon as there is room.
func (st *Stream) queueWhole(ctx context.Context, b []byte, n int) error {
	if st.cut != nil && st.cut.Pending() {
		return errPartial
	}
	if err := st.room(ctx); err != nil {
		return err
	}
	before := st.out.Len()
	err := st.queue(b, int64(n))
	st.spoken(before)
	return err
}

// TryWrite is a Write that never waits. It queues as much of p as there is room for,
// as Write does, and returns how much that was. If that is not all, the error is
// [ErrFull], as it is while another Write is blocked. An element that has begun to fit
// is taken whole.
func (st *Stream) TryWrite(p []byte) (n int, err error) {
	st.s.mu.Lock()
	defer st.s.unlock()
	if err = st.tries(); err == nil && len(p) > 0 {
		st.writing = true
		n, err = st.fill(p)
		st.unlockWrite()
	}
	if err == nil && n < len(p) {
		err = ErrFull
	}
	return n, st.ioError("write", err)
}

// ErrFull is the error of what does not wait, when the stream has no room: its client
// is slow.
var ErrFull = errors.New("no room in the WriteBuffer")

// tries returns why nothing can be written now, or nil.
func (st *Stream) tries() error {
	switch err := st.writeErr(); {
	case err != nil:
		return err
	case st.writing:
		return ErrFull
	case st.space() > 0:
		return nil
	case st.cause != nil:
		return st.cause
	}
	st.makeRoom()
	return ErrFull
}

// makeRoom has go what is there, although the application may have more to say to the
// same body: nothing else would go for the rest of Grace.
func (st *Stream) makeRoom() {
	if st.s.working || st.s.h.o.Throttle {
		st.s.working = false
		st.s.settle(st.s.h.now())
	}
}

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
	var speakers rush
	defer speakers.start() // also if to panics
	for st := range to {
		speaks, err := st.share(h, event)
		if speaks {
			speakers.add(st.s)
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
				if st.framing.ByElement() && !yield(st) {
					return
				}
			}
		}
	}
}

// share queues an event of h, unless the stream cannot take it now. It reports whether
// the caller must see to it that the session speaks.
func (st *Stream) share(h *Handler, e *session.Event) (speak bool, err error) {
	if st.s.h != h {
		return false, errForeignStream
	}
	if !st.framing.ByElement() {
		return false, st.notElements("Broadcast", "Write")
	}
	st.s.mu.Lock()
	if err = st.tries(); err == nil && st.cut != nil && st.cut.Pending() {
		err = errPartial
	}
	if err == nil {
		before := st.out.Len()
		st.out.Share(e)
		st.spoken(before)
	}
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

// start has those speak that were added.
func (r *rush) start() {
	if sessions := r.sessions; len(sessions) > 0 {
		r.sessions = nil
		go func() {
			growStack(0)
			for _, s := range sessions {
				s.speaks()
			}
		}()
	}
}

// EncodeToken adds a token to the output, and Flush writes what was added. The
// namespaces of elements and attributes are those of their names; declarations
// among the attributes are not needed, and left out. An element whose name has
// no namespace is in that of its parent, unless it has an attribute xmlns="".
func (st *Stream) EncodeToken(t xml.Token) error {
	x := st.tokens()
	if x.enc == nil {
		x.enc = framing.NewTokenEncoder(st)
	}
	return x.enc.EncodeToken(t)
}

// Flush writes the tokens added by EncodeToken. It blocks and fails as Write
// does.
func (st *Stream) Flush() error {
	enc := st.tokens().enc
	if enc == nil {
		return nil
	}
	return enc.Flush()
}

// tokens returns the extras, for those that use the stream by tokens.
func (st *Stream) tokens() *extras {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.extra()
}

// extra returns the extras. It is called with the lock held.
func (st *Stream) extra() *extras {
	if st.extras == nil {
		st.extras = new(extras)
	}
	return st.extras
}

// late returns what was written after the client's end.
func (st *Stream) late() []byte {
	if st.extras == nil {
		return nil
	}
	return st.extras.late
}

// lockWrite waits for other Writes. Like all that writes, it is called with the
// lock held, and may release it meanwhile.
func (st *Stream) lockWrite(ctx context.Context) error {
	for st.writing {
		err := st.writeErr()
		if err == nil {
			err = st.wait(ctx, &st.unlocked, &st.wdeadline)
		}
		if err != nil {
			st.wake(&st.unlocked)
			return err
		}
	}
	st.writing = true
	return nil
}

// unlockWrite lets the next Write go on.
func (st *Stream) unlockWrite() {
	st.writing = false
	st.wake(&st.unlocked)
}

// writeErr returns why nothing can be written, or nil.
func (st *Stream) writeErr() error {
	switch {
	case st.closed:
		return net.ErrClosed
	case st.wdeadline.Expired():
		return os.ErrDeadlineExceeded
	case st.cause != nil && !st.lingers():
		return st.cause
	}
	return nil
}

// lingers reports whether writes are still taken although the client has ended
// the stream: an XMPP server has to end its own side, and may be in the middle
// of a reply. What is written then is undelivered.
func (st *Stream) lingers() bool {
	return st.framing.Headed() && st.cause == io.EOF && !st.ended
}

// room waits until there is room for output.
func (st *Stream) room(ctx context.Context) error {
	for {
		err, full := st.writeErr(), st.space() <= 0
		if err == nil && full {
			err = st.cause // then nobody will make room
		}
		if err != nil || !full {
			return err
		}
		st.makeRoom()
		if err := st.wait(ctx, &st.writable, &st.wdeadline); err != nil {
			return err
		}
	}
}

// fill queues what there is room for, and returns how much of p that was.
func (st *Stream) fill(p []byte) (n int, err error) {
	before := st.out.Len()
	defer func() { st.spoken(before) }()
	if st.cut == nil {
		st.cut = st.framing.Cutter(st.s.h.o.MaxElement, st.s.h.o.PassUpgrades)
	}
	if st.cut == nil {
		n = min(len(p), st.s.h.o.WriteBuffer-st.out.Len())
		st.out.Add(p[:n], 1)
		return n, nil
	}
	for n < len(p) && err == nil && st.space() > 0 {
		var r framing.Run
		r, err = st.cutRun(p[n:])
		before = min(before, st.out.Len()) // the client may have been given it meanwhile
		if r.Count > 0 {
			refused := st.queue(r.Elements, int64(r.Count))
			if r.Owned {
				buffer.Rest(r.Elements)
			}
			if refused != nil {
				return n, refused
			}
			if r.Restart {
				st.restarts = called
			}
		}
		st.turn(&r.Next)
		n += r.Took
	}
	if err != nil {
		st.s.unlock()
		st.CloseWithError(&Error{Condition: InternalServerError, Err: err})
		st.s.mu.Lock()
	}
	return n, err
}

// spoken is called when there is more output, of which there were so many bytes
// before, or its end has come. What was there already has been settled, and an answer
// that is under way takes the rest along, or is settled when it is done.
func (st *Stream) spoken(before int) {
	s := st.s
	switch {
	case s.writing == nil && (before == 0 || s.final != nil || st.final != nil):
		s.settle(s.h.now())
	case worthAccounting(before, st.out.Len()):
		s.account()
	}
}

// space returns how many bytes may be queued.
func (st *Stream) space() int { return st.s.h.o.WriteBuffer - st.out.Len() - len(st.late()) }

// cutRun cuts from p what there is space for, without the lock.
func (st *Stream) cutRun(p []byte) (framing.Run, error) {
	space := st.space()
	st.s.unlock()
	defer st.s.mu.Lock()
	return st.cut.CutRun(p, space)
}

// queue queues n elements: all or none.
func (st *Stream) queue(b []byte, n int64) error {
	switch {
	case st.cause != nil && !st.lingers():
		return st.cause
	case st.ended || st.closed:
		return net.ErrClosed
	case st.cause != nil:
		x := st.extra()
		x.late = append(x.late, b...)
		return nil
	}
	st.out.Add(b, n)
	return nil
}

// turn does what an item means that is no element for the client.
func (st *Stream) turn(it *framing.Item) {
	switch it.Kind {
	case framing.Header:
		st.restarts = uncalled
		if !st.announced {
			st.head = it.Head
		}
	case framing.End:
		st.ended = true
		st.finish(nil)
	case framing.Error:
		st.ended = true
		st.finish(&Error{Condition: RemoteStreamError, Payload: append([]byte(nil), it.XML...)})
	}
}

// taken is called when the client is given the output.
func (st *Stream) taken() {
	st.given += int64(st.carried())
	st.s.stats.PayloadsOut += st.out.Take()
	st.foreign = 0
	st.wake(&st.writable)
}

// finish makes the stream end by e, or gracefully, when its output has gone. Reading goes on
// until then. It does nothing if the end has come already.
func (st *Stream) finish(e *Error) {
	switch {
	case st.final != nil || st.s.final != nil || st.s.ended || st.cause != nil:
	case st.s.streams.others(st):
		st.final = orGraceful(e)
	default:
		st.s.final = orGraceful(e)
	}
}

// lapse ends the stream because ctx is done, which Admit has returned for it; unless
// that is so because the session's is.
func (st *Stream) lapse(ctx context.Context) {
	e := lapsed(ctx)
	st.s.mu.Lock()
	if st.s.scope.Values().Err() != nil || st.cause != nil {
		st.s.mu.Unlock()
		return
	}
	st.lapsed = true
	st.finish(e)
	st.s.settle(st.s.h.now())
	st.s.unlock()
	st.s.h.streamLapsed(st.s, e)
}

// end ends the stream by cause. The input so far can still be read.
func (st *Stream) end(cause error) {
	if st.cause != nil {
		return
	}
	st.cause = cause
	// An XMPP server is told by the end tag, whoever ended first.
	if end := st.framing.End(); cause == io.EOF && end != "" && !st.closed {
		st.in.Element(append(st.in.Buffer(0), end...), true)
	}
	st.wakeReader()
	st.wake(&st.writable)
	if st.member != nil {
		cancel := st.member.scope.Cancel()
		st.s.streams.todo(func() { cancel(cause) })
	}
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
	st.in.Clear()
	st.s.rests()
	st.rdeadline.Set(&st.s.mu, time.Time{}, nil)
	st.wdeadline.Set(&st.s.mu, time.Time{}, nil)
	st.wakeReader()
	st.wake(&st.writable)
	if st.recount(); st.s.ended { // as mostly, when the application has been told of the end
		st.s.account()
		st.handBack()
	} else {
		st.s.settle(st.s.h.now())
	}
	return nil
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
	st.s.mu.Lock()
	defer st.s.unlock()
	if st.cause == nil || !st.s.ended && !st.gone && st.final != nil {
		return nil
	}
	of := framing.Undelivered{Name: st.Name(), First: st.member == nil || !st.member.added}
	for _, body := range st.s.win.Unproven() {
		for _, data := range st.framing.Payloads(&of, body) {
			lost = append(lost, Payload{Data: data, Sent: true})
		}
	}
	for _, data := range st.framing.Rest(st.out.Bytes(), st.late()) {
		lost = append(lost, Payload{Data: data})
	}
	return lost
}

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
func (st *Stream) Proven() int64 {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.proven()
}

// proven is Proven, called with the lock held.
func (st *Stream) proven() int64 { return st.given - st.s.win.Doubtful(st.number()) }

// number returns a number for the stream in its session.
func (st *Stream) number() uint16 {
	if st.member == nil {
		return 0
	}
	return st.member.n
}

// carried returns how much of what the application has written is in out.
func (st *Stream) carried() uint32 {
	return st.framing.Amount(st.out.Bytes(), st.out.Count()-int64(st.foreign))
}

// OnProven has f called with what Proven returns, when that has grown; and soon if it
// is not 0 by now. The calls come one after the other, in a goroutine that there is
// only meanwhile, and n grows from each to the next, by what has been proven in
// between: f may block, and nothing but f waits for it. There may be calls after the
// end of the stream, but none when [Options.Undelivered] has been called. If f panics, that
// is logged, and the stream ends by [InternalServerError]. A later OnProven replaces
// f, and nil ends the calls.
func (st *Stream) OnProven(f func(n int64)) {
	st.s.mu.Lock()
	defer st.s.unlock()
	if f == nil && st.extras == nil {
		return
	}
	st.extra().prover = f
	st.prove()
}

// prove has whoever wants to know told how much is proven, if that is more than
// before. It is called with the lock held.
func (st *Stream) prove() {
	if x := st.extras; x != nil && x.prover != nil && !x.proving && st.proven() > x.told {
		x.proving = true
		go st.tellProven()
	}
}

// tellProven calls the function of OnProven until there is nothing new.
func (st *Stream) tellProven() {
	goesOn := false
	defer st.s.h.served(st, "OnProven", &goesOn)
	defer func() {
		if !goesOn { // f has panicked
			st.s.mu.Lock()
			defer st.s.mu.Unlock()
			st.extras.prover, st.extras.proving = nil, false
			st.handBack()
		}
	}()
	for {
		f, n := st.nextProven()
		if goesOn = f == nil; goesOn {
			return
		}
		f(n)
	}
}

// nextProven returns what is to be called, and with what, or nil. Then there is no
// goroutine any more.
func (st *Stream) nextProven() (f func(int64), n int64) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	x := st.extras
	if n = st.proven(); x.prover == nil || n <= x.told {
		x.proving = false
		st.handBack()
		return nil, 0
	}
	x.told = n
	return x.prover, n
}

// handBack has Options.Undelivered called if nothing more can be written or proven. It
// is called with the lock held.
func (st *Stream) handBack() {
	if st.owed && st.closed && (st.s.ended || st.gone) && (st.extras == nil || !st.extras.proving) {
		st.owed = false
		go st.s.h.handBack(st)
	}
}

// why returns why the stream has ended.
func (st *Stream) why() error {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if st.final != nil {
		return st.final.cause()
	}
	return st.s.cause()
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
	return st.setDeadline(&st.rdeadline, t, st.wakeReader)
}

// SetWriteDeadline is SetReadDeadline for Write, WriteElement and Flush.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	return st.setDeadline(&st.wdeadline, t, func() {
		st.wake(&st.writable)
		st.wake(&st.unlocked)
	})
}

func (st *Stream) setDeadline(d *netconn.Deadline, t time.Time, passed func()) error {
	st.s.mu.Lock()
	defer st.s.unlock()
	if st.closed {
		return st.opError("set", net.ErrClosed)
	}
	d.Set(&st.s.mu, t, passed)
	return nil
}

// LocalAddr returns the address that the request which opened the stream came
// in on. It is never nil.
func (st *Stream) LocalAddr() net.Addr { return st.local }

// RemoteAddr returns the address of the client, as [Session.RemoteAddr] does.
// It is never nil.
func (st *Stream) RemoteAddr() net.Addr { return st.s.RemoteAddr() }

// Name returns the stream's name on the wire: empty unless
// [Options.MaxStreams] allows for several streams.
func (st *Stream) Name() string {
	if st.member == nil {
		return ""
	}
	return st.member.name
}

// Opening returns what the client said when it opened the stream, as Admit left
// it; and, after a restart, as the restart changed it.
func (st *Stream) Opening() Opening {
	st.s.mu.Lock()
	defer st.s.unlock()
	return *st.opening
}

// Session returns the session that the stream belongs to.
func (st *Stream) Session() *Session { return st.s }

// Context returns a context that is cancelled when the stream ends. It descends
// from the one that Admit returned.
func (st *Stream) Context() context.Context {
	if st.member == nil {
		return st.s.Context()
	}
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.member.scope.Context(st.cause)
}

func (st *Stream) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "bosh", Source: st.local, Addr: st.RemoteAddr(), Err: err}
}
