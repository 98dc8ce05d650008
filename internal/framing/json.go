package framing

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// NSJSON is the namespace of a container of JSON. XEP-0335.
const NSJSON = "urn:xmpp:json:0"

const (
	jsonStart = "<json xmlns='" + NSJSON + "'>"
	jsonEnd   = "</json>"
)

// ErrNoJSON is returned for an element other than a container.
var ErrNoJSON = errors.New("element is no <json xmlns='" + NSJSON + "'/>")

// AppendJSON appends the container of v, as encoding/json has it, to b.
func AppendJSON(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return b, err
	}
	b = append(b, jsonStart...)
	// Package json has already written other characters as \u003c and the like, if XML cannot
	// have them as text or takes them for markup. Two are left.
	for {
		i := bytes.Index(text, notXML)
		if i < 0 || i+2 >= len(text) {
			break
		}
		switch text[i+2] {
		case 0xBE:
			b = append(append(b, text[:i]...), `\ufffe`...)
		case 0xBF:
			b = append(append(b, text[:i]...), `\uffff`...)
		default:
			b = append(b, text[:i+3]...)
		}
		text = text[i+3:]
	}
	return append(append(b, text...), jsonEnd...), nil
}

// notXML is how the characters U+FFFE and U+FFFF begin; JSON may have them.
var notXML = []byte{0xEF, 0xBF}

// JSONText returns the text in a container; it may be part of it. The error is ErrNoJSON for
// another element, or says why the XML is none.
func JSONText(element []byte) ([]byte, error) {
	scan := scanners.Get().(*xmlscan.Scanner)
	defer scanners.Put(scan)
	scan.ResetInside(nil)
	var x xmlscan.Item
	if err := scan.Next(element, &x); err != nil {
		return nil, err
	}
	if x.Kind != xmlscan.Element || x.Len != len(element) || string(x.Local) != "json" || string(x.URI) != NSJSON {
		return nil, ErrNoJSON
	}
	from := xmlscan.TagEnd(element) + 1
	to := bytes.LastIndexByte(element, '<')
	if to < from {
		return nil, nil // <json/>
	}
	content := element[from:to]
	if !bytes.ContainsAny(content, "<&\r") {
		return content, nil // mostly
	}
	text, ok := xmlscan.Text(nil, content)
	if !ok {
		return nil, ErrNoJSON
	}
	return text, nil
}

// DecodeJSON takes the value out of a container. The errors are those of JSONText, and those of
// encoding/json.
func DecodeJSON(element []byte, v any) error {
	text, err := JSONText(element)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
