// Package relay lets one process pass requests on to another process with their
// sessions. It knows of no sessions, and of no network: a [Front] is at the node where
// a request came in, an [Owner] is at the node of its session, and the application
// carries messages between them.
package relay

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrNoNode is the error if nobody serves the node.
var ErrNoNode = errors.New("bosh: no such node")

// ErrMoved says that the session is not here any more, or not yet: another process has it,
// or is about to. Whoever asked is to ask again. An error that wraps it says that it may
// be so.
var ErrMoved = errors.New("bosh: the session has moved to another process")

// MovedTo is [ErrMoved] with the name of the node that has the session, or gets it just now: it
// is asked at once.
type MovedTo string

func (m MovedTo) Error() string { return ErrMoved.Error() + ": " + string(m) }

// Is has errors.Is find ErrMoved.
func (m MovedTo) Is(err error) bool { return err == ErrMoved }

// ErrMalformed stands for the reason why a request could not be read where it came in.
var ErrMalformed = errors.New("it could not be read at the node where it came in")

// maxName is how many bytes the name of a node may have.
const maxName = 32

// CheckName returns the fault in the name of a node, or nil.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of a node is empty")
	case !valid(name):
		return fmt.Errorf("the name of a node is up to %d of a-z, 0-9 and -, and is not %.40q", maxName, name)
	}
	return nil
}

func valid[T string | []byte](name T) bool {
	if len(name) == 0 || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// node returns the name at the end of a sid, or nil. The sid is the client's: it may
// be anything.
func node(sid []byte) []byte {
	if name := sid[bytes.LastIndexByte(sid, '.')+1:]; len(name) < len(sid) && valid(name) {
		return name
	}
	return nil
}
