package main

import (
	"runtime"
	"strings"
)

const (
	nsBind    = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSession = "urn:ietf:params:xml:ns:xmpp-session"
	nsPing    = "urn:xmpp:ping"
	nsInfo    = "http://jabber.org/protocol/disco#info"
	nsItems   = "http://jabber.org/protocol/disco#items"
	nsRoster  = "jabber:iq:roster"
	nsVersion = "jabber:iq:version"
)

// iq routes a query or an answer. RFC 6120, section 8.2.3, and RFC 6121,
// section 8.5.
func (srv *server) iq(s *session, p *packet) {
	var (
		t   = target{user: s.user}
		err error
	)
	if p.to != "" {
		t, err = srv.resolve(p.to)
	}
	switch {
	case err != nil:
	case t.session != nil && t.session.put(item{p: p, to: t.session.jid}):
		return
	case t.resource != "" || !t.server && t.user == nil:
		err = errServiceUnavailable
	case !p.answerable():
		return // nobody asked
	default:
		var inner string
		if inner, err = srv.query(s, p, t); err == nil {
			s.put(item{p: p.result(inner)})
			return
		}
	}
	s.answer(p, p.bounce(err))
}

// query answers a query to the server, on its own behalf or that of an account.
func (srv *server) query(s *session, p *packet, t target) (string, error) {
	own := t.user == s.user
	get := p.typ == "get"
	switch name := p.child.Name; {
	case name.Space == nsPing && name.Local == "ping" && get && (own || t.server):
		return "", nil
	case name.Space == nsSession && name.Local == "session" && !get && (own || t.server):
		return "", nil
	case name.Space == nsLeave && name.Local == "leave" && !get && own:
		srv.leaves(s)
		return "", nil
	case name.Space == nsRoster && name.Local == "query" && own:
		if !get {
			return "", errNotAllowed // it is the list of accounts
		}
		return srv.roster(s.user), nil
	case name.Space == nsInfo && name.Local == "query" && get:
		if attr(p.child, "node") != "" {
			return "", errItemNotFound
		}
		return info(t), nil
	case name.Space == nsItems && name.Local == "query" && get:
		if attr(p.child, "node") != "" {
			return "", errItemNotFound
		}
		return "<query xmlns='" + nsItems + "'/>", nil
	case name.Space == nsVersion && name.Local == "query" && get && t.server:
		return "<query xmlns='" + nsVersion + "'><name>BOSH example chat</name><version>" +
			runtime.Version() + "</version></query>", nil
	}
	return "", errServiceUnavailable
}

// roster returns a user's view of others: all the accounts.
func (srv *server) roster(u *user) string {
	b := []byte("<query xmlns='" + nsRoster + "'>")
	for _, c := range srv.registered {
		if c != u {
			name, _, _ := strings.Cut(c.bare, "@")
			b = append(b, "<item subscription='both'"...)
			b = appendAttr(b, "jid", c.bare)
			b = appendAttr(b, "name", name)
			b = append(b, "/>"...)
		}
	}
	return string(append(b, "</query>"...))
}

// info returns the description of the server or an account. XEP-0030.
func info(t target) string {
	identity := "<identity category='server' type='im' name='BOSH example chat'/>"
	features := []string{nsInfo, nsItems}
	switch {
	case t.server:
		features = append(features, nsPing, nsRoster, nsVersion, nsDelay, "msgoffline")
	case t.user.guest:
		identity = "<identity category='account' type='anonymous'/>"
	default:
		identity = "<identity category='account' type='registered'/>"
	}
	var b strings.Builder
	b.WriteString("<query xmlns='" + nsInfo + "'>" + identity)
	for _, f := range features {
		b.WriteString("<feature var='" + f + "'/>")
	}
	b.WriteString("</query>")
	return b.String()
}
