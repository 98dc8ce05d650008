package bosh_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log"
	"strings"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// notXML are the two characters that JSON may have and XML may not. All else
// that would have to be escaped package json has escaped already.
var notXML = strings.NewReplacer("\ufffe", `\ufffe`, "\uffff", `\uffff`)

// toElement puts a value as JSON into a container. XEP-0335.
func toElement(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return []byte("<json xmlns='urn:xmpp:json:0'>" + notXML.Replace(string(text)) + "</json>"), nil
}

// fromElement takes a value out of a container.
func fromElement(element []byte, v any) error {
	var container struct {
		XMLName xml.Name `xml:"urn:xmpp:json:0 json"`
		Text    []byte   `xml:",chardata"`
	}
	if err := xml.Unmarshal(element, &container); err != nil {
		return err
	}
	return json.Unmarshal(container.Text, v)
}

// A service pushes JSON: BOSH carries XML elements, so each value goes into a
// container.
func ExampleStream_WriteElement_json() {
	type price struct {
		Symbol string
		Cents  int
	}
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve: func(s *bosh.Stream) {
			element, err := s.ReadElement(context.Background())
			if err != nil {
				return
			}
			var symbol string
			if err := fromElement(element, &symbol); err != nil {
				s.CloseWithError(&bosh.Error{Condition: bosh.BadRequest, Err: err})
				return
			}
			for cents := 4711; cents < 4713; cents++ {
				element, err := toElement(price{symbol, cents})
				if err != nil {
					return
				}
				if s.WriteElement(s.Context(), element) != nil { // blocks while the client is slow
					return
				}
			}
		},
	})
	defer h.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	client.Send(ctx, `<json xmlns='urn:xmpp:json:0'>"M&amp;S"</json>`)
	for {
		element, err := client.Recv(ctx)
		if err != nil {
			break
		}
		fmt.Println(string(element))
	}
	// Output:
	// <json xmlns='urn:xmpp:json:0'>{"Symbol":"M\u0026S","Cents":4711}</json>
	// <json xmlns='urn:xmpp:json:0'>{"Symbol":"M\u0026S","Cents":4712}</json>
}
