package xmlscan

// A name is where a qualified name stands in the input. colon is -1 if it has
// no prefix.
type name struct {
	start, colon, end int
}

func (n name) split(b []byte) (prefix, local []byte) {
	if n.colon < 0 {
		return nil, b[n.start:n.end]
	}
	return b[n.start:n.colon], b[n.colon+1 : n.end]
}

// An attr is where an attribute stands in the input.
type attr struct {
	name
	value, valueEnd int
	decl            bool // it is a namespace declaration
	escaped         bool // the value is not what stands there
	ns              int  // its namespace, if it has a prefix
}

// An open is an element before its end tag.
type open struct {
	start, end   int // its name
	binds, arena int // how many of each there were before it
}

// beginTag begins the start tag with its '<' at offset i.
func (s *Scanner) beginTag(i int) (int, result) {
	if s.kind == Element && s.tooDeep() {
		return s.fail(i, "elements nested too deeply")
	}
	s.state, s.mark, s.colon = inName, i+1, -1
	s.attrs = s.attrs[:0]
	return i + 1, next
}

// tooDeep reports whether another element in a child would be one too many. The
// root is not on the stack while its children are scanned.
func (s *Scanner) tooDeep() bool { return len(s.open)+2 > orDefault(s.Limits.Depth, 128) }

func orDefault(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}

// startTag scans a start tag, or the XML declaration, of the same form but for its ends.
func (s *Scanner) startTag(b []byte, i int) (int, result) {
	st := s.state
	for {
		switch st {
		case inName, inAttrName:
			if st == inName && i == s.mark {
				if n, ok := plainName(b, i); ok {
					s.name = n
					i, st = s.plainAttrs(b, n.end), afterName
					break
				}
			}
			var r result
			if i, r = s.qname(b, i); r != next {
				s.state = st
				return i, r
			}
			if st == inName {
				s.name = name{s.mark, s.colon, i}
				st = afterName
				continue
			}
			if len(s.attrs) >= orDefault(s.Limits.Attrs, 64) {
				return s.fail(s.mark, "too many attributes")
			}
			s.attrs = append(s.attrs, attr{
				name: name{s.mark, s.colon, i},
				decl: declares(b[s.mark:i]),
			})
			st = afterAttr
		}

		if i == len(b) {
			s.state = st
			return i, more
		}
		c := b[i]
		switch st {
		case afterName, beforeAttr:
			if class[c]&isSpace != 0 {
				st = beforeAttr
				i++
				continue
			}
			switch {
			case c == '>' && s.kind != Decl:
				return s.opened(b, i+1, false)
			case c == '/' && s.kind != Decl, c == '?' && s.kind == Decl:
				st = atTagEnd
				i++
			case st == afterName:
				return s.fail(i, "white space, or the end of the tag, expected")
			default:
				s.mark, s.colon = i, -1
				st = inAttrName
			}

		case afterAttr, beforeValue:
			i++
			switch {
			case class[c]&isSpace != 0:
			case st == afterAttr && c == '=':
				st = beforeValue
			case st == beforeValue && (c == '\'' || c == '"'):
				s.quote = c
				s.attrs[len(s.attrs)-1].value = i
				st = inValue
			default:
				return s.fail(i-1, "attribute without a quoted value")
			}

		case inValue:
			if i = skipValue(b, i); i == len(b) {
				continue
			}
			switch c = b[i]; {
			case c == s.quote:
				s.attrs[len(s.attrs)-1].valueEnd = i
				st = afterName
				i = s.plainAttrs(b, i+1)
			case c == '&':
				s.attrs[len(s.attrs)-1].escaped = true
				s.state = st
				return s.reference(b, i)
			case c == '<':
				return s.fail(i, "'<' in an attribute value")
			default:
				if c == '\t' || c == '\n' || c == '\r' {
					s.attrs[len(s.attrs)-1].escaped = true
				}
				var r result
				if i, r = s.chars(b, i); r != next {
					s.state = st
					return i, r
				}
			}

		case atTagEnd:
			if c != '>' {
				return s.fail(i, "'>' expected")
			}
			if s.kind == Decl {
				return s.declared(b, i+1)
			}
			return s.opened(b, i+1, true)
		}
	}
}

// plainName scans the qualified name at offset i if it is of ASCII and its end
// can be seen.
func plainName(b []byte, i int) (n name, ok bool) {
	n = name{i, -1, nameEnd(b, i)}
	if n.end < len(b) && b[n.end] == ':' {
		n.colon = n.end
		i = n.colon + 1
		n.end = nameEnd(b, i)
	}
	return n, n.end < len(b) && class[b[n.start]]&class[b[i]]&beginsName != 0 && b[n.end] != ':' && b[n.end] < 0x80
}

// nameEnd returns the offset, from i, of the first byte of b outside the name characters of
// ASCII.
func nameEnd(b []byte, i int) int {
	if 0 <= i && i < len(b)-7 {
		i += letters(word(b, i))
	}
	for i < len(b) && class[b[i]]&isInName != 0 {
		i++
	}
	return i
}

// plainAttrs scans attributes from offset i, behind a name or a value, and returns the
// offset behind the last of them. It takes them as they are nearly always written: a blank,
// a name of ASCII, an equals sign, and a value without references. It leaves everything
// else, incomplete or wrong, to startTag.
func (s *Scanner) plainAttrs(b []byte, i int) int {
	limit := orDefault(s.Limits.Attrs, 64)
	for i < len(b) && b[i] == ' ' && len(s.attrs) < limit {
		n, ok := plainName(b, i+1)
		at := n.end + 2 // where the value begins
		if !ok || at >= len(b) || b[n.end] != '=' {
			break
		}
		end := plainValue(b, at)
		if end < 0 {
			break
		}
		s.attrs = append(s.attrs, attr{})
		a := &s.attrs[len(s.attrs)-1]
		a.start, a.colon, a.end = n.start, n.colon, n.end
		a.value, a.valueEnd = at, end
		a.decl = declares(b[n.start:n.end])
		i = end + 1
	}
	return i
}

// plainValue returns the end of the attribute value from offset i, behind a quote if it is
// right. It returns -1 if the value has references, its end cannot be seen, or it is wrong.
func plainValue(b []byte, i int) int {
	quote := b[i-1]
	if quote != '\'' && quote != '"' {
		return -1
	}
	for {
		i = skipValue(b, i)
		if i == len(b) {
			return -1
		}
		c := b[i]
		if c == quote {
			return i
		}
		n := 1
		if c >= 0x80 {
			n = charsLen(b[i:])
		} else if class[c]&inAnyValue == 0 && c != '\'' && c != '"' {
			return -1
		}
		if n <= 0 {
			return -1
		}
		i += n
	}
}

// qname scans a qualified name from s.mark.
func (s *Scanner) qname(b []byte, i int) (int, result) {
	for i < len(b) {
		// Either part of the name must begin like a name.
		if i == s.mark || i == s.colon+1 {
			if c := b[i]; c < 0x80 {
				if class[c]&beginsName == 0 {
					return s.fail(i, "name expected")
				}
				i++
			} else if n := nameLen(b[i:], isNameStart); n > 0 {
				i += n
			} else if n == 0 {
				return i, more
			} else {
				return s.fail(i, "name expected")
			}
		}
		for i < len(b) && class[b[i]]&isInName != 0 {
			i++
		}
		if i == len(b) {
			return i, more
		}
		switch c := b[i]; {
		case c == ':':
			if s.colon >= 0 {
				return s.fail(i, "more than one colon in a name")
			}
			s.colon = i
			i++
		case c < 0x80:
			return i, next
		default:
			n := nameLen(b[i:], isNameChar)
			if n == 0 {
				return i, more
			} else if n < 0 {
				return s.fail(i, "invalid character in a name")
			}
			i += n
		}
	}
	return i, more
}

// opened handles a start tag with its end at offset i.
func (s *Scanner) opened(b []byte, i int, empty bool) (int, result) {
	o := open{s.name.start, s.name.end, len(s.binds), len(s.arena)}
	ns, at, msg := s.resolve(b)
	if msg != "" {
		return s.fail(at, msg)
	}
	if s.kind == Start {
		if empty {
			s.kind = Empty
		}
		s.enterRoot(b, ns)
		return i, whole
	}
	if len(s.open) == 0 {
		s.first, s.firstNS = s.name, ns
		if empty {
			return i, whole
		}
	}
	if empty {
		s.binds, s.arena = s.binds[:o.binds], s.arena[:o.arena]
	} else {
		s.open = append(s.open, o)
	}
	s.state = inText
	return i, next
}

// endTag scans an end tag. Its name must be the one of the start tag: a comparison is
// enough.
func (s *Scanner) endTag(b []byte, i int) (int, result) {
	if s.state == inEndName {
		want := s.root
		if s.kind == Element {
			o := &s.open[len(s.open)-1]
			want = b[o.start:o.end]
		}
		want = want[i-s.mark:]
		n := min(len(want), len(b)-i)
		if string(b[i:i+n]) != string(want[:n]) {
			return s.fail(s.mark, "end tag does not match the start tag")
		}
		i += n
		if i == len(b) {
			return i, more
		}
		if class[b[i]]&isSpace == 0 && b[i] != '>' {
			return s.fail(s.mark, "end tag does not match the start tag")
		}
		s.state = inEndSpace
	}
	for i < len(b) && class[b[i]]&isSpace != 0 {
		i++
	}
	if i == len(b) {
		return i, more
	}
	if b[i] != '>' {
		return s.fail(i, "'>' expected")
	}
	i++
	if s.kind == End {
		return i, whole
	}
	if s.close(); len(s.open) == 0 {
		return i, whole
	}
	s.state = inText
	return i, next
}

// close closes the innermost element. The declarations of the first one stay, to
// name it.
func (s *Scanner) close() {
	last := len(s.open) - 1
	o := &s.open[last]
	s.open = s.open[:last]
	if last > 0 && len(s.binds) > o.binds {
		s.binds, s.arena = s.binds[:o.binds], s.arena[:o.arena]
	}
}

// declared checks the XML declaration with its end at offset i.
func (s *Scanner) declared(b []byte, i int) (int, result) {
	attrs := s.attrs
	take := func(name string) (value []byte, ok bool) {
		if len(attrs) == 0 || string(b[attrs[0].start:attrs[0].end]) != name {
			return nil, false
		}
		value = b[attrs[0].value:attrs[0].valueEnd]
		attrs = attrs[1:]
		return value, true
	}
	v, ok := take("version")
	if !ok || len(v) < 3 || v[0] != '1' || v[1] != '.' {
		return s.fail(0, "XML declaration without a known version")
	}
	for _, c := range v[2:] {
		if c < '0' || c > '9' {
			return s.fail(0, "XML declaration without a known version")
		}
	}
	if v, ok := take("encoding"); ok && !equalFold(v, "utf-8") && !equalFold(v, "us-ascii") {
		return s.fail(0, "encoding other than UTF-8")
	}
	if v, ok := take("standalone"); ok && string(v) != "yes" && string(v) != "no" {
		return s.fail(0, "invalid XML declaration")
	}
	if len(attrs) > 0 {
		return s.fail(0, "invalid XML declaration")
	}
	return i, whole
}

// equalFold compares b with lower, ASCII in lower case. Unlike bytes.EqualFold it takes no
// letter beyond ASCII for one of it.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
