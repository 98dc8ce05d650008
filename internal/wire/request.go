// Package wire reads and writes the <body/> wrapper of BOSH (XEP-0124, sections 6 and 7):
// the attributes by name, and the payloads as the bytes of their arrival. Inserted
// declarations make them self-contained; they are never encoded anew.
package wire

import (
	"bytes"
	"errors"
	"reflect"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// Namespaces of the wrapper and its attributes.
const (
	NS       = "http://jabber.org/protocol/httpbind"
	NSXBOSH  = "urn:xmpp:xbosh"
	NSStream = "http://etherx.jabber.org/streams"
	NSClient = "jabber:client"
	nsXML    = "http://www.w3.org/XML/1998/namespace"
)

// A Request is a <body/> received from a client. Its byte slices point into Body or into
// buffers of its own, and are good until the next Parse. An absent attribute is nil; an
// empty one is not.
type Request struct {
	Body []byte // what was parsed; owned by the Request

	Wrapper
	Other    []Attr // attributes that are not in Wrapper, without namespace declarations
	Payloads []Payload

	decls   []byte // what the Payloads' decls point into
	text    []byte // unescaped attribute values
	rebinds []xmlscan.Span
	scan    xmlscan.Scanner
	answer  *Answer // that this is a part of, or nil
}

// A Wrapper is the meaning of a <body/> start tag for BOSH.
type Wrapper struct {
	// Root says that the start tag was read: the attributes are reliable even if Parse
	// failed behind it.
	Root bool

	SID, To, From, Lang, Route, Content, Ver []byte
	Type, Condition, Key, NewKey, Stream     []byte
	Version, Restart                         []byte // of NSXBOSH
	Rid, Ack, Wait, Hold, Pause              Number
}

// An Attr is an attribute of no meaning to BOSH.
type Attr struct{ Space, Local, Value string }

// A Payload is one child of the wrapper.
type Payload struct {
	Local, URI []byte // its name

	start, end  int    // in Body
	nameEnd     int    // where declarations can be inserted
	usesDefault bool   // it takes the wrapper's namespace for its default
	decls       [2]int // in Request.decls: other declarations it takes from the wrapper
	rebinds     [2]int // in Request.rebinds: its declarations of NS
}

var (
	errRoot  = errors.New("root is not a body of the httpbind namespace")
	errEmpty = errors.New("no whole body")
	errTag   = errors.New("start tag too large")
	errDecls = errors.New("too much to declare again on the payloads")
)

// MaxTag is how many bytes the wrapper's start tag may have. Many of them are kept for as
// long as the session lives.
const MaxTag = 16 << 10

// Ours are limits for our own answers. Their elements are within the usual limits, with
// added declarations of the stream's root. They also repeat the addresses of the client and
// the application.
var Ours = Limits{Attrs: 256, Bindings: 512, trusted: true}

// minDecls is the least limit in bytes on declarations taken by payloads from the wrapper,
// each counted as often as it is taken. Beyond that they may not exceed twice the body:
// many small payloads with one long declaration of the wrapper would make a thousand times
// as much of it.
const minDecls = 256 << 10

// tolerated is in force without a declaration, since some clients forget it.
var tolerated = []xmlscan.Binding{{Prefix: usualPrefix, URI: NSXBOSH}}

// Limits bound the input of Parse. Zero fields stand for xmlscan's defaults.
type Limits struct {
	Depth, Attrs, Bindings int
	Payloads               int // 0: no limit

	trusted bool // no limit on the start tag, nor on what must be declared again
	tag     bool // only the start tag is of interest
}

// Reset forgets the parsed parts but keeps the buffers.
func (r *Request) Reset() {
	r.Body, r.Wrapper = r.Body[:0], Wrapper{}
	r.Other, r.Payloads = r.Other[:0], r.Payloads[:0]
	r.decls, r.text, r.rebinds = r.decls[:0], r.text[:0], r.rebinds[:0]
}

// Begun reads the start tag of a body on its way from its part b, and reports whether it is
// there: then r has its attributes. Old contents of r are forgotten.
func (r *Request) Begun(b []byte) bool {
	body := r.Body
	r.Reset()
	r.Body = b[:min(len(b), MaxBegin)]
	r.Parse(Limits{tag: true})
	r.Body = body[:0]
	return r.Root
}

// MaxBegin is how many bytes of a body Begun looks at.
const MaxBegin = MaxTag + 1<<10

// Size returns the bytes of the parsed parts besides Body, or their capacity.
func (r *Request) Size() int {
	return cap(r.Other)*attrSize + cap(r.Payloads)*payloadSize + cap(r.rebinds)*spanSize + cap(r.decls) + cap(r.text)
}

var (
	attrSize    = int(reflect.TypeFor[Attr]().Size())
	payloadSize = int(reflect.TypeFor[Payload]().Size())
	spanSize    = int(reflect.TypeFor[xmlscan.Span]().Size())
)

// Drop forgets all but the body, and takes no room for it.
func (r *Request) Drop() { *r = Request{Body: r.Body} }

// Parse reads r.Body. If it fails, r.Root tells whether the attributes are
// good nevertheless.
func (r *Request) Parse(lim Limits) error {
	r.scan.Limits = xmlscan.Limits{Depth: lim.Depth, Attrs: lim.Attrs, Bindings: lim.Bindings}
	r.scan.Outer = tolerated
	if r.answer != nil {
		r.scan.Outer = toleratedInAnswers
	}
	r.scan.Watch = NS
	r.scan.Reset()
	var it xmlscan.Item
	b, off := r.Body, 0
	for off < len(b) {
		err := r.scan.Next(b[off:], &it)
		if err == xmlscan.ErrMore {
			break
		}
		if err != nil {
			return err
		}
		switch it.Kind {
		case xmlscan.Start, xmlscan.Empty:
			if string(it.Local) != "body" || string(it.URI) != NS {
				return errRoot
			}
			r.Root = true
			r.attributes()
			if lim.tag {
				return nil
			}
			if it.Len > MaxTag && !lim.trusted {
				return errTag
			}
		case xmlscan.Element:
			if lim.Payloads > 0 && len(r.Payloads) == lim.Payloads {
				return errors.New("too many payloads")
			}
			r.payload(off, &it)
			if len(r.decls) > max(minDecls, 2*len(b)) && !lim.trusted {
				return errDecls
			}
		}
		off += it.Len
	}
	if !r.scan.Done() || off < len(b) {
		return errEmpty
	}
	return nil
}

func (r *Request) attributes() {
	attrs := r.scan.Attrs()
	for k := range attrs {
		a := &attrs[k]
		switch {
		case len(a.Prefix) == 0:
			if string(a.Local) != "xmlns" && !r.known(a) {
				r.other(a)
			}
		case string(a.Prefix) == "xmlns":
		case string(a.URI) == NSXBOSH || string(a.Prefix) == usualPrefix:
			if !r.xbosh(a) {
				r.other(a)
			}
		case string(a.URI) == nsXML && string(a.Local) == "lang":
			r.Lang = r.value(a)
		default:
			r.other(a)
		}
	}
}

// usualPrefix is the one of XEP-0206 for its attributes. Some clients bind it to another
// namespace and mean the attributes all the same.
const usualPrefix = "xmpp"

// xbosh takes an attribute of XEP-0206. An attribute in the namespace counts for more than
// one with the usual prefix only.
func (r *Request) xbosh(a *xmlscan.Attr) bool {
	var value *[]byte
	switch string(a.Local) {
	case "version":
		value = &r.Version
	case "restart":
		value = &r.Restart
	case "restartlogic": // of answers: it says nothing in a request
		return true
	default:
		return false
	}
	if *value == nil || string(a.URI) == NSXBOSH {
		*value = r.value(a)
	}
	return true
}

func (r *Request) known(a *xmlscan.Attr) bool {
	switch string(a.Local) {
	case "rid":
		r.Rid = parseNumber(r.value(a))
	case "sid":
		r.SID = r.value(a)
	case "ack":
		r.Ack = parseNumber(r.value(a))
	case "key":
		r.Key = r.value(a)
	case "newkey":
		r.NewKey = r.value(a)
	case "type":
		r.Type = r.value(a)
	case "condition":
		r.Condition = r.value(a)
	case "stream":
		r.Stream = r.value(a)
	case "pause":
		r.Pause = parseNumber(r.value(a))
	case "to":
		r.To = host(r.value(a))
	case "from":
		r.From = r.value(a)
	case "route":
		r.Route = r.value(a)
	case "content":
		r.Content = r.value(a)
	case "ver":
		r.Ver = r.value(a)
	case "wait":
		r.Wait = parseNumber(r.value(a))
	case "hold":
		r.Hold = parseNumber(r.value(a))
	default:
		return r.answer != nil && r.answer.known(a)
	}
	return true
}

// host returns the name of a host, or a domain, without a dot at its end: with one it is
// the same name. This is a dot for IDNA. RFC 7622, section 3.2.
func host(name []byte) []byte {
	for _, dot := range dots {
		if rest, ok := bytes.CutSuffix(name, dot); ok {
			return rest
		}
	}
	return name
}

var dots = [...][]byte{[]byte("."), []byte("\u3002"), []byte("\uff0e"), []byte("\uff61")}

func (r *Request) other(a *xmlscan.Attr) {
	if r.SID != nil || r.answer != nil {
		return // only the opening of a session is interested
	}
	r.Other = append(r.Other, Attr{string(a.URI), string(a.Local), string(r.value(a))})
}

// value returns the unescaped value of a, never nil.
func (r *Request) value(a *xmlscan.Attr) []byte {
	if a.Escaped {
		// The buffer may move as it grows; older values stay in the old one.
		n := len(r.text)
		r.text = xmlscan.Unescape(r.text, a.Value)
		return r.text[n:len(r.text):len(r.text)]
	}
	if a.Value == nil {
		return []byte{}
	}
	return a.Value
}

func (r *Request) payload(off int, it *xmlscan.Item) {
	r.Payloads = append(r.Payloads, Payload{})
	p := &r.Payloads[len(r.Payloads)-1]
	p.Local, p.URI = it.Local, it.URI
	p.start, p.end, p.nameEnd = off, off+it.Len, off+it.NameEnd
	p.decls[0] = len(r.decls)
	if it.UsesDefault {
		// It is the wrapper's, unless it has a prefix.
		uri := r.defaultNS()
		if p.usesDefault = uri == NS; !p.usesDefault {
			r.decls = appendDecl(r.decls, "", uri)
		}
	}
	for _, u := range it.Uses {
		r.decls = appendDecl(r.decls, u.Prefix, u.URI)
	}
	p.decls[1] = len(r.decls)
	p.rebinds[0] = len(r.rebinds)
	for _, sp := range it.Rebinds {
		r.rebinds = append(r.rebinds, xmlscan.Span{Start: off + sp.Start, End: off + sp.End})
	}
	p.rebinds[1] = len(r.rebinds)
}

// defaultNS returns the default namespace in force in the wrapper.
func (r *Request) defaultNS() string {
	for _, d := range r.scan.Bindings() {
		if d.Prefix == "" {
			return d.URI
		}
	}
	return ""
}

// appendDecl appends a namespace declaration with a blank before it.
func appendDecl(dst []byte, prefix, uri string) []byte {
	dst = append(dst, " xmlns"...)
	if prefix != "" {
		dst = append(append(dst, ':'), prefix...)
	}
	dst = append(dst, "='"...)
	dst = xmlscan.AppendEscaped(dst, uri)
	return append(dst, '\'')
}

// Inherits reports whether p is in the namespace of the wrapper for want of a declaration
// of its own. In our answers this is our text, and no element of the application's.
func (p *Payload) Inherits() bool { return p.usesDefault && string(p.URI) == NS }

// Raw returns the bytes of p as they arrived.
func (r *Request) Raw(p Payload) []byte { return r.Body[p.start:p.end] }

// AppendElement appends the payload p with all the declarations it needs to
// stand alone.
func (r *Request) AppendElement(dst []byte, p Payload) []byte {
	if !p.usesDefault && p.decls[0] == p.decls[1] {
		return append(dst, r.Body[p.start:p.end]...) // mostly
	}
	dst = append(dst, r.Body[p.start:p.nameEnd]...)
	if p.usesDefault {
		dst = append(dst, " xmlns='"+NS+"'"...)
	}
	dst = append(dst, r.decls[p.decls[0]:p.decls[1]]...)
	return append(dst, r.Body[p.nameEnd:p.end]...)
}

// AppendStanza is AppendElement for XMPP. Names in the wrapper's namespace, with or without
// a declaration, are moved to jabber:client: clients mean it (XEP-0206, section 2).
func (r *Request) AppendStanza(dst []byte, p Payload) []byte {
	dst = append(dst, r.Body[p.start:p.nameEnd]...)
	if p.usesDefault {
		dst = append(dst, " xmlns='"+NSClient+"'"...)
	}
	decls := r.decls[p.decls[0]:p.decls[1]]
	if string(p.URI) == NS && len(decls) > 0 {
		decls = bytes.ReplaceAll(decls, []byte("'"+NS+"'"), []byte("'"+NSClient+"'"))
	}
	dst = append(dst, decls...)
	at := p.nameEnd
	if string(p.URI) == NS {
		for _, sp := range r.rebinds[p.rebinds[0]:p.rebinds[1]] {
			dst = append(dst, r.Body[at:sp.Start]...)
			dst = append(dst, NSClient...)
			at = sp.End
		}
	}
	return append(dst, r.Body[at:p.end]...)
}

// A Number is a non-negative integer attribute, or should be.
type Number struct {
	Set bool  // the attribute was there
	OK  bool  // it was a non-negative integer
	N   int64 // its value, at most MaxNumber
}

// MaxNumber replaces larger numbers: it lies above every number of BOSH.
const MaxNumber = 1 << 58

// parseNumber takes decimal digits, with white space around them and zeros
// before them, of any length.
func parseNumber(b []byte) Number {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	n := Number{Set: true, OK: len(b) > 0}
	for _, c := range b {
		if c < '0' || c > '9' {
			return Number{Set: true}
		}
		n.N = min(n.N*10+int64(c-'0'), MaxNumber)
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// Bool reads a boolean of XML Schema.
func Bool(b []byte) (v, ok bool) {
	switch string(b) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}
