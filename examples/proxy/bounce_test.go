package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/gobosh/bosh/internal/xmlscan"
)

func TestBounce(t *testing.T) {
	const (
		unavailable = "<error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
		noService   = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
	)
	header := append([]xmlscan.Binding{{Prefix: "y", URI: "urn:y"}, {Prefix: "c", URI: nsClient}, {Prefix: "h", URI: "http://jabber.org/protocol/chatstates"}}, usual...)
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

		// Errors made by a server, and stanzas of no weight.
		"<message type='headline' from='a'><body>x</body></message>": "",
		"<message from='a' type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='b'><body>x</body></message></forwarded></received></message>": "",
		"<message from='a'><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></sent><no-copy xmlns='urn:xmpp:hints'/></message>":                                                               "",
		"<message id='1' to='b'><result xmlns='urn:xmpp:mam:2' id='1'><forwarded xmlns='urn:xmpp:forward:0'/></result></message>":                                                                                    "",
		"<message from='a'><m:result xmlns:m='urn:xmpp:mam:1'/></message>":                                                                                                                                           "",
		"<message from='a'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='x'/></event></message>":                                                                                               "",
		"<message from='a' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>":                                                                                                         "",
		"<message from='a' type='chat'><thread>t</thread><active xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/></message>":                                                           "",
		"<message from='a' type='groupchat'><paused xmlns='http://jabber.org/protocol/chatstates'/><stanza-id xmlns='urn:xmpp:sid:0'/></message>":                                                                    "",
		"<message from='a'><received xmlns='urn:xmpp:receipts' id='1'/></message>":                                                                                                                                   "",
		"<message from='a'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>":                                                                                                                            "",
		"<message from='a'><x xmlns='jabber:x:event'><composing/></x></message>":                                                                                                                                     "",
		"<message from='a'><h:composing/></message>":                                                                                                                                                                 "",
		// And what looks like it.
		"<message from='a'><composing xmlns='http://jabber.org/protocol/chatstates'/><body>x</body></message>": "<message type='error' to='a'>" + unavailable,
		"<message from='a'><body>x</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>":    "<message type='error' to='a'>" + unavailable,
		"<message from='a'><request xmlns='urn:xmpp:receipts'/></message>":                                     "<message type='error' to='a'>" + unavailable,
		"<message from='a'><body><received xmlns='urn:xmpp:carbons:2'/></body></message>":                      "<message type='error' to='a'>" + unavailable,
		"<message from='a'><encrypted xmlns='urn:xmpp:omemo:2'/><store xmlns='urn:xmpp:hints'/></message>":     "<message type='error' to='a'>" + unavailable,
		"<message from='a'><composing/></message>":                                                             "<message type='error' to='a'>" + unavailable,
		"<message from='a'><x xmlns='jabber:x:conference' jid='b'/></message>":                                 "<message type='error' to='a'>" + unavailable,
		"<message from='a' type='normal'><result xmlns='other'/></message>":                                    "<message type='error' to='a'>" + unavailable,
		"<iq type='set' id='1' from='a'><composing xmlns='http://jabber.org/protocol/chatstates'/></iq>":       "<iq type='error' to='a' id='1'>" + noService,
		// Prefixes of the header, if they are used.
		"<message xmlns='jabber:client' from='a'><y:x/></message>":                                      "<message type='error' to='a' xmlns:y='urn:y'><y:x/>" + unavailable,
		"<message xmlns='jabber:client' from='a'><x xmlns='z' y:a='1'><y:b xmlns:y='w'/></x></message>": "<message type='error' to='a' xmlns:y='urn:y'><x xmlns='z' y:a='1'><y:b xmlns:y='w'/></x>" + unavailable,
		"<message xmlns='jabber:client' xmlns:y='w' from='a'><y:x/></message>":                          "<message type='error' to='a' xmlns:y='w'><y:x/>" + unavailable,
		"<message xmlns='jabber:client' from='a'><stream:x/></message>":                                 "<message type='error' to='a' xmlns:stream='http://etherx.jabber.org/streams'><stream:x/>" + unavailable,
		"<c:message from='a'><c:body>x</c:body></c:message>":                                            "<message type='error' to='a'>" + unavailable,
		"<c:iq xmlns='jabber:client' type='get' id='1' from='a'><c:x/></c:iq>":                          "<iq type='error' to='a' id='1' xmlns:c='jabber:client'><c:x/>" + noService,
		"<y:message from='a'/>": "",
		"<message xmlns='jabber:client' from='a'><z:x/></message>":  "", // not well-formed
		"<message xmlns='jabber:client' from='a'><x></y></message>": "",
	} {
		assert.Equal(t, want, string(parseStanza([]byte(in), header).bounce()), in)
	}
}
