package framing

import (
	"strings"
	"testing"
)

const benchStanza = `<message xmlns='jabber:client' to='romeo@montague.example/orchard' type='chat' id='c4f2f2a1-9d3c-4a5e'>` +
	`<body>Wherefore art thou, Romeo? Deny thy father &amp; refuse thy name.</body>` +
	`<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`

// The same as a server writes it that relies on its header.
const benchServer = `<message to='romeo@montague.example/orchard' type='chat' id='c4f2f2a1-9d3c-4a5e'>` +
	`<body>Wherefore art thou, Romeo? Deny thy father &amp; refuse thy name.</body>` +
	`<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`

const benchHeader = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>`

// BenchmarkCut cuts what one write brings: a stanza, or 50.
func BenchmarkCut(b *testing.B) {
	for _, bm := range []struct {
		name, header, write string
		cutter              *Cutter
	}{
		{"elements/1", "", benchStanza, NewElements(1 << 20)},
		{"elements/50", "", strings.Repeat(benchStanza, 50), NewElements(1 << 20)},
		{"xmpp/1", benchHeader, benchServer, NewXMPP(1 << 20)},
		{"xmpp/50", benchHeader, strings.Repeat(benchServer, 50), NewXMPP(1 << 20)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			c := bm.cutter
			all := func(p []byte) {
				for len(p) > 0 {
					n, _, err := c.Cut(p)
					if err != nil {
						b.Fatal(err)
					}
					p = p[n:]
				}
			}
			all([]byte(bm.header))
			p := []byte(bm.write)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				all(p)
			}
		})
	}
}

// BenchmarkElements is one element that needs nothing.
func BenchmarkElements(b *testing.B) {
	p := []byte(benchStanza)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Elements(p, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
