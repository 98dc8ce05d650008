//go:build unix && (!linux || race)

package direct

import "syscall"

// askForMore does nothing. Other systems cannot tell. Under the race detector there must be
// a Read: the detector takes from it that the client's write came first.
func (c *conn) askForMore() {}

// receiveMore reads into p. Whether there is more is not known.
func (c *conn) receiveMore(fd uintptr, p []byte) (n int, more bool, err error) {
	n, err = syscall.Read(int(fd), p)
	return n, true, err
}
