package wire

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// rootAttrs returns the attributes of a document's root without a namespace, as
// encoding/xml reads them, with white space as an attribute has it.
func rootAttrs(t *testing.T, body []byte) map[string]string {
	d := xml.NewDecoder(bytes.NewReader(body))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	space := strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")
	attrs := make(map[string]string)
	for {
		tok, err := d.RawToken()
		if err != nil {
			return nil // names of the fifth edition of XML 1.0, or a version of XML to come
		}
		if start, ok := tok.(xml.StartElement); ok {
			for _, a := range start.Attr {
				if a.Name.Space == "" {
					attrs[a.Name.Local] = space.Replace(a.Value)
				}
			}
			return attrs
		}
	}
}

// again parses an element in a wrapper of its own and returns it with its
// declarations, and its namespace.
func again(t *testing.T, el []byte, appendTo func(*Request, []byte, Payload) []byte) (out []byte, uri string) {
	t.Helper()
	r := &Request{Body: []byte("<body xmlns='" + NS + "'>" + string(el) + "</body>")}
	if err := r.Parse(Limits{}); err != nil || len(r.Payloads) != 1 {
		t.Fatalf("%d payloads, %v: %s", len(r.Payloads), err, el)
	}
	return appendTo(r, nil, r.Payloads[0]), string(r.Payloads[0].URI)
}

// FuzzParse reads anything. What is accepted has the attributes that encoding/xml
// finds, and payloads that stand alone: in another wrapper they mean the same.
func FuzzParse(f *testing.F) {
	for _, b := range []string{
		"<body rid='1' to='a' wait='60' hold='1' ver='1.11' xml:lang='en' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'" + ns + "/>",
		"<?xml version='1.0'?><body rid='2' sid='s'" + ns + "><message><body>&lt;</body></message> <a xmlns='u'/></body>",
		"<b:body xmlns:b='" + NS + "' xmlns:p='u' rid='3' sid='&#x41;'><p:a q='1' xmlns='" + NS + "'><b/></p:a></b:body>",
		"<body" + ns + "><data xmlns='urn:bosh:opaque:0'>YWJj</data></body>",
	} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := &Request{Body: body}
		err := r.Parse(Limits{})
		if err != nil {
			return
		}
		if !r.Root {
			t.Fatal("accepted without a root")
		}
		if attrs := rootAttrs(t, body); attrs != nil {
			for name, got := range map[string][]byte{"sid": r.SID, "to": r.To, "key": r.Key, "type": r.Type, "stream": r.Stream} {
				if want, ok := attrs[name]; ok != (got != nil) || want != string(got) {
					t.Fatalf("%s is %q, want %q", name, got, want)
				}
			}
		}
		for _, p := range r.Payloads {
			el := r.AppendElement(nil, p)
			same, uri := again(t, el, (*Request).AppendElement)
			if !bytes.Equal(same, el) || uri != string(p.URI) {
				t.Fatalf("%s {%s}: again it is %s {%s}", el, p.URI, same, uri)
			}
			stanza := r.AppendStanza(nil, p)
			same, uri = again(t, stanza, (*Request).AppendStanza)
			want := string(p.URI)
			if want == NS {
				want = NSClient
			}
			if !bytes.Equal(same, stanza) || uri != want {
				t.Fatalf("%s {%s}: again it is %s {%s}", stanza, p.URI, same, uri)
			}
			if b, ok := AppendData(nil, r, p, "urn:bosh:opaque:0"); ok {
				whole := Response{Opaque: "urn:bosh:opaque:0", Payload: b}
				back := &Request{Body: whole.Bytes(nil)}
				if err := back.Parse(Limits{}); err != nil {
					t.Fatal(err)
				}
				if len(b) > 0 {
					if c, ok := AppendData(nil, back, back.Payloads[0], "urn:bosh:opaque:0"); !ok || !bytes.Equal(b, c) {
						t.Fatalf("%q became %q", b, c)
					}
				}
			}
		}
	})
}
