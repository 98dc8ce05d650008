package main

import (
	"strings"
	"sync"
)

// handBack handles the stanzas for an ended session. Presence is dropped, a
// query is refused, and a message goes where it would have gone had the session
// ended earlier.
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

// redeliver finds another place for a message to s.
func (srv *server) redeliver(s *session, it item) error {
	u := s.user
	u.mu.Lock()
	defer u.mu.Unlock()
	// If it was for s alone, all others may want it. If it was for all
	// sessions of its time, the others have it already. Newer sessions may
	// want it only if none of those is left.
	if it.order != 0 {
		for _, other := range u.sessions {
			if other.wantsMessages() && other.since < it.order {
				return nil
			}
		}
	}
	taken := false
	u.clock++
	for _, other := range u.sessions {
		if other.wantsMessages() && other.put(item{p: it.p, to: it.to, delayed: true, order: u.clock}) {
			taken = true
		}
	}
	if taken {
		return nil
	}
	return u.keep(it.p)
}

// A ledger has the stanzas given to a stream and not proven to be with its client,
// as packets: none of them is forgotten before.
type ledger struct {
	mu     sync.Mutex
	proven int64  // elements of the stream; it begins with those before the first item
	items  []item // behind those
}

// add records items taken by the stream.
func (l *ledger) add(items []item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, items...)
}

// proves records n elements as with the client beyond doubt.
func (l *ledger) proves(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n <= l.proven {
		return
	}
	done := min(n-l.proven, int64(len(l.items)))
	clear(l.items[:done])
	l.items, l.proven = l.items[done:], n
}

// left returns the last n items, or all if they are less.
func (l *ledger) left(n int) []item {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.items[max(0, len(l.items)-n):]
}
