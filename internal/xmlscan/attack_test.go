package xmlscan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a document declares as an entity is never read, let alone expanded.
func TestEntityBomb(t *testing.T) { // B6-7
	bomb := `<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol1 "&lol;&lol;&lol;">]><r>&lol1;</r>`
	var s Scanner
	items, err := scan(&s, []byte(bomb))
	assert.Len(t, items, 1)
	assert.Equal(t, &SyntaxError{21, "comment, section or document type declaration"}, err)
}

// No trick makes the scanner see the end of the root, or of a child, where
// another parser sees something else.
func TestSmuggling(t *testing.T) { // B6-2, B6-4
	for _, child := range []string{
		`<a b='&lt;/r>'/>`, `<a><![CDATA[</a></r>]]></a>`, `<a b="'/>"/>`, `<a b='>'>></a>`, `<a b='--&gt;'>--></a>`,
		`<a><![CDATA[<![CDATA[]]></a>`, `<a>]]<![CDATA[]]]]><![CDATA[>]]></a>`, `<a b="/"/>`, `<a b='/'></a>`, `<a><r></r></a>`,
		`<r><r/></r>`,
	} {
		items, err := scan(new(Scanner), []byte("<r>"+child+"</r>"))
		assert.ErrorIs(t, err, ErrMore, child)
		if assert.Len(t, items, 3, child) {
			assert.Contains(t, items[1], fmt.Sprintf("element %q ", child))
		}
	}
	for _, doc := range []string{
		`<r><a></r><evil/><r></a></r>`, `<r><a b='</r>'/></r>`, `<r><a b="'/></a></r>"/></r>`, `<r></r ><r>`, `<r><a/></r></r>`, `<r><a></a b=''></r>`, `<r><a b='1' B='2' b='3'/></r>`,
		`<r><a><![CDATA[</a></r>`, `<p:r xmlns:p='u' xmlns:q='u'></q:r>`, `<r><a></a` + "\u00A0" + `></r>`, `<r><a` + "\u00A0" + `b=''/></r>`,
		`<r><a>]]></a></r>`, `<r><a b='` + "\x00" + `'/></r>`, `<r><A></a></r>`, `<r><é></e` + "\u0301" + `></r>`,
	} {
		assert.Error(t, accept(doc), doc)
	}
}

// A prefix means in a child what it means there, and nothing of it leaks into
// the next.
func TestScopes(t *testing.T) { // B6-12
	items, err := scan(new(Scanner), []byte(`<r xmlns='d' xmlns:p='o'>`+
		`<a xmlns:p='i' xmlns='e'><p:b/><c/></a>`+
		`<a><b xmlns='e' xmlns:p='i'><p:c/></b><p:d/></a>`+
		`<p:a><p:a xmlns:p='i'/></p:a>`+
		`<p:a xmlns:p='i'><a xmlns='e'/></p:a>`+
		`<p:a p:b=''><a xmlns=''/></p:a></r>`))
	assert.ErrorIs(t, err, ErrMore)
	for k, want := range []string{
		`:a in "e" up to 2 default false uses [] `,
		`:a in "d" up to 2 default true uses [{"p" "o"}] `,
		`p:a in "o" up to 4 default false uses [{"p" "o"}] `,
		`p:a in "i" up to 4 default false uses [] `,
		`p:a in "o" up to 4 default false uses [{"p" "o"}] `,
	} {
		assert.Contains(t, items[k+1], want)
	}
}

// floods are documents whose repetition must not cost more than their length.
var floods = map[string]func(n int) string{
	"nothing":  func(n int) string { return "<r>" + strings.Repeat("<a b='12345678'>text</a>", n) + "</r>" },
	"elements": func(n int) string { return "<r>" + strings.Repeat("<a/>", n) + "</r>" },
	"one child": func(n int) string {
		return "<r><a>" + strings.Repeat("<a>"+strings.Repeat("<b>", 125)+strings.Repeat("</b>", 125)+"</a>", n/250) + "</a></r>"
	},
	"attributes": func(n int) string { return "<r>" + strings.Repeat("<a"+colliding("", 64)+"/>", n/64) + "</r>" },
	"prefixed attributes": func(n int) string {
		return "<r xmlns:p='u'>" + strings.Repeat("<a"+colliding("p:", 64)+"/>", n/64) + "</r>"
	},
	"declarations": func(n int) string {
		return "<r>" + strings.Repeat("<a"+colliding("xmlns:", 64)+"/>", n/64) + "</r>"
	},
	"declared far outside": func(n int) string {
		var b strings.Builder
		b.WriteString("<r><a")
		for k := range 63 {
			fmt.Fprintf(&b, " xmlns:p%d='u%d'", k, k)
		}
		return b.String() + "><a" + strings.ReplaceAll(b.String()[5:], "p", "q") + ">" + strings.Repeat("<p0:a/>", n) + "</a></a></r>"
	},
	"long namespaces": func(n int) string {
		u := strings.Repeat("u", n)
		return "<r><a xmlns:p='" + u + "1' xmlns:q='" + u + "2'>" + strings.Repeat("<a p:b='' q:b=''/>", n) + "</a></r>"
	},
	"long names": func(n int) string {
		a := strings.Repeat("a", n)
		return "<r><" + a + " " + a + "='' " + a + "b=''></" + a + "></r>"
	},
	"digits": func(n int) string { return "<r><a>&#" + strings.Repeat("0", n) + "65;</a></r>" },
	"brackets": func(n int) string {
		return "<r><a>" + strings.Repeat("]", n) + "<![CDATA[" + strings.Repeat("]", n) + "]]></a></r>"
	},
	"spaces": func(n int) string {
		s := strings.Repeat(" ", n)
		return "<r><a" + s + "b" + s + "=" + s + "''" + s + "/>" + s + "</r" + s + ">"
	},
	"escapes": func(n int) string { return "<r>" + strings.Repeat("<a xmlns='&#117;'>&amp;&#65;</a>", n) + "</r>" },
}

// colliding returns attributes with names that differ and look much the same.
func colliding(prefix string, n int) string {
	var b strings.Builder
	for k := range n {
		fmt.Fprintf(&b, " %saaaaaaa%c%ca='%c%c'", prefix, 'A'+k/8, 'A'+k%8, 'A'+k/8, 'A'+k%8)
	}
	return b.String()
}

func TestFloodsAreAccepted(t *testing.T) {
	for name, flood := range floods {
		assert.NoError(t, accept(flood(1000)), name)
	}
}

// The floods cost about the same for each byte, in one piece and bytewise.
func BenchmarkFloods(b *testing.B) {
	for name, flood := range floods {
		doc := []byte(flood(10000))
		b.Run(name, func(b *testing.B) {
			var s Scanner
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				s.Reset()
				for rest := doc; !s.Done(); {
					var it Item
					err := s.Next(rest, &it)
					if err != nil {
						b.Fatal(err)
					}
					rest = rest[it.Len:]
				}
			}
		})
	}
}

// Bytewise input is scanned once: what is looked at again is never more than a
// CDATA section's start, which is the longest thing to be told by its bytes.
func TestBytewiseIsLinear(t *testing.T) {
	for name, flood := range floods {
		doc := []byte(flood(1000))
		var s Scanner
		start := 0
		for end := range doc {
			b := doc[start : end+1]
			was := s.pos
			var it Item
			err := s.Next(b, &it)
			if err == nil {
				start += it.Len
				continue
			}
			require.Equal(t, ErrMore, err, name)
			require.GreaterOrEqual(t, s.pos, was, name)
			require.Less(t, len(b)-s.pos, len(cdataStart), name)
		}
		assert.True(t, s.Done(), name)
	}
}

// A scanner that is kept for the next document does not keep the last one.
func TestResetLetsGo(t *testing.T) {
	long := strings.Repeat("a", 10*maxKept)
	var s Scanner
	_, err := scan(&s, []byte("<"+long+" xmlns='"+long+"&amp;'>"+strings.Repeat("<a xmlns='w'/>", maxKept)+"</"+long+">"))
	assert.ErrorIs(t, err, ErrMore)
	s.Watch = "w"
	s.Reset()
	_, err = scan(&s, []byte("<a><b>"+strings.Repeat("<a xmlns='w'/>", maxKept)+"</b></a>"))
	assert.ErrorIs(t, err, ErrMore)
	s.Reset()
	for _, size := range []int{cap(s.root), cap(s.arena), cap(s.rebinds)} {
		assert.LessOrEqual(t, size, maxKept)
	}
	for _, a := range s.rootAttrs[:cap(s.rootAttrs)] {
		assert.Zero(t, a)
	}
	assert.Nil(t, s.rootURI)
}
