package session

import (
	"bytes"
	"io"
	"math"
	"net"
	"slices"
	"time"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/wire"
)

// A Stream is one stream of a Machine: its input, its output and its end. Its owner
// waits, for the application, and keeps it in something larger.
//
//	client sends   ──► In ──► the application reads
//	client is told ◄── Out ◄── the application writes
//
// The stream is open until cause is set, and nothing more comes in. It has an end of its
// own, final, only if the session has other streams.
type Stream struct {
	Opening *Opening // shared, so it is not changed, but may be replaced
	Framing framing.Framing
	Name    string // as answers have it; empty unless the session may have several streams
	Owner   any    // what keeps it
	In      buffer.Inbox

	cause error         // the end: an End, or io.EOF
	Out   Outbox        // written, and waiting for the client
	late  *[]byte       // written after the client's end
	given int64         // what the client has been given: see carried
	final *End          // how the stream ends once its output has gone; nil while it lives
	head  *framing.Head // the server's header, which must be told to the client

	counted   int      // what Machine.unread has of the input
	away      int16    // goroutines that have read something, and have not come back for more: see Returns
	foreign   uint16   // payloads in Out that the application has not written
	number    uint16   // how many others the session had before
	intake    intake   // whether it takes anything of the client
	naming    naming   // whether the client has been told the stream's name
	restarts  restarts // whether the client has to restart the XMPP stream
	announced bool     // the header has been told, which is done once
	ended     bool     // the application has written the end of the XMPP stream
	Gone      bool     // it has left its session, and the client has all that it was given
	wake      Wake

	Writing bool // its owner's: a Write is under way
	Owed    bool // its owner's: the application is to be told what was not delivered
}

// intake says whether a stream takes anything of the client. It only grows.
//
//	takes ──► lapsed ──► closed
type intake uint8

const (
	takes  intake = iota
	lapsed        // the client's time is over
	closed        // the application has closed the stream
)

// naming says whether the client has been told a stream's name.
//
//	hidden ──► named ◄── untold
//	   └────────────────────▲
type naming uint8

const (
	named  naming = iota // it has, or need not be
	hidden               // the answer to the stream's opening will, and speaks for it alone
	untold               // the next answer will
)

// restarts says whether the client has to restart an XMPP stream. Each header of the
// server, and each restart, begins anew.
//
//	uncalled ──► called
//	    └──────► wasted
type restarts uint8

const (
	uncalled restarts = iota // nothing that the server has written since its header calls for it
	wasted                   // nor now, and the client has done so all the same
	called                   // the server has called for it
)

// A Wake says which waiting user of a stream is to look again.
type Wake uint8

const (
	WakeReader Wake = 1 << iota // there is input, or the end of it
	WakeWriter                  // there is room for output, or none will be
	WakeEnd                     // the stream has ended
)

// TakeWake returns the users to look again. It is an effect, like those of the Machine.
func (st *Stream) TakeWake() Wake {
	w := st.wake
	st.wake = 0
	return w
}

// Opening is the client's wish at the opening of a stream.
type Opening struct {
	To, From, Lang, Route, Version string
	Framing                        framing.Framing
	Wait                           time.Duration
	Attr                           []wire.Attr
}

// attrSize is the size of an Attr besides its texts, each rounded up, in bytes.
const attrSize = 48 + 3*8

// size returns how many bytes the client has had us keep.
func (o *Opening) size() int {
	n := len(o.To) + len(o.From) + len(o.Lang) + len(o.Route) + len(o.Version)
	for _, a := range o.Attr {
		n += attrSize + len(a.Space) + len(a.Local) + len(a.Value)
	}
	return n
}

// Same reports whether o can stand for p. One with Attr stands for itself.
func (o *Opening) Same(p *Opening) bool {
	return o.To == p.To && o.From == p.From && o.Lang == p.Lang && o.Route == p.Route &&
		o.Version == p.Version && o.Framing == p.Framing && o.Wait == p.Wait && o.Attr == nil && p.Attr == nil
}

// Open reports whether the client may still send to the stream.
func (st *Stream) Open() bool { return st.cause == nil }

// Cause returns why the stream has ended, or nil: io.EOF, or an End.
func (st *Stream) Cause() error { return st.cause }

// Final returns the past or future end of the stream, if it is one of its own.
func (st *Stream) Final() *End { return st.final }

// Closed reports whether the application has closed the stream.
func (st *Stream) Closed() bool { return st.intake == closed }

// Late returns the output after the client's end.
func (st *Stream) Late() []byte {
	if st.late == nil {
		return nil
	}
	return *st.late
}

// Added reports whether the session had another stream before.
func (st *Stream) Added() bool { return st.number > 0 }

// pending reports whether the stream has something for the client.
func (st *Stream) pending() bool { return st.naming != hidden && st.speaks() }

// speaks is pending for the answer to the stream's own opening.
func (st *Stream) speaks() bool { return !st.Out.Empty() || st.final != nil || st.naming == untold }

// busy reports whether the application has input to work on.
func (st *Stream) busy() bool { return st.intake != closed && (st.In.Len() > 0 || st.away > 0) }

// Greet makes up the header of an XMPP client.
func (st *Stream) Greet() {
	if !st.Framing.Headed() {
		return
	}
	o := st.Opening
	st.In.Element(st.Framing.AppendHeader(st.In.Buffer(0), framing.Head{To: o.To, From: o.From, Version: o.Version, Lang: o.Lang}), true)
	st.wake |= WakeReader
}

// restart begins the XMPP stream anew. Missing values are as at the beginning.
func (st *Stream) restart(req *wire.Request) {
	o := *st.Opening
	o.To, o.Lang, o.From = or(req.To, o.To), or(req.Lang, o.Lang), or(req.From, o.From)
	if !o.Same(st.Opening) {
		st.Opening = &o
	}
	st.restarts = uncalled
	st.Greet()
}

// or returns value, or def if there is none.
func or(value []byte, def string) string {
	if len(value) == 0 {
		return def
	}
	return string(value)
}

// feed appends the payloads of a request to the input of st: all or none. The client is
// refused all upgrades, and the application does not see its wish.
func (m *Machine) feed(st *Stream, req *wire.Request) (condition string) {
	if st.intake != takes {
		return "" // it reads no more
	}
	payloads, asked := req.Payloads, framing.NoUpgrade
	if !m.cfg.PassUpgrades {
		asked = st.Framing.Upgrades(payloads)
	}
	if asked != framing.NoUpgrade {
		payloads = slices.DeleteFunc(slices.Clone(payloads), func(p wire.Payload) bool {
			return framing.AsksFor(p.Local, p.URI) != framing.NoUpgrade
		})
	}
	if !st.Framing.Feed(&st.In, req, payloads) {
		return BadRequest
	}
	if asked != framing.NoUpgrade {
		m.refuseUpgrades(st, asked)
	}
	st.wake |= WakeReader
	return ""
}

// refuseUpgrades refuses the client's upgrades: once, until it has taken the refusal.
func (m *Machine) refuseUpgrades(st *Stream, asked framing.Upgrade) {
	for _, u := range framing.Upgrades {
		failure := []byte(u.Failure())
		if asked&u != 0 && !bytes.Contains(st.Out.Bytes(), failure) && st.final == nil && m.final == nil {
			st.Out.Add(failure, 1)
			st.foreign++
		}
	}
}

// keepAlive puts a space into the streams of a request without payloads: a client on TCP
// shows its presence by one. It is left out if other input waits, or if the application
// next expects the header of a new stream. RFC 6120, section 4.6.1.
func (m *Machine) keepAlive(req *wire.Request) {
	for _, st := range m.streams.All() {
		if !st.Open() || len(req.Stream) > 0 && m.Grant.Streams && st.Name != string(req.Stream) {
			continue
		}
		if space := st.Framing.KeepAlive(); space != "" && st.intake == takes && st.restarts != called && st.In.Len() == 0 {
			st.In.Element(append(st.In.Buffer(0), space...), true)
			st.wake |= WakeReader
		}
	}
}

// Goes takes note of a reader going off with input.
func (st *Stream) Goes() { st.away = min(st.away+1, math.MaxInt16-1) }

// Returns takes note of a reader coming for input of st, perhaps once more. It reports
// whether Settle is to be called.
func (m *Machine) Returns(st *Stream) (settle bool) {
	if st.away = max(st.away-1, 0); !st.busy() {
		return m.rests()
	}
	return false
}

// Consumed takes note of input of st that was read, lent or repaid. There were so many
// bytes before. It reports whether Settle is to be called.
func (m *Machine) Consumed(st *Stream, before int) (settle bool) {
	if before > m.cfg.ReadBuffer && !m.full() {
		return true // the client need not wait any more
	}
	if d := m.countInput(st); d >= worthCounting || d <= -worthCounting || d != 0 && m.phase == Ended {
		m.account = true
	}
	return false
}

// countInput counts the kept input of a stream, and returns its growth since the last time.
func (m *Machine) countInput(st *Stream) (d int) {
	d = st.In.Size() - st.counted
	st.counted += d
	m.unread += d
	return d
}

// Space returns how many bytes st may queue.
func (m *Machine) Space(st *Stream) int { return m.cfg.WriteBuffer - st.Out.Len() - len(st.Late()) }

// Cutter returns the cutter for the output of st, or nil if it may be cut anywhere.
func (m *Machine) Cutter(st *Stream) *framing.Cutter {
	return st.Framing.Cutter(m.cfg.MaxElement, m.cfg.PassUpgrades)
}

// Lingers reports whether writes are still taken after the client's end: an XMPP server has
// to end its own side, and may be in the middle of a reply. Such output is undelivered.
func (st *Stream) Lingers() bool { return st.Framing.Headed() && st.cause == io.EOF && !st.ended }

// WriteErr returns why nothing can be written, or nil.
func (st *Stream) WriteErr() error {
	switch {
	case st.intake == closed:
		return net.ErrClosed
	case st.cause != nil && !st.Lingers():
		return st.cause
	}
	return nil
}

// Queue queues n payloads of the application: all or none.
func (st *Stream) Queue(b []byte, n int64) error {
	switch {
	case st.cause != nil && !st.Lingers():
		return st.cause
	case st.ended || st.intake == closed:
		return net.ErrClosed
	case st.cause != nil:
		if st.late == nil {
			st.late = new([]byte)
		}
		*st.late = append(*st.late, b...)
		return nil
	}
	st.Out.Add(b, n)
	return nil
}

// Called takes note of the application's call for a restart.
func (st *Stream) Called() { st.restarts = called }

// Item handles an item that is no element for the client.
func (m *Machine) Item(st *Stream, it *framing.Item) {
	switch it.Kind {
	case framing.Header:
		st.restarts = uncalled
		if !st.announced {
			st.head = it.Head
		}
	case framing.End:
		st.ended = true
		m.Finish(st, nil)
	case framing.Error:
		st.ended = true
		m.Finish(st, &End{Condition: RemoteStreamError, Payload: append([]byte(nil), it.XML...)})
	}
}

// Spoken is called when there is more output of st, or its end has come. There were so many
// bytes before. It reports whether Settle is to be called. Earlier output has been settled.
// An answer under way takes the rest along, or is settled when it is done.
func (m *Machine) Spoken(st *Stream, before int) (settle bool) {
	switch {
	case m.writing == nil && (before == 0 || m.final != nil || st.final != nil):
		return true
	case worthAccounting(before, st.Out.Len()):
		m.account = true
	}
	return false
}

// carried returns the amount of the application's output in Out.
func (st *Stream) carried() uint32 {
	return st.Framing.Amount(st.Out.Bytes(), st.Out.Count()-int64(st.foreign))
}

// taken is called when the client is given the output. It returns the number of payloads.
func (st *Stream) taken() (n int64) {
	st.given += int64(st.carried())
	n, st.foreign = st.Out.Take(), 0
	st.wake |= WakeWriter
	return n
}

// Proven returns the amount of output of st that the client has beyond doubt.
func (m *Machine) Proven(st *Stream) int64 { return st.given - m.win.Doubtful(st.number) }

// AllProven reports whether the client has all output given to it.
func (m *Machine) AllProven(st *Stream) bool { return m.win.Doubtful(st.number) == 0 }

// Finish makes st end by e, or gracefully, when its output has gone. Reading goes on
// until then. It does nothing if the end has come already.
func (m *Machine) Finish(st *Stream, e *End) {
	if st.final != nil || m.phase != Running || st.cause != nil {
		return
	}
	if e == nil {
		e = new(End)
	}
	if m.streams.others(st) {
		st.final = e
	} else {
		m.finish(e)
	}
}

// LapseStream is Finish for a client without a right to the stream any more.
func (m *Machine) LapseStream(now time.Duration, st *Stream, e *End) {
	st.intake = max(st.intake, lapsed)
	m.Finish(st, e)
	m.Settle(now)
}

// Close closes st by e, or gracefully.
func (m *Machine) Close(now time.Duration, st *Stream, e *End) {
	st.intake = closed
	m.Finish(st, e)
	st.In.Clear()
	m.rests() // it is settled below
	st.wake |= WakeReader | WakeWriter
	m.countInput(st)
	if m.phase == Ended { // as mostly, when the application has been told of the end
		m.account = true
	} else {
		m.Settle(now)
	}
}

// end ends the stream by cause. The input so far can still be read.
func (st *Stream) end(cause error) {
	if st.cause != nil {
		return
	}
	st.cause = cause
	// An XMPP server is told by the end tag, after any end.
	if end := st.Framing.End(); cause == io.EOF && end != "" && st.intake != closed {
		st.In.Element(append(st.In.Buffer(0), end...), true)
	}
	st.wake |= WakeReader | WakeWriter | WakeEnd
}
