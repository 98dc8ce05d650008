package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

const (
	bindRequest = "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
	bindResult  = "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@example.org/b</jid></bind></iq>"
	chat        = "<message xmlns='jabber:client' to='b@example.org'><body>hello</body></message>"
)

// bound is loggedIn with a client that is bound to a resource.
func (r *rig) bound(change ...func(*boshtest.Config)) (*boshtest.Client, *fakeServer) {
	r.t.Helper()
	c, s := r.loggedIn(change...)
	require.NoError(r.t, c.Send(r.t.Context(), bindRequest))
	s.expect(bindRequest)
	s.write(bindResult)
	if change == nil {
		r.recv(c, "a@example.org/b")
	}
	synctest.Wait()
	return c, s
}

// asked takes the proxy's question for a sign of life, and returns its id.
func (s *fakeServer) asked() (id string) {
	s.t.Helper()
	s.expect("<iq type='get' id='alive-")
	id = "alive-" + strings.TrimSuffix(s.expect("'"), "'")
	s.expect("><ping xmlns='urn:xmpp:ping'/></iq>")
	return id
}

// A server that goes dark does not take stanzas for longer than -timeout: it is
// asked for a sign of life, which is not the client's to see.
func TestServerDark(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.bound()
		for _, answer := range []string{"<iq type='result' id='%s'/>", "<iq type='error' id='%s'><error type='cancel'/></iq>"} {
			start := time.Now()
			require.NoError(t, c.Send(t.Context(), chat))
			s.expect(chat)
			id := s.asked()
			assert.Equal(t, 5*time.Second, time.Since(start))
			time.Sleep(4 * time.Second)
			s.write(fmt.Sprintf(answer, id))
			time.Sleep(time.Minute)
			s.write("<message id='1'/>")
			assert.Contains(t, r.recv(c, "id='1'"), "<message", "the client has got the answer")
		}
		// What comes by itself is a sign of life, too.
		require.NoError(t, c.Send(t.Context(), chat))
		s.expect(chat)
		time.Sleep(4 * time.Second)
		s.write("<presence id='2'/>")
		r.recv(c, "<presence")
		time.Sleep(time.Minute)

		start := time.Now()
		require.NoError(t, c.Send(t.Context(), chat))
		s.expect(chat)
		s.asked()
		assert.EqualValues(t, "remote-connection-failed", r.ended(c).Condition)
		assert.Equal(t, 10*time.Second, time.Since(start))
		s.Close()
		r.proxy.bridges.Wait()
		assert.Equal(t, map[string]int64{"server-failed": 1}, r.proxy.count.ended.get())
	})
}

// One that is silent is asked now and then.
func TestServerDarkIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.bound()
		for range 3 {
			start := time.Now()
			id := s.asked()
			assert.Equal(t, time.Minute, time.Since(start).Round(time.Second))
			s.write("<iq type='result' id='" + id + "'/>")
		}
		s.asked()
		start := time.Now()
		assert.EqualValues(t, "remote-connection-failed", r.ended(c).Condition)
		assert.Equal(t, 10*time.Second, time.Since(start))
		s.Close()
	}, func(c *config) { c.keepalive = time.Minute })
}

// A server that counts stanzas is asked for its count.
func TestServerDarkManaged(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.bound()
		require.NoError(t, c.Send(t.Context(), enable))
		s.expect(enable)
		s.write(enabled)
		r.recv(c, "<enabled")
		start := time.Now()
		require.NoError(t, c.Send(t.Context(), chat))
		assert.Equal(t, chat+"<r xmlns='urn:xmpp:sm:3'/>", s.expect("<r xmlns='urn:xmpp:sm:3'/>"))
		assert.Equal(t, 5*time.Second, time.Since(start))
		s.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
		require.NoError(t, c.Send(t.Context(), "<r xmlns='urn:xmpp:sm:3'/>"))
		s.expect("<r xmlns='urn:xmpp:sm:3'/>")
		s.write("<a xmlns='urn:xmpp:sm:3' h='2'/>")
		r.recv(c, "h='2'")
		require.NoError(t, c.Send(t.Context(), chat))
		s.expect("<r xmlns='urn:xmpp:sm:3'/>")
		assert.EqualValues(t, "remote-connection-failed", r.ended(c).Condition)
		s.Close()
	})
}

// A server is asked between two elements and never inside of one, however slowly the client
// or the server has the proxy write it.
func TestServerAskedBetweenElements(t *testing.T) {
	large := "<message xmlns='jabber:client' to='a@b'><body>" + strings.Repeat("x", 30_000) + "</body></message>"
	for name, test := range map[string]struct {
		shape shape
		pause time.Duration // of the server, between reads
	}{
		"a client that is slowed": {shape{bytes: 1000}, 0},
		"a server that is slow":   {shape{}, 6 * time.Second},
	} {
		for _, managed := range []bool{true, false} {
			t.Run(fmt.Sprint(name, managed), func(t *testing.T) {
				inBubble(t, func(t *testing.T, r *rig) {
					c, s := r.bound()
					if managed {
						require.NoError(t, c.Send(t.Context(), enable))
						s.expect(enable)
						s.write(enabled)
						r.recv(c, "<enabled")
					}
					for range 2 { // the second finds that the client has used up its burst
						require.NoError(t, c.Send(t.Context(), large))
					}
					var got []byte
					buf := make([]byte, minBuffer)
					s.Conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
					for bytes.Count(got, []byte("</message>")) < 2 {
						n, err := s.Conn.Read(buf)
						require.NoError(t, err, "%d bytes", len(got))
						got = append(got, buf[:n]...)
						time.Sleep(test.pause)
						if i := bytes.LastIndex(got, []byte("id='alive-")); i >= 0 && bytes.HasSuffix(got, []byte("</iq>")) {
							id, _, _ := strings.Cut(string(got[i+len("id='"):]), "'")
							s.write("<iq type='result' id='" + id + "'/>")
						} else if bytes.HasSuffix(got, []byte("<r xmlns='urn:xmpp:sm:3'/>")) {
							s.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
						}
					}
					assert.Equal(t, 2, bytes.Count(got, []byte(large)), "something is inside of a stanza")
					c.Close()
					s.Close()
				}, func(c *config) { c.shape = test.shape })
			})
		}
	}
}

// While it is not known whether the server counts there is no question that it
// could count.
func TestServerDarkUncounted(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.bound()
		for _, part := range []string{strings.Repeat(" ", minBuffer-50) + enable, enable} {
			m := &wish{}
			for len(part) > 0 {
				n := min(7, len(part))
				m.look([]byte(part[:n]))
				part = part[n:]
			}
			assert.True(t, m.yes)
		}
		require.NoError(t, c.Send(t.Context(), enable))
		s.expect(enable)
		time.Sleep(time.Second)
		s.write("<failed xmlns='urn:xmpp:sm:3'/>")
		r.recv(c, "<failed")
		require.NoError(t, c.Send(t.Context(), chat))
		s.expect(chat)
		time.Sleep(5 * time.Minute)
		require.NoError(t, c.Send(t.Context(), chat))
		assert.Equal(t, chat, s.expect("</message>"), "something is between the client's stanzas")
		require.NoError(t, c.Terminate(t.Context()))
		s.pong("")
		s.farewell()
	})
}

// A client that says what needs no answer before it is bound, as by a way to log
// in that the proxy does not know, is not cut off from a server that gives none.
func TestServerOwesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.loggedIn()
		require.NoError(t, c.Send(t.Context(), chat))
		s.expect(chat)
		time.Sleep(5 * time.Minute)
		s.write("<message/>")
		r.recv(c, "<message")
		require.NoError(t, c.Terminate(t.Context()))
		s.pong("")
		s.farewell()
	})
}

// A server that hangs is not waited for without end, wherever it does so.
func TestServerHangs(t *testing.T) {
	auth := "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYQ==</auth>"
	for name, said := range map[string]string{
		"at once": "", "after a byte": "<", "after a declaration": "<?xml version='1.0'?>", "in its header": header[:40],
		"after its header": header, "after a blank": header + " ", "in its features": header + "<stream:features><mechanisms",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				go func() {
					s := r.accept()
					s.expect(">")
					s.write(said)
				}()
				start := time.Now()
				c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "example.org", Transport: r.front, XMPP: true})
				if err == nil {
					<-c.Done()
					err = c.Err()
				}
				require.ErrorIs(t, err, boshclient.RemoteConnectionFailed)
				assert.Equal(t, 10*time.Second, time.Since(start))
			})
		})
	}
	for name, test := range map[string]struct{ says, answer string }{
		"when asked to log in": {auth, ""}, "in the answer to that": {auth, "<succ"}, "after a blank for that": {auth, " "},
		"when asked to bind": {bindRequest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				c, s := r.dial()
				time.Sleep(time.Minute) // it owes nothing
				start := time.Now()
				require.NoError(t, c.Send(t.Context(), test.says))
				s.expect(test.says)
				s.write(test.answer)
				assert.EqualValues(t, "remote-connection-failed", r.ended(c).Condition)
				assert.Equal(t, 10*time.Second, time.Since(start))
			})
		})
	}
	t.Run("in a stanza", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.bound()
			time.Sleep(time.Minute)
			start := time.Now()
			s.write("<message")
			assert.EqualValues(t, "remote-connection-failed", r.ended(c).Condition)
			assert.Equal(t, 10*time.Second, time.Since(start))
		})
	})
	t.Run("nearly", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.bound()
			start := time.Now()
			for s.Conn != nil {
				if _, err := io.WriteString(s, "<message><body>"[:1]+"a"); err != nil {
					break
				}
				time.Sleep(9 * time.Second)
			}
			assert.EqualValues(t, "remote-connection-failed", r.ended(c).Condition)
			assert.Less(t, time.Since(start), 20*time.Second)
		})
	})
}

// Slow is not dark: neither a server that takes or sends much slowly, nor one
// that waits for a slow client.
func TestServerSlow(t *testing.T) {
	t.Run("to send", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.bound()
			s.write("<message><body>")
			for range 100 {
				s.write(strings.Repeat("x", 10_000))
				time.Sleep(5 * time.Second)
			}
			s.write("</body></message>")
			r.recv(c, "xxx</body></message>")
			require.NoError(t, c.Terminate(t.Context()))
			s.pong("")
			s.farewell()
		})
	})
	t.Run("to answer", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.bound()
			large := strings.Replace(chat, "hello", strings.Repeat("x", 100_000), 1)
			require.NoError(t, c.Send(t.Context(), large))
			s.expect("</message>")
			id := s.asked()
			time.Sleep(90 * time.Second) // 1 kB a second
			s.write("<iq type='result' id='" + id + "'/><message/>")
			r.recv(c, "<message")
			require.NoError(t, c.Terminate(t.Context()))
			s.pong("")
			s.farewell()
		})
	})
	t.Run("because of its client", func(t *testing.T) {
		inBubble(t, func(t *testing.T, r *rig) {
			c, s := r.bound(func(cfg *boshtest.Config) { cfg.Manual = true })
			stop := make(chan struct{})
			go func() { // more than the client takes, so that nobody reads an answer
				defer close(stop)
				for i := range 1000 {
					if _, err := fmt.Fprintf(s.Conn, "<message id='%d'>%s</message>", i, strings.Repeat("x", 1000)); err != nil {
						return
					}
				}
			}()
			synctest.Wait()
			go io.Copy(io.Discard, s.in)
			for range 4 {
				time.Sleep(15 * time.Second)
				require.NoError(t, c.Send(t.Context(), chat)) // its answer takes some along
			}
			select {
			case <-c.Done():
				t.Error("given up: ", c.Err())
			default:
			}
			c.Close()
			s.Close()
			<-stop
		})
	})
}
