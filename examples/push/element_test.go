package main

import (
	"encoding/xml"
	"strings"
	"testing"
)

func TestElement(t *testing.T) {
	for _, want := range []string{
		"", "plain", `"quotes" 'and' \ slashes`, "<b>&amp;]]></b><!-- no -->", "two\nlines\tand\x00controls\x1f",
		"é 漢字 👋🏽 \u2028", "not XML: \ufffe \uffff", "\x7f\u0085",
	} {
		el, err := encode(map[string]string{"text": want})
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(string(el), "\ufffe\uffff\x00") {
			t.Errorf("%q: %q is not XML", want, el)
		}
		var got map[string]string
		if err := decode(el, &got); err != nil || got["text"] != want {
			t.Errorf("%q became %q, %v", want, got["text"], err)
		}
	}
}

func TestDecode(t *testing.T) {
	var v struct{ N int }
	for _, good := range []string{
		`<json xmlns='urn:xmpp:json:0'>{"n":1}</json>`,
		`<j:json xmlns:j="urn:xmpp:json:0">{&quot;n&quot;:1}</j:json>`,
		`<json xmlns='urn:xmpp:json:0'><![CDATA[{"n":]]>1}</json>`,
	} {
		if v.N = 0; decode([]byte(good), &v) != nil || v.N != 1 {
			t.Errorf("%s: %v", good, v)
		}
	}
	for _, bad := range []string{
		`<json xmlns='urn:example'>{"n":1}</json>`,
		`<message xmlns='urn:xmpp:json:0'>{"n":1}</message>`,
		`<json xmlns='urn:xmpp:json:0'>{"n":</json>`,
		`<json xmlns='urn:xmpp:json:0'/>`,
	} {
		if err := decode([]byte(bad), &v); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if _, err := encode(func() {}); err == nil {
		t.Error("a function is no JSON")
	}
	if err := xml.Unmarshal([]byte("<a"), &v); err == nil {
		t.Error("half a tag is taken")
	}
}
