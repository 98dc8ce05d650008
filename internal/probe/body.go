package probe

import (
	"bytes"
	"encoding/xml"
	"io"
	"strconv"
)

const ns = "http://jabber.org/protocol/httpbind"

// A body is the data of an answer.
type body struct {
	ok              bool // it is a body element
	sid             string
	kind, condition string
	wait, hold      int
	requests        int
	children        int
	streamError     string // the condition of a stream error in it
}

func parse(text []byte) (b body) {
	d := xml.NewDecoder(bytes.NewReader(text))
	depth, inError := 0, false
	for {
		t, err := d.Token()
		if err == io.EOF && depth == 0 {
			return b
		}
		if err != nil {
			return body{}
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth == 0 {
				if b.ok || t.Name != (xml.Name{Space: ns, Local: "body"}) {
					return body{}
				}
				b.ok = true
				for _, a := range t.Attr {
					if a.Name.Space == "" {
						b.attr(a.Name.Local, a.Value)
					}
				}
			} else if depth == 1 {
				b.children++
				inError = t.Name == xml.Name{Space: "http://etherx.jabber.org/streams", Local: "error"}
			} else if depth == 2 && inError && b.streamError == "" {
				b.streamError = t.Name.Local
			}
			depth++
		case xml.EndElement:
			depth--
		}
	}
}

func (b *body) attr(name, value string) {
	number := func() int {
		n, _ := strconv.Atoi(value)
		return n
	}
	switch name {
	case "sid":
		b.sid = value
	case "type":
		b.kind = value
	case "condition":
		b.condition = value
	case "wait":
		b.wait = number()
	case "hold":
		b.hold = number()
	case "requests":
		b.requests = number()
	}
}

func escape(b *bytes.Buffer, s string) { xml.EscapeText(b, []byte(s)) }
