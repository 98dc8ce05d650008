package boshclient

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/gobosh/bosh/internal/knobs"
	"github.com/gobosh/bosh/internal/wire"
)

// Dial opens a session with the server at a URL, http or https, and returns its
// stream. It blocks until the server has answered or ctx is done. A server may
// wait with its answer for the first output of the application behind it. Later
// ctx counts for its values only.
//
// If the server refuses, errors.Is finds its [Condition] in the error. Dial tries once:
// the server would create another session for a repeated request. If its answer is
// lost, the server ends the session after the time of inactivity.
func Dial(ctx context.Context, url string, o *Options) (*Conn, error) {
	c, err := dial(ctx, url, o)
	if err != nil {
		return nil, fmt.Errorf("boshclient: dial: %w", err)
	}
	return c, nil
}

func dial(ctx context.Context, rawURL string, o *Options) (*Conn, error) {
	cfg := o.withDefaults()
	cfg.manual = knobs.From(ctx).Manual
	u, err := cfg.parse(rawURL)
	if err != nil {
		return nil, err
	}
	s := newSession(ctx, u, cfg)
	c, err := s.create(ctx)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pump()
	return c, nil
}

// parse reads the URL and fills in its part of the options.
func (c *config) parse(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("malformed URL") // which may hold a password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not an absolute URL of http or https", u.Redacted())
	}
	c.To = first(c.To, u.Hostname())
	if !c.Framing.known() {
		return nil, fmt.Errorf("no such framing: %v", c.Framing)
	}
	for _, text := range []string{c.To, c.From, c.Lang, c.Version} {
		if !isText(text) {
			return nil, fmt.Errorf("%q is no text that XML can carry", text)
		}
	}
	return u, checkAttrs(c.Attr)
}

// create sends the creation request and takes the answer.
func (s *session) create(ctx context.Context) (*Conn, error) {
	ask := wire.Ask{
		Rid: firstRid(), To: s.o.To, From: s.o.From, Lang: s.o.Lang, Version: s.o.Version,
		Create: &wire.Terms{Wait: int64(s.o.Wait / time.Second), Hold: int64(s.o.Hold), Ver: "1.11", Acks: !s.o.NoAcks},
	}
	if s.o.Keys > 0 {
		s.keys, ask.NewKey = newKeys(s.o.Keys)
	}
	for _, a := range s.o.Attr {
		ask.Attrs = append(ask.Attrs, wire.Attr{Space: a.Name.Space, Local: a.Name.Local, Value: a.Value})
	}
	if err := s.hook(&ask); err != nil {
		return nil, err
	}
	text := ask.Append(nil)
	if err := wellFormed(text); err != nil {
		return nil, fmt.Errorf("options for a request: %w", err)
	}
	a, err := s.post(ctx, text, s.o.Wait+s.o.AnswerTimeout, func() {})
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, fmt.Errorf("no answer yet: %w", context.Cause(ctx))
	case err != nil:
		return nil, s.advised(s.condition(err))
	}
	defer a.release()
	return s.created(ask.Rid, a)
}

// created takes the answer to the creation.
func (s *session) created(rid int64, a *answer) (*Conn, error) {
	switch {
	case string(a.Type) == "terminate":
		if end := endOf(a); end != io.EOF {
			return nil, s.advised(end)
		}
		return nil, errEnded
	case string(a.Type) == "error":
		return nil, errRecoverable
	case len(a.SID) == 0:
		return nil, errNoSID
	}
	s.granted, s.sid = s.o.granted(a), string(a.SID)
	s.o.patience(&s.granted)
	s.next, s.head = rid+1, rid+1
	s.stats.Requests, s.stats.Empty, s.stats.Answers = 1, 1, 1
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.newConn(string(a.Stream), s.o.To)
	r := &request{kind: another, conn: c}
	s.deliver(r, a)
	s.rest(r, a)
	return c, s.end
}

// patience fills in the options that depend on the grants.
func (c *config) patience(g *Granted) {
	switch {
	case c.GiveUp == 0 && g.Inactivity > 0:
		c.GiveUp = g.Wait + g.Inactivity
	case c.GiveUp == 0:
		c.GiveUp = g.Wait + 10*time.Minute
	}
}

// firstRid returns a random rid. It leaves room for more rids than any session needs.
func firstRid() int64 { return 1 + int64(randomID()>>12) }

// randomID returns an id beyond guessing.
func randomID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
