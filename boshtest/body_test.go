package boshtest

import (
	"bytes"
	"encoding/xml"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseBody(t *testing.T) {
	b, err := ParseBody([]byte("\xef\xbb\xbf<?xml version='1.0'?>\n<body rid='1' a=\"it's &lt;&#x41;&#66;&gt;\" x:restart = 'true' xmlns:x='" + NSXMPP +
		"' xml:lang='en' xmlns='" + NSBind + "'>\n <a/> <b q='>' r=\"/>\"><c>x</c><![CDATA[</b>]]></b ><stream:features></stream:features>\n</body> "))
	require.NoError(t, err)
	assert.Equal(t, "1", b.Attr("rid"))
	assert.Equal(t, "it's <AB>", b.Attr("a"))
	assert.Equal(t, "true", b.Attr("xmpp:restart"))
	assert.Equal(t, "en", b.Attr("xml:lang"))
	assert.Equal(t, NSXMPP, b.Namespace("x"))
	assert.Equal(t, NSBind, b.Namespace(""))
	_, ok := b.Lookup("sid")
	assert.False(t, ok)
	var got []string
	for _, p := range b.Payloads {
		got = append(got, string(p))
	}
	assert.Equal(t, []string{"<a/>", "<b q='>' r=\"/>\"><c>x</c><![CDATA[</b>]]></b >", "<stream:features></stream:features>"}, got)

	b, err = ParseBody([]byte("<b:body xmlns:b='" + NSBind + "'><b:uri>x</b:uri></b:body>"))
	require.NoError(t, err)
	assert.Len(t, b.Payloads, 1)
}

func TestParseBodyRefuses(t *testing.T) {
	const ns = " xmlns='" + NSBind + "'"
	for _, text := range []string{
		"", " ", "x", "<", "<body", "<body>", "<body/>", "<foo" + ns + "/>", "<body" + ns + ">", "<body" + ns + "/><x/>",
		"<body" + ns + ">text</body>", "<body" + ns + "></bodi>", "<body" + ns + "><a></body>", "<body" + ns + "><a></b></body>",
		"<body" + ns + "><a b='></body>", "<body" + ns + "><!-- x --></body>", "<body" + ns + "><?x?></body>",
		"<body" + ns + "><![CDATA[x]]></body>", "<body" + ns + "><a><!-- x --></a></body>", "<body" + ns + "><a><![CDATA[x]></a></body>",
		"<body" + ns + " a='&nbsp;'/>", "<body" + ns + " a='&lt'/>", "<body" + ns + " a='&#xD800;'/>", "<body" + ns + " a='&#x;'/>",
		"<body" + ns + " a=b/>", "<body" + ns + " a/>", "<body a='1'" + ns + "b='2'/>", "<body" + ns + "><a <b/></body>", "<body" + ns + "></",
	} {
		_, err := ParseBody([]byte(text))
		assert.Error(t, err, text)
	}
}

// FuzzParseBody checks the spans of the payloads against encoding/xml, for
// whatever both accept.
func FuzzParseBody(f *testing.F) {
	f.Add([]byte("<body xmlns='" + NSBind + "' a='&lt;'><a b='c'>d<![CDATA[e]]></a> <f/></body>"))
	f.Add([]byte("<x:body xmlns:x='" + NSBind + "'/>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBody(data)
		if err != nil {
			return
		}
		want, ok := oracle(data)
		if !ok {
			return
		}
		if len(want) != len(b.Payloads) {
			t.Fatalf("%d payloads, want %d", len(b.Payloads), len(want))
		}
		for i, p := range b.Payloads {
			if !bytes.Equal(p, want[i]) {
				t.Errorf("payload %d: %q, want %q", i, p, want[i])
			}
		}
	})
}

// oracle finds the payloads by encoding/xml.
func oracle(data []byte) (payloads [][]byte, ok bool) {
	d := xml.NewDecoder(bytes.NewReader(data))
	depth := 0
	var start int64
	for {
		at := d.InputOffset()
		token, err := d.Token()
		if err == io.EOF {
			return payloads, depth == 0
		}
		if err != nil {
			return nil, false
		}
		switch token.(type) {
		case xml.StartElement:
			if depth++; depth == 2 {
				start = at
			}
		case xml.EndElement:
			if depth--; depth == 1 {
				payloads = append(payloads, data[start:d.InputOffset()])
			}
		}
	}
}

func BenchmarkParseBody(b *testing.B) {
	text := []byte("<body ack='1234567' xmlns='" + NSBind + "' xmlns:stream='http://etherx.jabber.org/streams'>" +
		"<message from='a@example.com/x' to='b@example.com' type='chat' id='1' xmlns='jabber:client'><body>Wherefore art thou, Romeo?</body></message></body>")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseBody(text); err != nil {
			b.Fatal(err)
		}
	}
}
