package main

import (
	"encoding/json"
	"encoding/xml"
	"strings"
)

// What goes over BOSH is XML. JSON goes in a container: XEP-0335.
const nsJSON = "urn:xmpp:json:0"

// notXML are the characters that JSON may have and XML may not. What else XML
// cannot have as text, package json writes as \u003c and the like already.
var notXML = strings.NewReplacer("\ufffe", `\ufffe`, "\uffff", `\uffff`)

// encode puts a value as JSON into an element.
func encode(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return []byte("<json xmlns='" + nsJSON + "'>" + notXML.Replace(string(text)) + "</json>"), nil
}

// decode takes a value out of an element.
func decode(element []byte, v any) error {
	var container struct {
		XMLName xml.Name `xml:"urn:xmpp:json:0 json"`
		Text    []byte   `xml:",chardata"`
	}
	if err := xml.Unmarshal(element, &container); err != nil {
		return err
	}
	return json.Unmarshal(container.Text, v)
}
