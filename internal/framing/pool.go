package framing

import (
	"slices"
	"sync"

	"github.com/gobosh/bosh/internal/xmlscan"
)

// scanners are shared, since a stream needs one only while something is being
// written to it.
var scanners = sync.Pool{New: func() any { return new(xmlscan.Scanner) }}

func (c *Cutter) release() {
	c.begun = false
	if c.scan != nil {
		scanners.Put(c.scan)
		c.scan = nil
	}
}

// usual are the declarations made by nearly all XMPP servers. Their streams
// share one slice.
var usual = []xmlscan.Binding{{Prefix: "", URI: "jabber:client"}, {Prefix: "stream", URI: "http://etherx.jabber.org/streams"}}

// intern returns a slice equal to b that stays as it is.
func intern(b []xmlscan.Binding) []xmlscan.Binding {
	if slices.Equal(b, usual) {
		return usual
	}
	return slices.Clone(b)
}
