package httpio

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/gobosh/bosh/internal/buffer"
)

// ErrTooLarge is the error for a body beyond the limit. The bytes already read are good.
var ErrTooLarge = errors.New("body too large")

// ErrBroken is the error for an incomplete body: the connection broke, or a deadline passed. Its
// content says nothing about the client's intent.
var ErrBroken = errors.New("body did not arrive")

// ReadBody appends the body of r to b, decompressed as its Content-Encoding says. Neither the bytes
// read nor the decompressed ones may exceed limit. A body too large by its own Content-Length is
// not read at all: so a client with Expect: 100-continue learns it before sending. Read's memory
// goes on share, and the caller gives it back; share may be nil. Unless flowing is nil, it is
// called with the bytes so far, as they came, whenever more are still to come. It reports whether
// the body has been read whole.
func ReadBody(b []byte, r *http.Request, limit int64, share *Share, flowing func([]byte)) (_ []byte, whole bool, err error) {
	if r.ContentLength > limit {
		return b, false, ErrTooLarge
	}
	coding, err := coding(r.Header["Content-Encoding"])
	if err != nil {
		return b, false, err
	}
	if coding == nil {
		b, err = receive(b, r, limit, share, flowing)
		return b, err == nil, err
	}
	raw, err := receive(nil, r, limit, share, flowing)
	if err != nil {
		return b, false, err
	}
	b, err = decompress(b, coding, raw, limit, share, cap(raw))
	buffer.Rest(raw)
	return b, true, err
}

// Decode is Read for a body that has come already, with the values of its
// Content-Encoding. What exceeds [FreeBytes] of raw is on another share.
func Decode(b, raw []byte, encoding []string, limit int64, share *Share) ([]byte, error) {
	var c *codec
	if len(encoding) > 0 {
		var err error
		if c, err = coding(encoding); err != nil {
			return b, err
		}
	}
	other := min(len(raw), FreeBytes)
	if c != nil {
		return decompress(b, c, raw, limit, share, other)
	}
	if !share.Reach(other + len(raw)) {
		return b, ErrNoRoom
	}
	return append(buffer.Grow(b, len(raw)), raw...), nil
}

// decompress appends what raw means to b, which with other bytes goes on share.
func decompress(b []byte, coding *codec, raw []byte, limit int64, share *Share, other int) ([]byte, error) {
	src, err := coding.reader(raw)
	if err != nil {
		return b, err
	}
	return readAll(b, src, limit, share, other, nil)
}

// receive appends the body of r to b.
func receive(b []byte, r *http.Request, limit int64, share *Share, flowing func([]byte)) ([]byte, error) {
	b, err := readAll(b, r.Body, limit, share, 0, func(b []byte) {
		if flowing != nil && int64(len(b)) != r.ContentLength { // or only its end is still to come
			flowing(b)
		}
	})
	switch {
	case err == nil || err == ErrTooLarge || err == ErrNoRoom:
		return b, err
	case errors.As(err, new(*http.MaxBytesError)): // somebody else's limit
		return b, ErrTooLarge
	}
	return b, fmt.Errorf("%w: %w", ErrBroken, err)
}

// readAll appends all of src to b, which with other bytes goes on share. Whenever there
// is more to come it calls flowing, if not nil.
func readAll(b []byte, src io.Reader, limit int64, share *Share, other int, flowing func([]byte)) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			if !share.Reach(other + 2*len(b)) {
				return b, ErrNoRoom
			}
			b = buffer.Grow(b, max(len(b), 1<<10))
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
		if flowing != nil {
			flowing(b)
		}
	}
}

// Prefix returns what the beginning of a body means, of which raw has come, with the
// values of its Content-Encoding: at most n bytes of it.
func Prefix(raw []byte, encoding []string, n int) []byte {
	if len(encoding) == 0 {
		return raw[:min(len(raw), n)]
	}
	coding, err := coding(encoding)
	if coding == nil || err != nil {
		return raw[:min(len(raw), n)]
	}
	src, err := coding.reader(raw)
	if err != nil {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(src, int64(n))) // it breaks off somewhere
	return b
}

// coding returns the content coding that the header names, or nil. There are clients that
// put a media type or a charset there. Neither is a coding, and both are ignored.
func coding(header []string) (coding *codec, err error) {
	for _, v := range header {
		for c := range strings.SplitSeq(v, ",") {
			c, _, _ = strings.Cut(c, ";")
			switch c = strings.ToLower(strings.Trim(c, " \t\"")); {
			case c == "", c == "identity", strings.Contains(c, "/"), isCharset(c):
			case codecOf(c) != nil:
				if coding != nil {
					return nil, errors.New("compressed twice")
				}
				coding = codecOf(c)
			default:
				return nil, fmt.Errorf("unknown content coding %q", c)
			}
		}
	}
	return coding, nil
}

// charsets are how the names of charsets begin, and of what mail calls an encoding
// and leaves bytes as they are; without punctuation. No content coding begins so.
var charsets = [...]string{
	"utf", "ucs", "unicode", "iso", "ascii", "usascii", "ansi", "latin", "windows", "win12", "cp", "ibm", "mac",
	"koi", "big5", "gb", "hz", "euc", "shiftjis", "sjis", "tis", "ksc", "7bit", "8bit", "binary",
}

// isCharset reports whether s, in lower case, is the name of a charset.
func isCharset(s string) bool {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "charset="), "x-")
	s = punctuation.Replace(s)
	return slices.ContainsFunc(charsets[:], func(c string) bool { return strings.HasPrefix(s, c) })
}

var punctuation = strings.NewReplacer("-", "", "_", "", ":", "", "\"", "", " ", "")
