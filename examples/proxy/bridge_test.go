package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// Everything passes, byte for byte, but the features lose what is of no use.
func TestCarry(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		created := make(chan *boshtest.Client)
		go func() {
			c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "example.org", Transport: r.front, XMPP: true})
			require.NoError(t, err)
			created <- c
		}()
		s := r.accept()
		hello := "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.org' version='1.0' xml:lang='en'>"
		assert.Equal(t, hello, s.expect(">"))
		for _, part := range []string{"<?xml vers", "ion='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='", nsStream, "' id='1' from='example.org' version='1.0'><stream:fea",
			"tures><starttls xmlns='" + nsTLS + "'/>", plain + "</stream:features"} {
			s.write(part)
			synctest.Wait()
		}
		s.write(">")
		c := <-created
		features := r.recv(c, plain)
		assert.NotContains(t, features, "starttls")
		assert.Equal(t, "example.org", c.Granted().From)

		auth := "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYQ==</auth>"
		require.NoError(t, c.Send(t.Context(), auth))
		assert.Equal(t, auth, s.expect("</auth>"))
		s.write(success)
		r.recv(c, "<success")
		require.NoError(t, c.Restart(t.Context()))
		assert.Equal(t, hello, s.expect(">"))
		s.write(header + "<stream:features><compression xmlns='http://jabber.org/features/compress'/><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
		assert.NotContains(t, r.recv(c, "<bind"), "compression")

		large := strings.Repeat("x > y &amp; ", 20_000)
		odd := `<message  xmlns="jabber:client" to = 'a@example.org' ><body><![CDATA[<a>]]></body><x xmlns='y:z' a="'"/>` + large + `</message >`
		require.NoError(t, c.Send(t.Context(), odd))
		assert.Equal(t, odd, s.expect("</message >"))
		s.write(odd)
		assert.Equal(t, odd, r.recv(c, "<message"))

		require.NoError(t, c.Terminate(t.Context(), "<presence xmlns='jabber:client' type='unavailable'/>"))
		assert.Equal(t, "<presence xmlns='jabber:client' type='unavailable'/>", s.pong(""))
		assert.Empty(t, s.farewell())
		r.proxy.bridges.Wait()
		assert.Equal(t, map[string]int64{"client-ended": 1}, r.proxy.count.ended.get())
	})
}

// A client that has not logged in leaves without much ado.
func TestLeaveEarly(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.dial()
		require.NoError(t, c.Terminate(t.Context()))
		assert.Empty(t, s.farewell())
	})
}

// The stanzas a vanished client did not get are returned to the server, in order. So are
// those too late.
func TestClientLost(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.loggedIn(func(cfg *boshtest.Config) { cfg.Acks = true })
		r.recv(c, "<success")
		s.write("<message id='0' from='a'/>")
		r.recv(c, "id='0'")
		time.Sleep(time.Second) // until its next request acknowledges that
		c.Close()
		synctest.Wait()
		start := time.Now()
		s.write("<message id='1' from='a'><body>x</body></message><presence from='a'/><iq type='get' id='2' from='a'/>")
		returned := s.pong("<iq type='result' id='3' from='a'/><message id='4' from='a'/><iq type='set' id='5' from='a'/>")
		assert.Equal(t, 77*time.Second, time.Since(start), "Inactivity, and two seconds")
		returned += s.farewell()
		assert.Equal(t, []string{"1", "2", "4", "5"}, ids(returned))
		assert.Contains(t, returned, "<body>x</body><error type='wait'>")
		r.proxy.bridges.Wait()
		assert.Equal(t, map[string]int64{"client-lost": 1}, r.proxy.count.ended.get())
		assert.Equal(t, map[string]int64{"message": 2, "iq": 2}, r.proxy.count.bounced.get())
	})
}

// A prefix from the server's header is declared on the returned stanzas.
func TestReturnedPrefix(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		go func() {
			s := r.accept()
			s.expect("xml:lang='en'>")
			s.write(strings.Replace(header, "<stream:stream", "<stream:stream xmlns:y='urn:y'", 1) + "<stream:features>" + plain + "</stream:features>" + success)
			_, id := s.ping(gone)
			s.write("<message xmlns='jabber:client' from='a' id='1'><y:z/></message>")
			s.answer("", id)
			got := s.expect("</message>")
			assert.Contains(t, got, "<message type='error' to='a' id='1' xmlns:y='urn:y'><y:z/><error")
			more, id := s.ping("")
			assert.Empty(t, more)
			s.answer("", id)
			s.farewell()
		}()
		c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "example.org", Transport: r.front, XMPP: true})
		require.NoError(t, err)
		r.recv(c, "<mechanism>PLAIN</mechanism>")
		r.recv(c, "<success")
		require.NoError(t, c.Terminate(t.Context()))
		r.proxy.bridges.Wait()
		assert.Equal(t, map[string]int64{"message": 1}, r.proxy.count.bounced.get())
	})
}

// A domain is written in several ways. The server knows one of them, and a client that
// begins its stream anew stays with it.
func TestRestartDomain(t *testing.T) {
	for name, test := range map[string]struct {
		first, again string
		refused      bool
	}{
		"the same": {"example.org", "example.org", false}, "not said": {"example.org", "", false},
		"in capitals": {"Example.org.", "EXAMPLE.ORG", false}, "with a dot": {"example.org", "example.org.", false},
		"in A-labels": {"münchen.de", "xn--mnchen-3ya.de", false}, "in U-labels": {"xn--mnchen-3ya.de.", "MÜNCHEN.de", false},
		"another": {"example.org", "münchen.de", true}, "not served": {"example.org", "example.net", true},
		"no domain": {"example.org", "a@example.org", true}, "much": {"example.org", strings.Repeat("x", 9000), true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				d, err := parseDomain(test.first)
				require.NoError(t, err)
				hello := "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='" + d.name + "' version='1.0' xml:lang='en'>"
				serve := make(chan *fakeServer, 1)
				go func() {
					s := r.accept()
					assert.Equal(t, hello, s.expect(">"))
					s.write(header + "<stream:features>" + plain + "</stream:features>" + success)
					serve <- s
				}()
				attr := " to='" + test.again + "'"
				if test.again == "" {
					attr = ""
				}
				c, err := boshtest.Dial(t.Context(), boshtest.Config{Transport: restartWith{r.front, attr}, XMPP: true, URL: "http://" + test.first + "/"})
				require.NoError(t, err)
				assert.Equal(t, d.name, c.Granted().From)
				s := <-serve
				r.recv(c, "<mechanism>PLAIN</mechanism>")
				r.recv(c, "<success")
				require.NoError(t, c.Restart(t.Context()))
				if test.refused {
					assert.Equal(t, boshclient.HostUnknown, r.ended(c).Condition)
					assert.NotContains(t, s.pong("")+s.farewell(), "<stream:stream", "the server has been asked")
					r.proxy.bridges.Wait()
					assert.Equal(t, map[string]int64{"host-unknown": 1}, r.proxy.count.ended.get())
					return
				}
				assert.Equal(t, hello, s.expect(">"))
				s.write(header + "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
				r.recv(c, "<bind")
				require.NoError(t, c.Terminate(t.Context()))
				s.pong("")
				s.farewell()
			}, func(c *config) {
				c.connector.domains = map[string]bool{"example.org": true, "xn--mnchen-3ya.de": true}
			})
		})
	}
}

// restartWith puts another attribute in the place of the domain of restarts.
type restartWith struct {
	http.RoundTripper
	attr string
}

var restartTo = regexp.MustCompile(` to='[^']*'( xml:lang='en' .*xmpp:restart='true')`)

func (w restartWith) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	text = restartTo.ReplaceAll(text, []byte(w.attr+"$1"))
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return w.RoundTripper.RoundTrip(r)
}

// ids returns the ids of the errors in a text, in order.
func ids(text string) (list []string) {
	for _, part := range strings.Split(text, "type='error' to='a' id='")[1:] {
		list = append(list, part[:strings.IndexByte(part, '\'')])
	}
	return list
}

// A client without any reading slows down its own server only. When it is given up,
// everything is returned once: the queue, the stanzas in front of it, and the ones unsent
// by the server.
func TestSlowClient(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		slow, s := r.loggedIn(func(cfg *boshtest.Config) { cfg.Manual = true })
		defer slow.Close()
		quick, other := r.loggedIn()
		const n = 3000
		go func() {
			for i := range n {
				if _, err := fmt.Fprintf(s.Conn, "<message id='%d' from='a'>%s</message>", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		assert.Less(t, r.proxy.count.bytesDown.Load(), int64(512<<10), "the proxy takes all that there is")
		for range 100 {
			other.write("<message/>")
			r.recv(quick, "<message")
		}
		require.NoError(t, quick.Terminate(t.Context()))
		other.pong("")
		other.farewell()

		// Its end. The server reads and writes at the same time.
		answered := make(chan string)
		go func() {
			var returned strings.Builder
			before, id := s.ping("<presence type='unavailable'/>")
			returned.WriteString(before)
			for got := strings.Count(before, "</message>"); got < n; got++ {
				returned.WriteString(s.expect("</message>"))
			}
			s.answer("", id)
			_, id = s.ping("")
			s.answer("", id)
			s.farewell()
			answered <- returned.String()
		}()
		got := ids(<-answered)
		require.Len(t, got, n)
		for i, id := range got {
			require.Equal(t, fmt.Sprint(i), id)
		}
	}, withOptions(bosh.Options{Inactivity: time.Second}))
}

// How the server's end looks to a client.
func TestServerEnds(t *testing.T) {
	const streamError = "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
	for name, test := range map[string]struct {
		last      string
		condition string
		payload   string
		reason    string
	}{
		"in good order": {streamEnd, "", "", "server-ended"},
		"after a word":  {"<message/>" + streamEnd, "", "<message", "server-ended"},
		"by an error":   {"<message/>" + streamError + streamEnd, "remote-stream-error", "<conflict", "server-error"},
		"by force":      {"<message/>", "remote-connection-failed", "<message", "server-failed"},
		"in mid-word":   {"<message", "remote-connection-failed", "", "server-failed"},
		"malformed":     {"<message/><message><a></b></message>", "remote-connection-failed", "<message", "server-failed"},
		"no namespace":  {"<message/><message><a:b/></message>", "remote-connection-failed", "<message", "server-failed"},
		"twice":         {"<message a='1' a='2'/>", "remote-connection-failed", "", "server-failed"},
		"an entity":     {"<message>&nbsp;</message>", "remote-connection-failed", "", "server-failed"},
		"no UTF-8":      {"<message>\xff</message>", "remote-connection-failed", "", "server-failed"},
		"no character":  {"<message>&#0;</message>", "remote-connection-failed", "", "server-failed"},
		"instruction":   {"<message><?a b?></message>", "remote-connection-failed", "", "server-failed"},
		"other end":     {"<message/></stream>", "remote-connection-failed", "<message", "server-failed"},
		"declaration":   {"<?xml version='1.1'?>", "remote-connection-failed", "", "server-failed"},
		"new header":    {"<stream:stream xmlns:stream='" + nsStream + "' a='1' a='2'>", "remote-connection-failed", "", "server-failed"},
		"by nonsense":   {"<!-- -->", "remote-connection-failed", "", "server-failed"},
		"without end":   {"<message>" + strings.Repeat("x", 2<<20), "remote-connection-failed", "", "server-failed"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				c, s := r.dial()
				go func() {
					io.WriteString(s, test.last)
					s.Close()
				}()
				<-c.Done()
				if test.condition == "" {
					require.ErrorIs(t, c.Err(), io.EOF)
				} else {
					require.EqualValues(t, test.condition, r.ended(c).Condition)
				}
				var got string
				for {
					el, err := c.Recv(context.Background())
					if err != nil {
						break
					}
					got += string(el)
				}
				assert.Contains(t, got, test.payload)
				r.proxy.bridges.Wait()
				assert.Equal(t, map[string]int64{test.reason: 1}, r.proxy.count.ended.get())
			})
		})
	}
}

// The log names the condition of a server's stream error, and the client as a text.
func TestStreamErrorIsNamed(t *testing.T) {
	e := serverAt(t, func(c net.Conn) {
		if _, err := expect(c, "xml:lang='en'>"); err == nil {
			io.WriteString(c, header+"<stream:features>"+plain+"</stream:features><stream:error><connection-timeout xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text>x</text></stream:error>"+streamEnd)
		}
	})
	for json, want := range map[string]string{
		"-log-json=false": `msg="session ended" .*reason=server-error client=127.0.0.1:\d+ .*cause=".*: connection-timeout"`,
		"-log-json":       `"msg":"session ended",.*"reason":"server-error","client":"127.0.0.1:\d+",.*"cause":".*: connection-timeout"`,
	} {
		w, log, stop := started(t, "-upstream", e.String(), "-tls", "none", json)
		c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: "http://" + w.public.Addr().String() + "/http-bind", To: "example.org", XMPP: true})
		for err == nil {
			_, err = c.Recv(t.Context())
		}
		w.proxy.bridges.Wait()
		require.NoError(t, stop())
		assert.Regexp(t, want, log.String())
	}
}

// A server that accepts and says nothing is given up.
func TestServerSilent(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var s *fakeServer
		accepted := make(chan struct{})
		go func() {
			s = r.accept()
			close(accepted)
		}()
		start := time.Now()
		c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "example.org", Transport: r.front, XMPP: true})
		if err == nil {
			<-c.Done()
			err = c.Err()
		}
		require.ErrorIs(t, err, boshclient.RemoteConnectionFailed)
		assert.Equal(t, 10*time.Second, time.Since(start))
		<-accepted
		s.Close()
	})
}

// A server gets a blank when a client that has logged in is silent.
func TestKeepalive(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.dial()
		time.Sleep(5 * time.Minute)
		require.NoError(t, c.Send(t.Context(), "<a xmlns='b'/>"))
		assert.Equal(t, "<a xmlns='b'/>", s.expect(">"), "a blank before the log-in")
		s.write(success)
		r.recv(c, "<success")
		synctest.Wait()
		start := time.Now()
		for range 3 {
			assert.Equal(t, " ", s.expect(" "))
		}
		assert.Equal(t, 3*time.Minute, time.Since(start).Round(time.Minute))
		require.NoError(t, c.Terminate(t.Context()))
		s.pong("")
		s.farewell()
	}, func(c *config) { c.keepalive = time.Minute })
}

// At shutdown all clients are told, and all servers get back what their
// clients were not told.
func TestShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		here, s1 := r.loggedIn()
		away, s2 := r.loggedIn(func(cfg *boshtest.Config) { cfg.Manual = true })
		defer away.Close()
		s2.write("<message id='1' from='a'/>")
		synctest.Wait()
		served := make(chan string)
		go func() { served <- s1.pong("") + s1.farewell() }()
		go func() { served <- s2.pong("") + s2.farewell() }()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.Equal(t, 1, r.proxy.shutdown(ctx))
		require.NoError(t, r.proxy.wait())
		require.Equal(t, boshclient.SystemShutdown, r.ended(here).Condition)
		assert.Equal(t, []string{"1"}, ids(<-served+<-served))
		_, err := boshtest.Dial(t.Context(), boshtest.Config{To: "example.org", Transport: r.front, XMPP: true})
		require.ErrorIs(t, err, boshclient.SystemShutdown)
	})
}
