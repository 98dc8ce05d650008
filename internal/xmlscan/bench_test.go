package xmlscan

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

const (
	wrapperStart = `<body content='text/xml; charset=utf-8' rid='1573741820' sid='SomeSID' ` +
		`xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'>`
	wrapperEnd = `</body>`

	message = `<message xmlns="jabber:client" to="romeo@montague.example/orchard" from="juliet@capulet.example/balcony" ` +
		`type="chat" id="c4f2f2a1-9d3c-4a5e-b7a7-1fb2d5c3e9a0"><body>Wherefore art thou, Romeo? Deny thy father &amp; refuse ` +
		`thy name.</body><active xmlns="http://jabber.org/protocol/chatstates"/><request xmlns="urn:xmpp:receipts"/>` +
		`<origin-id xmlns="urn:xmpp:sid:0" id="c4f2f2a1-9d3c-4a5e-b7a7-1fb2d5c3e9a0"/></message>`
)

func disco() string {
	var b strings.Builder
	b.WriteString(`<iq xmlns='jabber:client' type='result' id='disco1' from='capulet.example' to='juliet@capulet.example/balcony'>` +
		`<query xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im' name='Capulet'/>`)
	for k := range 30 {
		fmt.Fprintf(&b, `<feature var='http://jabber.org/protocol/feature-%d'/>`, k)
	}
	b.WriteString(`</query></iq>`)
	return b.String()
}

func roster() string {
	var b strings.Builder
	b.WriteString(`<iq xmlns='jabber:client' type='result' id='roster1'><query xmlns='jabber:iq:roster' ver='ver14'>`)
	for k := range 200 {
		fmt.Fprintf(&b, `<item jid='friend%d@montague.example' name='Друг номер %d' subscription='both'><group>Friends</group></item>`, k, k)
	}
	b.WriteString(`</query></iq>`)
	return b.String()
}

func blob() string {
	return `<iq xmlns='jabber:client' type='set' id='b'><data xmlns='http://jabber.org/protocol/ibb' seq='0' sid='i'>` +
		base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00\x10\x83binary", 100<<10*3/4/9))) + `</data></iq>`
}

func BenchmarkScanner(b *testing.B) {
	for _, bm := range []struct{ name, children string }{
		{"empty", ""},
		{"message", message},
		{"disco", disco()},
		{"roster", roster()},
		{"base64", blob()},
		{"messages50", strings.Repeat(message, 50)},
		{"cyrillic", `<m><body>` + strings.Repeat("Мой дядя самых честных правил, ", 20) + `</body></m>`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			doc := []byte(wrapperStart + bm.children + wrapperEnd)
			var s Scanner
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				s.Reset()
				for rest := doc; !s.Done(); {
					var it Item
					err := s.Next(rest, &it)
					if err != nil {
						b.Fatal(err)
					}
					rest = rest[it.Len:]
				}
			}
		})
	}
}

// BenchmarkBytewise is the worst way to cut a document.
func BenchmarkBytewise(b *testing.B) {
	doc := []byte(wrapperStart + blob() + wrapperEnd)
	var s Scanner
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset()
		start := 0
		for end := range doc {
			var it Item
			err := s.Next(doc[start:end+1], &it)
			if err == nil {
				start += it.Len
			} else if err != ErrMore {
				b.Fatal(err)
			}
		}
		if !s.Done() {
			b.Fatal("the document is not complete")
		}
	}
}
