package xmlscan

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Eight bytes at a time are searched for one with a meaning. A word gets the top bit of
// each candidate byte. The lowest set bit is exact; higher ones can be false.
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// special marks the bytes of w beyond ASCII, control characters, y, and those equal to x
// with the bits in mask set. Each of the three is a byte eight times. A subtraction sets
// the top bit of bytes below the subtrahend, and of bytes beyond ASCII, which are marked
// anyway. It borrows from higher bytes only if it has marked the lower one.
func special(w, mask, x, y uint64) uint64 {
	return (w | (w - ones*0x20) | (((w | mask) ^ x) - ones) | ((w ^ y) - ones)) & tops
}

// word returns the eight bytes of b at offset i.
func word(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// letters returns how many bytes of w, from the lowest, are letters from a to z.
func letters(w uint64) int {
	return bits.TrailingZeros64((w|(w-ones*'a')|(w+ones*(0x7F-'z')))&tops) / 8
}

// skip returns the offset, from i, of the first byte of b marked by special, or one before
// it.
func skip(b []byte, i int, mask, x, y uint64) int {
	for ; 0 <= i && i < len(b)-15; i += 16 {
		if m := special(word(b, i), mask, x, y); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
		if m := special(word(b, i+8), mask, x, y); m != 0 {
			return i + 8 + bits.TrailingZeros64(m)/8
		}
	}
	if 0 <= i && i < len(b)-7 {
		return i + bits.TrailingZeros64(special(word(b, i), mask, x, y))/8
	}
	return i
}

// skipText is skip for character data. Special are '<', '&', and '>', one bit different
// from '<'.
func skipText(b []byte, i int) int {
	return skip(b, i, ones*('<'^'>'), ones*'>', ones*'&')
}

// skipValue returns the offset, from i, of the first byte of b with a possible end or
// reference of an attribute value, or one before it. Of ASCII it stops below '(', at both
// quotes, '&' and little else of frequency, and at '<'.
func skipValue(b []byte, i int) int {
	for 0 <= i && i < len(b)-7 {
		w := word(b, i)
		if m := (w | (w - ones*'(') | ((w ^ ones*'<') - ones)) & tops; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
		i += 8
	}
	return i
}

// text scans the content of a child.
func (s *Scanner) text(b []byte, i int) (int, result) {
	for {
		if i < len(b) && b[i] != '<' {
			i = skipText(b, i)
		}
		if i == len(b) {
			return i, more
		}
		switch c := b[i]; c {
		case '<':
			if i = s.plainTags(b, i); len(s.open) == 0 {
				return i, whole
			}
			if i == len(b) || b[i] != '<' {
				continue
			}
			var r result
			if i, r = s.markup(b, i); r != next || s.state != inText {
				return i, r
			}
		case '&':
			var r result
			if i, r = s.reference(b, i); r != next || s.state != inText {
				return i, r
			}
		case '>':
			// Markup ends in '>' and a reference in ';', so brackets before it are character data, too.
			if string(b[i-2:i]) == "]]" {
				return s.fail(i-2, "']]>' in character data")
			}
			i++
		default:
			var r result
			if i, r = s.chars(b, i); r != next {
				return i, r
			}
		}
	}
}

// markup begins the markup of a '<' in the content of a child.
func (s *Scanner) markup(b []byte, i int) (int, result) {
	if i+1 == len(b) {
		return i, more
	}
	switch b[i+1] {
	case '/':
		s.state, s.mark = inEndName, i+2
		return s.endTag(b, i+2)
	case '?':
		return s.fail(i, "processing instruction")
	case '!':
		switch matches(b[i:], cdataStart) {
		case next:
			s.state = inCDATA
			return i + len(cdataStart), next
		case more:
			return i, more
		}
		return s.fail(i, "comment, or document type declaration")
	}
	j, r := s.beginTag(i)
	if r != next {
		return j, r
	}
	return s.startTag(b, j)
}

// cdata scans a CDATA section.
func (s *Scanner) cdata(b []byte, i int) (int, result) {
	for {
		i = skip(b, i, 0, ones*']', ones*']')
		if i == len(b) {
			return i, more
		}
		if b[i] == ']' {
			switch matches(b[i:], "]]>") {
			case next:
				s.state = inText
				return i + 3, next
			case more:
				return i, more
			}
		}
		var r result
		if i, r = s.chars(b, i); r != next {
			return i, r
		}
	}
}

// chars scans a character, and following ones beyond ASCII.
func (s *Scanner) chars(b []byte, i int) (int, result) {
	n := charsLen(b[i:])
	if n == 0 {
		return i, more
	} else if n < 0 {
		return s.fail(i, "invalid character")
	}
	return i + n, next
}

// entities are the names for references, and their meaning.
var entities = [...]struct {
	name string
	char byte
}{
	{"lt;", '<'}, {"gt;", '>'}, {"amp;", '&'}, {"quot;", '"'}, {"apos;", '\''},
}

// entity returns the length of the name at the beginning of b, or 0.
func entity(b []byte) int {
	switch {
	case begins(b, "lt;"), begins(b, "gt;"):
		return 3
	case begins(b, "amp;"):
		return 4
	case begins(b, "quot;"), begins(b, "apos;"):
		return 5
	}
	return 0
}

// begins lets the compiler make a comparison of words of it.
func begins(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }

// reference scans the reference with its '&' at offset i, in an attribute value or in text.
func (s *Scanner) reference(b []byte, i int) (int, result) {
	rest := b[i+1:]
	if len(rest) == 0 {
		return i, more
	}
	if rest[0] == '#' {
		if len(rest) == 1 {
			return i, more
		}
		s.resume, s.state = s.state, inReference
		s.code, s.mark = 0, i+2
		if s.hex = rest[1] == 'x'; s.hex {
			s.mark++
		}
		return s.digits(b, s.mark)
	}
	if n := entity(rest); n > 0 {
		return i + 1 + n, next
	}
	for k := range entities {
		if matches(rest, entities[k].name) == more {
			return i, more
		}
	}
	return s.fail(i, "reference to an unknown entity")
}

// digits scans the number in a character reference, with any number of digits.
func (s *Scanner) digits(b []byte, i int) (int, result) {
	for ; i < len(b); i++ {
		c := b[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case s.hex && 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		case c == ';' && i > s.mark && isChar(s.code):
			s.state = s.resume
			return i + 1, next
		default:
			return s.fail(i, "invalid character reference")
		}
		if s.hex {
			s.code = s.code<<4 | rune(c)
		} else {
			s.code = s.code*10 + rune(c)
		}
		if s.code > utf8.MaxRune {
			return s.fail(i, "invalid character reference")
		}
	}
	return i, more
}
