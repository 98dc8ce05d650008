package main

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// boundSession returns a session that is bound, with an outbox that keeps
// everything.
func boundSession(t testing.TB, srv *server, local, resource string) *session {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	s := &session{srv: srv, conn: newConn(far), login: login{local: local}, jid: local + "@localhost/" + resource}
	s.out = newOutbox(s.conn, srv.domain) // never started
	s.user = srv.admit(s.login)
	srv.bind(s, s.user, resource)
	return s
}

// handle gives a session a stanza.
func (srv *server) handle(s *session, text string) {
	p, err := parsePacket(text)
	if err != nil {
		panic(err)
	}
	s.handle(p)
}

// waiting returns what waits in a session's outbox.
func waiting(s *session) []string {
	var list []string
	for _, it := range s.out.items {
		list = append(list, string(it.p.appendTo(nil, it.to, "")))
	}
	return list
}

// messages returns how many messages wait in a session's outbox.
func messages(s *session) int {
	n := 0
	for _, it := range s.out.items {
		if it.p.name == "message" {
			n++
		}
	}
	return n
}

func TestResolve(t *testing.T) {
	srv := newTestServer(t)
	s := boundSession(t, srv, "alice", "Desk")
	for _, tt := range []struct {
		to       string
		user     string
		resource string
		found    bool
		server   bool
		err      error
	}{
		{to: "alice@localhost", user: "alice@localhost"},
		{to: "Alice@LOCALHOST", user: "alice@localhost"},
		{to: "alice@localhost/Desk", user: "alice@localhost", resource: "Desk", found: true},
		{to: "aLICE@localhost/Desk", user: "alice@localhost", resource: "Desk", found: true},
		{to: "alice@localhost/desk", user: "alice@localhost", resource: "desk"},
		{to: "localhost", server: true},
		{to: "LOCALHOST", server: true},
		{to: "localhost/x", server: true, resource: "x"},
		{to: "carol@localhost"},
		{to: "alice@example.net", err: errNoServer},
		{to: "@localhost", err: errJIDMalformed},
		{to: "alice@localhost/", err: errJIDMalformed},
	} {
		got, err := srv.resolve(tt.to)
		if tt.err != nil {
			if !errors.Is(err, tt.err) {
				t.Errorf("%s: got %v, want %v", tt.to, err, tt.err)
			}
			continue
		}
		user := ""
		if got.user != nil {
			user = got.user.bare
		}
		if err != nil || user != tt.user || got.resource != tt.resource || (got.session == s) != tt.found || got.server != tt.server {
			t.Errorf("%s: got %+v, %v", tt.to, got, err)
		}
	}
}

func TestGuestsComeAndGo(t *testing.T) {
	srv, addr := startTestServer(t)
	alice := online(t, addr, "alice", "secret", "a")
	guest := online(t, addr, "", "", "g")
	if p := guest.want("presence", ""); p.attr("from") != alice.jid {
		t.Errorf("the guest got %v", p)
	}
	if p := alice.want("presence", ""); p.attr("from") != guest.jid {
		t.Errorf("alice got %v", p)
	}
	other := online(t, addr, "", "", "g")
	other.want("presence", "")
	alice.want("presence", "")
	guest.wantNothing() // guests do not see each other
	other.wantNothing()

	guest.Close()
	if p := alice.want("presence", "unavailable"); p.attr("from") != guest.jid {
		t.Errorf("alice got %v", p)
	}
	bare, _, _ := strings.Cut(guest.jid, "/")
	for srv.lookup(bare) != nil { // the presence comes a moment before the end
		alice.wantNothing()
	}
	alice.send("<message to='%s'><body>still there?</body></message>", bare)
	alice.wantError("message", "service-unavailable")
}
