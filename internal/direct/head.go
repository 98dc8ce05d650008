package direct

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"sync"
)

// A head is the head of a request without the digits of its Content-Length. The
// requests of a client rarely differ in anything else, and are read by comparing
// them with the one before. Those of many clients behind a proxy differ in the values of
// a few fields: see like.
type head struct {
	prefix, suffix  string      // before the digits, and behind them to the end
	uri, path, host string      // the path is the URI to its query
	header          http.Header // but for Host and Content-Length; not to be changed
	encoding        []string    // of the body
	lines           []line
}

// A line is a line of a head, with its end.
type line struct {
	text  string
	value int // where the value begins, behind the colon; or the digits of the Content-Length
	kind  kind
}

// A kind says where another head may differ and still be taken for the same one.
type kind uint8

const (
	fixed   kind = iota // in nothing: it tells how a request is read, or whom it is for
	digits              // the Content-Length
	loose               // the value of a field, which is for those who look at it
	lasting             // the same, but it is looked at when there is an answer
)

// kindOf returns the kind of a field, by its name in lower case.
func kindOf(name string) kind {
	switch name {
	case "content-length":
		return digits
	case "host", "connection", "proxy-connection", "keep-alive", "te", "content-encoding":
		return fixed
	case "origin", "accept-encoding":
		return lasting
	}
	return loose
}

// Limits on reading directly.
const (
	maxHead   = 8 << 10 // bytes of a head
	maxDigits = 9       // of a Content-Length
)

// match returns the size of the head at the beginning of b, and of the body
// behind it, if the head is h.
func (h *head) match(b []byte) (size, length int, ok bool) {
	n := len(h.prefix)
	if len(b) < n || string(b[:n]) != h.prefix {
		return 0, 0, false
	}
	length, digits := number(b[n:])
	n += digits
	if digits == 0 || len(b)-n < len(h.suffix) || string(b[n:n+len(h.suffix)]) != h.suffix {
		return 0, 0, false
	}
	return n + len(h.suffix), length, true
}

// An own is a request's own part while it waits for its answer.
type own struct{ origin, accept []string }

// like is match for a complete head b. It may differ in parts without a meaning for reading
// a request: in the query of its URI, and in the values of fields. If it does, varied is
// set, and also own if the values are to last.
func (h *head) like(b []byte) (length int, varied bool, o *own, ok bool) {
	for i := range h.lines {
		l := &h.lines[i]
		if len(b) >= len(l.text) && string(b[:len(l.text)]) == l.text && l.kind != digits {
			b = b[len(l.text):]
			continue
		}
		n := 0
		switch {
		case i == 0:
			n = h.likeTarget(b)
		case l.kind == fixed || len(b) < l.value || string(b[:l.value]) != l.text[:l.value]:
			return 0, false, nil, false
		case l.kind == digits:
			var size int
			length, size = number(b[l.value:])
			_, was := number([]byte(l.text[l.value:]))
			if rest := l.text[l.value+was:]; size > 0 && len(b) >= l.value+size+len(rest) && string(b[l.value+size:][:len(rest)]) == rest {
				n = l.value + size + len(rest)
			}
		default:
			n = l.value + fieldEnd(b[l.value:])
			if n > l.value && l.kind == lasting {
				o = o.with(l.text[0], strings.Trim(string(b[l.value:n-2]), " \t"))
			}
			if n == l.value {
				n = 0
			}
		}
		if n == 0 {
			return 0, false, nil, false
		}
		varied = varied || l.kind != digits
		b = b[n:]
	}
	return length, varied, o, string(b) == "\r\n"
}

// with returns o with the value of a field, whose name begins with a letter: Origin or
// Accept-Encoding.
func (o *own) with(letter byte, value string) *own {
	if o == nil {
		o = new(own)
	}
	if letter|0x20 == 'o' {
		o.origin = append(o.origin, value)
	} else {
		o.accept = append(o.accept, value)
	}
	return o
}

// likeTarget returns the length of the first line of b if it equals that of h but for the
// query, or 0.
func (h *head) likeTarget(b []byte) int {
	const post, version = "POST ", " HTTP/1.1\r\n"
	n := len(post) + len(h.path)
	if len(b) <= n || h.path == "" || h.path[0] != '/' || string(b[:len(post)]) != post || string(b[len(post):n]) != h.path {
		return 0
	}
	if b[n] == '?' {
		for n < len(b) && ' ' < b[n] && b[n] < 0x7f {
			n++
		}
	}
	if len(b) < n+len(version) || string(b[n:n+len(version)]) != version {
		return 0
	}
	return n + len(version)
}

// fieldEnd returns the length of the value of a field at the beginning of b, with the end
// of the line, or 0.
func fieldEnd(b []byte) int {
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			if c == '\r' && i+1 < len(b) && b[i+1] == '\n' {
				return i + 2
			}
			return 0
		}
	}
	return 0
}

// number reads the digits at the beginning of b, if there are not too many.
func number(b []byte) (n, digits int) {
	for digits < len(b) && '0' <= b[digits] && b[digits] <= '9' {
		if digits == maxDigits {
			return 0, 0
		}
		n = 10*n + int(b[digits]-'0')
		digits++
	}
	return n, digits
}

// parseHead parses the head b, to the empty line. It returns nil for any other kind of
// request. Whatever it accepts means the same to net/http, which it asks in the end.
func parseHead(b []byte) *head {
	text := string(b)
	all, ok := strings.CutSuffix(text, string(emptyLine))
	if !ok {
		return nil
	}
	lines := strings.Split(all, "\r\n")
	uri, ok := strings.CutSuffix(lines[0], " HTTP/1.1")
	if uri, ok = cutMethod(uri, ok); !ok {
		return nil
	}
	h := &head{uri: uri}
	h.path, _, _ = strings.Cut(uri, "?")
	at, hosts := len(lines[0])+2, 0
	h.lines = append(h.lines, line{text: text[:at]})
	for _, field := range lines[1:] {
		name, value, ok := cutField(field)
		if !ok {
			return nil
		}
		trimmed := strings.Trim(value, " \t")
		l := line{text[at : at+len(field)+2], len(name) + 1, kindOf(strings.ToLower(name))}
		switch strings.ToLower(name) {
		case "content-length":
			if _, digits := number([]byte(trimmed)); h.prefix != "" || digits == 0 || digits != len(trimmed) {
				return nil
			}
			from := at + len(name) + 1 + strings.Index(value, trimmed)
			h.prefix, h.suffix = text[:from], text[from+len(trimmed):]
			l.value = from - at
		case "host":
			h.host = trimmed
			hosts++
		case "connection", "proxy-connection":
			if !strings.EqualFold(trimmed, "keep-alive") {
				return nil
			}
		case "transfer-encoding", "expect", "upgrade", "trailer", "http2-settings":
			return nil
		}
		h.lines = append(h.lines, l)
		at += len(field) + 2
	}
	if h.prefix == "" || hosts != 1 || h.host == "" {
		return nil
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil || r.Method != http.MethodPost || r.RequestURI != h.uri || r.Host != h.host ||
		r.Close || r.TransferEncoding != nil || r.ProtoMajor != 1 || r.ProtoMinor != 1 {
		return nil
	}
	delete(r.Header, "Host")
	delete(r.Header, "Content-Length") // which each request has its own of
	h.header, h.encoding = r.Header, r.Header["Content-Encoding"]
	for i, l := range h.lines[1:] {
		if l.kind == lasting && len(r.Header[http.CanonicalHeaderKey(l.text[:l.value-1])]) > 1 {
			h.lines[i+1].kind = fixed // an own has all values of a field, or none
		}
	}
	return h
}

func cutMethod(line string, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	uri, ok := strings.CutPrefix(line, "POST ")
	return uri, ok && uri != "" && !strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// cutField cuts a line of a head into a name and a value, if it is one.
func cutField(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	return name, value, ok && isToken(name) && isFieldValue(value)
}

// isToken reports whether s can be the name of a field. RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s is without control characters. RFC 9110,
// section 5.5.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// heads are the heads shared by several connections, as those of all browsers of a kind.
type heads struct {
	mu sync.RWMutex       // guards the following
	m  map[string][]*head // by the line of their Host, as most write it
	n  int                // of heads
}

// Limits on the kept heads, and on those of one Host.
const (
	maxHeads   = 256
	maxOfAHost = 16
)

// A reading is how the head of a request has been read.
type reading struct {
	*head
	length int // of the body
	varied bool
	own    *own
}

// get returns the head of b, or nil if it is none for us.
func (hs *heads) get(b []byte) (r reading) {
	key := hostLine(b)
	if r = hs.find(key, b); r.head != nil {
		return r
	}
	h := parseHead(b)
	if h == nil {
		return r
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.n++; hs.m == nil || hs.n > maxHeads {
		hs.m, hs.n = make(map[string][]*head), 1
	}
	same := hs.m[string(key)]
	if len(same) == maxOfAHost {
		hs.n -= len(same)
		same = nil
	}
	hs.m[string(key)] = append(same, h)
	r.head = h
	_, r.length, _ = h.match(b)
	return r
}

// find returns the head of b, or one like it, if it is known.
func (hs *heads) find(key, b []byte) (r reading) {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	for _, h := range hs.m[string(key)] {
		if r = h.read(b); r.head != nil {
			return r
		}
	}
	return r
}

// read reads b if it is h, or like it.
func (h *head) read(b []byte) reading {
	if length, varied, own, ok := h.like(b); ok {
		return reading{h, length, varied, own}
	}
	return reading{}
}

// hostLine returns the value of the Host as most clients write it, or nothing.
func hostLine(b []byte) []byte {
	_, rest, _ := bytes.Cut(b, host)
	value, _, _ := bytes.Cut(rest, crlf)
	return value
}

var host, crlf = []byte("\r\nHost: "), []byte("\r\n")
