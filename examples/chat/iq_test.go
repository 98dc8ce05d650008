package main

import "testing"

func TestQueries(t *testing.T) {
	_, addr := startTestServer(t)
	alice := join(t, addr, "alice", "secret", "desk")
	for _, tt := range []struct{ typ, to, payload, want string }{
		{"get", "", "<ping xmlns='urn:xmpp:ping'/>", ""},
		{"get", "localhost", "<ping xmlns='urn:xmpp:ping'/>", ""},
		{"get", "alice@localhost", "<ping xmlns='urn:xmpp:ping'/>", ""},
		{"set", "", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", ""},
		{"get", "localhost", "<query xmlns='http://jabber.org/protocol/disco#info'/>", ""},
		{"get", "localhost", "<query xmlns='http://jabber.org/protocol/disco#items'/>", ""},
		{"get", "bob@localhost", "<query xmlns='http://jabber.org/protocol/disco#info'/>", ""},
		{"get", "localhost", "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", "item-not-found"},
		{"get", "localhost", "<query xmlns='jabber:iq:version'/>", ""},
		{"set", "", "<query xmlns='jabber:iq:roster'><item jid='carol@localhost'/></query>", "not-allowed"},
		{"get", "bob@localhost", "<query xmlns='jabber:iq:roster'/>", "service-unavailable"},
		{"get", "", "<query xmlns='urn:example:unknown'/>", "service-unavailable"},
		{"set", "localhost", "<query xmlns='urn:example:unknown'/>", "service-unavailable"},
		{"get", "localhost/x", "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"get", "carol@localhost", "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"get", "bob@localhost/gone", "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"get", "bob@example.net", "<ping xmlns='urn:xmpp:ping'/>", "remote-server-not-found"},
		{"get", "", "", "bad-request"},
		{"get", "", "<a xmlns='a'/><b xmlns='b'/>", "bad-request"},
		{"ask", "", "<a xmlns='a'/>", "bad-request"},
	} {
		alice.send("<iq id='q' type='%s' to='%s'>%s</iq>", tt.typ, tt.to, tt.payload)
		if tt.want != "" {
			alice.wantError("iq", tt.want)
		} else if el := alice.want("iq", "result"); el.attr("id") != "q" || el.attr("from") != tt.to || el.attr("to") != alice.jid {
			t.Errorf("got %v", el)
		}
	}
	alice.send("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
	alice.wantError("iq", "bad-request")
	// Nobody answers an answer.
	alice.send("<iq id='q' type='result'/><iq id='q' type='error' to='bob@localhost/gone'/>" +
		"<iq id='q' type='result' to='localhost'/><iq type='result'/>")
	alice.wantNothing()
}

func TestRoster(t *testing.T) {
	_, addr := startTestServer(t)
	get := func(c *client) []*element {
		c.send("<iq id='r' type='get'><query xmlns='jabber:iq:roster'/></iq>")
		return c.want("iq", "result").child("query").Children
	}
	items := get(join(t, addr, "alice", "secret", "desk"))
	if len(items) != 1 || items[0].attr("jid") != "bob@localhost" || items[0].attr("subscription") != "both" {
		t.Errorf("alice's roster is %v", items)
	}
	if items := get(join(t, addr, "", "", "desk")); len(items) != 2 {
		t.Errorf("a guest's roster is %v", items)
	}
}

func TestQueriesBetweenClients(t *testing.T) {
	_, addr := startTestServer(t)
	alice := join(t, addr, "alice", "secret", "desk")
	bob := join(t, addr, "bob", "hunter2", "b")
	alice.send("<iq id='1' type='get' to='%s' xml:lang='de'><query xmlns='urn:x'><a b='c'/></query></iq>", bob.jid)
	q := bob.want("iq", "get")
	if q.attr("from") != alice.jid || q.child("query").XMLName.Space != "urn:x" || q.child("query", "a").attr("b") != "c" {
		t.Errorf("bob got %v", q)
	}
	bob.send("<iq id='1' type='result' to='%s'><query xmlns='urn:x'/></iq>", q.attr("from"))
	if r := alice.want("iq", "result"); r.attr("from") != bob.jid {
		t.Errorf("alice got %v", r)
	}
	bob.send("<iq id='2' type='error' to='%s'/>", alice.jid)
	alice.want("iq", "error")
}
