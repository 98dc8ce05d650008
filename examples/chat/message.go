package main

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
// keeps it until there is one. It returns the error for the sender. full says
// that the message was for one session, now absent: this matters for some
// types.
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
	u.clock++
	for _, s := range u.sessions {
		if s.wantsMessages() && s.put(item{p: p, order: u.clock}) {
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
