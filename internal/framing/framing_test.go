package framing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// header is what a server writes first.
const header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'" +
	" id='i&lt;1' from='example.com' version='1.0' xml:lang='en'>"

// An out is an Item that may be kept.
type out struct {
	kind Kind
	xml  string
	head *Head
}

// cut cuts b in chunks that end where next says, which gets what is left. It
// stops at an error.
func cut(c *Cutter, b string, next func(left int) int) (items []out, err error) {
	for b != "" {
		chunk := []byte(b[:min(max(next(len(b)), 1), len(b))])
		b = b[len(chunk):]
		for len(chunk) > 0 {
			n, it, err := c.Cut(chunk)
			if err != nil {
				return items, err
			}
			if it.Kind != None {
				items = append(items, out{it.Kind, string(it.XML), it.Head})
			} else if n < len(chunk) {
				return items, fmt.Errorf("%d of %d bytes taken, and nothing found", n, len(chunk))
			}
			chunk = chunk[n:]
		}
	}
	return items, nil
}

func whole(left int) int { return left }

// describe returns items as a text.
func describe(items []out) string {
	var b strings.Builder
	for _, it := range items {
		switch it.kind {
		case Header:
			fmt.Fprintf(&b, "header %s %s %s|", it.head.ID, it.head.From, it.head.Version)
		case Features:
			b.WriteString("features " + it.xml + "|")
		case Element:
			b.WriteString(it.xml + "|")
		case Error:
			b.WriteString("error " + it.xml + "|")
		case End:
			b.WriteString("end|")
		}
	}
	return b.String()
}

func TestXMPP(t *testing.T) {
	const begun = "header i<1 example.com 1.0|"
	for name, test := range map[string]struct{ in, want, err string }{
		"header":                    {header, begun, ""},
		"without declaration":       {header[len("<?xml version='1.0'?>"):], begun, ""},
		"no attributes":             {"<s:stream xmlns:s='http://etherx.jabber.org/streams'>", "header   |", ""},
		"features":                  {header + "<stream:features><a xmlns='u'/></stream:features>", begun + "features <stream:features><a xmlns='u'/></stream:features>|", ""},
		"stanzas":                   {header + " <message/>\n<iq id='1'><q xmlns='u'/></iq> ", begun + "<message xmlns='jabber:client'/>|<iq xmlns='jabber:client' id='1'><q xmlns='u'/></iq>|", ""},
		"own namespace":             {header + "<a xmlns='u'><b/></a>", begun + "<a xmlns='u'><b/></a>|", ""},
		"error":                     {header + "<stream:error><conflict xmlns='u'/></stream:error></stream:stream>", begun + "error <stream:error><conflict xmlns='u'/></stream:error>|end|", ""},
		"end":                       {header + "<a xmlns='u'/></stream:stream >\n", begun + "<a xmlns='u'/>|end|", ""},
		"prefix of the root":        {"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:p&amp;'><p:a xmlns=''/>", "header   |<p:a xmlns:p='urn:p&amp;' xmlns=''/>|", ""},
		"another prefix for stream": {"<s:stream xmlns:s='http://etherx.jabber.org/streams'><s:features/>", "header   |features <s:features xmlns:s='http://etherx.jabber.org/streams'/>|", ""},
		"stream as the default":     {"<stream xmlns='http://etherx.jabber.org/streams'><features/></stream>", "header   |features <features xmlns='http://etherx.jabber.org/streams'/>|end|", ""},
		"restart":                   {header + "<a xmlns='u'/>" + header + "<message/>", begun + "<a xmlns='u'/>|" + begun + "<message xmlns='jabber:client'/>|", ""},
		"restart without decl":      {header + header[len("<?xml version='1.0'?>"):] + "<message/>", begun + begun + "<message xmlns='jabber:client'/>|", ""},
		"restart, other default":    {header + "<stream:stream xmlns='v' xmlns:stream='http://etherx.jabber.org/streams'><a/>", begun + "header   |<a xmlns='v'/>|", ""},
		"a new stream":              {header + "</stream:stream>" + header, begun + "end|" + begun, ""},
		"only like the root":        {header + "<stream:streams/>", begun + "<stream:streams/>|", ""},
		"markup in text":            {header + "<m a='&gt;/>'><![CDATA[</m><x>]]></m>", begun + "<m xmlns='jabber:client' a='&gt;/>'><![CDATA[</m><x>]]></m>|", ""},

		"no stream":         {"<a/>", "", "empty stream element"},
		"no stream, open":   {"<a>", "", "not an XMPP stream"},
		"wrong namespace":   {"<stream:stream xmlns:stream='u'>", "", "not an XMPP stream"},
		"empty stream":      {"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", "", "empty stream element"},
		"text first":        {"hello", "", "character data before the stream's header"},
		"text between":      {header + "<a xmlns='u'/>hello", begun + "<a xmlns='u'/>|", "character data"},
		"wrong end":         {header + "</stream>", begun, "end tag does not match"},
		"wrong end of a":    {header + "<a></b>", begun, "end tag does not match"},
		"comment":           {header + "<!-- -->", begun, "invalid XML: comment"},
		"undeclared":        {header + "<p:a/>", begun, "undeclared prefix"},
		"endless end":       {header + "</" + strings.Repeat("x", 200), begun, "end tag does not match"},
		"too large":         {header + "<a>" + strings.Repeat("x", 2000) + "</a>", begun, "too large"},
		"too large, cut":    {header + "<a>" + strings.Repeat("x", 2000), begun, "too large"},
		"declaration alone": {header + "<?xml version='1.0'?><a/>", begun, "empty stream element"},
	} {
		t.Run(name, func(t *testing.T) {
			for chunk := 1; chunk <= len(test.in); chunk = chunk*2 + 1 {
				c := NewXMPP(1000)
				items, err := cut(c, test.in, func(int) int { return chunk })
				assert.Equal(t, test.want, describe(items), "in chunks of %d", chunk)
				if test.err == "" {
					assert.NoError(t, err)
					continue
				}
				require.ErrorContains(t, err, test.err, "in chunks of %d", chunk)
				n, it, again := c.Cut([]byte("<a xmlns='u'/>"))
				assert.Zero(t, n)
				assert.Zero(t, it)
				assert.Equal(t, err, again, "for ever")
			}
			for at := range len(test.in) {
				c := NewXMPP(1000)
				first := at
				items, _ := cut(c, test.in, func(left int) int {
					if first > 0 {
						n := first
						first = 0
						return n
					}
					return left
				})
				assert.Equal(t, test.want, describe(items), "cut at %d", at)
			}
		})
	}
}

func TestElements(t *testing.T) {
	for name, test := range map[string]struct{ in, want, err string }{
		"none":         {"", "", ""},
		"space":        {" \n", "", ""},
		"several":      {"<a xmlns='u'/> <b xmlns='u'>x</b>\n<p:c xmlns:p='v'/>", "<a xmlns='u'/>|<b xmlns='u'>x</b>|<p:c xmlns:p='v'/>|", ""},
		"no namespace": {"<a><b/></a>", "<a xmlns=''><b/></a>|", ""},
		"not whole":    {"<a xmlns='u'/><b>", "<a xmlns='u'/>|", "not whole"},
		"text":         {"<a xmlns='u'/>x", "<a xmlns='u'/>|", "character data"},
		"end":          {"</a>", "", "end tag without"},
		"undeclared":   {"<p:a/>", "", "undeclared prefix"},
		"declaration":  {"<?xml version='1.0'?><a/>", "", "processing instruction"},
		"too large":    {"<a>" + strings.Repeat("x", 2000) + "</a>", "", "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			for chunk := 1; chunk <= len(test.in); chunk = chunk*2 + 1 {
				c := NewElements(1000)
				items, err := cut(c, test.in, func(int) int { return chunk })
				assert.Equal(t, test.want, describe(items))
				if test.err == "not whole" {
					assert.True(t, c.Pending())
				} else {
					assert.False(t, c.Pending())
					assert.Equal(t, test.err != "", err != nil)
				}
			}
			all, n, err := Elements([]byte(test.in), 1000)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, strings.ReplaceAll(test.want, "|", ""), string(all))
			assert.Equal(t, strings.Count(test.want, "|"), n)
		})
	}
}

// A Cutter at rest keeps no large buffer.
func TestMemory(t *testing.T) {
	c := NewXMPP(1 << 20)
	_, err := cut(c, header+"<a>"+strings.Repeat("x", 1<<19)+"</a>", func(int) int { return 1000 })
	require.NoError(t, err)
	assert.LessOrEqual(t, cap(c.part), maxIdle)
	assert.LessOrEqual(t, cap(c.out), maxIdle)
	assert.Nil(t, c.scan)
}
