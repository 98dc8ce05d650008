package main

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/stream"
)

const nsSASL = "urn:ietf:params:xml:ns:xmpp-sasl"

// maxAuthFailures is how often a client may fail to log in on one stream.
const maxAuthFailures = 4

// A saslError is a SASL failure condition. RFC 6120, section 6.5.
type saslError string

func (e saslError) Error() string { return "sasl: " + string(e) }

const (
	errAborted            saslError = "aborted"
	errEncryptionRequired saslError = "encryption-required"
	errIncorrectEncoding  saslError = "incorrect-encoding"
	errInvalidAuthzid     saslError = "invalid-authzid"
	errInvalidMechanism   saslError = "invalid-mechanism"
	errMalformed          saslError = "malformed-request"
	errNotAuthorized      saslError = "not-authorized"
)

// A login is the outcome of authentication.
type login struct {
	local string // localpart of the address
	guest bool
}

// A mechanism is the server's side of one SASL exchange. It takes the client's
// message and returns the server's; done means the client is in.
type mechanism func(msg string) (reply string, done bool, err error)

// mechanisms returns the names of the session's mechanisms.
func (s *session) mechanisms() []string {
	var names []string
	for _, h := range scramHashes {
		names = append(names, h.mechanism)
	}
	if s.plainAllowed {
		names = append(names, "PLAIN")
	}
	if s.srv.anonymous {
		names = append(names, "ANONYMOUS")
	}
	return names
}

// mechanism starts an exchange. Its outcome goes to s.login.
func (s *session) mechanism(name string) (mechanism, error) {
	if !slices.Contains(s.mechanisms(), name) {
		if name == "PLAIN" {
			return nil, errEncryptionRequired
		}
		return nil, errInvalidMechanism
	}
	switch name {
	case "PLAIN":
		return s.plain, nil
	case "ANONYMOUS":
		return func(string) (string, bool, error) {
			s.login = login{local: "guest-" + randomName(), guest: true}
			return "", true, nil
		}, nil
	case scramSHA1.mechanism:
		return s.scram(scramSHA1), nil
	default:
		return s.scram(scramSHA256), nil
	}
}

// plain is the PLAIN mechanism. RFC 4616.
func (s *session) plain(msg string) (string, bool, error) {
	fields := strings.Split(msg, "\x00")
	if len(fields) != 3 || fields[1] == "" || fields[2] == "" {
		return "", false, errMalformed
	}
	if !s.srv.accounts.check(fields[1], fields[2]) {
		return "", false, errNotAuthorized
	}
	return "", true, s.authorize(fields[1], fields[0])
}

// scram returns a SCRAM mechanism.
func (s *session) scram(h scramHash) mechanism {
	ex := &scramServer{hash: h, lookup: s.srv.accounts.lookup, nonce: randomNonce}
	begun := false
	return func(msg string) (reply string, done bool, err error) {
		if !begun {
			begun = true
			reply, err = ex.first(msg)
			return reply, false, err
		}
		if reply, err = ex.final(msg); err != nil {
			if errors.Is(err, errProof) {
				err = errNotAuthorized
			}
			return "", false, err
		}
		return reply, true, s.authorize(ex.user, ex.authzid)
	}
}

// authorize logs in a user after a proof of name. The user may act as nobody
// else.
func (s *session) authorize(name, authzid string) error {
	local, err := s.srv.accounts.localpart(name)
	if err != nil {
		return errNotAuthorized
	}
	if authzid != "" && authzid != local+"@"+s.srv.domain {
		return errInvalidAuthzid
	}
	s.login = login{local: local}
	return nil
}

// saslFeature is SASL as a stream feature. The one of mellium.im/xmpp cannot
// give SCRAM a user's keys, and ends the stream at the first failure.
func (s *session) saslFeature() xmpp.StreamFeature {
	return xmpp.StreamFeature{
		Name:       xml.Name{Space: nsSASL, Local: "mechanisms"},
		Prohibited: xmpp.Authn,
		List: func(_ context.Context, e xmlstream.TokenWriter, start xml.StartElement) (bool, error) {
			item := xml.StartElement{Name: xml.Name{Local: "mechanism"}}
			tokens := []xml.Token{start}
			for _, name := range s.mechanisms() {
				tokens = append(tokens, item, xml.CharData(name), item.End())
			}
			for _, tok := range append(tokens, start.End()) {
				if err := e.EncodeToken(tok); err != nil {
					return true, err
				}
			}
			return true, nil
		},
		Negotiate: func(_ context.Context, x *xmpp.Session, _ any) (xmpp.SessionState, io.ReadWriter, error) {
			r := x.TokenReader()
			defer r.Close()
			if err := s.authenticate(featureReader(r)); err != nil {
				return 0, nil, err
			}
			s.conn.restart()
			return xmpp.Authn, s.conn, nil
		},
	}
}

// authenticate talks SASL until the client is in, or has failed too often.
func (s *session) authenticate(r xml.TokenReader) error {
	var mech mechanism
	for failures := 0; failures < maxAuthFailures; {
		start, err := nextStart(r)
		if err != nil {
			return err
		}
		if start.Name.Space != nsSASL {
			return stream.NotAuthorized // it tries to do without
		}
		text, err := readText(r)
		if err != nil {
			return err
		}
		reply, done, err := s.saslStep(&mech, start, text)
		var fail saslError
		switch {
		case errors.As(err, &fail):
			failures++
			mech = nil
			s.srv.log.Debug("login failed", "session", s.id, "condition", string(fail))
			err = s.sendSASL("failure", fmt.Sprintf("<%s/>", string(fail)))
		case err != nil:
		case done:
			return s.sendSASL("success", base64.StdEncoding.EncodeToString([]byte(reply)))
		default:
			err = s.sendSASL("challenge", base64.StdEncoding.EncodeToString([]byte(reply)))
		}
		if err != nil {
			return err
		}
		s.conn.allow(maxPreAuth)
	}
	return stream.PolicyViolation
}

// saslStep takes one of the client's SASL elements, with its text.
func (s *session) saslStep(mech *mechanism, start xml.StartElement, text string) (reply string, done bool, err error) {
	switch start.Name.Local {
	case "auth":
		if *mech, err = s.mechanism(attr(start, "mechanism")); err != nil {
			return "", false, err
		}
		if text == "" && attr(start, "mechanism") != "ANONYMOUS" {
			return "", false, nil // an empty challenge asks for what is missing
		}
	case "response":
		if *mech == nil {
			return "", false, errMalformed
		}
	case "abort":
		return "", false, errAborted
	default:
		return "", false, errMalformed
	}
	if text == "=" { // there, and empty
		text = ""
	}
	msg, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return "", false, errIncorrectEncoding
	}
	return (*mech)(string(msg))
}

func (s *session) sendSASL(name, content string) error {
	_, err := fmt.Fprintf(s.conn, "<%s xmlns='%s'>%s</%[1]s>", name, nsSASL, content)
	return err
}

// featureReader returns the reader for a feature's elements. Mellium's reader
// takes the text of the first one for text outside of any element, and gives an
// error along with it; a Decoder minds an error only without a token.
func featureReader(r xml.TokenReader) xml.TokenReader { return xml.NewTokenDecoder(r) }

// nextStart returns the next start element of a stream, and skips white space.
func nextStart(r xml.TokenReader) (xml.StartElement, error) {
	for {
		tok, err := r.Token()
		switch t := tok.(type) {
		case xml.StartElement:
			return t, nil
		case xml.CharData:
			if strings.TrimSpace(string(t)) != "" {
				return xml.StartElement{}, stream.BadFormat
			}
		case nil:
		default:
			return xml.StartElement{}, stream.BadFormat
		}
		if err != nil {
			return xml.StartElement{}, err
		}
	}
}

// readText reads to the end of an element, after its start, and returns its
// text. It may have nothing else.
func readText(r xml.TokenReader) (string, error) {
	var text strings.Builder
	for {
		tok, err := r.Token()
		switch t := tok.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			return strings.TrimSpace(text.String()), nil
		case nil:
		default:
			return "", stream.BadFormat
		}
		if err != nil {
			return "", err
		}
	}
}

// attr returns the value of an attribute without namespace.
func attr(start xml.StartElement, name string) string {
	for _, a := range start.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
