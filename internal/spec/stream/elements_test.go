package stream_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmlstream"
)

// A Stream fits where mellium.im/xmlstream wants something to read and write.
var (
	_ net.Conn                        = (*bosh.Stream)(nil)
	_ xml.TokenReader                 = (*bosh.Stream)(nil)
	_ xmlstream.TokenReadWriter       = (*bosh.Stream)(nil)
	_ xmlstream.TokenReadWriteCloser  = (*bosh.Stream)(nil)
	_ xmlstream.TokenWriteFlusher     = (*bosh.Stream)(nil)
	_ xmlstream.TokenWriteFlushCloser = (*bosh.Stream)(nil)
)

func TestReadElement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		read := func() string {
			el, err := s.ReadElement(t.Context())
			require.NoError(t, err)
			return string(el)
		}
		p.Send("\n <a xmlns='u'>t</a> <q:b q:c='1'/><d/>\n", "xmlns:q='w' xmlns:unused='v'")
		assert.Equal(t, "<a xmlns='u'>t</a>", read())
		assert.Equal(t, "<q:b xmlns:q='w' q:c='1'/>", read())
		assert.Equal(t, "<d xmlns='"+NsBind+"'/>", read())

		next := Async(func() string {
			el, _ := s.ReadElement(context.Background())
			return string(el)
		})
		require.True(t, Pending(next))
		p.Send("<e xmlns='u'/>", "type='terminate'")
		assert.Equal(t, "<e xmlns='u'/>", <-next)
		_, err := s.ReadElement(t.Context())
		assert.Equal(t, io.EOF, err)
	})
}

// An element that a Read has begun ReadElement gives the rest of.
func TestReadElementAfterRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		p.Send("<a xmlns='u'/><b xmlns='u'/>")
		RequireRead(t, s, "<a ")
		for _, want := range []string{"xmlns='u'/>", "<b xmlns='u'/>"} {
			el, err := s.ReadElement(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, string(el))
		}
	})
}

// AppendElement appends to what the caller has, and takes nothing from it.
func TestAppendElement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		p.Send("<a xmlns='u'/><b xmlns='u'/>")
		b, err := s.AppendElement(t.Context(), []byte("has: "))
		require.NoError(t, err)
		assert.Equal(t, "has: <a xmlns='u'/>", string(b))
		b, err = s.AppendElement(t.Context(), b)
		require.NoError(t, err)
		assert.Equal(t, "has: <a xmlns='u'/><b xmlns='u'/>", string(b))

		done, cancel := context.WithCancel(t.Context())
		cancel()
		after, err := s.AppendElement(done, b)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, b, after)
		p.Send("<c xmlns='u'/>")
		b, err = s.AppendElement(t.Context(), b[:0])
		require.NoError(t, err)
		assert.Equal(t, "<c xmlns='u'/>", string(b), "it is not lost to the call that failed")
	})
}

// The caller owns what ReadElement returned.
func TestReadElementOwnership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		p.Send("<a xmlns='u'/><b xmlns='u'/>")
		a, err := s.ReadElement(t.Context())
		require.NoError(t, err)
		_ = append(a, "overwritten"...)
		clear(a)
		b, err := s.ReadElement(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "<b xmlns='u'/>", string(b))
	})
}

func TestWriteElement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		for _, bad := range []string{"<a>", "<a/>text", "</a>", "<a/><b", "<p:a/>", "<a/><b></c>", "<!-- --><a/>"} {
			assert.Error(t, s.WriteElement(t.Context(), []byte(bad)), bad)
		}
		b := []byte("<a xmlns='u'/> <b xmlns='u'/>")
		require.NoError(t, s.WriteElement(t.Context(), b))
		clear(b) // the caller owns it again
		assert.Equal(t, "<a xmlns='u'/><b xmlns='u'/>", p.Send("").Payload(), "nothing of the bad ones")

		Write(t, s, "<half xmlns='u'>")
		assert.Error(t, s.WriteElement(t.Context(), []byte("<a/>")), "in the middle of another")
		Write(t, s, "</half>")
		require.NoError(t, s.WriteElement(t.Context(), []byte("<c xmlns='u'/>")))
		assert.Equal(t, "<half xmlns='u'></half><c xmlns='u'/>", p.Send("").Payload())
	})
}

func TestElementContexts(t *testing.T) {
	for name, do := range map[string]func(context.Context, *bosh.Stream) error{
		"ReadElement": func(ctx context.Context, s *bosh.Stream) error {
			_, err := s.ReadElement(ctx)
			return err
		},
		"WriteElement": func(ctx context.Context, s *bosh.Stream) error {
			return s.WriteElement(ctx, []byte("<x/>"))
		},
		"WriteElement behind a Write": func(ctx context.Context, s *bosh.Stream) error {
			go s.Write([]byte("<y/>"))
			return s.WriteElement(ctx, []byte("<x/>"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Full(t)
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 3*Second)
				defer cancel()
				RequireOp(t, do(ctx, s))
				assert.Equal(t, 3*Second, time.Since(begin))

				cause, stop := context.WithCancelCause(t.Context())
				r := Async(func() error { return do(cause, s) })
				require.True(t, Pending(r))
				stop(io.ErrNoProgress)
				assert.ErrorIs(t, <-r, io.ErrNoProgress)

				require.NoError(t, s.SetDeadline(time.Now().Add(Second)))
				RequireTimeout(t, do(t.Context(), s))
				require.NoError(t, s.SetDeadline(time.Time{}))

				r = Async(func() error { return do(t.Context(), s) })
				require.True(t, Pending(r))
				RequireEnd(t, func() *boshtest.Response { p.Rid += 9; return p.Send("") }(), bosh.ItemNotFound)
				assert.ErrorIs(t, <-r, &bosh.Error{Condition: bosh.ItemNotFound})
			})
		})
	}
}

// Who uses a stream as it is not meant to be used is told what to do, in words that the
// documentation has.
func TestMisuse(t *testing.T) {
	element := func(b string) func(s *bosh.Stream) error {
		return func(s *bosh.Stream) error { return s.WriteElement(context.Background(), []byte(b)) }
	}
	bytes := func(b string) func(s *bosh.Stream) error {
		return func(s *bosh.Stream) error { _, err := s.Write([]byte(b)); return err }
	}
	reads := func(s *bosh.Stream) error { _, err := s.ReadElement(context.Background()); return err }
	closes := func(e bosh.Error) func(s *bosh.Stream) error {
		return func(s *bosh.Stream) error { return s.CloseWithError(&e) }
	}
	for _, test := range []struct {
		framing bosh.Framing
		what    string
		do      func(s *bosh.Stream) error
		want    string
	}{
		{bosh.Elements, "WriteElement with JSON", element(`{"a":"b"}`), "XEP-0335"},
		{bosh.Elements, "WriteElement with a list", element(` [1]`), "XEP-0335"},
		{bosh.Elements, "WriteElement with text", element("hello"), "XEP-0335"},
		{bosh.Elements, "WriteElement with text behind", element("<a/>hello"), "character data outside of an element"},
		{bosh.Elements, "WriteElement with half", element("<a>"), "element is not whole"},
		{bosh.Elements, "WriteElement with bad XML", element("<a b=c/>"), "invalid XML: "},
		{bosh.Elements, "WriteElement with too much", element("<a>" + strings.Repeat("x", 1000) + "</a>"), "too large for MaxElement"},
		{bosh.Elements, "Write of JSON", bytes(`{"a":"b"}`), "XEP-0335"},
		{bosh.Elements, "Write of bad XML", bytes("<a></b>"), "invalid XML: "},
		{bosh.Elements, "Write of too much", bytes("<a>" + strings.Repeat("x", 1000)), "too large for MaxElement"},
		{bosh.Elements, "WriteElement behind half a Write", func(s *bosh.Stream) error {
			return errors.Join(bytes("<a>")(s), element("<b/>")(s))
		}, "a Write before it has left an element that is not whole"},
		{bosh.XMPP, "WriteElement", element("<a/>"), "for a stream of Elements, and this one is of XMPP.*Options.Framing.*use Write"},
		{bosh.XMPP, "ReadElement", reads, "for a stream of Elements, and this one is of XMPP.*Options.Framing.*use Read"},
		{bosh.XMPP, "Write without header", bytes("<message/>"), "<message/>: the stream's header must come first"},
		{bosh.XMPP, "Write of JSON", bytes(`{"a":"b"}`), "character data before the stream's header"},
		{bosh.XMPP, "Write of JSON, later", bytes(ServerHeader + `{"a":"b"}`), "character data between stanzas"},
		{bosh.XMPP, "Write of another header", bytes("<stream:stream xmlns:stream='u'>"), "<stream:stream> is not an XMPP stream: the stream's header, in http://etherx"},
		{bosh.Opaque, "WriteElement", element("<a/>"), "this one is of Opaque.*use Write"},
		{bosh.Opaque, "ReadElement", reads, "this one is of Opaque.*use Read"},
		{bosh.Opaque, "Receive without a function", func(s *bosh.Stream) error { return s.Receive(nil) }, "Receive without a function"},
		{bosh.Opaque, "Read behind Receive", func(s *bosh.Stream) error {
			require.NoError(t, s.Receive(func([]byte, error) {}))
			_, err := s.Read(make([]byte, 1))
			return err
		}, "input is Receive's"},
		{bosh.Opaque, "CloseWithError with a condition of its own", closes(bosh.Error{Condition: "oops"}), `no such condition: "oops"`},
		{bosh.Opaque, "CloseWithError with half a payload", closes(bosh.Error{Payload: []byte("<a>")}), "bosh: payload of an Error: element is not whole"},
		{bosh.Opaque, "CloseWithError with text", closes(bosh.Error{Payload: []byte("a")}), "bosh: payload of an Error: character data outside of an element"},
	} {
		t.Run(fmt.Sprint(test.framing, " ", test.what), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := Connect(t, bosh.Options{Framing: test.framing, MaxElement: 500, CreateTimeout: -1})
				err := test.do(s)
				require.Error(t, err)
				assert.Regexp(t, test.want, err.Error())
				assert.NotRegexp(t, `xmlscan|framing:|wire:|internal/|token:|inbox|backlog:|errors\.errorString`, err.Error())
			})
		})
	}
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		require.NoError(t, s.Flush(), "of nothing")
		p.Send("<a xmlns='u' k='v'>text<b/></a><c xmlns='w'/>")
		a, u := xml.Name{Space: "u", Local: "a"}, func(local string) xml.Name { return xml.Name{Space: "u", Local: local} }
		for _, want := range []xml.Token{
			xml.StartElement{Name: a, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: "u"}, {Name: xml.Name{Local: "k"}, Value: "v"}}},
			xml.CharData("text"),
			xml.StartElement{Name: u("b"), Attr: []xml.Attr{}},
			xml.EndElement{Name: u("b")},
			xml.EndElement{Name: a},
		} {
			got, err := s.Token()
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}

		_, err := xmlstream.Copy(s, xmlstream.Wrap(
			xmlstream.Token(xml.CharData("a < b")),
			xml.StartElement{Name: xml.Name{Space: "urn:p", Local: "d"}, Attr: []xml.Attr{
				{Name: xml.Name{Local: "xmlns"}, Value: "urn:p"}, {Name: xml.Name{Local: "k"}, Value: "'"},
			}},
		))
		require.NoError(t, err)
		c := p.Hold("")
		require.NoError(t, s.Flush())
		assert.Equal(t, `<d xmlns="urn:p" k="&#39;">a &lt; b</d>`, c.Wait().Payload())

		p.Send("", "type='terminate'")
		for err == nil {
			_, err = s.Token()
		}
		assert.Equal(t, io.EOF, err)
		require.NoError(t, s.EncodeToken(xml.StartElement{Name: a}))
		require.NoError(t, s.EncodeToken(xml.EndElement{Name: a}))
		assert.ErrorIs(t, s.Flush(), io.EOF)
	})
}

// Token does not go on after an error, not even one by a deadline. ReadElement
// does.
func TestTokenAfterDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		require.NoError(t, s.SetReadDeadline(time.Now().Add(Second)))
		_, err := s.ReadElement(t.Context())
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = s.Token()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, s.SetReadDeadline(time.Time{}))
		p.Hold(X("a"))
		_, again := s.Token()
		assert.Equal(t, err, again)
		el, err := s.ReadElement(t.Context())
		require.NoError(t, err)
		assert.Equal(t, X("a"), string(el))
	})
}

// What Token gives EncodeToken takes, and the meaning stays the same.
func TestTokensThroughEncoder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		in := "<m xmlns='u' xml:lang='de' xmlns:p='w' p:k='1' k='2'><p:n>&lt;&#x1F600;</p:n><o xmlns=''/><q xmlns='v'/></m>"
		p.Send(in)
		for depth := 0; ; {
			tok, err := s.Token()
			require.NoError(t, err)
			require.NoError(t, s.EncodeToken(tok))
			switch tok.(type) {
			case xml.StartElement:
				depth++
			case xml.EndElement:
				depth--
			}
			if depth == 0 {
				break
			}
		}
		require.NoError(t, s.Flush())
		out := p.Send("").Payload()
		assert.Equal(t, meaning(t, in), meaning(t, out), "%s", out)
	})
}

// meaning returns the tokens in an element, without declarations.
func meaning(t *testing.T, el string) (tokens []xml.Token) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(el))
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return tokens
		}
		require.NoError(t, err)
		if start, ok := tok.(xml.StartElement); ok {
			var attrs []xml.Attr
			for _, a := range start.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					attrs = append(attrs, a)
				}
			}
			start.Attr = attrs
			tok = start
		}
		tokens = append(tokens, xml.CopyToken(tok))
	}
}
