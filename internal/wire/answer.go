package wire

import (
	"bytes"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// An Answer is a <body/> received from a server: a [Response] on the client's side. The
// attributes shared with requests are in the Request, with the same rules for its byte
// slices.
type Answer struct {
	Request

	Requests, Polling, Inactivity, MaxPause, Report Number
	AuthID                                          []byte
}

// toleratedInAnswers is in force without being declared. Servers in front of an XMPP server
// may forget its prefix.
var toleratedInAnswers = []xmlscan.Binding{tolerated[0], {Prefix: "stream", URI: NSStream}}

// Reset forgets the parsed parts but keeps the buffers.
func (a *Answer) Reset() {
	r := a.Request
	*a = Answer{Request: r}
	a.Request.Reset()
}

// Parse reads a.Body. It may be any bytes. The elements in it take memory for each, so there
// may be as many as whole ones with a namespace have room.
func (a *Answer) Parse() error {
	a.answer = a
	defer func() { a.answer = nil }() // an Answer may be copied
	return a.Request.Parse(Limits{Attrs: Ours.Attrs, Bindings: Ours.Bindings, Payloads: 4096 + len(a.Body)/12})
}

// known takes an attribute unknown in requests.
func (a *Answer) known(x *xmlscan.Attr) bool {
	switch string(x.Local) {
	case "requests":
		a.Requests = parseNumber(a.value(x))
	case "polling":
		a.Polling = parseNumber(a.value(x))
	case "inactivity":
		a.Inactivity = parseNumber(a.value(x))
	case "maxpause":
		a.MaxPause = parseNumber(a.value(x))
	case "report":
		a.Report = parseNumber(a.value(x))
	case "authid":
		a.AuthID = a.value(x)
	default:
		return false
	}
	return true
}

// Text returns the character data of p, without white space around it, or nothing if
// there are elements or sections in it.
func (a *Answer) Text(p Payload) string {
	b := a.Body[p.nameEnd:p.end]
	i := xmlscan.TagEnd(b) + 1
	j := bytes.LastIndexByte(b, '<')
	if j < i || bytes.IndexByte(b[i:j], '<') >= 0 {
		return ""
	}
	return string(bytes.TrimSpace(xmlscan.Unescape(nil, b[i:j])))
}
