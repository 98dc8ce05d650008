// Package framing takes apart an application's output to a stream. It finds whole
// elements in chunks of any size and makes them self-contained. For XMPP it also finds
// the stream header and end tag around them.
package framing

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/gobosh/bosh/internal/wire"
	"github.com/gobosh/bosh/internal/xmlscan"
)

// A Kind says what a Cutter found.
type Kind uint8

const (
	None     Kind = iota // nothing whole yet; all input is taken
	Header               // an XMPP stream header
	Features             // a stream:features element
	Element              // any other element
	Error                // a stream:error element
	End                  // the end tag of an XMPP stream
)

// An Item is one thing found by a Cutter.
type Item struct {
	Kind Kind

	// XML is the element, self-contained except for the prefix stream: the wrapper
	// declares it. It is good until the next call.
	XML []byte

	// Head is the header, for Kind Header.
	Head *Head

	// Restart says: the client has to restart the stream after it.
	Restart bool

	inPlace bool // XML is the end of what was taken, as it stands there
}

// Head holds the attributes of a stream header.
type Head struct{ ID, From, To, Version, Lang string }

// Append appends the header, without empty attributes.
func (h *Head) Append(b []byte) []byte {
	b = append(b, "<stream:stream xmlns='"+wire.NSClient+"' xmlns:stream='"+wire.NSStream+"'"...)
	for _, a := range [...]struct{ name, value string }{
		{"id", h.ID}, {"to", h.To}, {"from", h.From}, {"version", h.Version}, {"xml:lang", h.Lang},
	} {
		if a.value != "" {
			b = xmlscan.AppendAttr(b, a.name, a.value)
		}
	}
	return append(b, '>')
}

// ErrTooLarge is the error for an element beyond the limit.
var ErrTooLarge = errors.New("element too large for MaxElement")

// A Cutter cuts one stream. It may not be used by two goroutines at a time.
type Cutter struct {
	max   int
	xmpp  bool
	plain bool   // features that offer an upgrade are dropped
	root  []byte // name of the XMPP stream's root element, once it was seen

	bindings []xmlscan.Binding // in force inside the root
	inside   bool              // the root has been opened
	ended    bool
	part     []byte // the beginning of an item that is not whole yet
	out      []byte // an element that had to be changed

	scan  *xmlscan.Scanner // nil if nothing is being written
	begun bool             // scan is in the middle of an item
	err   error            // sticky
}

// NewElements returns a Cutter for a bare sequence of elements of at most max
// bytes each.
func NewElements(max int) *Cutter { return &Cutter{max: max, inside: true} }

// NewStanzas is NewElements for stanzas: the default namespace is jabber:client, and the
// prefix stream is declared.
func NewStanzas(max int) *Cutter { return &Cutter{max: max, inside: true, bindings: usual} }

// NewXMPP returns a Cutter for an XMPP stream.
func NewXMPP(max int) *Cutter { return &Cutter{max: max, xmpp: true} }

// NewPlain is NewXMPP for a server without any upgrade: offers of upgrades are dropped
// from the features of its streams.
func NewPlain(max int) *Cutter { return &Cutter{max: max, xmpp: true, plain: true} }

// NewInside returns a Cutter for an XMPP stream whose header was seen elsewhere.
func NewInside(max int) *Cutter {
	return &Cutter{max: max, xmpp: true, inside: true, bindings: usual, root: []byte("stream:stream")}
}

// Part returns the incomplete item at the end. It is good until the next Cut.
func (c *Cutter) Part() []byte { return c.part }

// Pending reports whether a part of an element is waiting for its rest.
func (c *Cutter) Pending() bool { return len(c.part) > 0 }

// Cut takes bytes from p up to the end of the first item, or all of p if no
// item ends there. It returns how many it took. After an error the Cutter
// returns that error for ever.
func (c *Cutter) Cut(p []byte) (n int, it Item, err error) {
	n, err = c.next(p, &it)
	return n, it, err
}

// next is Cut. The item is put into it; the caller passes it empty.
func (c *Cutter) next(p []byte, it *Item) (n int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	for n < len(p) && it.Kind == None {
		took, err := c.cut(p[n:], it)
		n += took
		if err != nil {
			c.err = err
			c.release()
			c.part = nil
			return n, err
		}
	}
	return n, nil
}

// cut takes one item from p, an uninteresting one perhaps, or all of p.
func (c *Cutter) cut(p []byte, it *Item) (n int, err error) {
	b, had := p, len(c.part)
	if had > 0 {
		c.part = append(c.part, p...)
		b = c.part
	}
	if !c.begun {
		if c.begun = c.begin(b); !c.begun {
			return c.keep(b, had, len(p))
		}
	}
	if c.inside && c.xmpp && ends(b) {
		return c.end(b, had, len(p), it)
	}
	var x xmlscan.Item
	err = c.scan.Next(b, &x)
	if err == xmlscan.ErrMore {
		return c.keep(b, had, len(p))
	}
	if err != nil {
		return 0, c.noXML(b, err)
	}
	if x.Len > c.max && x.Kind != xmlscan.Space { // of which nothing is kept
		return 0, ErrTooLarge
	}
	err = c.item(b[:x.Len], &x, it)
	it.inPlace = had == 0 && len(it.XML) == x.Len && &it.XML[0] == &b[0]
	if !c.begun && x.Len-had == len(p) {
		c.release()
	}
	c.part = c.part[:0]
	if cap(c.part) > maxIdle {
		c.part = nil
	}
	return x.Len - had, err
}

// noXML returns the reason why b cannot be written. err is the scanner's error for it.
func (c *Cutter) noXML(b []byte, err error) error {
	switch {
	case b[0] == '<':
		return err
	case !c.xmpp:
		return errText
	case c.inside:
		return errors.New("character data between stanzas")
	}
	return errors.New("character data before the stream's header")
}

// errText is the error for text outside of an element.
var errText = errors.New("character data outside of an element (JSON goes into a <json/> of XEP-0335)")

// maxIdle is the largest buffer kept by a Cutter at rest.
const maxIdle = 1 << 10

// keep stores the beginning of an item.
func (c *Cutter) keep(b []byte, had, took int) (int, error) {
	if len(b) > c.max {
		return 0, ErrTooLarge
	}
	if had == 0 {
		c.part = append(c.part, b...)
	}
	return took, nil
}

// begin gets a scanner for the first item of b. It reports false if b is too short to
// choose.
func (c *Cutter) begin(b []byte) (ready bool) {
	if c.ended {
		if len(bytes.TrimLeft(b, " \t\r\n")) == 0 {
			c.fresh()
			return true
		}
		c.inside, c.ended = false, false // a new stream on the old one
	}
	if c.xmpp && c.inside && !ends(b) {
		again, sure := anew(b, c.root)
		if !sure {
			return false
		}
		c.inside = !again
	}
	switch {
	case !c.inside:
		c.fresh()
	case c.scan == nil:
		c.scan = scanners.Get().(*xmlscan.Scanner)
		c.scan.ResetInside(c.bindings)
	}
	return true
}

func (c *Cutter) fresh() {
	c.release()
	c.scan = scanners.Get().(*xmlscan.Scanner)
	c.scan.Reset()
}

// anew reports whether b begins a new stream inside the old one with the root tag named
// root: by an XML declaration or by a second start tag.
func anew(b, root []byte) (yes, sure bool) {
	if b[0] != '<' {
		return false, true
	}
	if len(b) < 2 {
		return false, false
	}
	if b[1] == '?' {
		return true, true
	}
	if len(b) < len(root)+2 {
		return false, !bytes.HasPrefix(root, b[1:])
	}
	if !bytes.HasPrefix(b[1:], root) {
		return false, true
	}
	switch b[1+len(root)] {
	case ' ', '\t', '\r', '\n', '/', '>':
		return true, true
	}
	return false, true
}

// ends reports whether b begins with an end tag, necessarily the root's.
func ends(b []byte) bool { return len(b) > 1 && b[0] == '<' && b[1] == '/' }

// end takes the root's end tag.
func (c *Cutter) end(b []byte, had, took int, it *Item) (int, error) {
	i := bytes.IndexByte(b, '>')
	if i < 0 && len(b) <= len(c.root)+maxSpace {
		return c.keep(b, had, took)
	}
	if i < 0 || !bytes.Equal(bytes.TrimRight(b[2:i], " \t\r\n"), c.root) {
		return 0, errors.New("end tag does not match the stream's start")
	}
	c.release()
	c.part = c.part[:0]
	c.inside, c.ended = false, true
	it.Kind = End
	return i + 1 - had, nil
}

// maxSpace is how much white space an end tag may hold.
const maxSpace = 64

// item makes it of the scanner's item.
func (c *Cutter) item(b []byte, x *xmlscan.Item, it *Item) error {
	switch x.Kind {
	case xmlscan.Decl:
		return nil // the same scanner goes on to the root
	case xmlscan.Space:
		if c.inside {
			c.begun = false
		}
		return nil
	case xmlscan.Empty, xmlscan.Start:
		return c.header(x, it)
	}
	c.begun = false
	return c.element(b, x, it)
}

// appendName appends the name of an element as it is written.
func appendName(b []byte, x *xmlscan.Item) []byte {
	if len(x.Prefix) > 0 {
		b = append(append(b, x.Prefix...), ':')
	}
	return append(b, x.Local...)
}

func (c *Cutter) header(x *xmlscan.Item, it *Item) error {
	name := appendName(nil, x)
	switch is := string(x.URI) == wire.NSStream && string(x.Local) == "stream"; {
	case x.Kind == xmlscan.Empty && is:
		return errors.New("empty stream element: the stream's header must be a start tag")
	case x.Kind == xmlscan.Empty:
		return fmt.Errorf("empty stream element <%s/>: the stream's header must come first", name)
	case !is:
		return fmt.Errorf("root element <%s> is not an XMPP stream: the stream's header, in %s, must come first", name, wire.NSStream)
	}
	h := new(Head)
	for _, a := range c.scan.Attrs() {
		switch {
		case string(a.Prefix) == "xml" && string(a.Local) == "lang":
			h.Lang = string(xmlscan.Unescape(nil, a.Value))
			continue
		case len(a.Prefix) > 0:
			continue
		}
		switch string(a.Local) {
		case "id":
			h.ID = string(xmlscan.Unescape(nil, a.Value))
		case "from":
			h.From = string(xmlscan.Unescape(nil, a.Value))
		case "to":
			h.To = string(xmlscan.Unescape(nil, a.Value))
		case "version":
			h.Version = string(xmlscan.Unescape(nil, a.Value))
		}
	}
	c.root = name
	c.bindings = intern(c.scan.Bindings())
	c.inside, c.ended = true, false
	c.release()
	it.Kind, it.Head = Header, h
	return nil
}

// complete returns the element b with the used declarations of the stream's root added
// to it.
func (c *Cutter) complete(b []byte, x *xmlscan.Item) []byte {
	if alone(x, c.xmpp) {
		return b
	}
	out := appendAlone(c.out[:0], b, x, c.bindings, c.xmpp)
	if c.out = out; cap(out) > maxIdle {
		c.out = nil
	}
	return out
}
