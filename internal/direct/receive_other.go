//go:build unix && !linux

package direct

import "syscall"

// askForMore does nothing: the system cannot tell.
func (c *conn) askForMore() {}

// receiveMore reads into p. Whether there is more is not known.
func (c *conn) receiveMore(fd uintptr, p []byte) (n int, more bool, err error) {
	n, err = syscall.Read(int(fd), p)
	return n, true, err
}
