package main

import (
	"encoding/xml"
	"io"
	"log/slog"
	"strings"
	"testing"

	"mellium.im/xmpp/stanza"
)

// BenchmarkPing is a round trip through the whole server over TCP.
func BenchmarkPing(b *testing.B) {
	srv, addr := startTestServer(b)
	srv.log = slog.New(slog.DiscardHandler)
	c := join(b, addr, "alice", "secret", "desk")
	const ping = "<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"
	answer := len("<iq from='localhost' to='alice@localhost/desk' id='p' type='result'/>")
	buf := make([]byte, answer)
	for b.Loop() {
		c.send(ping)
		if _, err := io.ReadFull(c.transport.(*tcp), buf); err != nil {
			b.Fatal(err)
		}
	}
}

// endless repeats a stanza for ever, in a stream.
type endless struct {
	text string
	rest string
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		e.rest = e.text
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// BenchmarkForward is a message from its bytes to its bytes: read, routed by a
// full address, and written.
func BenchmarkForward(b *testing.B) {
	srv := newTestServer(b)
	from := boundSession(b, srv, "alice", "a")
	to := boundSession(b, srv, "bob", "b")
	text := "<message to='" + to.jid + "' type='chat' id='abc123'><body>" + strings.Repeat("hello ", 20) +
		"</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
	d := xml.NewDecoder(io.MultiReader(strings.NewReader("<stream xmlns='"+stanza.NSClient+"'>"), &endless{text: text}))
	d.Token()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		tok, err := d.Token()
		if err != nil {
			b.Fatal(err)
		}
		p, err := readPacket(d, tok.(xml.StartElement))
		if err != nil {
			b.Fatal(err)
		}
		from.handle(p)
		it := to.out.items[0]
		to.out.items, to.out.size = to.out.items[:0], 0
		buf = it.p.appendTo(buf[:0], it.to, "")
	}
}
