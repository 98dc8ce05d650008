package xmlscan

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Unescape appends the meaning of an attribute value to dst, given as it stands in the
// input. References are resolved, and white space is normalised as in XML 1.0, section
// 3.3.3, for attributes without a declared type.
func Unescape(dst, raw []byte) []byte { return unescape(dst, raw, true) }

// Text appends the meaning of an element's content to dst, given as it stands in the input:
// character data, references and CDATA sections. It reports false if there is an element in
// it.
func Text(dst, raw []byte) (_ []byte, ok bool) {
	for {
		i := bytes.IndexByte(raw, '<')
		if i < 0 {
			return unescape(dst, raw, false), true
		}
		dst = unescape(dst, raw[:i], false)
		section, found := bytes.CutPrefix(raw[i:], []byte(cdataStart))
		if !found {
			return dst, false
		}
		section, raw, _ = bytes.Cut(section, []byte("]]>"))
		dst = append(dst, lineEnds.Replace(string(section))...)
	}
}

// TagEnd returns the end of the start tag with the rest b.
func TagEnd(b []byte) int {
	var quote byte
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '>':
			return i
		}
	}
	return len(b) - 1
}

// lineEnds normalises line ends. XML 1.0, section 2.11.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// unescape is Unescape, or without value the same for character data, with line ends
// normalised only.
func unescape(dst, raw []byte, value bool) []byte {
	for len(raw) > 0 {
		n := 1
		switch c := raw[0]; {
		case c == '&':
			var r rune
			if r, n = resolveReference(raw); n > 0 {
				dst = utf8.AppendRune(dst, r)
				break
			}
			dst = append(dst, '&') // it has not passed the scanner
			n = 1
		case c == '\r':
			if len(raw) > 1 && raw[1] == '\n' {
				break // the line feed stands for both
			}
			c = '\n'
			fallthrough
		case c == '\n' || c == '\t':
			if value {
				c = ' '
			}
			dst = append(dst, c)
		default:
			if n = bytes.IndexAny(raw, "&\r\n\t"); n < 0 {
				n = len(raw)
			}
			dst = append(dst, raw[:n]...)
		}
		raw = raw[n:]
	}
	return dst
}

// resolveReference returns the character of the reference at the start of raw, and the
// length of the reference. It is 0 if there is none.
func resolveReference(raw []byte) (r rune, n int) {
	n = bytes.IndexByte(raw, ';') + 1
	if n < 3 {
		return 0, 0
	}
	ref := raw[1:n]
	if ref[0] == '#' {
		digits, base := ref[1:len(ref)-1], 10
		if len(digits) > 0 && digits[0] == 'x' {
			digits, base = digits[1:], 16
		}
		code, err := strconv.ParseUint(string(digits), base, 31)
		if err != nil || !isChar(rune(code)) {
			return 0, 0
		}
		return rune(code), n
	}
	for k := range entities {
		if entities[k].name == string(ref) {
			return rune(entities[k].char), n
		}
	}
	return 0, 0
}

// AppendEscaped appends s to dst in a form for attribute values, within quotes of either
// kind, and for character data. Characters outside XML become U+FFFD.
func AppendEscaped(dst []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if class[c]&inAnyValue != 0 && c != '>' {
			i++
			continue
		}
		n, esc := 1, ""
		switch c {
		case '<':
			esc = "&lt;"
		case '>':
			esc = "&gt;"
		case '&':
			esc = "&amp;"
		case '\'':
			esc = "&apos;"
		case '"':
			esc = "&quot;"
		case '\t':
			esc = "&#9;"
		case '\n':
			esc = "&#10;"
		case '\r':
			esc = "&#13;"
		default:
			var r rune
			r, n = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || n > 1) && isChar(r) {
				i += n
				continue
			}
			esc = "\uFFFD"
		}
		dst = append(dst, s[from:i]...)
		dst = append(dst, esc...)
		i += n
		from = i
	}
	return append(dst, s[from:]...)
}

// AppendAttr appends an attribute with a blank before it. name is not escaped.
func AppendAttr(dst []byte, name, value string) []byte {
	dst = append(append(append(dst, ' '), name...), "='"...)
	return append(AppendEscaped(dst, value), '\'')
}
