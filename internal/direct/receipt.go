package direct

import (
	"net"
	"syscall"
)

// A Receipt tells whether the client has all bytes of its connection, as far as the
// operating systems know.
type Receipt struct{ c *conn }

// Receipt returns the Receipt of the request's connection. It is asked for from Done on.
func (q *Request) Receipt() Receipt { return Receipt{q.c} }

// Arrived reports whether the client's operating system has acknowledged all bytes written
// to the connection. It does not block. If known is false it cannot be told, now or later.
func (r Receipt) Arrived() (all, known bool) {
	c := r.c
	defer c.e.caught("NetConn of a connection")
	raw := socket(c.rwc)
	if raw == nil {
		return false, false
	}
	all, known = acknowledged(raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == gone { // there may be answers that were not even written
		return false, false
	}
	return all, known
}

// socket returns the TCP socket under c, if there is one.
func socket(c net.Conn) syscall.RawConn {
	for range maxLayers {
		switch t := c.(type) {
		case *net.TCPConn:
			raw, _ := t.SyscallConn()
			return raw
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return nil
		}
	}
	return nil
}

// maxLayers is how many connections may be in one another.
const maxLayers = 8
