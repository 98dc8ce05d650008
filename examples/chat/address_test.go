package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"mellium.im/xmpp/stream"
)

// domains are ways to write the server's domain, and addresses that are not its.
// RFC 7622, section 3.2, and RFC 6120, section 4.9.3.
var domains = []struct{ to, want string }{
	{"localhost", ""},
	{"localhost.", ""},
	{"LocalHost", ""},
	{"LOCALHOST.", ""},
	{"", "improper-addressing"},
	{".", "improper-addressing"},
	{".localhost", "host-unknown"},
	{"example.net", "host-unknown"},
	{"alice@localhost", "host-unknown"},
	{"localhost/desk", "host-unknown"},
	{"@", "improper-addressing"},
	{"a b", "improper-addressing"},
}

// attrTo returns the attribute, or nothing for nothing.
func attrTo(to string) string {
	if to == "" {
		return ""
	}
	return " to='" + to + "'"
}

func headerWith(attrs string) string {
	return "<stream:stream" + attrs + " version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
}

// wantRefusal reads all that comes over TCP: a header, a stream error, and the
// end.
func wantRefusal(t *testing.T, c *client, condition string) {
	t.Helper()
	got, err := io.ReadAll(c.transport.(*tcp))
	text := string(got)
	if err != nil || strings.Count(text, "<stream:stream ") != 1 || strings.Count(text, "</stream:stream>") != 1 ||
		!strings.HasSuffix(text, string(ending(stream.Error{Err: condition}))) {
		t.Errorf("got %s, %v; want %s", text, err, condition)
	}
}

// B17.2-4, B17.2-5: a domain is the server's in all its spellings, and what is
// wrong with another is said, over TCP and over BOSH alike.
func TestDomains(t *testing.T) {
	chat := startChat(t)
	for _, tt := range domains {
		t.Run(fmt.Sprintf("TCP %q", tt.to), func(t *testing.T) {
			c := dial(t, chat.c2s)
			c.transport.(*tcp).attrs = attrTo(tt.to)
			if tt.want == "" {
				c.login("alice", "alice", "desk")
				return
			}
			if err := c.header(); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, c, tt.want)
		})
		t.Run(fmt.Sprintf("BOSH %q", tt.to), func(t *testing.T) {
			r := newRaw(t, chat)
			text := r.create(tt.to)
			if tt.want != "" {
				if !strings.Contains(text, "condition='"+tt.want+"'") || !strings.Contains(text, "type='terminate'") {
					t.Errorf("got %s; want %s", text, tt.want)
				}
				return
			}
			if !strings.Contains(text, "from='localhost'") || !strings.Contains(text, ">PLAIN<") {
				t.Errorf("got %s; want features", text)
			}
			if text = r.post("", plain("alice", "alice")); !strings.Contains(text, "<success") {
				t.Errorf("got %s; want success", text)
			}
			if text = r.post(attrTo(tt.to)+" xmpp:restart='true'", ""); !strings.Contains(text, "<bind") {
				t.Errorf("got %s; want the next features", text)
			}
			r.post(" type='terminate'", "")
		})
	}
}

// X5-7: a client that has logged in and opens its stream anew for somebody else
// hears what is wrong with that.
func TestRestartForAnother(t *testing.T) {
	chat := startChat(t)
	for _, tt := range domains {
		if tt.to == "" { // is no fault: it was said before
			tt.want = ""
		}
		t.Run(fmt.Sprintf("TCP %q", tt.to), func(t *testing.T) {
			c := dial(t, chat.c2s)
			c.open()
			c.auth("PLAIN", "\x00alice\x00alice")
			if c.transport.(*tcp).attrs = attrTo(tt.to); tt.want == "" {
				c.open()
				c.bind("desk")
				return
			}
			if err := c.header(); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, c, tt.want)
		})
		if tt.to == "." { // is nothing to the library, which takes the dot off
			tt.want = ""
		}
		t.Run(fmt.Sprintf("BOSH %q", tt.to), func(t *testing.T) {
			r := newRaw(t, chat)
			r.create("localhost")
			r.post("", plain("alice", "alice"))
			text := r.post(attrTo(tt.to)+" xmpp:restart='true'", "")
			if tt.want == "" {
				if !strings.Contains(text, "<bind") {
					t.Errorf("got %s; want the next features", text)
				}
				r.post(" type='terminate'", "")
				return
			}
			if !strings.Contains(text, "<"+tt.want+" xmlns='"+nsStreamErrors+"'/>") || !strings.Contains(text, "condition='remote-stream-error'") {
				t.Errorf("got %s; want %s", text, tt.want)
			}
		})
	}
	t.Run("from another", func(t *testing.T) {
		c := dial(t, chat.c2s)
		c.transport.(*tcp).attrs = " to='localhost' from='alice@localhost'"
		c.open()
		c.auth("PLAIN", "\x00alice\x00alice")
		c.transport.(*tcp).attrs = " to='localhost' from='bob@localhost'"
		if err := c.header(); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, c, "invalid-from")
	})
}
