package main

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// An overBOSH is a transport over BOSH.
type overBOSH struct {
	*boshtest.Client
	cfg      boshtest.Config
	realTime bool // no call may hang
}

// ctx bounds one call.
func (c *overBOSH) ctx() (context.Context, context.CancelFunc) {
	if !c.realTime {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), 20*time.Second)
}

// dialBOSH returns a client that has not sent anything.
func dialBOSH(t testing.TB, cfg boshtest.Config) *client {
	_, overNetwork := cfg.Transport.(*http.Transport)
	if cfg.To == "" {
		cfg.To = "localhost"
	}
	cfg.XMPP = true
	tr := &overBOSH{cfg: cfg, realTime: overNetwork || cfg.Transport == nil}
	t.Cleanup(func() { tr.Close() })
	return &client{t: t, transport: tr}
}

func (c *overBOSH) header() (err error) {
	ctx, cancel := c.ctx()
	defer cancel()
	if c.Client != nil {
		return c.Restart(ctx)
	}
	c.Client, err = boshtest.Dial(ctx, c.cfg)
	return err
}

func (c *overBOSH) write(text string) error {
	ctx, cancel := c.ctx()
	defer cancel()
	return c.Send(ctx, text)
}

func (c *overBOSH) read() (*element, error) {
	ctx, cancel := c.ctx()
	defer cancel()
	b, err := c.Recv(ctx)
	if err != nil {
		return nil, err
	}
	// Stanzas are complete in themselves; the prefix of the stream's own
	// elements is declared by the wrapper.
	d := xml.NewDecoder(strings.NewReader("<x xmlns:stream='http://etherx.jabber.org/streams'>" + string(b) + "</x>"))
	d.Token()
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	start, ok := tok.(xml.StartElement)
	if !ok {
		return nil, fmt.Errorf("got %q", b)
	}
	el := &element{}
	return el, d.DecodeElement(el, &start)
}

func (c *overBOSH) Close() error {
	if c.Client == nil {
		return nil
	}
	return c.Client.Close()
}

func TestCreationAnswer(t *testing.T) {
	chat := startChat(t)
	for _, path := range []string{"http-bind", "http-bind/", "/http-bind", "http-bind//", "/http-bind//", "%2fhttp-bind"} {
		c := dialBOSH(t, boshtest.Config{URL: chat.http + path})
		if err := c.header(); err != nil {
			t.Fatal(err)
		}
		bosh := c.transport.(*overBOSH)
		answer := bosh.Created().String()
		for _, want := range []string{"<stream:features>", ">SCRAM-SHA-256<", ">SCRAM-SHA-1<", ">PLAIN<", ">ANONYMOUS<", "from='localhost'"} {
			if !strings.Contains(answer, want) {
				t.Errorf("%s: no %s in %s", path, want, answer)
			}
		}
		ctx, cancel := bosh.ctx()
		if err := bosh.Terminate(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

func TestUnknownHost(t *testing.T) {
	chat := startChat(t)
	c := dialBOSH(t, boshtest.Config{URL: chat.http + "http-bind", To: "example.net"})
	var end *boshclient.Error
	if err := c.header(); !errors.As(err, &end) || end.Condition != "host-unknown" {
		t.Errorf("got %v, want host-unknown", err)
	}
}

// TestAcrossTransports lets a client over TCP, one over HTTP and one over
// HTTPS talk with each other.
func TestAcrossTransports(t *testing.T) {
	chat := startChat(t)
	secure := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: true,
	}
	defer secure.CloseIdleConnections()

	alice := dial(t, chat.c2s)
	alice.login("alice", "alice", "tcp")
	bob := dialBOSH(t, boshtest.Config{URL: chat.http + "http-bind"})
	bob.login("bob", "bob", "http")
	guest := dialBOSH(t, boshtest.Config{URL: chat.https + "http-bind", Transport: secure})
	guest.login("", "", "https")

	clients := []*client{alice, bob, guest}
	for _, from := range clients {
		for _, to := range clients {
			var burst strings.Builder
			for i := range 50 {
				fmt.Fprintf(&burst, "<message to='%s' id='%d' type='chat'><body>&lt;&amp;&gt; 😀 %d</body></message>", to.jid, i, i)
			}
			from.send("%s", burst.String())
			for i := range 50 {
				m := to.want("message", "chat")
				if m.attr("from") != from.jid || m.child("body").Text != fmt.Sprintf("<&> 😀 %d", i) {
					t.Fatalf("%s got %v, want number %d from %s", to.jid, m, i, from.jid)
				}
			}
		}
	}
	bob.send("<presence/>")
	bob.want("presence", "")
	alice.send("<presence/>")
	alice.want("presence", "")
	if p := alice.want("presence", ""); p.attr("from") != bob.jid {
		t.Errorf("alice got %v", p)
	}
	bob.want("presence", "")
	for _, c := range []*client{bob, guest} {
		if err := c.transport.(*overBOSH).Terminate(t.Context()); err != nil {
			t.Errorf("%s: %v", c.jid, err)
		}
	}
	alice.want("presence", "unavailable")
}

func TestConflictOverBOSH(t *testing.T) {
	chat := startChat(t)
	old := dialBOSH(t, boshtest.Config{URL: chat.http + "http-bind"})
	old.login("alice", "alice", "desk")
	dial(t, chat.c2s).login("alice", "alice", "desk")
	if el := old.next(); el.XMLName.Local != "error" || el.child("conflict").XMLName.Space != nsStreamErrors {
		t.Errorf("got %v", el)
	}
	var end *boshclient.Error
	if _, err := old.read(); !errors.As(err, &end) || end.Condition != "remote-stream-error" {
		t.Errorf("got %v, want remote-stream-error", err)
	}
}

func TestShutdownTellsAll(t *testing.T) {
	chat := startChat(t)
	alice := dial(t, chat.c2s)
	alice.login("alice", "alice", "tcp")
	early := dial(t, chat.c2s)
	early.open() // and no further
	bob := dialBOSH(t, boshtest.Config{URL: chat.http + "http-bind"})
	bob.login("bob", "bob", "http")
	bob.wantNothing()

	stopped := make(chan error, 1)
	go func() { stopped <- chat.stop() }()
	alice.wantEnd("system-shutdown")
	alice.Close()
	early.wantEnd("system-shutdown")
	early.Close()
	var end *boshclient.Error
	if el, err := bob.read(); !errors.As(err, &end) || end.Condition != "system-shutdown" {
		t.Errorf("bob got %v, %v; want system-shutdown", el, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("run: %v", err)
	}
}

// A valve is a transport that can be shut.
type valve struct {
	http.RoundTripper
	shut atomic.Pointer[chan struct{}]
}

func (v *valve) RoundTrip(r *http.Request) (*http.Response, error) {
	if open := v.shut.Load(); open != nil {
		<-*open
	}
	return v.RoundTripper.RoundTrip(r)
}

// TestSlowReaderOverBOSH is like TestSlowReader. The client hears why when it
// comes back.
func TestSlowReaderOverBOSH(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newTestServer(t)
		h := newBOSH(&config{}, srv)
		go srv.serve(h.Listener())
		memory := boshtest.InMemory(h)
		cfg := boshtest.Config{URL: "https://localhost/", Transport: memory}
		bob := dialBOSH(t, cfg)
		bob.login("bob", "hunter2", "b")
		v := &valve{RoundTripper: memory}
		cfg.Transport = v
		slow := dialBOSH(t, cfg)
		slow.login("alice", "secret", "slow")
		open := make(chan struct{})
		v.shut.Store(&open)

		message := "<message to='" + slow.jid + "'><body>" + strings.Repeat("x", 64<<10) + "</body></message>"
		alice := srv.lookup("alice@localhost")
		count := func() (sessions, stored int) {
			alice.mu.Lock()
			defer alice.mu.Unlock()
			return len(alice.sessions), len(alice.offline.packets)
		}
		for n := 1; n > 0; n, _ = count() {
			bob.send("%s", message)
			bob.wantNothing()
		}
		time.Sleep(10 * time.Second) // until it cannot be told by writing
		if _, stored := count(); stored == 0 {
			t.Error("no message was kept")
		}
		close(open)
		var end *boshclient.Error
		got := 0
		for {
			el, err := slow.read()
			if err == nil && el.XMLName.Local == "message" {
				got++
				continue
			}
			if err == nil && el.child("resource-constraint").XMLName.Space == nsStreamErrors {
				continue
			}
			if !errors.As(err, &end) || end.Condition != "remote-stream-error" {
				t.Errorf("got %v, %v; want remote-stream-error", el, err)
			}
			break
		}
		if got == 0 {
			t.Error("what was written is lost")
		}
		bob.Close()
		go h.Shutdown(context.Background())
		srv.shutdown(context.Background())
		memory.Wait()
	})
}

// X5-13: node-xmpp-client opens its stream anew before it has logged in.
func TestRestartBeforeLogin(t *testing.T) {
	chat := startChat(t)
	for _, auth := range []string{plain("alice", "alice"), "<auth xmlns='" + nsSASL + "' mechanism='ANONYMOUS'/>"} {
		r := newRaw(t, chat)
		r.wait = 1
		r.create("localhost")
		for range 3 {
			if text := r.post(" to='localhost' xmpp:restart='true'", ""); strings.Contains(text, "terminate") {
				t.Fatalf("got %s", text)
			}
		}
		if text := r.post("", auth); !strings.Contains(text, "<success") {
			t.Fatalf("got %s; want success", text)
		}
		if text := r.post(" to='localhost' xmpp:restart='true'", ""); !strings.Contains(text, "<bind") {
			t.Fatalf("got %s; want the next features", text)
		}
		r.post(" type='terminate'", "")
	}
}
