package main

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

const (
	managing = "<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>"
	enable   = "<enable xmlns='urn:xmpp:sm:3'/>"
	enabled  = "<enabled xmlns='urn:xmpp:sm:3' id='1' resume='true'/>"
	gone     = "<presence type='unavailable'/>"
)

// managed is loggedIn with a server that offers stream management.
func (r *rig) managed(change ...func(*boshtest.Config)) (*boshtest.Client, *fakeServer) {
	r.t.Helper()
	c, s := r.loggedIn(change...)
	if change != nil {
		r.recv(c, "<success")
	}
	require.NoError(r.t, c.Restart(r.t.Context()))
	s.expect("<stream:stream")
	s.expect(">")
	s.write(header + managing)
	r.recv(c, "urn:xmpp:sm:3")
	return c, s
}

// rest returns all that a server hears until the connection ends.
func (s *fakeServer) rest() string {
	s.t.Helper()
	got, err := io.ReadAll(s.in)
	require.NoError(s.t, err)
	return string(got)
}

// A server with stream management is asked to manage the end of the stream, and keeps all
// it sends from then on.
func TestLeaveManaged(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.managed()
		require.NoError(t, c.Terminate(t.Context()))
		assert.Equal(t, gone+enable, s.expect(enable))
		s.write("<message id='0' from='a'>" + enabled + "<failed xmlns='urn:xmpp:sm:3'/></message>") // says who?
		s.write("<message id='1' from='a'/>" + enabled + "<message id='2' from='a'/>")
		returned := s.expect(streamEnd)
		assert.Equal(t, []string{"0", "1"}, ids(returned))
		s.write("<message id='3' from='a'/><r xmlns='urn:xmpp:sm:3'/>" + streamEnd)
		s.Close()
		r.proxy.bridges.Wait()
		assert.Equal(t, map[string]int64{"message": 2}, r.proxy.count.bounced.get())
		assert.Empty(t, r.proxy.count.lost.get())
	})
}

// One that offers it and refuses is asked as others are.
func TestLeaveNotManaged(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.managed()
		require.NoError(t, c.Terminate(t.Context()))
		s.expect(enable)
		s.write("<failed xmlns='urn:xmpp:sm:3'/><message id='1' from='a'/>")
		var returned string
		for _, on := range []string{"<message id='2' from='a'/>", ""} {
			before, id := s.ping("")
			returned += before
			s.answer(on, id)
		}
		assert.Equal(t, []string{"1", "2"}, ids(returned))
		s.farewell()
	})
}

// What comes behind the last word to a server without stream management is
// lost. The proxy says so.
func TestLost(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.loggedIn()
		require.NoError(t, c.Terminate(t.Context()))
		s.pong("")
		s.expect(streamEnd)
		s.write("<message id='1' from='a'/><presence from='a'/><iq type='get' id='2' from='a'/>" + streamEnd)
		s.Close()
		r.proxy.bridges.Wait()
		assert.Equal(t, map[string]int64{"message": 1, "iq": 1}, r.proxy.count.lost.get())
	})
}

// A client that manages its stream itself can resume it after it has vanished:
// the stream is not ended, and nothing is returned.
func TestClientManages(t *testing.T) {
	for name, end := range map[string]func(*rig, *boshtest.Client){
		"vanished": func(r *rig, c *boshtest.Client) { c.Close() },
		"shutdown": func(r *rig, c *boshtest.Client) { go r.proxy.shutdown(r.t.Context()) },
	} {
		for how, word := range map[string]string{
			"enabled": enabled,
			"resumed": "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='1'/>",
			"by SASL": "<success xmlns='urn:xmpp:sasl:2'><bound xmlns='urn:xmpp:bind:0'>" + enabled + "</bound></success>",
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				inBubble(t, func(t *testing.T, r *rig) {
					c, s := r.managed()
					s.write(word)
					r.recv(c, "urn:xmpp:sm:3")
					synctest.Wait()
					end(r, c)
					synctest.Wait()
					go io.WriteString(s, "<message id='1' from='a'/>") // if it is still possible
					assert.Empty(t, s.rest())
					s.Close()
					r.proxy.bridges.Wait()
					assert.Empty(t, r.proxy.count.bounced.get())
				}, withOptions(bosh.Options{Inactivity: time.Minute}))
			})
		}
	}
}

// The server does not keep what it sent before it began to.
func TestClientManagesTooLate(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.managed()
		synctest.Wait()
		c.Close()
		synctest.Wait()
		s.write("<message id='0' from='a'>" + enabled + "</message>")
		s.write("<message id='1' from='a'/>" + enabled + "<message id='2' from='a'/>")
		assert.Equal(t, []string{"0", "1"}, ids(s.rest()))
		s.Close()
		r.proxy.bridges.Wait()
	})
}

// A client may vanish while it waits for leave to resume. The stanzas behind the answer are
// kept for it.
func TestClientManagesMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.managed()
		const resume = "<resume xmlns='urn:xmpp:sm:3' h='0' previd='1'/>"
		require.NoError(t, c.Send(t.Context(), resume))
		s.expect(resume)
		c.Close()
		assert.Equal(t, gone+enable, s.expect(enable))
		go io.WriteString(s, "<resumed xmlns='urn:xmpp:sm:3' h='0' previd='1'/><message id='1' from='a'/><failed xmlns='urn:xmpp:sm:3'/>")
		assert.Empty(t, s.rest())
		s.Close()
		r.proxy.bridges.Wait()
		assert.Empty(t, r.proxy.count.bounced.get())
	}, withOptions(bosh.Options{Inactivity: 5 * time.Second}))
}

// One that ends its stream has it ended.
func TestClientManagesAndEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.managed()
		require.NoError(t, c.Send(t.Context(), enable))
		assert.Equal(t, enable, s.expect(enable))
		s.write(enabled)
		r.recv(c, "<enabled")
		require.NoError(t, c.Terminate(t.Context()))
		assert.Empty(t, s.farewell())
	})
}

// A server that never has nothing more is not waited for, but heard out.
func TestLeaveBusy(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.loggedIn()
		require.NoError(t, c.Terminate(t.Context()))
		behind := gone
		for range maxPings {
			_, id := s.ping(behind)
			time.Sleep(leaveTimeout / (maxPings + 1))
			s.answer("<message id='1' from='a'/>", id)
			behind = ""
		}
		s.expect(streamEnd)
		time.Sleep(leaveTimeout - time.Second)
		s.write("<message id='2' from='a'/>" + streamEnd)
		s.Close()
		r.proxy.bridges.Wait()
		assert.Equal(t, map[string]int64{"message": maxPings}, r.proxy.count.bounced.get())
		assert.Equal(t, map[string]int64{"message": 1}, r.proxy.count.lost.get())
	})
}

// A server that sends something endless while it is taken leave of does not fill
// the memory.
func TestLeaveEndless(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.loggedIn()
		require.NoError(t, c.Terminate(t.Context()))
		s.ping(gone)
		s.write("<message>")
		written := 0
		for {
			n, err := s.Write(make([]byte, 64<<10))
			if written += n; err != nil {
				break
			}
		}
		assert.Less(t, written, 4<<20)
	})
}
