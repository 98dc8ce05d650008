package xmlscan

import (
	"bytes"
	"slices"
)

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

// A namespace is known by a number: from 0 the declarations of the scope, then those made
// inside the item, in the order of their making. Two declarations may name the same
// namespace. After a comparison, the field same is the number of the first of them. So
// names can be compared often however long the URIs are.
const (
	noNS    = -1 // no namespace
	xmlNS   = -2 // the one of the prefix xml
	unknown = -3
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

// resolve finds the namespaces of the names in a start tag, checks for duplicate
// attributes, and returns the namespace of the element. If msg is not empty it tells the
// fault at offset at.
func (s *Scanner) resolve(b []byte) (ns, at int, msg string) {
	if len(s.attrs) > 1 {
		if k := s.duplicate(b); k > 0 {
			return 0, s.attrs[k].start, "duplicate attribute"
		}
	}
	prefixed := false
	for k := range s.attrs {
		a := &s.attrs[k]
		if a.decl {
			prefix := a.end
			if a.colon >= 0 {
				prefix = a.colon + 1
			}
			if msg := s.declare(b, prefix, a.end, a.value, a.valueEnd, a.escaped); msg != "" {
				return 0, a.start, msg
			}
		} else if a.colon >= 0 {
			prefixed = true
		}
	}

	ns, ok := s.lookup(b, s.name.start, max(s.name.start, s.name.colon))
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
		if a.ns, ok = s.lookup(b, a.start, a.colon); !ok {
			return 0, a.start, "undeclared prefix"
		}
		for j := range s.attrs[:k] {
			o := &s.attrs[j]
			if o.colon >= 0 && !o.decl && s.same(b, o.ns) == s.same(b, a.ns) &&
				string(b[o.colon+1:o.end]) == string(b[a.colon+1:a.end]) {
				return 0, a.start, "duplicate attribute"
			}
		}
	}
	return ns, 0, ""
}

// nameBit returns one bit for the name from offset i to end. Names used together in XMPP
// mostly have different ones.
func nameBit(b []byte, i, end int) uint64 {
	return 1 << ((uint(b[i])*2 + uint(b[end-1])*14 + uint(end-i)) & 63)
}

// duplicate returns the index of an attribute with the name of an earlier one, or 0 if
// there is none.
func (s *Scanner) duplicate(b []byte) int {
	var seen uint64
	for k := range s.attrs {
		a := &s.attrs[k]
		bit := nameBit(b, a.start, a.end)
		if seen&bit != 0 {
			for j := range s.attrs[:k] {
				if string(b[a.start:a.end]) == string(b[s.attrs[j].start:s.attrs[j].end]) {
					return k
				}
			}
		}
		seen |= bit
	}
	return 0
}

// declare puts a declaration in force, with its prefix and value at these offsets. It
// returns the fault of a forbidden one.
func (s *Scanner) declare(b []byte, prefix, prefixEnd, value, valueEnd int, escaped bool) (msg string) {
	if len(s.binds) >= orDefault(s.Limits.Bindings, 128) {
		return "too many namespace declarations"
	}
	s.binds = slices.Grow(s.binds, 1)[:len(s.binds)+1]
	d := &s.binds[len(s.binds)-1]
	d.prefix, d.prefixEnd = prefix, prefixEnd
	d.uri, d.uriEnd, d.inArena = value, valueEnd, escaped
	d.same = unknown
	uri := b[value:valueEnd]
	if escaped {
		d.uri = len(s.arena)
		s.arena = Unescape(s.arena, uri)
		d.uriEnd = len(s.arena)
		uri = s.arena[d.uri:]
	}

	name := b[prefix:prefixEnd]
	switch {
	case string(name) == xmlnsPrefix:
		return "declaration of the prefix xmlns"
	case string(uri) == xmlnsURI:
		return "declaration of the xmlns namespace"
	case (string(name) == xmlPrefix) != (string(uri) == xmlURI):
		return "declaration of the prefix xml or its namespace"
	case len(name) > 0 && len(uri) == 0:
		return "declaration of a prefix as no namespace"
	}
	if s.Watch != "" && string(uri) == s.Watch {
		s.rebinds = append(s.rebinds, Span{value, valueEnd})
	}
	if string(name) == xmlPrefix {
		d.same = xmlNS
	}
	return ""
}

// lookup finds the namespace of the prefix b[start:end], or of element names without one if
// it is empty, and notes the part taken from the scope.
func (s *Scanner) lookup(b []byte, start, end int) (ns int, ok bool) {
	for k := len(s.binds) - 1; k >= 0; k-- {
		d := &s.binds[k]
		if d.prefixEnd-d.prefix == end-start && (start == end || string(b[d.prefix:d.prefixEnd]) == string(b[start:end])) {
			return len(s.scope) + k, true
		}
	}
	prefix := b[start:end]
	if len(prefix) == 0 {
		s.usesDefault = true
	} else if string(prefix) == xmlPrefix {
		return xmlNS, true
	}
	if s.kind != Element {
		// The scope comes from another root. The root's takings from outside are treated as
		// its own declarations.
		for _, d := range s.Outer {
			if d.Prefix == string(prefix) {
				n := len(s.arena)
				s.arena = append(s.arena, d.URI...)
				s.binds = append(s.binds, bind{start, end, n, len(s.arena), true, unknown})
				return len(s.scope) + len(s.binds) - 1, true
			}
		}
		return noNS, len(prefix) == 0
	}
	for k := range s.bindings {
		if s.bindings[k].Prefix == string(prefix) {
			s.scope[k].used = len(prefix) > 0
			return k, true
		}
	}
	return noNS, len(prefix) == 0
}

// same returns a number for comparing a namespace.
func (s *Scanner) same(b []byte, ns int) int {
	switch {
	case ns < 0:
		return ns
	case ns < len(s.scope):
		return s.scope[ns].same
	}
	d := &s.binds[ns-len(s.scope)]
	if d.same == unknown {
		d.same = ns
		for k := range ns {
			if bytes.Equal(s.uri(b, k), s.bindURI(b, d)) {
				d.same = s.same(b, k)
				break
			}
		}
	}
	return d.same
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

// enterRoot keeps the necessary parts of the root with the namespace ns while its children
// are scanned.
func (s *Scanner) enterRoot(b []byte, ns int) {
	s.root = append(s.root[:0], b[s.name.start:s.name.end]...)
	s.rootURI = s.uri(b, ns)
	s.rootAttrs = slices.Grow(s.rootAttrs, len(s.attrs))[:len(s.attrs)] // cleared by dropRoot
	for k := range s.attrs {
		a, out := &s.attrs[k], &s.rootAttrs[k]
		out.Prefix, out.Local = a.split(b)
		out.Value, out.Escaped = b[a.value:a.valueEnd], a.escaped
		if a.decl {
			out.URI = xmlnsURIBytes
		} else if a.colon >= 0 {
			out.URI = s.uri(b, a.ns)
		}
	}

	// Successive roots mostly declare the same.
	for k := range s.binds {
		d := &s.binds[k]
		prefix, uri := b[d.prefix:d.prefixEnd], s.bindURI(b, d)
		if k == len(s.bindings) || s.bindings[k].Prefix != string(prefix) || s.bindings[k].URI != string(uri) {
			s.cutScope(k)
			s.addScope(s.intern(prefix), s.intern(uri))
		}
	}
	s.setOuter(len(s.binds))
}

// cutScope leaves n declarations in the scope.
func (s *Scanner) cutScope(n int) {
	s.scope, s.bindings = s.scope[:n], s.bindings[:n]
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

// setScope makes d the declaration at index k of the scope. All before it are there. The
// scope keeps the ones behind it only if it was there.
func (s *Scanner) setScope(k int, d Binding) {
	if k == len(s.bindings) || s.bindings[k] != d {
		s.cutScope(k)
		s.addScope(s.internString(d.Prefix), s.internString(d.URI))
	}
}

// setOuter puts the declarations from outside the root, without those repeated by it,
// behind the n declarations of the root.
func (s *Scanner) setOuter(n int) {
	end := n
next:
	for _, d := range s.Outer {
		for k := range n {
			if s.bindings[k].Prefix == d.Prefix {
				continue next
			}
		}
		s.setScope(end, d)
		end++
	}
	s.cutScope(end)
}
