//go:build !race

package direct

import (
	"encoding/binary"
	"syscall"
)

// tcpInq has Recvmsg tell whether there is more than it returns: TCP_INQ of linux/tcp.h.
const tcpInq = 36

// askForMore has receiveMore tell whether there is more, if the socket can.
func (c *conn) askForMore() {
	c.raw.Control(func(fd uintptr) {
		c.tells = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpInq, 1) == nil
	})
}

// receiveMore reads into p. more reports whether there are more bytes, or the client's end:
// another call for just that would cost a tenth of a request. It is true if that is
// unknown.
func (c *conn) receiveMore(fd uintptr, p []byte) (n int, more bool, err error) {
	if !c.tells {
		n, err = syscall.Read(int(fd), p)
		return n, true, err
	}
	var control [syscall.SizeofCmsghdr + 8]byte
	n, told, _, _, err := syscall.Recvmsg(int(fd), p, control[:], 0)
	const at = syscall.SizeofCmsghdr // level and type are before it, the data behind
	if told < at+4 || binary.NativeEndian.Uint32(control[at-8:]) != syscall.IPPROTO_TCP || binary.NativeEndian.Uint32(control[at-4:]) != tcpInq {
		return n, true, err
	}
	return n, binary.NativeEndian.Uint32(control[at:]) > 0, err
}
