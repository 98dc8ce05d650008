package xmlscan

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// almostPlain are children whose tags are plain, or would be but for something.
var almostPlain = []string{
	"<a/>", "<a b='1' c=\"2\"/>", "<a ><b /></a >", "<a  b=''/>", "<a\tb=''/>", "<a b ='' c= ''/>", "<a b='&amp;'/>", "<a b='\t'/>", "<a b=\"'\" c='\"'/>",
	"<a b='é'>é</a>", "<é/>", "<aé/>", "<a bé=''/>", "<a>&lt;<b/>]]&#62;</a>", "<a>x<![CDATA[]]]]><![CDATA[>]]></a>", "<a>]]</a>", "<a>></a>", "<a>]></a>", "<a>]]></a>",
	"<a>&amp;]]></a>", "<a><b/>]]></a>", "<a>]]><b/></a>", "<p:a/>", "<p:a p:b=''/>", "<p:a xmlns:p='v'><p:b/></p:a>", "<a><p:b/><b/></a>", "<a xmlns='v'><p:b/><b/></a>",
	"<a xml:lang='en' lang='en'/>", "<a xml:lang='en' xml:lang='en'/>", "<xml:a/>", "<a xmlns='v' b='' xmlns:x='w'><x:b/></a>", "<a xmlns:x='v' x:b='' p:b=''/>",
	"<a xmlns=''><b/></a>", "<a xmlns='v'><b xmlns=''/><c/></a>", "<a><b xmlns='v'/><c/></a>", "<a><b xmlns='v'><c/></b><d/></a>",
	// What Watch is for.
	"<a xmlns='urn:w'><b xmlns='urn:w'/><c xmlns:d='urn:w' xmlns='urn:w'/></a>", "<a xmlns='urn:w' xmlns:p='urn:w' p:b='' xmlns:x='urn:&#x77;'/>",
	// Names of attributes that look the same, or are.
	"<a ab='' ba='' aab='' bab=''/>", "<a b='' b=''/>", "<a abc='' adc='' abc=''/>", "<a xmlns='v' xmlns='v'/>", "<a xmlns:x='v' xmlns:x='w'/>",
	"<a xmlns:x='v' xmlns:y='v' x:b='' y:b=''/>",
	// What must not be.
	"<a xmlns:x=''/>", "<a xmlns:xml='v'/>", "<a xmlns:xmlns='v'/>", "<a xmlns='" + xmlURI + "'/>", "<a xmlns='" + xmlnsURI + "'/>", "<a xmlns='urn:w' xmlns:x=''/>",
	"<a xmlns:xml='" + xmlURI + "' xml:b=''/>", "<x:a/>", "<a x:b=''/>", "<xmlns:a/>", "<a:/>", "<:a/>", "<p::a/>", "<p:a:b/>", "<a xml:=''/>", "<a xmlns:='v'/>", "<a :b=''/>",
	"<1/>", "<p:1/>", "<a 1=''/>", "<a xml:1=''/>", "<a xmlns:1='v'/>", "<a b/>", "<a b=/>", "<a b=c/>", "<a b=''c=''/>", "<a b='<'/>", "<a b='&x;'/>", "<a b='\x01'/>", "<a b='\xFF'/>",
	"<a/ >", "<a//>", "<a b='' / >", "<a></b>", "<a></a b=''>", "<a></aa>", "<a><b></a>", "</a>", "<a><//a>", "<>", "<a><></a>", "<a b='' >", "<a b=''",
	// Limits.
	"<a><b><c/></b></a>", "<a><b><c><d/></c></b></a>", "<a b='' c='' d=''/>", "<a b='' c='' d='' e=''/>", "<a xmlns='1' xmlns:b='2' xmlns:c='3'/>",
	"<a xmlns='1'><b xmlns:b='2'><c xmlns='3'/></b></a>",
}

// What is taken at one go comes out as what comes byte by byte, which never is.
func TestPlainIsTheSame(t *testing.T) {
	for _, child := range almostPlain {
		for _, limits := range []Limits{{}, {Depth: 4, Attrs: 3, Bindings: 2}} {
			sameInParts(t, &Scanner{Watch: "urn:w", Limits: limits}, "<r xmlns='d' xmlns:p='urn:p'>"+child+"<z/></r>")
		}
	}
}

// sameInParts checks that a document comes out the same byte by byte, as a whole
// and in two parts.
func sameInParts(t *testing.T, s *Scanner, doc string) {
	t.Helper()
	cuts := make([]int, len(doc))
	for k := range cuts {
		cuts[k] = k
	}
	want, wantErr := scan(s, []byte(doc), cuts...)
	for k := range doc {
		s.Reset()
		got, err := scan(s, []byte(doc), k)
		assert.Equal(t, want, got, "%s cut at %d", doc, k)
		assert.Equal(t, wantErr, err, "%s cut at %d", doc, k)
	}
}

// A tag that is left alone leaves nothing behind.
func TestPlainLeavesNothing(t *testing.T) {
	for _, child := range almostPlain {
		tag, _, _ := strings.Cut(child, ">")
		for _, tag := range []string{tag, tag + ">"} {
			s := Scanner{Watch: "urn:w"}
			s.ResetInside(nil)
			s.kind = Element
			if s.plainStart([]byte(tag), 1) < 0 {
				assert.Empty(t, s.binds, tag)
				assert.Empty(t, s.rebinds, tag)
				assert.Empty(t, s.open, tag)
				assert.Empty(t, s.arena, tag)
				assert.False(t, s.usesDefault, tag)
			}
		}
	}
}
