package xmlscan

// Nearly all tags inside a root are written alike: names of ASCII, one blank
// before each attribute, values that mean themselves, and no prefix in the name of
// an attribute but xml and xmlns. Such a tag is taken here at one go, and of its
// attributes nothing needs to be remembered but the declarations.
//
// What is not so, not whole, or wrong, is left to startTag and endTag as if it
// had not been looked at. They alone tell what is wrong.

// plainMarkup scans the tag in a child whose '<' is before offset i. It returns
// the offset behind it, or -1 if it has left it alone.
func (s *Scanner) plainMarkup(b []byte, i int) int {
	if i < len(b) && b[i] == '/' {
		return s.plainEnd(b, i+1)
	}
	if end := s.commonTag(b, i); end > 0 {
		return end
	}
	return s.plainStart(b, i)
}

// plainEnd is plainMarkup for an end tag whose name begins at offset i.
func (s *Scanner) plainEnd(b []byte, i int) int {
	o := &s.open[len(s.open)-1]
	end := i + o.end - o.start
	if end >= len(b) || b[end] != '>' || string(b[i:end]) != string(b[o.start:o.end]) {
		return -1
	}
	s.close()
	return end + 1
}

// plainStart is plainMarkup for a start tag whose name begins at offset i.
func (s *Scanner) plainStart(b []byte, i int) int {
	colon, end := -1, nameEnd(b, i)
	if end < len(b) && b[end] == ':' {
		colon, end = end, plainLocal(b, end)
	}
	if end == len(b) || class[b[i]]&beginsName == 0 || s.tooDeep() {
		return -1
	}
	o := open{i, end, len(s.binds), len(s.arena)}
	rebinds := len(s.rebinds)
	next, empty := end+1, false
	if b[end] != '>' {
		next, empty = s.plainRest(b, end)
	}
	ns, ok := 0, false
	if next > 0 {
		ns, ok = s.plainNS(b, i, colon)
	}
	if !ok {
		s.binds, s.rebinds = s.binds[:o.binds], s.rebinds[:rebinds]
		return -1
	}
	if len(s.open) == 0 {
		s.first, s.firstNS = name{i, colon, end}, ns
	}
	switch {
	case !empty:
		s.open = append(s.open, o)
	case len(s.open) > 0:
		s.binds = s.binds[:o.binds]
	}
	return next
}

// plainNS is lookup for the element whose name begins at offset i. Mostly the
// last declaration is that of the default namespace.
func (s *Scanner) plainNS(b []byte, i, colon int) (ns int, ok bool) {
	if k := len(s.binds) - 1; colon < 0 && k >= 0 && s.binds[k].prefix == s.binds[k].prefixEnd {
		return len(s.scope) + k, true
	}
	return s.lookup(b, i, max(i, colon))
}

// plainRest scans what follows the name in a start tag and puts the declarations
// in force that it finds. It returns the offset behind the tag, or -1 if it is
// not plain.
func (s *Scanner) plainRest(b []byte, i int) (end int, empty bool) {
	var seen uint64
	for limit := orDefault(s.Limits.Attrs, 64); i < len(b) && b[i] == ' '; limit-- {
		start := i + 1
		n := nameEnd(b, start)
		if n < len(b) && b[n] == ':' {
			if p := string(b[start:n]); p != xmlPrefix && p != xmlnsPrefix {
				return -1, false
			}
			n = plainLocal(b, n)
		}
		if n+2 >= len(b) || b[n] != '=' || class[b[start]]&beginsName == 0 || limit == 0 {
			return -1, false
		}
		bit := nameBit(b, start, n)
		if seen&bit != 0 {
			return -1, false // it may be called like one before it
		}
		seen |= bit
		value := n + 2
		if i = plainValue(b, value); i < 0 {
			return -1, false
		}
		if declares(b[start:n]) && s.declare(b, min(start+len(xmlnsPrefix+":"), n), n, value, i, false) != "" {
			return -1, false
		}
		i++
	}
	if empty = i < len(b) && b[i] == '/'; empty {
		i++
	}
	if i >= len(b) || b[i] != '>' {
		return -1, false
	}
	return i + 1, empty
}

// plainLocal returns where the name ends whose prefix ends at colon, or len(b) if
// it is not plain.
func plainLocal(b []byte, colon int) int {
	i := colon + 1
	if i == len(b) || class[b[i]]&beginsName == 0 {
		return len(b)
	}
	return nameEnd(b, i)
}
