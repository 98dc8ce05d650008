package bosh_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// By WhitespaceKeepalive a server that is used to TCP sees its client's polls.
func TestWhitespaceKeepalive(t *testing.T) {
	o := with(func(o *bosh.Options) {
		o.Framing, o.WhitespaceKeepalive, o.Polling, o.MaxStreams = bosh.XMPP, true, -1, 2
	})
	message := "<message xmlns='jabber:client'/>"
	keepalive := func(name string, f func(b *bench, s *session)) {
		t.Helper()
		xmppWith(t, name, o, xmppAttrs, f)
	}
	keepalive("a poll", func(b *bench, s *session) {
		s.app.reads("")
		s.send(1001)
		s.app.reads(" ")
		s.send(1002)
		s.app.reads(" ")
		s.send(1002) // a repeat is none
		s.app.reads("")
	})
	keepalive("a pause", func(b *bench, s *session) {
		s.send(1001, "pause='10'")
		s.app.reads(" ")
	})
	keepalive("a restart that nothing calls for", func(b *bench, s *session) {
		s.send(1001, restart)
		s.app.reads(" ")
	})
	keepalive("an early poll, at its turn", func(b *bench, s *session) {
		s.send(1002)
		s.app.reads("")
		s.send(1001, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		s.app.reads(" ")
	})
	keepalive("no stanza", func(b *bench, s *session) {
		s.send(1001, message)
		s.app.reads(message)
	})
	keepalive("not the end", func(b *bench, s *session) {
		s.send(1001, terminate)
		s.app.reads("</stream:stream>")
	})
	keepalive("nor before a header", func(b *bench, s *session) {
		s.app.writes(success)
		s.send(1001)
		s.app.reads("")
		s.send(1002, restart)
		s.app.reads(opened("to='example.com' version='1.0'"))
		s.send(1003)
		s.app.reads(" ")
	})
	keepalive("of the stream that is named, or of all", func(b *bench, s *session) {
		s.send(1001, "to='example.net'")
		two := b.app(1)
		s.app.reads("")
		two.reads(opened("to='example.net' version='1.0'"))
		s.send(1002, stream(two))
		s.app.reads("")
		two.reads(" ")
		s.send(1003)
		s.app.reads(" ")
		two.reads(" ")
	})

	unread := o
	unread.Serve = func(st *bosh.Stream) { <-st.Context().Done() }
	bubble(t, "one at most waits", unread, func(b *bench) {
		s := &session{b: b}
		c := b.post(complete("<body rid='1000' " + xmppAttrs + "/>"))
		b.wait(10 * time.Second)
		s.sid = c.body().Attr("sid")
		for st := range b.h.Sessions() {
			before := st.Stats().Unread
			for rid := int64(1001); rid < 1100; rid++ {
				s.send(rid)
			}
			assert.Equal(b, before, st.Stats().Unread, "and none beside what waits")
		}
	})

	xmpp(t, "and not by default", func(b *bench, s *session) {
		s.send(1001)
		s.app.reads("")
	})
	o.Framing = bosh.Elements
	custom(t, "and not in Elements", o, stdAttrs, func(b *bench, s *session) {
		s.send(1001)
		s.app.reads("")
	})
	o.Framing = bosh.Opaque
	custom(t, "nor in Opaque", o, stdAttrs, func(b *bench, s *session) {
		s.send(1001)
		s.app.reads("")
	})

	// A server's read time-out, as long as it is longer than the wait.
	bubble(t, "a read time-out does not pass", with(func(o *bosh.Options) {
		o.Framing, o.WhitespaceKeepalive, o.CreateTimeout = bosh.XMPP, true, -1
		o.Serve = func(st *bosh.Stream) {
			for b := make([]byte, 1000); ; {
				st.SetReadDeadline(time.Now().Add(90 * time.Second))
				if _, err := st.Read(b); err != nil {
					return
				}
			}
		}
	}), func(b *bench) {
		s := &session{b: b, sid: b.post(complete("<body rid='1000' " + xmppAttrs + "/>")).body().Attr("sid")}
		for rid := int64(1001); rid < 1020; rid++ {
			s.send(rid).getsAfter(patience, empty)
		}
	})
}

// Session.LastRequest tells when the client has last shown itself.
func TestLastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		h := newHandler(t, stdOptions)
		time.Sleep(second)
		p := dial(t, boshtest.InMemory(h))
		s := accept(t, h).Session()
		last := func() time.Duration { return s.LastRequest().Sub(begin) }
		assert.Equal(t, second, last(), "the first one")
		time.Sleep(second)
		held := p.hold("")
		assert.Equal(t, 2*second, last())
		time.Sleep(30 * second)
		assert.Equal(t, 2*second, last(), "while it is held")
		again := boshtest.Post(t, p.rt, p.body(p.rid, ""))
		synctest.Wait()
		assert.Equal(t, 32*second, last(), "a repeat")
		require.Equal(t, "error", held.Wait().Attr("type"))
		again.Cancel()
		time.Sleep(10 * second)
		assert.Equal(t, 32*second, last(), "when the connection has gone")
		early := boshtest.Post(t, p.rt, p.body(p.rid+2, ""))
		synctest.Wait()
		assert.Equal(t, 42*second, last(), "an early one")
		early.Cancel()
		s.Terminate(nil)
		time.Sleep(5 * time.Minute)
		assert.Error(t, s.Err())
		assert.Equal(t, 42*second, last(), "after the end")
	})
}
