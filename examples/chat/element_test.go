package main

import (
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"mellium.im/xmpp/stream"
)

// copyOf reads an element in a jabber:client stream and writes what is inside.
func copyOf(inner string) (string, error) {
	d := xml.NewDecoder(strings.NewReader("<m xmlns='jabber:client' xmlns:o='urn:outer'>" + inner + "</m>"))
	if _, err := d.Token(); err != nil {
		return "", err
	}
	var c copier
	err := c.inner(d, nil)
	return string(c.buf), err
}

func TestCopier(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"text", "text"},
		{"<body>a &lt;b&gt; &amp; \"c\" 'd' 😀\n</body>", "<body>a &lt;b&gt; &amp; \"c\" 'd' 😀\n</body>"},
		{"<a></a><b/>", "<a/><b/>"},
		{"<x xmlns='urn:x'><y z='1'>t</y></x><body/>", "<x xmlns='urn:x'><y z='1'>t</y></x><body/>"},
		{"<x xmlns='urn:x'><body xmlns='jabber:client'><z/></body><y/></x>", "<x xmlns='urn:x'><body xmlns='jabber:client'><z/></body><y/></x>"},
		{"<x xmlns=''><y/></x>", "<x xmlns=''><y/></x>"},
		{"<p:x xmlns:p='urn:p'><p:y/><z/></p:x>", "<x xmlns='urn:p' xmlns:p='urn:p'><y/><z xmlns='jabber:client'/></x>"},
		{"<o:x/>", "<x xmlns='urn:outer'/>"},
		{"<x o:a='1' o:b='2'/>", "<x xmlns:n0='urn:outer' n0:a='1' n0:b='2'/>"},
		{"<x o:a='1'><y o:a='1'/></x><z/>", "<x xmlns:n0='urn:outer' n0:a='1'><y n0:a='1'/></x><z/>"},
		{"<x xmlns:n0='urn:n' o:a='1'/>", "<x xmlns:n0='urn:n' xmlns:n1='urn:outer' n1:a='1'/>"},
		{"<x xmlns:p='urn:p' p:a='1'><y xmlns:p='urn:q' p:a='1'/></x>", "<x xmlns:p='urn:p' p:a='1'><y xmlns:p='urn:q' p:a='1'/></x>"},
		{"<x xml:lang='de'/>", "<x xml:lang='de'/>"},
		{"<x a='&apos;&quot;&lt;&#10;&#9;'/>", "<x a='&#39;\"&lt;&#10;&#9;'/>"},
		{"<x><![CDATA[<a>&]]></x>", "<x>&lt;a&gt;&amp;</x>"},
		{"a&#13;b", "a&#13;b"},
	} {
		got, err := copyOf(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", tt.in, got, err, tt.want)
		}
		// It stands anywhere, and says the same.
		again, err := copyOf(got)
		if err != nil || strings.Contains(again, "xmlns:n0='urn:n'") != strings.Contains(got, "xmlns:n0='urn:n'") || again != got {
			t.Errorf("%s:\ntwice %s, %v", got, again, err)
		}
	}
}

// TestCopierRefuses has what an xml.Decoder takes although it is not
// well-formed.
func TestCopierRefuses(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want error
	}{
		{"<x a='1' a='2'/>", stream.NotWellFormed},
		{"<x xmlns='urn:a' xmlns='urn:b'/>", stream.NotWellFormed},
		{"<x xmlns:p='urn:p' xmlns:q='urn:p' p:a='1' q:a='2'/>", stream.NotWellFormed},
		{"<x xmlns:p=''/>", stream.NotWellFormed},
		{"<x xmlns:xml='urn:x'/>", stream.NotWellFormed},
		{"<x xmlns:xmlns='urn:x'/>", stream.NotWellFormed},
		{"<x xmlns='http://www.w3.org/XML/1998/namespace'/>", stream.NotWellFormed},
		{"<xml:x/>", stream.NotWellFormed},
		{"<a:/>", stream.NotWellFormed},
		{"<:a/>", stream.NotWellFormed},
		{"<x :a='1'/>", stream.NotWellFormed},
		{"<!-- comment -->", stream.RestrictedXML},
		{"<?pi x?>", stream.RestrictedXML},
		{strings.Repeat("<x>", maxDepth+1) + strings.Repeat("</x>", maxDepth+1), stream.PolicyViolation},
	} {
		if got, err := copyOf(tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %s, %v; want %v", tt.in, got, err, tt.want)
		}
	}
}
