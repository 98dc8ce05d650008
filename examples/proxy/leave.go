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

const (
	// leaveTimeout is how long a server may take to answer the last requests,
	// and then to say good-bye.
	leaveTimeout = 5 * time.Second

	// maxPings is how often a server is asked whether it has nothing more. If
	// it always has, it will have more after the last one too.
	maxPings = 5
)

// leave ends the stream to the server, after the client's stream has ended by
// err. Nothing lost to the client is to vanish: either the server knows by
// itself, because it manages the stream, or it is told.
func (b *bridge) leave(err error) {
	b.kept = b.endCustody()
	b.within(leaveTimeout)
	switch {
	case b.gone.Load():
	case b.kept:
		b.entrust(err)
	default:
		b.returnLost(err)
		if !b.managed.Load() && b.loggedIn.Load() {
			b.drain()
		}
		if b.managed.Load() && reason(err) != clientEnded {
			b.hangUp() // so that the client can resume its stream
			return
		}
	}
	if b.tell([]byte(streamEnd)) == nil {
		b.hearOut()
	}
}

// within sets how long reading from the server and writing to it may take.
func (b *bridge) within(d time.Duration) {
	b.leaving = time.Now().Add(d)
	b.server.SetReadDeadline(b.leaving)
}

// returnLost tells the server of the stanzas lost in the proxy, if it does not
// know by itself.
func (b *bridge) returnLost(err error) {
	var replies bytes.Buffer
	lost := b.undelivered(err)
	if b.managed.Load() {
		// It keeps all stanzas after its word on management. A client
		// with this word has got all before it.
		lost = lost[:max(0, slices.IndexFunc(lost, manages))]
	}
	for _, element := range lost {
		b.bounce(&replies, element)
	}
	if !b.managed.Load() {
		b.bounceItems(&replies, nil) // what came behind those
	}
	b.reply(&replies)
}

// undelivered returns the elements for the stream that the client did not get.
func (b *bridge) undelivered(err error) (elements [][]byte) {
	var e *bosh.Error
	vanished := errors.As(err, &e) && e.Remote
	for p := range b.stream.Undelivered() {
		// After an end in good order, or by the proxy, the client has
		// had the last answer.
		if vanished || !p.Sent {
			elements = append(elements, p.Data)
		}
	}
	return append(elements, b.unsent...)
}

// bounce appends the answer to an undeliverable stanza. It reports whether
// there is one.
func (b *bridge) bounce(replies *bytes.Buffer, element []byte) bool {
	s := b.check.stanza(element)
	reply := s.bounce()
	if reply == nil {
		return false
	}
	replies.Write(reply)
	b.count.bounced.add(s.name)
	b.returned++
	if replies.Len() >= maxReplies {
		b.reply(replies) // if it fails, so will the next one
		replies.Reset()
	}
	return true
}

// maxReplies is how many bytes of answers are collected.
const maxReplies = 32 << 10

// reply tells the server the collected answers.
func (b *bridge) reply(replies *bytes.Buffer) error {
	if replies.Len() == 0 {
		return nil
	}
	return b.tell(replies.Bytes())
}

// bounceItems bounces the elements in the splitter, up to the answer; nil means
// none is an answer. It returns how many were bounced, and whether the answer
// was there.
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
		if b.bounce(replies, it.data) {
			n++
		}
	}
}

// drain bounces stanzas on their way from the server, until the server keeps
// the rest or has nothing more.
func (b *bridge) drain() {
	if b.tell([]byte("<presence type='unavailable'/>")) != nil || b.offersManagement && b.keep() {
		return
	}
	// Others may know the client's address and write to it all the same: a
	// moment without stanzas has to do.
	for range maxPings {
		if n, err := b.ping(); n == 0 || err != nil {
			return
		}
	}
}

// keep makes the server manage the stream. It gets no acknowledgement, so it
// keeps all stanzas from then on. At the end it treats them as after a broken
// connection. It may already do so, since the client has asked to resume a
// stream. Keep reports whether the server keeps anything.
func (b *bridge) keep() bool {
	b.await(enableText, func(element []byte) bool {
		name := rootName(element)
		b.kept = name == smEnabled
		b.managed.Store(name == smResumed)
		return b.kept || name == smResumed || name == smFailed
	})
	return b.kept || b.managed.Load()
}

// ping bounces all stanzas until the server has answered. It returns their
// number.
func (b *bridge) ping() (n int, err error) {
	id := "bye-" + rand.Text()
	n, err = b.await(string(pingRequest(id)), func(element []byte) bool {
		s := b.check.stanza(element)
		return s.name == "iq" && s.id == id
	})
	var replies bytes.Buffer
	more, _ := b.bounceItems(&replies, nil)
	return n + more, errors.Join(err, b.reply(&replies))
}

// await makes a request, and bounces all stanzas before the answer to it. It
// returns their number.
func (b *bridge) await(request string, answer func(element []byte) bool) (bounced int, err error) {
	err = b.tell([]byte(request))
	for answered := false; err == nil && !answered; {
		_, err = b.hear()
		var replies bytes.Buffer
		var n int
		n, answered = b.bounceItems(&replies, answer)
		bounced += n
		err = errors.Join(err, b.reply(&replies))
	}
	return bounced, err
}

// hearOut reads until the server closes: then the server has read all. Such a
// late stanza cannot be answered any more, so it is lost unless the server keeps
// it.
func (b *bridge) hearOut() {
	b.within(leaveTimeout)
	if b.managed.Load() || b.kept || b.gone.Load() {
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
			if s := b.check.stanza(it.data); it.kind == itemElement && s.bounce() != nil {
				b.count.lost.add(s.name)
				b.lost++
			}
		}
	}
}

// hangUp ends the connection to the server, but not the stream, and reads until
// the server does so too: then the server has read all.
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
