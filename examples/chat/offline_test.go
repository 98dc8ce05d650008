package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestOffline(t *testing.T) {
	srv, addr := startTestServer(t)
	bob := join(t, addr, "bob", "hunter2", "b")
	before := time.Now().Add(-time.Second)
	for i := range 10 {
		bob.send("<message to='alice@localhost' id='%d'><body>%d</body></message>", i, i)
	}
	bob.send("<message to='alice@localhost' type='chat'><composing xmlns='%s'/></message>", nsChatStates)
	bob.wantNothing()

	// Who wants no messages gets none.
	shy := join(t, addr, "alice", "secret", "shy")
	shy.send("<presence><priority>-1</priority></presence>")
	shy.want("presence", "")
	shy.wantNothing()
	shy.Close()
	alice := join(t, addr, "alice", "secret", "desk")
	alice.wantNothing()
	alice.send("<presence/>")
	for i := range 10 {
		m := alice.want("message", "")
		stamp, err := time.Parse(time.RFC3339Nano, m.child("delay").attr("stamp"))
		if m.child("body").Text != fmt.Sprint(i) || m.attr("from") != bob.jid || m.child("delay").XMLName.Space != nsDelay ||
			m.child("delay").attr("from") != "localhost" || err != nil || stamp.Before(before) || stamp.After(time.Now()) {
			t.Errorf("got %v, %v", m, err)
		}
	}
	for len(alice.sync()) > 1 { // her own presence, and perhaps that of shy
	}
	if n := len(srv.lookup("alice@localhost").offline.packets); n != 0 {
		t.Errorf("%d messages are still there", n)
	}
}

func TestOfflineFull(t *testing.T) {
	_, addr := startTestServer(t)
	bob := join(t, addr, "bob", "hunter2", "b")
	for range maxOffline {
		bob.send("<message to='alice@localhost'><body>hi</body></message>")
	}
	bob.wantNothing()
	bob.send("<message to='alice@localhost'><body>hi</body></message>")
	bob.wantError("message", "service-unavailable")
}

func TestOfflineOrder(t *testing.T) {
	var o offline
	at := time.Now()
	for _, i := range []int{2, 0, 1, 3, 1} {
		o.add(&packet{id: fmt.Sprint(i), at: at.Add(time.Duration(i))})
	}
	var got []string
	o.take(func(p *packet) bool {
		got = append(got, p.id)
		return len(got) < 4
	})
	if strings.Join(got, "") != "0112" || len(o.packets) != 2 {
		t.Errorf("got %v, %d left", got, len(o.packets))
	}
	o.take(func(*packet) bool { return true })
	if len(o.packets) != 0 || o.size != 0 {
		t.Errorf("%d left, of size %d", len(o.packets), o.size)
	}
	if o.add(&packet{inner: make([]byte, maxOfflineSize)}) {
		t.Error("a message larger than all room was kept")
	}
}
