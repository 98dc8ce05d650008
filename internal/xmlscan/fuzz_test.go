package xmlscan

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stricter lists the errors for what encoding/xml accepts. Whatever else the
// scanner refuses, encoding/xml must refuse too.
var stricter = map[string]string{
	"character data outside of the root's children":  "encoding/xml reads any sequence of elements and text; of frames this is the point",
	"more than white space behind the root":          "encoding/xml reads any sequence of elements and text",
	"processing instruction":                         "refused by RFC 6120, 11.1, and XEP-0124, 11",
	"comment, section or document type declaration":  "refused by RFC 6120, 11.1, and XEP-0124, 11",
	"comment, or document type declaration":          "refused by RFC 6120, 11.1, and XEP-0124, 11",
	"duplicate attribute":                            "XML 1.0, 3.1, and Namespaces, 6.3; encoding/xml does not look",
	"undeclared prefix":                              "Namespaces, 5; encoding/xml takes the prefix for the namespace",
	"declaration of the prefix xmlns":                "Namespaces, 3; encoding/xml does not look",
	"declaration of the xmlns namespace":             "Namespaces, 3; encoding/xml does not look",
	"declaration of the prefix xml or its namespace": "Namespaces, 3; encoding/xml does not look",
	"declaration of a prefix as no namespace":        "Namespaces, 5; encoding/xml does not look",
	"name expected":                                  "Namespaces, 4: in encoding/xml ':a', 'a:' and 'a:1' are names without a prefix",
	"white space, or the end of the tag, expected":   "XML 1.0, 3.1; encoding/xml wants no space between attributes",
	"invalid character reference":                    "XML 1.0, 4.1; encoding/xml takes surrogates for U+FFFD",
	"XML declaration without a known version":        "XML 1.0, 2.8; encoding/xml looks for little in the declaration",
	"encoding other than UTF-8":                      "XML 1.0, 2.8; encoding/xml is told here to take anything for UTF-8",
	"invalid XML declaration":                        "XML 1.0, 2.8; encoding/xml looks for little in the declaration",
	"attribute without a quoted value":               "XML 1.0, 2.8: in encoding/xml the declaration may hold anything",
	"'<' in an attribute value":                      "XML 1.0, 2.8: in encoding/xml the declaration may hold anything",
	"reference to an unknown entity":                 "XML 1.0, 2.8: in encoding/xml the declaration may hold anything",
	"invalid character":                              "XML 1.0, 2.8: in encoding/xml the declaration may hold anything",
	"invalid character in a name":                    "XML 1.0, 2.8: in encoding/xml the declaration may hold anything",
	"'>' expected":                                   "XML 1.0, 2.8: in encoding/xml the declaration may hold anything",
	"more than one colon in a name":                  "XML 1.0, 2.8: in encoding/xml the declaration may hold anything",
	"elements nested too deeply":                     "a limit",
	"too many attributes":                            "a limit",
	"too many namespace declarations":                "a limit",
}

// onlyInDecl are those of them that are listed for the XML declaration alone.
func onlyInDecl(msg string) bool {
	return strings.Contains(stricter[msg], "the declaration may hold anything")
}

// laxer tells why the scanner may accept a document that encoding/xml refuses
// with err, or returns "".
func laxer(err error) string {
	msg := err.Error()
	if _, name, ok := strings.Cut(msg, "invalid XML name: "); ok && !isASCII(name) && utf8.ValidString(name) {
		return "encoding/xml has the names of the fourth edition of XML 1.0, which are fewer"
	}
	if strings.Contains(msg, "unsupported version") {
		return "XML 1.0, 2.8: a processor should accept any version 1.x"
	}
	return ""
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// oneLine takes line ends in attribute values for spaces, as encoding/xml fails
// to, wherever they come from.
var oneLine = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")

// parse returns what encoding/xml makes of a document: a string for each child
// of the root, from which declarations are left out, and one for the root. If
// watch is not empty it counts the declarations with this value in each child.
func parse(doc, watch string) (children []string, watched []int, root string, err error) {
	d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(doc, "\uFEFF")))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	depth, roots := 0, 0
	var text strings.Builder
	add := func(s string) {
		if text.Len() > 0 && depth > 1 {
			children[len(children)-1] += fmt.Sprintf("text %q\n", text.String())
		}
		text.Reset()
		if depth > 1 {
			children[len(children)-1] += s
		} else {
			root += s
		}
	}
	for {
		tok, err := d.Token()
		if err == io.EOF {
			if roots == 0 {
				return nil, nil, "", errors.New("no root")
			}
			return children, watched, root, nil
		}
		if err != nil {
			return nil, nil, "", err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			add("")
			if depth++; depth == 2 {
				children, watched = append(children, ""), append(watched, 0)
			}
			s := fmt.Sprintf("<%q %q", oneLine.Replace(tok.Name.Space), tok.Name.Local)
			for _, a := range tok.Attr {
				if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
					if depth > 1 && oneLine.Replace(a.Value) == watch {
						watched[len(watched)-1]++
					}
					continue
				}
				s += fmt.Sprintf(" %q %q=%q", oneLine.Replace(a.Name.Space), a.Name.Local, oneLine.Replace(a.Value))
			}
			add(s + "\n")
		case xml.EndElement:
			add(">\n")
			depth--
		case xml.CharData:
			text.Write(tok)
		}
	}
}

var (
	naiveItem = regexp.MustCompile(`(?s)<!\[CDATA\[(.*?)\]\]>|<(/?)([^\s/>]+)((?:\s+[^\s=>]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(/?)>|([^<]+)`)
	naiveAttr = regexp.MustCompile(`(?s)([^\s=]+)\s*=\s*("[^"]*"|'[^']*')`)
)

// naive reads an element as simply as can be, which must do for what the
// scanner has accepted, in a form like that of parse.
func naive(element string, outer []Binding) (out string) {
	type scope map[string]string
	first := scope{"xml": xmlURI}
	for _, d := range outer {
		first[d.Prefix] = d.URI
	}
	scopes := []scope{first}
	find := func(prefix string) string {
		for _, sc := range slices.Backward(scopes) {
			if uri, ok := sc[prefix]; ok {
				return uri
			}
		}
		if prefix != "" {
			return "undeclared"
		}
		return ""
	}
	name := func(qname string, isAttr bool) string {
		prefix, local, ok := strings.Cut(qname, ":")
		if !ok {
			prefix, local = "", qname
			if isAttr {
				return fmt.Sprintf("%q %q", "", local)
			}
		}
		return fmt.Sprintf("%q %q", oneLine.Replace(find(prefix)), local)
	}
	text := ""
	flush := func() {
		if text != "" {
			out += fmt.Sprintf("text %q\n", text)
		}
		text = ""
	}
	for _, m := range naiveItem.FindAllStringSubmatch(element, -1) {
		switch {
		case strings.HasPrefix(m[0], "<![CDATA["):
			text += strings.ReplaceAll(strings.ReplaceAll(m[1], "\r\n", "\n"), "\r", "\n")
		case m[6] != "":
			text += string(unescape(nil, []byte(m[6]), false))
		case m[2] != "":
			flush()
			out += ">\n"
			scopes = scopes[:len(scopes)-1]
		default:
			flush()
			sc := scope{}
			scopes = append(scopes, sc)
			attrs := naiveAttr.FindAllStringSubmatch(m[4], -1)
			for _, a := range attrs {
				value := string(Unescape(nil, []byte(a[2][1:len(a[2])-1])))
				if a[1] == "xmlns" {
					sc[""] = value
				} else if p, ok := strings.CutPrefix(a[1], "xmlns:"); ok {
					sc[p] = value
				}
			}
			out += "<" + name(m[3], false)
			for _, a := range attrs {
				if a[1] != "xmlns" && !strings.HasPrefix(a[1], "xmlns:") {
					value := string(Unescape(nil, []byte(a[2][1:len(a[2])-1])))
					out += fmt.Sprintf(" %s=%q", name(a[1], true), oneLine.Replace(value))
				}
			}
			out += "\n"
			if m[5] != "" {
				out += ">\n"
				scopes = scopes[:len(scopes)-1]
			}
		}
	}
	flush()
	return out
}

const fuzzRoot = "<r xmlns='d' xmlns:p='urn:p' xmlns:q='urn:&#112;' xmlns:w='urn:w'>"

// calledXMLNS matches an element that is called like a declaration. It is in the
// default namespace like any other, but to encoding/xml it is in none.
var calledXMLNS = regexp.MustCompile(`<xmlns[\s/>]`)

// FuzzScanner compares the scanner with encoding/xml. What data is a part of is
// told by form: a document, the content of a root, or the content of a child.
func FuzzScanner(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s), byte(0))
	}
	for _, s := range almostPlain {
		f.Add([]byte(s), byte(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, form byte) {
		doc := string(data)
		switch form % 3 {
		case 1:
			doc = fuzzRoot + doc + "</r>"
		case 2:
			doc = fuzzRoot + "<a xmlns:n='urn:n' b=''>" + doc + "</a></r>"
		}
		children, watched, root, xmlErr := parse(doc, "urn:w")

		s := Scanner{Watch: "urn:w"}
		var elements []string
		rest := []byte(doc)
		gotRoot := ""
		n := 0
		for {
			var it Item
			err := s.Next(rest, &it)
			if err != nil {
				var syn *SyntaxError
				switch {
				case errors.As(err, &syn):
					if xmlErr == nil && (stricter[syn.Msg] == "" || onlyInDecl(syn.Msg) && s.kind != Decl) {
						t.Fatalf("%q is accepted by encoding/xml, but: %v", doc, err)
					}
					return
				case !s.Done():
					if xmlErr == nil {
						t.Fatalf("%q is accepted by encoding/xml, but not complete", doc)
					}
					return
				}
				break
			}
			b := string(rest[:it.Len])
			rest = rest[it.Len:]
			switch it.Kind {
			case Start, Empty:
				gotRoot = fmt.Sprintf("<%q %q", oneLine.Replace(string(it.URI)), it.Local)
				for _, a := range s.Attrs() {
					if string(a.URI) != xmlnsURI {
						gotRoot += fmt.Sprintf(" %q %q=%q", oneLine.Replace(string(a.URI)), a.Local, oneLine.Replace(string(Unescape(nil, a.Value))))
					}
				}
				gotRoot += "\n>\n"
			case Element:
				elements = append(elements, naive(b, s.Bindings()))
				checkElement(t, &s, it, b, elements[n])
				if xmlErr == nil && n < len(watched) {
					assert.Len(t, it.Rebinds, watched[n])
				}
				for _, r := range it.Rebinds {
					assert.Equal(t, "urn:w", string(Unescape(nil, []byte(b[r.Start:r.End]))))
				}
				n++
			}
		}
		if xmlErr != nil {
			if laxer(xmlErr) == "" {
				t.Fatalf("%q is accepted, but not by encoding/xml: %v", doc, xmlErr)
			}
			return
		}
		if !calledXMLNS.MatchString(doc) {
			assert.Equal(t, root, gotRoot)
			assert.Equal(t, children, elements)
		}
	})
}

// checkElement checks what an item says of an element, which reads as given:
// with the declarations inserted that it needs, and only with them, it means
// the same wherever it stands.
func checkElement(t *testing.T, s *Scanner, it Item, b, want string) {
	name := string(it.Local)
	if it.Prefix != nil {
		name = string(it.Prefix) + ":" + name
	}
	require.Equal(t, "<"+name, b[:it.NameEnd])
	require.True(t, strings.HasPrefix(want, fmt.Sprintf("<%q %q", oneLine.Replace(string(it.URI)), it.Local)), want)

	decls := make([]string, 0, 8)
	if it.UsesDefault {
		uri := ""
		for _, d := range s.Bindings() {
			if d.Prefix == "" {
				uri = d.URI
			}
		}
		decls = append(decls, " xmlns='"+string(AppendEscaped(nil, uri))+"'")
	}
	for _, d := range it.Uses {
		decls = append(decls, " xmlns:"+d.Prefix+"='"+string(AppendEscaped(nil, d.URI))+"'")
	}
	alone := b[:it.NameEnd] + strings.Join(decls, "") + b[it.NameEnd:]

	inside := Scanner{Limits: Limits{Attrs: 1000, Bindings: 1000}}
	inside.ResetInside([]Binding{{"", "urn:elsewhere"}, {"p", "urn:elsewhere"}})
	var again Item
	err := inside.Next([]byte(alone), &again)
	require.NoError(t, err, alone)
	assert.Equal(t, len(alone), again.Len)
	assert.False(t, again.UsesDefault)
	assert.Empty(t, again.Uses)
	assert.Equal(t, string(it.URI), string(again.URI))
	assert.Equal(t, want, naive(alone, nil))

	for k, d := range decls {
		if strings.HasPrefix(d, " xmlns:") {
			less := b[:it.NameEnd] + strings.Join(decls[:k], "") + strings.Join(decls[k+1:], "") + b[it.NameEnd:]
			inside.ResetInside(nil)
			err := inside.Next([]byte(less), new(Item))
			assert.Error(t, err, "%s is not needed in %q", d, alone)
		}
	}
}

// FuzzChunks cuts documents into pieces at random: the items stay the same.
func FuzzChunks(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s), uint64(0))
	}
	for _, s := range almostPlain {
		f.Add([]byte(fuzzRoot+s+"</r>"), uint64(1))
	}
	f.Fuzz(func(t *testing.T, doc []byte, seed uint64) {
		begin := func() *Scanner {
			s := newScanner()
			if seed%3 == 0 {
				s.ResetInside([]Binding{{"", "d"}, {"p", "urn:p"}})
			}
			return s
		}
		want, wantErr := scan(begin(), doc)
		r := rand.New(rand.NewPCG(seed, 0))
		var cuts []int
		for k := range doc {
			if seed%5 == 0 || r.IntN(4) == 0 {
				cuts = append(cuts, k)
			}
		}
		items, err := scan(begin(), doc, cuts...)
		require.Equal(t, want, items)
		require.Equal(t, wantErr, err)
	})
}
