//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// stanza is the payload of clients: a chat message as clients write them.
const stanza = `<message xmlns='jabber:client' to='romeo@montague.example/orchard' type='chat' id='c4f2f2a1-9d3c-4a5e'>` +
	`<body>Wherefore art thou, Romeo? Deny thy father &amp; refuse thy name.</body>` +
	`<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`

// event is the broadcast payload: an element of 200 bytes.
const event = `<message xmlns='urn:example:news'>{"symbol":"GOBO","cents":471100,"at":"2027-02-11T10:15:00Z","text":"` +
	`Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor."}</message>`

// stanzas is as many of them as are ever sent in one request.
var stanzas = strings.Repeat(stanza, burst)

// stanzaEnd marks a stanza in an answer.
var stanzaEnd = []byte("</message>")

// A load is all clients of a run.
type load struct {
	addr     string
	wait     int                          // seconds
	hold     bool                         // keep a request open at all times
	got      func(c *client, stanzas int) // called with an answer, the client's lock being held
	requests atomic.Int64
	stanzas  atomic.Int64
	failed   atomic.Pointer[error]
	clients  []*client
}

// A reach is how a client reaches the server: over how many connections, and
// with how many requests at a time.
type reach struct{ conns, requests int }

var (
	overOne    = reach{1, 1}
	overTwo    = reach{2, 2}
	behindHeld = reach{1, 2} // the second request is sent behind the first: HTTP pipelining
)

func allOver(r reach) func(int) reach { return func(int) reach { return r } }

// A client is one session.
type client struct {
	l *load

	mu     sync.Mutex // guards the following
	sid    string
	rid    int64
	conns  []*conn
	idle   []*conn // connections that can take a request, each as often as it can
	open   int     // open requests
	queue  []int   // stanzas to send when a connection is idle again
	closed bool

	due      []time.Time // when the queries under way should have been sent
	latency  []time.Duration
	expected int // stanzas
	created  chan struct{}
}

// A conn is one of a client's connections.
type conn struct {
	c   *client
	nc  net.Conn
	buf []byte
}

// dial opens n clients. Each has created its session over the first of its
// connections when dial returns.
func (l *load) dial(n int, reach func(i int) reach) error {
	l.clients = make([]*client, n)
	errs := make(chan error, 128) // one for each that dials
	var next atomic.Int64
	for range cap(errs) {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					errs <- nil
					return
				}
				c := &client{l: l, created: make(chan struct{}, 1)}
				l.clients[i] = c
				if err := c.dial(reach(i), local(i)); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	var err error
	for range cap(errs) {
		err = errors.Join(err, <-errs)
	}
	return err
}

// local returns the local address of the i-th client. One has 28,000 ports, and
// the kernel takes long to find one when half of them are taken.
func local(i int) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i/10_000))}
}

func (c *client) dial(r reach, from net.Addr) error {
	d := net.Dialer{LocalAddr: from}
	for range r.conns {
		nc, err := d.Dial("tcp", c.l.addr)
		if err != nil {
			return err
		}
		nc.(*net.TCPConn).SetLinger(0) // or the ports run out
		k := &conn{c: c, nc: nc}
		c.conns = append(c.conns, k)
		go k.read()
	}
	c.mu.Lock()
	for i := range r.requests {
		c.idle = append(c.idle, c.conns[i%r.conns])
	}
	c.mu.Unlock()
	return c.create()
}

// create creates a session.
func (c *client) create() error {
	c.mu.Lock()
	c.sid, c.rid = "", 1_000_000_000
	c.post("")
	c.mu.Unlock()
	select {
	case <-c.created:
		return c.l.err()
	case <-time.After(30 * time.Second):
		return errors.New("session creation not answered")
	}
}

// poll opens the held request.
func (c *client) poll() {
	c.mu.Lock()
	c.post("")
	c.mu.Unlock()
}

// send sends n stanzas, when there is a connection for them.
func (c *client) send(n int) {
	if len(c.idle) == 0 {
		c.queue = append(c.queue, n)
		return
	}
	c.post(stanzas[:n*len(stanza)])
}

// terminate ends the session.
func (c *client) terminate() { c.post("", " type='terminate'") }

// post sends a request.
func (c *client) post(payload string, attrs ...string) {
	k := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	c.open++
	c.rid++
	c.l.requests.Add(1)
	k.buf = append(k.buf[:0], "<body rid='"...)
	k.buf = append(strconv.AppendInt(k.buf, c.rid, 10), '\'')
	if c.sid == "" {
		k.buf = fmt.Appendf(k.buf, " to='example.com' wait='%d' hold='1' ver='1.11'", c.l.wait)
	} else {
		k.buf = append(append(append(k.buf, " sid='"...), c.sid...), '\'')
	}
	for _, a := range attrs {
		k.buf = append(k.buf, a...)
	}
	k.buf = append(k.buf, " xmlns='http://jabber.org/protocol/httpbind'"...)
	if payload == "" {
		k.buf = append(k.buf, "/>"...)
	} else {
		k.buf = append(append(append(k.buf, '>'), payload...), "</body>"...)
	}
	n := len(k.buf)
	k.buf = append(append(k.buf, "POST /http-bind HTTP/1.1\r\nHost: "...), c.l.addr...)
	k.buf = append(k.buf, "\r\nUser-Agent: bench\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: "...)
	k.buf = append(strconv.AppendInt(k.buf, int64(n), 10), "\r\n\r\n"...)
	k.buf = append(k.buf, k.buf[:n]...)
	if _, err := k.nc.Write(k.buf[n:]); err != nil {
		c.fail(err)
	}
}

// read takes the answers of a connection.
func (k *conn) read() {
	r := bufio.NewReaderSize(k.nc, 1<<10)
	var body []byte
	for {
		var err error
		if body, err = readAnswer(r, body); err != nil {
			k.c.mu.Lock()
			k.c.fail(err)
			k.c.mu.Unlock()
			return
		}
		k.answered(body)
	}
}

func (k *conn) answered(body []byte) {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	c.idle = append(c.idle, k)
	if c.sid == "" {
		c.sid = string(field(body, " sid='"))
		if c.sid == "" {
			c.fail(fmt.Errorf("no session: %s", body))
		}
		c.created <- struct{}{}
		return
	}
	n := bytes.Count(body, stanzaEnd)
	if n == 0 && bytes.Contains(body, []byte("condition='")) {
		c.fail(fmt.Errorf("refused: %s", body))
		return
	}
	c.l.stanzas.Add(int64(n))
	if len(c.queue) > 0 {
		next := c.queue[0]
		c.queue = c.queue[1:]
		c.send(next)
	}
	if c.l.got != nil {
		c.l.got(c, n)
	}
	if c.l.hold && c.open == 0 && !c.closed {
		c.post("")
	}
}

// readAnswer reads one HTTP response and returns its body, in the same buffer
// if it can.
func readAnswer(r *bufio.Reader, body []byte) ([]byte, error) {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return nil, fmt.Errorf("answered by %q", line)
		}
		if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length = int(number(bytes.TrimRight(n, "\r\n")))
		}
		if len(line) <= 2 {
			break
		}
	}
	if cap(body) < length {
		body = make([]byte, length)
	}
	_, err := io.ReadFull(r, body[:length])
	return body[:length], err
}

// fail marks the run as failed.
func (c *client) fail(err error) {
	if !c.closed {
		c.l.failed.CompareAndSwap(nil, &err)
	}
}

func (l *load) err() error {
	if e := l.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// close closes all connections.
func (l *load) close() {
	for _, c := range l.clients {
		if c == nil {
			continue
		}
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		for _, k := range c.conns {
			k.nc.Close()
		}
	}
}
