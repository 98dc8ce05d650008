package direct

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobosh/bosh/internal/httpbody"
)

// A conn is a connection that was taken over.
type conn struct {
	e     *Engine
	rwc   net.Conn
	raw   syscall.RawConn // of rwc, if it can be read and written without waiting; or else nil
	tls   *tls.ConnectionState
	route *route

	values sync.Once
	ctx    context.Context // for context

	// What follows is for the goroutine that reads.

	buf      []byte         // what has been read, and not been served
	used     int            // how much of it has
	share    httpbody.Share // that buf takes
	skip     bool           // empty lines before the next request are to be overlooked
	head     *head          // of the last request
	readable func(fd uintptr) bool
	n        int   // what readable has read
	err      error // of the last read
	busy     bool  // what is read is to be kept
	limited  bool  // there is a read deadline for the request that is under way: until
	until    time.Time
	one      [1]byte

	// What follows is for the goroutine that has set writing.

	writable func(fd uintptr) bool
	unsent   []byte // what is still to be written
	broken   bool   // that failed

	ending atomic.Bool // close when all has been answered; set with the lock

	mu      sync.Mutex // guards the following
	first   *Request   // the oldest one that is not over
	last    *Request
	count   int  // of them
	writing bool // somebody writes answers
	shut    bool // the client has been told that there is no more
	gone    bool // nothing can be written any more
	room    int  // the reader waits until count is less; 0 if it does not
	freed   chan struct{}
	served  uint32    // requests; see Engine.sweep
	seen    uint32    // what served was lately
	rested  bool      // nothing has come since the reader has been renewed
	kicked  bool      // it is to be
	since   time.Time // of the last answer, if the server limits idleness
}

// Limits on what a connection reads ahead while answers are due.
const (
	maxCount = 32       // requests
	maxAhead = 64 << 10 // bytes
)

// serve serves requests until the connection ends, is given back, or gets another
// goroutine.
func (c *conn) serve() {
	for {
		q, end := c.next()
		if q == nil {
			end(c)
			return
		}
		c.accept(q)
	}
}

// accept serves a request.
func (c *conn) accept(q *Request) {
	if c.limited {
		c.limited = false
		c.limit(time.Time{})
	}
	if !c.e.guard(c.e.Serve, q) {
		c.fail()
	}
	c.consumed()
}

// acceptAll serves the requests that have been read. It reports whether nothing
// else has. It is called while the connection is being read, and so saves to find
// out by a system call that there is no more: see tryRead.
func (c *conn) acceptAll() bool {
	if c.busy {
		return false
	}
	for c.buf != nil {
		q, verdict := c.parse()
		if verdict != whole {
			return false
		}
		c.accept(q)
	}
	return true
}

// holds reports whether a request waits for its answer.
func (c *conn) holds() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first != nil
}

// next returns the next request, or what is to be done for want of one.
func (c *conn) next() (q *Request, end func(*conn)) {
	for {
		q, verdict := c.parse()
		ok := false
		switch verdict {
		case whole:
			return q, nil
		case early:
			ok = c.wait(maxCount)
		case foreign:
			return nil, c.back()
		case partial:
			if len(c.buf) == cap(c.buf) && c.used == 0 && !c.share.Reach(2*cap(c.buf)) {
				return nil, c.back() // net/http will find no room either, and tell the client
			}
			ok = c.fill()
			switch {
			case ok:
			case c.renewed():
				return nil, (*conn).renew
			case c.cut():
				return nil, (*conn).giveBack
			}
		}
		if !ok {
			return nil, (*conn).leave
		}
	}
}

// back returns how to give the connection back, if that can be done.
func (c *conn) back() func(*conn) {
	if c.wait(1) {
		return (*conn).giveBack
	}
	return (*conn).leave
}

// cut reports whether the client has ended what it sends in the middle of a
// request, and waits for nothing else. net/http has an answer to some of that.
func (c *conn) cut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skip {
		c.used += emptyLines(c.buf[c.used:])
	}
	return c.err == io.EOF && len(c.buf) > c.used && c.count == 0 && !c.gone && !c.shut
}

// A verdict is what the bytes are that have been read.
type verdict uint8

const (
	partial verdict = iota
	whole
	early   // there are as many before it as may be, or it is too late
	foreign // not ours, or not understood
)

// consumed takes note that a request has been served.
func (c *conn) consumed() {
	c.skip = true
	c.release()
}

// release gives up a buffer that has nothing in it.
func (c *conn) release() {
	if c.used == len(c.buf) {
		putBuffer(c.buf)
		c.buf, c.used = nil, 0
		c.share.Give()
	}
}

// parse looks at what has been read.
func (c *conn) parse() (*Request, verdict) {
	b := c.buf[c.used:]
	if c.skip {
		if len(b) < 4 { // net/http wants to see so many
			return nil, partial
		}
		c.used += emptyLines(b[:4])
		b, c.skip = c.buf[c.used:], false
	}
	h := c.head
	var size, length int
	ok := false
	if h != nil {
		size, length, ok = h.match(b)
	}
	if !ok {
		end := bytes.Index(b, emptyLine) + len(emptyLine)
		switch {
		case end < len(emptyLine) && (len(b) > c.route.server.maxHead || c.hopeless(b)), end > c.route.server.maxHead:
			return nil, foreign
		case end < len(emptyLine):
			return nil, partial
		}
		if h = c.e.heads.get(b[:end]); h == nil || h.uri != c.route.uri || h.host != c.route.host {
			return nil, foreign
		}
		size, length, _ = h.match(b)
		c.head = h
	}
	if int64(length) > c.e.MaxBody {
		return nil, foreign
	}
	if len(b) < size+length {
		return nil, partial
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= maxCount || c.gone || c.ending.Load() {
		return nil, early
	}
	if c.served++; c.rested {
		c.rested = false
		c.e.unrest()
	}
	q := newRequest(c)
	q.head, q.Body = h, b[size:size+length]
	c.push(q)
	c.used += size + length
	return q, whole
}

var emptyLine = []byte("\r\n\r\n")

// hopeless reports whether b, which has no end of a head, cannot become one that
// is served here. Nobody should have to wait for an end when net/http has seen
// enough.
func (c *conn) hopeless(b []byte) bool {
	want := "POST " + c.route.uri + " HTTP/1.1\r\n"
	if n := min(len(b), len(want)); string(b[:n]) != want[:n] {
		return true
	}
	for b = b[min(len(b), len(want)):]; ; {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return false
		}
		line, ok = bytes.CutSuffix(line, []byte("\r"))
		if _, _, isField := cutField(string(line)); !ok || !isField {
			return true
		}
		b = rest
	}
}

// push puts q behind the others.
func (c *conn) push(q *Request) {
	if c.last == nil {
		c.first = q
	} else {
		c.last.next = q
	}
	c.last = q
	c.count++
}

// emptyLines returns how many bytes of line ends b begins with. net/http
// overlooks four bytes of them behind a POST, for the sake of old clients.
func emptyLines(b []byte) (n int) {
	for n < len(b) && (b[n] == '\r' || b[n] == '\n') {
		n++
	}
	return n
}

// settle takes note of what has become of q, and writes what can be written now.
// It is called with the lock, which it releases.
func (c *conn) settle(q *Request, s status) {
	q.status = s
	if c.first.status != waiting && !c.writing {
		c.writing = true
		c.flush()
		return
	}
	behind := false
	for p := c.first; p != q; p = p.next {
		behind = behind || p.status == waiting
	}
	q.finished = behind
	c.mu.Unlock()
	if behind {
		c.over(q)
	}
}

// over calls Done.
func (c *conn) over(q *Request) {
	if !c.e.guard(c.e.Done, q) {
		c.fail()
	}
}

// flush writes what can be written now: by the caller as long as that does not
// block, or else by a goroutine of its own. It is called with the lock, which it
// releases, by whoever has set writing.
func (c *conn) flush() {
	for c.first != nil && c.first.status != waiting {
		q, gone := c.first, c.gone
		c.mu.Unlock()
		switch {
		case gone:
		case q.status == aborted:
			c.fail()
		case !c.write(q.out):
			go func() {
				c.finishWrite()
				c.mu.Lock()
				c.pop()
				c.flush()
			}()
			return
		}
		c.mu.Lock()
		c.pop()
	}
	c.writing = false
	end := c.first == nil && c.ending.Load()
	c.wakeReader()
	c.mu.Unlock()
	if end {
		c.closeWrite()
	}
}

// pop removes the oldest request, which has been answered. It is called with the
// lock, and releases it meanwhile.
func (c *conn) pop() {
	q := c.first
	if c.first = q.next; c.first == nil {
		c.last = nil
	}
	c.count--
	if c.route.server.idle > 0 {
		c.since = time.Now()
	}
	shared := c.gone || q.finished // leave or settle may have it
	c.mu.Unlock()
	putBuffer(q.out)
	if !q.finished {
		c.over(q)
	}
	if !shared {
		q.free()
	}
	c.mu.Lock()
}

// wakeReader wakes the reader if it waits for room. It is called with the lock.
func (c *conn) wakeReader() {
	if c.room == 0 || c.count >= c.room {
		return
	}
	c.room = 0
	c.setLimit(past)
	c.signal()
}

// signal has the reader look again if it waits without reading. It is called
// with the lock.
func (c *conn) signal() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

var past = time.Unix(1, 0)

// wait waits until there are less than n requests. Meanwhile it reads on, so that
// it is noticed when the client leaves. It reports whether the connection goes
// on.
func (c *conn) wait(n int) bool {
	c.busy = true
	defer func() { c.busy = false }()
	for {
		c.mu.Lock()
		if c.gone {
			c.mu.Unlock()
			return false
		}
		ending := c.ending.Load()
		if ending {
			n = 1
		}
		if c.count < n {
			if c.freed != nil {
				c.room, c.freed = 0, nil
				c.setLimit(time.Time{})
			}
			c.mu.Unlock()
			if ending {
				c.drain()
			}
			return !ending
		}
		if c.freed == nil {
			c.freed, c.limited = make(chan struct{}, 1), false
		}
		if c.room == 0 { // the limit may be in the past
			c.setLimit(time.Time{})
		}
		c.room = n
		freed := c.freed
		c.mu.Unlock()
		if len(c.buf)-c.used >= maxAhead {
			<-freed
			continue
		}
		if err := c.read(); err != nil && !isTimeout(err) {
			return false
		}
	}
}

// limit sets the time when reading must end.
func (c *conn) limit(t time.Time) {
	c.mu.Lock()
	c.setLimit(t)
	c.mu.Unlock()
}

// setLimit is limit, called with the lock. The limits of closeWrite and fail stay.
func (c *conn) setLimit(t time.Time) {
	if !c.shut && !c.gone {
		c.rwc.SetReadDeadline(t)
	}
}

// fill reads more of a request, or waits for one.
func (c *conn) fill() bool {
	if len(c.buf) > c.used {
		if !c.limited && c.e.ReadTimeout > 0 {
			c.limited, c.until = true, time.Now().Add(c.e.ReadTimeout)
			c.limit(c.until)
		}
		return c.read() == nil
	}
	c.release()
	idle := c.route.server.idle
	if idle <= 0 {
		return c.read() == nil
	}
	c.limit(time.Now().Add(idle))
	err := c.read()
	if err == nil {
		c.limit(time.Time{})
		return true
	}
	if !isTimeout(err) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.shut && !c.kicked && (c.first != nil || time.Since(c.since) < idle)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// fail ends the connection: nothing more can be read or written. The reader closes
// it, since it may be the caller, and in the middle of reading, for which Close
// would wait.
func (c *conn) fail() {
	c.mu.Lock()
	c.gone = true
	c.rwc.SetDeadline(past)
	c.signal()
	c.mu.Unlock()
}

// leave is called when the connection has ended.
func (c *conn) leave() {
	c.fail()
	c.rwc.Close()
	c.e.remove(c)
	putBuffer(c.buf)
	c.buf = nil
	c.share.Give()
	c.mu.Lock()
	var left []*Request
	for q := c.first; q != nil; q = q.next {
		if q.status == waiting {
			left = append(left, q)
		}
	}
	c.mu.Unlock()
	for _, q := range left {
		c.e.guard(c.e.Gone, q)
	}
}

// end closes the connection as soon as all has been answered.
func (c *conn) end() {
	c.mu.Lock()
	c.ending.Store(true)
	idle := c.first == nil
	c.mu.Unlock()
	if idle {
		c.closeWrite()
	}
}

// linger is how long a client may take to read the last answer: to close a
// connection on which something unread has come destroys what is on its way.
const linger = 500 * time.Millisecond

// closeWrite tells the client that nothing more will come. The reader closes the
// connection when the client does, or soon.
func (c *conn) closeWrite() {
	c.mu.Lock()
	if c.shut || c.gone {
		c.mu.Unlock()
		return
	}
	c.setLimit(time.Now().Add(linger))
	c.shut = true
	c.mu.Unlock()
	cw, ok := c.rwc.(interface{ CloseWrite() error })
	switch {
	case !ok:
		c.fail()
	case c.raw != nil:
		if cw.CloseWrite() != nil {
			c.fail()
		}
	default: // TLS has something to write, and may have to wait
		go func() {
			if cw.CloseWrite() != nil {
				c.fail()
			}
		}()
	}
}

// drain waits until the client has closed the connection.
func (c *conn) drain() {
	c.busy = true
	c.closeWrite()
	for c.buf, c.used = c.buf[:0], 0; c.read() == nil; {
		c.buf = c.buf[:0]
	}
}

// giveBack gives the connection back to the server.
func (c *conn) giveBack() {
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		c.leave()
		return
	}
	c.shut = true // for us; nobody may set a limit any more
	c.rwc.SetReadDeadline(time.Time{})
	c.mu.Unlock()
	c.e.remove(c)
	unread := append([]byte(nil), c.buf[c.used:]...)
	putBuffer(c.buf)
	c.buf = nil
	c.share.Give()
	c.route.server.serve(&returned{
		Conn: c.rwc, unread: unread, tls: c.tls,
		kept: bytes.HasPrefix(unread, []byte("POST "+c.route.uri+" ")),
	})
}

// context returns what the requests of the connection have for a context: what
// the server's ConnContext gives it, and nothing of the request it was taken over
// with, which may have been somebody else's.
func (c *conn) context() context.Context {
	c.values.Do(func() {
		srv := c.route.server.srv
		ctx := context.WithValue(c.route.server.base, http.ServerContextKey, srv)
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, c.rwc.LocalAddr())
		if srv.ConnContext != nil {
			ctx = srv.ConnContext(ctx, c.rwc)
		}
		c.ctx = ctx
	})
	return c.ctx
}
