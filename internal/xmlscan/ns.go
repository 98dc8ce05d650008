package xmlscan

import "bytes"

const (
	xmlPrefix   = "xml"
	xmlnsPrefix = "xmlns"
	xmlURI      = "http://www.w3.org/XML/1998/namespace"
	xmlnsURI    = "http://www.w3.org/2000/xmlns/"
)

var (
	xmlURIBytes   = []byte(xmlURI)
	xmlnsURIBytes = []byte(xmlnsURI)
)

// A namespace is known by a number: from 0 the declarations of the scope, then
// those made inside the item, in the order of their making. Two declarations
// may name the same namespace; the field same is the number of the first that
// does. So names can be compared often however long the URIs are.
const (
	noNS  = -1 // no namespace
	xmlNS = -2 // the one of the prefix xml
)

// A bind is a declaration made inside the current item.
type bind struct {
	prefix, prefixEnd int
	uri, uriEnd       int
	inArena           bool // the URI stands in Scanner.arena
	same              int
}

// An outer is a declaration made outside the current item. Its prefix is in
// the entry of Scanner.bindings with the same index.
type outer struct {
	uri  []byte
	same int
	used bool // by a name in the current item
}

// declares tells whether an attribute with this name is a declaration.
func declares(name []byte) bool {
	return len(name) >= len(xmlnsPrefix) && string(name[:len(xmlnsPrefix)]) == xmlnsPrefix &&
		(len(name) == len(xmlnsPrefix) || name[len(xmlnsPrefix)] == ':')
}

// resolve finds the namespaces of the names in a start tag, checks that its
// attributes differ, and returns the namespace of the element. If msg is not
// empty it tells what is wrong at offset at.
func (s *Scanner) resolve(b []byte) (ns, at int, msg string) {
	var seen uint64 // a bit for each hash of a name
	prefixed := false
	for k := range s.attrs {
		a := &s.attrs[k]
		nm := b[a.start:a.end]
		bit := uint64(1) << ((uint(nm[0])*5 + uint(nm[len(nm)-1])*3 + uint(len(nm))) & 63)
		if seen&bit != 0 {
			for j := range s.attrs[:k] {
				if string(nm) == string(b[s.attrs[j].start:s.attrs[j].end]) {
					return 0, a.start, "duplicate attribute"
				}
			}
		}
		seen |= bit
		if a.decl {
			if msg := s.declare(b, a); msg != "" {
				return 0, a.start, msg
			}
		} else if a.colon >= 0 {
			prefixed = true
		}
	}

	ns, ok := noNS, true
	if s.name.colon >= 0 {
		ns, ok = s.lookup(b, b[s.name.start:s.name.colon])
	} else {
		ns, ok = s.lookup(b, nil)
	}
	if !ok {
		return 0, s.name.start, "undeclared prefix"
	}
	if !prefixed {
		return ns, 0, ""
	}

	for k := range s.attrs {
		a := &s.attrs[k]
		if a.colon < 0 || a.decl {
			continue
		}
		if a.ns, ok = s.lookup(b, b[a.start:a.colon]); !ok {
			return 0, a.start, "undeclared prefix"
		}
		a.ns = s.same(a.ns)
		for j := range s.attrs[:k] {
			o := &s.attrs[j]
			if o.ns == a.ns && o.colon >= 0 && !o.decl &&
				string(b[o.colon+1:o.end]) == string(b[a.colon+1:a.end]) {
				return 0, a.start, "duplicate attribute"
			}
		}
	}
	return ns, 0, ""
}

// declare puts a declaration in force. If it must not be made it returns what
// is wrong.
func (s *Scanner) declare(b []byte, a *attr) (msg string) {
	if len(s.binds) >= orDefault(s.Limits.Bindings, 128) {
		return "too many namespace declarations"
	}
	d := bind{prefix: a.end, prefixEnd: a.end, uri: a.value, uriEnd: a.valueEnd}
	if a.colon >= 0 {
		d.prefix = a.colon + 1
	}
	uri := b[d.uri:d.uriEnd]
	if a.escaped {
		d.inArena, d.uri = true, len(s.arena)
		s.arena = Unescape(s.arena, uri)
		d.uriEnd = len(s.arena)
		uri = s.arena[d.uri:]
	}

	prefix := b[d.prefix:d.prefixEnd]
	switch {
	case string(prefix) == xmlnsPrefix:
		return "declaration of the prefix xmlns"
	case string(uri) == xmlnsURI:
		return "declaration of the xmlns namespace"
	case (string(prefix) == xmlPrefix) != (string(uri) == xmlURI):
		return "declaration of the prefix xml or its namespace"
	case len(prefix) > 0 && len(uri) == 0:
		return "declaration of a prefix as no namespace"
	}
	if s.Watch != "" && string(uri) == s.Watch {
		s.rebinds = append(s.rebinds, Span{a.value, a.valueEnd})
	}

	d.same = len(s.scope) + len(s.binds)
	if string(prefix) == xmlPrefix {
		d.same = xmlNS
	} else {
		for k := range d.same {
			if bytes.Equal(s.uri(b, k), uri) {
				d.same = s.same(k)
				break
			}
		}
	}
	s.binds = append(s.binds, d)
	return ""
}

// lookup finds the namespace of a prefix, or of element names without one if
// the prefix is empty, and notes what is taken from the scope.
func (s *Scanner) lookup(b, prefix []byte) (ns int, ok bool) {
	for k := len(s.binds) - 1; k >= 0; k-- {
		d := &s.binds[k]
		if string(b[d.prefix:d.prefixEnd]) == string(prefix) {
			return len(s.scope) + k, true
		}
	}
	if len(prefix) == 0 {
		s.usesDefault = true
	} else if string(prefix) == xmlPrefix {
		return xmlNS, true
	}
	for k := range s.bindings {
		if s.bindings[k].Prefix == string(prefix) {
			s.scope[k].used = len(prefix) > 0
			return k, true
		}
	}
	return noNS, len(prefix) == 0
}

// same returns the number by which a namespace can be compared.
func (s *Scanner) same(ns int) int {
	switch {
	case ns < 0:
		return ns
	case ns < len(s.scope):
		return s.scope[ns].same
	}
	return s.binds[ns-len(s.scope)].same
}

// uri returns the name of a namespace.
func (s *Scanner) uri(b []byte, ns int) []byte {
	switch {
	case ns == noNS:
		return nil
	case ns == xmlNS:
		return xmlURIBytes
	case ns < len(s.scope):
		return s.scope[ns].uri
	}
	return s.bindURI(b, &s.binds[ns-len(s.scope)])
}

func (s *Scanner) bindURI(b []byte, d *bind) []byte {
	if d.inArena {
		return s.arena[d.uri:d.uriEnd]
	}
	return b[d.uri:d.uriEnd]
}

// enterRoot keeps what must be known of the root, whose namespace is ns, while
// its children are scanned.
func (s *Scanner) enterRoot(b []byte, ns int) {
	s.root = append(s.root[:0], b[s.name.start:s.name.end]...)
	s.rootURI = s.uri(b, ns)
	s.rootAttrs = s.rootAttrs[:0]
	for k := range s.attrs {
		a := &s.attrs[k]
		out := Attr{Value: b[a.value:a.valueEnd]}
		out.Prefix, out.Local = a.split(b)
		if a.decl {
			out.URI = xmlnsURIBytes
		} else if a.colon >= 0 {
			out.URI = s.uri(b, a.ns)
		}
		s.rootAttrs = append(s.rootAttrs, out)
	}

	s.clearScope()
	for k := range s.binds {
		d := &s.binds[k]
		s.addScope(s.intern(b[d.prefix:d.prefixEnd]), s.intern(s.bindURI(b, d)))
	}
	s.addOuter()
}

func (s *Scanner) clearScope() {
	s.scope, s.bindings = s.scope[:0], s.bindings[:0]
}

func (s *Scanner) addScope(prefix, uri interned) {
	o := outer{uri: uri.b, same: len(s.scope)}
	for k := range s.bindings {
		if s.bindings[k].URI == uri.s {
			o.same = k
			break
		}
	}
	s.scope = append(s.scope, o)
	s.bindings = append(s.bindings, Binding{prefix.s, uri.s})
}

// addOuter adds what is declared outside the root and not again by it.
func (s *Scanner) addOuter() {
	n := len(s.bindings)
next:
	for _, d := range s.Outer {
		for k := range n {
			if s.bindings[k].Prefix == d.Prefix {
				continue next
			}
		}
		s.addScope(s.internString(d.Prefix), s.internString(d.URI))
	}
}
