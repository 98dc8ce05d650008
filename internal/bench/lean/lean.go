//go:build linux

// Package lean is a load generator: one thread, an epoll descriptor, and sockets. It
// reads and writes them itself. Nothing of it runs in goroutines: it measures the
// server, and no scheduler of its own. It knows HTTP/1.1 as far as answers with a
// Content-Length. It never sleeps: to wake it would be work of the server's, and more
// of it for a slower server.
package lean

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// A Loop is all connections of one generator. One goroutine uses it.
type Loop struct {
	poll   int
	conns  map[int32]*Conn
	events [256]syscall.EpollEvent
	addr   syscall.SockaddrInet4
	in     [64 << 10]byte
	err    error
}

// A Conn is a connection. Answers come in the order of its requests.
type Conn struct {
	// Answered is called with the body of each answer. The body is good until it
	// returns.
	Answered func(body []byte)

	l    *Loop
	fd   int
	in   []byte // of an answer that is not there yet
	need int    // bytes that in must have to be looked at again
	out  []byte // to be sent
	full bool   // the kernel takes no more for now
}

// New returns a Loop for the server at addr, an IPv4 address.
func New(addr string) (*Loop, error) {
	tcp, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &Loop{poll: fd, conns: make(map[int32]*Conn), addr: syscall.SockaddrInet4{Port: tcp.Port}}
	copy(l.addr.Addr[:], tcp.IP.To4())
	return l, nil
}

// Close closes all connections.
func (l *Loop) Close() {
	for _, c := range l.conns {
		c.Close()
	}
	syscall.Close(l.poll)
}

// Err returns the first fault of a connection, or nil.
func (l *Loop) Err() error { return l.err }

// Fail ends the loop by err, unless it has ended.
func (l *Loop) Fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// Dial opens a connection.
func (l *Loop) Dial() (*Conn, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err = syscall.Connect(fd, &l.addr); err == nil {
		err = errors.Join(
			syscall.SetNonblock(fd, true),
			syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
			syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}), // or the ports run out
			syscall.EpollCtl(l.poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}),
		)
	}
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	c := &Conn{l: l, fd: fd}
	l.conns[int32(fd)] = c
	return c, nil
}

// Close closes the connection.
func (c *Conn) Close() {
	if c.l.conns[int32(c.fd)] == c {
		delete(c.l.conns, int32(c.fd))
		syscall.Close(c.fd)
	}
}

// Post sends a request: a head up to the name of Content-Length, and a body in two
// parts.
func (c *Conn) Post(head string, start, rest []byte) {
	idle := len(c.out) == 0
	c.out = append(c.out, head...)
	c.out = append(strconv.AppendInt(c.out, int64(len(start)+len(rest)), 10), "\r\n\r\n"...)
	c.out = append(append(c.out, start...), rest...)
	if idle {
		c.flush()
	}
}

// flush sends as much as the kernel takes.
func (c *Conn) flush() {
	sent := 0
	for sent < len(c.out) {
		n, err := syscall.Write(c.fd, c.out[sent:])
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			c.l.Fail(fmt.Errorf("write: %w", err))
			return
		}
		sent += n
	}
	c.out = c.out[:copy(c.out, c.out[sent:])]
	if full := len(c.out) > 0; full != c.full {
		c.full = full
		ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(c.fd)}
		if full {
			ev.Events |= syscall.EPOLLOUT
		}
		if err := syscall.EpollCtl(c.l.poll, syscall.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
			c.l.Fail(err)
		}
	}
}

// Run calls back for input until done reports true. It looks at done again and again.
func (l *Loop) Run(done func() bool) error {
	for l.err == nil && !done() {
		n, err := syscall.EpollWait(l.poll, l.events[:], 0)
		if err != nil && err != syscall.EINTR {
			return err
		}
		for _, ev := range l.events[:max(n, 0)] {
			c := l.conns[ev.Fd]
			if c == nil {
				continue
			}
			if ev.Events&syscall.EPOLLOUT != 0 {
				c.flush()
			}
			if ev.Events&^syscall.EPOLLOUT != 0 {
				c.read()
			}
		}
	}
	return l.err
}

// read takes the arrived bytes.
func (c *Conn) read() {
	l := c.l
	n, err := syscall.Read(c.fd, l.in[:])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return
	case err != nil || n == 0:
		l.Fail(fmt.Errorf("the connection is at its end: %v", err))
		return
	}
	if len(c.in) == 0 { // mostly all of an answer, and nothing else
		if rest := c.take(l.in[:n]); len(rest) > 0 {
			c.in = append(c.in, rest...)
		}
		return
	}
	if c.in = append(c.in, l.in[:n]...); len(c.in) >= c.need {
		rest := c.take(c.in)
		c.in = c.in[:copy(c.in, rest)]
	}
}

// take takes the answers at the beginning of b, and returns the rest.
func (c *Conn) take(b []byte) []byte {
	for c.l.err == nil {
		size, length, err := measure(b)
		if err != nil {
			c.l.Fail(err)
			return nil
		}
		if c.need = size + length; size == 0 || len(b) < c.need {
			return b
		}
		c.need = 0
		c.Answered(b[size : size+length])
		b = b[size+length:]
	}
	return nil
}

var (
	emptyLine     = []byte("\r\n\r\n")
	okay          = []byte("HTTP/1.1 200 ")
	contentLength = []byte("\r\nContent-Length: ")
)

// measure returns the sizes of the head at the beginning of b, and of the body behind
// it. They are 0 if the head is not there yet.
func measure(b []byte) (size, length int, err error) {
	end := bytes.Index(b, emptyLine)
	if end < 0 {
		return 0, 0, nil
	}
	if !bytes.HasPrefix(b, okay) {
		return 0, 0, fmt.Errorf("answered by %q", b[:end])
	}
	if i := bytes.Index(b[:end], contentLength); i >= 0 {
		for _, d := range b[i+len(contentLength) : end] {
			if d < '0' || '9' < d {
				break
			}
			length = length*10 + int(d-'0')
		}
	}
	return end + len(emptyLine), length, nil
}
