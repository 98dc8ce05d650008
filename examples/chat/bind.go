package main

import (
	"context"
	"encoding/xml"
	"io"

	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stream"
)

// sessionFeature lets old clients ask for a session. This query has long been
// without effect.
var sessionFeature = xmpp.StreamFeature{
	Name:       xml.Name{Space: nsSession, Local: "session"},
	Necessary:  xmpp.Authn,
	Prohibited: xmpp.Ready,
	List: func(_ context.Context, e xmlstream.TokenWriter, start xml.StartElement) (bool, error) {
		optional := xml.StartElement{Name: xml.Name{Local: "optional"}}
		for _, tok := range []xml.Token{start, optional, optional.End(), start.End()} {
			if err := e.EncodeToken(tok); err != nil {
				return false, err
			}
		}
		return false, nil
	},
}

// bindFeature is resource binding. After a refused resource Mellium's own
// leaves the client without an intelligible error. RFC 6120, section 7.
func (s *session) bindFeature() xmpp.StreamFeature {
	return xmpp.StreamFeature{
		Name:       xml.Name{Space: nsBind, Local: "bind"},
		Necessary:  xmpp.Authn,
		Prohibited: xmpp.Ready,
		List: func(_ context.Context, e xmlstream.TokenWriter, start xml.StartElement) (bool, error) {
			if err := e.EncodeToken(start); err != nil {
				return true, err
			}
			return true, e.EncodeToken(start.End())
		},
		Negotiate: func(_ context.Context, x *xmpp.Session, _ any) (xmpp.SessionState, io.ReadWriter, error) {
			r := x.TokenReader()
			defer r.Close()
			return xmpp.Ready, nil, s.bind(featureReader(r))
		},
	}
}

// bind reads requests to bind until one is good. Others may write to the
// session from then on, but nothing goes out before the answer has.
func (s *session) bind(r xml.TokenReader) error {
	for {
		start, err := nextStart(r)
		if err != nil {
			return err
		}
		p, err := readPacket(r, start)
		if err != nil {
			return err
		}
		if p.name != "iq" || p.child.Name != (xml.Name{Space: nsBind, Local: "bind"}) {
			return stream.NotAuthorized
		}
		answer := p.bounce(errBadRequest)
		full, err := s.requested(p)
		if err == nil {
			s.jid = full.String()
			s.user = s.srv.admit(s.login)
			s.srv.bind(s, s.user, full.Resourcepart())
			answer = p.result("<bind xmlns='" + nsBind + "'><jid>" + string(appendText(nil, s.jid, false)) + "</jid></bind>")
		}
		answer.from = ""
		if _, e := s.conn.Write(answer.appendTo(nil, "", "")); e != nil {
			return e
		}
		if err == nil {
			return nil
		}
	}
}

// requested returns the full address in a client's request.
func (s *session) requested(p *packet) (jid.JID, error) {
	var bind struct {
		Resource string `xml:"resource"`
	}
	if p.check() != nil || p.typ != "set" || p.decode(&bind) != nil {
		return jid.JID{}, errBadRequest
	}
	if bind.Resource == "" {
		bind.Resource = randomName()
	}
	return jid.New(s.login.local, s.srv.domain, bind.Resource)
}
