package framing

import (
	"bytes"
	"slices"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/wire"
)

// A Framing says what the bytes of a stream are. All code that depends on it is here: the
// application's input and output, and the content of answers. A new one is a fourth
// implementation.
type Framing interface {
	// String returns its name.
	String() string

	// Headed reports whether the stream has a header and an end tag of its own, as an
	// XMPP stream has. Then the client must name a host, the application speaks first,
	// the client can restart the stream, and the application ends its own side.
	Headed() bool

	// ByElement reports whether the application may read and write element by element.
	ByElement() bool

	// AppendHeader appends the application's input at the beginning, or nothing.
	AppendHeader(b []byte, h Head) []byte

	// End returns the application's input at the end, or nothing.
	End() string

	// KeepAlive returns the application's input for an empty request, if the Handler is
	// to report those, or nothing.
	KeepAlive() string

	// Feed appends the payloads of a request to the input: all or none. It reports
	// whether the framing allows them.
	Feed(in *buffer.Inbox, req *wire.Request, payloads []wire.Payload) bool

	// Upgrades returns the upgrades for which payloads of the client ask.
	Upgrades(payloads []wire.Payload) Upgrade

	// Cutter returns a Cutter of the output into elements of at most max bytes, or nil if
	// it may be cut anywhere. With pass it hands offers of upgrades on.
	Cutter(max int, pass bool) *Cutter

	// Marks returns the marks of an answer with output: whether the prefix stream may
	// occur in it, and the namespace of the element around it, if it is bytes. It takes
	// no answer to fill in: such an answer would be on the heap.
	Marks() (xmpp bool, opaque string)

	// Amount returns the amount of output, given its number of elements: that number, or
	// its bytes if it may be cut anywhere.
	Amount(out []byte, elements int64) uint32

	// Payloads returns the payloads of a stream in a sent answer.
	Payloads(of *Undelivered, answer []byte) [][]byte

	// Rest returns the payloads in unsent output, and in late output after the client's
	// end.
	Rest(out, late []byte) [][]byte
}

// The framings.
type (
	XMPPStream    struct{} // what an XMPP server sees on TCP
	ElementStream struct{} // a sequence of XML elements
	OpaqueStream  struct{} // any bytes
)

// All has all framings, in the order of the root package's constants.
var All = [...]Framing{XMPPStream{}, ElementStream{}, OpaqueStream{}}

func (XMPPStream) String() string    { return "XMPP" }
func (ElementStream) String() string { return "Elements" }
func (OpaqueStream) String() string  { return "Opaque" }

func (XMPPStream) Headed() bool      { return true }
func (XMPPStream) ByElement() bool   { return false }
func (XMPPStream) End() string       { return "</stream:stream>" }
func (XMPPStream) KeepAlive() string { return " " } // RFC 6120, section 4.6.1

func (XMPPStream) AppendHeader(b []byte, h Head) []byte { return h.Append(b) }

func (XMPPStream) Feed(in *buffer.Inbox, req *wire.Request, payloads []wire.Payload) bool {
	if slices.ContainsFunc(req.Payloads, streamTag) {
		return false // it would be a header to a server, and no element
	}
	feed(in, req, payloads, req.AppendStanza)
	return true
}

// streamTag reports whether an element has the name of an XMPP stream.
func streamTag(p wire.Payload) bool {
	return string(p.Local) == "stream" && string(p.URI) == wire.NSStream
}

func (XMPPStream) Upgrades(payloads []wire.Payload) (asked Upgrade) {
	for i := range payloads {
		asked |= AsksFor(payloads[i].Local, payloads[i].URI)
	}
	return asked
}

func (XMPPStream) Cutter(max int, pass bool) *Cutter {
	if pass {
		return NewXMPP(max)
	}
	return NewPlain(max)
}

func (XMPPStream) Marks() (xmpp bool, opaque string) { return true, "" }

func (XMPPStream) Payloads(of *Undelivered, answer []byte) [][]byte {
	return of.payloads(answer, func(req *wire.Request, p wire.Payload) []byte {
		if string(p.URI) == wire.NSStream || IsFailure(p.Local, p.URI) {
			return nil // about the stream itself
		}
		return req.AppendElement(nil, p)
	})
}

func (XMPPStream) Amount(_ []byte, elements int64) uint32 { return uint32(elements) }

func (f XMPPStream) Rest(out, late []byte) [][]byte { return rest(f, out, late) }

func (ElementStream) Headed() bool                         { return false }
func (ElementStream) ByElement() bool                      { return true }
func (ElementStream) End() string                          { return "" }
func (ElementStream) KeepAlive() string                    { return "" }
func (ElementStream) AppendHeader(b []byte, _ Head) []byte { return b }
func (ElementStream) Upgrades([]wire.Payload) Upgrade      { return NoUpgrade }
func (ElementStream) Cutter(max int, _ bool) *Cutter       { return NewElements(max) }
func (ElementStream) Marks() (xmpp bool, opaque string)    { return false, "" }
func (ElementStream) Amount(_ []byte, n int64) uint32      { return uint32(n) }
func (f ElementStream) Rest(out, late []byte) [][]byte     { return rest(f, out, late) }

func (ElementStream) Feed(in *buffer.Inbox, req *wire.Request, payloads []wire.Payload) bool {
	feed(in, req, payloads, req.AppendElement)
	return true
}

func (ElementStream) Payloads(of *Undelivered, answer []byte) [][]byte {
	return of.payloads(answer, func(req *wire.Request, p wire.Payload) []byte { return req.AppendElement(nil, p) })
}

func (OpaqueStream) Headed() bool                         { return false }
func (OpaqueStream) ByElement() bool                      { return false }
func (OpaqueStream) End() string                          { return "" }
func (OpaqueStream) KeepAlive() string                    { return "" }
func (OpaqueStream) AppendHeader(b []byte, _ Head) []byte { return b }
func (OpaqueStream) Upgrades([]wire.Payload) Upgrade      { return NoUpgrade }
func (OpaqueStream) Cutter(int, bool) *Cutter             { return nil }
func (OpaqueStream) Marks() (xmpp bool, opaque string)    { return false, wire.NSOpaque }
func (OpaqueStream) Amount(out []byte, _ int64) uint32    { return uint32(len(out)) }

func (OpaqueStream) Feed(in *buffer.Inbox, req *wire.Request, payloads []wire.Payload) bool {
	b := in.Buffer(len(req.Body) / 4 * 3)
	for _, p := range payloads {
		var ok bool
		if b, ok = wire.AppendData(b, req, p, wire.NSOpaque); !ok {
			return false
		}
	}
	in.Bytes(b)
	return true
}

func (OpaqueStream) Payloads(of *Undelivered, answer []byte) [][]byte {
	return of.payloads(answer, func(req *wire.Request, p wire.Payload) []byte {
		data, _ := wire.AppendData([]byte{}, req, p, wire.NSOpaque)
		return data
	})
}

func (OpaqueStream) Rest(out, _ []byte) [][]byte {
	if len(out) == 0 {
		return nil
	}
	return [][]byte{bytes.Clone(out)}
}

// feed appends elements to the input.
func feed(in *buffer.Inbox, req *wire.Request, payloads []wire.Payload, add func([]byte, wire.Payload) []byte) {
	in.Buffer(len(req.Body)) // at once for all of them
	for i, p := range payloads {
		in.Element(add(in.Buffer(0), p), i == len(payloads)-1)
	}
}

// rest is Rest for streams of XML.
func rest(f Framing, out, late []byte) [][]byte {
	a := wire.Response{XMPP: true, Payload: append(slices.Clip(out), late...)}
	return f.Payloads(&Undelivered{First: true}, a.Bytes(nil))
}
