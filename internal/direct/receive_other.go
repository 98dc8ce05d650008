//go:build unix && (!linux || race)

package direct

import "syscall"

// askForMore does nothing: the system cannot tell, or the race detector would not know that
// what the client did before it wrote has come before: it takes that from a Read.
func (c *conn) askForMore() {}

// receiveMore reads into p. Whether there is more is not known.
func (c *conn) receiveMore(fd uintptr, p []byte) (n int, more bool, err error) {
	n, err = syscall.Read(int(fd), p)
	return n, true, err
}
