package boshtest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Namespaces of the protocol.
const (
	NSBind = "http://jabber.org/protocol/httpbind" // of <body/>, XEP-0124
	NSXMPP = "urn:xmpp:xbosh"                      // of the attributes of XEP-0206
)

// An Attr is an attribute of a <body/>.
type Attr struct {
	Name  string // as written; but see [Body.Attr] for those of NSXMPP
	Value string // with references replaced
}

// A Body is a parsed <body/>.
type Body struct {
	// Attrs are the attributes in their order, namespace declarations
	// included. The prefix of NSXMPP is always xmpp, regardless of the
	// text.
	Attrs []Attr

	// Payloads are the child elements, each exactly as it was written. They
	// are parts of Raw. A prefix declared on the wrapper is not declared
	// again here: see [Body.Namespace].
	Payloads [][]byte

	// Raw is the whole text.
	Raw []byte
}

// Attr returns the value of an attribute, or "". Names are as in XEP-0124 and
// XEP-0206: "rid", "xml:lang", "xmpp:version".
func (b *Body) Attr(name string) string {
	v, _ := b.Lookup(name)
	return v
}

// Lookup returns the value of an attribute and whether it is there. A nil Body
// has none.
func (b *Body) Lookup(name string) (string, bool) {
	if b == nil {
		return "", false
	}
	for _, a := range b.Attrs {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// Namespace returns the wrapper's namespace of a prefix, or "" if it declares
// none. The prefix "" is the default namespace.
func (b *Body) Namespace(prefix string) string {
	if prefix == "" {
		return b.Attr("xmlns")
	}
	return b.Attr("xmlns:" + prefix)
}

// String returns the whole text.
func (b *Body) String() string { return string(b.Raw) }

// ParseBody parses a request or an answer. It wants one root element named body
// in the namespace NSBind, with child elements and white space in it. Tags must
// match. It is lenient in all else: it does not check names, characters or
// namespaces inside payloads. The Body keeps data.
func ParseBody(data []byte) (*Body, error) {
	b := &Body{Raw: data}
	s := scanner{data: data}
	if err := s.body(b); err != nil {
		return nil, fmt.Errorf("boshtest: no body: %w, at byte %d of %d", err, s.pos, len(data))
	}
	return b, nil
}

var (
	errEnd      = errors.New("unexpected end")
	errText     = errors.New("text between payloads")
	errTag      = errors.New("malformed tag")
	errMatch    = errors.New("end tag does not match")
	errRoot     = errors.New("root is not a body of " + NSBind)
	errAfter    = errors.New("text after the root")
	errEntity   = errors.New("malformed or undefined reference")
	errTooSmall = errors.New("root expected")
)

// A scanner walks over a document's tags.
type scanner struct {
	data []byte
	pos  int
	open []span // names of the open elements inside a payload
}

// A span is a part of the data.
type span struct{ from, to int }

func (s *scanner) text(p span) []byte { return s.data[p.from:p.to] }

func (s *scanner) body(b *Body) error {
	s.skip("\xef\xbb\xbf")
	s.space()
	if s.skip("<?xml") {
		if !s.past("?>") {
			return errEnd
		}
		s.space()
	}
	if !s.skip("<") {
		return errTooSmall
	}
	root := s.name()
	empty, err := s.attrs(b)
	if err != nil {
		return err
	}
	prefix, local, ok := strings.Cut(string(s.text(root)), ":")
	if !ok {
		prefix, local = "", prefix
	}
	if local != "body" || b.Namespace(prefix) != NSBind {
		return errRoot
	}
	renameXMPP(b)
	for !empty {
		s.space()
		if s.pos == len(s.data) {
			return errEnd
		}
		if s.skip("</") {
			if err := s.endTag(root); err != nil {
				return err
			}
			break
		}
		start := s.pos
		if err := s.element(); err != nil {
			return err
		}
		b.Payloads = append(b.Payloads, s.data[start:s.pos:s.pos])
	}
	s.space()
	if s.pos != len(s.data) {
		return errAfter
	}
	return nil
}

// renameXMPP gives the attributes of NSXMPP the prefix xmpp.
func renameXMPP(b *Body) {
	for i, a := range b.Attrs {
		prefix, local, ok := strings.Cut(a.Name, ":")
		if ok && prefix != "xmpp" && prefix != "xmlns" && b.Namespace(prefix) == NSXMPP {
			b.Attrs[i].Name = "xmpp:" + local
		}
	}
}

func (s *scanner) skip(prefix string) bool {
	if len(s.data)-s.pos < len(prefix) || string(s.data[s.pos:s.pos+len(prefix)]) != prefix {
		return false
	}
	s.pos += len(prefix)
	return true
}

// past moves behind the next occurrence of mark.
func (s *scanner) past(mark string) bool {
	i := bytes.Index(s.data[s.pos:], []byte(mark))
	if i < 0 {
		s.pos = len(s.data)
		return false
	}
	s.pos += i + len(mark)
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func (s *scanner) space() {
	for s.pos < len(s.data) && isSpace(s.data[s.pos]) {
		s.pos++
	}
}

// name reads up to the first character outside of names. The result may be empty.
func (s *scanner) name() span {
	from := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case isSpace(c), c == '/', c == '>', c == '=', c == '<', c == '\'', c == '"', c == '&':
			return span{from, s.pos}
		}
		s.pos++
	}
	return span{from, s.pos}
}

// attrs reads the rest of the root's tag.
func (s *scanner) attrs(b *Body) (empty bool, err error) {
	for {
		before := s.pos
		s.space()
		switch {
		case s.skip("/>"):
			return true, nil
		case s.skip(">"):
			return false, nil
		case s.pos == len(s.data):
			return false, errEnd
		case s.pos == before:
			return false, errTag
		}
		name := s.name()
		s.space()
		if name.from == name.to || !s.skip("=") {
			return false, errTag
		}
		s.space()
		if s.pos == len(s.data) {
			return false, errEnd
		}
		quote := s.data[s.pos]
		if quote != '\'' && quote != '"' {
			return false, errTag
		}
		s.pos++
		end := bytes.IndexByte(s.data[s.pos:], quote)
		if end < 0 {
			return false, errEnd
		}
		value, err := unescape(s.data[s.pos : s.pos+end])
		if err != nil {
			return false, err
		}
		s.pos += end + 1
		b.Attrs = append(b.Attrs, Attr{Name: string(s.text(name)), Value: value})
	}
}

// endTag reads the rest of an end tag. It must be the named one.
func (s *scanner) endTag(want span) error {
	if got := s.name(); !bytes.Equal(s.text(got), s.text(want)) {
		return errMatch
	}
	s.space()
	if !s.skip(">") {
		return errTag
	}
	return nil
}

// element moves behind the element at this place.
func (s *scanner) element() error {
	if s.data[s.pos] != '<' {
		return errText
	}
	s.open = s.open[:0]
	for {
		i := bytes.IndexByte(s.data[s.pos:], '<')
		if i < 0 {
			s.pos = len(s.data)
			return errEnd
		}
		s.pos += i + 1
		switch {
		case s.skip("/"):
			if len(s.open) == 0 {
				return errMatch
			}
			if err := s.endTag(s.open[len(s.open)-1]); err != nil {
				return err
			}
			s.open = s.open[:len(s.open)-1]
		case len(s.open) > 0 && s.skip("![CDATA["):
			if !s.past("]]>") {
				return errEnd
			}
			continue
		default:
			// Comments and processing instructions have no name and end here.
			name := s.name()
			if c := s.text(name); len(c) == 0 || c[0] == '!' || c[0] == '?' {
				return errTag
			}
			empty, err := s.tagEnd()
			if err != nil {
				return err
			}
			if !empty {
				s.open = append(s.open, name)
			}
		}
		if len(s.open) == 0 {
			return nil
		}
	}
}

// tagEnd moves behind the start tag of the name just read.
func (s *scanner) tagEnd() (empty bool, err error) {
	var quote byte
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '<':
			return false, errTag
		case c == '>':
			s.pos++
			return s.data[s.pos-2] == '/', nil
		}
	}
	return false, errEnd
}

// unescape replaces the references in an attribute's value.
func unescape(v []byte) (string, error) {
	i := bytes.IndexByte(v, '&')
	if i < 0 {
		return string(v), nil
	}
	out := make([]byte, 0, len(v))
	for i >= 0 {
		out = append(out, v[:i]...)
		v = v[i+1:]
		end := bytes.IndexByte(v, ';')
		if end < 0 {
			return "", errEntity
		}
		r, ok := reference(string(v[:end]))
		if !ok {
			return "", errEntity
		}
		out = utf8.AppendRune(out, r)
		v = v[end+1:]
		i = bytes.IndexByte(v, '&')
	}
	return string(append(out, v...)), nil
}

func reference(name string) (rune, bool) {
	switch name {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, false
	}
	base := 10
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 21)
	return rune(n), err == nil && utf8.ValidRune(rune(n))
}
