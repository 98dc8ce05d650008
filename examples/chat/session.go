package main

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"mellium.im/xmpp"
	"mellium.im/xmpp/stream"
)

// A session is a client, from its connection to its end. Its goroutine reads,
// handles its input, and in the end cleans up. It puts stanzas for other
// clients into their outboxes.
type session struct {
	srv          *server
	id           string // for the log
	conn         *conn
	xmpp         *xmpp.Session
	plainAllowed bool // passwords may come as they are

	login login
	user  *user // nil before it is bound
	jid   string
	out   *outbox
	cause atomic.Pointer[stream.Error] // why it is stopped by others

	// pres is held from a change of the session's presence to the last
	// broadcast of it, so nobody hears two changes in the wrong order. It
	// is taken before any user.mu. Protects following.
	pres     sync.Mutex
	left     bool
	directed map[string]bool // who has been sent presence directly

	// Protected by user.mu.
	available *packet // the last presence, if it was available
	priority  int8
	since     uint64 // when it became available, by user.clock
}

// run serves the client until it is gone.
func (s *session) run() {
	defer s.conn.Close()
	err := s.negotiate()
	if err == nil {
		err = s.serve()
	}
	s.srv.log.Debug("stream ended", "session", s.id, "jid", s.jid, "cause", err)
	s.conclude(err)
}

// negotiate logs the client in and binds it. The deadline is the connection's
// own: mellium sets one at the end of a context, but clears it at once, so a
// Read may miss it.
func (s *session) negotiate() error {
	s.conn.SetDeadline(time.Now().Add(loginTimeout))
	if cause := s.cause.Load(); cause != nil {
		return *cause // stopped before it began
	}
	x, err := xmpp.ReceiveSession(context.Background(), s.conn, xmpp.Secure, xmpp.NewNegotiator(
		func(x *xmpp.Session, _ *xmpp.StreamConfig) xmpp.StreamConfig {
			// The header is out and the features are not: the only place where
			// this can be said. Mellium's next write fails.
			if x != nil && x.LocalAddr().String() == "" {
				s.refuse(stream.ImproperAddressing)
			} else if x != nil && x.LocalAddr().String() != s.srv.domain {
				s.refuse(stream.HostUnknown)
			}
			s.conn.trim = true // mellium takes nothing but an element now
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
				s.saslFeature(), s.bindFeature(), sessionFeature,
			}}
		}))
	s.conn.SetDeadline(time.Time{})
	s.xmpp = x
	if s.user != nil {
		s.out.ledger = watch(s.conn.Conn, s.conn.counted())
		s.out.start()
	}
	return err
}

// serve handles the client's stanzas until its stream ends.
func (s *session) serve() error {
	r := s.xmpp.TokenReader()
	defer r.Close()
	for s.cause.Load() == nil {
		s.conn.allow(maxStanza)
		tok, err := r.Token()
		if start, ok := tok.(xml.StartElement); ok {
			p, err := readPacket(r, start)
			if err != nil {
				return err
			}
			s.handle(p)
		}
		if errors.As(err, new(stream.Error)) {
			return io.EOF // it is the client that has something to complain of
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// handle handles a stanza.
func (s *session) handle(p *packet) {
	p.from = s.jid
	if err := p.check(); err != nil {
		s.answer(p, p.bounce(err))
		return
	}
	switch p.name {
	case "message":
		s.srv.message(s, p)
	case "presence":
		s.srv.presence(s, p)
	case "iq":
		s.srv.iq(s, p)
	}
}

// answer sends the answer to one of the session's own stanzas, unless the
// stanza is an answer itself.
func (s *session) answer(p, answer *packet) {
	if p.answerable() {
		s.put(item{p: answer})
	}
}

// put queues a stanza for the client, and reports whether it was taken.
func (s *session) put(it item) bool {
	err := s.out.put(it)
	if err == errOutboxFull {
		s.stop(stream.ResourceConstraint)
	}
	return err == nil
}

// stop ends the session from outside: its goroutine does the rest. It may be
// called with locks held.
func (s *session) stop(cause stream.Error) {
	if s.cause.CompareAndSwap(nil, &cause) {
		s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// conclude tells the client about the end and hands on its waiting stanzas. An
// err of nil or io.EOF is the client's own wish.
func (s *session) conclude(err error) {
	var last stream.Error
	switch cause := s.cause.Load(); {
	case cause != nil:
		last = *cause
	case err != nil && err != io.EOF:
		last = streamError(err)
	}
	s.conn.SetWriteDeadline(time.Now().Add(closeTimeout))
	if s.conn.dead() {
		s.conn.Close()
	}
	if s.user == nil {
		s.refuse(last)
	} else {
		s.leave()
		var waiting []item
		if last.Err == stream.ResourceConstraint.Err {
			waiting = s.out.drop(ending(last))
		} else {
			s.out.finish(ending(last))
		}
		waiting = append(s.out.rest(), waiting...)
		if s.conn.dead() { // then what is not delivered is known now
			lost := undelivered(s.conn.Conn, s.out.ledger)
			s.srv.handBack(s, append(lost, waiting...))
			return
		}
		s.srv.handBack(s, waiting)
	}
	s.conn.hangUp(last)
	s.conn.drain()
	if s.user != nil {
		s.srv.handBack(s, undelivered(s.conn.Conn, s.out.ledger))
	}
}

// refuse ends a stream before its outbox has written anything.
func (s *session) refuse(e stream.Error) {
	if s.conn.shut.Load() {
		return
	}
	if !s.conn.opened.Load() {
		s.conn.Write(header(s.srv.domain))
	}
	s.conn.Write(ending(e))
	s.conn.shut.Store(true)
}

// leave takes the session out of sight of all others.
func (s *session) leave() {
	s.pres.Lock()
	defer s.pres.Unlock()
	if s.left {
		return
	}
	s.left = true
	s.srv.unavailable(s, &packet{name: "presence", typ: "unavailable", from: s.jid, at: time.Now()})
	s.srv.unbind(s)
}
