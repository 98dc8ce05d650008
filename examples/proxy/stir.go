package main

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"time"

	"github.com/gobosh/bosh"
)

// lookAt returns when up has to act if the client stays silent; zero for never.
// The silence began at quiet.
func (b *bridge) lookAt(quiet time.Time) (at time.Time) {
	if b.keepalive > 0 {
		at = quiet.Add(b.keepalive)
	}
	if ask := b.pulse.askAt(); !ask.IsZero() && b.mayAsk() && (at.IsZero() || ask.Before(at)) {
		at = ask
	}
	return at
}

// stir gives a sign of life to the server after some silence, and asks for one
// if possible.
func (b *bridge) stir() error {
	switch {
	case b.mayAsk():
		b.pulse.ask()
		return b.ask()
	case b.loggedIn.Load():
		return b.tell([]byte(" "))
	}
	return nil
}

// mayAsk reports whether the server can be asked for a sign of life. It counts
// stanzas, from when the client wants its stream managed: none may be between
// the client's then.
func (b *bridge) mayAsk() bool {
	if b.wants.yes {
		return b.managed.Load()
	}
	return b.bound.Load()
}

// ask asks the server for a sign of life; any answer will do. The answer is not
// for the client: see inspect.
func (b *bridge) ask() error {
	if b.wants.yes {
		b.acks.Add(1)
		return b.tell([]byte("<r xmlns='" + nsSM + "'/>"))
	}
	id := "alive-" + rand.Text()
	b.pinged.Store(&id)
	return b.tell(pingRequest(id))
}

func pingRequest(id string) []byte {
	return []byte("<iq type='get' id='" + id + "'><ping xmlns='urn:xmpp:ping'/></iq>")
}

// answersPing reports whether an element is the answer to the last ping.
func (b *bridge) answersPing(element []byte) bool {
	id := b.pinged.Load()
	if id == nil || !bytes.Contains(element, []byte(*id)) {
		return false
	}
	s := b.check.stanza(element)
	return s.name == "iq" && s.id == *id && (s.kind == "result" || s.kind == "error")
}

// The signs of a client bound to a resource: the answer to its request, or an
// element in the answer to an authentication by SASL2 (XEP-0386).
var (
	boundName = xml.Name{Space: "urn:ietf:params:xml:ns:xmpp-bind", Local: "bind"}
	bound2    = xml.Name{Space: "urn:xmpp:bind:0", Local: "bound"}
	smAck     = xml.Name{Space: nsSM, Local: "a"}
)

// A wish looks for the client's wish for a managed stream in its words. They
// may be cut anywhere.
type wish struct {
	yes  bool
	tail [len(nsSM) - 1]byte // of what was said
}

func (m *wish) look(said []byte) {
	if m.yes {
		return
	}
	n := len(m.tail)
	joint := append(m.tail[:n:n], said[:min(len(said), n)]...)
	m.yes = bytes.Contains(said, []byte(nsSM)) || bytes.Contains(joint, []byte(nsSM))
	if all := append(m.tail[:n:n], said[max(0, len(said)-n):]...); len(all) > n {
		copy(m.tail[:], all[len(all)-n:])
	}
}

// headerStart begins the library's header for the begin of a stream, and for
// each restart by the client.
const headerStart = "<stream:stream "

// restart reads the rest of a header, and has it name the domain in the
// server's form. A client may not go on with another domain: the server was
// connected to for this one, and its certificate is this one's.
func (b *bridge) restart(header []byte) ([]byte, error) {
	for !bytes.HasSuffix(header, []byte(">")) {
		more := make([]byte, minBuffer)
		n, err := b.stream.Read(more)
		if err != nil {
			return nil, err
		}
		header = append(header[:len(header):len(header)], more[:n]...)
	}
	const attribute = " to='"
	before, rest, _ := bytes.Cut(header, []byte(attribute))
	raw, after, _ := bytes.Cut(rest, []byte("'"))
	var to struct {
		To string `xml:"to,attr"`
	}
	err := xml.Unmarshal([]byte("<a"+attribute+string(raw)+"'/>"), &to)
	d, derr := parseDomain(to.To)
	if err != nil || derr != nil || d != b.domain {
		e := &bosh.Error{Condition: bosh.HostUnknown, Err: errOtherDomain}
		b.stream.CloseWithError(e)
		return nil, e
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(attribute)
	xml.EscapeText(&out, []byte(d.name))
	out.WriteString("'")
	out.Write(after)
	return out.Bytes(), nil
}
