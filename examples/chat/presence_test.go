package main

import "testing"

func TestPresence(t *testing.T) {
	_, addr := startTestServer(t)
	alice := online(t, addr, "alice", "secret", "desk")
	bob := join(t, addr, "bob", "hunter2", "b")

	// A newcomer hears of himself and of those who are there.
	bob.send("<presence><show>away</show></presence>")
	if p := bob.want("presence", ""); p.attr("from") != bob.jid || p.attr("to") != "bob@localhost" {
		t.Errorf("bob got %v", p)
	}
	if p := bob.want("presence", ""); p.attr("from") != alice.jid {
		t.Errorf("bob got %v", p)
	}
	if p := alice.want("presence", ""); p.attr("from") != bob.jid || p.child("show").Text != "away" || p.attr("to") != "alice@localhost" {
		t.Errorf("alice got %v", p)
	}
	// So do his other sessions.
	phone := online(t, addr, "bob", "hunter2", "phone")
	phone.want("presence", "")
	phone.want("presence", "")
	alice.want("presence", "")
	bob.want("presence", "")

	// A change is told once, and asks for nothing.
	bob.send("<presence><show>dnd</show></presence>")
	for _, c := range []*client{alice, bob, phone} {
		if p := c.want("presence", ""); p.child("show").Text != "dnd" {
			t.Errorf("got %v", p)
		}
	}
	// Leaving is told by the client, by the end of its stream, and by the end
	// of its connection.
	bob.send("<presence type='unavailable'><status>bye</status></presence>")
	if p := alice.want("presence", "unavailable"); p.child("status").Text != "bye" {
		t.Errorf("alice got %v", p)
	}
	phone.want("presence", "unavailable")
	bob.wantNothing()
	phone.send("</stream:stream>")
	phone.wantEnd("")
	alice.want("presence", "unavailable")
	bob.send("<presence/>")
	alice.want("presence", "")
	bob.Close()
	if p := alice.want("presence", "unavailable"); p.attr("from") != bob.jid {
		t.Errorf("alice got %v", p)
	}
	alice.wantNothing()
}

func TestDirectedPresence(t *testing.T) {
	_, addr := startTestServer(t)
	alice := online(t, addr, "alice", "secret", "desk")
	bob := join(t, addr, "bob", "hunter2", "b")
	bob.send("<presence to='%s'><status>only you</status></presence>", alice.jid)
	if p := alice.want("presence", ""); p.attr("from") != bob.jid || p.attr("to") != alice.jid {
		t.Errorf("alice got %v", p)
	}
	bob.send("<presence to='alice@localhost'/>")
	alice.want("presence", "")
	bob.send("<presence to='alice@localhost' type='unavailable'/>")
	alice.want("presence", "unavailable")
	bob.Close()
	if p := alice.want("presence", "unavailable"); p.attr("from") != bob.jid {
		t.Errorf("alice got %v", p)
	}
	alice.wantNothing()
}

func TestSubscriptions(t *testing.T) {
	_, addr := startTestServer(t)
	alice := online(t, addr, "alice", "secret", "desk")
	bob := join(t, addr, "bob", "hunter2", "b")
	bob.send("<presence to='alice@localhost' type='subscribe' id='s'/>")
	if p := bob.want("presence", "subscribed"); p.attr("from") != "alice@localhost" {
		t.Errorf("bob got %v", p)
	}
	bob.send("<presence to='carol@localhost' type='subscribe'/>")
	bob.want("presence", "unsubscribed")
	bob.send("<presence to='alice@localhost' type='unsubscribe'/><presence to='alice@localhost' type='subscribed'/>")
	bob.wantNothing()
	bob.send("<presence to='alice@localhost' type='probe'/>")
	if p := bob.want("presence", ""); p.attr("from") != alice.jid {
		t.Errorf("bob got %v", p)
	}
	bob.send("<presence type='hello'/>")
	bob.wantError("presence", "bad-request")
	bob.send("<presence><priority>high</priority></presence>")
	bob.wantError("presence", "bad-request")
	bob.send("<presence type='subscribe'/>")
	bob.wantError("presence", "bad-request")
	alice.wantNothing()
}
