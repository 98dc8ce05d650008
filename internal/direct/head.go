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
// them with the one before.
type head struct {
	prefix, suffix string // before the digits, and behind them to the end
	uri, host      string
	header         http.Header // but for Host and Content-Length; not to be changed
	encoding       []string    // of the body
}

// Limits on what is read directly.
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

// parseHead parses the head that b is, to the empty line. It returns nil for one
// that is not of the only kind that is served here: what it accepts means the
// same to it and to net/http, which it asks in the end.
func parseHead(b []byte) *head {
	text := string(b)
	lines := strings.Split(strings.TrimSuffix(text, "\r\n\r\n"), "\r\n")
	uri, ok := strings.CutSuffix(lines[0], " HTTP/1.1")
	if uri, ok = cutMethod(uri, ok); !ok {
		return nil
	}
	h := &head{uri: uri}
	at, hosts := len(lines[0])+2, 0
	for _, line := range lines[1:] {
		name, value, ok := cutField(line)
		if !ok {
			return nil
		}
		trimmed := strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "content-length":
			if _, digits := number([]byte(trimmed)); h.prefix != "" || digits == 0 || digits != len(trimmed) {
				return nil
			}
			from := at + len(name) + 1 + strings.Index(value, trimmed)
			h.prefix, h.suffix = text[:from], text[from+len(trimmed):]
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
		at += len(line) + 2
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

// heads are the heads that several connections have in common, as those of all
// browsers of a kind.
type heads struct {
	mu sync.RWMutex       // guards the following
	m  map[string][]*head // by prefix
	n  int                // of heads
}

// maxHeads is how many are kept.
const maxHeads = 256

// get returns the head that b is, or nil if that is none for us.
func (hs *heads) get(b []byte) *head {
	if h := hs.find(b); h != nil {
		return h
	}
	h := parseHead(b)
	if h == nil {
		return nil
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.n++; hs.m == nil || hs.n > maxHeads {
		hs.m, hs.n = make(map[string][]*head), 1
	}
	hs.m[h.prefix] = append(hs.m[h.prefix], h)
	return h
}

// find returns the head that b is if it is known. It does not read b, but looks
// for the first place where its prefix may end.
func (hs *heads) find(b []byte) *head {
	i := bytes.Index(b, contentLength)
	if i < 0 {
		return nil
	}
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	for _, h := range hs.m[string(b[:i+len(contentLength)])] {
		if size, _, ok := h.match(b); ok && size == len(b) {
			return h
		}
	}
	return nil
}

// contentLength is how most clients write it.
var contentLength = []byte("\r\nContent-Length: ")
