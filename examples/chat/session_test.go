package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"mellium.im/xmpp/stream"
)

const goodHeader = "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

// TestBadStreams ends streams before they are bound.
func TestBadStreams(t *testing.T) {
	_, addr := startTestServer(t)
	for _, tt := range []struct{ send, want string }{
		{"<stream:stream to='example.net' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", "host-unknown"},
		{"<stream:stream version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", "improper-addressing"},
		{"<stream:stream to='localhost' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", "unsupported-version"},
		{"<stream:stream to='localhost' version='1.0' xmlns:stream='http://etherx.jabber.org/streams'>", "invalid-namespace"},
		{"<stream to='localhost' version='1.0'>", "invalid-namespace"},
		{"GET / HTTP/1.1\r\n\r\n<", "bad-format"},
		{"<a<", "not-well-formed"},
		{"<!DOCTYPE a>" + goodHeader, "restricted-xml"},
		{"<?xml version='1.0' encoding='latin1'?>", "unsupported-encoding"},
		{goodHeader + "<message to='alice@localhost'/>", "policy-violation"},
		{goodHeader + "<iq type='set' id='b'><bind xmlns='" + nsBind + "'/></iq>", "policy-violation"},
		{goodHeader + "<auth xmlns='" + nsSASL + "' mechanism='X'/><message/>", "not-authorized"},
		{goodHeader + "<auth xmlns='" + nsSASL + "' mechanism='X'><x/></auth>", "bad-format"},
		{goodHeader + "<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" + strings.Repeat("A", maxPreAuth), "policy-violation"},
	} {
		c := dial(t, addr)
		if err := c.write(tt.send); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c.transport.(*tcp))
		if err != nil {
			t.Errorf("%q: %v", tt.send, err)
		}
		text := string(got)
		if strings.Count(text, "<stream:stream ") != 1 || strings.Count(text, "</stream:stream>") != 1 ||
			!strings.HasSuffix(text, string(ending(stream.Error{Err: tt.want}))) {
			t.Errorf("%.100q: got %s, want %s", tt.send, text, tt.want)
		}
	}
}

// TestBadStanzas ends streams that are bound.
func TestBadStanzas(t *testing.T) {
	_, addr := startTestServer(t)
	for _, tt := range []struct{ send, want string }{
		{"<message></iq>", "not-well-formed"},
		{"<message a='1' a='2'/>", "not-well-formed"},
		{"<message><body a='1' a='2'/></message>", "not-well-formed"},
		{"<message>&unknown;</message>", "not-well-formed"},
		{"<!-- comment -->", "restricted-xml"},
		{"<message><!-- comment --></message>", "restricted-xml"},
		{"text<message/>", "bad-format"},
		{"<note/>", "unsupported-stanza-type"},
		{"<message xmlns='urn:x'/>", "unsupported-stanza-type"},
		{"<message>" + strings.Repeat("a", maxStanza) + "</message>", "policy-violation"},
		{"<message>" + strings.Repeat("<a>", maxDepth+1), "policy-violation"},
		{goodHeader, "bad-format"},
		{"<stream:error><reset xmlns='" + nsStreamErrors + "'/></stream:error>", ""},
	} {
		c := join(t, addr, "alice", "secret", "desk")
		c.write(tt.send) // the server may be gone before it is all out
		c.wantEnd(tt.want)
	}
}

func TestWhitespaceKeepalive(t *testing.T) {
	_, addr := startTestServer(t)
	c := join(t, addr, "alice", "secret", "desk")
	c.send(" \n\t")
	c.wantNothing()
}

func TestBind(t *testing.T) {
	_, addr := startTestServer(t)
	c := dial(t, addr)
	c.open()
	c.auth("PLAIN", "\x00alice\x00secret")
	if f := c.open(); f.child("bind").XMLName.Space != nsBind || f.child("session", "optional").XMLName.Space != nsSession {
		t.Errorf("features are %v", f)
	}
	// What is wrong is said, and may be done again.
	for _, bad := range []string{
		"<iq type='set' id='b'><bind xmlns='" + nsBind + "'><resource>\u200b\u2028</resource></bind></iq>",
		"<iq type='set' id='b'><bind xmlns='" + nsBind + "'><resource>" + strings.Repeat("x", 1024) + "</resource></bind></iq>",
		"<iq type='get' id='b'><bind xmlns='" + nsBind + "'/></iq>",
	} {
		c.send("%s", bad)
		c.wantError("iq", "bad-request")
	}
	c.send("<iq type='set' id='b'><bind xmlns='%s'/></iq>", nsBind)
	if j := c.want("iq", "result").child("bind", "jid").Text; len(j) < len("alice@localhost/")+16 {
		t.Errorf("bound to %s", j)
	}
}

func TestConflict(t *testing.T) {
	_, addr := startTestServer(t)
	bob := online(t, addr, "bob", "hunter2", "b")
	old := online(t, addr, "alice", "secret", "desk")
	old.want("presence", "")
	bob.want("presence", "")
	fresh := online(t, addr, "alice", "secret", "desk")
	fresh.want("presence", "")
	old.wantEnd("conflict")
	// The old one's leave comes before the new one's arrival.
	if p := bob.want("presence", "unavailable"); p.attr("from") != old.jid {
		t.Errorf("bob got %v", p)
	}
	bob.want("presence", "")
	bob.send("<message to='%s'><body>hi</body></message>", fresh.jid)
	fresh.want("message", "")
}

func TestMaxSessions(t *testing.T) {
	_, addr := startTestServer(t, func(srv *server) { srv.maxSessions = 1 })
	alice := join(t, addr, "alice", "secret", "desk")
	bob := dial(t, addr)
	bob.header()
	bob.wantEnd("resource-constraint")
	alice.wantNothing()
}

// TestSlowReader stops reading and is sent more than the server keeps.
func TestSlowReader(t *testing.T) {
	srv, addr := startTestServer(t)
	slow := online(t, addr, "alice", "secret", "slow")
	bob := join(t, addr, "bob", "hunter2", "b")
	message := "<message to='alice@localhost' type='chat'><body>" + strings.Repeat("x", 64<<10) + "</body></message>"
	alice := srv.lookup("alice@localhost")
	count := func() (sessions, stored int) {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return len(alice.sessions), len(alice.offline.packets)
	}
	sent := 0
	for n := 1; n > 0; n, _ = count() { // the sender is never held up
		bob.send("%s", message)
		for _, el := range bob.sync() {
			// What is more than may be stored comes back: nothing is lost.
			if el.XMLName.Local != "message" || el.attr("type") != "error" {
				t.Fatalf("bob got %v", el)
			}
		}
		if sent++; sent > 1000 {
			t.Fatal("the session goes on")
		}
	}
	slow.Close()
	if _, stored := count(); stored == 0 {
		t.Error("no message was kept")
	}
}

func TestShutdown(t *testing.T) {
	srv, addr := startTestServer(t)
	bound := online(t, addr, "alice", "secret", "desk")
	begun := dial(t, addr)
	begun.open()
	silent := dial(t, addr)
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.shutdown(t.Context())
	}()
	silent.transport.(*tcp).dec = xml.NewDecoder(silent.transport.(*tcp))
	for _, c := range []*client{bound, begun, silent} {
		c.wantEnd("system-shutdown")
		c.Close()
	}
	<-done
}
