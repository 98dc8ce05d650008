//go:build linux

package lean

import (
	"bytes"
	"fmt"
	"strconv"
)

// A Session is a BOSH session. It has one request at a time on each of its connections.
type Session struct {
	Head     string                // of its requests, to the name of Content-Length
	Creation string                // the attributes of the request that creates it
	Got      func(payloads []byte) // called with what is in an answer's body, which may be nothing

	// Restarted is called for the answers to Create and Restart in place of Got.
	Restarted func(payloads []byte)

	// Heads, if it is not nil, returns the Head of each request.
	Heads func() string

	l         *Loop
	conns     []*Conn
	idle      []*Conn
	sid       string
	rid       int64
	start     []byte
	restarted *Conn // the answer on it is to a creation or restart
}

// Session returns a session with so many connections. It does not exist yet.
func (l *Loop) Session(conns int) (*Session, error) {
	s := &Session{l: l, Head: "POST /http-bind HTTP/1.1\r\nHost: bench.example\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: "}
	for range conns {
		c, err := l.Dial()
		if err != nil {
			return nil, err
		}
		c.Answered = func(body []byte) { s.answered(c, body) }
		s.conns = append(s.conns, c)
		s.idle = append(s.idle, c)
	}
	return s, nil
}

// Free returns how many requests it can send.
func (s *Session) Free() int { return len(s.idle) }

// Held returns how many requests have not been answered.
func (s *Session) Held() int { return len(s.conns) - len(s.idle) }

// Create creates it.
func (s *Session) Create() {
	s.sid, s.rid = "", 1_000_000_000
	s.begin(s.Creation)
	s.restarted = s.idle[len(s.idle)-1]
	s.post(nil)
}

// Restart restarts its XMPP stream.
func (s *Session) Restart() {
	s.begin(" xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'")
	s.restarted = s.idle[len(s.idle)-1]
	s.post(nil)
}

// Terminate ends it.
func (s *Session) Terminate() {
	s.begin(" type='terminate'")
	s.post(nil)
}

// Send sends payloads, or nothing. Free must not be 0.
func (s *Session) Send(payloads []byte) {
	s.begin("")
	s.post(payloads)
}

// begin makes the beginning of a body, without its last byte.
func (s *Session) begin(attrs string) {
	s.rid++
	b := append(s.start[:0], "<body rid='"...)
	b = append(strconv.AppendInt(b, s.rid, 10), '\'')
	if s.sid != "" {
		b = append(append(append(b, " sid='"...), s.sid...), '\'')
	}
	b = append(b, attrs...)
	s.start = append(b, " xmlns='http://jabber.org/protocol/httpbind'"...)
}

func (s *Session) post(payloads []byte) {
	n := len(s.idle) - 1
	c := s.idle[n]
	s.idle = s.idle[:n]
	if s.Heads != nil {
		s.Head = s.Heads()
	}
	if len(payloads) == 0 {
		s.start = append(s.start, "/>"...)
		c.Post(s.Head, s.start, nil)
		return
	}
	s.start = append(append(append(s.start, '>'), payloads...), "</body>"...)
	c.Post(s.Head, s.start, nil)
}

var bodyEnd = []byte("</body>")

func (s *Session) answered(c *Conn, body []byte) {
	s.idle = append(s.idle, c)
	i := bytes.IndexByte(body, '>')
	if i < 0 {
		s.l.Fail(fmt.Errorf("no body: %q", body))
		return
	}
	if s.sid == "" {
		if s.sid = attribute(body[:i], " sid='"); s.sid == "" {
			s.l.Fail(fmt.Errorf("no session: %s", body))
			return
		}
	}
	if bytes.Contains(body[:i], []byte(" condition='")) {
		s.l.Fail(fmt.Errorf("refused: %s", body))
		return
	}
	payloads := bytes.TrimSuffix(body[i+1:], bodyEnd)
	if s.restarted == c {
		s.restarted = nil
		s.Restarted(payloads)
		return
	}
	s.Got(payloads)
}

// attribute returns the value of an attribute, or nothing.
func attribute(tag []byte, name string) string {
	_, rest, _ := bytes.Cut(tag, []byte(name))
	value, _, _ := bytes.Cut(rest, []byte("'"))
	return string(value)
}
