package bosh_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// xmppOptions are std's, for XMPP.
var xmppOptions = with(func(o *bosh.Options) { o.Framing = bosh.XMPP })

const (
	xmppNS    = "xmlns:xmpp='urn:xmpp:xbosh'"
	streamNS  = "xmlns:stream='http://etherx.jabber.org/streams'"
	xmppAttrs = stdAttrs + " xmpp:version='1.0' " + xmppNS

	// What a server writes at the beginning of a stream.
	serverHeader = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' " + streamNS +
		" id='str-1' from='example.com' version='1.0'>"
	features = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
)

// opened is what the application reads at the beginning of a stream.
func opened(attrs string) string {
	return "<stream:stream xmlns='jabber:client' " + streamNS + " " + attrs + ">"
}

// xmpp runs f with a session whose application has sent its features, and
// whose next rid is 1001.
func xmpp(t *testing.T, name string, f func(b *bench, s *session)) {
	t.Helper()
	xmppWith(t, name, xmppOptions, xmppAttrs, f)
}

func xmppWith(t *testing.T, name string, o bosh.Options, attrs string, f func(b *bench, s *session)) {
	t.Helper()
	xmppSays(t, name, o, attrs, serverHeader+features, f)
}

// success is what lets a client restart the stream.
const success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"

// authenticated is xmpp with a client that has authenticated, and has to restart the
// stream.
func authenticated(t *testing.T, name string, f func(b *bench, s *session)) {
	t.Helper()
	xmppSays(t, name, xmppOptions, xmppAttrs, serverHeader+features+success, f)
}

// xmppSays is xmppWith with something else that the application says first.
func xmppSays(t *testing.T, name string, o bosh.Options, attrs, first string, f func(b *bench, s *session)) {
	t.Helper()
	if !strings.Contains(attrs, "rid=") {
		attrs = "rid='1000' " + attrs
	}
	bubble(t, name, o, func(b *bench) {
		s := &session{b: b, creator: b.post(complete("<body " + attrs + "/>"))}
		s.app = b.app(0)
		s.app.read()
		s.app.writes(first)
		s.granted = s.creator.body()
		s.sid = s.granted.Attr("sid")
		f(b, s)
	})
}

// carrying is an answer whose payloads may use the prefix stream.
func carrying(payloads ...string) string {
	return "<body " + streamNS + ">" + strings.Join(payloads, "") + "</body>"
}

// remoteStreamError is the answer that reports a stream error.
func remoteStreamError(payloads ...string) string {
	return "<body type='terminate' condition='remote-stream-error' " + streamNS + ">" + strings.Join(payloads, "") + "</body>"
}

// msg is a message as the application writes it, and said is how the client
// must get it.
func msg(text string) string { return "<message><body>" + text + "</body></message>" }
func said(text string) string {
	return "<message xmlns='jabber:client'><body>" + text + "</body></message>"
}

// XEP-0206, section 2: the wrapper.
func TestXMPPWrapper(t *testing.T) {
	xmpp(t, "X2-1 X5-1 a login", func(b *bench, s *session) {
		sasl := "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
		for i, step := range []struct{ in, out, want string }{
			{"<auth " + sasl + " mechanism='SCRAM-SHA-1'>biwsbj1h</auth>", "<challenge " + sasl + ">cj1h</challenge>", ""},
			{"<response " + sasl + ">Yz1iaXdz</response>", "<success " + sasl + ">dj1y</success>", ""},
			{"<iq xmlns='jabber:client' type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
				"<iq type='result' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@b/c</jid></bind></iq>",
				"<iq xmlns='jabber:client' type='result' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>a@b/c</jid></bind></iq>"},
		} {
			c := s.send(int64(1001+i), step.in)
			s.app.reads(step.in)
			s.app.writes(step.out)
			if step.want == "" {
				step.want = step.out
			}
			c.getsNow(carrying(step.want))
		}
	})

	xmpp(t, "X2-2 features come with the prefix declared on the wrapper", func(b *bench, s *session) {
		assert.Equal(b, "http://etherx.jabber.org/streams", s.granted.Namespace("stream"))
		require.Len(b, s.granted.Payloads, 1)
		assert.True(b, strings.HasPrefix(string(s.granted.Payloads[0]), "<stream:features"), "%s", s.granted)
	})

	xmpp(t, "X2-3 B17.2-11 a stream error", func(b *bench, s *session) {
		held := s.send(1001)
		e := "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
		s.app.writes(e + "</stream:stream>")
		held.getsNow(remoteStreamError(e))
		s.gone()
	})

	xmpp(t, "X2-4 stanzas carry their namespace", func(b *bench, s *session) {
		held := s.send(1001)
		s.app.writes("<message to='a'/><presence xmlns='jabber:client'/><iq><q xmlns='u'/></iq>")
		held.getsNow(carrying("<message xmlns='jabber:client' to='a'/>", "<presence xmlns='jabber:client'/>",
			"<iq xmlns='jabber:client'><q xmlns='u'/></iq>"))
	})

	xmpp(t, "X2-5 header and end tag become attributes", func(b *bench, s *session) {
		assert.NotContains(b, s.granted.String(), "stream:stream")
		assert.Equal(b, "1.0", s.granted.Attr("xmpp:version"))
		assert.Equal(b, "example.com", s.granted.Attr("from"))
		assert.Equal(b, "str-1", s.granted.Attr("authid"))
		held := s.send(1001)
		s.app.writes(msg("bye") + "</stream:stream>")
		held.getsNow("<body type='terminate' " + streamNS + ">" + said("bye") + "</body>")
	})

	xmpp(t, "X2-6 what inherits httpbind is in jabber:client", func(b *bench, s *session) {
		s.send(1001, "<message to='a'><body>x</body><e xmlns='u'><f/></e></message>", "<presence/>", "<iq type='get'/>")
		s.app.reads("<message xmlns='jabber:client' to='a'><body>x</body><e xmlns='u'><f/></e></message>" +
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
			xmpp(t, fmt.Sprint("offered ", name, ", in chunks of ", chunk), func(b *bench, s *session) {
				held := s.send(1001)
				for in := offer.in; in != ""; in = in[min(chunk, len(in)):] {
					s.app.writes(in[:min(chunk, len(in))])
				}
				held.getsNow(carrying(offer.want))
			})
		}
		xmppWith(t, "offered "+name+", and passed", with(func(o *bosh.Options) { o.Framing, o.PassUpgrades = bosh.XMPP, true }), xmppAttrs, func(b *bench, s *session) {
			held := s.send(1001)
			s.app.writes(offer.in)
			want := offer.in
			if name == "and what is inserted" {
				want = strings.Replace(want, "<stream:features", "<stream:features xmlns='jabber:client'", 1)
			}
			held.getsNow(carrying(want))
		})
	}
	xmpp(t, "offered beside stanzas", func(b *bench, s *session) {
		held := s.send(1001)
		stanza := "<message xmlns='jabber:client'/>"
		s.app.writes(stanza + stanza + "<stream:features>" + starttls + mechanisms + "</stream:features>" + stanza)
		held.getsNow(carrying(stanza, stanza, "<stream:features>"+mechanisms+"</stream:features>", stanza))
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
		xmpp(t, "asked for: "+name, func(b *bench, s *session) {
			c := s.send(1001, ask.in...)
			s.app.reads(ask.read)
			if ask.want != "" {
				c.getsNow(carrying(ask.want))
			} else {
				c.waits()
			}
			s.alive()
		})
		xmppWith(t, "asked for, and passed: "+name, with(func(o *bosh.Options) { o.Framing, o.PassUpgrades = bosh.XMPP, true }), xmppAttrs, func(b *bench, s *session) {
			s.send(1001, ask.in...).waits()
			s.app.reads(strings.Join(ask.in, ""))
		})
	}
	xmpp(t, "what is before it is read by itself", func(b *bench, s *session) {
		s.send(1001, stanza, starttls)
		s.send(1002, stanza)
		s.app.reads(stanza + stanza)
	})
	xmpp(t, "asked for again before there was an answer", func(b *bench, s *session) {
		s.send(1002, starttls).breaks()
		s.send(1001, starttls, compress).getsNow(carrying(noTLS, noCompress))
		s.send(1003, starttls).getsNow(carrying(noTLS))
	})
	xmpp(t, "the answer is nothing that the application could not deliver", func(b *bench, s *session) {
		s.app.writes(stanza)
		s.send(1001, starttls)
		s.send(1002, compress)
		b.wait(time.Minute)
		assert.Equal(b, []string{stanza + "*"}, s.app.undelivered())
	})
	custom(t, "but in Elements they are elements", stdOptions, stdAttrs, func(b *bench, s *session) {
		held := s.send(1001, starttls)
		s.app.reads(starttls)
		s.app.writes("<f:features xmlns:f='" + nsStream + "'>" + starttls + "</f:features>")
		held.getsNow(answer("<f:features xmlns:f='" + nsStream + "'>" + starttls + "</f:features>"))
	})
}

// XEP-0206, sections 3 and 4: the creation.
func TestXMPPCreation(t *testing.T) {
	header := func(t *testing.T, name, attrs, want string) {
		t.Helper()
		bubble(t, name, xmppOptions, func(b *bench) {
			b.post(complete("<body rid='1000' " + attrs + "/>"))
			b.app(0).reads(opened(want))
		})
	}
	header(t, "X3-1 version goes into the header", "to='example.com' xmpp:version='1.0' "+xmppNS, "to='example.com' version='1.0'")
	header(t, "X3-1 by any prefix", "to='example.com' y:version='1.7' xmlns:y='urn:xmpp:xbosh'", "to='example.com' version='1.7'")
	header(t, "X5-14 and by the usual prefix whatever it is bound to", "to='example.com' xmpp:version='1.7' xmlns:xmpp='urn:other'", "to='example.com' version='1.7'")
	header(t, "X3-2 without one the usual is claimed", "to='example.com'", "to='example.com' version='1.0'")
	header(t, "X3-3 to and from go into the header", "to='example.com' from='a@example.com' xml:lang='de'",
		"to='example.com' from='a@example.com' version='1.0' xml:lang='de'")
	header(t, "X3-3 whatever is in them", "to=\"a'&lt;&amp;\"", "to='a&apos;&lt;&amp;' version='1.0'")

	xmpp(t, "X3-4 a stream tag of the client's is refused", func(b *bench, s *session) {
		s.send(1001, "<stream:stream xmlns='jabber:client' "+streamNS+" to='example.com'>").getsNow(condition(bosh.BadRequest))
		s.app.reads("")
		s.gone()
	})

	// A server would take it for the header of a new stream, with a `to` that nobody
	// has looked at.
	for _, tag := range []string{
		"<stream:stream xmlns='jabber:client' " + streamNS + " to='example.net' version='1.0'/>",
		"<stream:stream xmlns='jabber:client' " + streamNS + " to='example.net'></stream:stream>",
		"<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'></s:stream>",
		"<stream xmlns='http://etherx.jabber.org/streams'/>",
		msg("a") + "<stream xmlns='http://etherx.jabber.org/streams'/>",
	} {
		xmpp(t, "X3-4 nor is a whole one", func(b *bench, s *session) {
			s.send(1001, tag).getsNow(condition(bosh.BadRequest))
			s.app.reads("")
			s.gone()
		})
	}
	xmpp(t, "X3-4 others of that namespace are elements", func(b *bench, s *session) {
		other := "<stream xmlns='jabber:client'/><stream:error " + streamNS + "/>"
		s.send(1001, other)
		s.app.reads(other)
	})

	xmpp(t, "X4-1 version and features are in the creation response", func(b *bench, s *session) {
		assert.Equal(b, time.Duration(0), s.creator.at())
		assert.Equal(b, "1.0", s.granted.Attr("xmpp:version"))
		assert.Contains(b, string(s.granted.Payloads[0]), "<mechanism>PLAIN</mechanism>")
		// X11-1 and in no other.
		c := s.send(1001)
		s.app.writes(msg("a"))
		c.getsNow(carrying(said("a")))
	})

	bubble(t, "X4-1 or in the first after it", xmppOptions, func(b *bench) {
		s := &session{b: b}
		c := b.post(complete("<body rid='1000' " + xmppAttrs + "/>"))
		c.waits()
		b.wait(10 * time.Second)
		body := c.body()
		assert.Equal(b, 10*time.Second, c.at())
		assert.Empty(b, body.Payloads)
		_, ok := body.Lookup("xmpp:version")
		assert.False(b, ok, "announced before it is known")
		s.sid = body.Attr("sid")
		next := s.send(1001)
		next.waits()
		b.app(0).writes(serverHeader + features)
		next.getsNow("<body xmpp:version='1.0' authid='str-1' " + xmppNS + " " + streamNS + ">" + features + "</body>")
		last := s.send(1002)
		b.app(0).writes(msg("a"))
		last.getsNow(carrying(said("a")))
	})

	xmpp(t, "X4-2 X4-3 restartlogic is declared and true", func(b *bench, s *session) {
		assert.Equal(b, "true", s.granted.Attr("xmpp:restartlogic"))
		assert.Equal(b, "urn:xmpp:xbosh", s.granted.Namespace("xmpp"))
	})

	xmpp(t, "X4-4 authid is the stream's id", func(b *bench, s *session) {
		assert.Equal(b, "str-1", s.granted.Attr("authid"))
		assert.NotEqual(b, s.sid, s.granted.Attr("authid"))
	})

	bubble(t, "X4-5 asking for features is not overactive", xmppOptions, func(b *bench) {
		c := b.post(complete("<body rid='1000' to='example.com' wait='0' hold='0' ver='1.6'/>"))
		s := &session{b: b, sid: c.body().Attr("sid")}
		assert.Empty(b, c.body().Payloads)
		s.send(1001).getsNow(empty)
		b.app(0).writes(serverHeader + features)
		b.wait(5 * time.Second)
		assert.Len(b, s.send(1002).body().Payloads, 1)
		s.send(1003).getsNow(empty)
	})

	many := xmppOptions
	many.MaxStreams = 2
	xmppWith(t, "X4-7 version with a stream that is added", many, xmppAttrs, func(b *bench, s *session) {
		c := s.send(1001, "to='example.net' xmpp:version='1.0' "+xmppNS)
		two := b.app(1)
		two.reads(opened("to='example.net' version='1.0'"))
		c.waits()
		two.writes(strings.Replace(serverHeader, "str-1", "str-2", 1) + features)
		c.getsNow("<body from='example.net' authid='str-2' " + stream(two) + " xmpp:version='1.0' " + xmppNS + " " + streamNS + ">" +
			features + "</body>")
	})

	t.Run("X11-1 what is not announced is not there", func(t *testing.T) {
		std(t, "no XMPP", func(b *bench, s *session) {
			for _, attr := range []string{"xmpp:restartlogic", "xmpp:version", "xmlns:xmpp"} {
				_, ok := s.granted.Lookup(attr)
				assert.False(b, ok, attr)
			}
			// A restart is an ordinary request then.
			s.send(1001, "xmpp:restart='true' "+xmppNS, x("a")).waits()
			s.app.reads(x("a"))
		})
	})
}
