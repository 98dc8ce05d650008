package attack_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var smuggleSeed = flag.Uint64("smuggleseed", 1, "of TestNoTwoReadings")

// What must never get through, in either direction.
var smuggled = map[string]string{
	"an entity bomb":                    "<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]><a>&c;</a>",
	"an entity bomb within":             "<a><!DOCTYPE a [<!ENTITY b 'bb'>]>&b;</a>",
	"an entity that is not declared":    "<a>&nbsp;</a>",
	"an external entity":                "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
	"deep nesting":                      Nested(200),
	"a flood of attributes":             "<a" + manyAttributes(1000) + "/>",
	"an attribute twice":                "<a b='1' b='2'/>",
	"an attribute twice, by prefixes":   "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
	"a declaration twice":               "<a xmlns='u' xmlns='v'/>",
	"a declaration of a prefix, twice":  "<a xmlns:p='u' xmlns:p='v'/>",
	"overlong UTF-8":                    "<a>\xc0\xbc/a></a>",
	"overlong UTF-8 of NUL":             "<a>\xc0\x80</a>",
	"a surrogate in UTF-8":              "<a>\xed\xa0\x80</a>",
	"truncated UTF-8":                   "<a>\xe2\x82</a>",
	"beyond Unicode":                    "<a>\xf4\x90\x80\x80</a>",
	"NUL":                               "<a>\x00</a>",
	"NUL as a reference":                "<a>&#0;</a>",
	"a surrogate as a reference":        "<a>&#xD800;</a>",
	"control characters":                "<a b='\x08'>\x1b</a>",
	"U+FFFE":                            "<a>\uFFFE</a>",
	"a prefix that is not declared":     "<p:a/>",
	"a prefix that is declared as none": "<a xmlns:p=''/>",
	"the prefix xml, taken":             "<a xmlns:xml='u'/>",
	"the prefix xmlns, taken":           "<a xmlns:xmlns='u'/>",
	"the namespace of xml, taken":       "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
	"two colons":                        "<a:b:c xmlns:a='u'/>",
	"a colon first":                     "<:a/>",
	"a split CDATA section's end":       "<a>]]></a>",
	"an unended CDATA section":          "<a><![CDATA[</a>",
	"CDATA beside elements":             "<first xmlns='u'/><![CDATA[<b/>]]>",
	"a comment":                         "<a><!-- </a><b> --></a>",
	"a processing instruction":          "<first xmlns='u'/><?xml version='1.0'?>",
	"a declaration of another encoding": "<?xml version='1.0' encoding='UTF-7'?><a/>",
	"text beside elements":              "<first xmlns='u'/>text",
	"the end of the wrapper":            "<first xmlns='u'/></body><a/>",
	"the end of the wrapper, and again": "</body><body xmlns='" + NsBind + "'>",
	"the end of somebody else's":        "</a><a>",
	"the end of the stream, nested":     "<a></stream:stream></a>",
	"an end tag with another prefix":    "<p:a xmlns:p='u' xmlns:q='u'></q:a>",
	"an attribute without quotes":       "<a b=c/>",
	"an attribute with '<'":             "<a b='<b/>'/>",
	"a tag that does not end":           "<a b='",
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d=''", i)
	}
	return b.String()
}

func TestSmuggled(t *testing.T) {
	for _, framing := range []bosh.Framing{bosh.Elements, bosh.XMPP} {
		o := With(func(o *bosh.Options) { o.Framing, o.CreateTimeout = framing, -1 })
		for name, attack := range smuggled {
			Bubble(t, framing.String()+": "+name, o, func(b *Harness) {
				s := b.Create()
				s.App.Text()
				s.Send(1001, "<before xmlns='u'/>")
				s.App.Reads("<before xmlns='u'/>")
				b.Post(Complete("<body rid='1002' sid='" + s.Sid + "'><first xmlns='u'/>" + attack + "</body>")).GetsNow(Condition(bosh.BadRequest))
				s.App.Reads("")

				s = b.Create()
				require.NoError(b, begin(s))
				_, err := io.WriteString(s.App, "<first xmlns='u'/>"+attack)
				if err == nil { // it could still go well
					_, err = io.WriteString(s.App, "<after xmlns='u'/><a></a>")
				}
				got := s.Send(1001).Body()
				for _, p := range got.Payloads {
					if err != nil && !strings.HasPrefix(string(p), "<stream:features") {
						assert.Equal(b, "<first xmlns='u'/>", string(p), "of what was refused")
					}
				}
				if err == nil {
					// A tag that has not ended may be waiting for its end.
					assert.LessOrEqual(b, len(got.Payloads), 2)
				}
			})
		}
	}
}

// begin has the application begin, which in XMPP takes a header.
func begin(s *Session) error {
	s.App.Text()
	if s.App.Opening().Framing != bosh.XMPP {
		return nil
	}
	_, err := io.WriteString(s.App, streamHeader+"<stream:features/>")
	return err
}

const streamHeader = "<stream:stream xmlns='jabber:client' xmlns:stream='" + NsStream + "' version='1.0' id='i'>"

// TestNoTwoReadings makes up elements of what parsers quarrel over, breaks some
// of them, and sends them in both directions. Whatever is let through must mean
// the same to encoding/xml before and after.
func TestNoTwoReadings(t *testing.T) {
	const n = 1500
	t.Logf("-smuggleseed %d", *smuggleSeed)
	for _, framing := range []bosh.Framing{bosh.Elements, bosh.XMPP} {
		o := With(func(o *bosh.Options) { o.Framing, o.CreateTimeout = framing, -1 })
		Bubble(t, framing.String(), o, func(b *Harness) {
			rng := rand.New(rand.NewPCG(*smuggleSeed, uint64(framing)))
			in, out := 0, 0
			for range n {
				text := quarrel(rng)
				if reads(b, text) {
					in++
				}
				if writes(b, text) {
					out++
				}
			}
			b.Logf("of %d texts %d went in and %d went out", n, in, out)
			assert.Greater(b, in, n/4)
			assert.Greater(b, out, n/4)
			assert.Less(b, in, n)
		})
	}
}

// reads sends text to the application, and reports whether it was accepted.
func reads(b *Harness, text string) bool {
	s := b.Create()
	s.App.Text()
	body := "<body rid='1001' sid='" + s.Sid + "' xmlns='" + NsBind + "' xmlns:h='" + NsBind + "' xmlns:w='urn:w'>" + text + "</body>"
	c := b.Post(body)
	if c.Reply.Load() != nil && strings.Contains(string(c.Answer().Body), "bad-request") {
		assert.Empty(b, s.App.Text())
		return false
	}
	want, err := tokens(body)
	require.NoError(b, err, "accepted: %q", text)
	if s.App.Opening().Framing == bosh.XMPP {
		// What is in the wrapper's namespace for want of a declaration is the
		// client's, and so is all that is there in a stanza that is.
		moved, err := tokens(strings.Replace(body, " xmlns='"+NsBind+"'", " xmlns='jabber:client'", 1))
		require.NoError(b, err)
		want = toClient(want, moved)
	}
	got, err := tokens("<w>" + s.App.Text() + "</w>")
	require.NoError(b, err, "made of %q", text)
	assert.Equal(b, want, got, "%q", text)
	s.Send(1002, "type='terminate'")
	return true
}

// writes has the application send text, and reports whether it was accepted.
func writes(b *Harness, text string) bool {
	s := b.Create()
	require.NoError(b, begin(s))
	root := "<w>"
	if s.App.Opening().Framing == bosh.XMPP {
		root = streamHeader + "<stream:features/>"
	}
	_, err := io.WriteString(s.App, text)
	c := s.Send(1001)
	if c.Reply.Load() == nil {
		return false // it has not ended, and so nothing goes out
	}
	answer := string(c.Answer().Body)
	got, perr := tokens(answer)
	require.NoError(b, perr, "sent: %q", text)
	end := "</w>"
	if root != "<w>" {
		end = "</stream:stream>"
	}
	want, perr := tokens(root + text + end)
	if err != nil || perr != nil {
		// What came before the fault has gone out. What did not end never will.
		assert.LessOrEqual(b, len(got), strings.Count(root+text, "<")+strings.Count(root+text, ">"), "%q", text)
		return false
	}
	assert.Equal(b, want, got, "%q", text)
	s.Send(1002, "type='terminate'")
	return true
}

// tokens returns what encoding/xml reads inside of the root, without the text
// between its children and without declarations.
func tokens(text string) (all []xml.Token, err error) {
	d := xml.NewDecoder(strings.NewReader(text))
	for depth := 0; ; {
		tok, err := d.Token()
		if err == io.EOF && depth == 0 {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth++; depth == 1 {
				continue
			}
			var attrs []xml.Attr
			for _, a := range tok.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					attrs = append(attrs, a)
				}
			}
			tok.Attr = attrs
			all = append(all, tok)
		case xml.EndElement:
			if depth--; depth == 0 {
				continue
			}
			all = append(all, tok)
		case xml.CharData:
			if depth > 1 && len(tok) > 0 {
				all = append(all, tok.Copy())
			}
		default:
			return nil, errors.New("what there must not be")
		}
	}
}

// toClient moves what is in the wrapper's namespace, inside of the elements
// which are in it too, to jabber:client. It returns moved, whose tokens are
// those of all where the wrapper itself has the other namespace.
func toClient(all, moved []xml.Token) []xml.Token {
	depth, moves := 0, false
	move := func(n *xml.Name) {
		if moves && n.Space == NsBind {
			n.Space = "jabber:client"
		}
	}
	for i := range moved {
		switch tok := moved[i].(type) {
		case xml.StartElement:
			if depth++; depth == 1 {
				moves = all[i].(xml.StartElement).Name.Space == NsBind
			}
			move(&tok.Name)
			for k := range tok.Attr {
				move(&tok.Attr[k].Name)
			}
			moved[i] = tok
		case xml.EndElement:
			depth--
			move(&tok.Name)
			moved[i] = tok
		}
	}
	return moved
}

// quarrel returns a text that parsers may quarrel over: elements, of which some
// are broken.
func quarrel(rng *rand.Rand) string {
	var b strings.Builder
	for range 1 + rng.IntN(3) {
		tree(&b, rng, 0)
	}
	text := b.String()
	if rng.IntN(3) > 0 {
		return text
	}
	at := rng.IntN(len(text))
	switch rng.IntN(3) {
	case 0:
		return text[:at] + text[min(at+1+rng.IntN(3), len(text)):]
	case 1:
		return text[:at] + scraps[rng.IntN(len(scraps))] + text[at:]
	}
	return text[:at]
}

func tree(b *strings.Builder, rng *rand.Rand, depth int) {
	name := []string{"a", "message", "body", "p:a", "stream", "é", "data"}[rng.IntN(7)]
	attrs := []string{"", " b='c'", " b=\"'\"", " xml:lang='en'", " b='&#60;a&#62;'", " b='\n\t'", " c:d='e' xmlns:c='urn:c'", " b = 'c'\n"}[rng.IntN(8)]
	decl := []string{"", " xmlns='urn:u'", " xmlns='" + NsBind + "'", " xmlns=''", " xmlns='jabber:client'"}[rng.IntN(5)]
	if strings.HasPrefix(name, "p:") {
		decl += []string{" xmlns:p='urn:p'", " xmlns:p='" + NsBind + "'", " xmlns:p='urn&#58;p'"}[rng.IntN(3)]
	}
	fmt.Fprintf(b, "<%s%s%s", name, decl, attrs)
	if rng.IntN(4) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteString(">")
	for range rng.IntN(4) {
		if depth < 4 && rng.IntN(2) == 0 {
			tree(b, rng, depth+1)
		} else {
			b.WriteString(phrases[rng.IntN(len(phrases))])
		}
	}
	fmt.Fprintf(b, "</%s>", name)
}

var phrases = []string{
	"x", "&lt;/body&gt;", "&#60;/body&#62;", "&amp;lt;", "<![CDATA[</body></stream:stream>]]>", "<![CDATA[]]]]><![CDATA[>]]>",
	"]]", "]", ">", "\r\n", "\r", "'\"", "é\u2028\U0001F600", "&#x10FFFF;", "<![CDATA[&lt;]]>", "&quot;&apos;", " ",
}

var scraps = []string{
	"</body>", "</stream:stream>", "<body xmlns='" + NsBind + "'>", "<stream:stream>", "<!--", "-->", "<?x ?>", "]]>", "<![CDATA[",
	"&x;", "&", "<", ">", "'", "\"", "\x00", "\xc0\x80", "\xff", "<!DOCTYPE a>", "<h:a/>", "<w:a w:b=''/>", "<q:a/>", " ", "x", "/",
	" b='1'", " b='1' b='2'", " xmlns:xml='u'", "&#0;", "&#xD800;", ":",
}
