// Package httpbody reads whole HTTP request bodies, compressed or not, under a
// limit, and compresses those of responses.
package httpbody

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// ErrTooLarge says that a body exceeds the limit. What was read is good.
var ErrTooLarge = errors.New("body too large")

// ErrBroken says that a body did not arrive: the connection broke, or a
// deadline passed. Nothing can be said of what the client meant to send.
var ErrBroken = errors.New("body did not arrive")

// Read appends the body of r to b, decompressed as its Content-Encoding says.
// Neither what is read nor what is decompressed may exceed limit bytes. What it
// takes goes on share, which the caller gives back; it may be nil.
func Read(b []byte, r *http.Request, limit int64, share *Share) ([]byte, error) {
	coding, err := coding(r.Header["Content-Encoding"])
	if err != nil {
		return b, err
	}
	if coding == "" {
		return receive(b, r.Body, limit, share)
	}
	raw, err := receive(nil, r.Body, limit, share)
	if err != nil {
		return b, err
	}
	return decompress(b, coding, raw, limit, share)
}

// Decode is Read for a body that has come already, with the values of its
// Content-Encoding.
func Decode(b, raw []byte, encoding []string, limit int64) ([]byte, error) {
	if len(encoding) == 0 {
		return append(b, raw...), nil
	}
	coding, err := coding(encoding)
	if err != nil {
		return b, err
	}
	if coding == "" {
		return append(b, raw...), nil
	}
	return decompress(b, coding, raw, limit, nil)
}

func decompress(b []byte, coding string, raw []byte, limit int64, share *Share) ([]byte, error) {
	src, err := decompressor(coding, raw)
	if err != nil {
		return b, err
	}
	return readAll(b, src, limit, share, cap(raw))
}

// receive appends to b what a client sends.
func receive(b []byte, src io.Reader, limit int64, share *Share) ([]byte, error) {
	b, err := readAll(b, src, limit, share, 0)
	switch {
	case err == nil || err == ErrTooLarge || err == ErrNoRoom:
		return b, err
	case errors.As(err, new(*http.MaxBytesError)): // somebody else's limit
		return b, ErrTooLarge
	}
	return b, fmt.Errorf("%w: %w", ErrBroken, err)
}

// readAll appends all of src to b, which with other bytes goes on share.
func readAll(b []byte, src io.Reader, limit int64, share *Share, other int) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			if !share.Reach(other + 2*len(b)) {
				return b, ErrNoRoom
			}
			b = append(b, make([]byte, max(len(b), 1<<10))...)[:len(b)]
		}
		n, err := src.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > limit {
			return b[:limit], ErrTooLarge
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// coding returns the content coding that the header names: gzip, deflate, or
// none. There is a client that puts a media type there; that is no coding, and
// is ignored.
func coding(header []string) (coding string, err error) {
	for _, v := range header {
		if strings.Contains(v, "/") {
			continue
		}
		for c := range strings.SplitSeq(v, ",") {
			switch c = strings.ToLower(strings.TrimSpace(c)); c {
			case "", "identity":
			case "gzip", "x-gzip", "deflate":
				if coding != "" {
					return "", errors.New("compressed twice")
				}
				coding = strings.TrimPrefix(c, "x-")
			default:
				return "", fmt.Errorf("unknown content coding %q", c)
			}
		}
	}
	return coding, nil
}

// decompressor undoes a coding. What HTTP calls deflate is zlib's format, but
// there are clients that send the bare one.
func decompressor(coding string, raw []byte) (io.Reader, error) {
	src := bytes.NewReader(raw)
	if coding == "gzip" {
		return gzip.NewReader(src)
	}
	if zr, err := zlib.NewReader(src); err == nil {
		return zr, nil
	}
	src.Reset(raw)
	return flate.NewReader(src), nil
}
