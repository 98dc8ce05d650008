package framing

import (
	"bytes"
	"encoding/xml"
	"io"
)

// A TokenEncoder writes tokens as self-contained XML. Make it by NewTokenEncoder.
type TokenEncoder struct {
	w   io.Writer
	buf bytes.Buffer
	enc *xml.Encoder
}

// NewTokenEncoder returns a TokenEncoder. It writes to w at Flush.
func NewTokenEncoder(w io.Writer) *TokenEncoder {
	e := &TokenEncoder{w: w}
	e.enc = xml.NewEncoder(&e.buf)
	return e
}

// EncodeToken adds a token. The namespaces are those in the names: the
// declarations among the attributes are left out, since encoding/xml makes its
// own and would have both. An element without a namespace is in that of its
// parent, as usual with encoding/xml, unless it declares xmlns="".
func (e *TokenEncoder) EncodeToken(t xml.Token) error {
	if start, ok := t.(xml.StartElement); ok {
		attrs := make([]xml.Attr, 0, len(start.Attr))
		for _, a := range start.Attr {
			if !declares(a) || start.Name.Space == "" && a.Name.Space == "" && a.Value == "" {
				attrs = append(attrs, a)
			}
		}
		start.Attr = attrs
		t = start
	}
	return e.enc.EncodeToken(t)
}

// declares reports whether a declares a namespace.
func declares(a xml.Attr) bool {
	return a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns"
}

// Flush writes the tokens added so far.
func (e *TokenEncoder) Flush() error {
	if err := e.enc.Flush(); err != nil {
		return err
	}
	_, err := e.w.Write(e.buf.Bytes())
	e.buf.Reset()
	return err
}
