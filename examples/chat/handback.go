package main

import (
	"encoding/xml"
	"strings"
	"time"
)

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

// A ledger remembers when the last messages given to a connection came and for
// whom they were: a connection that hands back what it could not deliver has
// the bytes, and no more.
type ledger struct {
	notes []note
	next  int // where the next note goes, once there are maxNotes
}

type note struct {
	at    time.Time
	order uint64
}

// maxNotes is more messages than a BOSH stream keeps, if they are not tiny.
const maxNotes = 1024

func (l *ledger) add(n note) {
	if len(l.notes) < maxNotes {
		l.notes = append(l.notes, n)
		return
	}
	l.notes[l.next] = n
	l.next = (l.next + 1) % maxNotes
}

// last returns the note on the message that has i others after it. For one too
// long ago it returns the oldest.
func (l *ledger) last(i int) note {
	if len(l.notes) == 0 {
		return note{at: time.Now()}
	}
	i = min(i, len(l.notes)-1)
	return l.notes[(l.next+len(l.notes)-1-i)%len(l.notes)]
}

// reclaim makes items of stanzas that the session's connection was given and
// could not deliver.
func (s *session) reclaim(lost [][]byte) []item {
	var items []item
	messages := 0
	for _, text := range lost {
		if p := parseSent(text); p != nil {
			items = append(items, item{p: p})
			if p.name == "message" {
				messages++
			}
		}
	}
	for i := range items {
		if p := items[i].p; p.name == "message" {
			messages--
			n := s.out.ledger.last(messages)
			p.at = n.at
			p.stamped = strings.Contains(string(p.inner), "<delay xmlns='"+nsDelay+"' from='"+s.srv.domain+"'")
			items[i].order = n.order
		}
	}
	return items
}

// parseSent reads a stanza that the server has written, or returns nil if it
// is something else.
func parseSent(text []byte) *packet {
	d := xml.NewDecoder(strings.NewReader("<x xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>" + string(text) + "</x>"))
	if _, err := d.Token(); err != nil {
		return nil
	}
	tok, err := d.Token()
	start, ok := tok.(xml.StartElement)
	if err != nil || !ok {
		return nil
	}
	p, err := readPacket(d, start)
	if err != nil {
		return nil
	}
	p.from = attr(start, "from")
	return p
}
