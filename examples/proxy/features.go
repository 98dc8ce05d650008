package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
)

// Namespaces of a server's offers.
const (
	nsTLS            = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL           = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsSASL2          = "urn:xmpp:sasl:2"
	nsFAST           = "urn:xmpp:fast:0"
	nsChannelBinding = "urn:xmpp:sasl-cb:0"
	nsCompress       = "http://jabber.org/features/compress"
)

// useless reports whether a client on the far side of the proxy cannot use an
// element of the stream features: it has no TLS with the server to start or to
// bind its authentication to, and compression belongs to HTTP.
func useless(name xml.Name) bool {
	return name == xml.Name{Space: nsTLS, Local: "starttls"} ||
		name == xml.Name{Space: nsCompress, Local: "compression"} ||
		name == xml.Name{Space: nsChannelBinding, Local: "sasl-channel-binding"}
}

// bound reports whether a mechanism binds to the TLS below: SCRAM-…-PLUS, and
// of FAST the likes of HT-SHA-256-EXPR.
func bound(space, mechanism string) bool {
	switch space {
	case nsSASL, nsSASL2:
		return strings.HasSuffix(mechanism, "-PLUS")
	case nsFAST:
		return strings.HasPrefix(mechanism, "HT-") && !strings.HasSuffix(mechanism, "-NONE")
	}
	return false
}

// editFeatures returns the stream features without the useless ones, and
// otherwise unchanged. The header is the header of their stream. It may declare
// the namespaces of the features. Anything but the features of an XMPP stream
// is returned as it is.
func editFeatures(header, features []byte) ([]byte, error) {
	d := xml.NewDecoder(bytes.NewReader(append(bytes.Clone(header), features...)))
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("stream header: %w", err)
	}
	var (
		cuts      [][2]int // what to leave out
		open      []int    // where the open elements begin
		mechanism strings.Builder
	)
	for first := true; first || len(open) > 0; first = false {
		at := int(d.InputOffset()) - len(header)
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("stream features: %w", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if first && t.Name != (xml.Name{Space: nsStream, Local: "features"}) {
				return features, nil
			}
			open = append(open, at)
			mechanism.Reset()
		case xml.CharData:
			mechanism.Write(t)
		case xml.EndElement:
			begin := open[len(open)-1]
			open = open[:len(open)-1]
			name := strings.TrimSpace(mechanism.String())
			if useless(t.Name) || t.Name.Local == "mechanism" && bound(t.Name.Space, name) {
				// It holds all cuts made inside of it.
				for len(cuts) > 0 && cuts[len(cuts)-1][0] > begin {
					cuts = cuts[:len(cuts)-1]
				}
				cuts = append(cuts, [2]int{begin, int(d.InputOffset()) - len(header)})
			}
		}
	}
	if cuts == nil {
		return features, nil
	}
	var kept []byte
	from := 0
	for _, cut := range cuts {
		kept = append(kept, features[from:cut[0]]...)
		from = cut[1]
	}
	return append(kept, features[from:]...), nil
}
