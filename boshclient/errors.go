package boshclient

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// A Condition is a server's reason for the end of a session. It is an error:
//
//	errors.Is(err, boshclient.PolicyViolation)
//
// works with the errors of [Dial] and of a [Conn]. A server may send others than
// these. XEP-0124, section 17.2.
type Condition string

// The terminal conditions.
const (
	BadRequest             Condition = "bad-request"              // the server does not understand the client
	HostGone               Condition = "host-gone"                // Options.To is not served any more
	HostUnknown            Condition = "host-unknown"             // Options.To is not served
	ImproperAddressing     Condition = "improper-addressing"      // Options.To is missing
	InternalServerError    Condition = "internal-server-error"    // trouble at the server
	ItemNotFound           Condition = "item-not-found"           // the server does not know the session, or not any more
	OtherRequest           Condition = "other-request"            // another request brought the end
	PolicyViolation        Condition = "policy-violation"         // refused, or more than allowed
	RemoteConnectionFailed Condition = "remote-connection-failed" // to what is behind the server
	RemoteStreamError      Condition = "remote-stream-error"      // Error.Payload says which
	SeeOtherURI            Condition = "see-other-uri"            // Error.URI is where to go
	SystemShutdown         Condition = "system-shutdown"          // of the server
	UndefinedCondition     Condition = "undefined-condition"      // Error.Payload may say more
)

// Error returns the condition.
func (c Condition) Error() string { return string(c) }

// An Error is the end of a session, or of one of several streams, for a reason
// given by the server.
type Error struct {
	Condition Condition

	// URI is where to go instead, for SeeOtherURI. Nobody has checked it.
	URI string

	// Payload holds the elements beside the condition, such as the stream error
	// of RemoteStreamError. They are part of the input, too.
	Payload []byte

	// Err is a *StatusError if the condition came as an HTTP status, else nil.
	Err error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return "bosh: " + string(e.Condition) + ": " + e.Err.Error()
	}
	return "bosh: " + string(e.Condition)
}

// Unwrap returns the condition, and Err if there is one.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{e.Condition, e.Err}
	}
	return []error{e.Condition}
}

// Is reports whether target is an *Error of the same Condition.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Condition == e.Condition
}

// A StatusError is an answer with an HTTP status other than 200.
type StatusError struct {
	Status int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s", e.Status, http.StatusText(e.Status))
}

// ErrUnanswered ends a session after one of its requests was repeated for
// [Options.GiveUp] without an answer. The error around it wraps the last failure
// too.
var ErrUnanswered = errors.New("request repeated in vain")

var (
	errTooLarge    = errors.New("answer larger than Options.MaxBody")
	errRecoverable = errors.New("recoverable error")
	errEnded       = errors.New("the server has ended the session at once")
	errNoSID       = errors.New("creation answer without sid")
	errNotElements = errors.New("only a Conn of Elements has elements: see Options.Framing, or use Read and Write")
	errMidElement  = errors.New("in the middle of an element, which a Write has begun")
)

// final reports whether an error is beyond the help of a repeat: an answer too
// large, or a final HTTP status.
func (s *session) final(err error) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return errors.Is(err, errTooLarge)
	}
	switch status.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusUnauthorized:
		return s.o.Prepare == nil // it may know a fresh token the next time
	}
	return status.Status < 500
}

// condition returns the error for a final one. If the server sent no ver, three
// statuses are conditions. XEP-0124, section 17.1.
func (s *session) condition(err error) error {
	var status *StatusError
	if s.granted.Ver != "" || !errors.As(err, &status) {
		return err
	}
	switch status.Status {
	case http.StatusBadRequest:
		return &Error{Condition: BadRequest, Err: err}
	case http.StatusForbidden:
		return &Error{Condition: PolicyViolation, Err: err}
	case http.StatusNotFound:
		return &Error{Condition: ItemNotFound, Err: err}
	}
	return err
}

// advised adds to the error of a creation how to mend it, if the error does not say so.
func (s *session) advised(err error) error {
	advice := ""
	var status *StatusError
	var ca x509.UnknownAuthorityError
	var no *noAnswerError
	switch {
	case errors.As(err, &no):
		advice = "is the URL that of a BOSH endpoint?"
	case errors.As(err, &ca):
		advice = "the Transport of Options.HTTPClient decides whom to trust"
	case errors.As(err, &status):
		switch status.Status {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			advice = "is the URL that of a BOSH endpoint, with http or https as it wants it?"
		case http.StatusUnauthorized, http.StatusForbidden:
			advice = "a token goes into Options.HTTPHeader, Prepare or Attr"
		case http.StatusProxyAuthRequired:
			advice = "the Transport of Options.HTTPClient logs in to a proxy"
		}
	case errors.Is(err, HostUnknown), errors.Is(err, HostGone), errors.Is(err, ImproperAddressing):
		advice = fmt.Sprintf("Options.To is %q", s.o.To)
	case errors.Is(err, SeeOtherURI):
		advice = "Error.URI is where to go"
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}

// A noAnswerError is a response that is no answer of a BOSH server, such as a page of
// something on the way.
type noAnswerError struct {
	content string // its Content-Type
	err     error
}

func (e *noAnswerError) Error() string {
	return fmt.Sprintf("no answer of a BOSH server but something of type %.60q: %v", e.content, e.err)
}

func (e *noAnswerError) Unwrap() error { return e.err }

// opError wraps the errors of Read and others, except io.EOF.
func (c *Conn) opError(op string, err error) error {
	if err == nil || op == "read" && err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: network, Addr: c.RemoteAddr(), Err: err}
}
