package xmlscan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const httpbind = "http://jabber.org/protocol/httpbind"

// describe tells all there is to know of an item.
func describe(s *Scanner, it Item, b []byte) string {
	switch it.Kind {
	case Decl:
		return fmt.Sprintf("decl %q", b[:it.Len])
	case Space:
		return fmt.Sprintf("space %q", b[:it.Len])
	case End:
		return fmt.Sprintf("end %q", b[:it.Len])
	}
	var d strings.Builder
	fmt.Fprintf(&d, "%q is %s:%s in %q up to %d", b[:it.Len], it.Prefix, it.Local, it.URI, it.NameEnd)
	if it.Kind == Element {
		fmt.Fprintf(&d, " default %v uses %q rebinds %v", it.UsesDefault, it.Uses, it.Rebinds)
		return "element " + d.String()
	}
	for _, a := range s.Attrs() {
		fmt.Fprintf(&d, " {%s:%s in %q = %q}", a.Prefix, a.Local, a.URI, a.Value)
	}
	fmt.Fprintf(&d, " bindings %q", s.Bindings())
	if it.Kind == Empty {
		return "empty " + d.String()
	}
	return "start " + d.String()
}

// scan feeds doc to the scanner so that the input ends at each of the cuts in
// turn, and describes what comes out of it. Space that was cut is put together
// again. The input is moved before every call, and what was there before is
// made useless.
func scan(s *Scanner, doc []byte, cuts ...int) (items []string, err error) {
	space := 0
	var old []byte
	start := 0
	for _, end := range append(cuts, len(doc)) {
		for {
			b := append([]byte(nil), doc[start:end]...)
			for k := range old {
				old[k] = '!'
			}
			old = b
			var it Item
			if err = s.Next(b, &it); err != nil {
				break
			}
			if it.Len <= 0 || it.Len > len(b) {
				return items, fmt.Errorf("item of %d bytes out of %d", it.Len, len(b))
			}
			if it.Kind == Space {
				space += it.Len
			} else {
				if space > 0 {
					items = append(items, fmt.Sprintf("space %d", space))
					space = 0
				}
				items = append(items, describe(s, it, b))
			}
			start += it.Len
		}
		if !errors.Is(err, ErrMore) {
			break
		}
	}
	if space > 0 {
		items = append(items, fmt.Sprintf("space %d", space))
	}
	return items, err
}

// accept reports whether doc is a complete document.
func accept(doc string) error {
	var s Scanner
	_, err := scan(&s, []byte(doc))
	if errors.Is(err, ErrMore) && s.Done() {
		return nil
	}
	return err
}

var samples = []string{
	wrapperStart + message + disco() + wrapperEnd,
	"\uFEFF<?xml version=\"1.0\" encoding='utf-8' standalone = 'no' ?>\r\n<a/>\n",
	`<body xmlns='` + httpbind + `' xmlns:j='urn:&#120;' xmlns:k="urn:x" j:a='1' b = '2'>` +
		`<j:a/> <b xmlns='urn:w'><j:c k:d='' e='"&apos;&#x20ac;&#0000000000038;'>ж𝄞]]</j:c ></b>` + "\n" +
		`<c><d xmlns='urn:&#x77;'/><xmpp:e/>]] &gt;<![CDATA[<]]]]><![CDATA[>&]]>text</c></body>`,
	`<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>` +
		`<stream:features><a xmlns='u'/></stream:features> <iq xml:lang='en'>` + "\t\r\n" + `<q xmlns=''/></iq></stream:stream>`,
	`<a><b></c></a>`,
	`<a>&lt;</a>`,
	`<a><b>&nbsp;</b></a>`,
	`<a><b c='&#xD800;'/></a>`,
	`<a><!-- --></a>`,
	"<a><b>\xE2\x28\xA1</b></a>",
	`<été ç='1'><ü/></été>`,
	`<a></ab>`,
	`<a><b/></a`,
}

func newScanner() *Scanner {
	return &Scanner{Outer: []Binding{{"xmpp", "urn:xmpp:xbosh"}}, Watch: "urn:w"}
}

func TestItems(t *testing.T) {
	for _, tt := range []struct {
		doc  string
		want []string
	}{
		{
			// B6-6: a byte order mark and a declaration are accepted.
			samples[1],
			[]string{
				"space 3",
				`decl "<?xml version=\"1.0\" encoding='utf-8' standalone = 'no' ?>"`,
				"space 2",
				`empty "<a/>" is :a in "" up to 2 bindings [{"xmpp" "urn:xmpp:xbosh"}]`,
				"space 1",
			},
		},
		{
			// B6-8, B6-9, B6-10, B6-12: references, white space, CDATA, the
			// root's declarations.
			samples[2],
			[]string{
				`start "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:j='urn:&#120;' xmlns:k=\"urn:x\" j:a='1' b = '2'>"` +
					` is :body in "http://jabber.org/protocol/httpbind" up to 5` +
					` {:xmlns in "http://www.w3.org/2000/xmlns/" = "http://jabber.org/protocol/httpbind"}` +
					` {xmlns:j in "http://www.w3.org/2000/xmlns/" = "urn:&#120;"}` +
					` {xmlns:k in "http://www.w3.org/2000/xmlns/" = "urn:x"}` +
					` {j:a in "urn:x" = "1"} {:b in "" = "2"}` +
					` bindings [{"" "http://jabber.org/protocol/httpbind"} {"j" "urn:x"} {"k" "urn:x"} {"xmpp" "urn:xmpp:xbosh"}]`,
				`element "<j:a/>" is j:a in "urn:x" up to 4 default false uses [{"j" "urn:x"}] rebinds []`,
				"space 1",
				`element "<b xmlns='urn:w'><j:c k:d='' e='\"&apos;&#x20ac;&#0000000000038;'>ж𝄞]]</j:c ></b>"` +
					` is :b in "urn:w" up to 2 default false uses [{"j" "urn:x"} {"k" "urn:x"}] rebinds [{10 15}]`,
				"space 1",
				`element "<c><d xmlns='urn:&#x77;'/><xmpp:e/>]] &gt;<![CDATA[<]]]]><![CDATA[>&]]>text</c>"` +
					` is :c in "http://jabber.org/protocol/httpbind" up to 2 default true uses [{"xmpp" "urn:xmpp:xbosh"}] rebinds [{13 23}]`,
				`end "</body>"`,
			},
		},
		{
			samples[3],
			[]string{
				`start "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"` +
					` is stream:stream in "http://etherx.jabber.org/streams" up to 14` +
					` {:xmlns in "http://www.w3.org/2000/xmlns/" = "jabber:client"}` +
					` {xmlns:stream in "http://www.w3.org/2000/xmlns/" = "http://etherx.jabber.org/streams"}` +
					` {:version in "" = "1.0"}` +
					` bindings [{"" "jabber:client"} {"stream" "http://etherx.jabber.org/streams"} {"xmpp" "urn:xmpp:xbosh"}]`,
				`element "<stream:features><a xmlns='u'/></stream:features>" is stream:features in "http://etherx.jabber.org/streams"` +
					` up to 16 default false uses [{"stream" "http://etherx.jabber.org/streams"}] rebinds []`,
				"space 1",
				`element "<iq xml:lang='en'>\t\r\n<q xmlns=''/></iq>" is :iq in "jabber:client" up to 3 default true uses [] rebinds []`,
				`end "</stream:stream>"`,
			},
		},
	} {
		items, err := scan(newScanner(), []byte(tt.doc))
		assert.ErrorIs(t, err, ErrMore)
		assert.Equal(t, tt.want, items)
	}
}

func TestResetInside(t *testing.T) {
	s := newScanner()
	s.ResetInside([]Binding{{"", "jabber:client"}, {"xmpp", "urn:other"}, {"a", "urn:a"}})
	items, err := scan(s, []byte("<iq><a:b/></iq> <xmpp:x/>"))
	assert.ErrorIs(t, err, ErrMore)
	assert.Equal(t, []string{
		`element "<iq><a:b/></iq>" is :iq in "jabber:client" up to 3 default true uses [{"a" "urn:a"}] rebinds []`,
		"space 1",
		`element "<xmpp:x/>" is xmpp:x in "urn:other" up to 7 default false uses [{"xmpp" "urn:other"}] rebinds []`,
	}, items)
	assert.False(t, s.Done())

	for _, doc := range []string{"</a>", "<a/></a>", "<b:a/>", "<a></a>text", "\uFEFF<a/>", "<?xml version='1.0'?>"} {
		s.ResetInside([]Binding{{"a", "urn:a"}})
		_, err := scan(s, []byte(doc))
		assert.NotErrorIs(t, err, ErrMore, doc)
	}
}

// The items do not depend on how the input comes.
func TestCuts(t *testing.T) {
	for _, doc := range samples {
		whole, wholeErr := scan(newScanner(), []byte(doc))
		var all []int
		for k := range len(doc) + 1 {
			all = append(all, k)
			items, err := scan(newScanner(), []byte(doc), k)
			require.Equal(t, whole, items, "cut at %d", k)
			require.Equal(t, wholeErr, err, "cut at %d", k)
		}
		items, err := scan(newScanner(), []byte(doc), all...)
		require.Equal(t, whole, items)
		require.Equal(t, wholeErr, err)

		// All pieces of the document, also those after which it is wrong to
		// go on, behave in the same way.
		r := rand.New(rand.NewPCG(1, uint64(len(doc))))
		for range 50 {
			end := r.IntN(len(doc))
			whole, wholeErr := scan(newScanner(), []byte(doc[:end]))
			items, err := scan(newScanner(), []byte(doc[:end]), all[:end]...)
			require.Equal(t, whole, items)
			require.Equal(t, wholeErr, err)
		}
	}
}

func TestErrorsStay(t *testing.T) {
	var s Scanner
	doc := []byte("<a> text</a>")
	_, err := scan(&s, doc)
	assert.Equal(t, &SyntaxError{4, "character data outside of the root's children"}, err)
	again := s.Next([]byte("<b/>"), new(Item))
	assert.Equal(t, err, again)
	s.Reset()
	var it Item
	err = s.Next([]byte("<b/>"), &it)
	assert.NoError(t, err)
	assert.Equal(t, Empty, it.Kind)
	assert.True(t, s.Done())
	assert.EqualError(t, again, "invalid XML: character data outside of the root's children")
}

// A scanner reads a document the same whatever it has read before, although it
// keeps the declarations of the root for the next one.
func TestResetForgets(t *testing.T) {
	docs := append([]string{
		`<a xmpp:b='1'><xmpp:c/><d/></a>`,
		`<a xmlns='u' xmpp:b='1'><xmpp:c/><d/></a>`,
		`<a xmlns='u' xmlns:xmpp='v' xmpp:b='1'><xmpp:c/><d/></a>`,
		`<a xmlns='u' xmlns:p='v'><p:c/><d/></a>`,
		`<xmpp:a xmlns:p='urn:xmpp:xbosh'><c p:b='' xmpp:b=''/></xmpp:a>`,
		`<a><p:c/></a>`,
		`<a p:b=''/>`,
	}, samples...)
	for _, first := range docs {
		for _, second := range docs {
			want, wantErr := scan(newScanner(), []byte(second))
			s := newScanner()
			scan(s, []byte(first))
			s.Reset()
			got, err := scan(s, []byte(second))
			assert.Equal(t, want, got, "%q after %q", second, first)
			assert.Equal(t, wantErr, err, "%q after %q", second, first)
		}
	}
}

// The declarations outlive their document's bytes.
func TestBindingsAreCopies(t *testing.T) {
	var s Scanner
	for k := range 3 * maxInterned {
		s.Reset()
		long := strings.Repeat("x", 10*k)
		doc := []byte(fmt.Sprintf("<a xmlns:p%d='urn:%s&amp;'><p%d:b/></a>", k, long, k))
		n := 0
		var it Item
		err := s.Next(doc, &it)
		require.NoError(t, err)
		n += it.Len
		clear(doc[:n])
		err = s.Next(doc[n:], &it)
		require.NoError(t, err)
		want := []Binding{{fmt.Sprintf("p%d", k), "urn:" + long + "&"}}
		assert.Equal(t, want, s.Bindings())
		assert.Equal(t, want, it.Uses)
		assert.Equal(t, want[0].URI, string(it.URI))
	}
	assert.LessOrEqual(t, len(s.cache), maxInterned)
}

func TestNoAllocations(t *testing.T) {
	doc := []byte(`<?xml version='1.0'?>` + wrapperStart + message + `<xmpp:a xmlns:b='&amp;'/>` + wrapperEnd)
	var s Scanner
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		s.Reset()
		for b := doc; !s.Done(); {
			var it Item
			err := s.Next(b, &it)
			if err != nil {
				panic(err)
			}
			b = b[it.Len:]
		}
	}))
}
