package stream_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pitfall runs a test with a session for XMPP that was created with attributes.
func pitfall(t *testing.T, name, attrs string, f func(t *testing.T, conn *bosh.Stream, p *Peer)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, p, c := connectXMPP(t, attrs)
			header := ReadOnce(t, conn)
			require.True(t, strings.HasPrefix(header, "<stream:stream "), "%s", header)
			Write(t, conn, ServerHeader+"<stream:features/>")
			p.Created = c.Wait()
			p.Sid = p.Created.Attr("sid")
			f(t, conn, p)
		})
	})
}

func TestPitfall3To5(t *testing.T) {
	const begin = "<stream:stream xmlns='jabber:client' xmlns:stream='" + NsStream + "' to='example.com' "
	for _, test := range []struct{ name, attrs, header, restarted string }{
		{"pitfall 3: the server waits for a header with all it needs", xmppCreation,
			"version='1.0' xml:lang='en'>", "version='1.0' xml:lang='en'>"},
		{"pitfall 3: a client that gives no version has one all the same", "",
			"version='1.0' xml:lang='en'>", "version='1.0' xml:lang='en'>"},
		{"pitfall 4: from is what the client said, and stays", "from='juliet@example.com' " + xmppCreation,
			"from='juliet@example.com' version='1.0' xml:lang='en'>", "from='juliet@example.com' version='1.0' xml:lang='en'>"},
		{"pitfall 5: the language is passed on, escaped", "x='&lt;' " + xmppCreation,
			"version='1.0' xml:lang='en'>", "version='1.0' xml:lang='en'>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, p, c := connectXMPP(t, test.attrs)
				assert.Equal(t, begin+test.header, ReadOnce(t, conn), "unasked")
				Write(t, conn, ServerHeader+"<stream:features/>"+Success)
				p.Sid = c.Wait().Attr("sid")
				p.Post("", "xmlns:xmpp='"+NsXBOSH+"' xmpp:restart='true'")
				assert.Equal(t, begin+test.restarted, ReadOnce(t, conn))
			})
		})
	}
	pitfall(t, "pitfall 4 and 5: what a restart says of them counts", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		Write(t, conn, Success)
		p.Send("")
		p.Post("", "xmlns:xmpp='"+NsXBOSH+"' xmpp:restart='true' from='a&amp;&apos;b@example.com' xml:lang='de'")
		assert.Equal(t, begin+"from='a&amp;&#39;b@example.com' version='1.0' xml:lang='de'>",
			strings.ReplaceAll(ReadOnce(t, conn), "&apos;", "&#39;"))
		assert.Equal(t, "a&'b@example.com", conn.Opening().From)
	})
}

func TestPitfall9(t *testing.T) {
	pitfall(t, "pitfall 9: no white space between payloads", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		p.Post("\n\t<message id='1'>\n </message>\r\n  <message id='2'/>\n")
		assert.Equal(t, "<message xmlns='jabber:client' id='1'>\n </message><message xmlns='jabber:client' id='2'/>", ReadOnce(t, conn))
	})
	pitfall(t, "pitfall 9: a white space keepalive costs no request", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		c := p.Hold("")
		for range 5 {
			Write(t, conn, " \n")
			time.Sleep(Second)
		}
		require.False(t, c.Answered())
		Write(t, conn, " <message/> ")
		assert.Equal(t, "<message xmlns='jabber:client'/>", c.Wait().Payload())
	})
}

func TestPitfall10(t *testing.T) {
	pitfall(t, "pitfall 10: stanzas in the wrapper's namespace are meant to be in jabber:client", xmppCreation+" xmlns:q='urn:q'",
		func(t *testing.T, conn *bosh.Stream, p *Peer) {
			p.Post("<message><body>a</body><q:x/></message><iq xmlns='"+NsBind+"'/><presence xmlns='jabber:client'/>", "xmlns:q='urn:q'")
			assert.Equal(t, "<message xmlns='jabber:client' xmlns:q='urn:q'><body>a</body><q:x/></message>"+
				"<iq xmlns='jabber:client'/><presence xmlns='jabber:client'/>", ReadOnce(t, conn))
		})
}

func TestPitfall11(t *testing.T) {
	const stanzas = "<message><body>&amp; <![CDATA[<x>]]></body></message> <iq id='1' type='result'><q:a xmlns:q='u' q:b='/>'/></iq>"
	const want = "<message xmlns='jabber:client'><body>&amp; <![CDATA[<x>]]></body></message>" +
		"<iq xmlns='jabber:client' id='1' type='result'><q:a xmlns:q='u' q:b='/>'/></iq>"
	for _, chunk := range []int{1, 2, 7, 50, 1000} {
		pitfall(t, "pitfall 11: where a Write ends means nothing", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
			for b := stanzas; b != ""; {
				n := min(chunk, len(b))
				Write(t, conn, b[:n])
				b = b[n:]
			}
			r := p.Send("")
			assert.Equal(t, want, r.Payload())
			assert.Len(t, r.Payloads, 2)
		})
	}
	pitfall(t, "pitfall 11: replies made one by one go out on one answer", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		first, second := p.Hold("<iq id='1'/>"), p.Hold("<iq id='2'/>")
		Write(t, conn, "<iq id='1'/>")
		Write(t, conn, "<iq id='2'/>")
		synctest.Wait()
		assert.Contains(t, first.Wait().Payload(), "id='1'")
		all := first.Wait().Payload()
		if second.Answered() {
			all += second.Wait().Payload()
		}
		assert.Equal(t, "<iq xmlns='jabber:client' id='1'/><iq xmlns='jabber:client' id='2'/>", all)
	})
}

func TestPitfall12(t *testing.T) {
	pitfall(t, "pitfall 12: the header turns into attributes, also a second one", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		assert.Equal(t, "1.0", p.Created.Attr("xmpp:version"))
		assert.Equal(t, "str-1", p.Created.Attr("authid"))
		assert.Equal(t, "example.com", p.Created.Attr("from"))
		assert.Equal(t, NsStream, p.Created.Namespace("stream"))
		assert.Equal(t, "<stream:features/>", p.Created.Payload())

		p.Post(auth)
		synctest.Wait()
		Write(t, conn, Success)
		c := p.Post("", restarting)
		synctest.Wait()
		Write(t, conn, ServerHeader+"<stream:features><bind/></stream:features>")
		r := c.Wait()
		assert.Equal(t, "<stream:features xmlns='jabber:client'><bind/></stream:features>", r.Payload())
		assert.Equal(t, NsStream, r.Namespace("stream"))
		assert.NotContains(t, r.String(), "<?xml")
		assert.NotContains(t, r.String(), "<stream:stream")
	})
	pitfall(t, "pitfall 12: the end tag ends the session", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		c := p.Hold("")
		Write(t, conn, "<message/></stream:stream>")
		r := c.Wait()
		assert.Equal(t, "<message xmlns='jabber:client'/>", r.Payload())
		if r.Attr("type") == "" {
			r = p.Send("")
		}
		RequireEnd(t, r, "")
		assert.NotContains(t, r.String(), "stream:stream")
	})
}

func TestPitfall13(t *testing.T) {
	const conflict = "<stream:error xmlns:stream='" + NsStream + "'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
	pitfall(t, "pitfall 13: a stream error that the server does not write is told by CloseWithError", xmppCreation,
		func(t *testing.T, conn *bosh.Stream, p *Peer) {
			Write(t, conn, "<message/>")
			require.NoError(t, conn.CloseWithError(&bosh.Error{Condition: bosh.RemoteStreamError, Payload: []byte(conflict)}))
			r := p.Send("")
			RequireEnd(t, r, bosh.RemoteStreamError)
			assert.Equal(t, "<message xmlns='jabber:client'/>"+conflict, r.Payload())
		})
	pitfall(t, "pitfall 13: one that it does write goes out whole", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		Write(t, conn, "<message/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		require.NoError(t, conn.Close())
		r := p.Send("")
		RequireEnd(t, r, bosh.RemoteStreamError)
		assert.Equal(t, NsStream, r.Namespace("stream"))
		assert.Equal(t, "<message xmlns='jabber:client'/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", r.Payload())
	})
}

func TestPitfall15And16(t *testing.T) {
	pitfall(t, "pitfall 15: the end tag is read before the end, and writes are taken meanwhile", xmppCreation,
		func(t *testing.T, conn *bosh.Stream, p *Peer) {
			RequireEnd(t, p.Send("<presence type='unavailable'/>", "type='terminate'"), "")
			b, err := io.ReadAll(conn)
			require.NoError(t, err)
			assert.Equal(t, "<presence xmlns='jabber:client' type='unavailable'/></stream:stream>", string(b))
			Write(t, conn, "<message/></stream:stream>")
			assert.Equal(t, []string{"<message xmlns='jabber:client'/>"}, Lost(conn))
			_, err = conn.Write([]byte("<message/>"))
			assert.Error(t, err, "after the server's own end")
		})
	pitfall(t, "pitfall 15: but not without end", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		RequireEnd(t, p.Send("", "type='terminate'"), "")
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			_, err = conn.Write([]byte("<message>" + strings.Repeat("x", 1000) + "</message>"))
		}
		assert.ErrorIs(t, err, io.EOF)
		assert.Less(t, n, 300)
	})
	pitfall(t, "pitfall 15: after the end Write says what Read says", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		time.Sleep(78 * Second)
		_, rerr := conn.Read(make([]byte, 1))
		_, werr := conn.Write([]byte("</stream:stream>"))
		for _, err := range []error{rerr, werr} {
			assert.ErrorIs(t, err, &bosh.Error{})
			assert.ErrorContains(t, err, "inactive")
		}
	})
	pitfall(t, "pitfall 16: the server's end is answered when the client has been told", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *Peer) {
		Write(t, conn, "</stream:stream>")
		end := GoRead(conn)
		require.True(t, Pending(end))
		RequireEnd(t, p.Send(""), "")
		assert.Equal(t, Result{N: len("</stream:stream>"), Err: nil}, <-end)
		assert.Equal(t, io.EOF, (<-GoRead(conn)).Err)
	})
}
