// Package token reads and writes XML as the tokens of encoding/xml.
package token

import (
	"bytes"
	"encoding/xml"
	"io"
)

// An Encoder writes tokens as XML that stands alone. Make it by NewEncoder.
type Encoder struct {
	w   io.Writer
	buf bytes.Buffer
	enc *xml.Encoder
}

// NewEncoder returns an Encoder that writes to w at Flush.
func NewEncoder(w io.Writer) *Encoder {
	e := &Encoder{w: w}
	e.enc = xml.NewEncoder(&e.buf)
	return e
}

// EncodeToken adds a token. The namespaces are those in the names: the
// declarations among the attributes are left out, since encoding/xml makes its
// own and would have both. An element without a namespace is in that of its
// parent, as usual with encoding/xml, unless it declares xmlns="".
func (e *Encoder) EncodeToken(t xml.Token) error {
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

// Flush writes what was added.
func (e *Encoder) Flush() error {
	if err := e.enc.Flush(); err != nil {
		return err
	}
	_, err := e.w.Write(e.buf.Bytes())
	e.buf.Reset()
	return err
}
