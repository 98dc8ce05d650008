package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFeatures(t *testing.T) {
	const (
		mechs = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
		bind  = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
	)
	// What is between the bars goes.
	for name, features := range map[string]string{
		"nothing":       "<stream:features>" + bind + "</stream:features>",
		"empty":         "<stream:features/>",
		"starttls":      "<stream:features>|<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>|" + bind + "</stream:features>",
		"required":      "<stream:features>|<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>|</stream:features>",
		"compression":   "<stream:features>" + bind + "|<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>|</stream:features>",
		"plus":          "<stream:features>" + mechs + "|<mechanism>SCRAM-SHA-1-PLUS</mechanism>|<mechanism>SCRAM-SHA-1</mechanism>|<mechanism> SCRAM-SHA-256-PLUS\n</mechanism>|</mechanisms></stream:features>",
		"binding":       "<stream:features>" + mechs + "<mechanism>PLAIN</mechanism></mechanisms>|<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>|</stream:features>",
		"sasl2":         "<stream:features><authentication xmlns='urn:xmpp:sasl:2'>|<mechanism>SCRAM-SHA-1-PLUS</mechanism>|<mechanism>SCRAM-SHA-1</mechanism><inline><fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-NONE</mechanism>|<mechanism>HT-SHA-256-EXPR</mechanism>||<mechanism>HT-SHA-256-ENDP</mechanism>|</fast></inline></authentication></stream:features>",
		"prefixes":      "<stream:features xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'>|<t:starttls><t:required/></t:starttls>|<c:method/></stream:features>",
		"of the header": "<stream:features>|<z:compression/>|<y:compression/></stream:features>",
		"not theirs":    "<stream:features><starttls xmlns='other'/><compression/><mechanism>X-PLUS</mechanism></stream:features>",
		"entities":      "<stream:features>" + mechs + "|<mechanism>SCRAM-SHA-1&#x2d;PLUS</mechanism>|<mechanism>A&amp;B</mechanism></mechanisms></stream:features>",
		"white space":   "<stream:features >\n |<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' />|\n</stream:features >",
		"cdata":         "<stream:features>" + mechs + "|<mechanism><![CDATA[X-PLUS]]></mechanism>|</mechanisms></stream:features>",
		"inside":        "<stream:features>|<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></sasl-channel-binding>|" + bind + "</stream:features>",
		"others'":       "<features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></features>",
	} {
		in := strings.ReplaceAll(features, "|", "")
		want := ""
		for i, part := range strings.Split(features, "|") {
			if i%2 == 0 {
				want += part
			}
		}
		head := strings.Replace(header, "stream:stream ", "stream:stream xmlns:z='http://jabber.org/features/compress' xmlns:y='y' ", 1)
		if name == "prefixes" {
			head = strings.Replace(header, "stream:stream ", "stream:stream xmlns:c='c' ", 1)
		}
		got, err := editFeatures([]byte(head), []byte(in))
		require.NoError(t, err, name)
		assert.Equal(t, want, string(got), name)
	}
	_, err := editFeatures([]byte(header), []byte("<stream:features><a></stream:features>"))
	assert.Error(t, err)
}
