package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"github.com/gobosh/bosh"
)

// leaveTimeout is how long a server may take to say good-bye.
const leaveTimeout = 5 * time.Second

// leave ends the stream to the server, after the client's stream has ended by
// err. The server hears first of all that the client did not get.
func (b *bridge) leave(err error) {
	deadline := time.Now().Add(leaveTimeout)
	b.server.SetReadDeadline(deadline)
	if !b.gone.Load() {
		b.returnLost(err)
		if b.loggedIn.Load() {
			b.drain()
		}
	}
	if b.tell([]byte(streamEnd)) == nil {
		io.Copy(io.Discard, b.server) // until it closes, so that it has read all
	}
}

// returnLost tells the server of what the stream was given and did not deliver.
func (b *bridge) returnLost(err error) {
	var e *bosh.Error
	vanished := errors.As(err, &e) && e.Remote
	var replies bytes.Buffer
	for p := range b.stream.Undelivered() {
		// A client that has left in good order, or was told to, has had
		// the last answer.
		if vanished || !p.Sent {
			b.bounce(&replies, p.Data)
		}
	}
	for _, element := range b.unsent {
		b.bounce(&replies, element)
	}
	b.unsent = nil
	// And those that the server had sent behind them.
	b.bounceItems(&replies, "")
	if replies.Len() > 0 {
		b.tell(replies.Bytes())
	}
}

// bounce appends the answer to a stanza that cannot be delivered.
func (b *bridge) bounce(replies *bytes.Buffer, element []byte) {
	s := parseStanza(element)
	if reply := s.bounce(); reply != nil {
		replies.Write(reply)
		b.count.bounced.add(s.name)
	}
}

// bounceItems bounces the items that are in the splitter. It reports whether
// one of them answers the request with an id.
func (b *bridge) bounceItems(replies *bytes.Buffer, id string) (answered bool) {
	for {
		it, err := b.split.next()
		if err != nil {
			return answered
		}
		if it.kind != itemElement {
			continue
		}
		if s := parseStanza(it.data); id != "" && s.name == "iq" && s.id == id {
			answered = true
			continue
		}
		b.bounce(replies, it.data)
	}
}

// drain makes the server send nothing more, and bounces what was on its way:
// the answer to a request comes behind it.
func (b *bridge) drain() {
	id := "bye-" + rand.Text()
	err := b.tell([]byte("<presence type='unavailable'/><iq type='get' id='" + id + "'><ping xmlns='urn:xmpp:ping'/></iq>"))
	for answered := false; err == nil && !answered; {
		var n int
		n, err = b.server.Read(b.split.space())
		b.split.filled(n)
		b.count.bytesDown.Add(int64(n))
		var replies bytes.Buffer
		answered = b.bounceItems(&replies, id)
		if replies.Len() > 0 {
			err = errors.Join(err, b.tell(replies.Bytes()))
		}
	}
}
