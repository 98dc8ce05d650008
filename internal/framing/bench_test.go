package framing

import (
	"fmt"
	"math/rand/v2"
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

// BenchmarkElements is one element that needs nothing: always the same, or with
// another id, recipient and text each time.
func BenchmarkElements(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	varied := make([][]byte, 512)
	for k := range varied {
		text := strings.Repeat("Deny thy father. ", 1+r.IntN(8))[r.IntN(16):]
		varied[k] = fmt.Appendf(nil, `<message xmlns='jabber:client' to='romeo%d@montague.example/orchard' type='chat' id='%x'><body>%s</body>`+
			`<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`,
			r.IntN(10000), r.Uint64(), text)
	}
	for _, bm := range []struct {
		name string
		all  [][]byte
	}{
		{"same", [][]byte{[]byte(benchStanza)}},
		{"varied", varied},
	} {
		b.Run(bm.name, func(b *testing.B) {
			size, k := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				p := bm.all[k%len(bm.all)]
				if _, _, err := Elements(p, 1<<20); err != nil {
					b.Fatal(err)
				}
				size += len(p)
				k++
			}
			b.SetBytes(int64(size / b.N))
		})
	}
}
