package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestBurstInOrder(t *testing.T) {
	_, addr := startTestServer(t)
	alice := online(t, addr, "alice", "secret", "desk")
	bob := join(t, addr, "bob", "hunter2", "phone")

	var burst strings.Builder
	for i := range 50 {
		fmt.Fprintf(&burst, "<message to='%s' id='%d' type='chat'><body>a &lt;b&gt; &amp; c 😀 %d</body></message>", alice.jid, i, i)
	}
	bob.send("%s", burst.String())
	for i := range 50 {
		m := alice.want("message", "chat")
		if m.attr("id") != fmt.Sprint(i) || m.attr("from") != bob.jid || m.attr("to") != alice.jid {
			t.Fatalf("message %d is %v", i, m)
		}
		if want := fmt.Sprintf("a <b> & c 😀 %d", i); m.child("body").Text != want {
			t.Fatalf("got %q, want %q", m.child("body").Text, want)
		}
	}
}

func TestMessageRouting(t *testing.T) {
	_, addr := startTestServer(t)
	desk := online(t, addr, "alice", "secret", "desk")
	phone := join(t, addr, "alice", "secret", "phone") // bound, and no more
	bob := join(t, addr, "bob", "hunter2", "b")

	// A bare address leads to those who are available.
	bob.send("<message to='alice@localhost'><body>1</body></message>")
	if m := desk.want("message", ""); m.attr("from") != bob.jid || m.attr("to") != "alice@localhost" {
		t.Errorf("got %v", m)
	}
	// A full one leads to whoever has it, in any spelling.
	bob.send("<message to='%s' from='eve@localhost'><body>2</body></message>", phone.jid)
	bob.send("<message to='ALICE@LocalHost/phone'><body>3</body></message>")
	for _, want := range []string{"2", "3"} {
		if m := phone.want("message", ""); m.attr("from") != bob.jid || m.child("body").Text != want {
			t.Errorf("got %v", m)
		}
	}
	// One that nobody has is as good as the bare one.
	bob.send("<message to='alice@localhost/gone' type='chat'><body>4</body></message>")
	desk.want("message", "chat")
	// A negative priority wants no messages for the bare address.
	phone.send("<presence><priority>-1</priority></presence>")
	phone.want("presence", "")
	phone.want("presence", "")
	desk.want("presence", "")
	bob.send("<message to='alice@localhost'><body>5</body></message>")
	desk.want("message", "")
	phone.send("<presence/>")
	phone.want("presence", "")
	desk.want("presence", "")
	bob.send("<message to='alice@localhost'><body>6</body></message>")
	desk.want("message", "")
	phone.want("message", "")
	// Without an address it is for the sender himself.
	desk.send("<message><body>7</body></message>")
	desk.want("message", "")
	phone.want("message", "")

	for _, c := range []*client{desk, phone, bob} {
		c.wantNothing()
	}
}

func TestMessageErrors(t *testing.T) {
	_, addr := startTestServer(t)
	bob := join(t, addr, "bob", "hunter2", "b")
	for _, tt := range []struct{ to, typ, want string }{
		{"carol@localhost", "", "service-unavailable"},
		{"carol@localhost/x", "chat", "service-unavailable"},
		{"localhost", "", "service-unavailable"},
		{"alice@localhost", "groupchat", "service-unavailable"},
		{"alice@localhost/x", "groupchat", "service-unavailable"},
		{"alice@example.org", "", "remote-server-not-found"},
		{"a b@localhost", "", "jid-malformed"},
		{"carol@localhost", "error", ""},
		{"alice@localhost", "headline", ""},
		{"alice@localhost/x", "headline", ""},
	} {
		bob.send("<message id='x' to='%s' type='%s'><body>hi</body></message>", tt.to, tt.typ)
		if tt.want == "" {
			bob.wantNothing()
			continue
		}
		if el := bob.wantError("message", tt.want); el.attr("from") != tt.to || el.attr("to") != bob.jid || el.attr("id") != "x" {
			t.Errorf("got %v", el)
		}
	}
}
