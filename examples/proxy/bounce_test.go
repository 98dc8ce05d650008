package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBounce(t *testing.T) {
	const (
		unavailable = "<error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
		noService   = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
	)
	for in, want := range map[string]string{
		"<message from='a@b/c' to='d@e/f' id='1'><body>hi</body></message>":                                                    "<message type='error' to='a@b/c' id='1'>" + unavailable,
		"<message xmlns='jabber:client' from='a@b/c' type='chat' xml:lang='de'><body>&lt;&#38;</body><x xmlns='y'/></message>": "<message type='error' to='a@b/c'><body>&lt;&#38;</body><x xmlns='y'/>" + unavailable,
		"<message xmlns='jabber:client' xmlns:p='q' from='a'><p:x/></message>":                                                 "<message type='error' to='a' xmlns:p='q'><p:x/>" + unavailable,
		"<message xmlns='jabber:client' from='a'/>":                                                                            "<message type='error' to='a'>" + unavailable,
		"<message xmlns='jabber:client' from='a'>" + strings.Repeat("x", maxReturned+1) + "</message>":                         "<message type='error' to='a'>" + unavailable,
		"<message from=\"a@b/&quot;&lt;'&amp;\" id='&gt;'/>":                                                                   "<message type='error' to='a@b/&#34;&lt;&#39;&amp;' id='&gt;'>" + unavailable,
		"<message type='groupchat'/>":                                                                                          "<message type='error'>" + unavailable,
		"<message type='error' from='a'/>":                                                                                     "",
		"<iq type='get' id='1' from='a'><q xmlns='x'/></iq>":                                                                   "<iq type='error' to='a' id='1'>" + noService,
		"<iq xmlns='jabber:client' type='set' id='1' from='a'><q xmlns='x'/></iq>":                                             "<iq type='error' to='a' id='1'><q xmlns='x'/>" + noService,
		"<iq type='result' id='1' from='a'/>":                                                                                  "",
		"<iq type='error' id='1' from='a'/>":                                                                                   "",
		"<iq/>":                                                                                                                "",
		"<presence from='a'/>":                                                                                                 "",
		"<presence type='subscribe' from='a'/>":                                                                                "",
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>":                                                                  "",
		"<message xmlns='other' from='a'/>":                                                                                    "",
		"<stream:features/>":                                                                                                   "",
		"<r xmlns='urn:xmpp:sm:3'/>":                                                                                           "",
		"nonsense":                                                                                                             "",
	} {
		assert.Equal(t, want, string(parseStanza([]byte(in)).bounce()), in)
	}
}
