package httpio

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
	"sync"
)

// A codec is a content coding, both ways.
type codec struct {
	name    string
	old     string // another name, from RFC 2616
	writers *sync.Pool
	reader  func(raw []byte) (io.Reader, error)
}

// codecs are the content codings, the best first. Clients are told of them by `accept`, which
// session has.
var codecs = []codec{
	{"gzip", "x-gzip", &sync.Pool{New: func() any { return gzip.NewWriter(nil) }}, gunzip},
	{"deflate", "", &sync.Pool{New: func() any { return zlib.NewWriter(nil) }}, inflate},
}

// codecOf returns the coding of a name as headers have it, or nil.
func codecOf(name string) *codec {
	name = strings.ToLower(name)
	for i := range codecs {
		if name != "" && (name == codecs[i].name || name == codecs[i].old) {
			return &codecs[i]
		}
	}
	return nil
}

func gunzip(raw []byte) (io.Reader, error) { return gzip.NewReader(bytes.NewReader(raw)) }

// inflate undoes deflate: in HTTP that is zlib's format, but there are clients that send the
// bare one.
func inflate(raw []byte) (io.Reader, error) {
	if zr, err := zlib.NewReader(bytes.NewReader(raw)); err == nil {
		return zr, nil
	}
	return flate.NewReader(bytes.NewReader(raw)), nil
}
