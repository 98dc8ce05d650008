package netconn

import (
	"errors"
	"net"
	"sync"
)

// ErrFull is the error when too many connections wait to be accepted.
var ErrFull = errors.New("backlog is full")

// A Listener is a queue of connections. Make it by NewListener.
type Listener struct {
	addr   net.Addr
	size   int
	refuse func(net.Conn)
	unused error         // why there are no connections
	ready  chan struct{} // of capacity 1: one of those that wait in Accept is to look again
	closed chan struct{}

	mu       sync.Mutex // guards the following, and the closing of closed
	conns    []net.Conn
	reserved int  // places
	told     bool // Close has been called
	attended bool // Accept has been called
}

// NewListener returns a Listener that keeps up to size connections waiting, or any number if
// size is negative. When it is closed, refuse is called for the waiting ones.
func NewListener(addr net.Addr, size int, refuse func(net.Conn)) *Listener {
	return &Listener{addr: addr, size: size, refuse: refuse, ready: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Unused makes Accept fail by err. The error says where the connections go. It is called
// before anything else.
func (l *Listener) Unused(err error) { l.unused = err }

// Attended reports whether Accept has ever been called.
func (l *Listener) Attended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.attended
}

// Deliver hands c to Accept. It does not wait: if there is no room it fails
// with ErrFull, and once the Listener is closed with net.ErrClosed.
func (l *Listener) Deliver(c net.Conn) error {
	if err := l.Reserve(); err != nil {
		return err
	}
	return l.Fill(c)
}

// Reserve takes a place for a later Fill. It fails as Deliver does.
func (l *Listener) Reserve() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.Closed():
		return net.ErrClosed
	case l.size >= 0 && len(l.conns)+l.reserved >= l.size:
		return ErrFull
	}
	l.reserved++
	return nil
}

// Fill is Deliver to a reserved place. It fails only once the Listener is closed.
func (l *Listener) Fill(c net.Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved--
	if l.Closed() {
		return net.ErrClosed
	}
	l.conns = append(l.conns, c)
	l.wake()
	return nil
}

// Cancel gives back a place that is reserved.
func (l *Listener) Cancel() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved--
}

// wake wakes one of the callers waiting in Accept.
func (l *Listener) wake() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	if l.unused != nil && !l.Closed() {
		return nil, l.err("accept", l.unused)
	}
	for {
		if c := l.pop(); c != nil {
			return c, nil
		}
		select {
		case <-l.ready:
		case <-l.closed:
			return nil, l.err("accept", net.ErrClosed)
		}
	}
}

// pop takes the connection with the longest wait, or returns nil.
func (l *Listener) pop() net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attended = true
	if len(l.conns) == 0 {
		return nil
	}
	c := l.conns[0]
	l.conns[0] = nil
	if l.conns = l.conns[1:]; len(l.conns) == 0 {
		l.conns = nil
	} else {
		l.wake()
	}
	return c
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

// Close makes Accept fail from now on. The first Close returns nil, also behind Shut: its
// caller closes its own Listener, and knows of no other closer.
func (l *Listener) Close() error {
	l.Shut()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told {
		return l.err("close", net.ErrClosed)
	}
	l.told = true
	return nil
}

// Shut is Close for callers who do not own the Listener.
func (l *Listener) Shut() {
	l.mu.Lock()
	if l.Closed() {
		l.mu.Unlock()
		return
	}
	close(l.closed)
	left := l.conns
	l.conns = nil
	l.mu.Unlock()
	for _, c := range left {
		l.refuse(c)
	}
}

func (l *Listener) err(op string, err error) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: err}
}

// Addr returns the address given to New.
func (l *Listener) Addr() net.Addr { return l.addr }
