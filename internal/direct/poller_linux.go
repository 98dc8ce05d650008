package direct

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// A poller watches the resting connections of an Engine, by an epoll instance of its own.
// While there are some it has a goroutine. It waits for that instance by the poller of the
// runtime, without a thread.
//
// Watched connections are known by their ids: by the time of an event's handling, the file
// descriptor may belong to another one.
type poller struct {
	mu   sync.Mutex // guards the following
	n    int        // connections that are watched
	file *os.File   // the epoll instance; nil if there is no goroutine
	fd   int        // of file
	raw  syscall.RawConn
}

// watch has the connection woken when something comes. It reports whether it will
// be. It is called with the connection's lock.
func (p *poller) watch(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := p.file == nil
	if fresh && p.open() != nil {
		return false
	}
	if p.control(c, syscall.EPOLL_CTL_ADD) != nil {
		if fresh {
			p.close()
		}
		return false
	}
	p.n++
	if fresh {
		go p.run(c.e, p.raw)
	}
	return true
}

// unwatch ends watch. It is called with the connection's lock.
func (p *poller) unwatch(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.control(c, syscall.EPOLL_CTL_DEL) // which fails if somebody has closed it
	if p.n--; p.n == 0 {
		p.file.SetReadDeadline(past)
	}
}

// open makes the epoll instance.
func (p *poller) open() error {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // for os.NewFile, which looks at it
		syscall.Close(fd)
		return err
	}
	p.file, p.fd = os.NewFile(uintptr(fd), "epoll"), fd
	if p.raw, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // which fails if the runtime does not poll it
	}
	if err != nil {
		p.close()
	}
	return err
}

func (p *poller) close() {
	p.file.Close()
	p.file = nil
}

func (p *poller) control(c *conn, op int) (err error) {
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT}
	e.Fd, e.Pad = int32(c.id), int32(c.id>>32)
	cerr := c.raw.Control(func(fd uintptr) { err = syscall.EpollCtl(p.fd, op, int(fd), &e) })
	if cerr != nil {
		return cerr
	}
	return err
}

// run wakes connections until there are none.
func (p *poller) run(e *Engine, raw syscall.RawConn) {
	events := make([]syscall.EpollEvent, 64)
	n := 0
	wait := func(fd uintptr) bool {
		n = epollWait(int(fd), events)
		return n != 0
	}
	for over := false; !over; over = p.over() {
		n = 0
		if err := raw.Read(wait); n < 0 || err != nil && !isTimeout(err) {
			e.each((*conn).wake) // nothing is known that could go wrong
		}
		for _, ev := range events[:max(n, 0)] {
			e.wake(uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32)
		}
	}
}

// epollWait returns how many events there are, or -1 if it fails. It does not wait.
func epollWait(fd int, events []syscall.EpollEvent) int {
	for {
		n, err := syscall.EpollWait(fd, events, 0)
		if err != syscall.EINTR {
			return n
		}
	}
}

// over ends the goroutine if there is nothing to watch.
func (p *poller) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n > 0 {
		p.file.SetReadDeadline(time.Time{})
		return false
	}
	p.close()
	return true
}
