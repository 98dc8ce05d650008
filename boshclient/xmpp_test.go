package boshclient_test

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"os"
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
	head     = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
	open     = "<?xml version='1.0'?>" + head + " to='example.com' version='1.0'>"
	features = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>"

	// createdXMPP is a creation answer of an XMPP server, without its end.
	createdXMPP = "<body sid='s' authid='id1' xmpp:version='1.0' from='example.com' requests='2' hold='1' wait='60' inactivity='60' ver='1.6'" +
		" xmlns:xmpp='urn:xmpp:xbosh' xmlns:stream='http://etherx.jabber.org/streams'" + ns
)

// An XMPP stream is as it is on TCP: with headers, features, stanzas in their
// namespace, restarts and an end.
func TestXMPP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		restart := make(chan string, 2)
		s := &script{answer: func(n int, _ *http.Request, b *boshtest.Body) (any, error) {
			switch {
			case n == 0:
				return createdXMPP + "><stream:features/></body>", nil
			case b.Attr("xmpp:restart") == "true":
				return <-restart, nil
			case len(b.Payloads) > 0:
				return body("<message id='1'/><iq xmlns='jabber:client' id='2'><q xmlns='u'/></iq>"), nil
			case b.Attr("type") == "terminate":
				return body("<presence xmlns='jabber:client'/>", "type='terminate'"), nil
			}
			return nil, nil
		}}
		c := s.dial(t, boshclient.Options{From: "me@example.com"})
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		_, err := c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "the client has not begun its stream")
		require.NoError(t, c.SetReadDeadline(time.Time{}))

		write(t, c, open[:50])
		write(t, c, open[50:])
		requireRead(t, c, head+" id='id1' from='example.com' version='1.0'>")
		requireRead(t, c, features)
		write(t, c, " \n<message ")
		write(t, c, "to='a'><body>&lt;</body></message>  ")
		requireRead(t, c, "<message xmlns='jabber:client' id='1'/>")
		requireRead(t, c, "<iq xmlns='jabber:client' id='2'><q xmlns='u'/></iq>")
		all := s.requests()
		assert.Equal(t, "<message xmlns='jabber:client' to='a'><body>&lt;</body></message>", string(all[2].Payloads[0]))

		write(t, c, strings.Replace(open, " to=", " from='me@example.com/x' xml:lang='de' to=", 1))
		restart <- body("<stream:features/>", "authid='id2'", "xml:lang='de'") // and no declaration of the prefix
		requireRead(t, c, head+" id='id2' from='example.com' version='1.0' xml:lang='de'>"+features)
		all = s.requests()
		last := all[len(all)-1]
		if last.Attr("xmpp:restart") == "" {
			last = all[len(all)-2]
		}
		assert.Equal(t, "true", last.Attr("xmpp:restart"))
		assert.Equal(t, "example.com", last.Attr("to"))
		assert.Equal(t, "de", last.Attr("xml:lang"))
		assert.Equal(t, "me@example.com/x", last.Attr("from"))

		write(t, c, "</stream:stream>")
		_, err = c.Write([]byte("<message/>"))
		assert.Error(t, err)
		requireRead(t, c, "<presence xmlns='jabber:client'/></stream:stream>")
		_, err = c.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		assert.NoError(t, c.Close())
	})
}

// The features of a restart may come on the answer to an older request, or late; the
// header goes before them.
func TestRestartHeader(t *testing.T) {
	for name, answers := range map[string]struct{ older, own, next string }{
		"own":   {"", "<stream:features/>", ""},
		"older": {"<stream:features/>", "", ""},
		"next":  {"", "", "<stream:features/>"},
		"after": {"<message/>", "<stream:features/>", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				poll := make(chan bool)
				s := &script{answer: func(n int, r *http.Request, b *boshtest.Body) (any, error) {
					switch {
					case n == 0:
						return createdXMPP + "><stream:features/></body>", nil
					case n == 1:
						select {
						case <-poll:
						case <-r.Context().Done():
							return never{}, nil
						}
						return body(answers.older), nil
					case b.Attr("xmpp:restart") == "true":
						close(poll)
						return body(answers.own), nil
					case answers.next != "" && n == 3:
						return body(answers.next), nil
					}
					return nil, nil
				}}
				c := s.dial(t, boshclient.Options{})
				write(t, c, open)
				requireRead(t, c, head+" id='id1' from='example.com' version='1.0'>"+features)
				time.Sleep(time.Second) // it polls
				write(t, c, open)
				if name == "after" {
					requireRead(t, c, "<message xmlns='jabber:client'/>")
				}
				requireRead(t, c, head+" id='bosh-")
				rest := make([]byte, 200)
				n, err := c.Read(rest)
				require.NoError(t, err)
				got := string(rest[:n])
				if !strings.HasSuffix(got, features) {
					n, err = c.Read(rest)
					require.NoError(t, err)
					got += string(rest[:n])
				}
				assert.Regexp(t, `^[0-9a-z]+' from='example.com' version='1.0'><stream:features [^>]*/>$`, got)
			})
		})
	}
}

// What ends a stream of XMPP.
func TestXMPPEnds(t *testing.T) {
	connect := func(t *testing.T, end string) (*boshclient.Conn, *script) {
		s := &script{answer: func(n int, _ *http.Request, b *boshtest.Body) (any, error) {
			switch n {
			case 0:
				return createdXMPP + "><stream:features/></body>", nil
			case 1:
				if end == "" {
					return nil, nil
				}
				time.Sleep(time.Second)
				return end, nil
			}
			return body("", "type='terminate'"), nil
		}}
		c := s.dial(t, boshclient.Options{})
		write(t, c, open)
		requireRead(t, c, head+" id='id1' from='example.com' version='1.0'>"+features)
		return c, s
	}
	synctest.Test(t, func(t *testing.T) {
		const conflict = "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
		c, _ := connect(t, "<body type='terminate' condition='remote-stream-error'"+ns+" xmlns:stream='http://etherx.jabber.org/streams'>"+conflict+"</body>")
		declared := strings.Replace(conflict, "error>", "error xmlns:stream='http://etherx.jabber.org/streams'>", 1)
		requireRead(t, c, declared)
		_, err := c.Read(make([]byte, 1))
		var e *boshclient.Error
		require.True(t, errors.As(err, &e), "%v", err)
		assert.ErrorIs(t, err, boshclient.RemoteStreamError)
		assert.Equal(t, declared, string(e.Payload))
	})
	synctest.Test(t, func(t *testing.T) {
		c, s := connect(t, body("<message/>", "type='terminate'"))
		requireRead(t, c, "<message xmlns='jabber:client'/></stream:stream>")
		_, err := c.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		_, err = c.Write([]byte("<message/>"))
		assert.ErrorIs(t, err, io.EOF, "nobody takes it")
		write(t, c, "</stream:stream>") // as on TCP
		_, err = c.Write([]byte("x"))
		assert.Error(t, err)
		assert.Len(t, s.requests(), 2)
	})
	synctest.Test(t, func(t *testing.T) {
		c, s := connect(t, "")
		write(t, c, "<message/><stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
		<-c.Context().Done()
		all := s.requests()
		last := all[len(all)-1]
		assert.Equal(t, "terminate", last.Attr("type"))
		assert.Equal(t, "remote-stream-error", last.Attr("condition"))
		assert.Contains(t, string(last.Payloads[len(last.Payloads)-1]), "<reset")
		assert.Equal(t, "http://etherx.jabber.org/streams", last.Namespace("stream"))
	})
	for _, bad := range []string{"<a></b>", "text", "<!-- c -->", "<p:a/>", "</stream:other>"} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := connect(t, "")
			_, err := c.Write([]byte(bad))
			assert.Error(t, err, bad)
			_, again := c.Write([]byte("<message/>"))
			assert.Equal(t, errors.Unwrap(err), errors.Unwrap(again))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		c := (&script{}).dial(t, boshclient.Options{})
		_, err := c.Write([]byte(strings.Replace(open, "example.com", "other.example", 1)))
		assert.ErrorContains(t, err, "set Options.To")
		c = (&script{}).dial(t, boshclient.Options{})
		write(t, c, strings.Replace(open, "example.com", "EXAMPLE.com.", 1))
		_, err = c.ReadElement(t.Context())
		assert.Error(t, err)
		assert.Error(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
		assert.Error(t, c.Restart(t.Context()))
	})
}

// XMPP by whole elements.
func TestXMPPByElements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(n int, _ *http.Request, b *boshtest.Body) (any, error) {
			switch {
			case n == 0:
				return createdXMPP + "><stream:features/></body>", nil
			case b.Attr("xmpp:restart") == "true":
				return body("<stream:features/>"), nil
			case len(b.Payloads) > 0:
				return body("<message/>"), nil
			}
			return nil, nil
		}}
		c := s.dial(t, boshclient.Options{Framing: boshclient.Elements, Version: "1.0"})
		read := func(want string) {
			t.Helper()
			el, err := c.ReadElement(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, string(el))
		}
		read(features)
		require.NoError(t, c.WriteElement(t.Context(), []byte("<presence/><a xmlns='u'/>")))
		read("<message xmlns='jabber:client'/>")
		require.NoError(t, c.Restart(t.Context()))
		read(features)
		write(t, c, "<message/>")
		read("<message xmlns='jabber:client'/>")
		var sent []string
		for _, b := range s.requests() {
			for _, p := range b.Payloads {
				sent = append(sent, string(p))
			}
		}
		assert.Equal(t, []string{"<presence xmlns='jabber:client'/>", "<a xmlns='u'/>", "<message xmlns='jabber:client'/>"}, sent)
	})
}

func TestElements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(n int, _ *http.Request, b *boshtest.Body) (any, error) {
			if len(b.Payloads) > 0 {
				return "<b:body xmlns:b='" + boshtest.NSBind + "' xmlns:p='u'><p:a> x </p:a> <c xmlns='v'/>\n<d/></b:body>", nil
			}
			return nil, nil
		}}
		o := elements
		o.MaxElement = 50
		c := s.dial(t, o)
		for _, bad := range []string{"<a>", "<a></b>", "x", "<a/>x", "<p:a/>", "<a xmlns='u'>" + strings.Repeat("x", 50) + "</a>"} {
			assert.Error(t, c.WriteElement(t.Context(), []byte(bad)), bad)
		}
		require.NoError(t, c.WriteElement(t.Context(), nil))
		require.NoError(t, c.WriteElement(t.Context(), []byte("<a/>")))
		for _, want := range []string{"<p:a xmlns:p='u'> x </p:a>", "<c xmlns='v'/>", "<d xmlns=''/>"} {
			el, err := c.ReadElement(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, string(el))
		}
		write(t, c, "<a xmlns='u'")
		assert.ErrorContains(t, c.WriteElement(t.Context(), []byte("<a/>")), "middle of an element")
		write(t, c, "/>")
		require.NoError(t, c.WriteElement(t.Context(), []byte("<a/>")))
		assert.Error(t, c.Restart(t.Context()))
	})
}

// Further attributes go into the creation, or into each request.
func TestAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		o := elements
		o.Attr = []xml.Attr{{Name: xml.Name{Local: "secret"}, Value: "<&'"}, {Name: xml.Name{Space: "urn:auth", Local: "token"}, Value: ""}}
		o.Attributes = func(rid int64) []xml.Attr {
			return []xml.Attr{{Name: xml.Name{Space: "urn:n", Local: "n"}, Value: "x"}}
		}
		s.dial(t, o)
		synctest.Wait()
		all := s.requests()
		require.Len(t, all, 2)
		assert.Equal(t, "<&'", all[0].Attr("secret"))
		_, has := all[0].Lookup("a1:token")
		assert.True(t, has)
		assert.Equal(t, "urn:auth", all[0].Namespace("a1"))
		assert.Equal(t, "x", all[0].Attr("a2:n"))
		assert.Equal(t, "x", all[1].Attr("a0:n"))
		assert.Equal(t, "", all[1].Attr("secret"))
	})
	for _, bad := range []xml.Attr{{Name: xml.Name{Local: "sid"}}, {Name: xml.Name{Local: "a b"}}, {Name: xml.Name{Local: ""}},
		{Name: xml.Name{Local: "a"}, Value: "\x00"}, {Name: xml.Name{Local: "x:y"}}, {Name: xml.Name{Local: "xmlns"}}} {
		o := elements
		o.Attr = []xml.Attr{bad}
		_, err := (&script{}).tryDial(t, o)
		assert.Error(t, err, "%+v", bad)
		o.Attr, o.Attributes = nil, func(int64) []xml.Attr { return []xml.Attr{bad} }
		_, err = (&script{}).tryDial(t, o)
		assert.Error(t, err, "%+v", bad)
		synctest.Test(t, func(t *testing.T) {
			n := 0
			o.Attributes = func(int64) []xml.Attr {
				if n++; n == 1 {
					return nil
				}
				return []xml.Attr{bad}
			}
			c := (&script{}).dial(t, o)
			<-c.Context().Done()
			assert.ErrorContains(t, context.Cause(c.Context()), "attribute")
		})
	}
}
