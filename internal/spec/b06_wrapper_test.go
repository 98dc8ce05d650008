package spec_test

import (
	"encoding/xml"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// XEP-0124, section 6: the body wrapper.
func TestWrapper(t *testing.T) {
	t.Run("B6-1 the root is body in its namespace", func(t *testing.T) {
		for _, body := range []string{
			"<body rid='1' to='example.com' ver='1.11'/>",
			"<body xmlns='urn:other' rid='1' to='example.com' ver='1.11'/>",
			"<foo/>",
			"<foo xmlns='" + boshtest.NSBind + "' rid='1'/>",
			"",
			" ",
			"text",
		} {
			Bubble(t, body, StdOptions, func(b *Harness) {
				b.Post(body).GetsNow(Condition(bosh.BadRequest))
			})
		}
		Bubble(t, "whatever its prefix", StdOptions, func(b *Harness) {
			c := b.Post("<b:body xmlns:b='" + boshtest.NSBind + "' rid='1' to='example.com' ver='1.11'/>")
			assert.NotEmpty(b, c.Body().Attr("sid"))
		})
	})

	// All of these end the session, and nothing of them reaches the
	// application.
	for name, payload := range map[string]string{
		"B6-2 malformed":                          "<a></b>",
		"B6-2 an attribute twice":                 "<a b='1' b='2'/>",
		"B6-2 no quotes":                          "<a b=1/>",
		"B6-2 a control character":                "<a>\x01</a>",
		"B6-2 its reference":                      "<a>&#1;</a>",
		"B6-3 a prefix without declaration":       "<p:x/>",
		"B6-3 on an attribute":                    "<a p:x=''/>",
		"B6-3 an attribute twice, by namespace":   "<a xmlns:p='u' xmlns:q='u' p:x='' q:x=''/>",
		"B6-5 a comment":                          "<!-- x -->",
		"B6-5 a comment in a payload":             "<a><!-- x --></a>",
		"B6-6 a processing instruction":           "<?php x?>",
		"B6-6 one in a payload":                   "<a><?php x?></a>",
		"B6-8 an entity":                          "<a>&nbsp;</a>",
		"B6-8 an entity in an attribute":          "<a b='&foo;'/>",
		"B6-9 B6-15 text of the wrapper's own":    "hello<x xmlns='u'/>",
		"B6-9 behind a payload":                   "<x xmlns='u'/>hello",
		"B6-9 CDATA":                              "<![CDATA[hello]]>",
		"B6-9 a reference, even of a white space": "&#32;",
	} {
		Std(t, name, func(b *Harness, s *Session) {
			held := s.Send(1001)
			b.Post(Complete("<body rid='1002' sid='" + s.Sid + "'>" + X("before") + payload + "</body>")).GetsNow(Condition(bosh.BadRequest))
			held.GetsNow(Condition(bosh.OtherRequest))
			s.App.Reads("")
			s.Send(1003).GetsNow(Condition(bosh.ItemNotFound))
		})
	}

	t.Run("B6-4 B6-15 the body must be whole, and nothing may follow", func(t *testing.T) {
		for name, cut := range map[string]func(body string) string{
			"in a payload": func(body string) string { return body[:len(body)-len("/x></body>")] },
			"no end tag":   func(body string) string { return strings.TrimSuffix(body, "</body>") },
			"two bodies":   func(body string) string { return body + body },
			"text":         func(body string) string { return body + "x" },
			"a comment":    func(body string) string { return body + "<!-- x -->" },
		} {
			Std(t, name, func(b *Harness, s *Session) {
				b.Post(cut(s.Text("1001", X("a")))).GetsNow(Condition(bosh.BadRequest))
				s.App.Reads("")
				s.Gone()
			})
		}
		Std(t, "but white space", func(b *Harness, s *Session) {
			b.Post(s.Text("1001", X("a")) + " \r\n\t").Waits()
			s.App.Reads(X("a"))
		})
		Std(t, "cut in the start tag, it is of no session", func(b *Harness, s *Session) {
			b.Post(s.Text("1001")[:len(s.Text("1001"))-4]).GetsNow(Condition(bosh.BadRequest))
			s.Alive()
		})
	})

	t.Run("B6-6 an XML declaration and a byte order mark are accepted", func(t *testing.T) {
		for _, start := range []string{"<?xml version='1.0'?>", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "\ufeff", "\ufeff<?xml version='1.0'?>\n", "\r\n"} {
			Std(t, start, func(b *Harness, s *Session) {
				c := b.Post(start + s.Text("1001", X("a")))
				c.Waits()
				s.App.Reads(X("a"))
			})
		}
	})

	t.Run("B6-7 a document type is refused before it is read", func(t *testing.T) {
		lol := "<!DOCTYPE b [<!ENTITY a0 'lol'>"
		for i := range 30 {
			e := func(i int) string { return "a" + string(rune('a'+i)) }
			lol += "<!ENTITY " + e(i+1) + " '" + strings.Repeat("&"+e(i)+";", 10) + "'>"
		}
		for name, doctype := range map[string]string{
			"internal": lol + "]>", "external": "<!DOCTYPE b SYSTEM 'http://example.com/b.dtd'>", "unfinished": "<!DOCTYPE b [",
		} {
			Std(t, name, func(b *Harness, s *Session) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				b.Post(doctype + s.Text("1001", "<x xmlns='u'>&ae;</x>")).GetsNow(Condition(bosh.BadRequest))
				runtime.ReadMemStats(&after)
				assert.Less(b, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
				s.App.Reads("")
				s.Alive() // neither sid nor rid can be believed
			})
		}
	})

	Std(t, "B6-8 the predefined entities and character references", func(b *Harness, s *Session) {
		text := "&#x20AC;&#8364;&amp;&lt;&gt;&quot;&apos;"
		s.Send(1001, X(text))
		var v struct {
			Text string `xml:",chardata"`
		}
		require.NoError(b, xml.Unmarshal([]byte(s.App.Text()), &v))
		assert.Equal(b, "€€&<>\"'", v.Text)
	})

	Std(t, "B6-9 white space between payloads", func(b *Harness, s *Session) {
		s.Send(1001, "<x xmlns='u'/>\n \t\r\n"+X("b")+"\n")
		s.App.Reads("<x xmlns='u'/>" + X("b"))
	})
	Std(t, "B6-9 B3-1 and none is made, nor a wrapper forwarded", func(b *Harness, s *Session) {
		held := s.Send(1001, X("a"), X("b"))
		s.App.Reads(X("a") + X("b"))
		s.App.Writes("\n" + X("1") + "\n " + X("2"))
		assert.Equal(b, Complete(Answer(X("1"), X("2"))), string(held.Answer().Body))
	})

	Std(t, "B6-10 payloads of several namespaces in their order", func(b *Harness, s *Session) {
		all := []string{"<a xmlns='urn:a'> t <b xmlns=''/> </a>", "<c:c xmlns:c='urn:c' c:d='e'/>", "<f xmlns='urn:f'><![CDATA[<&]]></f>"}
		s.Send(1001, all...)
		s.App.Reads(strings.Join(all, ""))
	})

	Std(t, "B6-11 a request without rid leaves its session alone", func(b *Harness, s *Session) {
		b.Post(Complete("<body sid='" + s.Sid + "'>" + X("a") + "</body>")).GetsNow(Condition(bosh.BadRequest))
		s.App.Reads("")
		s.App.Writes(X("1"))
		s.Send(1001).GetsNow(Answer(X("1")))
	})

	Std(t, "B6-12 declarations on the wrapper are kept", func(b *Harness, s *Session) {
		s.Send(1001, "xmlns:j='urn:j'", "xmlns:k='urn:k'", "<j:a><j:b k:c='d'/></j:a>", "<e xmlns='urn:e' xmlns:j='urn:l'><j:f/></e>")
		assert.Equal(b, []string{"urn:j a", "urn:j b", "urn:k@c", "urn:e e", "urn:l f"}, names(b, s.App.Text()))
	})

	Bubble(t, "B6-13 those on the application's header too", With(func(o *bosh.Options) { o.Framing = bosh.XMPP; o.CreateTimeout = -1 }), func(b *Harness) {
		s := b.Create()
		held := s.Send(1001)
		s.App.Writes("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:j='urn:j' version='1.0'>")
		s.App.Writes("<message><j:a/><body>x</body></message>")
		got := names(b, string(held.Answer().Body))
		assert.Equal(b, []string{boshtest.NSBind + " body", boshtest.NSXMPP + "@version", "jabber:client message", "urn:j a", "jabber:client body"}, got)
	})
	Std(t, "B6-13 and none is inherited from the wrapper", func(b *Harness, s *Session) {
		held := s.Send(1001)
		s.App.Writes("<a><b/></a>")
		assert.Equal(b, []string{boshtest.NSBind + " body", " a", " b"}, names(b, string(held.Answer().Body)))
	})

	Std(t, "B6-14 unknown attributes are ignored", func(b *Harness, s *Session) {
		c := s.Send(1001, "secure='true' window='9' xmlns:f='urn:f' f:x='1' f:rid='7' requests='50' inactivity='1' polling='0' report='3' time='4' charsets='x'")
		c.GetsAfter(Patience, Empty)
		b.Wait(29 * time.Second)
		s.Send(1002).Waits()
		s.Send(1005).GetsNow(Condition(bosh.ItemNotFound))
	})
	Bubble(t, "B6-14 also at creation", StdOptions, func(b *Harness) {
		s := b.Create(StdAttrs, "secure='true' window='9' requests='50' inactivity='1' xmlns:f='urn:f' f:x='1'")
		assert.Equal(b, "2", s.Granted.Attr("requests"))
		assert.Equal(b, "30", s.Granted.Attr("inactivity"))
		_, sent := s.Granted.Lookup("secure")
		assert.False(b, sent)
	})
}

// B6-2: what the application writes goes out well-formed, or not at all.
func TestWrapperOutput(t *testing.T) {
	for _, text := range []string{"<a></b>", "<a b=1/>", "<a>\x01</a>", "<p:a/>", "<!-- x -->", "text", "</body>", "\xff"} {
		Std(t, text, func(b *Harness, s *Session) {
			held := s.Send(1001)
			_, err := s.App.Write([]byte(X("good") + text))
			assert.Error(b, err)
			body := held.Body()
			assert.Equal(b, []string{X("good")}, texts(body.Payloads))
			assert.Equal(b, "internal-server-error", body.Attr("condition"))
		})
	}
	Std(t, "half an element waits for its rest", func(b *Harness, s *Session) {
		held := s.Send(1001)
		s.App.Writes("<x xmlns='u'>a</")
		held.Waits()
		s.App.Writes("x>")
		held.GetsNow(Answer(X("a")))
	})
}

// names returns the names of the elements, and of the attributes with a
// namespace, as encoding/xml understands them.
func names(t testing.TB, text string) (all []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err, "%s", text)
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		all = append(all, start.Name.Space+" "+start.Name.Local)
		for _, a := range start.Attr {
			if a.Name.Space != "" && a.Name.Space != "xmlns" {
				all = append(all, a.Name.Space+"@"+a.Name.Local)
			}
		}
	}
}
