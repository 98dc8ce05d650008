package main

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"

	"github.com/gobosh/bosh/internal/xmlscan"
)

const (
	nsClient  = "jabber:client"
	nsStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
)

// A stanza holds the parts of a stanza needed to answer it.
type stanza struct {
	name          string // message, presence, iq, or empty if it is something else
	kind, from    string // kind is the attribute type
	id            string
	decls         []xmlscan.Binding // of the prefixes that are used in it
	inner         []byte            // between its tags
	selfContained bool              // it declares its default namespace
	answerless    bool              // its sender expects no answer
}

// usual are the usual namespaces of a server's header.
var usual = []xmlscan.Binding{{Prefix: "", URI: nsClient}, {Prefix: "stream", URI: nsStream}}

// stanza looks at an element of the server's.
func (c *checker) stanza(element []byte) stanza {
	if c.bindings == nil {
		return parseStanza(element, usual)
	}
	return parseStanza(element, c.bindings)
}

// parseStanza looks at an element of a stream. The bindings are the namespaces
// of the stream's header.
func parseStanza(element []byte, bindings []xmlscan.Binding) (s stanza) {
	scanner := scanners.Get().(*xmlscan.Scanner)
	defer scanners.Put(scanner)
	defer scanner.Reset()
	var x xmlscan.Item
	scanner.ResetInside(bindings)
	if scanner.Next(element, &x) != nil || x.Kind != xmlscan.Element || string(x.URI) != nsClient {
		return stanza{}
	}
	d := xml.NewDecoder(bytes.NewReader(element))
	t, _ := d.RawToken()
	start, ok := t.(xml.StartElement)
	if !ok {
		return stanza{}
	}
	for _, a := range start.Attr {
		switch {
		case a.Name.Space == "xmlns":
			s.decls = append(s.decls, xmlscan.Binding{Prefix: a.Name.Local, URI: a.Value})
		case a.Name.Space != "":
		case a.Name.Local == "xmlns":
			s.selfContained = a.Value == nsClient
		case a.Name.Local == "type":
			s.kind = a.Value
		case a.Name.Local == "from":
			s.from = a.Value
		case a.Name.Local == "id":
			s.id = a.Value
		}
	}
	for _, used := range x.Uses {
		if used.Prefix != "" {
			s.decls = append(s.decls, used)
		}
	}
	switch string(x.Local) {
	case "message", "presence", "iq":
		s.name = string(x.Local)
	}
	if open, end := int(d.InputOffset()), bytes.LastIndex(element, []byte("</")); open <= end {
		s.inner = element[open:end]
	}
	s.answerless = s.name == "message" && (s.kind == "headline" || answerless(element, bindings))
	return s
}

// answerless reports whether nobody expects an answer to a message because of
// its content: a copy or a notification made by a server, or nothing but notes.
func answerless(message []byte, bindings []xmlscan.Binding) bool {
	d := xml.NewDecoder(bytes.NewReader(message))
	d.Token() // its own start tag
	notes := 0
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		switch t := t.(type) {
		case xml.EndElement:
			return notes > 0
		case xml.StartElement:
			// The decoder leaves a prefix without a declaration in the
			// element.
			if i := slices.IndexFunc(bindings, func(b xmlscan.Binding) bool { return b.Prefix == t.Name.Space }); i >= 0 {
				t.Name.Space = bindings[i].URI
			}
			switch {
			case made(t.Name):
				return true
			case !note(t.Name):
				return false
			}
			notes++
			if d.Skip() != nil {
				return false
			}
		}
	}
}

// made reports whether an element is of a message made by a server: a carbon
// copy (XEP-0280), an item of an archive (XEP-0313), or a publication
// (XEP-0060).
func made(name xml.Name) bool {
	switch {
	case strings.HasPrefix(name.Space, "urn:xmpp:carbons:"):
		return name.Local == "received" || name.Local == "sent"
	case strings.HasPrefix(name.Space, "urn:xmpp:mam:"):
		return name.Local == "result" || name.Local == "fin"
	}
	return name == xml.Name{Space: "http://jabber.org/protocol/pubsub#event", Local: "event"}
}

// note reports whether an element of a message says something by the way. A
// message of nothing else is not for the user.
func note(name xml.Name) bool {
	switch name.Space {
	case "http://jabber.org/protocol/chatstates", // somebody is typing
		"jabber:x:event",          // the same, as it was
		"urn:xmpp:chat-markers:0", // somebody has read
		"urn:xmpp:hints", "urn:xmpp:sid:0", "urn:xmpp:occupant-id:0", "urn:xmpp:delay", "jabber:x:delay":
		return true
	case "urn:xmpp:receipts":
		return name.Local == "received"
	case nsClient:
		return name.Local == "thread"
	}
	return false
}

// maxReturned is the largest content in an error reply.
const maxReturned = 32 << 10

// bounce returns the error reply to an undeliverable stanza, or nil if there is
// to be none: XEP-0206, section 7. A selfContained message goes back whole, for
// the server to store.
func (s stanza) bounce() []byte {
	var kind, condition string
	switch {
	case s.name == "message" && s.kind != "error" && !s.answerless:
		kind, condition = "wait", "recipient-unavailable"
	case s.name == "iq" && (s.kind == "get" || s.kind == "set"):
		kind, condition = "cancel", "service-unavailable"
	default:
		return nil
	}
	var b bytes.Buffer
	b.WriteString("<" + s.name + " type='error'")
	writeAttr(&b, "to", s.from)
	writeAttr(&b, "id", s.id)
	if s.selfContained && len(s.inner) <= maxReturned {
		for _, d := range s.decls {
			writeAttr(&b, "xmlns:"+d.Prefix, d.URI)
		}
		b.WriteString(">")
		b.Write(s.inner)
	} else {
		b.WriteString(">")
	}
	b.WriteString("<error type='" + kind + "'><" + condition + " xmlns='" + nsStanzas + "'/></error></" + s.name + ">")
	return b.Bytes()
}

func writeAttr(b *bytes.Buffer, name, value string) {
	if value == "" {
		return
	}
	b.WriteString(" " + name + "='")
	xml.EscapeText(b, []byte(value))
	b.WriteString("'")
}
