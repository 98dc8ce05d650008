package main

import (
	"strings"
	"time"
)

// maxDirected is how many others a session may have sent presence to directly.
const maxDirected = 256

// presence handles a client's presence. All accounts are contacts of each
// other, so there is nothing to subscribe to. RFC 6121, sections 3 and 4.
func (srv *server) presence(s *session, p *packet) {
	switch {
	case p.to != "":
		srv.presenceTo(s, p)
	case p.typ == "":
		priority, err := p.priority()
		if err != nil {
			s.answer(p, p.bounce(err))
			return
		}
		srv.available(s, p, priority)
	case p.typ == "unavailable":
		s.pres.Lock()
		defer s.pres.Unlock()
		if !s.left {
			srv.unavailable(s, p)
		}
	case p.typ != "error":
		s.answer(p, p.bounce(errBadRequest))
	}
}

// available makes a session available, or changes how it is.
func (srv *server) available(s *session, p *packet, priority int8) {
	s.pres.Lock()
	defer s.pres.Unlock()
	if s.left {
		return
	}
	s.user.mu.Lock()
	initial := s.available == nil
	s.available, s.priority = p, priority
	if initial {
		s.user.clock++
		s.since = s.user.clock
	}
	// The kept messages must go out before any new ones.
	if s.wantsMessages() {
		s.user.offline.take(func(m *packet) bool { return s.put(item{p: m, delayed: true}) })
	}
	s.user.mu.Unlock()

	contacts := srv.contacts(s.user)
	s.user.tell(p)
	for _, c := range contacts {
		c.tell(p)
	}
	if initial {
		s.user.tellAbout(s)
		for _, c := range contacts {
			c.tellAbout(s)
		}
	}
}

// unavailable makes a session unavailable, and tells all others that may take
// it for available. The caller holds s.pres.
func (srv *server) unavailable(s *session, p *packet) {
	s.user.mu.Lock()
	was := s.available != nil
	s.available = nil
	s.user.mu.Unlock()
	if was {
		s.user.tell(p)
		for _, c := range srv.contacts(s.user) {
			c.tell(p)
		}
	}
	for to := range s.directed {
		srv.direct(to, p)
	}
	s.directed = nil
}

// tell gives a presence to all the user's available sessions.
func (u *user) tell(p *packet) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.sessions {
		if s.available != nil {
			s.put(item{p: p, to: u.bare})
		}
	}
}

// tellAbout gives to a session the presence of all the user's others. It puts
// them in with the lock held, so later presence comes later.
func (u *user) tellAbout(to *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.sessions {
		if s.available != nil && s != to {
			to.put(item{p: s.available, to: to.jid})
		}
	}
}

// presenceTo handles directed presence.
func (srv *server) presenceTo(s *session, p *packet) {
	t, err := srv.resolve(p.to)
	if err != nil {
		s.answer(p, p.bounce(err))
		return
	}
	switch p.typ {
	case "subscribe":
		answer := &packet{name: "presence", typ: "subscribed", id: p.id, from: p.to, to: s.user.bare, at: time.Now()}
		if t.user == nil {
			answer.typ = "unsubscribed"
		}
		answer.from, _, _ = strings.Cut(p.to, "/")
		s.put(item{p: answer})
	case "probe":
		if t.user != nil {
			t.user.tellAbout(s)
		}
	case "", "unavailable":
		s.pres.Lock()
		defer s.pres.Unlock()
		if s.left || !s.noteDirected(p) {
			return
		}
		srv.direct(p.to, p)
	case "error":
		srv.direct(p.to, p)
	}
}

// noteDirected remembers an address that must hear of the session's end. It
// reports whether there was room. The caller holds s.pres.
func (s *session) noteDirected(p *packet) bool {
	if p.typ == "unavailable" {
		delete(s.directed, p.to)
		return true
	}
	if len(s.directed) == maxDirected && !s.directed[p.to] {
		return false
	}
	if s.directed == nil {
		s.directed = make(map[string]bool)
	}
	s.directed[p.to] = true
	return true
}

// direct sends presence to one address. An absent user misses nothing.
func (srv *server) direct(to string, p *packet) {
	t, err := srv.resolve(to)
	switch {
	case err != nil || t.user == nil:
	case t.session != nil:
		t.session.put(item{p: p, to: t.session.jid})
	case t.resource == "":
		t.user.tell(p)
	}
}
