package xmlscan

import "unicode/utf8"

// The meanings of an ASCII character.
const (
	isSpace    = 1 << iota
	beginsName // but for the colon
	isInName   // but for the colon
	inAnyValue // means itself in attribute values, whatever the quotes
)

var class = func() (t [256]uint8) {
	for c := range 0x80 {
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			t[c] |= isSpace
		case 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '_':
			t[c] |= beginsName | isInName
		case '0' <= c && c <= '9' || c == '-' || c == '.':
			t[c] |= isInName
		}
		if c >= ' ' && c != '<' && c != '&' && c != '\'' && c != '"' {
			t[c] |= inAnyValue
		}
	}
	return t
}()

// isChar tells whether r may stand in a document.
func isChar(r rune) bool {
	return r >= 0x20 && r < 0xD800 || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xE000 && r < 0xFFFE || r >= 0x10000 && r <= utf8.MaxRune
}

// charsLen returns the length of the first character of b, together with following ones if
// it is beyond ASCII. It returns 0 to ask for more of b, and -1 if the character must not
// stand in a document.
func charsLen(b []byte) int {
	if b[0] < 0x80 {
		return charLen(b)
	}
	i := 0
	for i < len(b) && b[i] >= 0x80 {
		switch c := b[i]; {
		case c >= 0xC2 && c <= 0xDF && len(b)-i > 1 && b[i+1]&0xC0 == 0x80:
			i += 2
		case c >= 0xE1 && c <= 0xEC && len(b)-i > 2 && b[i+1]&0xC0 == 0x80 && b[i+2]&0xC0 == 0x80:
			i += 3 // neither overlong nor a surrogate
		default:
			n := charLen(b[i:])
			if n <= 0 && i > 0 {
				return i // the next call tells
			} else if n <= 0 {
				return n
			}
			i += n
		}
	}
	return i
}

// charLen is charsLen for one character.
func charLen(b []byte) int {
	r, n := utf8.DecodeRune(b)
	switch {
	case n == 1 && r == utf8.RuneError: // a byte beyond ASCII is never a character
		if !utf8.FullRune(b) {
			return 0
		}
		return -1
	case !isChar(r):
		return -1
	}
	return n
}

// nameLen is charLen for name characters beyond ASCII, judged by ok.
func nameLen(b []byte, ok func(rune) bool) int {
	r, n := utf8.DecodeRune(b)
	switch {
	case n == 1 && !utf8.FullRune(b):
		return 0
	case n == 1 || !ok(r):
		return -1
	}
	return n
}

// isNameStart is the production NameStartChar beyond ASCII.
func isNameStart(r rune) bool {
	switch {
	case r < 0x300:
		return r >= 0xC0 && r != 0xD7 && r != 0xF7
	case r < 0x2000:
		return r >= 0x370 && r != 0x37E
	case r < 0x3001:
		return r == 0x200C || r == 0x200D || r >= 0x2070 && r <= 0x218F || r >= 0x2C00 && r <= 0x2FEF
	}
	return r <= 0xD7FF || r >= 0xF900 && r <= 0xFDCF || r >= 0xFDF0 && r <= 0xFFFD ||
		r >= 0x10000 && r <= 0xEFFFF
}

// isNameChar is the production NameChar beyond ASCII.
func isNameChar(r rune) bool {
	return isNameStart(r) || r == 0xB7 || r >= 0x300 && r <= 0x36F || r == 0x203F || r == 0x2040
}
