package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What an Ask writes, a Request reads.
func TestAsk(t *testing.T) {
	for _, test := range []struct {
		ask  Ask
		text string
	}{
		{Ask{Rid: 1, To: "a'b", Lang: "en", Version: "1.0", Create: &Terms{Wait: 60, Hold: 1, Ver: "1.11", Acks: true}, NewKey: "k",
			Attrs: []Attr{{Local: "x"}, {Space: "u", Local: "y", Value: "<&"}}},
			"rid='1' wait='60' hold='1' ver='1.11' ack='1' newkey='k' to='a&apos;b' xml:lang='en' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' x='' xmlns:a1='u' a1:y='&lt;&amp;'/>"},
		{Ask{Rid: 2, SID: "s", Key: "k", Ack: 1, Stream: "t", Payloads: [][]byte{[]byte("<a xmlns='u'/>"), []byte("<b xmlns='u'/>")}},
			"rid='2' sid='s' key='k' ack='1' stream='t'><a xmlns='u'/><b xmlns='u'/></body>"},
		{Ask{Rid: 3, SID: "s", Pause: 9}, "rid='3' sid='s' pause='9'/>"},
		{Ask{Rid: 4, SID: "s", Terminate: true, Condition: "remote-stream-error", XMPP: true, Payloads: [][]byte{[]byte("<stream:error/>")}},
			"rid='4' sid='s' type='terminate' condition='remote-stream-error' xmlns:stream='http://etherx.jabber.org/streams'><stream:error/></body>"},
		{Ask{Rid: 5, SID: "s", To: "a", From: "f", Lang: "en", Restart: true},
			"rid='5' sid='s' to='a' from='f' xml:lang='en' xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true'/>"},
		{Ask{Rid: 6, SID: "s", Opaque: true, Payloads: [][]byte{[]byte("abc"), []byte("\x00")}},
			"rid='6' sid='s'><data xmlns='urn:bosh:opaque:0'>YWJj</data><data xmlns='urn:bosh:opaque:0'>AA==</data></body>"},
	} {
		got := string(test.ask.Append([]byte("x")))
		assert.Equal(t, "x<body xmlns='"+NS+"' "+test.text, got)
		r := Request{Body: []byte(got[1:])}
		require.NoError(t, r.Parse(Limits{}))
		assert.Equal(t, test.ask.Rid, r.Rid.N)
		assert.Equal(t, test.ask.SID, string(r.SID))
		assert.Equal(t, test.ask.To, string(r.To))
		assert.Len(t, r.Payloads, len(test.ask.Payloads))
	}
}

// What a Response writes, an Answer reads.
func TestAnswer(t *testing.T) {
	response := Response{Granted: &Granted{SID: "s", Ver: "1.11", Accept: "gzip", Wait: 60, Hold: 1, Requests: 2, Polling: 5, Inactivity: 30,
		MaxPause: 120, Restarts: true}, Ack: 7, Report: 8, Time: 9, Stream: "t", From: "f", AuthID: "i", Version: "1.0",
		XMPP: true, Payload: []byte("<stream:features/><a/>"), URI: "https://a.example/?a&b"}
	var a Answer
	for range 2 { // and again in the same buffers
		a.Reset()
		a.Body = append(a.Body, response.Bytes(nil)...)
		require.NoError(t, a.Parse())
		for name, got := range map[string]Number{"60": a.Wait, "1": a.Hold, "2": a.Requests, "5": a.Polling, "30": a.Inactivity,
			"120": a.MaxPause, "7": a.Ack, "8": a.Report} {
			assert.Equal(t, parseNumber([]byte(name)), got)
		}
		for want, got := range map[string][]byte{"s": a.SID, "1.11": a.Ver, "t": a.Stream, "f": a.From, "i": a.AuthID,
			"1.0": a.Version} {
			assert.Equal(t, want, string(got))
		}
		require.Len(t, a.Payloads, 3)
		assert.Equal(t, "https://a.example/?a&b", a.Text(a.Payloads[2]))
		assert.Empty(t, a.Text(a.Payloads[1]))
	}
	a.Reset()
	assert.Equal(t, Number{}, a.Requests)

	// A server may forget a prefix, but not write what is no XML.
	for text, ok := range map[string]bool{
		"<body xmlns='" + NS + "'><stream:features/></body>": true,
		"<body xmlns='" + NS + "' xmpp:version='1.0'/>":      true,
		"<body xmlns='" + NS + "'><p:a/></body>":             false,
		"<body xmlns='" + NS + "'><a></body>":                false,
		"<body xmlns='other'/>":                              false,
		"":                                                   false,
		"<body xmlns='" + NS + "'/><body/>":                  false,
		"<body xmlns='" + NS + "' a='" + strings.Repeat("x", 20000) + "'/>": false,
	} {
		a.Reset()
		a.Body = append(a.Body, text...)
		assert.Equal(t, ok, a.Parse() == nil, text)
	}
}

// FuzzAnswer reads anything as FuzzParse does, and takes the text of payloads.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("<body requests='2' xmpp:restartlogic='1' authid='&amp;'" + " xmlns='" + NS + "'><uri> a&#38;b </uri><stream:x>y<z/></stream:x></body>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a := Answer{Request: Request{Body: text}}
		if a.Parse() != nil {
			return
		}
		for _, p := range a.Payloads {
			a.Text(p)
			again(t, a.AppendElement(nil, p), (*Request).AppendElement)
		}
	})
}
