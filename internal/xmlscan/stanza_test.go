package xmlscan

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// stanzas are forms of what XMPP clients and servers send. The verbs take an
// id, the name of somebody, a resource, and a text.
var stanzas = []struct{ name, form string }{
	{"chat", `<message xmlns='jabber:client' to='%[2]s@montague.example/%[3]s' type='chat' id='%[1]s'><body>%[4]s</body>` +
		`<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`},
	{"archived", `<message xmlns="jabber:client" from="%[2]s@montague.example/%[3]s" to="juliet@capulet.example" type="chat" id="%[1]s">` +
		`<body>%[4]s</body><origin-id xmlns="urn:xmpp:sid:0" id="%[1]s"/><markable xmlns="urn:xmpp:chat-markers:0"/>` +
		`<stanza-id xmlns="urn:xmpp:sid:0" by="juliet@capulet.example" id="%[1]s"/></message>`},
	{"presence", `<presence xmlns='jabber:client' from='%[2]s@montague.example/%[3]s'><show>away</show><status>%[4]s</status>` +
		`<priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://client.example' ver='%[1]s'/></presence>`},
	{"ping", `<iq xmlns='jabber:client' to='%[2]s@montague.example/%[3]s' type='get' id='%[1]s'><ping xmlns='urn:xmpp:ping'/></iq>`},
	{"prefixed", `<c:message xmlns:c='jabber:client' to='%[2]s@montague.example/%[3]s' type='chat' id='%[1]s' xml:lang='en'>` +
		`<c:body>%[4]s</c:body><s:active xmlns:s='http://jabber.org/protocol/chatstates'/></c:message>`},
}

// variants returns n stanzas of a form that are alike only as real ones are.
func variants(form string, n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	letters := func(from, to int) []byte {
		b := make([]byte, from+r.IntN(to-from))
		for k := range b {
			b[k] = byte('a' + r.IntN(26))
		}
		return b
	}
	var all [][]byte
	for range n {
		id := fmt.Sprintf("%08x-%04x-%04x-%012x", r.Uint32(), r.UintN(1<<16), r.UintN(1<<16), r.Uint64N(1<<48))
		text := letters(1, 10)
		for range r.IntN(20) {
			text = append(append(text, ' '), letters(1, 10)...)
		}
		if r.IntN(4) == 0 {
			text = append(text, " &amp; more"...)
		}
		all = append(all, fmt.Appendf(nil, form, id, letters(4, 12), letters(4, 16), text))
	}
	return all
}

// BenchmarkStanza is what a stanza costs that stands by itself: always the same,
// where the processor learns its way by heart, or a different one each time.
func BenchmarkStanza(b *testing.B) {
	for _, st := range stanzas {
		for _, bm := range []struct {
			name string
			all  [][]byte
		}{
			{"same", variants(st.form, 1)},
			{"varied", variants(st.form, 512)},
		} {
			b.Run(st.name+"/"+bm.name, func(b *testing.B) {
				var s Scanner
				var it Item
				size, k := 0, 0
				s.ResetInside(nil)
				b.ReportAllocs()
				for b.Loop() {
					doc := bm.all[k%len(bm.all)]
					if err := s.Next(doc, &it); err != nil {
						b.Fatal(err)
					}
					size += len(doc)
					k++
				}
				b.SetBytes(int64(size / b.N))
			})
		}
	}
}
