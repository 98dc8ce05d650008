package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gobosh/bosh/boshtest"
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

// BenchmarkTalk is what guests say to each other over BOSH: half of a hundred
// send messages, and wait for those of the other half. For a profile of the
// server among its clients:
//
//	go test -run '^$' -bench Talk -benchtime 5s -cpuprofile cpu.out ./examples/chat
//	go tool pprof -top -cum -focus 'session..run|outbox..run|http...conn..serve' cpu.out
func BenchmarkTalk(b *testing.B) {
	const pairs = 50
	chat := startChat(b)
	tr := &http.Transport{MaxIdleConnsPerHost: 4 * pairs}
	defer tr.CloseIdleConnections()
	var guests [2 * pairs]*client
	for i := range guests {
		guests[i] = dialBOSH(b, boshtest.Config{URL: chat.http + "http-bind", Transport: tr})
		guests[i].login("", "", fmt.Sprint("r", i))
	}
	b.ResetTimer()
	var talking sync.WaitGroup
	for i := range pairs {
		talking.Go(func() {
			for range (b.N + i) / pairs {
				if err := talk(guests[i], guests[pairs+i]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	talking.Wait()
	b.StopTimer()
	for _, g := range guests {
		g.transport.(*overBOSH).Terminate(context.Background())
	}
}

// talk has two clients send each other a message.
func talk(a, b *client) error {
	for range 2 {
		text := "<message to='" + b.jid + "' type='chat' id='abc123'><body>" + strings.Repeat("hello ", 20) +
			"</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
		if err := a.write(text); err != nil {
			return err
		}
		if _, err := b.transport.(*overBOSH).Recv(context.Background()); err != nil {
			return err
		}
		a, b = b, a
	}
	return nil
}
