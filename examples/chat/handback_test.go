package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh/boshtest"
)

// TestHandBack ends a session while things wait for it.
func TestHandBack(t *testing.T) {
	srv := newTestServer(t)
	pair := func() (*session, *session) {
		return boundSession(t, srv, "alice", "a"), boundSession(t, srv, "bob", "b")
	}
	message := func(from *session, to string) *packet {
		return &packet{name: "message", from: from.jid, to: to, inner: []byte("<body/>"), children: 1, at: time.Now()}
	}

	t.Run("stored", func(t *testing.T) {
		alice, bob := pair()
		srv.handle(alice, "<presence/>")
		srv.message(bob, message(bob, "alice@localhost"))
		srv.message(bob, message(bob, alice.jid))
		alice.leave()
		srv.handBack(alice, alice.out.items)
		if n := len(alice.user.offline.packets); n != 2 {
			t.Errorf("%d messages stored, want 2", n)
		}
		alice.user.offline = offline{}
		bob.leave()
	})
	t.Run("query refused", func(t *testing.T) {
		alice, bob := pair()
		srv.iq(bob, &packet{name: "iq", typ: "get", id: "q", from: bob.jid, to: alice.jid})
		alice.leave()
		srv.handBack(alice, alice.out.items)
		if got := waiting(bob); len(got) != 1 || !strings.Contains(got[0], "service-unavailable") {
			t.Errorf("bob got %q", got)
		}
		bob.leave()
	})
	t.Run("others", func(t *testing.T) {
		alice, bob := pair()
		veteran := boundSession(t, srv, "alice", "veteran")
		srv.handle(alice, "<presence/>")
		srv.handle(veteran, "<presence/>")
		srv.message(bob, message(bob, "alice@localhost")) // both have it
		srv.message(bob, message(bob, alice.jid))         // only alice has it
		newcomer := boundSession(t, srv, "alice", "newcomer")
		srv.handle(newcomer, "<presence/>")
		alice.leave()
		srv.handBack(alice, alice.out.items)
		if n := messages(veteran); n != 2 {
			t.Errorf("the veteran has %d messages, want 2", n)
		}
		if n := messages(newcomer); n != 1 {
			t.Errorf("the newcomer has %d messages, want 1", n)
		}
		// The last who had the first message goes as well.
		veteran.leave()
		srv.handBack(veteran, veteran.out.items)
		if n := messages(newcomer); n != 2 {
			t.Errorf("the newcomer has %d messages, want 2", n)
		}
		newcomer.leave()
		bob.leave()
	})
}

func TestLedger(t *testing.T) {
	l := ledger{proven: 5}
	orders := func(n int) (list []uint64) {
		for _, it := range l.left(n) {
			list = append(list, it.order)
		}
		return list
	}
	l.add([]item{{order: 6}, {order: 7}})
	l.proves(3)
	l.proves(5)
	l.add([]item{{order: 8}})
	if got := orders(9); !slices.Equal(got, []uint64{6, 7, 8}) {
		t.Errorf("nothing is proven: %v", got)
	}
	l.proves(7)
	l.add([]item{{order: 9}})
	if got := orders(9); !slices.Equal(got, []uint64{8, 9}) {
		t.Errorf("two are proven: %v", got)
	}
	if got := orders(1); !slices.Equal(got, []uint64{9}) {
		t.Errorf("the last one: %v", got)
	}
	l.proves(100)
	if got := orders(9); len(got) > 0 {
		t.Errorf("all are proven: %v", got)
	}
}

// TestNoMessageIsLost lets a client vanish at each moment. Between them, it and
// its successor have every message. The successor comes when the server knows,
// or before that.
func TestNoMessageIsLost(t *testing.T) {
	for _, fault := range []boshtest.Fault{boshtest.CutBefore, boshtest.CutAfter, boshtest.CutMiddle, boshtest.CutHeld} {
		for request := range 6 {
			for _, early := range []bool{false, true} {
				t.Run(fmt.Sprint(fault, request, early), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { vanish(t, fault, request, early) })
				})
			}
		}
	}
}

// vanish lets alice vanish after some requests, while messages come in.
func vanish(t *testing.T, fault boshtest.Fault, request int, early bool) {
	const total = 8
	srv := newTestServer(t)
	h := newBOSH(&config{}, srv)
	served := make(chan error, 1)
	go func() { served <- srv.serve(h.Listener()) }()
	memory := boshtest.InMemory(h)
	cfg := boshtest.Config{URL: "https://localhost/", Transport: memory}

	bob := dialBOSH(t, cfg)
	bob.login("bob", "hunter2", "b")
	var begun, armed atomic.Int64
	doomed := cfg
	doomed.GiveUp = -1
	doomed.Fault = &boshtest.Faults{Plan: func(int, []byte) boshtest.Fault {
		if armed.Load() == 0 {
			return boshtest.Pass
		}
		switch n := int(begun.Add(1)) - 1; {
		case n < request:
			return boshtest.Pass
		case n == request:
			return fault
		}
		return boshtest.CutBefore
	}}
	alice := dialBOSH(t, doomed)
	alice.login("alice", "secret", "doomed")
	alice.send("<presence/>")
	alice.want("presence", "")
	armed.Store(1)
	first := collect(alice)

	heir := dialBOSH(t, cfg)
	var second *inbox
	join := func() {
		heir.login("alice", "secret", "heir")
		heir.send("<presence/>")
		second = collect(heir)
	}
	for i := range total {
		bob.send("<message to='alice@localhost' type='chat'><body>%d</body></message>", i)
		bob.wantNothing()
		time.Sleep(time.Second)
		if early && i == total*3/4 {
			join()
		}
	}
	time.Sleep(time.Hour) // by then the server knows
	if begun.Load() <= int64(request) {
		t.Fatalf("alice made only %d requests", begun.Load())
	}
	if !early {
		join()
	}
	time.Sleep(time.Second)

	a, b := first.get(), second.get()
	for i := range total {
		if !slices.Contains(a, i) && !slices.Contains(b, i) {
			t.Errorf("%d is lost: alice got %v, her heir %v", i, a, b)
		}
	}
	// Nothing is doubled, but for what the server could not know.
	twice := 0
	for i, n := range b {
		if slices.Contains(b[:i], n) {
			t.Errorf("the heir got %d twice: %v", n, b)
		}
		if slices.Contains(a, n) {
			twice++
		}
	}
	if twice > 2 { // a client that does not acknowledge may have two requests open
		t.Errorf("alice got %v, and her heir %v", a, b)
	}
	if !early && !slices.IsSorted(b) {
		t.Errorf("the heir got %v", b)
	}

	alice.Close()
	go h.Shutdown(context.Background())
	srv.shutdown(context.Background())
	if err := <-served; err != nil {
		t.Error(err)
	}
	memory.Wait()
}

// An inbox collects the numbers of messages.
type inbox struct {
	mu      sync.Mutex
	numbers []int
}

func (in *inbox) get() []int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.numbers)
}

// collect reads until the end of the client.
func collect(c *client) *inbox {
	in := &inbox{}
	go func() {
		for {
			el, err := c.read()
			if err != nil {
				return
			}
			if n, err := strconv.Atoi(el.child("body").Text); err == nil {
				in.mu.Lock()
				in.numbers = append(in.numbers, n)
				in.mu.Unlock()
			}
		}
	}()
	return in
}

// B13: a client ends its session in good order, in each way that there is. It has
// read what came before, so that none of that comes again.
func TestLogout(t *testing.T) {
	const presence = "<presence xmlns='jabber:client' type='unavailable'/>"
	// Each gets a client that has read an answer, and its rid, and returns all that
	// the client reads then.
	for name, end := range map[string]func(r *raw, rid int) string{
		"at once":       func(r *raw, _ int) string { return r.post(" type='terminate'", "") },
		"with presence": func(r *raw, _ int) string { return r.post(" type='terminate'", presence) },
		"after presence": func(r *raw, _ int) string {
			return r.post("", presence) + r.post(" type='terminate'", "")
		},
		"while a poll is held": func(r *raw, _ int) string {
			held := r.hold()
			return r.post(" type='terminate'", presence) + <-held
		},
		"acknowledging": func(r *raw, rid int) string {
			return r.post(fmt.Sprintf(" type='terminate' ack='%d'", rid), "")
		},
		"as gloox does": func(r *raw, _ int) string { return r.post(" type='terminal'", "") },
		"without reading the answer": func(r *raw, _ int) string {
			r.last(" type='terminate'")
			return ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { logout(t, end) })
		})
	}
}

func logout(t *testing.T, end func(r *raw, rid int) string) {
	srv := newTestServer(t)
	h := newBOSH(&config{}, srv)
	served := make(chan error, 1)
	go func() { served <- srv.serve(h.Listener()) }()
	memory := boshtest.InMemory(h)
	bob := dialBOSH(t, boshtest.Config{URL: "https://localhost/", Transport: memory})
	bob.login("bob", "hunter2", "b")
	say := func(text string) {
		bob.send("<message xmlns='jabber:client' to='alice@localhost' type='chat'><body>%s</body></message>", text)
		bob.wantNothing()
		synctest.Wait() // it is in the stream, or has another place
	}

	r := &raw{t: t, url: "https://localhost/", client: &http.Client{Transport: memory}, rid: 100, wait: 60}
	r.login("alice", "secret")
	held := r.hold()
	say("read")
	if text := <-held; !strings.Contains(text, ">read<") {
		t.Fatalf("got %s", text)
	}
	say("unread")
	rest := end(r, r.rid)
	say("late")
	time.Sleep(time.Hour)

	again := dialBOSH(t, boshtest.Config{URL: "https://localhost/", Transport: memory})
	again.login("alice", "secret", "again")
	again.send("<presence/>")
	var got []string
	for _, el := range again.sync() {
		if el.XMLName.Local == "message" {
			got = append(got, el.child("body").Text)
		}
	}
	want := []string{"late"}
	switch {
	case rest == "": // what was in the answer that nobody read is lost, and what was not comes
		got = slices.DeleteFunc(got, func(text string) bool { return text == "unread" })
	case !strings.Contains(rest, ">unread<"):
		want = []string{"unread", "late"}
	}
	if !slices.Equal(got, want) {
		t.Errorf("at the next login: %q; before that it read %s", got, rest)
	}
	bob.Close()
	again.Close()
	go h.Shutdown(context.Background())
	srv.shutdown(context.Background())
	if err := <-served; err != nil {
		t.Error(err)
	}
	memory.Wait()
}
