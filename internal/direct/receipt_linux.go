package direct

import (
	"syscall"
	"unsafe"
)

// acknowledged reports whether the other side has acknowledged all bytes written to a
// socket, and whether it can be told.
func acknowledged(raw syscall.RawConn) (all, known bool) {
	err := raw.Control(func(fd uintptr) {
		var left int32 // SIOCOUTQ, which has the same number: see tcp(7)
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&left)))
		if known = errno == 0; !known {
			return
		}
		// A reset connection has nothing left either. It has no peer.
		_, perr := syscall.Getpeername(int(fd))
		known = perr == nil
		all = known && left == 0
	})
	return all && err == nil, known && err == nil
}
