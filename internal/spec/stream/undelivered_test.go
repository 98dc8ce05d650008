package stream_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const el = "<el xmlns='u' n='"

func TestUndeliveredQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := Connect(t, Elements())
		Write(t, s, el+"1'/>"+el+"2'/>")
		Write(t, s, el+"3'><p:x xmlns:p='q' p:y='&lt;'/></el>")
		assert.Empty(t, Lost(s), "while the stream lives")
		time.Sleep(78 * Second)
		want := []string{el + "1'/>", el + "2'/>", el + "3'><p:x xmlns:p='q' p:y='&lt;'/></el>"}
		assert.Equal(t, want, Lost(s))
		assert.Equal(t, want, Lost(s), "again")
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
		after func(t *testing.T, s *bosh.Stream, p *Peer)
		want  []string
	}{
		{"nothing after it", "", func(*testing.T, *bosh.Stream, *Peer) {}, []string{"sent " + el + "1'/>"}},
		{"queued behind it", "", func(t *testing.T, s *bosh.Stream, _ *Peer) {
			Write(t, s, el+"2'/>")
		}, []string{"sent " + el + "1'/>", el + "2'/>"}},
		{"next request without acks", "", func(_ *testing.T, _ *bosh.Stream, p *Peer) {
			p.Hold("").Cancel()
		}, []string{"sent " + el + "1'/>"}},
		{"requests on", "", func(_ *testing.T, _ *bosh.Stream, p *Peer) {
			p.Send("<x/>")
			p.Send("<x/>")
			p.Hold("").Cancel()
		}, nil},
		{"ack", "ack='1'", func(t *testing.T, s *bosh.Stream, p *Peer) {
			Write(t, s, el+"2'/>")
			p.Send("", "ack='1001'")
		}, []string{"sent " + el + "2'/>"}},
		{"no ack from one who acknowledges", "ack='1'", func(_ *testing.T, _ *bosh.Stream, p *Peer) {
			p.Hold("").Cancel()
		}, nil},
		{"ack of the one before", "ack='1'", func(_ *testing.T, _ *bosh.Stream, p *Peer) {
			p.Hold("", "ack='1000'").Cancel()
		}, []string{"sent " + el + "1'/>"}},
		{"the end while two more are open", "", func(_ *testing.T, _ *bosh.Stream, p *Peer) {
			p.Hold("")
			p.Send("", "type='terminate'") // one more than may be unanswered
		}, []string{"sent " + el + "1'/>"}},
		{"a pause while two more are open", "", func(_ *testing.T, _ *bosh.Stream, p *Peer) {
			p.Hold("")
			p.Send("", "pause='10'")
		}, []string{"sent " + el + "1'/>"}},
		{"in two answers", "ack='1'", func(t *testing.T, s *bosh.Stream, p *Peer) {
			Write(t, s, el+"2'/>")
			p.Send("", "ack='1000'")
			Write(t, s, el+"3'/>")
		}, []string{"sent " + el + "1'/>", "sent " + el + "2'/>", el + "3'/>"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Connect(t, Elements(), test.attrs)
				Write(t, s, el+"1'/>")
				require.Equal(t, el+"1'/>", p.Send("").Payload())
				test.after(t, s, p)
				time.Sleep(3 * time.Minute)
				assert.Equal(t, test.want, Lost(s))
			})
		})
	}
}

// The client's orderly end proves nothing of the last answers. That they count as
// delivered all the same the application knows by Session.Err.
func TestUndeliveredAfterTerminate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		Write(t, s, el+"1'/>")
		assert.Equal(t, el+"1'/>", p.Send("").Payload())
		Write(t, s, el+"2'/>")
		r := p.Send("", "type='terminate'")
		RequireEnd(t, r, "")
		assert.Equal(t, el+"2'/>", r.Payload())
		assert.Equal(t, []string{"sent " + el + "1'/>", "sent " + el + "2'/>"}, Lost(s))
		assert.Equal(t, io.EOF, s.Session().Err())
	})
}

// An answer lost with the connection, whose repeat never came.
func TestUndeliveredOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		c := p.Hold("")
		c.Cancel()
		synctest.Wait()
		Write(t, s, el+"1'/>")
		time.Sleep(78 * Second)
		assert.Equal(t, []string{el + "1'/>"}, Lost(s), "not even sent")
	})
}

func TestUndeliveredXMPP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{})
		rt := boshtest.InMemory(h)
		c := boshtest.Post(t, rt, Creation("xmlns:xmpp='"+NsXBOSH+"' xmpp:version='1.0'"))
		s := Accept(t, h)
		Write(t, s, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='"+NsStream+
			"' id='s1' from='example.com' version='1.0'><stream:features><a xmlns='u'/></stream:features>")
		r := c.Wait()
		p := &Peer{T: t, Rt: rt, Sid: r.Attr("sid"), Rid: 1000}
		Write(t, s, "<message to='a@b'><body>1</body></message> <presence/>")
		require.Equal(t, "<message xmlns='jabber:client' to='a@b'><body>1</body></message><presence xmlns='jabber:client'/>", p.Send("").Payload())
		Write(t, s, "<iq id='2'/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		time.Sleep(78 * Second)
		assert.Equal(t, []string{
			"sent <message xmlns='jabber:client' to='a@b'><body>1</body></message>",
			"sent <presence xmlns='jabber:client'/>",
			"<iq xmlns='jabber:client' id='2'/>",
		}, Lost(s), "stanzas, and nothing about the stream")
	})
}

func TestUndeliveredOpaque(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Opaque})
		Write(t, s, "one\x00")
		Write(t, s, "<two>")
		require.Equal(t, "one\x00<two>", Decode(t, p.Send("").Payloads))
		Write(t, s, "\xff\xfe")
		Write(t, s, "three")
		time.Sleep(78 * Second)
		assert.Equal(t, []string{"sent one\x00<two>", "\xff\xfethree"}, Lost(s))
	})
}

// Whatever may be written is handed back.
func TestUndeliveredDeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		deepest := ""
		for n := 1; s.WriteElement(t.Context(), []byte(Nested(n))) == nil; n++ {
			deepest = Nested(n)
		}
		require.Greater(t, len(deepest), len(Nested(50)))
		p.Send("")
		require.NoError(t, s.WriteElement(t.Context(), []byte(deepest)))
		time.Sleep(78 * Second)
		all := Lost(s)
		require.NotEmpty(t, all)
		assert.Equal(t, deepest, all[len(all)-1])
		assert.Equal(t, "sent "+deepest, all[len(all)-2])
	})
}

// Each stream of a session gets back what was its own.
func TestUndeliveredStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, MaxStreams: 2})
		p := Dial(t, boshtest.InMemory(h))
		s1 := Accept(t, h)
		require.NotEmpty(t, p.Send("", "to='example.com'").Attr("stream"))
		s2 := Accept(t, h)
		Write(t, s1, el+"1'/>")
		Write(t, s2, el+"2'/>")
		first := p.Send("")
		Write(t, s1, el+"3'/>")
		Write(t, s2, el+"4'/>")
		r := p.Send("", "type='terminate'")
		RequireEnd(t, r, "")
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
		assert.Equal(t, want1, Lost(s1))
		assert.Equal(t, want2, Lost(s2))
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
				h := NewHandler(t, Elements())
				c := boshtest.Post(t, boshtest.InMemory(h), strings.Replace(Creation(), "to='example.com'", `to="`+to+`"`, 1))
				s := Accept(t, h)
				Write(t, s, el+"1'/>")
				require.Equal(t, el+"1'/>", c.Wait().Payload())
				Write(t, s, el+"2'/>")
				time.Sleep(3 * time.Minute)
				assert.Equal(t, []string{"sent " + el + "1'/>", el + "2'/>"}, Lost(s))
			})
		})
	}
}

// The namespace of the wrapper is one like any other.
func TestUndeliveredHttpbind(t *testing.T) {
	for name, o := range map[string]bosh.Options{"elements": Elements(), "XMPP": {CreateTimeout: -1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Connect(t, o)
				if name == "XMPP" {
					Write(t, s, ServerHeader)
				}
				one, two := "<x xmlns='"+NsBind+"'><y/></x>", "<p:x xmlns:p='"+NsBind+"'/>"
				Write(t, s, one+two)
				require.Equal(t, one+two, p.Send("").Payload())
				Write(t, s, two+one)
				require.NoError(t, s.Session().Terminate(&bosh.Error{Condition: bosh.SeeOtherURI, URI: "https://example.com/"}))
				time.Sleep(3 * time.Minute)
				assert.Equal(t, []string{"sent " + one, "sent " + two, two, one}, Lost(s), "and not the URI")
			})
		})
	}
}
