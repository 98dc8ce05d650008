package xmlscan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRefused(t *testing.T) {
	in := func(child string) string { return "<r xmlns:p='urn:p' xmlns:q='urn:p'>" + child + "</r>" }
	for _, tt := range []struct {
		rule string
		docs []string
	}{
		{"B6-2: start and end tags match", []string{
			in("<a></b>"), in("<a><b></a></b>"), in("<a></a></a>"), in("<a></A>"), in("<p:a></q:a>"), in("<p:a></a>"), in("<a></aa>"),
			in("<aa></a>"), "<r></s>", "<r></rr>", "<r><a/></r ", in("<a></ a>"), in("<a></a b='1'>"), in("<a></a/>"), in("<a></>"), "</r>",
			in("<a></r><r></a>"),
		}},
		{"B6-2: the form of tags", []string{
			in("< a/>"), in("<a/ >"), in("<a//>"), in("<a b/>"), in("<a b=/>"), in("<a b=c/>"), in("<a b='1'c='2'/>"), in("<a b='1\"/>"),
			in("<a 'b'/>"), in("<a ='b'/>"), in("<>"), in("<a b = = 'c'/>"), in("<a\x00/>"), in("<a b='<'/>"), in("<a b='</a>"),
			in("<a b==''/>"), in("<a?>"), in("<a ?>"), "<?xml version='1.0'/>", "<?xml version='1.0'>",
		}},
		{"B6-2: duplicate attributes", []string{
			in("<a b='' b=''/>"), in("<a xmlns='u' xmlns='u'/>"), in("<a xmlns:x='u' xmlns:x='v'/>"), in("<a p:b='' p:b=''/>"),
			in("<a p:b='' q:b=''/>"), in("<a p:b='' xmlns:z='urn:&#112;' z:b=''/>"), in("<a xmlns:y='urn:y' y:b='' z:b='' xmlns:z='urn:y'/>"),
			in("<a xml:b='' x:b='' xml:b=''/>"), in("<a xmlns:y='urn:&#32;y' y:b='' z:b='' xmlns:z='urn:\ny'/>"), "<r b='' b=''/>",
		}},
		{"B6-2: names", []string{
			in("<1/>"), in("<-a/>"), in("<.a/>"), in("<a$/>"), in("<\u00D7/>"), in("<\u0300/>"), in("<a\u037E/>"), in("<a 1=''/>"),
			in("<\uFFFE/>"), in("<\U000F0000/>"), in("<a\u2000/>"), in("<\xC0\x80/>"), in("<a\xFF/>"),
		}},
		{"B6-2: character data", []string{
			in("<a>]]></a>"), in("<a>]]]></a>"), in("<a><b/>]]></a>"), in("<a><![CDATA[]]>]]></a>"),
		}},
		{"B6-3: qualified names", []string{
			in("<:a/>"), in("<a:/>"), in("<p:a:b/>"), in("<p::a/>"), in("<:/>"), in("<p:1/>"), in("<p:-a/>"), in("<a :b=''/>"),
			in("<a p:=''/>"), in("<a p:b:c=''/>"), in("<a xmlns:=''/>"), in("<a xmlns:b:c=''/>"), "<p:/>", in("<p:\u0300/>"),
		}},
		{"B6-3: undeclared prefixes", []string{
			in("<z:a/>"), in("<a z:b=''/>"), "<z:a/>", "<a z:b=''/>", in("<a xmlns:z='u'/><z:b/>"), in("<a><b xmlns:z='u'/><z:b/></a>"),
			in("<a><b xmlns:z='u'></b><z:b/></a>"), in("<P:a/>"), "<r xmlns:a='u'/><a:b/>",
		}},
		{"B6-3: declarations that must not be made", []string{
			in("<a xmlns:b=''/>"), in("<a xmlns:xml='urn:a'/>"), in("<a xmlns:xmlns='urn:a'/>"), in("<a xmlns:xml=''/>"),
			in("<a xmlns:xmlns='" + xmlnsURI + "'/>"), in("<a xmlns:b='" + xmlnsURI + "'/>"), in("<a xmlns='" + xmlnsURI + "'/>"),
			in("<a xmlns:b='" + xmlURI + "'/>"), in("<a xmlns='" + xmlURI + "'/>"), in("<a xmlns='http&#58;" + xmlURI[5:] + "'/>"),
			in("<xmlns:a/>"), "<r xmlns:p=''/>", "<xmlns:r/>",
		}},
		{"B6-4: nothing but white space around the one root", []string{
			"<r/><r/>", "<r></r><r/>", "<r/>x", "x<r/>", "<r/></r>", "<r/>&#32;", "<r/>\x00", "<r/><?xml version='1.0'?>", "<r/>\uFEFF",
			"<r/><![CDATA[]]>", "", " ", "\uFEFF", "<?xml version='1.0'?>", "<r>", in("<a>"), "<r", "<r><a", "<r><a/>", "<r><a b='",
		}},
		{"B6-5: comments", []string{
			"<!---->", "<r/><!-- -->", in("<!-- x -->"), in("<a><!-- x --></a>"), in("<!-"), in("<a><!-"), "<!-- --><r/>",
		}},
		{"B6-6: processing instructions", []string{
			"<?php x?><r/>", in("<?php x?>"), in("<a><?x?></a>"), "<r/><?x?>", in("<a><?"), "<?xml-stylesheet?><r/>", " <?xml version='1.0'?><r/>",
			in("<?xml version='1.0'?>"), in("<a><?xml version='1.0'?></a>"), "<?XML version='1.0'?><r/>",
			"<?xml version='1.0'?><?xml version='1.0'?><r/>", "\uFEFF\uFEFF<r/>", "<?xml version='1.0'?>\uFEFF<r/>", " \uFEFF<r/>",
		}},
		{"B6-6: the XML declaration", []string{
			"<?xml?><r/>", "<?xml ?><r/>", "<?xml version='2.0'?><r/>", "<?xml version='1.'?><r/>", "<?xml version='1.0a'?><r/>",
			"<?xml version='1&#46;0'?><r/>", "<?xml encoding='utf-8'?><r/>", "<?xml encoding='utf-8' version='1.0'?><r/>",
			"<?xml version='1.0' encoding='latin1'?><r/>", "<?xml version='1.0' encoding='utf-7'?><r/>", "<?xml version='1.0' encoding='UTF-16'?><r/>", "<?xml version='1.0' encoding=''?><r/>",
			"<?xml version='1.0' standalone='maybe'?><r/>", "<?xml version='1.0' standalone='yes' encoding='utf-8'?><r/>",
			"<?xml version='1.0' x='y'?><r/>", "<?xml version='1.0'encoding='utf-8'?><r/>", "<?xml version='1.0'? ><r/>",
			"<?xml version='1.0' version='1.0'?><r/>", "<?xml version='1.0' encoding='utf-\u212A'?><r/>", "<?xmlversion='1.0'?><r/>",
		}},
		{"B6-7: document type declarations", []string{
			"<!DOCTYPE r><r/>", "<!D", "<r/><!DOCTYPE r>", in("<!ENTITY a 'b'>"), in("<a><!DOCTYPE r></a>"), in("<a><!D"), in("<a><!["),
			in("<a><![INCLUDE[]]></a>"), in("<a><![cdata[]]></a>"), in("<a><![CDATA []]></a>"),
		}},
		{"B6-8: references", []string{
			in("<a>&nbsp;</a>"), in("<a>&n"), in("<a b='&n"), in("<a>&</a>"), in("<a>&lt</a>"), in("<a>&LT;</a>"), in("<a>& lt;</a>"),
			in("<a>&;</a>"), in("<a>&#;</a>"), in("<a>&#x;</a>"), in("<a>&#X41;</a>"), in("<a>&#65</a>"), in("<a>&#6 5;</a>"), in("<a>&#-1;</a>"),
			in("<a>&#0;</a>"), in("<a>&#8;</a>"), in("<a>&#x1F;</a>"), in("<a>&#xD800;</a>"), in("<a>&#xDFFF;</a>"), in("<a>&#xFFFE;</a>"),
			in("<a>&#xFFFF;</a>"), in("<a>&#x110000;</a>"), in("<a>&#4294967361;</a>"), in("<a>&#x100000041;</a>"), in("<a>&#18446744073709551681;</a>"),
			in("<a>&#6A;</a>"), in("<a b='&amp'/>"), in("<a b='&#0;'/>"), in("<a b='&quot'/>"), in("<a>&amp;#0;&#0;</a>"), in("<a b='&#xg;'/>"),
		}},
		{"B6-9: no character data in the root", []string{
			"<r>x</r>", "<r><a/>x</r>", "<r>&#32;</r>", "<r>&amp;</r>", "<r><![CDATA[]]></r>", "<r> ]</r>", "<r>\u00A0</r>", "<r>\v</r>", "<r>\x00</r>",
		}},
	} {
		for _, doc := range tt.docs {
			assert.Error(t, accept(doc), "%s: %q", tt.rule, doc)
		}
	}
}

func TestAccepted(t *testing.T) {
	for _, child := range []string{
		"", " \t\r\n", "<a/>", "<a  />", "<a\n></a\t>", "<a></a >", "<a b='1'\nc=\"2\" d = '3'/>", "<a b='\"' c=\"'\"/>", "<a b='>'/>", "<a b='/>'>/></a>",
		"<a b=''/>", "<a>></a>", "<a>]]</a>", "<a>]]<b/>></a>", "<a>]]&gt;</a>", "<a b=']]>'/>", "<a>]]<![CDATA[>]]></a>",
		// B6-8
		"<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x41;&#x10FFFF;&#xa;&#xD;</a>", "<a b='&lt;&#10;&#0000000000000000000000000000000000000065;'/>",
		// B6-10
		"<a><![CDATA[]]></a>", "<a><![CDATA[<b>&nbsp;</c>]]]]></a>", "<a>x<![CDATA[ ]] ]> ]]>y<b/>z</a>", "<a><![CDATA[<!-- --><?x?>]]></a>",
		// B6-3
		"<p:a/>", "<p:a p:b='' b='' xml:b='' r:b=''/>", "<p:a xmlns:p='urn:z'/>", "<a xmlns=''/>", "<a xmlns='u'><b xmlns=''/></a>",
		"<z:a xmlns:z='u'/>", "<a z:b='' xmlns:z='u'><z:c><z:d/></z:c></a>", "<xml:a/>", "<a xmlns:xml='" + xmlURI + "' xml:b=''/>",
		"<xmlns/>", "<a xmlnsx='1' xmlns1='2'/>", "<xmlx:a xmlns:xmlx='u'/>", "<a p:b='' q:b='' xmlns:q='urn:r'/>",
		"<a xmlns:b='U' xmlns:c='u' b:d='' c:d=''/>", "<a ab='' ba=''/>", "<a xmlns:b='u&amp;' xmlns:c='u&amp;amp;' b:d='' c:d=''/>",
		// Names of the fifth edition.
		"<_/>", "<é/>", "<a·/>", "<a\u0300/>", "<\u0370/>", "<\u200C/>", "<\u2070/>", "<\uD7FF/>", "<\uF900/>", "<\uFFFD/>", "<\U00010000/>",
		"<\U000EFFFF/>", "<a.-1 b.-1=''/>", "<a\u203F\u2040/>", "<p:é/>", "<é:a xmlns:é='u'/>",
		"<a>\uFEFF\uFFFD\u0085\u2028\uE000\U0010FFFF\x7F</a>",
	} {
		doc := "<r xmlns:p='urn:p' xmlns:q='urn:p' xmlns:r='urn:r'>" + child + "</r>"
		assert.NoError(t, accept(doc), "%q", doc)
	}
	for _, doc := range []string{
		"<r/>", " <r/> ", "\uFEFF<r/>", "\uFEFF <r/>", "<?xml version='1.0'?><r/>", "<?xml version=\"1.1\"  ?>\n<r></r>",
		"<?xml version = '1.0' encoding = \"UTF-8\" standalone='yes'?><r/>", "<?xml version='1.0' encoding='us-ascii'?><r/>",
		"\uFEFF<?xml\nversion='1.0' standalone='no'\t?><r/>",
	} {
		assert.NoError(t, accept(doc), "%q", doc)
	}
}

// B6-2: valid UTF-8, and only characters that XML has, wherever they stand.
func TestCharacters(t *testing.T) {
	for _, bad := range []string{
		"\x00", "\x01", "\x08", "\x0B", "\x0C", "\x0E", "\x1F", // controls
		"\x80", "\xBF", "\xC3", "\xFE", "\xFF", // strays
		"\xC0\x80", "\xC1\xBF", "\xC0\xBC", "\xE0\x80\xBC", "\xE0\x9F\xBF", "\xF0\x80\x80\xBC", "\xF0\x8F\xBF\xBF", // overlong
		"\xED\xA0\x80", "\xED\xBF\xBF", "\xED\xA0\x80\xED\xB0\x80", // surrogates
		"\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xF8\x88\x80\x80\x80", // beyond Unicode
		"\xE2\x82", "\xE2\x28\xA1", "\xF0\x9D\x84", "\xC3\x28", "\xC3\xC3", // cut off
		"\uFFFE", "\uFFFF", // no characters
	} {
		for _, pad := range []string{"", "x", "1234567", "12345678", "ж", "12345678ж"} {
			for _, form := range []string{
				"<r><a>%s</a></r>", "<r><a b='%s'/></r>", "<r><a><![CDATA[%s]]></a></r>", "<r><a%s/></r>", "<r b='%s'/>", "<r>%s</r>", "<r/>%s",
				"<r><a></a%s></r>", "%s<r/>", "<?xml version='1.0'%s?><r/>", "<r><a b%s=''/></r>",
			} {
				assert.Error(t, accept(fmt.Sprintf(form, pad+bad+pad)), "%q in %s", pad+bad+pad, form)
			}
		}
	}
}

// What cannot come right is refused at once, so that nobody waits for its end.
func TestRefusedAtOnce(t *testing.T) {
	for _, doc := range []string{
		"x", "<?p", "<?xmlx", "<!", "<r/><", "<r/>x", "<r>x", "<r>&", "<r><!", "<r><?", "<r></s", "<r><a></b", "<r><a><!-", "<r><a><!D", "<r><a><?",
		"<r><a>&n", "<r><a>&#y", "<r><a>&#xG", "<r><a>&#1114112", "<r><a>]]>", "<r><a>\x00", "<r><a>\xC0", "<r><a>\xE2\x28", "<r><a b='<", "<r><a b='&n",
		"<r><a b='\x1F", "<r><a b=c", "<r><1", "<r><a:b:", "<r><a:1", "<r><a 1", "<r><a/b", "<r><a b=''c", "<r><z:a>", "<r><a b='' b=''>", "\xEF\xBB<",
	} {
		var s Scanner
		items, err := scan(&s, []byte(doc))
		assert.IsType(t, &SyntaxError{}, err, "%q: %q", doc, items)
		s.Reset()
		_, err = scan(&s, []byte(doc[:len(doc)-1]))
		assert.ErrorIs(t, err, ErrMore, "%q less a byte", doc)
	}
}

func TestLimits(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	attrs := func(form string, n int) string {
		var b strings.Builder
		for k := range n {
			fmt.Fprintf(&b, form, k)
		}
		return b.String()
	}
	assert.NoError(t, accept(deep(128)))
	assert.Error(t, accept(deep(129)))
	assert.NoError(t, accept("<r>"+strings.Repeat(deep(127), 3)+"</r>"))
	assert.NoError(t, accept("<r"+attrs(" a%d=''", 64)+"/>"))
	assert.Error(t, accept("<r"+attrs(" a%d=''", 65)+"/>"))
	assert.NoError(t, accept("<r><a"+attrs(" a%d=''", 64)+"/></r>"))
	assert.Error(t, accept("<r><a"+attrs(" a%d=''", 65)+"/></r>"))
	assert.Error(t, accept("<r><a"+attrs(" xmlns:a%d='u'", 65)+"/></r>"))
	binds := "<a" + attrs(" xmlns:a%d='u'", 43) + ">"
	assert.NoError(t, accept("<r>"+binds+binds+"</a></a></r>"))
	assert.NoError(t, accept("<r>"+strings.Repeat(binds+"</a>", 10)+"</r>"))
	assert.Error(t, accept("<r>"+binds+binds+binds+"</a></a></a></r>"))

	s := Scanner{Limits: Limits{Depth: 2, Attrs: 2, Bindings: 1}}
	for doc, ok := range map[string]bool{
		"<r><a/></r>": true, "<r><a><b/></a></r>": false, "<r a='' b=''/>": true, "<r a='' b='' c=''/>": false,
		"<r xmlns='u'><a xmlns='v'/></r>": true, "<r xmlns='u'><a xmlns='v' xmlns:w='w'/></r>": false,
	} {
		s.Reset()
		_, err := scan(&s, []byte(doc))
		assert.Equal(t, ok, err == ErrMore, doc)
	}
}

func TestEscape(t *testing.T) {
	for raw, want := range map[string]string{
		"": "", "abc": "abc", "a&amp;b": "a&b", "&lt;&gt;&quot;&apos;": `<>"'`, "&#65;&#x42;&#x1F600;": "AB😀", "&amp;lt;": "&lt;",
		"a\tb\nc\r\nd\re": "a b c d e", "&#9;&#10;&#13;": "\t\n\r", "\r&#10;": " \n", "&#00000000000000000065;": "A",
		// Not what passes the scanner, but no reason to panic.
		"&": "&", "&;": "&;", "&x": "&x", "&#;": "&#;", "&#x;": "&#x;", "&nbsp;": "&nbsp;", "&#xD800;": "&#xD800;", "a&": "a&", "&#-1;": "&#-1;",
	} {
		assert.Equal(t, "x"+want, string(Unescape([]byte("x"), []byte(raw))), "%q", raw)
	}
	assert.Equal(t, "a\tb\nc\nd\ne\r", string(unescape(nil, []byte("a\tb\nc\r\nd\re&#13;"), false)))

	for s, want := range map[string]string{
		"": "", "abc ж": "abc ж", `<a b='"'>&`: "&lt;a b=&apos;&quot;&apos;&gt;&amp;", "\t\r\n": "&#9;&#13;&#10;",
		"a\x00b\xFFc\uFFFEd\uFFFD": "a\uFFFDb\uFFFDc\uFFFDd\uFFFD",
	} {
		assert.Equal(t, "x"+want, string(AppendEscaped([]byte("x"), s)), "%q", s)
	}
}

// Escaped strings pass the scanner and come out unchanged.
func FuzzEscape(f *testing.F) {
	f.Add("a&b<c>'\"\t\r\n]]>\x00\xFFж")
	f.Fuzz(func(t *testing.T, v string) {
		esc := AppendEscaped(nil, v)
		want := strings.Map(func(r rune) rune {
			if !isChar(r) {
				return '\uFFFD'
			}
			return r
		}, v)
		assert.Equal(t, want, string(Unescape(nil, esc)))
		assert.Equal(t, want, string(unescape(nil, esc, false)))
		assert.NoError(t, accept(fmt.Sprintf(`<r><a b='%s' c="%s">%s</a></r>`, esc, esc, esc)))
		Unescape(nil, []byte(v)) // must not panic
	})
}
