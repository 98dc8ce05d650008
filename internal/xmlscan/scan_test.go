package xmlscan

import (
	"testing"
)

func TestQuick(t *testing.T) {
	var s Scanner
	s.Watch = "http://jabber.org/protocol/httpbind"
	s.Outer = []Binding{{"xmpp", "urn:xmpp:xbosh"}}
	b := []byte(`<?xml version='1.0'?> <body rid='1' xmpp:v='1' xmlns='http://jabber.org/protocol/httpbind' xmlns:j='urn:&#120;'> <message xmlns='jabber:client' j:a='&amp;'><body xmlns='http://jabber.org/protocol/httpbind'>Hi &#x20AC; <![CDATA[ <> ]] ]]></body><j:x/></message><j:p/><x><xmpp:a></xmpp:a  ></x></body > `)
	for {
		it, err := s.Next(b)
		if err != nil {
			t.Log(err)
			break
		}
		t.Logf("%d %q %q %q %q %v %v %v", it.Kind, b[:it.Len], it.Prefix, it.Local, it.URI, it.UsesDefault, it.Uses, it.Rebinds)
		if it.Kind == Start {
			for _, a := range s.Attrs() {
				t.Logf("   %q %q %q %q", a.Prefix, a.Local, a.URI, a.Value)
			}
			t.Log(s.Bindings())
		}
		b = b[it.Len:]
	}
}
