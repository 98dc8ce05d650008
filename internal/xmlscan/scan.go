// Package xmlscan checks XML in pieces as it arrives, and cuts it into the children of its
// root.
//
// A protocol of XML over a stream or an envelope gives the root element a meaning of its
// own (a <stream:stream> stays open, a <body> carries payloads) and treats each child of
// the root as one message. A [Scanner] follows: it yields the root's start tag, then one
// complete child after the other, then the root's end tag, and never an incomplete one. It
// yields a count of bytes, and the data for moving those bytes elsewhere. They are handed
// on unchanged: a re-encoding parser in the middle could read the same bytes in another
// way.
//
// For the same reason the scanner is strict. It enforces XML 1.0 (fifth edition),
// Namespaces in XML 1.0 and UTF-8 on every byte. It also refuses the things forbidden by
// RFC 6120, section 11.1, and XEP-0124: comments, processing instructions, document type
// declarations, and references to entities other than the five predefined ones. Character
// data may stand in children only.
//
// Scanning takes time linear in the input however it is cut into chunks, and
// after the first few documents it allocates nothing.
package xmlscan

import "errors"

// A Binding is a namespace declaration. The prefix "" stands for the default
// namespace, and the URI "" for none.
type Binding struct {
	Prefix, URI string
}

// Limits bound the scanner's memory of a document. Its size is the caller's to bound.
type Limits struct {
	// Depth is how deeply elements may be nested, the root included. Zero
	// means 128.
	Depth int

	// Attrs is how many attributes one element may have, namespace
	// declarations included. Zero means 64. The time to look for duplicates
	// grows with its square in the worst case.
	Attrs int

	// Bindings is how many namespace declarations may be in force at one
	// place inside a child, those of the root not counted. Zero means 128.
	// The time to resolve a prefix is proportional to it.
	Bindings int
}

// Kind tells the kind of an [Item].
type Kind uint8

const (
	Decl    Kind = iota + 1 // the XML declaration
	Start                   // the root's start tag
	Empty                   // the root as an empty-element tag, which is the whole document
	Space                   // white space outside the children, or the byte order mark
	Element                 // one complete child of the root
	End                     // the root's end tag
)

// An Attr is an attribute of the root. Value is as it stands in the input. This is its
// meaning unless Escaped is set; see [Unescape]. A namespace declaration has the URI of the
// xmlns prefix.
type Attr struct {
	Prefix, Local, URI, Value []byte

	Escaped bool
}

// A Span is a range of bytes of an item.
type Span struct {
	Start, End int
}

// An Item is a part of a document at its top level. Its slices are valid until the next
// call to a method of the scanner, as long as the input is.
type Item struct {
	Kind Kind
	Len  int // bytes of input it takes

	// The name of a Start, an Empty or an Element. URI is its namespace, with
	// references resolved.
	Prefix, Local, URI []byte

	// NameEnd is the offset just behind that name, for inserting declarations.
	NameEnd int

	// An Element's takings from outside. A moved element needs these declarations inserted
	// at NameEnd; they never clash with its own declarations.
	//
	// UsesDefault says that a name in it is in the outer default namespace, even if that is
	// none. Uses holds each binding of a prefix needed by a name in it, except the one of
	// xml.
	UsesDefault bool
	Uses        []Binding

	// Rebinds are the values, without quotes, of the namespace declarations in an Element
	// for the namespace Scanner.Watch.
	Rebinds []Span
}

// ErrMore is returned by [Scanner.Next] when the input ends within an item.
var ErrMore = errors.New("XML that is not whole")

// A SyntaxError tells the fault of a document.
type SyntaxError struct {
	Offset int // bytes from the start of the document
	Msg    string
}

func (e *SyntaxError) Error() string { return "invalid XML: " + e.Msg }

// A Scanner cuts a document into items. The zero value is ready for the start
// of a document. It must not be used concurrently.
type Scanner struct {
	Limits Limits

	// Outer holds declarations in force outside the root: the document may use them without
	// making them. The prefixes differ.
	Outer []Binding

	// Watch is the namespace to look for in the declarations of elements; see
	// Item.Rebinds. It is ignored if empty.
	Watch string

	err   error
	base  int   // offset of the current item in the document
	place place // where the current item stands
	inner bool  // there is no root: it was presumed by ResetInside
	kind  Kind  // what the current item will be

	// Where scanning of the current item stopped. All offsets below are
	// relative to the start of the item, since the caller may move the bytes.
	pos    int
	state  state
	resume state // what to go on with behind a character reference
	quote  byte  // what ends the current attribute value
	hex    bool  // base of the current character reference
	code   rune  // its value so far
	mark   int   // start of the current name, or of a reference's digits
	colon  int   // the colon in the current name, or -1
	name   name  // the current tag's
	attrs  []attr
	open   []open

	first   name // name of the current child
	firstNS int  // and its namespace
	root    []byte

	// Namespaces: binds are the declarations made inside the current item, scope those made
	// outside it. Around a root it has the declarations of the root before, since the next
	// one mostly declares the same.
	binds       []bind
	arena       []byte // namespace names that had to be unescaped
	scope       []outer
	bindings    []Binding // scope again, as Bindings returns it
	usesDefault bool
	uses        []Binding
	rebinds     []Span
	rootURI     []byte
	rootAttrs   []Attr
	cache       []interned
	evict       int
}

// place is where in the document an item stands.
type place uint8

const (
	atStart   place = iota // nothing has been seen
	atDecl                 // only a byte order mark has been seen
	inProlog               // before the root
	inContent              // in the root
	inEpilog               // behind the root
)

// state is the scanner's present place in the grammar.
type state uint8

const (
	atItem      state = iota // the first byte of an item
	inText                   // content of a child
	inCDATA                  // a CDATA section
	inReference              // the digits of a character reference
	inEndName                // the name in an end tag
	inEndSpace               // behind that name
	inName                   // the name in a start tag
	afterName                // behind it, or behind an attribute
	beforeAttr               // behind white space in a start tag
	inAttrName               // the name of an attribute
	afterAttr                // behind that name
	beforeValue              // behind the equals sign
	inValue                  // an attribute value
	atTagEnd                 // behind the slash (or question mark) that ends a tag
)

// result is the result of a step of the scanner.
type result uint8

const (
	next  result = iota // the state has changed
	more                // the input ends here
	whole               // the item ends here
	bad                 // there is an error
)

// maxKept is the capacity of buffers without a limit up to which they are kept for the next
// document.
const maxKept = 1 << 10

// Reset prepares the scanner for the start of another document.
func (s *Scanner) Reset() {
	s.err = nil
	s.base, s.pos = 0, 0
	s.place, s.state = atStart, atItem
	s.inner = false
	s.dropRoot()
	if cap(s.arena) > maxKept {
		s.arena = nil
	}
	if cap(s.root) > maxKept {
		s.root = nil
	}
	if cap(s.rebinds) > maxKept {
		s.rebinds = nil
	}
}

// ResetInside prepares the scanner for a sequence of elements without a root,
// as if a root with these declarations had just been opened.
func (s *Scanner) ResetInside(bindings []Binding) {
	s.Reset()
	s.inner = true
	s.place = inContent
	for k, d := range bindings {
		s.setScope(k, d)
	}
	s.setOuter(len(bindings))
}

// dropRoot forgets the slices of the input in the root's item and Attrs: an idle scanner
// does not hold the caller's buffer.
func (s *Scanner) dropRoot() {
	clear(s.rootAttrs)
	s.rootAttrs, s.rootURI = s.rootAttrs[:0], nil
}

// Attrs returns the attributes of the root, namespace declarations included.
// It may be called after Next has returned Start or Empty, and the result is
// valid until the next call of Next.
func (s *Scanner) Attrs() []Attr { return s.rootAttrs }

// Bindings returns the declarations in force in the root outside its children, those of
// Outer included. It may be called once the root has been scanned, and the result is valid
// until the scanner is reset.
func (s *Scanner) Bindings() []Binding { return s.bindings }

// Done reports whether the root has been closed. Only white space may follow,
// and Next tells if there is anything else.
func (s *Scanner) Done() bool { return s.place == inEpilog }

// Next scans the next item and stores it in it. The first byte of b must be the
// one behind the previous item. If b does not hold the whole item, Next returns
// ErrMore, and the next call must pass the same bytes with more behind them; they
// may be at another address.
//
// Any other error is a *[SyntaxError], and final until the scanner is reset.
func (s *Scanner) Next(b []byte, it *Item) error {
	if s.err != nil {
		return s.err
	}
	i, r := s.pos, next
	for {
		switch s.state {
		case atItem:
			i, r = s.item(b)
		case inText:
			i, r = s.text(b, i)
		case inCDATA:
			i, r = s.cdata(b, i)
		case inReference:
			i, r = s.digits(b, i)
		case inEndName, inEndSpace:
			i, r = s.endTag(b, i)
		default:
			i, r = s.startTag(b, i)
		}
		switch r {
		case more:
			s.pos = i
			return ErrMore
		case whole:
			s.finish(b, i, it)
			return nil
		case bad:
			return s.err
		}
	}
}

// fail records an error at offset i of the current item.
func (s *Scanner) fail(i int, msg string) (int, result) {
	s.err = &SyntaxError{Offset: s.base + i, Msg: msg}
	return i, bad
}

const (
	byteOrderMark = "\xEF\xBB\xBF"
	declStart     = "<?xml"
	cdataStart    = "<![CDATA["
)

// item begins an item. It looks at few bytes, and begins anew when there are more.
func (s *Scanner) item(b []byte) (int, result) {
	if len(b) == 0 {
		return 0, more
	}
	s.dropRoot()
	if class[b[0]]&isSpace != 0 {
		i := 1
		for i < len(b) && class[b[i]]&isSpace != 0 {
			i++
		}
		s.kind = Space
		s.place = max(s.place, inProlog)
		return i, whole
	}
	if s.place == inEpilog {
		return s.fail(0, "more than white space behind the root")
	}
	if s.place == atStart && b[0] == byteOrderMark[0] {
		switch matches(b, byteOrderMark) {
		case next:
			s.kind, s.place = Space, atDecl
			return len(byteOrderMark), whole
		case more:
			return 0, more
		}
	}
	if b[0] != '<' {
		return s.fail(0, "character data outside of the root's children")
	}
	if len(b) == 1 {
		return 0, more
	}
	switch b[1] {
	case '/':
		if s.place != inContent || s.inner {
			return s.fail(0, "end tag without a start tag")
		}
		s.kind, s.state, s.mark = End, inEndName, 2
		return 2, next
	case '?':
		if s.place > atDecl {
			return s.fail(0, "processing instruction")
		}
		switch r := matches(b, declStart); r {
		case more:
			return 0, more
		case bad:
			return s.fail(0, "processing instruction")
		}
		s.kind, s.state = Decl, afterName
		s.attrs = s.attrs[:0]
		return len(declStart), next
	case '!':
		return s.fail(0, "comment, section or document type declaration")
	}
	s.kind = Start
	if s.place == inContent {
		s.kind = Element
	}
	s.open, s.binds, s.arena = s.open[:0], s.binds[:0], s.arena[:0]
	s.usesDefault, s.rebinds = false, s.rebinds[:0]
	for k := range s.scope {
		s.scope[k].used = false
	}
	if s.kind == Element {
		if i := s.plainStart(b, 1); i > 0 {
			if len(s.open) == 0 {
				return i, whole
			}
			s.state = inText
			return i, next
		}
	}
	return s.beginTag(0)
}

// matches tells whether b begins with want, or may do so when there is more.
func matches(b []byte, want string) result {
	switch {
	case len(b) >= len(want) && string(b[:len(want)]) == want:
		return next
	case len(b) < len(want) && string(b) == want[:len(b)]:
		return more
	}
	return bad
}

// finish stores the item with its end at offset i in it.
func (s *Scanner) finish(b []byte, i int, it *Item) {
	*it = Item{Kind: s.kind, Len: i}
	switch s.kind {
	case Decl:
		s.place = inProlog
	case Start, Empty:
		s.place = inContent
		if s.kind == Empty {
			s.place = inEpilog
		}
		it.Prefix, it.Local = s.name.split(b)
		it.URI, it.NameEnd = s.rootURI, s.name.end
	case Element:
		it.Prefix, it.Local = s.first.split(b)
		it.URI, it.NameEnd = s.uri(b, s.firstNS), s.first.end
		it.UsesDefault, it.Rebinds = s.usesDefault, s.rebinds
		s.uses = s.uses[:0]
		for k := range s.scope {
			if s.scope[k].used {
				s.uses = append(s.uses, s.bindings[k])
			}
		}
		it.Uses = s.uses
	case End:
		s.place = inEpilog
	}
	s.base += i
	s.pos, s.state = 0, atItem
}
