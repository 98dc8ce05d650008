package boshtest

import (
	"errors"
	"fmt"
	"net/http"
)

// Errors of a [Client].
var (
	// ErrClosed is why a client has ended that was closed.
	ErrClosed = errors.New("boshtest: client closed")

	// ErrUnanswered is why a client has ended that repeated a request in
	// vain. It wraps what went wrong the last time.
	ErrUnanswered = errors.New("boshtest: request repeated in vain")
)

// An EndError is the end of a session by a terminal condition.
type EndError struct {
	Condition string
	Body      *Body // the answer that said so
}

func (e *EndError) Error() string { return "boshtest: session ended: " + e.Condition }

// Is reports whether target is an EndError of the same Condition.
func (e *EndError) Is(target error) bool {
	t, ok := target.(*EndError)
	return ok && t.Condition == e.Condition
}

// A StatusError is the end of a session by an HTTP status, which is how a
// server tells a client that sent no ver.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("boshtest: HTTP status %d %s", e.Status, http.StatusText(e.Status))
}
