package main

import "strings"

// message routes a message. RFC 6121, section 8.5.
func (srv *server) message(s *session, p *packet) {
	if p.to == "" {
		p.to = s.user.bare
	}
	t, err := srv.resolve(p.to)
	switch {
	case err != nil:
	case t.session != nil && t.session.put(item{p: p, to: t.session.jid}):
		return
	case t.user == nil:
		err = errServiceUnavailable
	default:
		err = srv.deliver(t.user, p, t.resource != "")
	}
	if err != nil {
		s.answer(p, p.bounce(err))
	}
}

// deliver gives a message to all the user's sessions that want messages, or
// keeps it until there is one. It returns what to tell the sender. That the
// message was for a session which is not there matters for some types.
func (srv *server) deliver(u *user, p *packet, full bool) error {
	switch {
	case p.typ == "error", p.typ == "headline" && full:
		return nil
	case p.typ == "groupchat":
		return errServiceUnavailable
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := false
	for _, s := range u.sessions {
		if s.wantsMessages() && s.put(item{p: p}) {
			taken = true
		}
	}
	if taken || p.typ == "headline" || p.status {
		return nil
	}
	return u.keep(p)
}

// wantsMessages reports whether messages for the bare address go to the
// session. The caller holds user.mu.
func (s *session) wantsMessages() bool { return s.available != nil && s.priority >= 0 }

// keep stores a message for later, if it can. The caller holds u.mu.
func (u *user) keep(p *packet) error {
	if u.guest || !u.offline.add(p) {
		return errServiceUnavailable
	}
	return nil
}

// handBack sees to what was for a session that has ended: presence is nothing
// to anybody now, a query is refused, and a message goes where it would have
// gone had the session ended earlier.
func (srv *server) handBack(s *session, items []item) {
	for _, it := range items {
		var err error
		switch {
		case it.p.name == "iq", it.p.name == "message" && it.p.typ == "groupchat":
			err = errServiceUnavailable
		case it.p.name == "message" && it.p.typ != "error" && it.p.typ != "headline" && !it.p.status:
			err = srv.redeliver(s, it)
		}
		if err != nil && it.p.answerable() && strings.Contains(it.p.from, "@") {
			if t, e := srv.resolve(it.p.from); e == nil && t.session != nil {
				t.session.put(item{p: it.p.bounce(err)})
			}
		}
	}
}

// redeliver finds another place for a message that was for s.
func (srv *server) redeliver(s *session, it item) error {
	u := s.user
	u.mu.Lock()
	defer u.mu.Unlock()
	// If it was for s alone, all others may want it. If it was for all who
	// were there, those have it; only if there is none of them left may those
	// who came since want it.
	if alone := it.delayed || it.to == s.jid; !alone {
		for _, other := range u.sessions {
			if other.wantsMessages() && !other.since.After(it.p.at) {
				return nil
			}
		}
	}
	taken := false
	for _, other := range u.sessions {
		if other.wantsMessages() && other.put(item{p: it.p, to: it.to, delayed: true}) {
			taken = true
		}
	}
	if taken {
		return nil
	}
	return u.keep(it.p)
}
