package framing

import (
	"encoding/json"
	"encoding/xml"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What AppendJSON makes of any text encoding/xml reads as the JSON of that text.
func FuzzAppendJSON(f *testing.F) {
	for _, s := range []string{"", "<>&'\"]]>", "\x00\x1f\x7f\u0085", "\ufffe", "\uffff\uffef", "\xef\xbf", "€😀", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := AppendJSON([]byte("x"), s)
		require.NoError(t, err)
		want, err := json.Marshal(s)
		require.NoError(t, err)
		var container struct {
			XMLName xml.Name `xml:"urn:xmpp:json:0 json"`
			Text    []byte   `xml:",chardata"`
		}
		require.NoError(t, xml.Unmarshal(b[1:], &container))
		var back, again, wanted string
		require.NoError(t, json.Unmarshal(container.Text, &back))
		require.NoError(t, DecodeJSON(b[1:], &again))
		require.NoError(t, json.Unmarshal(want, &wanted))
		assert.Equal(t, wanted, back)
		assert.Equal(t, wanted, again)
	})
}

// JSONText reads any container as encoding/xml does.
func FuzzJSONText(f *testing.F) {
	for _, s := range []string{"<json xmlns='urn:xmpp:json:0'>1</json>", "<json xmlns='urn:xmpp:json:0' a='>'/>",
		"<a:json xmlns:a='urn:xmpp:json:0'>&lt;\r\n\r<![CDATA[\r\n<]]>]] x</a:json>", "<json xmlns='urn:xmpp:json:0'><a/></json>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := JSONText([]byte(s))
		if err != nil {
			return
		}
		var container struct {
			XMLName xml.Name   `xml:"urn:xmpp:json:0 json"`
			Text    []byte     `xml:",chardata"`
			Inner   []struct{} `xml:",any"`
		}
		require.NoError(t, xml.Unmarshal([]byte(s), &container))
		assert.Empty(t, container.Inner)
		assert.Equal(t, string(container.Text), string(text))
	})
}
