package wire_test

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"github.com/gobosh/bosh/internal/wire"
)

const benchStanza = `<message xmlns='jabber:client' to='romeo@montague.example/orchard' type='chat' id='c4f2f2a1-9d3c-4a5e'>` +
	`<body>Wherefore art thou, Romeo? Deny thy father &amp; refuse thy name.</body>` +
	`<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`

var benchPayloads = []struct{ name, xml string }{
	{"empty", ""}, {"1", benchStanza}, {"50", strings.Repeat(benchStanza, 50)},
}

func BenchmarkDecode(b *testing.B) {
	for _, bm := range benchPayloads {
		b.Run(bm.name, func(b *testing.B) {
			body := "<body rid='1573741820' sid='SomeSID' xmlns='http://jabber.org/protocol/httpbind'>" + bm.xml + "</body>"
			var req wire.Request
			var elements []byte
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				req.Reset()
				req.Body = append(req.Body, body...)
				if err := req.Parse(wire.Limits{}); err != nil {
					b.Fatal(err)
				}
				elements = elements[:0]
				for _, p := range req.Payloads {
					elements = req.AppendElement(elements, p)
				}
			}
		})
	}
}

func BenchmarkData(b *testing.B) {
	const ns = "urn:bosh:opaque:0"
	for _, size := range []int{64, 45000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			body := "<body rid='1573741820' sid='SomeSID' xmlns='http://jabber.org/protocol/httpbind'><data xmlns='" + ns + "'>" +
				base64.StdEncoding.EncodeToString(make([]byte, size)) + "</data></body>"
			req := wire.Request{Body: []byte(body)}
			if err := req.Parse(wire.Limits{}); err != nil {
				b.Fatal(err)
			}
			var data []byte
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				var ok bool
				if data, ok = wire.AppendData(data[:0], &req, req.Payloads[0], ns); !ok || len(data) != size {
					b.Fatal("no data")
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, bm := range benchPayloads {
		b.Run(bm.name, func(b *testing.B) {
			a := wire.Response{Ack: 1573741820, Payload: []byte(bm.xml)}
			b.SetBytes(int64(len(bm.xml)))
			b.ReportAllocs()
			for b.Loop() {
				a.Bytes(nil)
			}
		})
	}
}
