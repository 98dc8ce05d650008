package bosh_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readHeader returns what one Read of the stream yields.
func readOnce(t *testing.T, conn io.Reader) string {
	t.Helper()
	b := make([]byte, 10_000)
	n, err := conn.Read(b)
	require.NoError(t, err)
	return string(b[:n])
}

// pitfall runs a test with a session for XMPP that was created with attributes.
func pitfall(t *testing.T, name, attrs string, f func(t *testing.T, conn *bosh.Stream, p *peer)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, p, c := connectXMPP(t, attrs)
			header := readOnce(t, conn)
			require.True(t, strings.HasPrefix(header, "<stream:stream "), "%s", header)
			write(t, conn, serverHeader+"<stream:features/>")
			p.created = c.Wait()
			p.sid = p.created.Attr("sid")
			f(t, conn, p)
		})
	})
}

func TestPitfall3To5(t *testing.T) {
	const begin = "<stream:stream xmlns='jabber:client' xmlns:stream='" + nsStream + "' to='example.com' "
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
				assert.Equal(t, begin+test.header, readOnce(t, conn), "unasked")
				write(t, conn, serverHeader+"<stream:features/>"+success)
				p.sid = c.Wait().Attr("sid")
				p.post("", "xmlns:xmpp='"+nsXBOSH+"' xmpp:restart='true'")
				assert.Equal(t, begin+test.restarted, readOnce(t, conn))
			})
		})
	}
	pitfall(t, "pitfall 4 and 5: what a restart says of them counts", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		write(t, conn, success)
		p.send("")
		p.post("", "xmlns:xmpp='"+nsXBOSH+"' xmpp:restart='true' from='a&amp;&apos;b@example.com' xml:lang='de'")
		assert.Equal(t, begin+"from='a&amp;&#39;b@example.com' version='1.0' xml:lang='de'>",
			strings.ReplaceAll(readOnce(t, conn), "&apos;", "&#39;"))
		assert.Equal(t, "a&'b@example.com", conn.Opening().From)
	})
}

func TestPitfall9(t *testing.T) {
	pitfall(t, "pitfall 9: no white space between payloads", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		p.post("\n\t<message id='1'>\n </message>\r\n  <message id='2'/>\n")
		assert.Equal(t, "<message xmlns='jabber:client' id='1'>\n </message><message xmlns='jabber:client' id='2'/>", readOnce(t, conn))
	})
	pitfall(t, "pitfall 9: a white space keepalive costs no request", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		c := p.hold("")
		for range 5 {
			write(t, conn, " \n")
			time.Sleep(second)
		}
		require.False(t, c.Answered())
		write(t, conn, " <message/> ")
		assert.Equal(t, "<message xmlns='jabber:client'/>", c.Wait().Payload())
	})
}

func TestPitfall10(t *testing.T) {
	pitfall(t, "pitfall 10: stanzas in the wrapper's namespace are meant to be in jabber:client", xmppCreation+" xmlns:q='urn:q'",
		func(t *testing.T, conn *bosh.Stream, p *peer) {
			p.post("<message><body>a</body><q:x/></message><iq xmlns='"+nsBind+"'/><presence xmlns='jabber:client'/>", "xmlns:q='urn:q'")
			assert.Equal(t, "<message xmlns='jabber:client' xmlns:q='urn:q'><body>a</body><q:x/></message>"+
				"<iq xmlns='jabber:client'/><presence xmlns='jabber:client'/>", readOnce(t, conn))
		})
}

func TestPitfall11(t *testing.T) {
	const stanzas = "<message><body>&amp; <![CDATA[<x>]]></body></message> <iq id='1' type='result'><q:a xmlns:q='u' q:b='/>'/></iq>"
	const want = "<message xmlns='jabber:client'><body>&amp; <![CDATA[<x>]]></body></message>" +
		"<iq xmlns='jabber:client' id='1' type='result'><q:a xmlns:q='u' q:b='/>'/></iq>"
	for _, chunk := range []int{1, 2, 7, 50, 1000} {
		pitfall(t, "pitfall 11: where a Write ends means nothing", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
			for b := stanzas; b != ""; {
				n := min(chunk, len(b))
				write(t, conn, b[:n])
				b = b[n:]
			}
			r := p.send("")
			assert.Equal(t, want, r.Payload())
			assert.Len(t, r.Payloads, 2)
		})
	}
	pitfall(t, "pitfall 11: replies made one by one go out on one answer", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		first, second := p.hold("<iq id='1'/>"), p.hold("<iq id='2'/>")
		write(t, conn, "<iq id='1'/>")
		write(t, conn, "<iq id='2'/>")
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
	pitfall(t, "pitfall 12: the header turns into attributes, also a second one", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		assert.Equal(t, "1.0", p.created.Attr("xmpp:version"))
		assert.Equal(t, "str-1", p.created.Attr("authid"))
		assert.Equal(t, "example.com", p.created.Attr("from"))
		assert.Equal(t, nsStream, p.created.Namespace("stream"))
		assert.Equal(t, "<stream:features/>", p.created.Payload())

		p.post(auth)
		synctest.Wait()
		write(t, conn, success)
		c := p.post("", restarting)
		synctest.Wait()
		write(t, conn, serverHeader+"<stream:features><bind/></stream:features>")
		r := c.Wait()
		assert.Equal(t, "<stream:features xmlns='jabber:client'><bind/></stream:features>", r.Payload())
		assert.Equal(t, nsStream, r.Namespace("stream"))
		assert.NotContains(t, r.String(), "<?xml")
		assert.NotContains(t, r.String(), "<stream:stream")
	})
	pitfall(t, "pitfall 12: the end tag ends the session", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		c := p.hold("")
		write(t, conn, "<message/></stream:stream>")
		r := c.Wait()
		assert.Equal(t, "<message xmlns='jabber:client'/>", r.Payload())
		if r.Attr("type") == "" {
			r = p.send("")
		}
		requireEnd(t, r, "")
		assert.NotContains(t, r.String(), "stream:stream")
	})
}

func TestPitfall13(t *testing.T) {
	const conflict = "<stream:error xmlns:stream='" + nsStream + "'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
	pitfall(t, "pitfall 13: a stream error that the server does not write is told by CloseWithError", xmppCreation,
		func(t *testing.T, conn *bosh.Stream, p *peer) {
			write(t, conn, "<message/>")
			require.NoError(t, conn.CloseWithError(&bosh.Error{Condition: bosh.RemoteStreamError, Payload: []byte(conflict)}))
			r := p.send("")
			requireEnd(t, r, bosh.RemoteStreamError)
			assert.Equal(t, "<message xmlns='jabber:client'/>"+conflict, r.Payload())
		})
	pitfall(t, "pitfall 13: one that it does write goes out whole", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		write(t, conn, "<message/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		require.NoError(t, conn.Close())
		r := p.send("")
		requireEnd(t, r, bosh.RemoteStreamError)
		assert.Equal(t, nsStream, r.Namespace("stream"))
		assert.Equal(t, "<message xmlns='jabber:client'/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", r.Payload())
	})
}

func TestPitfall15And16(t *testing.T) {
	pitfall(t, "pitfall 15: the end tag is read before the end, and writes are taken meanwhile", xmppCreation,
		func(t *testing.T, conn *bosh.Stream, p *peer) {
			requireEnd(t, p.send("<presence type='unavailable'/>", "type='terminate'"), "")
			b, err := io.ReadAll(conn)
			require.NoError(t, err)
			assert.Equal(t, "<presence xmlns='jabber:client' type='unavailable'/></stream:stream>", string(b))
			write(t, conn, "<message/></stream:stream>")
			assert.Equal(t, []string{"<message xmlns='jabber:client'/>"}, undelivered(conn))
			_, err = conn.Write([]byte("<message/>"))
			assert.Error(t, err, "after the server's own end")
		})
	pitfall(t, "pitfall 15: but not without end", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		requireEnd(t, p.send("", "type='terminate'"), "")
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			_, err = conn.Write([]byte("<message>" + strings.Repeat("x", 1000) + "</message>"))
		}
		assert.ErrorIs(t, err, io.EOF)
		assert.Less(t, n, 300)
	})
	pitfall(t, "pitfall 15: after the end Write says what Read says", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		time.Sleep(78 * second)
		_, rerr := conn.Read(make([]byte, 1))
		_, werr := conn.Write([]byte("</stream:stream>"))
		for _, err := range []error{rerr, werr} {
			assert.ErrorIs(t, err, &bosh.Error{})
			assert.ErrorContains(t, err, "inactive")
		}
	})
	pitfall(t, "pitfall 16: the server's end is answered when the client has been told", xmppCreation, func(t *testing.T, conn *bosh.Stream, p *peer) {
		write(t, conn, "</stream:stream>")
		end := goRead(conn)
		require.True(t, pending(end))
		requireEnd(t, p.send(""), "")
		assert.Equal(t, result{len("</stream:stream>"), nil}, <-end)
		assert.Equal(t, io.EOF, (<-goRead(conn)).err)
	})
}
