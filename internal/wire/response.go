package wire

import (
	"encoding/base64"
	"slices"
	"strconv"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// The fixed parts of a response. All clients in use can read this form: no prefix on body,
// no XML declaration, no white space around the payloads, and single quotes.
const (
	open  = "<body xmlns='" + NS + "'"
	end   = "</body>"
	Blank = open + "/>"              // the empty response
	Again = open + " type='error'/>" // the recoverable error
)

// A Response is a <body/> for a client. Zero fields are left out.
type Response struct {
	Granted      *Granted // creation response only
	Ack          int64
	Report, Time int64 // milliseconds
	Stream, From string
	Version      string // of the XMPP stream
	AuthID       string
	XMPP         bool // the prefix stream may occur in the payloads

	Terminate bool
	Condition string
	URI       string // goes into the body as an element

	Payload []byte // elements, or bytes if Opaque is set
	Whole   []byte // the response that says nothing but Payload, if there is one: see Wrap
	Opaque  string // namespace of the element that carries the bytes
	Last    []byte // elements behind all others
}

// Granted is a creation response's description of the session. Negative numbers are left
// out.
type Granted struct {
	SID, Ver, Accept              string
	Wait, Hold, Requests          int64
	Polling, Inactivity, MaxPause int64 // seconds
	Restarts                      bool
}

// Empty reports whether r is the empty response.
func (r *Response) Empty() bool { return r.bare() && len(r.Payload) == 0 }

// bare reports whether r says nothing but its payload.
func (r *Response) bare() bool {
	return r.Granted == nil && r.Ack <= 0 && r.Report <= 0 && r.Stream == "" && r.From == "" &&
		r.Version == "" && r.AuthID == "" && !r.Terminate && r.URI == "" && len(r.Last) == 0
}

// Wrap returns the response with just these elements, for Whole, and the elements in it.
func Wrap(elements []byte) (whole, payload []byte) {
	whole = (&Response{Payload: elements}).Bytes(nil)
	i := len(whole) - len(end) - len(elements)
	return whole, whole[i : i+len(elements) : i+len(elements)]
}

// Bytes returns the response: The answer is Whole if possible. Otherwise it is in room, if
// that is large enough for an answer with payloads, and not much too large. Otherwise it is
// in a buffer of its exact size.
func (r *Response) Bytes(room []byte) []byte {
	if r.Whole != nil && r.bare() {
		return r.Whole
	}
	var head [512]byte
	b := r.start(append(head[:0], open...))
	payload := len(r.Payload)
	if r.Opaque != "" && payload > 0 {
		payload = base64.StdEncoding.EncodedLen(payload) + len(dataOpen) + len(r.Opaque) + len(dataClose) + 2
	}
	last := r.Last
	if r.URI != "" {
		last = append(slices.Clip(last), uriOpen...)
		last = append(xmlscan.AppendEscaped(last, r.URI), uriClose...)
	}
	if payload+len(last) == 0 {
		return append(make([]byte, 0, len(b)+2), append(b, "/>"...)...)
	}
	if size := len(b) + 1 + payload + len(last) + len(end); size > cap(room) || size < cap(room)/2 {
		room = make([]byte, 0, size)
	}
	out := append(append(room[:0], b...), '>')
	switch {
	case r.Opaque == "":
		out = append(out, r.Payload...)
	case len(r.Payload) > 0:
		out = append(append(append(out, dataOpen...), r.Opaque...), "'>"...)
		out = appendBase64(out, r.Payload)
		out = append(out, dataClose...)
	}
	out = append(out, last...)
	return append(out, end...)
}

const (
	dataOpen  = "<data xmlns='"
	dataClose = "</data>"
	uriOpen   = "<uri>"
	uriClose  = "</uri>"
)

// start appends the attributes.
func (r *Response) start(b []byte) []byte {
	if r.Granted != nil {
		b = r.Granted.append(b)
	}
	if r.Ack > 0 {
		b = number(b, "ack", r.Ack)
	}
	if r.Report > 0 {
		b = number(number(b, "report", r.Report), "time", r.Time)
	}
	b = attr(b, "stream", r.Stream)
	b = attr(b, "from", r.From)
	b = attr(b, "authid", r.AuthID)
	if r.Terminate {
		b = attr(b, "type", "terminate")
	}
	b = attr(b, "condition", r.Condition)
	b = attr(b, "xmpp:version", r.Version)
	if r.Version != "" || r.Granted != nil && r.Granted.Restarts {
		b = attr(b, "xmlns:xmpp", NSXBOSH)
	}
	if r.XMPP && len(r.Payload)+len(r.Last) > 0 {
		b = attr(b, "xmlns:stream", NSStream)
	}
	return b
}

func (g *Granted) append(b []byte) []byte {
	b = attr(b, "sid", g.SID)
	b = number(b, "wait", g.Wait)
	b = number(b, "hold", g.Hold)
	b = number(b, "requests", g.Requests)
	b = number(b, "polling", g.Polling)
	b = number(b, "inactivity", g.Inactivity)
	b = number(b, "maxpause", g.MaxPause)
	b = attr(b, "ver", g.Ver)
	b = attr(b, "accept", g.Accept)
	if g.Restarts {
		b = attr(b, "xmpp:restartlogic", "true")
	}
	return b
}

// attr appends an attribute unless it is empty.
func attr(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return xmlscan.AppendAttr(b, name, value)
}

// number appends an attribute unless it is negative.
func number(b []byte, name string, n int64) []byte {
	if n < 0 {
		return b
	}
	b = append(append(append(b, ' '), name...), "='"...)
	return append(strconv.AppendInt(b, n, 10), '\'')
}

// TextXML is the Content-Type of all answers unless the client asks for another.
const TextXML = "text/xml; charset=utf-8"
