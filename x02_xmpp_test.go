package bosh_test

import (
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
	if !strings.Contains(attrs, "rid=") {
		attrs = "rid='1000' " + attrs
	}
	bubble(t, name, o, func(b *bench) {
		s := &session{b: b, creator: b.post(complete("<body " + attrs + "/>"))}
		s.app = b.app(0)
		s.app.read()
		s.app.writes(serverHeader + features)
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

	xmpp(t, "X2-7 X4-6 starttls and compression are transparent, as the README says", func(b *bench, s *session) {
		offer := "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" +
			"<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression></stream:features>"
		held := s.send(1001)
		s.app.writes(offer)
		held.getsNow(carrying(offer))
		// They do nothing to the session, whoever talks of them.
		starttls := "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
		next := s.send(1002, starttls)
		s.app.reads(starttls)
		s.app.writes("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		next.getsNow(carrying("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"))
		s.alive()
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
	header(t, "X3-2 without one the usual is claimed", "to='example.com'", "to='example.com' version='1.0'")
	header(t, "X3-3 to and from go into the header", "to='example.com' from='a@example.com' xml:lang='de'",
		"to='example.com' from='a@example.com' version='1.0' xml:lang='de'")
	header(t, "X3-3 whatever is in them", "to=\"a'&lt;&amp;\"", "to='a&apos;&lt;&amp;' version='1.0'")

	xmpp(t, "X3-4 a stream tag of the client's is refused", func(b *bench, s *session) {
		s.send(1001, "<stream:stream xmlns='jabber:client' "+streamNS+" to='example.com'>").getsNow(condition(bosh.BadRequest))
		s.app.reads("")
		s.gone()
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
