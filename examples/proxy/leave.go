package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/gobosh/bosh"
)

// leaveTimeout is how long a server may take to say good-bye.
const leaveTimeout = 5 * time.Second

// leave ends the stream to the server, after the client's stream has ended by
// err. Nothing that the client did not get is to vanish: either the server
// knows by itself, because it manages the stream, or it is told.
func (b *bridge) leave(err error) {
	b.server.SetReadDeadline(time.Now().Add(leaveTimeout))
	if !b.gone.Load() {
		managed := b.managed // by the client
		b.returnLost(err)
		switch {
		case managed && reason(err) != clientEnded:
			b.hangUp() // so that the client can resume its stream
			return
		case !managed && b.loggedIn.Load():
			b.drain()
		}
	}
	if b.tell([]byte(streamEnd)) == nil {
		b.hearOut()
	}
}

// returnLost tells the server of what it gave the proxy for nothing, if it does
// not know by itself.
func (b *bridge) returnLost(err error) {
	var replies bytes.Buffer
	lost := b.undelivered(err)
	if b.managed {
		// It keeps what it sent behind the word that says so. Whoever has
		// got that word has got all before.
		lost = lost[:max(0, slices.IndexFunc(lost, manages))]
	}
	for _, element := range lost {
		b.bounce(&replies, element)
	}
	if !b.managed {
		b.bounceItems(&replies, nil) // what came behind those
	}
	b.reply(&replies)
}

// undelivered returns what the stream was to be given and the client did not
// get.
func (b *bridge) undelivered(err error) (elements [][]byte) {
	var e *bosh.Error
	vanished := errors.As(err, &e) && e.Remote
	for p := range b.stream.Undelivered() {
		// A client that has left in good order, or was told to, has had
		// the last answer.
		if vanished || !p.Sent {
			elements = append(elements, p.Data)
		}
	}
	return append(elements, b.unsent...)
}

// bounce appends the answer to a stanza that cannot be delivered.
func (b *bridge) bounce(replies *bytes.Buffer, element []byte) {
	s := parseStanza(element)
	if reply := s.bounce(); reply != nil {
		replies.Write(reply)
		b.count.bounced.add(s.name)
	}
}

// reply tells the server the answers that have been collected.
func (b *bridge) reply(replies *bytes.Buffer) error {
	if replies.Len() == 0 {
		return nil
	}
	return b.tell(replies.Bytes())
}

// bounceItems bounces the elements that are in the splitter, up to the one that
// is an answer; nil is none. It returns how many they were, and whether that
// one was there.
func (b *bridge) bounceItems(replies *bytes.Buffer, answer func(element []byte) bool) (n int, answered bool) {
	for {
		it, err := b.split.next()
		if err != nil {
			return n, false
		}
		if it.kind != itemElement {
			continue
		}
		if answer != nil && answer(it.data) {
			return n, true
		}
		b.bounce(replies, it.data)
		n++
	}
}

// drain bounces what is on its way from the server, until the server keeps what
// is left, or has nothing more.
func (b *bridge) drain() {
	if b.tell([]byte("<presence type='unavailable'/>")) != nil || b.offersManagement && b.keep() {
		return
	}
	// Those who know the client's address may write to it all the same: a
	// moment without any is the best that there is.
	for n, err := 1, error(nil); n > 0 && err == nil; {
		n, err = b.ping()
	}
}

// keep makes the server manage the stream. As it gets no acknowledgement, it
// keeps all that it sends from then on, and does with it at the end what it does
// when a connection breaks.
func (b *bridge) keep() bool {
	_, err := b.await(enableText, func(element []byte) bool {
		b.managed = mentions(element, smEnabled)
		return b.managed || mentions(element, smFailed)
	})
	return err == nil && b.managed
}

// ping bounces what comes until the server has answered. It returns how much
// that was.
func (b *bridge) ping() (n int, err error) {
	id := "bye-" + rand.Text()
	n, err = b.await("<iq type='get' id='"+id+"'><ping xmlns='urn:xmpp:ping'/></iq>", func(element []byte) bool {
		s := parseStanza(element)
		return s.name == "iq" && s.id == id
	})
	var replies bytes.Buffer
	more, _ := b.bounceItems(&replies, nil)
	return n + more, errors.Join(err, b.reply(&replies))
}

// await makes a request, and bounces what comes before the answer to it. It
// returns how much that was.
func (b *bridge) await(request string, answer func(element []byte) bool) (others int, err error) {
	err = b.tell([]byte(request))
	for answered := false; err == nil && !answered; {
		_, err = b.hear()
		var replies bytes.Buffer
		var n int
		n, answered = b.bounceItems(&replies, answer)
		others += n
		err = errors.Join(err, b.reply(&replies))
	}
	return others, err
}

// hearOut reads until the server closes, so that it has read all. A stanza that
// comes so late and is not kept by the server is lost, for it cannot be answered
// any more.
func (b *bridge) hearOut() {
	if b.managed || b.gone.Load() {
		io.Copy(io.Discard, b.server)
		return
	}
	for err := error(nil); err == nil; {
		_, err = b.hear()
		for {
			it, serr := b.split.next()
			if serr != nil {
				break
			}
			if s := parseStanza(it.data); it.kind == itemElement && s.bounce() != nil {
				b.count.lost.add(s.name)
				b.lost++
			}
		}
	}
}

// hangUp ends the connection to the server, but not the stream, and reads until
// the server does so too, so that it has read all.
func (b *bridge) hangUp() {
	conn := b.server
	if t, ok := conn.(*tls.Conn); ok {
		t.CloseWrite()
		conn = t.NetConn() // for servers that do not mind the end of TLS
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		io.Copy(io.Discard, b.server)
	}
}
