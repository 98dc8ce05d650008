package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshtest"
)

const (
	presence = "<presence xmlns='jabber:client'/>"
	binding  = "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@example.org/1</jid></bind></iq>"
	question = "<r xmlns='urn:xmpp:sm:3'/>"
)

func handled(h int) string { return fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", h) }

// mayKeep is managed, and the client is bound to a resource.
func (r *rig) mayKeep(change ...func(*boshtest.Config)) (*boshtest.Client, *fakeServer) {
	r.t.Helper()
	c, s := r.managed(change...)
	s.write(binding)
	r.recv(c, "<jid>")
	return c, s
}

// kept is mayKeep, and the server keeps what the client has not.
func (r *rig) kept(change ...func(*boshtest.Config)) (*boshtest.Client, *fakeServer) {
	r.t.Helper()
	c, s := r.mayKeep(change...)
	require.NoError(r.t, c.Send(r.t.Context(), presence))
	assert.Equal(r.t, enable+presence, s.expect(presence))
	s.write(enabled)
	return c, s
}

// The server keeps all unproven stanzas, and the client knows nothing of it.
func TestCustody(t *testing.T) {
	for _, acks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.kept(func(cfg *boshtest.Config) { cfg.Acks = acks })
			s.write(question)
			s.expect(handled(0))
			s.write("<message id='1'/><message id='2'/>" + question)
			r.recv(c, "id='1'")
			r.recv(c, "id='2'")
			if !acks {
				s.expect(handled(0))
				s.write("<presence id='3'/>")
				r.recv(c, "id='3'")
				s.write("<presence id='4'/>")
				r.recv(c, "id='4'")
			}
			s.expect(handled(2))
			require.NoError(t, c.Terminate(t.Context()))
			n := 4
			if acks {
				n = 2
			}
			assert.Equal(t, handled(n), s.farewell(), "a client that leaves in good order has all")
		})
	}
}

// The server cares for the stanzas of a vanished client. Nothing kept by the server is
// returned.
func TestCustodyLost(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.mayKeep(func(cfg *boshtest.Config) { cfg.Acks = true })
		require.NoError(t, c.Send(t.Context(), presence))
		s.expect(enable + presence)
		time.Sleep(time.Second)
		c.Close()
		synctest.Wait()
		s.write("<message id='0' from='a'/><iq type='get' id='1' from='a'/>" + enabled + "<message id='2' from='a'/><message id='3' from='a'/>")
		got := s.farewell()
		assert.Equal(t, []string{"0", "1"}, ids(got), "what came before it kept anything")
		assert.True(t, strings.HasSuffix(got, handled(0)), got)
		r.proxy.bridges.Wait()
		assert.Empty(t, r.proxy.count.lost.get())
	})
}

// A stanza for the proxy counts as well. Anything but a stanza does not.
func TestCustodyCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.kept(func(cfg *boshtest.Config) { cfg.Acks = true })
		s.write("<message id='1'/>")
		r.recv(c, "id='1'")
		s.expect(handled(1))
		before := s.expect("</iq>") // the question after a silence
		id := strings.Split(before, "'")[3]
		require.Contains(t, id, "alive-")
		s.write("<iq type='result' id='" + id + "'/><x xmlns='urn:x'/><message id='2'/>")
		r.recv(c, "urn:x")
		r.recv(c, "id='2'")
		s.expect(handled(3))
		require.NoError(t, c.Terminate(t.Context()))
		assert.Equal(t, handled(3), s.farewell())
	}, func(c *config) { c.keepalive = 5 * time.Second })
}

// A client with its own management is left alone. So is a server without an offer, or with
// a refusal.
func TestNoCustody(t *testing.T) {
	t.Run("the client asks", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.mayKeep()
			require.NoError(t, c.Send(t.Context(), "<iq xmlns='jabber:client' type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>"))
			assert.NotContains(t, s.expect("</iq>"), "enable")
			require.NoError(t, c.Send(t.Context(), enable, presence))
			assert.Equal(t, enable+presence, s.expect(presence))
			s.write(enabled + "<message/>" + question)
			r.recv(c, "<enabled")
			r.recv(c, "<message")
			r.recv(c, "<r")
			require.NoError(t, c.Terminate(t.Context()))
			assert.Empty(t, s.farewell())
		})
	})
	t.Run("the server refuses", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.mayKeep()
			require.NoError(t, c.Send(t.Context(), presence))
			s.expect(enable + presence)
			s.write("<failed xmlns='urn:xmpp:sm:3'/><message/>")
			r.recv(c, "<message")
			require.NoError(t, c.Terminate(t.Context()))
			assert.Equal(t, gone+enable, s.expect(enable))
			s.write("<failed xmlns='urn:xmpp:sm:3'/>")
			_, id := s.ping("")
			s.answer("", id)
			s.farewell()
		})
	})
	t.Run("the server offers nothing", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.loggedIn()
			s.write(binding)
			r.recv(c, "<jid>")
			require.NoError(t, c.Send(t.Context(), presence))
			assert.Equal(t, presence, s.expect(presence))
			require.NoError(t, c.Terminate(t.Context()))
			s.pong("")
			s.farewell()
		})
	})
	t.Run("switched off", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.mayKeep()
			require.NoError(t, c.Send(t.Context(), presence))
			assert.Equal(t, presence, s.expect(presence))
			require.NoError(t, c.Terminate(t.Context()))
			s.expect(enable) // at the end only
			s.write(enabled)
			s.farewell()
		}, func(c *config) { c.noCustody = true })
	})
}

// A client bound for some time is cared for, too, if it sends anything but presence.
func TestCustodyWithoutPresence(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.mayKeep()
		iq := "<iq xmlns='jabber:client' type='get' id='q'/>"
		require.NoError(t, c.Send(t.Context(), iq))
		assert.Equal(t, iq, s.expect("/>"))
		s.write("<iq type='result' id='q'/>")
		time.Sleep(3 * time.Second)
		require.NoError(t, c.Send(t.Context(), iq))
		assert.Equal(t, enable+iq, s.expect(iq))
		s.write(enabled)
		synctest.Wait()
		require.NoError(t, c.Terminate(t.Context()))
		assert.Equal(t, handled(0), s.farewell())
	})
}

// No acknowledgement is in the middle of a stanza of the client's, wherever Read cuts
// that.
func TestCustodyBetweenStanzas(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.kept(func(cfg *boshtest.Config) { cfg.Acks = true })
		got, want, acks := "", "", regexp.MustCompile("<a xmlns='urn:xmpp:sm:3' h='[0-9]+'/>")
		for n := range 50 {
			large := "<message xmlns='jabber:client'>" + strings.Repeat("x", 500*n) + "</message>"
			small := "<message xmlns='jabber:client' n='" + strings.Repeat("x", minBuffer-len("<message xmlns='jabber:client' n=''/>")) + "'/>"
			require.NoError(t, c.Send(t.Context(), large, small))
			s.write("<message id='1'/>" + question)
			r.recv(c, "id='1'")
			for want += large + small; len(acks.ReplaceAllString(got, "")) < len(want); {
				got += s.expect(">")
			}
		}
		require.NoError(t, c.Terminate(t.Context()))
		got += s.farewell()
		assert.Equal(t, want, acks.ReplaceAllString(got, ""))
		assert.Greater(t, len(acks.FindAllString(got, -1)), 20)
		assert.True(t, strings.HasSuffix(got, handled(50)))
	})
}
