package main

import (
	"slices"
	"strings"
	"sync"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

// Stanza errors. RFC 6120, section 8.3.3.
var (
	errServiceUnavailable = stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
	errItemNotFound       = stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
	errNotAllowed         = stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAllowed}
	errBadRequest         = stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest}
	errJIDMalformed       = stanza.Error{Type: stanza.Modify, Condition: stanza.JIDMalformed}
	errNoServer           = stanza.Error{Type: stanza.Cancel, Condition: stanza.RemoteServerNotFound}
)

// A user is an account with its sessions: an account from the start, or a
// guest. A guest is there for as long as his session is.
type user struct {
	bare  string // the address
	guest bool

	mu sync.Mutex
	// Protected by mu. Outboxes may be put into while it is held.
	sessions map[string]*session // by resource
	offline  offline
	clock    uint64 // orders messages for all sessions, and their beginnings
}

// A router knows the present users.
type router struct {
	domain     string
	registered []*user // the accounts; does not change

	mu     sync.RWMutex
	users  map[string]*user // by address. Protected by mu.
	guests map[*user]bool   // Protected by mu.
}

func newRouter(a *accounts) *router {
	r := &router{domain: a.domain, users: make(map[string]*user), guests: make(map[*user]bool)}
	for local := range a.keys {
		u := &user{bare: local + "@" + a.domain, sessions: make(map[string]*session)}
		r.users[u.bare] = u
		r.registered = append(r.registered, u)
	}
	slices.SortFunc(r.registered, func(a, b *user) int { return strings.Compare(a.bare, b.bare) })
	return r
}

// lookup returns the user of a bare address, or nil.
func (r *router) lookup(bare string) *user {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.users[bare]
}

// admit returns the user of a session before its binding.
func (r *router) admit(l login) *user {
	bare := l.local + "@" + r.domain
	if !l.guest {
		return r.lookup(bare)
	}
	u := &user{bare: bare, guest: true, sessions: make(map[string]*session)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[bare] = u
	r.guests[u] = true
	return u
}

// dismiss forgets a guest.
func (r *router) dismiss(u *user) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.users, u.bare)
	delete(r.guests, u)
}

// contacts returns the users to see a user's presence, apart from himself:
// everybody, but guests do not see each other. With thousands of them it would
// take millions of stanzas.
func (r *router) contacts(u *user) []*user {
	var list []*user
	for _, c := range r.registered {
		if c != u {
			list = append(list, c)
		}
	}
	if u.guest {
		return list
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for c := range r.guests {
		list = append(list, c)
	}
	return list
}

// bind gives a session its requested full address. An earlier session of this
// address ends, and is out of everybody's sight before bind returns.
func (r *router) bind(s *session, u *user, resource string) {
	for {
		u.mu.Lock()
		old := u.sessions[resource]
		if old == nil {
			u.sessions[resource] = s
			u.mu.Unlock()
			return
		}
		u.mu.Unlock()
		old.stop(stream.Conflict)
		old.leave()
	}
}

// unbind takes a session's address away.
func (r *router) unbind(s *session) {
	_, resource, _ := strings.Cut(s.jid, "/")
	s.user.mu.Lock()
	delete(s.user.sessions, resource)
	s.user.mu.Unlock()
	if s.user.guest {
		r.dismiss(s.user)
	}
}

// A target is the destination of an address.
type target struct {
	server   bool // it is the server's own, or a part of it
	user     *user
	resource string   // perhaps empty
	session  *session // who has the full address, or nil
}

// resolve finds the destination of an address. It takes care of the usual
// spelling without parsing.
func (r *router) resolve(to string) (target, error) {
	bare, resource, full := strings.Cut(to, "/")
	if t := r.find(bare, resource); t.session != nil || !full && (t.server || t.user != nil) {
		return t, nil
	}
	j, err := jid.Parse(to)
	if err != nil {
		return target{}, errJIDMalformed
	}
	if j.Domainpart() != r.domain {
		return target{}, errNoServer
	}
	return r.find(j.Bare().String(), j.Resourcepart()), nil
}

func (r *router) find(bare, resource string) target {
	t := target{server: bare == r.domain, user: r.lookup(bare), resource: resource}
	if t.user != nil && resource != "" {
		t.user.mu.Lock()
		defer t.user.mu.Unlock()
		t.session = t.user.sessions[resource]
	}
	return t
}
