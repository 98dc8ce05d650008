package spec_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// xmppOptions are std's, for XMPP.
var xmppOptions = With(func(o *bosh.Options) { o.Framing = bosh.XMPP })

const (
	xmppAttrs = StdAttrs + " xmpp:version='1.0' " + XmppNS
)

// opened is what the application reads at the beginning of a stream.
func opened(attrs string) string {
	return "<stream:stream xmlns='jabber:client' " + StreamNS + " " + attrs + ">"
}

// xmpp runs f with a session whose application has sent its features, and
// whose next rid is 1001.
func xmpp(t *testing.T, name string, f func(b *Harness, s *Session)) {
	t.Helper()
	xmppWith(t, name, xmppOptions, xmppAttrs, f)
}

func xmppWith(t *testing.T, name string, o bosh.Options, attrs string, f func(b *Harness, s *Session)) {
	t.Helper()
	xmppSays(t, name, o, attrs, ServerHeader+Features, f)
}

// authenticated is xmpp with a client that has authenticated, and has to restart the
// stream.
func authenticated(t *testing.T, name string, f func(b *Harness, s *Session)) {
	t.Helper()
	xmppSays(t, name, xmppOptions, xmppAttrs, ServerHeader+Features+Success, f)
}

// xmppSays is xmppWith with something else that the application says first.
func xmppSays(t *testing.T, name string, o bosh.Options, attrs, first string, f func(b *Harness, s *Session)) {
	t.Helper()
	if !strings.Contains(attrs, "rid=") {
		attrs = "rid='1000' " + attrs
	}
	Bubble(t, name, o, func(b *Harness) {
		s := &Session{B: b, Creator: b.Post(Complete("<body " + attrs + "/>"))}
		s.App = b.App(0)
		s.App.Text()
		s.App.Writes(first)
		s.Granted = s.Creator.Body()
		s.Sid = s.Granted.Attr("sid")
		f(b, s)
	})
}

// carrying is an answer whose payloads may use the prefix stream.
func carrying(payloads ...string) string {
	return "<body " + StreamNS + ">" + strings.Join(payloads, "") + "</body>"
}

// msg is a message as the application writes it, and said is how the client
// must get it.
func msg(text string) string { return "<message><body>" + text + "</body></message>" }
func said(text string) string {
	return "<message xmlns='jabber:client'><body>" + text + "</body></message>"
}

// XEP-0206, section 2: the wrapper.
func TestXMPPWrapper(t *testing.T) {
	xmpp(t, "X2-1 X5-1 a login", func(b *Harness, s *Session) {
		sasl := "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
		for i, step := range []struct{ in, out, want string }{
			{"<auth " + sasl + " mechanism='SCRAM-SHA-1'>biwsbj1h</auth>", "<challenge " + sasl + ">cj1h</challenge>", ""},
			{"<response " + sasl + ">Yz1iaXdz</response>", "<success " + sasl + ">dj1y</success>", ""},
			{"<iq xmlns='jabber:client' type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
				"<iq type='result' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@b/c</jid></bind></iq>",
				"<iq xmlns='jabber:client' type='result' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@b/c</jid></bind></iq>"},
		} {
			c := s.Send(int64(1001+i), step.in)
			s.App.Reads(step.in)
			s.App.Writes(step.out)
			if step.want == "" {
				step.want = step.out
			}
			c.GetsNow(carrying(step.want))
		}
	})

	xmpp(t, "X2-2 features come with the prefix declared on the wrapper", func(b *Harness, s *Session) {
		assert.Equal(b, "http://etherx.jabber.org/streams", s.Granted.Namespace("stream"))
		require.Len(b, s.Granted.Payloads, 1)
		assert.True(b, strings.HasPrefix(string(s.Granted.Payloads[0]), "<stream:features"), "%s", s.Granted)
	})

	xmpp(t, "X2-3 B17.2-11 a stream error", func(b *Harness, s *Session) {
		held := s.Send(1001)
		e := "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
		s.App.Writes(e + "</stream:stream>")
		held.GetsNow(RemoteStreamError(e))
		s.Gone()
	})

	xmpp(t, "X2-4 stanzas carry their namespace", func(b *Harness, s *Session) {
		held := s.Send(1001)
		s.App.Writes("<message to='a'/><presence xmlns='jabber:client'/><iq><q xmlns='u'/></iq>")
		held.GetsNow(carrying("<message xmlns='jabber:client' to='a'/>", "<presence xmlns='jabber:client'/>",
			"<iq xmlns='jabber:client'><q xmlns='u'/></iq>"))
	})

	xmpp(t, "X2-5 header and end tag become attributes", func(b *Harness, s *Session) {
		assert.NotContains(b, s.Granted.String(), "stream:stream")
		assert.Equal(b, "1.0", s.Granted.Attr("xmpp:version"))
		assert.Equal(b, "example.com", s.Granted.Attr("from"))
		assert.Equal(b, "str-1", s.Granted.Attr("authid"))
		held := s.Send(1001)
		s.App.Writes(msg("bye") + "</stream:stream>")
		held.GetsNow("<body type='terminate' " + StreamNS + ">" + said("bye") + "</body>")
	})

	xmpp(t, "X2-6 what inherits httpbind is in jabber:client", func(b *Harness, s *Session) {
		s.Send(1001, "<message to='a'><body>x</body><e xmlns='u'><f/></e></message>", "<presence/>", "<iq type='get'/>")
		s.App.Reads("<message xmlns='jabber:client' to='a'><body>x</body><e xmlns='u'><f/></e></message>" +
			"<presence xmlns='jabber:client'/><iq xmlns='jabber:client' type='get'/>")
	})

	t.Run("X2-7 X4-6 there is neither STARTTLS nor compression", upgrades)
}

// What has no meaning over BOSH is kept from both sides.
func upgrades(t *testing.T) {
	const (
		mechanisms  = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
		starttls    = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
		required    = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
		compression = "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>"
		compress    = "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>"
		noTLS       = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
		noCompress  = "<failure xmlns='http://jabber.org/protocol/compress'><unsupported-method/></failure>"
	)
	offers := map[string]struct{ in, want string }{
		"alone":                {"<stream:features>" + starttls + "</stream:features>", "<stream:features></stream:features>"},
		"before others":        {"<stream:features>" + required + mechanisms + "</stream:features>", "<stream:features>" + mechanisms + "</stream:features>"},
		"behind others":        {"<stream:features>" + mechanisms + compression + required + "</stream:features>", "<stream:features>" + mechanisms + "</stream:features>"},
		"between others":       {"<stream:features> " + mechanisms + "\n" + starttls + "\t<b xmlns='u'/>" + compression + "<c xmlns='u' a=\"'&lt;\"/> </stream:features>", "<stream:features> " + mechanisms + "\n\t<b xmlns='u'/><c xmlns='u' a=\"'&lt;\"/> </stream:features>"},
		"by a prefix":          {"<stream:features><t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'/>" + mechanisms + "</stream:features>", "<stream:features>" + mechanisms + "</stream:features>"},
		"by a prefix outside":  {"<stream:features xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'><t:starttls><t:required/></t:starttls></stream:features>", "<stream:features xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'></stream:features>"},
		"by the default":       {"<stream:features xmlns='urn:ietf:params:xml:ns:xmpp-tls'><starttls/></stream:features>", "<stream:features xmlns='urn:ietf:params:xml:ns:xmpp-tls'></stream:features>"},
		"with references":      {"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-&#116;ls'/></stream:features>", "<stream:features></stream:features>"},
		"with another prefix":  {"<s:features xmlns:s='http://etherx.jabber.org/streams'>" + starttls + "</s:features>", "<s:features xmlns:s='http://etherx.jabber.org/streams'></s:features>"},
		"twice":                {"<stream:features>" + starttls + starttls + "</stream:features>", "<stream:features></stream:features>"},
		"none":                 {"<stream:features  ><a xmlns='u'/> </stream:features >", "<stream:features  ><a xmlns='u'/> </stream:features >"},
		"something like it":    {"<stream:features><starttls xmlns='u'/><compression xmlns='http://jabber.org/protocol/compress'/><x xmlns='u'>" + starttls + "</x></stream:features>", "<stream:features><starttls xmlns='u'/><compression xmlns='http://jabber.org/protocol/compress'/><x xmlns='u'>" + starttls + "</x></stream:features>"},
		"in no features":       {"<x xmlns='u'>" + starttls + "</x>", "<x xmlns='u'>" + starttls + "</x>"},
		"and what is inserted": {"<stream:features><p:a xmlns:p='u'/>" + starttls + "<b/></stream:features>", "<stream:features xmlns='jabber:client'><p:a xmlns:p='u'/><b/></stream:features>"},
	}
	for name, offer := range offers {
		for _, chunk := range []int{1, 2, 7, 1 << 20} {
			xmpp(t, fmt.Sprint("offered ", name, ", in chunks of ", chunk), func(b *Harness, s *Session) {
				held := s.Send(1001)
				for in := offer.in; in != ""; in = in[min(chunk, len(in)):] {
					s.App.Writes(in[:min(chunk, len(in))])
				}
				held.GetsNow(carrying(offer.want))
			})
		}
		xmppWith(t, "offered "+name+", and passed", With(func(o *bosh.Options) { o.Framing, o.PassUpgrades = bosh.XMPP, true }), xmppAttrs, func(b *Harness, s *Session) {
			held := s.Send(1001)
			s.App.Writes(offer.in)
			want := offer.in
			if name == "and what is inserted" {
				want = strings.Replace(want, "<stream:features", "<stream:features xmlns='jabber:client'", 1)
			}
			held.GetsNow(carrying(want))
		})
	}
	xmpp(t, "offered beside stanzas", func(b *Harness, s *Session) {
		held := s.Send(1001)
		stanza := "<message xmlns='jabber:client'/>"
		s.App.Writes(stanza + stanza + "<stream:features>" + starttls + mechanisms + "</stream:features>" + stanza)
		held.GetsNow(carrying(stanza, stanza, "<stream:features>"+mechanisms+"</stream:features>", stanza))
	})

	stanza := "<message xmlns='jabber:client'/>"
	for name, ask := range map[string]struct {
		in         []string
		read, want string
	}{
		"STARTTLS":             {[]string{starttls}, "", noTLS},
		"by a prefix":          {[]string{"<t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'/>"}, "", noTLS},
		"compression":          {[]string{compress}, "", noCompress},
		"both, again":          {[]string{starttls, compress, starttls}, "", noTLS + noCompress},
		"before a stanza":      {[]string{starttls, stanza}, stanza, noTLS},
		"behind a stanza":      {[]string{stanza, compress}, stanza, noCompress},
		"something like it":    {[]string{"<starttls xmlns='u'/>"}, "<starttls xmlns='u'/>", ""},
		"in something else":    {[]string{"<x xmlns='u'>" + starttls + "</x>"}, "<x xmlns='u'>" + starttls + "</x>", ""},
		"a failure of its own": {[]string{noTLS}, noTLS, ""},
	} {
		xmpp(t, "asked for: "+name, func(b *Harness, s *Session) {
			c := s.Send(1001, ask.in...)
			s.App.Reads(ask.read)
			if ask.want != "" {
				c.GetsNow(carrying(ask.want))
			} else {
				c.Waits()
			}
			s.Alive()
		})
		xmppWith(t, "asked for, and passed: "+name, With(func(o *bosh.Options) { o.Framing, o.PassUpgrades = bosh.XMPP, true }), xmppAttrs, func(b *Harness, s *Session) {
			s.Send(1001, ask.in...).Waits()
			s.App.Reads(strings.Join(ask.in, ""))
		})
	}
	xmpp(t, "what is before it is read by itself", func(b *Harness, s *Session) {
		s.Send(1001, stanza, starttls)
		s.Send(1002, stanza)
		s.App.Reads(stanza + stanza)
	})
	xmpp(t, "asked for again before there was an answer", func(b *Harness, s *Session) {
		s.Send(1002, starttls).Breaks()
		s.Send(1001, starttls, compress).GetsNow(carrying(noTLS, noCompress))
		s.Send(1003, starttls).GetsNow(carrying(noTLS))
	})
	xmpp(t, "the answer is nothing that the application could not deliver", func(b *Harness, s *Session) {
		s.App.Writes(stanza)
		s.Send(1001, starttls)
		s.Send(1002, compress)
		b.Wait(time.Minute)
		assert.Equal(b, []string{stanza + "*"}, s.App.Lost())
	})
	Custom(t, "but in Elements they are elements", StdOptions, StdAttrs, func(b *Harness, s *Session) {
		held := s.Send(1001, starttls)
		s.App.Reads(starttls)
		s.App.Writes("<f:features xmlns:f='" + NsStream + "'>" + starttls + "</f:features>")
		held.GetsNow(Answer("<f:features xmlns:f='" + NsStream + "'>" + starttls + "</f:features>"))
	})
}

// XEP-0206, sections 3 and 4: the creation.
func TestXMPPCreation(t *testing.T) {
	header := func(t *testing.T, name, attrs, want string) {
		t.Helper()
		Bubble(t, name, xmppOptions, func(b *Harness) {
			b.Post(Complete("<body rid='1000' " + attrs + "/>"))
			b.App(0).Reads(opened(want))
		})
	}
	header(t, "X3-1 version goes into the header", "to='example.com' xmpp:version='1.0' "+XmppNS, "to='example.com' version='1.0'")
	header(t, "X3-1 by any prefix", "to='example.com' y:version='1.7' xmlns:y='urn:xmpp:xbosh'", "to='example.com' version='1.7'")
	header(t, "X5-14 and by the usual prefix whatever it is bound to", "to='example.com' xmpp:version='1.7' xmlns:xmpp='urn:other'", "to='example.com' version='1.7'")
	header(t, "X3-2 without one the usual is claimed", "to='example.com'", "to='example.com' version='1.0'")
	header(t, "X3-3 to and from go into the header", "to='example.com' from='a@example.com' xml:lang='de'",
		"to='example.com' from='a@example.com' version='1.0' xml:lang='de'")
	header(t, "X3-3 whatever is in them", "to=\"a'&lt;&amp;\"", "to='a&apos;&lt;&amp;' version='1.0'")

	xmpp(t, "X3-4 a stream tag of the client's is refused", func(b *Harness, s *Session) {
		s.Send(1001, "<stream:stream xmlns='jabber:client' "+StreamNS+" to='example.com'>").GetsNow(Condition(bosh.BadRequest))
		s.App.Reads("")
		s.Gone()
	})

	// A server would take it for the header of a new stream, with a `to` that nobody
	// has looked at.
	for _, tag := range []string{
		"<stream:stream xmlns='jabber:client' " + StreamNS + " to='example.net' version='1.0'/>",
		"<stream:stream xmlns='jabber:client' " + StreamNS + " to='example.net'></stream:stream>",
		"<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'></s:stream>",
		"<stream xmlns='http://etherx.jabber.org/streams'/>",
		msg("a") + "<stream xmlns='http://etherx.jabber.org/streams'/>",
	} {
		xmpp(t, "X3-4 nor is a whole one", func(b *Harness, s *Session) {
			s.Send(1001, tag).GetsNow(Condition(bosh.BadRequest))
			s.App.Reads("")
			s.Gone()
		})
	}
	xmpp(t, "X3-4 others of that namespace are elements", func(b *Harness, s *Session) {
		other := "<stream xmlns='jabber:client'/><stream:error " + StreamNS + "/>"
		s.Send(1001, other)
		s.App.Reads(other)
	})

	xmpp(t, "X4-1 version and features are in the creation response", func(b *Harness, s *Session) {
		assert.Equal(b, time.Duration(0), s.Creator.At())
		assert.Equal(b, "1.0", s.Granted.Attr("xmpp:version"))
		assert.Contains(b, string(s.Granted.Payloads[0]), "<mechanism>PLAIN</mechanism>")
		// X11-1 and in no other.
		c := s.Send(1001)
		s.App.Writes(msg("a"))
		c.GetsNow(carrying(said("a")))
	})

	Bubble(t, "X4-1 or in the first after it", xmppOptions, func(b *Harness) {
		s := &Session{B: b}
		c := b.Post(Complete("<body rid='1000' " + xmppAttrs + "/>"))
		c.Waits()
		b.Wait(10 * time.Second)
		body := c.Body()
		assert.Equal(b, 10*time.Second, c.At())
		assert.Empty(b, body.Payloads)
		_, ok := body.Lookup("xmpp:version")
		assert.False(b, ok, "announced before it is known")
		s.Sid = body.Attr("sid")
		next := s.Send(1001)
		next.Waits()
		b.App(0).Writes(ServerHeader + Features)
		next.GetsNow("<body xmpp:version='1.0' authid='str-1' " + XmppNS + " " + StreamNS + ">" + Features + "</body>")
		last := s.Send(1002)
		b.App(0).Writes(msg("a"))
		last.GetsNow(carrying(said("a")))
	})

	xmpp(t, "X4-2 X4-3 restartlogic is declared and true", func(b *Harness, s *Session) {
		assert.Equal(b, "true", s.Granted.Attr("xmpp:restartlogic"))
		assert.Equal(b, "urn:xmpp:xbosh", s.Granted.Namespace("xmpp"))
	})

	xmpp(t, "X4-4 authid is the stream's id", func(b *Harness, s *Session) {
		assert.Equal(b, "str-1", s.Granted.Attr("authid"))
		assert.NotEqual(b, s.Sid, s.Granted.Attr("authid"))
	})

	Bubble(t, "X4-5 asking for features is not overactive", xmppOptions, func(b *Harness) {
		c := b.Post(Complete("<body rid='1000' to='example.com' wait='0' hold='0' ver='1.6'/>"))
		s := &Session{B: b, Sid: c.Body().Attr("sid")}
		assert.Empty(b, c.Body().Payloads)
		s.Send(1001).GetsNow(Empty)
		b.App(0).Writes(ServerHeader + Features)
		b.Wait(5 * time.Second)
		assert.Len(b, s.Send(1002).Body().Payloads, 1)
		s.Send(1003).GetsNow(Empty)
	})

	many := xmppOptions
	many.MaxStreams = 2
	xmppWith(t, "X4-7 version with a stream that is added", many, xmppAttrs, func(b *Harness, s *Session) {
		c := s.Send(1001, "to='example.net' xmpp:version='1.0' "+XmppNS)
		two := b.App(1)
		two.Reads(opened("to='example.net' version='1.0'"))
		c.Waits()
		two.Writes(strings.Replace(ServerHeader, "str-1", "str-2", 1) + Features)
		c.GetsNow("<body from='example.net' authid='str-2' " + stream(two) + " xmpp:version='1.0' " + XmppNS + " " + StreamNS + ">" +
			Features + "</body>")
	})

	t.Run("X11-1 what is not announced is not there", func(t *testing.T) {
		Std(t, "no XMPP", func(b *Harness, s *Session) {
			for _, attr := range []string{"xmpp:restartlogic", "xmpp:version", "xmlns:xmpp"} {
				_, ok := s.Granted.Lookup(attr)
				assert.False(b, ok, attr)
			}
			// A restart is an ordinary request then.
			s.Send(1001, "xmpp:restart='true' "+XmppNS, X("a")).Waits()
			s.App.Reads(X("a"))
		})
	})
}
