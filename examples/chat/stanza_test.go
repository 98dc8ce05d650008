package main

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"
)

// parsePacket reads one stanza.
func parsePacket(text string) (*packet, error) {
	d := xml.NewDecoder(strings.NewReader("<x xmlns='jabber:client'>" + text + "</x>"))
	d.Token()
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	return readPacket(d, tok.(xml.StartElement))
}

func TestPacket(t *testing.T) {
	p, err := parsePacket("<message xmlns:p='urn:p' to='b@localhost' from='eve@localhost' id='&lt;1' type='chat' xml:lang='de' other='x'>" +
		"<body>hi</body><x xmlns='urn:x' p:a='p:b'/></message>")
	if err != nil {
		t.Fatal(err)
	}
	p.from = "a@localhost/r"
	p.at = time.Date(2024, 2, 3, 4, 5, 6, 789e6, time.UTC)
	const inner = "<body>hi</body><x xmlns='urn:x' p:a='p:b'/>"
	want := "<message from='a@localhost/r' to='b@localhost' id='&lt;1' type='chat' xml:lang='de' xmlns:p='urn:p'>" + inner
	if got := string(p.appendTo(nil, "", "")); got != want+"</message>" {
		t.Errorf("got  %s\nwant %s", got, want+"</message>")
	}
	want = strings.Replace(want, "b@localhost", "b@localhost/x", 1) +
		"<delay xmlns='urn:xmpp:delay' from='localhost' stamp='2024-02-03T04:05:06.789Z'/></message>"
	if got := string(p.appendTo(nil, "b@localhost/x", "localhost")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPacketStatus(t *testing.T) {
	for text, want := range map[string]bool{
		"<message/>":                   false,
		"<message><body/></message>":   false,
		"<message><thread/></message>": true,
		"<message><active xmlns='http://jabber.org/protocol/chatstates'/></message>":                      true,
		"<message><active xmlns='http://jabber.org/protocol/chatstates'/><thread>1</thread></message>":    true,
		"<message><body>hi</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>":       false,
		"<message><active xmlns='http://jabber.org/protocol/chatstates'/><x xmlns='jabber:x'/></message>": false,
	} {
		p, err := parsePacket(text)
		if err != nil || p.status != want {
			t.Errorf("%s: got %v, %v", text, p.status, err)
		}
	}
}

func TestPriority(t *testing.T) {
	for inner, want := range map[string]int{
		"":                            0,
		"<show>away</show>":           0,
		"<priority/>":                 0,
		"<priority>5</priority>":      5,
		"<priority> -128 </priority>": -128,
		"<x xmlns='urn:x'><priority>5</priority></x>": 0,
	} {
		p, err := parsePacket("<presence>" + inner + "</presence>")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.priority(); err != nil || int(got) != want {
			t.Errorf("%s: got %d, %v", inner, got, err)
		}
	}
	for _, bad := range []string{"128", "-129", "high", "1 2"} {
		p, err := parsePacket("<presence><priority>" + bad + "</priority></presence>")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.priority(); err == nil {
			t.Errorf("%s: got %d", bad, got)
		}
	}
}
