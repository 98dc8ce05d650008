package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
)

// A splitter cuts the bytes of an XMPP stream into its items: the header, each
// element, the end tag, and the filler between them. It counts tags and looks
// at nothing else, so its output is byte for byte its input. The library finds
// malformed XML.
type splitter struct {
	max    int    // the largest item
	header []byte // the last stream header, for the namespaces that it declares

	buf   []byte
	start int // of the item that is being scanned
	mark  int // of the markup that is being scanned
	pos   int // how far buf has been scanned
	depth int
	state scanState
}

type itemKind uint8

const (
	itemFiller itemKind = iota // white space, or an XML declaration
	itemHeader
	itemElement
	itemEnd
)

type item struct {
	kind itemKind
	data []byte // valid until the next call of space
	end  int    // of data in the splitter's buffer
}

type scanState uint8

const (
	inText   scanState = iota
	inMarkup           // behind <
	inTag
	inEndTag
	inQuotes      // of a tag, "
	inApostrophes // of a tag, '
	inInstruction // <?
	inDeclaration // <!, of which only the beginning is known
	inCDATA       // <![CDATA[
)

const (
	nsStream  = "http://etherx.jabber.org/streams"
	minBuffer = 4 << 10
	maxHeader = 16 << 10
)

var (
	errNotXMPP  = errors.New("the server does not speak XMPP")
	errTooLarge = errors.New("the server sent an element beyond -max-stanza")
)

// space returns room for more bytes. It invalidates all items.
func (s *splitter) space() []byte {
	if s.start > 0 {
		n := copy(s.buf, s.buf[s.start:])
		s.buf, s.mark, s.pos, s.start = s.buf[:n], s.mark-s.start, s.pos-s.start, 0
	}
	n := len(s.buf)
	switch {
	case cap(s.buf) > 4*minBuffer && n < cap(s.buf)/8: // it was for something large
		s.resize(n + minBuffer)
	case cap(s.buf)-n < minBuffer/2:
		s.resize(max(n+minBuffer, min(2*cap(s.buf), max(s.max, maxHeader)+minBuffer)))
	}
	return s.buf[n:cap(s.buf)]
}

func (s *splitter) resize(size int) { s.buf = append(make([]byte, 0, size), s.buf...) }

// pending returns how many bytes there are of an unfinished item.
func (s *splitter) pending() int { return len(s.buf) - s.start }

// size returns how much memory the splitter takes.
func (s *splitter) size() int { return cap(s.buf) }

// filled counts n bytes now filled in the buffer from space.
func (s *splitter) filled(n int) { s.buf = s.buf[:len(s.buf)+n] }

// next returns the next item, or io.ErrShortBuffer if there is no whole one.
func (s *splitter) next() (item, error) {
	for s.pos < len(s.buf) {
		it, err := s.step()
		if it.data != nil || err != nil {
			return it, err
		}
	}
	if s.depth < 2 && s.state == inText && s.pos > s.start {
		return s.filler()
	}
	if s.pos-s.start > s.max || s.depth == 0 && s.pos-s.start > maxHeader {
		return item{}, errTooLarge
	}
	return item{}, io.ErrShortBuffer
}

// step scans to the end of a piece of text or markup, or as far as there are
// bytes.
func (s *splitter) step() (item, error) {
	b := s.buf[s.pos:]
	switch s.state {
	case inText:
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			s.pos = len(s.buf)
			return item{}, nil
		}
		s.pos += i
		if s.depth < 2 && s.pos > s.start {
			return s.filler()
		}
		s.mark, s.state = s.pos, inMarkup
		s.pos++
	case inMarkup:
		switch b[0] {
		case '/':
			s.state = inEndTag
		case '?':
			s.state = inInstruction
		case '!':
			s.state = inDeclaration
		default:
			s.state = inTag
			return item{}, nil
		}
		s.pos++
	case inQuotes:
		s.skip(b, '"', inTag)
	case inApostrophes:
		s.skip(b, '\'', inTag)
	case inTag:
		i := bytes.IndexAny(b, `"'>`)
		if i < 0 {
			s.pos = len(s.buf)
			return item{}, nil
		}
		s.pos += i + 1
		switch b[i] {
		case '"':
			s.state = inQuotes
		case '\'':
			s.state = inApostrophes
		default:
			return s.tag()
		}
	case inEndTag:
		if s.skip(b, '>', inText) {
			return s.endTag()
		}
	case inInstruction:
		if s.skip(b, '>', inInstruction) && s.pos-s.mark > 3 && s.buf[s.pos-2] == '?' {
			s.state = inText
			if s.depth < 2 {
				return s.item(itemFiller), nil
			}
		}
	case inDeclaration:
		const cdata = "<![CDATA["
		s.pos++
		got := string(s.buf[s.mark:s.pos])
		switch {
		case got == cdata:
			s.state = inCDATA
		case len(got) > len(cdata) || got != cdata[:len(got)]:
			return item{}, errNotXMPP // a comment or a document type
		}
	case inCDATA:
		if s.skip(b, '>', inCDATA) && s.pos-s.mark >= len("<![CDATA[]]>") && bytes.HasSuffix(s.buf[:s.pos], []byte("]]>")) {
			s.state = inText
		}
	}
	return item{}, nil
}

// skip moves behind the next byte c, and reports whether there is one.
func (s *splitter) skip(b []byte, c byte, then scanState) bool {
	i := bytes.IndexByte(b, c)
	if i < 0 {
		s.pos = len(s.buf)
		return false
	}
	s.pos += i + 1
	s.state = then
	return true
}

// tag is called behind a start tag or an empty element.
func (s *splitter) tag() (item, error) {
	s.state = inText
	tag := s.buf[s.mark:s.pos]
	empty := len(tag) > 2 && tag[len(tag)-2] == '/'
	if s.depth < 2 && localName(tag) == "stream" && isHeader(tag) {
		// The first one, or a restart of the stream.
		if empty || len(tag) > maxHeader {
			return item{}, errNotXMPP
		}
		s.depth = 1
		s.header = bytes.Clone(tag)
		return s.item(itemHeader), nil
	}
	if s.depth == 0 {
		return item{}, errNotXMPP
	}
	if !empty {
		s.depth++
	} else if s.depth == 1 {
		return s.item(itemElement), nil
	}
	return item{}, nil
}

// endTag is called behind an end tag.
func (s *splitter) endTag() (item, error) {
	switch s.depth--; s.depth {
	case -1:
		return item{}, errNotXMPP
	case 0:
		return s.item(itemEnd), nil
	case 1:
		return s.item(itemElement), nil
	}
	return item{}, nil
}

func (s *splitter) item(kind itemKind) item {
	it := item{kind: kind, data: s.buf[s.start:s.pos:s.pos], end: s.pos}
	s.start = s.pos
	return it
}

// filler returns the text between two elements. It can only be white space.
func (s *splitter) filler() (item, error) {
	if len(bytes.Trim(s.buf[s.start:s.pos], " \t\r\n")) > 0 {
		return item{}, errNotXMPP
	}
	return s.item(itemFiller), nil
}

// localName returns the name at the start of a tag, without its prefix.
func localName(tag []byte) string {
	name := bytes.TrimPrefix(tag, []byte("<"))
	if i := bytes.IndexAny(name, " \t\r\n/>"); i >= 0 {
		name = name[:i]
	}
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	return string(name)
}

// isHeader reports whether a tag is the start tag of a stream.
func isHeader(tag []byte) bool {
	return rootName(tag) == xml.Name{Space: nsStream, Local: "stream"}
}
