package netconn

import (
	"errors"
	"fmt"

	"github.com/gobosh/bosh/internal/state"
)

// ErrBusy says that a session cannot be exported just now.
var ErrBusy = errors.New("bosh: the session cannot be exported just now")

var (
	errReceives = errors.New("bosh: the input is Receive's: call Detach before Export")
	errTokens   = errors.New("bosh: a stream that is read or written by tokens cannot be exported, since package xml may have read more")
	errPart     = errors.New("an element that was written is not whole")
	errCalled   = errors.New("the function of Receive has not returned")
)

// Busy returns why the stream cannot be exported just now, or at all, or nil. It is called
// with the lock held.
func (c *Conn) Busy() error {
	x := c.extras
	switch {
	case c.receives():
		return errReceives
	case x != nil && (x.tokens.Dec != nil || x.tokens.Enc != nil):
		return errTokens
	case x != nil && x.receiving:
		return fmt.Errorf("%w: %w", ErrBusy, errCalled)
	case !c.Writing && c.cut != nil && !c.cut.Whole():
		return fmt.Errorf("%w: %w", ErrBusy, errPart)
	}
	return nil
}

// Export adds to x what the machine does not know of the stream. It is called with the
// lock held, and the stream is not Busy.
func (c *Conn) Export(x *state.Stream) {
	if c.cut != nil {
		x.Cut = c.cut.Export()
	}
}

// Import puts what another process has exported, and the machine has not, into a stream.
func (c *Conn) Import(x *state.Stream) {
	if x.Cut == nil {
		return
	}
	if c.cut = c.M.Cutter(&c.Stream); c.cut != nil {
		c.cut.Import(x.Cut)
	}
}
