package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

const (
	nsStanzaErrors = "urn:ietf:params:xml:ns:xmpp-stanzas"
	nsChatStates   = "http://jabber.org/protocol/chatstates"
	nsDelay        = "urn:xmpp:delay"
)

// A packet is a stanza on its way through the server. It does not change once
// it is made, so many sessions may send it.
type packet struct {
	name  string // message, presence or iq
	id    string
	typ   string
	from  string // the full address of the sender
	to    string // as the sender wrote it, perhaps empty
	lang  string
	inner []byte // what is inside, as text

	prefixes []byte           // declarations that inner may need
	child    xml.StartElement // the first child of an iq
	children int
	status   bool      // a message that has nothing but a chat state
	at       time.Time // when it came
}

// readPacket reads the stanza after its start. Each of its errors is the end of
// the stream; check finds the errors of the stanza alone.
func readPacket(r xml.TokenReader, start xml.StartElement) (*packet, error) {
	if start.Name.Space != stanza.NSClient || !slices.Contains([]string{"message", "presence", "iq"}, start.Name.Local) {
		return nil, stream.UnsupportedStanzaType
	}
	if err := checkNames(start); err != nil {
		return nil, err
	}
	p := &packet{name: start.Name.Local, at: time.Now()}
	c := copier{buf: make([]byte, 0, 256)} // enough for most
	for _, a := range start.Attr {
		switch a.Name {
		case xml.Name{Local: "id"}:
			p.id = a.Value
		case xml.Name{Local: "type"}:
			p.typ = a.Value
		case xml.Name{Local: "to"}:
			p.to = a.Value
		case xml.Name{Space: nsXML, Local: "lang"}:
			p.lang = a.Value
		}
		// From is the server's to say, and any others are nobody's.
		if a.Name.Space == "xmlns" {
			c.scope = append(c.scope, binding{a.Name.Local, a.Value})
			p.prefixes = appendAttr(p.prefixes, "xmlns:"+a.Name.Local, a.Value)
		}
	}
	content := false
	err := c.inner(r, func(child xml.StartElement) {
		if p.children == 0 && p.name == "iq" {
			p.child = child.Copy()
		}
		p.children++
		content = content || child.Name.Space != nsChatStates && child.Name.Local != "thread"
	})
	p.inner = c.buf
	p.status = p.children > 0 && !content
	return p, err
}

// check returns the error of a client's stanza, if any.
func (p *packet) check() error {
	bad := stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}
	switch p.name {
	case "iq":
		switch {
		case p.id == "":
			return bad
		case p.typ == "get" || p.typ == "set":
			if p.children != 1 {
				return bad
			}
		case p.typ != "result" && p.typ != "error":
			return bad
		}
	case "presence":
		switch p.typ {
		case "", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error":
		default:
			return bad
		}
	}
	return nil
}

// answerable reports whether the sender may be told of an error.
func (p *packet) answerable() bool {
	return p.typ != "error" && !(p.name == "iq" && p.typ == "result")
}

// size is the approximate cost of the packet while it waits.
func (p *packet) size() int { return len(p.inner) + 256 }

// appendTo appends the stanza as it goes over the wire. An empty to stands for
// the packet's own, and a delay is stamped by domain.
func (p *packet) appendTo(b []byte, to, delayedBy string) []byte {
	b = append(append(b, '<'), p.name...)
	if to == "" {
		to = p.to
	}
	for _, a := range [...]struct{ name, value string }{
		{"from", p.from}, {"to", to}, {"id", p.id}, {"type", p.typ}, {"xml:lang", p.lang},
	} {
		if a.value != "" {
			b = appendAttr(b, a.name, a.value)
		}
	}
	b = append(b, p.prefixes...)
	if len(p.inner) == 0 && delayedBy == "" {
		return append(b, "/>"...)
	}
	b = append(append(b, '>'), p.inner...)
	if delayedBy != "" {
		b = append(b, "<delay xmlns='"+nsDelay+"'"...)
		b = appendAttr(b, "from", delayedBy)
		b = append(b, " stamp='"...)
		b = p.at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
		b = append(b, "'/>"...)
	}
	b = append(append(b, "</"...), p.name...)
	return append(b, '>')
}

// decode decodes the first child into v. It is for the few stanzas to the
// server itself.
func (p *packet) decode(v any) error {
	return xml.Unmarshal(p.inner, v)
}

// result returns the answer to an iq, with inner inside.
func (p *packet) result(inner string) *packet {
	return &packet{name: "iq", typ: "result", id: p.id, from: p.to, to: p.from, inner: []byte(inner), at: time.Now()}
}

// bounce returns the answer to a bad stanza.
func (p *packet) bounce(err error) *packet {
	var e stanza.Error
	if !errors.As(err, &e) {
		e = stanza.Error{Type: stanza.Wait, Condition: stanza.InternalServerError}
	}
	return &packet{
		name: p.name, typ: "error", id: p.id, from: p.to, to: p.from, at: time.Now(),
		inner: fmt.Appendf(nil, "<error type='%s'><%s xmlns='%s'/></error>", e.Type, e.Condition, nsStanzaErrors),
	}
}

// priority returns the priority of a presence.
func (p *packet) priority() (int8, error) {
	var v struct {
		Priority string `xml:"priority"`
	}
	if !strings.Contains(string(p.inner), "<priority") {
		return 0, nil
	}
	if err := xml.Unmarshal([]byte("<presence>"+string(p.inner)+"</presence>"), &v); err != nil {
		return 0, err
	}
	if v.Priority == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v.Priority), 10, 8)
	if err != nil {
		return 0, stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}
	}
	return int8(n), nil
}
