package framing

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

// TestUpgrades drops features from streams with unusual headers; those of the usual
// kind are tried over BOSH.
func TestUpgrades(t *testing.T) {
	long := strings.Repeat("x", len(starttls)-len(" xmlns=''"))
	const ns = "http://etherx.jabber.org/streams"
	for name, test := range map[string]struct{ in, want string }{
		"declared by the header": {
			"<stream:stream xmlns='jabber:client' xmlns:stream='" + ns + "' xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'>" +
				"<stream:features><t:starttls/><x:a xmlns:x='u'/></stream:features>",
			"<stream:features xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'><x:a xmlns:x='u'/></stream:features>"},
		"the default of the header": {
			"<s:stream xmlns='urn:ietf:params:xml:ns:xmpp-tls' xmlns:s='" + ns + "'><s:features><starttls/></s:features>",
			"<s:features xmlns='urn:ietf:params:xml:ns:xmpp-tls' xmlns:s='" + ns + "'></s:features>"},
		"features of the default": {
			"<stream xmlns='" + ns + "'><features>" + starttls + "<starttls/></features>",
			"<features xmlns='" + ns + "'><starttls/></features>"},
		"as long as before": { // what is dropped is as long as what is declared
			"<stream:stream xmlns='" + long + "' xmlns:stream='" + ns + "'><stream:features><b/>" + starttls + "</stream:features>",
			"<stream:features xmlns='" + long + "'><b/></stream:features>"},
	} {
		t.Run(name, func(t *testing.T) {
			for chunk := 1; chunk <= len(test.in); chunk++ {
				items, err := cut(NewPlain(1000), test.in, func(int) int { return chunk })
				require.NoError(t, err)
				require.Len(t, items, 2)
				assert.Equal(t, Features, items[1].kind)
				assert.Equal(t, test.want, items[1].xml)
			}
			// Others around it are not disturbed.
			c := NewPlain(1000)
			_, err := c.CutRun([]byte(test.in[:strings.IndexByte(test.in, '>')+1]), 1)
			require.NoError(t, err)
			const stanza = "<a xmlns='u'/>"
			r, err := c.CutRun([]byte(stanza+test.in[strings.IndexByte(test.in, '>')+1:]+stanza+stanza), 1000)
			require.NoError(t, err)
			assert.Equal(t, stanza+test.want+stanza+stanza, string(r.Elements))
			assert.Equal(t, 4, r.Count)
		})
	}
}

// Text has no place in features. Where it need not be looked at it is let through.
func TestUpgradesText(t *testing.T) {
	_, err := cut(NewPlain(1000), header+"<stream:features>x"+starttls+"</stream:features>", whole)
	assert.ErrorContains(t, err, "stream features: ")
	for _, c := range []*Cutter{NewPlain(1000), NewXMPP(1000)} {
		_, err = cut(c, header+"<stream:features>x<a xmlns='u'/></stream:features>", whole)
		assert.NoError(t, err)
	}
}
