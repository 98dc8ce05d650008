package main

import (
	"encoding/xml"
	"io"
	"strconv"
	"strings"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"

	// maxDepth is how deep the elements of a stanza may be nested.
	maxDepth = 64
)

// A copier turns the tokens of elements back into text, for a place where the
// default namespace is jabber:client. It exists because an xml.Encoder does not
// reproduce the input of an xml.Decoder: prefixes come out as attributes of
// their own. And it refuses malformed input that the Decoder takes, so nobody
// can break another's stream.
type copier struct {
	buf   []byte
	open  bool // the last start tag wants its > or />
	stack []frame
	scope []binding
}

// A frame is an open element.
type frame struct {
	name  string
	space string // the default namespace inside of it
	scope int    // how many bindings there were outside of it
}

// A binding is a prefix of a namespace.
type binding struct{ prefix, space string }

// inner reads to the end of an element, after its start, and writes its
// content. It calls each, if not nil, for every child element.
func (c *copier) inner(r xml.TokenReader, each func(xml.StartElement)) error {
	for {
		tok, err := r.Token()
		switch t := tok.(type) {
		case xml.StartElement:
			if each != nil && len(c.stack) == 0 {
				each(t)
			}
			if err := c.start(t); err != nil {
				return err
			}
		case xml.EndElement:
			if len(c.stack) == 0 {
				return nil
			}
			c.end()
		case xml.CharData:
			c.closeTag()
			c.buf = appendText(c.buf, t, false)
		case nil:
		default:
			return stream.RestrictedXML
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

// space returns the default namespace where the copier is.
func (c *copier) space() string {
	if n := len(c.stack); n > 0 {
		return c.stack[n-1].space
	}
	return stanza.NSClient
}

func (c *copier) closeTag() {
	if c.open {
		c.buf = append(c.buf, '>')
		c.open = false
	}
}

func (c *copier) start(t xml.StartElement) error {
	if len(c.stack) == maxDepth {
		return stream.PolicyViolation
	}
	if err := checkNames(t); err != nil {
		return err
	}
	c.closeTag()
	f := frame{name: t.Name.Local, space: t.Name.Space, scope: len(c.scope)}
	c.buf = append(append(c.buf, '<'), f.name...)
	if f.space != c.space() {
		c.attr("xmlns", f.space)
	}
	for _, a := range t.Attr {
		if a.Name.Space == "xmlns" {
			c.scope = append(c.scope, binding{a.Name.Local, a.Value})
			c.attr("xmlns:"+a.Name.Local, a.Value)
		}
	}
	for _, a := range t.Attr {
		switch {
		case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
		case a.Name.Space == "":
			c.attr(a.Name.Local, a.Value)
		default:
			c.attr(c.prefix(a.Name.Space)+":"+a.Name.Local, a.Value)
		}
	}
	c.open = true
	c.stack = append(c.stack, f)
	return nil
}

func (c *copier) end() {
	f := c.stack[len(c.stack)-1]
	c.stack = c.stack[:len(c.stack)-1]
	c.scope = c.scope[:f.scope]
	if c.open {
		c.buf = append(c.buf, "/>"...)
		c.open = false
		return
	}
	c.buf = append(append(append(c.buf, "</"...), f.name...), '>')
}

func (c *copier) attr(name, value string) {
	c.buf = appendAttr(c.buf, name, value)
}

// prefix returns a prefix for space, and declares one if need be.
func (c *copier) prefix(space string) string {
	if space == nsXML {
		return "xml"
	}
	for i := len(c.scope) - 1; i >= 0; i-- {
		if b := c.scope[i]; b.space == space && c.resolve(b.prefix) == space {
			return b.prefix
		}
	}
	for i := len(c.scope); ; i++ {
		p := "n" + strconv.Itoa(i)
		if c.resolve(p) == "" {
			c.scope = append(c.scope, binding{p, space})
			c.attr("xmlns:"+p, space)
			return p
		}
	}
}

func (c *copier) resolve(prefix string) string {
	for i := len(c.scope) - 1; i >= 0; i-- {
		if c.scope[i].prefix == prefix {
			return c.scope[i].space
		}
	}
	return ""
}

// checkNames refuses a start tag for a breach of the rules of namespaces or a
// double attribute: an xml.Decoder does not care.
func checkNames(t xml.StartElement) error {
	if badName(t.Name) {
		return stream.NotWellFormed
	}
	for i, a := range t.Attr {
		if a.Name.Space == "xmlns" {
			switch {
			case a.Value == "", a.Value == nsXML, a.Value == nsXMLNS, a.Name.Local == "xml", a.Name.Local == "xmlns",
				strings.Contains(a.Name.Local, ":"):
				return stream.NotWellFormed
			}
		} else if a.Name.Space != nsXML && badName(a.Name) {
			return stream.NotWellFormed
		}
		for _, b := range t.Attr[:i] {
			if a.Name == b.Name {
				return stream.NotWellFormed
			}
		}
	}
	return nil
}

func badName(n xml.Name) bool {
	return n.Space == nsXML || n.Space == nsXMLNS || strings.Contains(n.Local, ":")
}

func appendAttr(b []byte, name, value string) []byte {
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, "='"...)
	b = appendText(b, value, true)
	return append(b, '\'')
}

// appendText appends character data, or the value of an attribute.
func appendText[T ~string | ~[]byte](b []byte, s T, attr bool) []byte {
	last := 0
	for i := 0; i < len(s); i++ {
		var esc string
		switch c := s[i]; {
		case c == '&':
			esc = "&amp;"
		case c == '<':
			esc = "&lt;"
		case c == '>':
			esc = "&gt;"
		case c == '\r':
			esc = "&#13;"
		case c == '\'' && attr:
			esc = "&#39;"
		case c == '\t' && attr:
			esc = "&#9;"
		case c == '\n' && attr:
			esc = "&#10;"
		default:
			continue
		}
		b = append(b, s[last:i]...)
		b = append(b, esc...)
		last = i + 1
	}
	return append(b, s[last:]...)
}
