package main

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// newTestServer returns a server with the accounts alice and bob.
func newTestServer(t testing.TB) *server {
	a, err := newAccounts("localhost", []string{"alice:secret", "bob:hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	srv := newServer(a, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	srv.anonymous = true
	return srv
}

// startTestServer serves on a TCP port of its own.
func startTestServer(t testing.TB, configure ...func(*server)) (*server, string) {
	srv := newTestServer(t)
	for _, f := range configure {
		f(srv)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.serve(ln) }()
	t.Cleanup(func() {
		ln.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return srv, ln.Addr().String()
}

// A client is an XMPP client that speaks in bytes.
type client struct {
	t testing.TB
	transport
	jid string
}

// A transport carries the stream of a client: TCP, or BOSH.
type transport interface {
	header() error           // opens the stream, for the first time or again
	write(text string) error // of whole elements
	read() (*element, error) // io.EOF is the end of the stream
	Close() error            // without a word
}

// An element is one that a client has read.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []*element `xml:",any"`
}

func (e *element) attr(name string) string {
	return attr(xml.StartElement{Attr: e.Attrs}, name)
}

// child returns the child on a path of names, or an empty element.
func (e *element) child(path ...string) *element {
	if len(path) == 0 {
		return e
	}
	for _, c := range e.Children {
		if c.XMLName.Local == path[0] {
			return c.child(path[1:]...)
		}
	}
	return &element{}
}

func (e *element) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<%s", e.XMLName.Local)
	for _, a := range e.Attrs {
		fmt.Fprintf(&b, " %s='%s'", a.Name.Local, a.Value)
	}
	fmt.Fprintf(&b, ">%s", e.Text)
	for _, c := range e.Children {
		b.WriteString(c.String())
	}
	return b.String() + "</>"
}

// A tcp is a transport over a connection.
type tcp struct {
	net.Conn
	dec   *xml.Decoder
	attrs string // of the header
}

// dial connects a client, which has not sent anything.
func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

func newClient(t testing.TB, conn net.Conn) *client {
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // so that no failure hangs
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, transport: &tcp{Conn: conn, attrs: " to='localhost'"}}
}

func (c *tcp) header() error {
	c.dec = xml.NewDecoder(c)
	return c.write("<?xml version='1.0'?>" + headerWith(c.attrs))
}

func (c *tcp) write(text string) error {
	_, err := io.WriteString(c, text)
	return err
}

func (c *tcp) read() (*element, error) {
	for {
		tok, err := c.dec.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if tok.Name.Local == "stream" {
				continue
			}
			el := &element{}
			return el, c.dec.DecodeElement(el, &tok)
		case xml.EndElement:
			return nil, io.EOF
		}
	}
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	s := format
	if len(args) > 0 {
		s = fmt.Sprintf(format, args...)
	}
	if err := c.write(s); err != nil {
		c.t.Fatalf("send %q: %v", s, err)
	}
}

// next returns the next element, or fails.
func (c *client) next() *element {
	c.t.Helper()
	el, err := c.read()
	if err != nil {
		c.t.Fatalf("%s: read: %v", c.jid, err)
	}
	return el
}

// want reads an element and fails if it is not of the name and type.
func (c *client) want(name, typ string) *element {
	c.t.Helper()
	el := c.next()
	if el.XMLName.Local != name || el.attr("type") != typ {
		c.t.Fatalf("%s: got %v, want %s of type %q", c.jid, el, name, typ)
	}
	return el
}

// wantError reads a stanza error and fails if it has another condition.
func (c *client) wantError(name, condition string) *element {
	c.t.Helper()
	el := c.want(name, "error")
	if el.child("error", condition).XMLName.Space != nsStanzaErrors {
		c.t.Fatalf("%s: got %v, want %s", c.jid, el, condition)
	}
	return el
}

// wantEnd reads a stream error, or none if condition is empty, and the end.
func (c *client) wantEnd(condition string) {
	c.t.Helper()
	if condition != "" {
		if el := c.next(); el.XMLName.Local != "error" || el.child(condition).XMLName.Space != nsStreamErrors {
			c.t.Fatalf("%s: got %v, want stream error %s", c.jid, el, condition)
		}
	}
	if el, err := c.read(); err != io.EOF {
		c.t.Fatalf("%s: got %v, %v; want the end of the stream", c.jid, el, err)
	}
}

// open opens the stream, for the first time or again, and returns its
// features.
func (c *client) open() *element {
	c.t.Helper()
	if err := c.header(); err != nil {
		c.t.Fatal(err)
	}
	return c.want("features", "")
}

func (c *client) auth(mechanism, msg string) *element {
	c.t.Helper()
	c.send("<auth xmlns='%s' mechanism='%s'>%s</auth>", nsSASL, mechanism, base64.StdEncoding.EncodeToString([]byte(msg)))
	return c.next()
}

// bind binds a resource.
func (c *client) bind(resource string) {
	c.t.Helper()
	c.send("<iq type='set' id='bind'><bind xmlns='%s'><resource>%s</resource></bind></iq>", nsBind, resource)
	c.jid = c.want("iq", "result").child("bind", "jid").Text
	if c.jid == "" {
		c.t.Fatal("bound to nothing")
	}
}

// join connects a client and binds it. Without a password it is a guest.
func join(t testing.TB, addr, user, password, resource string) *client {
	t.Helper()
	c := dial(t, addr)
	c.login(user, password, resource)
	return c
}

func (c *client) login(user, password, resource string) {
	c.t.Helper()
	c.open()
	mechanism, msg := "PLAIN", "\x00"+user+"\x00"+password
	if password == "" {
		mechanism, msg = "ANONYMOUS", ""
	}
	if el := c.auth(mechanism, msg); el.XMLName.Local != "success" {
		c.t.Fatalf("login: %v", el)
	}
	c.open()
	c.bind(resource)
}

// online logs in and becomes available.
func online(t testing.TB, addr, user, password, resource string) *client {
	t.Helper()
	c := join(t, addr, user, password, resource)
	c.send("<presence/>")
	if p := c.want("presence", ""); p.attr("from") != c.jid {
		t.Fatalf("got %v, want own presence", p)
	}
	return c
}

// sync makes sure that the server has handled all that the client has sent.
// It returns what came before the answer.
func (c *client) sync() []*element {
	c.t.Helper()
	c.send("<iq type='get' id='sync' to='localhost'><ping xmlns='%s'/></iq>", nsPing)
	var before []*element
	for {
		el := c.next()
		if el.XMLName.Local == "iq" && el.attr("id") == "sync" {
			return before
		}
		before = append(before, el)
	}
}

// wantNothing fails if something has come before the answer to a ping.
func (c *client) wantNothing() {
	c.t.Helper()
	if got := c.sync(); len(got) > 0 {
		c.t.Fatalf("%s: got %v, want nothing", c.jid, got)
	}
}
