package main

import (
	"bytes"
	"encoding/xml"
)

const (
	nsClient  = "jabber:client"
	nsStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
)

// A stanza is what the start tag of one says.
type stanza struct {
	name          string // message, presence, iq, or empty if it is something else
	kind, from    string // kind is the attribute type
	id            string
	attrs         []xml.Attr // namespace declarations other than the default one
	inner         []byte     // between its tags
	selfContained bool       // it declares its default namespace
}

// parseStanza looks at the start tag of an element that a server has sent.
func parseStanza(element []byte) (s stanza) {
	d := xml.NewDecoder(bytes.NewReader(element))
	t, err := d.RawToken()
	start, ok := t.(xml.StartElement)
	if err != nil || !ok || start.Name.Space != "" {
		return stanza{}
	}
	for _, a := range start.Attr {
		switch {
		case a.Name.Space == "xmlns":
			s.attrs = append(s.attrs, a)
		case a.Name.Space != "":
		case a.Name.Local == "xmlns":
			if a.Value != nsClient {
				return stanza{}
			}
			s.selfContained = true
		case a.Name.Local == "type":
			s.kind = a.Value
		case a.Name.Local == "from":
			s.from = a.Value
		case a.Name.Local == "id":
			s.id = a.Value
		}
	}
	switch start.Name.Local {
	case "message", "presence", "iq":
		s.name = start.Name.Local
	}
	if open, end := int(d.InputOffset()), bytes.LastIndex(element, []byte("</")); open <= end {
		s.inner = element[open:end]
	}
	return s
}

// maxReturned is the largest content that goes back with an error.
const maxReturned = 32 << 10

// bounce returns the error that answers a stanza which cannot be delivered, or
// nil if there is to be none: XEP-0206, section 7. A message that is
// selfContained goes back whole, for the server to store.
func (s stanza) bounce() []byte {
	var kind, condition string
	switch {
	case s.name == "message" && s.kind != "error":
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
		for _, a := range s.attrs {
			writeAttr(&b, "xmlns:"+a.Name.Local, a.Value)
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
