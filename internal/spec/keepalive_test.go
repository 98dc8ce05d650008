package spec_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// By WhitespaceKeepalive a server that is used to TCP sees its client's polls.
func TestWhitespaceKeepalive(t *testing.T) {
	o := With(func(o *bosh.Options) {
		o.Framing, o.WhitespaceKeepalive, o.Polling, o.MaxStreams = bosh.XMPP, true, -1, 2
	})
	message := "<message xmlns='jabber:client'/>"
	keepalive := func(name string, f func(b *Harness, s *Session)) {
		t.Helper()
		xmppWith(t, name, o, xmppAttrs, f)
	}
	keepalive("a poll", func(b *Harness, s *Session) {
		s.App.Reads("")
		s.Send(1001)
		s.App.Reads(" ")
		s.Send(1002)
		s.App.Reads(" ")
		s.Send(1002) // a repeat is none
		s.App.Reads("")
	})
	keepalive("a pause", func(b *Harness, s *Session) {
		s.Send(1001, "pause='10'")
		s.App.Reads(" ")
	})
	keepalive("a restart that nothing calls for", func(b *Harness, s *Session) {
		s.Send(1001, Restart)
		s.App.Reads(" ")
	})
	keepalive("an early poll, at its turn", func(b *Harness, s *Session) {
		s.Send(1002)
		s.App.Reads("")
		s.Send(1001, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		s.App.Reads(" ")
	})
	keepalive("no stanza", func(b *Harness, s *Session) {
		s.Send(1001, message)
		s.App.Reads(message)
	})
	keepalive("not the end", func(b *Harness, s *Session) {
		s.Send(1001, terminate)
		s.App.Reads("</stream:stream>")
	})
	keepalive("nor before a header", func(b *Harness, s *Session) {
		s.App.Writes(Success)
		s.Send(1001)
		s.App.Reads("")
		s.Send(1002, Restart)
		s.App.Reads(opened("to='example.com' version='1.0'"))
		s.Send(1003)
		s.App.Reads(" ")
	})
	keepalive("of the stream that is named, or of all", func(b *Harness, s *Session) {
		s.Send(1001, "to='example.net'")
		two := b.App(1)
		s.App.Reads("")
		two.Reads(opened("to='example.net' version='1.0'"))
		s.Send(1002, stream(two))
		s.App.Reads("")
		two.Reads(" ")
		s.Send(1003)
		s.App.Reads(" ")
		two.Reads(" ")
	})

	unread := o
	unread.Serve = func(st *bosh.Stream) { <-st.Context().Done() }
	Bubble(t, "one at most waits", unread, func(b *Harness) {
		s := &Session{B: b}
		c := b.Post(Complete("<body rid='1000' " + xmppAttrs + "/>"))
		b.Wait(10 * time.Second)
		s.Sid = c.Body().Attr("sid")
		for st := range b.H.Sessions() {
			before := st.Stats().Unread
			for rid := int64(1001); rid < 1100; rid++ {
				s.Send(rid)
			}
			assert.Equal(b, before, st.Stats().Unread, "and none beside what waits")
		}
	})

	xmpp(t, "and not by default", func(b *Harness, s *Session) {
		s.Send(1001)
		s.App.Reads("")
	})
	o.Framing = bosh.Elements
	Custom(t, "and not in Elements", o, StdAttrs, func(b *Harness, s *Session) {
		s.Send(1001)
		s.App.Reads("")
	})
	o.Framing = bosh.Opaque
	Custom(t, "nor in Opaque", o, StdAttrs, func(b *Harness, s *Session) {
		s.Send(1001)
		s.App.Reads("")
	})

	// A server's read time-out, as long as it is longer than the wait.
	Bubble(t, "a read time-out does not pass", With(func(o *bosh.Options) {
		o.Framing, o.WhitespaceKeepalive, o.CreateTimeout = bosh.XMPP, true, -1
		o.Serve = func(st *bosh.Stream) {
			for b := make([]byte, 1000); ; {
				st.SetReadDeadline(time.Now().Add(90 * time.Second))
				if _, err := st.Read(b); err != nil {
					return
				}
			}
		}
	}), func(b *Harness) {
		s := &Session{B: b, Sid: b.Post(Complete("<body rid='1000' " + xmppAttrs + "/>")).Body().Attr("sid")}
		for rid := int64(1001); rid < 1020; rid++ {
			s.Send(rid).GetsAfter(Patience, Empty)
		}
	})
}

// Session.LastRequest tells when the client has last shown itself.
func TestLastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		h := NewHandler(t, StdOptions)
		time.Sleep(Second)
		p := Dial(t, boshtest.InMemory(h))
		s := Accept(t, h).Session()
		last := func() time.Duration { return s.LastRequest().Sub(begin) }
		assert.Equal(t, Second, last(), "the first one")
		time.Sleep(Second)
		held := p.Hold("")
		assert.Equal(t, 2*Second, last())
		time.Sleep(30 * Second)
		assert.Equal(t, 2*Second, last(), "while it is held")
		again := boshtest.Post(t, p.Rt, p.Body(p.Rid, ""))
		synctest.Wait()
		assert.Equal(t, 32*Second, last(), "a repeat")
		require.Equal(t, "error", held.Wait().Attr("type"))
		again.Cancel()
		time.Sleep(10 * Second)
		assert.Equal(t, 32*Second, last(), "when the connection has gone")
		early := boshtest.Post(t, p.Rt, p.Body(p.Rid+2, ""))
		synctest.Wait()
		assert.Equal(t, 42*Second, last(), "an early one")
		early.Cancel()
		s.Terminate(nil)
		time.Sleep(5 * time.Minute)
		assert.Error(t, s.Err())
		assert.Equal(t, 42*Second, last(), "after the end")
	})
}
