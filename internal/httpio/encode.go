package httpio

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// Accepted returns the content coding for the answer to a request with this
// Accept-Encoding header: the best one that the header lists with a weight above zero, or
// none.
func Accepted(header []string) (coding string) {
	for i := range codecs {
		if accepts(header, &codecs[i]) {
			return codecs[i].name
		}
	}
	return ""
}

// accepts reports whether the header lists a coding with a weight above zero.
func accepts(header []string, c *codec) bool {
	for _, v := range header {
		for item := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(item, ";")
			if codecOf(strings.TrimSpace(name)) == c && weighs(params) {
				return true
			}
		}
	}
	return false
}

// weighs reports whether the parameters of a coding give it a weight above
// zero. An unreadable weight is none.
func weighs(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, value, ok := strings.Cut(p, "=")
		if ok && strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 32)
			return err == nil && q > 0
		}
	}
	return true
}

// A writer compresses. It is large, and so is shared.
type writer interface {
	io.WriteCloser
	Reset(io.Writer)
}

// Encode returns body in a content coding from Accepted. It returns nil if the
// result would not be shorter.
func Encode(body []byte, coding string) []byte {
	c := codecOf(coding)
	if c == nil {
		return nil
	}
	out := bytes.NewBuffer(make([]byte, 0, len(body)/4+64))
	w := c.writers.Get().(writer)
	w.Reset(out)
	w.Write(body) // to memory
	w.Close()
	c.writers.Put(w)
	if out.Len() >= len(body) {
		return nil
	}
	return out.Bytes()
}
