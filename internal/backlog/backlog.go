// Package backlog makes a net.Listener of connections that are handed to it.
package backlog

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// ErrFull says that too many connections wait to be accepted.
var ErrFull = errors.New("backlog is full")

// A Listener is a bounded queue of connections. Make it by New.
type Listener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	told   atomic.Bool // Close has been called
	refuse func(net.Conn)
}

// New returns a Listener that keeps up to size connections waiting. When it is
// closed, refuse is called for those that wait.
func New(addr net.Addr, size int, refuse func(net.Conn)) *Listener {
	return &Listener{addr: addr, conns: make(chan net.Conn, size), closed: make(chan struct{}), refuse: refuse}
}

// Deliver hands c to Accept. It does not wait: if there is no room it fails
// with ErrFull, and once the Listener is closed with net.ErrClosed.
func (l *Listener) Deliver(c net.Conn) error {
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
	}
	select {
	case l.conns <- c:
	default:
		return ErrFull
	}
	select {
	case <-l.closed:
		l.drain() // Close may have been too early to see c
	default:
	}
	return nil
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	default:
		select {
		case c := <-l.conns:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, l.err("accept")
}

// Closed reports whether the Listener is closed.
func (l *Listener) Closed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Close makes Accept fail from now on. The first Close returns nil, also behind Shut:
// who calls it closes what is theirs, and knows of nobody else.
func (l *Listener) Close() error {
	l.Shut()
	if l.told.Swap(true) {
		return l.err("close")
	}
	return nil
}

// Shut is Close for those who do not own the Listener.
func (l *Listener) Shut() {
	l.once.Do(func() { close(l.closed) })
	l.drain()
}

func (l *Listener) drain() {
	for {
		select {
		case c := <-l.conns:
			l.refuse(c)
		default:
			return
		}
	}
}

func (l *Listener) err(op string) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
}

// Addr returns the address that New was given.
func (l *Listener) Addr() net.Addr { return l.addr }
