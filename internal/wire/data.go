package wire

import (
	"bytes"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// AppendData appends the bytes of p, base64 in a data element of the namespace ns. It
// reports false if p is something else.
func AppendData(dst []byte, req *Request, p Payload, ns string) ([]byte, bool) {
	if string(p.Local) != "data" || string(p.URI) != ns {
		return dst, false
	}
	text, ok := req.text64(p)
	if !ok {
		return dst, false
	}
	dst, err := appendDecoded(dst, text)
	return dst, err == nil
}

// text64 returns the character data of p, without blanks, if p holds nothing else.
// References and CDATA have no place in base64; the decoder skips line breaks.
func (r *Request) text64(p Payload) (text []byte, ok bool) {
	b := r.Body[p.nameEnd:p.end]
	i := xmlscan.TagEnd(b)
	if b[i-1] == '/' {
		return nil, true
	}
	text = b[i+1:]
	end := bytes.IndexByte(text, '<')
	if end < 0 || text[end+1] != '/' {
		return nil, false
	}
	text = text[:end]
	if bytes.IndexByte(text, ' ') >= 0 || bytes.IndexByte(text, '\t') >= 0 {
		text = r.withoutBlanks(text)
	}
	return text, true
}

// withoutBlanks returns a copy of text in a buffer of the request's.
func (r *Request) withoutBlanks(text []byte) []byte {
	n := len(r.text)
	for _, c := range text {
		if c != ' ' && c != '\t' {
			r.text = append(r.text, c)
		}
	}
	return r.text[n:]
}
