package bosh_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// undelivered returns what s could not deliver, with a mark on what was sent.
func undelivered(s *bosh.Stream) (all []string) {
	for p := range s.Undelivered() {
		mark := ""
		if p.Sent {
			mark = "sent "
		}
		all = append(all, mark+string(p.Data))
	}
	return all
}

func write(t *testing.T, s *bosh.Stream, b string) {
	t.Helper()
	_, err := s.Write([]byte(b))
	require.NoError(t, err)
}

const el = "<el xmlns='u' n='"

func TestUndeliveredQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := connect(t, elements())
		write(t, s, el+"1'/>"+el+"2'/>")
		write(t, s, el+"3'><p:x xmlns:p='q' p:y='&lt;'/></el>")
		assert.Empty(t, undelivered(s), "while the stream lives")
		time.Sleep(78 * second)
		want := []string{el + "1'/>", el + "2'/>", el + "3'><p:x xmlns:p='q' p:y='&lt;'/></el>"}
		assert.Equal(t, want, undelivered(s))
		assert.Equal(t, want, undelivered(s), "again")
		for p := range s.Undelivered() {
			assert.Equal(t, want[0], string(p.Data))
			break
		}
	})
}

// What was sent is undelivered until something proves that it arrived.
func TestUndeliveredSent(t *testing.T) {
	for _, test := range []struct {
		name  string
		attrs string
		after func(t *testing.T, s *bosh.Stream, p *peer)
		want  []string
	}{
		{"nothing after it", "", func(*testing.T, *bosh.Stream, *peer) {}, []string{"sent " + el + "1'/>"}},
		{"queued behind it", "", func(t *testing.T, s *bosh.Stream, _ *peer) {
			write(t, s, el+"2'/>")
		}, []string{"sent " + el + "1'/>", el + "2'/>"}},
		{"next request without acks", "", func(_ *testing.T, _ *bosh.Stream, p *peer) {
			p.hold("").Cancel()
		}, []string{"sent " + el + "1'/>"}},
		{"requests on", "", func(_ *testing.T, _ *bosh.Stream, p *peer) {
			p.send("<x/>")
			p.send("<x/>")
			p.hold("").Cancel()
		}, nil},
		{"ack", "ack='1'", func(t *testing.T, s *bosh.Stream, p *peer) {
			write(t, s, el+"2'/>")
			p.send("", "ack='1001'")
		}, []string{"sent " + el + "2'/>"}},
		{"no ack from one who acknowledges", "ack='1'", func(_ *testing.T, _ *bosh.Stream, p *peer) {
			p.hold("").Cancel()
		}, nil},
		{"ack of the one before", "ack='1'", func(_ *testing.T, _ *bosh.Stream, p *peer) {
			p.hold("", "ack='1000'").Cancel()
		}, []string{"sent " + el + "1'/>"}},
		{"the end while two more are open", "", func(_ *testing.T, _ *bosh.Stream, p *peer) {
			p.hold("")
			p.send("", "type='terminate'") // one more than may be unanswered
		}, []string{"sent " + el + "1'/>"}},
		{"a pause while two more are open", "", func(_ *testing.T, _ *bosh.Stream, p *peer) {
			p.hold("")
			p.send("", "pause='10'")
		}, []string{"sent " + el + "1'/>"}},
		{"in two answers", "ack='1'", func(t *testing.T, s *bosh.Stream, p *peer) {
			write(t, s, el+"2'/>")
			p.send("", "ack='1000'")
			write(t, s, el+"3'/>")
		}, []string{"sent " + el + "1'/>", "sent " + el + "2'/>", el + "3'/>"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := connect(t, elements(), test.attrs)
				write(t, s, el+"1'/>")
				require.Equal(t, el+"1'/>", p.send("").Payload())
				test.after(t, s, p)
				time.Sleep(3 * time.Minute)
				assert.Equal(t, test.want, undelivered(s))
			})
		})
	}
}

// The client's orderly end proves nothing of the last answers. That they count as
// delivered all the same the application knows by Session.Err.
func TestUndeliveredAfterTerminate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, elements())
		write(t, s, el+"1'/>")
		assert.Equal(t, el+"1'/>", p.send("").Payload())
		write(t, s, el+"2'/>")
		r := p.send("", "type='terminate'")
		requireEnd(t, r, "")
		assert.Equal(t, el+"2'/>", r.Payload())
		assert.Equal(t, []string{"sent " + el + "1'/>", "sent " + el + "2'/>"}, undelivered(s))
		assert.Equal(t, io.EOF, s.Session().Err())
	})
}

// An answer lost with the connection, whose repeat never came.
func TestUndeliveredOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, elements())
		c := p.hold("")
		c.Cancel()
		synctest.Wait()
		write(t, s, el+"1'/>")
		time.Sleep(78 * second)
		assert.Equal(t, []string{el + "1'/>"}, undelivered(s), "not even sent")
	})
}

func TestUndeliveredXMPP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{})
		rt := boshtest.InMemory(h)
		c := boshtest.Post(t, rt, creation("xmlns:xmpp='"+nsXBOSH+"' xmpp:version='1.0'"))
		s := accept(t, h)
		write(t, s, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='"+nsStream+
			"' id='s1' from='example.com' version='1.0'><stream:features><a xmlns='u'/></stream:features>")
		r := c.Wait()
		p := &peer{t: t, rt: rt, sid: r.Attr("sid"), rid: 1000}
		write(t, s, "<message to='a@b'><body>1</body></message> <presence/>")
		require.Equal(t, "<message xmlns='jabber:client' to='a@b'><body>1</body></message><presence xmlns='jabber:client'/>", p.send("").Payload())
		write(t, s, "<iq id='2'/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		time.Sleep(78 * second)
		assert.Equal(t, []string{
			"sent <message xmlns='jabber:client' to='a@b'><body>1</body></message>",
			"sent <presence xmlns='jabber:client'/>",
			"<iq xmlns='jabber:client' id='2'/>",
		}, undelivered(s), "stanzas, and nothing about the stream")
	})
}

func TestUndeliveredOpaque(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, bosh.Options{Framing: bosh.Opaque})
		write(t, s, "one\x00")
		write(t, s, "<two>")
		require.Equal(t, "one\x00<two>", decode(t, p.send("").Payloads))
		write(t, s, "\xff\xfe")
		write(t, s, "three")
		time.Sleep(78 * second)
		assert.Equal(t, []string{"sent one\x00<two>", "\xff\xfethree"}, undelivered(s))
	})
}

// Whatever may be written is handed back.
func TestUndeliveredDeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, elements())
		deepest := ""
		for n := 1; s.WriteElement(t.Context(), []byte(nested(n))) == nil; n++ {
			deepest = nested(n)
		}
		require.Greater(t, len(deepest), len(nested(50)))
		p.send("")
		require.NoError(t, s.WriteElement(t.Context(), []byte(deepest)))
		time.Sleep(78 * second)
		all := undelivered(s)
		require.NotEmpty(t, all)
		assert.Equal(t, deepest, all[len(all)-1])
		assert.Equal(t, "sent "+deepest, all[len(all)-2])
	})
}

// Each stream of a session gets back what was its own.
func TestUndeliveredStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, MaxStreams: 2})
		p := dial(t, boshtest.InMemory(h))
		s1 := accept(t, h)
		require.NotEmpty(t, p.send("", "to='example.com'").Attr("stream"))
		s2 := accept(t, h)
		write(t, s1, el+"1'/>")
		write(t, s2, el+"2'/>")
		first := p.send("")
		write(t, s1, el+"3'/>")
		write(t, s2, el+"4'/>")
		r := p.send("", "type='terminate'")
		requireEnd(t, r, "")
		assert.Empty(t, r.Attr("stream"), "it is the end of all")
		assert.Empty(t, r.Payloads)
		synctest.Wait()
		assert.Error(t, s1.Session().Context().Err())
		want1, want2 := []string{el + "1'/>", el + "3'/>"}, []string{el + "2'/>", el + "4'/>"}
		if first.Attr("stream") == s1.Name() {
			want1[0] = "sent " + want1[0]
		} else {
			want2[0] = "sent " + want2[0]
		}
		assert.Equal(t, want1, undelivered(s1))
		assert.Equal(t, want2, undelivered(s2))
	})
}

// A client cannot keep the application from being told, whatever it says of itself.
func TestUndeliveredLongAnswer(t *testing.T) {
	for name, to := range map[string]string{
		"to":              strings.Repeat("x", 16_000),
		"to with escapes": strings.Repeat(`'`, 15_000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHandler(t, elements())
				c := boshtest.Post(t, boshtest.InMemory(h), strings.Replace(creation(), "to='example.com'", `to="`+to+`"`, 1))
				s := accept(t, h)
				write(t, s, el+"1'/>")
				require.Equal(t, el+"1'/>", c.Wait().Payload())
				write(t, s, el+"2'/>")
				time.Sleep(3 * time.Minute)
				assert.Equal(t, []string{"sent " + el + "1'/>", el + "2'/>"}, undelivered(s))
			})
		})
	}
}

// The namespace of the wrapper is one like any other.
func TestUndeliveredHttpbind(t *testing.T) {
	for name, o := range map[string]bosh.Options{"elements": elements(), "XMPP": {CreateTimeout: -1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := connect(t, o)
				if name == "XMPP" {
					write(t, s, serverHeader)
				}
				one, two := "<x xmlns='"+nsBind+"'><y/></x>", "<p:x xmlns:p='"+nsBind+"'/>"
				write(t, s, one+two)
				require.Equal(t, one+two, p.send("").Payload())
				write(t, s, two+one)
				require.NoError(t, s.Session().Terminate(&bosh.Error{Condition: bosh.SeeOtherURI, URI: "https://example.com/"}))
				time.Sleep(3 * time.Minute)
				assert.Equal(t, []string{"sent " + one, "sent " + two, two, one}, undelivered(s), "and not the URI")
			})
		})
	}
}
