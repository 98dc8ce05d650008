package framing

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/gobosh/bosh/internal/wire"
	"github.com/stretchr/testify/assert"
)

func TestPayloads(t *testing.T) {
	const data = wire.NSOpaque
	const wrapped = `<x xmlns='` + wire.NS + `'><y/></x>`
	const prefixed = `<p:x xmlns:p='` + wire.NS + `'/>`
	const ping = `<ping xmlns='urn:example'/>`
	const features = `<stream:features><bind xmlns='urn:example'/></stream:features>`
	for _, test := range []struct {
		name   string
		f      Framing
		stream Undelivered
		answer wire.Response
		want   []string
	}{
		{"none", ElementStream{}, Undelivered{First: true}, wire.Response{}, nil},
		{"one", ElementStream{}, Undelivered{First: true}, wire.Response{Payload: []byte(ping)}, []string{ping}},
		{"two", ElementStream{}, Undelivered{First: true}, wire.Response{Payload: []byte(ping + ping)}, []string{ping, ping}},
		{"of the stream", ElementStream{}, Undelivered{Name: "a"}, wire.Response{Stream: "a", Payload: []byte(ping)}, []string{ping}},
		{"of the first one, named since", ElementStream{}, Undelivered{Name: "a", First: true}, wire.Response{Stream: "a", Payload: []byte(ping)}, []string{ping}},
		{"of another", ElementStream{}, Undelivered{Name: "a", First: true}, wire.Response{Stream: "b", Payload: []byte(ping)}, nil},
		{"from before the stream", ElementStream{}, Undelivered{Name: "a"}, wire.Response{Payload: []byte(ping)}, nil},
		{"about the stream", XMPPStream{}, Undelivered{First: true}, wire.Response{XMPP: true, Payload: []byte(features + ping)}, []string{ping}},
		{"about the session", ElementStream{}, Undelivered{First: true}, wire.Response{Terminate: true, Condition: "see-other-uri", URI: "https://example.com/", Payload: []byte(ping)}, []string{ping}},
		{"behind a long start tag (a client's `to` makes one)", ElementStream{}, Undelivered{First: true}, wire.Response{From: strings.Repeat("'", 20<<10), Payload: []byte(ping)}, []string{ping}},
		{"in the wrapper's namespace", XMPPStream{}, Undelivered{First: true}, wire.Response{Payload: []byte(wrapped + prefixed)}, []string{wrapped, prefixed}},
		{"in the wrapper's namespace, and not what is ours", ElementStream{}, Undelivered{First: true}, wire.Response{Terminate: true, URI: "u", Payload: []byte(wrapped)}, []string{wrapped}},
		{"refusals of ours", XMPPStream{}, Undelivered{First: true}, wire.Response{Payload: []byte(STARTTLS.Failure() + ping + Compression.Failure())}, []string{ping}},
		{"failures of the application's own", XMPPStream{}, Undelivered{First: true}, wire.Response{Payload: []byte("<failure xmlns='u'/>")}, []string{"<failure xmlns='u'/>"}},
		{"with much to declare again", XMPPStream{}, Undelivered{First: true}, wire.Response{XMPP: true, Payload: bytes.Repeat([]byte("<a xmlns='' stream:b=''/>"), 20_000)},
			slices.Repeat([]string{"<a xmlns:stream='http://etherx.jabber.org/streams' xmlns='' stream:b=''/>"}, 20_000)},
		{"bytes", OpaqueStream{}, Undelivered{First: true}, wire.Response{Opaque: data, Payload: []byte("any <\x00>")}, []string{"any <\x00>"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, p := range test.f.Payloads(&test.stream, test.answer.Bytes(nil)) {
				got = append(got, string(p))
			}
			assert.Equal(t, test.want, got)
		})
	}
	assert.Empty(t, ElementStream{}.Payloads(&Undelivered{First: true}, []byte("<body")))
}
