package wire

import (
	"encoding/base64"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// AppendData appends the bytes that p carries as base64 in a data element of
// the namespace ns. It reports false if p is something else.
func AppendData(dst []byte, req *Request, p Payload, ns string) ([]byte, bool) {
	if string(p.Local) != "data" || string(p.URI) != ns {
		return dst, false
	}
	text, ok := req.text64(p)
	if !ok {
		return dst, false
	}
	dst, err := base64.StdEncoding.AppendDecode(dst, text)
	return dst, err == nil
}

// text64 returns the character data of p, without white space, if that is all
// it holds. References and CDATA have no place in base64.
func (r *Request) text64(p Payload) (text []byte, ok bool) {
	b := r.Body[p.nameEnd:p.end]
	i := xmlscan.TagEnd(b)
	if b[i-1] == '/' {
		return nil, true
	}
	n := len(r.text)
	for j, c := range b[i+1:] {
		switch {
		case c == '<':
			return r.text[n:], b[i+1+j+1] == '/'
		case c == '&':
			return nil, false
		case !isSpace(c):
			r.text = append(r.text, c)
		}
	}
	return nil, false
}
