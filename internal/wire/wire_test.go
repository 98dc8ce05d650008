package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ns = " xmlns='" + NS + "'"

// parse parses a body, which the test takes to be good.
func parse(t *testing.T, body string) *Request {
	t.Helper()
	r := &Request{Body: []byte(body)}
	require.NoError(t, r.Parse(Limits{}))
	require.True(t, r.Root)
	return r
}

func TestAttributes(t *testing.T) {
	r := parse(t, `<?xml version="1.0"?><b:body xmlns:b='`+NS+`' xmlns:x='urn:xmpp:xbosh' xmlns:o='urn:o' rid='7' sid='s&lt;&#x41;'
		to='t' from='f' route='r' content='c' ver='1.6' type='y' condition='n' key='k' newkey='nk' stream='st'
		ack='1' wait='2' hold='3' pause='4' xml:lang='l' x:version='1.0' x:restart='true'
		secure='true' o:p='q' x:other='z'/>`)
	for want, got := range map[string][]byte{
		"s<A": r.SID, "t": r.To, "f": r.From, "r": r.Route, "c": r.Content, "1.6": r.Ver, "y": r.Type, "n": r.Condition,
		"k": r.Key, "nk": r.NewKey, "st": r.Stream, "l": r.Lang, "1.0": r.Version, "true": r.Restart,
	} {
		assert.Equal(t, want, string(got))
	}
	assert.Equal(t, []Number{{true, true, 7}, {true, true, 1}, {true, true, 2}, {true, true, 3}, {true, true, 4}},
		[]Number{r.Rid, r.Ack, r.Wait, r.Hold, r.Pause})
	assert.Nil(t, r.Other, "of interest only to a creation")

	r = parse(t, "<body xmlns:o='urn:o' secure='true' o:p='&quot;q' to=''"+ns+"/>")
	assert.Equal(t, []Attr{{"", "secure", "true"}, {"urn:o", "p", `"q`}}, r.Other)
	assert.NotNil(t, r.To, "there, and empty")
	assert.Nil(t, r.From)
	assert.False(t, r.Rid.Set)

	r = parse(t, "<body xmpp:version='1.0' xmpp:restart='1'"+ns+"/>")
	assert.Equal(t, "1.0", string(r.Version), "a prefix that is tolerated")

	for name, test := range map[string]struct{ attrs, version, restart string }{
		"X5-14 whatever the usual prefix is bound to": {"xmpp:version='1' xmpp:restart='2' xmlns:xmpp='u'", "1", "2"},
		"by another prefix":                           {"x:version='1' x:restart='2' xmlns:x='urn:xmpp:xbosh'", "1", "2"},
		"the namespace first":                         {"x:version='1' x:restart='2' xmlns:x='urn:xmpp:xbosh' xmpp:version='3' xmpp:restart='4' xmlns:xmpp='u'", "1", "2"},
		"the usual prefix first":                      {"xmpp:version='3' xmpp:restart='4' xmlns:xmpp='u' x:version='1' x:restart='2' xmlns:x='urn:xmpp:xbosh'", "1", "2"},
		"empty in the namespace":                      {"x:version='' x:restart='' xmlns:x='urn:xmpp:xbosh' xmpp:version='3' xmpp:restart='4' xmlns:xmpp='u'", "", ""},
		"what only answers say":                       {"xmpp:version='1' xmpp:restart='2' xmpp:restartlogic='true'", "1", "2"},
		"none":                                        {"x:version='1' x:restart='2' xmlns:x='u' version='5' restart='6'", "", ""},
	} {
		r = parse(t, "<body "+test.attrs+ns+"/>")
		assert.Equal(t, test.version, string(r.Version), name)
		assert.Equal(t, test.restart, string(r.Restart), name)
		assert.Equal(t, name == "none", r.Other != nil, name)
	}
	r = parse(t, "<body xmpp:p='q' xmlns:xmpp='u'"+ns+"/>")
	assert.Equal(t, []Attr{{"u", "p", "q"}}, r.Other)
}

// What is of another Request does not shine through.
func TestReset(t *testing.T) {
	r := parse(t, "<body rid='1' to='a' x='y' xmlns:p='u'"+ns+"><p:a/></body>")
	r.Reset()
	assert.False(t, r.Root)
	r.Body = append(r.Body, "<body"+ns+"/>"...)
	require.NoError(t, r.Parse(Limits{}))
	r.scan, r.Body = parse(t, "<body"+ns+"/>").scan, nil
	assert.Empty(t, r.Payloads)
	assert.Empty(t, r.Other)
	assert.Nil(t, r.To)
	assert.False(t, r.Rid.Set)
}

// A dot at the end of a domain is no part of it.
func TestTo(t *testing.T) {
	for to, want := range map[string]string{
		"localhost": "localhost", "localhost.": "localhost", "example.com.": "example.com", "a..": "a.", ".": "", "": "",
		"例え。": "例え", "a\uff0e": "a", "a\uff61": "a", "a&#46;": "a", "a.b": "a.b", "[::1]": "[::1]",
	} {
		req := &Request{Body: []byte("<body xmlns='" + NS + "' rid='1' to='" + to + "'/>")}
		require.NoError(t, req.Parse(Limits{}))
		assert.Equal(t, want, string(req.To), to)
		assert.NotNil(t, req.To)
	}
}

func TestNumbers(t *testing.T) {
	good := func(n int64) Number { return Number{true, true, n} }
	bad := Number{Set: true}
	for in, want := range map[string]Number{
		"0": good(0), "1": good(1), "007": good(7), " 12\t": good(12), "9007199254740992": good(1 << 53),
		"999999999999999999999999999999": good(MaxNumber), "18446744073709551617": good(MaxNumber),
		"": bad, " ": bad, "-1": bad, "+1": bad, "1e3": bad, "0x10": bad, "1 2": bad, "1.0": bad, "\u0661": bad, "true": bad,
	} {
		assert.Equal(t, want, parse(t, "<body rid='"+in+"'"+ns+"/>").Rid, "%q", in)
	}
}

func TestBool(t *testing.T) {
	for in, want := range map[string][2]bool{
		"true": {true, true}, "1": {true, true}, "false": {false, true}, "0": {false, true},
		"": {}, "TRUE": {}, " true": {}, "yes": {},
	} {
		v, ok := Bool([]byte(in))
		assert.Equal(t, want, [2]bool{v, ok}, in)
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		root bool // its attributes are good all the same
	}{
		"nothing":            {"", false},
		"space":              {" ", false},
		"no namespace":       {"<body rid='1'/>", false},
		"another namespace":  {"<body xmlns='u'/>", false},
		"another name":       {"<boby" + ns + "/>", false},
		"another prefix":     {"<p:body xmlns:p='u'" + ns + "/>", false},
		"text":               {"body", false},
		"cut in the tag":     {"<body sid='s'" + ns, false},
		"cut behind it":      {"<body sid='s'" + ns + ">", true},
		"cut in a payload":   {"<body sid='s'" + ns + "><a>", true},
		"cut in the end":     {"<body sid='s'" + ns + "></body", true},
		"two":                {"<body sid='s'" + ns + "/><body" + ns + "/>", true},
		"text in it":         {"<body sid='s'" + ns + ">x</body>", true},
		"wrong end":          {"<body sid='s'" + ns + "><a></b></body>", true},
		"undeclared prefix":  {"<body sid='s'" + ns + "><p:a/></body>", true},
		"comment":            {"<body sid='s'" + ns + "><a><!-- --></a></body>", true},
		"doctype":            {"<!DOCTYPE body><body" + ns + "/>", false},
		"attribute twice":    {"<body rid='1' rid='2'" + ns + "/>", false},
		"stream header":      {"<body sid='s' xmlns:stream='" + NSStream + "'" + ns + "><stream:stream></body>", true},
		"an entity of HTML":  {"<body sid='s'" + ns + "><a>&nbsp;</a></body>", true},
		"control characters": {"<body sid='s'" + ns + "><a>\x01</a></body>", true},
	} {
		r := &Request{Body: []byte(test.body)}
		assert.Error(t, r.Parse(Limits{}), name)
		assert.Equal(t, test.root, r.Root, name)
		if test.root {
			assert.Equal(t, "s", string(r.SID), name)
		}
	}
}

func TestLimits(t *testing.T) {
	body := []byte("<body a='1' b='2'" + ns + "><a/><b><c/></b></body>")
	for _, test := range []struct {
		lim  Limits
		want bool
	}{
		{Limits{}, true},
		{Limits{Payloads: 2, Depth: 3, Attrs: 3}, true},
		{Limits{Payloads: 1}, false},
		{Limits{Depth: 2}, false},
		{Limits{Attrs: 2}, false},
	} {
		r := &Request{Body: body}
		assert.Equal(t, test.want, r.Parse(test.lim) == nil, "%+v", test.lim)
	}
}

func TestPayloads(t *testing.T) {
	for name, test := range map[string]struct {
		attrs, in, element, stanza string // stanza: "" if as element
	}{
		"of its own":          {"", "<a xmlns='u'/>", "<a xmlns='u'/>", ""},
		"inherited":           {"", "<a><b/></a>", "<a" + ns + "><b/></a>", "<a xmlns='jabber:client'><b/></a>"},
		"declared":            {"", "<a" + ns + "/>", "<a" + ns + "/>", "<a xmlns='jabber:client'/>"},
		"declared inside":     {"", "<a xmlns='u'><b" + ns + "/></a>", "<a xmlns='u'><b" + ns + "/></a>", ""},
		"declared twice":      {"", "<a" + ns + "><b" + ns + "/></a>", "<a" + ns + "><b" + ns + "/></a>", "<a xmlns='jabber:client'><b xmlns='jabber:client'/></a>"},
		"a prefix":            {"xmlns:p='u'", "<p:a/>", "<p:a xmlns:p='u'/>", ""},
		"two prefixes":        {"xmlns:p='u' xmlns:q='&lt;' xmlns:r='w'", "<p:a q:b='c'/>", "<p:a xmlns:p='u' xmlns:q='&lt;' q:b='c'/>", ""},
		"a prefix deep below": {"xmlns:p='u'", "<a xmlns='v'><b><p:c/></b></a>", "<a xmlns:p='u' xmlns='v'><b><p:c/></b></a>", ""},
		"a prefix made anew":  {"xmlns:p='u'", "<p:a xmlns:p='v'/>", "<p:a xmlns:p='v'/>", ""},
		"the wrapper's":       {"xmlns:p='" + NS + "'", "<p:a/>", "<p:a xmlns:p='" + NS + "'/>", "<p:a xmlns:p='jabber:client'/>"},
		"xml:":                {"", "<a xmlns='u' xml:lang='en'/>", "<a xmlns='u' xml:lang='en'/>", ""},
		"markup":              {"", "<a xmlns='u' b='>'><![CDATA[</a>]]>&amp;</a>", "<a xmlns='u' b='>'><![CDATA[</a>]]>&amp;</a>", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := parse(t, "<body "+test.attrs+ns+">\n"+test.in+" <last/></body>")
			require.Len(t, r.Payloads, 2)
			p := r.Payloads[0]
			assert.Equal(t, test.in, string(r.Raw(p)))
			assert.Equal(t, "before "+test.element, string(r.AppendElement([]byte("before "), p)))
			want := test.stanza
			if want == "" {
				want = test.element
			}
			assert.Equal(t, want, string(r.AppendStanza(nil, p)))
		})
	}
}

func TestData(t *testing.T) {
	for in, want := range map[string]string{
		"<data xmlns='d'>YWJj</data>":                      "abc",
		"<data xmlns='d'> Y W\n\tJj\r </data>":             "abc",
		"<data xmlns='d'></data>":                          "",
		"<data xmlns='d'/>":                                "",
		"<d:data xmlns:d='d' x='>' y=\"'>\">YQ==</d:data>": "a",
	} {
		r := parse(t, "<body"+ns+">"+in+"</body>")
		b, ok := AppendData([]byte("<"), r, r.Payloads[0], "d")
		assert.True(t, ok, in)
		assert.Equal(t, "<"+want, string(b), in)
	}
	for _, in := range []string{
		"<data>YWJj</data>", "<date xmlns='d'>YWJj</date>", "<data xmlns='d'>YWJ</data>", "<data xmlns='d'>&#89;WJj</data>",
		"<data xmlns='d'>YWJj<a/></data>", "<data xmlns='d'><![CDATA[YWJj]]></data>", "<data xmlns='d'>Y_Jj</data>",
	} {
		r := parse(t, "<body"+ns+">"+in+"</body>")
		_, ok := AppendData(nil, r, r.Payloads[0], "d")
		assert.False(t, ok, in)
	}
}

func TestResponse(t *testing.T) {
	const begin = "<body xmlns='" + NS + "'"
	for name, test := range map[string]struct {
		r    Response
		want string
	}{
		"empty":     {Response{}, Blank},
		"payload":   {Response{Payload: []byte("<a/>")}, begin + "><a/></body>"},
		"xmpp":      {Response{XMPP: true, Payload: []byte("<a/>")}, begin + " xmlns:stream='" + NSStream + "'><a/></body>"},
		"no xmpp":   {Response{XMPP: true}, Blank},
		"ack":       {Response{Ack: 5}, begin + " ack='5'/>"},
		"report":    {Response{Report: 5, Time: 0}, begin + " report='5' time='0'/>"},
		"stream":    {Response{Stream: "s", From: "a'b"}, begin + " stream='s' from='a&#39;b'/>"},
		"terminate": {Response{Terminate: true}, begin + " type='terminate'/>"},
		"condition": {Response{Terminate: true, Condition: "c", Last: []byte("<l/>")}, begin + " type='terminate' condition='c'><l/></body>"},
		"uri":       {Response{Terminate: true, Condition: "see-other-uri", URI: "u?a&b<"}, begin + " type='terminate' condition='see-other-uri'><uri>u?a&amp;b&lt;</uri></body>"},
		"version":   {Response{Version: "1.0", AuthID: "i"}, begin + " authid='i' xmpp:version='1.0' xmlns:xmpp='" + NSXBOSH + "'/>"},
		"opaque":    {Response{Opaque: "o", Payload: []byte("abc")}, begin + "><data xmlns='o'>YWJj</data></body>"},
		"no opaque": {Response{Opaque: "o"}, Blank},
		"creation": {Response{Granted: &Granted{SID: "s", Ver: "1.11", Accept: "gzip", Wait: 60, Hold: 1, Requests: 2, Polling: 0, Inactivity: -1, MaxPause: 9, Restarts: true}},
			begin + " sid='s' wait='60' hold='1' requests='2' polling='0' maxpause='9' ver='1.11' accept='gzip' xmpp:restartlogic='true' xmlns:xmpp='" + NSXBOSH + "'/>"},
	} {
		t.Run(name, func(t *testing.T) {
			b := test.r.Bytes(nil)
			assert.Equal(t, strings.ReplaceAll(test.want, "&#39;", "&apos;"), strings.ReplaceAll(string(b), "&#39;", "&apos;"))
			assert.Equal(t, len(b), cap(b), "a buffer of the exact size")
			assert.Equal(t, string(b) == Blank, test.r.Empty())
			assert.NoError(t, (&Request{Body: b}).Parse(Limits{}))
		})
	}
}

// Size is what was parsed takes, and Drop lets go of it.
func TestSize(t *testing.T) {
	r := new(Request)
	assert.Zero(t, r.Size())
	r.Body = []byte("<body xmlns='" + NS + "' xmlns:p='uri' rid='1' a='1&amp;2'>" + strings.Repeat("<p:a xmlns='"+NS+"'/>", 4096) + "</body>")
	require.NoError(t, r.Parse(Limits{}))
	assert.Greater(t, r.Size(), 4096*100)
	body := string(r.Body)
	r.Drop()
	assert.Zero(t, r.Size())
	assert.Equal(t, body, string(r.Body))
	require.NoError(t, r.Parse(Limits{}))
	assert.Len(t, r.Payloads, 4096)
}
