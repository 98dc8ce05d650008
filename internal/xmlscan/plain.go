package xmlscan

import "math/bits"

// Nearly all tags inside a root are written alike: names of ASCII, one blank before each
// attribute, values without references, and no prefix in the name of an attribute but xml
// and xmlns. Such a tag is taken here at one go, and of its attributes nothing needs to be
// remembered but the declarations.
//
// Everything else, incomplete or wrong, is left to startTag and endTag without a trace.
// They alone tell the fault.

// plainTags scans successive tags in a child from offset i, up to the end of the child. It
// returns the offset behind them, where there is a '<' if it has left a tag alone.
func (s *Scanner) plainTags(b []byte, i int) int {
	for 0 <= i && i+1 < len(b) && b[i] == '<' {
		var end int
		switch {
		case b[i+1] == '/':
			end = s.plainEnd(b, i+2)
		case maybeCommon(b, i+1):
			end = s.commonStart(b, i+1)
		default:
			end = s.plainStart(b, i+1)
		}
		if end < 0 {
			return i
		}
		if i = end; len(s.open) == 0 {
			return i
		}
	}
	return i
}

// plainEnd scans the end tag with its name at offset i. It returns the offset behind it, or
// -1 if it has left it alone.
func (s *Scanner) plainEnd(b []byte, i int) int {
	o := &s.open[len(s.open)-1]
	end := i + o.end - o.start
	if end >= len(b) || b[end] != '>' || !equal(b, i, o.start, end-i) {
		return -1
	}
	s.close()
	return end + 1
}

// equal tells whether the n bytes of b at offset i equal those at offset j, before it. The
// names are mostly short.
func equal(b []byte, i, j, n int) bool {
	if uint(n) <= 8 && 0 <= j && j <= i && i < len(b)-7 {
		return (word(b, i)^word(b, j))<<(64-8*uint(n)) == 0
	}
	return string(b[i:i+n]) == string(b[j:j+n])
}

// plainStart is plainEnd for a start tag.
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
	// In a child without a prefix, names without a prefix need no look: either the child
	// has declared the default namespace or it has noted that it takes the outer one.
	ns, ok := 0, next > 0
	if ok && (colon >= 0 || s.first.colon >= 0 || len(s.open) == 0) {
		ns, ok = s.lookup(b, i, max(i, colon))
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

// plainRest scans the rest of a start tag behind the name and puts its declarations in
// force. It returns the offset behind the tag, or -1 if it is not plain.
func (s *Scanner) plainRest(b []byte, i int) (end int, empty bool) {
	i, seen := ordinary(b, i, 0)
	for i < len(b) && b[i] == ' ' {
		start := i + 1
		n := start + len(xmlnsPrefix)
		if !declaresDefault(b, i) {
			n = plainAttrName(b, start)
		}
		if n+2 >= len(b) || b[n] != '=' {
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
		i, seen = ordinary(b, i+1, seen)
	}
	if empty = i < len(b) && b[i] == '/'; empty {
		i++
	}
	if i >= len(b) || b[i] != '>' || bits.OnesCount64(seen) > orDefault(s.Limits.Attrs, 64) {
		return -1, false
	}
	return i + 1, empty
}

// ordinary skips attributes from offset i with names of letters, without declarations, and
// with values of ASCII. It adds their bits to seen. It calls nothing: all its variables
// stay in registers.
func ordinary(b []byte, i int, seen uint64) (int, uint64) {
	for 0 <= i && i < len(b)-8 && b[i] == ' ' && b[i+1] != 'x' {
		start := i + 1
		n := start + letters(word(b, start))
		if n == start || n+2 >= len(b) || b[n] != '=' {
			break
		}
		quote := b[n+1]
		if quote != '\'' && quote != '"' {
			break
		}
		end := skipValue(b, n+2)
		for end < len(b) && class[b[end]]&inAnyValue != 0 {
			end = skipValue(b, end+1)
		}
		bit := nameBit(b, start, n)
		if end >= len(b) || b[end] != quote || seen&bit != 0 {
			break
		}
		seen |= bit
		i = end + 1
	}
	return i, seen
}

// xmlnsWord is the beginning of a declaration of the default namespace, without the quote.
const xmlnsWord = ' ' | 'x'<<8 | 'm'<<16 | 'l'<<24 | 'n'<<32 | 's'<<40 | '='<<48

// declaresDefault tells whether the attribute behind the blank at offset i is a
// declaration of the default namespace.
func declaresDefault(b []byte, i int) bool {
	return 0 <= i && i < len(b)-7 && word(b, i)<<8 == xmlnsWord<<8
}

// plainAttrName returns the end of the attribute name at offset start, or len(b) if it is
// not plain.
func plainAttrName(b []byte, start int) int {
	n := nameEnd(b, start)
	if n == len(b) || class[b[start]]&beginsName == 0 {
		return len(b)
	}
	if b[n] != ':' {
		return n
	}
	if string(b[start:n]) != xmlPrefix && string(b[start:n]) != xmlnsPrefix {
		return len(b)
	}
	return plainLocal(b, n)
}

// plainLocal returns the end of the name with the prefix before colon, or len(b) if it is
// not plain.
func plainLocal(b []byte, colon int) int {
	i := colon + 1
	if i == len(b) || class[b[i]]&beginsName == 0 {
		return len(b)
	}
	return nameEnd(b, i)
}
