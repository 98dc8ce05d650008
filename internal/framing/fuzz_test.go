package framing

import (
	"encoding/xml"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// fourthEdition matches the error by which encoding/xml refuses names that the
// fifth edition of XML 1.0 allows.
var fourthEdition = regexp.MustCompile(`invalid XML name: .*[^\x00-\x7f]`)

// standsAlone fails the test unless an element can stand in a wrapper: it is one
// element there, with no name left that would be in the wrapper's namespace.
func standsAlone(t *testing.T, el string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader("<body xmlns='wrapper' xmlns:stream='http://etherx.jabber.org/streams'>" + el + "</body>"))
	depth, children := 0, 0
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			if fourthEdition.MatchString(err.Error()) {
				return
			}
			t.Fatalf("%v: %s", err, el)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth++; depth == 2 {
				children++
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 1 {
				t.Fatalf("text %q beside the element: %s", tok, el)
			}
		case xml.Comment, xml.Directive, xml.ProcInst:
			t.Fatalf("%T in %s", tok, el)
		}
	}
	if depth != 0 || children != 1 {
		t.Fatalf("%d elements, depth %d: %s", children, depth, el)
	}
	d = xml.NewDecoder(strings.NewReader("<body xmlns='wrapper' xmlns:stream='http://etherx.jabber.org/streams'>" + el + "</body>"))
	for first := true; ; first = false {
		tok, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%v: %s", err, el)
		}
		if start, ok := tok.(xml.StartElement); ok && !first && start.Name.Space == "wrapper" && !strings.Contains(el, "wrapper") {
			t.Fatalf("%s is in the wrapper's namespace: %s", start.Name.Local, el)
		}
	}
}

// sameInChunks fails the test unless b comes out the same in chunks, whose sizes
// are the bytes of cuts. It returns what came out.
func sameInChunks(t *testing.T, make func() *Cutter, b, cuts string) []out {
	t.Helper()
	one := make()
	want, wantErr := cut(one, b, whole)
	other, i := make(), 0
	got, err := cut(other, b, func(left int) int {
		if i++; i > len(cuts) {
			return left
		}
		return int(cuts[i-1])
	})
	if describe(got) != describe(want) || (err == nil) != (wantErr == nil) {
		t.Fatalf("%q\nwhole:  %s %v\nchunks: %s %v", b, describe(want), wantErr, describe(got), err)
	}
	if err == nil && one.Pending() != other.Pending() {
		t.Fatalf("%q: pending %v, and in chunks %v", b, one.Pending(), other.Pending())
	}
	wantRuns, wantCounts := runs(want)
	for _, size := range [...]int{1, 20, 1 << 20} {
		i = 0
		got, counts, err := cutRuns(make(), b, size, func(left int) int {
			if i++; i > len(cuts) {
				return left
			}
			return int(cuts[i-1])
		})
		if describe(got) != describe(wantRuns) || !slices.Equal(counts, wantCounts) || (err == nil) != (wantErr == nil) {
			t.Fatalf("%q\nby one:  %s %v %v\nin runs: %s %v %v", b, describe(wantRuns), wantCounts, wantErr, describe(got), counts, err)
		}
	}
	return want
}

const fuzzMax = 2000

// FuzzXMPPChunks cuts anything that a server might write, in any chunks.
func FuzzXMPPChunks(f *testing.F) {
	for _, b := range []string{
		header, header + "<stream:features/><message><body>&amp;</body></message> </stream:stream>",
		header + "<stream:features>x<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
		header + "<s:features xmlns:s='http://etherx.jabber.org/streams' xmlns='http://jabber.org/features/compress'><compression/><a/></s:features>",
		header + "<a xmlns='u'/>" + header + "<iq/>", "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:p='v'><p:a/><s:error/></s:stream>",
	} {
		f.Add(b, "\x01\x02\x03")
		f.Add(b, "\x07")
	}
	f.Fuzz(func(t *testing.T, b, cuts string) {
		for _, it := range sameInChunks(t, func() *Cutter { return NewPlain(fuzzMax) }, b, cuts) {
			if it.xml != "" {
				standsAlone(t, it.xml)
			}
		}
		if !strings.HasPrefix(b, header) {
			for _, it := range sameInChunks(t, func() *Cutter { return NewPlain(fuzzMax) }, header+b, cuts) {
				if it.xml != "" {
					standsAlone(t, it.xml)
				}
			}
		}
	})
}

// FuzzElements does the same for bare elements, and compares Elements.
func FuzzElements(f *testing.F) {
	for _, b := range []string{
		"<a/>", "<a xmlns='u'>x</a> <p:b xmlns:p='v' p:c='1'/>", "<a><b xmlns=''/></a>", "<a>", "<xml:a/>", "<a xml:lang='en'/>",
	} {
		f.Add(b, "\x01\x02\x03")
	}
	f.Fuzz(func(t *testing.T, b, cuts string) {
		items := sameInChunks(t, func() *Cutter { return NewElements(fuzzMax) }, b, cuts)
		cutter := NewElements(fuzzMax)
		_, wantErr := cut(cutter, b, whole)
		for _, it := range items {
			standsAlone(t, it.xml)
		}
		all, n, err := Elements([]byte(b), fuzzMax)
		if good := wantErr == nil && !cutter.Pending(); good != (err == nil) {
			t.Fatalf("%q: %v, and by a Cutter %v", b, err, wantErr)
		}
		if err != nil {
			return
		}
		var joined strings.Builder
		for _, it := range items {
			joined.WriteString(it.xml)
		}
		if string(all) != joined.String() || n != len(items) {
			t.Fatalf("%q: %d elements %s", b, n, all)
		}
		if !utf8.Valid(all) {
			t.Fatalf("%q is not UTF-8", all)
		}
	})
}
