//go:build unix

package direct

import (
	"io"
	"syscall"
)

type syscallConn interface{ syscall.Conn }

// initRaw lets the connection be read and written without waiting, if it is one
// of the operating system.
func (c *conn) initRaw() {
	sc := plain(c.rwc)
	if sc == nil {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	c.readable, c.writable = c.tryRead, c.tryWrite
	c.askForMore()
}

// tryRead reads all there is, and serves the requests in it. It reports whether it need not
// be called again when there is more. A read of less than the buffer has emptied the
// socket, mostly (behind urgent data there may be more, for the next read), and later bytes
// call it again. The client's end is no data: another read finds it. If receiveMore cannot
// tell, there is that read only while a request waits for its answer. Otherwise there is
// time until the connection comes to rest.
func (c *conn) tryRead(fd uintptr) bool {
	for {
		if c.buf == nil {
			c.borrow()
		}
		room := cap(c.buf) - len(c.buf)
		var n int
		var more bool
		n, more, c.err = c.receiveMore(fd, c.buf[len(c.buf):cap(c.buf)])
		switch {
		case c.err == syscall.EINTR:
			continue
		case c.err == syscall.EAGAIN:
			c.release()
			return false
		case c.err != nil:
			return true
		case n == 0:
			c.err = io.EOF
			return true
		}
		c.buf = c.buf[:len(c.buf)+n]
		if !c.acceptAll() {
			return true
		}
		if n < room && !(more && (c.held || c.tells)) {
			return false
		}
	}
}

// tryWrite writes as much of the rest as it can now.
func (c *conn) tryWrite(fd uintptr) bool {
	for len(c.unsent) > 0 {
		n, err := syscall.Write(int(fd), c.unsent)
		switch err {
		case nil:
			c.unsent = c.unsent[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			c.broken = true
			return true
		}
	}
	return true
}
