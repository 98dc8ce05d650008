package main

import (
	"bytes"
	"encoding/xml"
	"slices"
)

const nsSM = "urn:xmpp:sm:3"

// What the two sides of a stream say of its management (XEP-0198).
var (
	smOffered  = xml.Name{Space: nsSM, Local: "sm"}
	smEnabled  = xml.Name{Space: nsSM, Local: "enabled"}
	smResumed  = xml.Name{Space: nsSM, Local: "resumed"}
	smFailed   = xml.Name{Space: nsSM, Local: "failed"}
	enableText = "<enable xmlns='" + nsSM + "'/>"
)

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

// manages reports whether a server says that it manages the stream from now on.
func manages(element []byte) bool { return mentions(element, smEnabled, smResumed) }
