package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"mellium.im/sasl"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
)

// TestMelliumLogin logs in by mellium's own client.
func TestMelliumLogin(t *testing.T) {
	_, addr := startTestServer(t)
	for _, tt := range []struct {
		mechanism      sasl.Mechanism
		user, password string
		ok             bool
	}{
		{sasl.Plain, "alice", "secret", true},
		{sasl.ScramSha1, "alice", "secret", true},
		{sasl.ScramSha256, "alice", "secret", true},
		{sasl.ScramSha256, "ALICE", "secret", true},
		{sasl.Anonymous, "", "", true},
		{sasl.Plain, "alice", "wrong", false},
		{sasl.ScramSha1, "alice", "wrong", false},
		{sasl.ScramSha256, "alice", "wrong", false},
		{sasl.Plain, "carol", "secret", false},
		{sasl.ScramSha1, "carol", "secret", false},
		{sasl.ScramSha256, "carol", "secret", false},
	} {
		t.Run(fmt.Sprint(tt.mechanism.Name, "/", tt.user, "/", tt.ok), func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			origin, err := jid.New(tt.user, "localhost", "desk")
			if err != nil {
				t.Fatal(err)
			}
			s, err := xmpp.NewSession(context.Background(), origin.Domain(), origin, conn, xmpp.Secure,
				xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
					return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
						xmpp.SASL("", tt.password, tt.mechanism), xmpp.BindResource(),
					}}
				}))
			switch {
			case tt.ok && err != nil:
				t.Fatal(err)
			case tt.ok && tt.user != "" && s.LocalAddr().Bare().String() != "alice@localhost":
				t.Errorf("bound to %v", s.LocalAddr())
			case !tt.ok && (err == nil || !strings.Contains(err.Error(), "not-authorized")):
				t.Errorf("got %v, want not-authorized", err)
			}
		})
	}
}

func TestSASLFailures(t *testing.T) {
	_, addr := startTestServer(t, func(srv *server) { srv.anonymous = false })
	auth := func(mechanism, text string) string {
		return fmt.Sprintf("<auth xmlns='%s' mechanism='%s'>%s</auth>", nsSASL, mechanism, text)
	}
	for _, tt := range []struct{ send, want string }{
		{auth("PLAIN", "AGFsaWNlAHdyb25n"), "not-authorized"},
		{auth("PLAIN", "AGFsaWNl"), "malformed-request"},
		{auth("PLAIN", "!"), "incorrect-encoding"},
		{auth("PLAIN", "Ym9iQGxvY2FsaG9zdABhbGljZQBzZWNyZXQ="), "invalid-authzid"},
		{auth("PLAIN", "="), "malformed-request"},
		{auth("SCRAM-SHA-256", "bixhPWE="), "malformed-request"},
		{auth("SCRAM-SHA-256-PLUS", "="), "invalid-mechanism"},
		{auth("ANONYMOUS", ""), "invalid-mechanism"},
		{auth("", ""), "invalid-mechanism"},
		{"<response xmlns='" + nsSASL + "'/>", "malformed-request"},
		{"<abort xmlns='" + nsSASL + "'/>", "aborted"},
	} {
		c := dial(t, addr)
		c.open()
		// The client has a start that is good, and another go after a failure.
		if strings.HasPrefix(tt.send, "<abort") {
			if el := c.auth("SCRAM-SHA-1", "n,,n=alice,r=abc"); el.XMLName.Local != "challenge" {
				t.Fatalf("got %v", el)
			}
		} else if !strings.HasPrefix(tt.send, "<auth") {
			c.send("\n")
			c.send("<auth xmlns='%s' mechanism='NONE'/>", nsSASL)
			c.want("failure", "")
		}
		c.send("%s", tt.send)
		if el := c.want("failure", ""); el.child(tt.want).XMLName.Space != nsSASL {
			t.Errorf("%s: got %v, want %s", tt.send, el, tt.want)
		}
		if el := c.auth("PLAIN", "\x00alice\x00secret"); el.XMLName.Local != "success" {
			t.Errorf("after %s: %v", tt.send, el)
		}
	}
}

func TestSASLEmptyInitialResponse(t *testing.T) {
	_, addr := startTestServer(t)
	c := dial(t, addr)
	c.open()
	if el := c.auth("PLAIN", ""); el.XMLName.Local != "challenge" || el.Text != "" {
		t.Fatalf("got %v, want an empty challenge", el)
	}
	c.send("<response xmlns='%s'>AGFsaWNlAHNlY3JldA==</response>", nsSASL)
	c.want("success", "")
}

func TestSASLTooManyFailures(t *testing.T) {
	_, addr := startTestServer(t)
	c := dial(t, addr)
	c.open()
	for range maxAuthFailures {
		c.auth("PLAIN", "\x00alice\x00wrong")
	}
	c.wantEnd("policy-violation")
}

// TestPlainNeedsSecurity logs in over something that is not this machine.
func TestPlainNeedsSecurity(t *testing.T) {
	srv := newTestServer(t)
	for _, insecure := range []bool{false, true} {
		srv.insecure = insecure
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			srv.serveConn(far)
		}()
		c := newClient(t, near)
		offered := strings.Contains(c.open().String(), ">PLAIN<")
		if offered != insecure {
			t.Errorf("insecure %v: offered %v", insecure, offered)
		}
		el := c.auth("PLAIN", "\x00alice\x00secret")
		if insecure && el.XMLName.Local != "success" || !insecure && el.child("encryption-required").XMLName.Local == "" {
			t.Errorf("insecure %v: got %v", insecure, el)
		}
		near.Close()
		<-done
	}
}

// TestPipelinedLogin sends the new header on the heels of the login, without
// waiting for success.
func TestPipelinedLogin(t *testing.T) {
	_, addr := startTestServer(t)
	c := dial(t, addr)
	c.open()
	c.send("<auth xmlns='%s' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>"+
		"<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"+
		"<iq type='set' id='b'><bind xmlns='%s'><resource>x</resource></bind></iq>"+
		"<iq type='get' id='p'><ping xmlns='%s'/></iq>", nsSASL, nsBind, nsPing)
	var got strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(got.String(), "id='p'"); {
		n, err := c.transport.(*tcp).Read(buf)
		if err != nil {
			t.Fatalf("after %s: %v", got.String(), err)
		}
		got.Write(buf[:n])
	}
	if !strings.Contains(got.String(), "<jid>alice@localhost/x</jid>") {
		t.Errorf("got %s", got.String())
	}
}
