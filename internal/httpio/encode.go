package httpio

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strconv"
	"strings"
	"sync"
)

// Accepted returns the content coding for the answer to a request with this
// Accept-Encoding header: gzip or else deflate, if the header lists it with a
// weight above zero, or none.
func Accepted(header []string) (coding string) {
	for _, v := range header {
		for item := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(item, ";")
			switch name = strings.ToLower(strings.TrimSpace(name)); name {
			case "gzip", "x-gzip":
				if weighs(params) {
					return "gzip"
				}
			case "deflate":
				if weighs(params) {
					coding = name
				}
			}
		}
	}
	return coding
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

var (
	gzips = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
	zlibs = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}
)

// Encode returns body in a content coding from Accepted. It returns nil if the
// result would not be shorter.
func Encode(body []byte, coding string) []byte {
	var pool *sync.Pool
	switch coding {
	case "gzip":
		pool = &gzips
	case "deflate":
		pool = &zlibs
	default:
		return nil
	}
	out := bytes.NewBuffer(make([]byte, 0, len(body)/4+64))
	w := pool.Get().(writer)
	w.Reset(out)
	w.Write(body) // to memory
	w.Close()
	pool.Put(w)
	if out.Len() >= len(body) {
		return nil
	}
	return out.Bytes()
}
