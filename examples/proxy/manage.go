package main

import (
	"bytes"
	"encoding/xml"
	"slices"
)

const nsSM = "urn:xmpp:sm:3"

// The words of a stream's two sides on its management (XEP-0198).
var (
	smOffered  = xml.Name{Space: nsSM, Local: "sm"}
	smEnabled  = xml.Name{Space: nsSM, Local: "enabled"}
	smResumed  = xml.Name{Space: nsSM, Local: "resumed"}
	smFailed   = xml.Name{Space: nsSM, Local: "failed"}
	enableText = "<enable xmlns='" + nsSM + "'/>"
)

// manages reports whether an element begins the server's management of the stream.
// It may also stand in the answer to an authentication by SASL2 with Bind 2, but
// nowhere else: the content of a stanza is somebody else's word.
func manages(element []byte) bool {
	switch name := rootName(element); name {
	case smEnabled, smResumed:
		return true
	case xml.Name{Space: nsSASL2, Local: "success"}:
		return mentions(element, smEnabled, smResumed)
	}
	return false
}

// rootName returns the name of an element.
func rootName(element []byte) xml.Name {
	t, err := xml.NewDecoder(bytes.NewReader(element)).Token()
	if start, ok := t.(xml.StartElement); err == nil && ok {
		return start.Name
	}
	return xml.Name{}
}

// mentions reports whether an element, or one inside of it, has one of the
// names.
func mentions(element []byte, names ...xml.Name) bool {
	d := xml.NewDecoder(bytes.NewReader(element))
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		if start, ok := t.(xml.StartElement); ok && slices.Contains(names, start.Name) {
			return true
		}
	}
}
