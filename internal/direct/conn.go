package direct

import (
	"bytes"
	"context"
	"crypto/tls"
	"iter"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/httpio"
)

// A conn is a connection taken over.
type conn struct {
	e     *Engine
	id    uint64
	rwc   net.Conn
	raw   syscall.RawConn // of rwc, if it can be read and written without waiting; or else nil
	tls   *tls.ConnectionState
	route *route
	more  []*route // others that it has been taken over with

	// The following is for the reading goroutine.

	ctx      context.Context // for context; others may use it when it is there
	skip     int             // bytes of empty lines that may still be overlooked before the next request
	busy     bool            // what is read is to be kept
	held     bool            // a request waited for its answer after the last one had been served
	tells    bool            // the socket tells with what is read whether there is more
	limited  bool            // there is a read deadline for the request that is under way
	usual    int32           // the size of the last request, if a buffer may have it
	begun    int             // where its body begins behind used, if some of that has come
	coming   *arrival        // how it comes; nil until one has come little by little
	one      [1]byte         // to wait for without a buffer
	buf      []byte          // what has been read, and not been served
	used     int             // how much of it has
	share    httpio.Share    // that buf takes
	head     *head           // of the last request, or like it
	text     []byte          // of the head of the request that is being served, if it is but like that
	strange  bool            // a request has come whose route is another one
	readable func(fd uintptr) bool
	err      error // of the last read

	// The following is for the writer, and for the reader if the writer has left it the
	// rest.

	writable func(fd uintptr) bool
	unsent   []byte // what is still to be written
	broken   bool   // that failed

	now atomic.Pointer[Request] // the one that text is of: see Request.read

	ending atomic.Bool // close when all has been answered; set with the lock

	mu    sync.Mutex // guards the following
	first *Request   // the oldest one that is not over
	last  *Request
	count uint8 // of them
	room  uint8 // the reader waits until count is less; 0 if it does not
	freed chan struct{}

	phase    phase
	writer   writer
	reader   reader
	called   bool      // the reader is called: see call
	until    time.Time // its read deadline if it is not
	activity activity
	front    bool      // something is in front, by the header of the first request; it does not change
	since    time.Time // of the last answer, if the server limits idleness
}

// A phase says how far a connection has come.
//
//	open ──► closing ──► shut ──► gone
//	  └───────────┴────────┴────► given
//
// A failure makes it gone at once, unless it is given.
type phase uint8

const (
	open    phase = iota
	closing       // the reader is to tell the client that there is no more
	shut          // it has
	given         // the connection has been given back to the Server
	gone          // nothing can be written any more
)

// A writer says who writes answers.
//
//	nobody ──► somebody ──► theReader
//	   ▲          │ ▲           │
//	   └──────────┘ └───────────┘
type writer uint8

const (
	nobody    writer = iota
	somebody         // whoever has made an answer, or the reader
	theReader        // somebody could not write all without waiting, and has left the rest
)

// A reader says where the goroutine is that reads.
//
//	away ◄──► reads ──► none
//	            ▲         │
//	            └─────────┘
type reader uint8

const (
	reads reader = iota
	away         // it serves or writes; it looks at the writer before it reads
	none         // the poller watches the connection
)

// An activity says whether a connection may do without its goroutine: see Engine.sweep.
//
//	active ──► quiet ──► tired ──► rested
//	   ▲         │         │          │
//	   └─────────┴─────────┴──────────┘  a request
type activity uint8

const (
	quiet  activity = iota // no request has come since the last sweep
	active                 // one has
	tired                  // the reader is to leave
	rested                 // it has left, and nothing has come since
)

// Limits on reading ahead while answers are due.
const (
	maxCount = 32       // requests
	maxAhead = 64 << 10 // bytes
)

// serve serves requests until the connection ends, is given back, or comes to
// rest.
func (c *conn) serve() {
	served := false
	defer func() {
		if served {
			return
		}
		if v := recover(); v != nil {
			c.e.Logger.Error("bosh: a connection panicked", "panic", v, "stack", string(debug.Stack()))
		}
		c.leave() // also if a callback has ended the goroutine: see runtime.Goexit
	}()
	c.finish()
	for {
		q, body, end := c.next()
		if q == nil {
			served = true
			end(c)
			return
		}
		c.accept(q, body)
	}
}

// accept serves a request.
func (c *conn) accept(q *Request, body []byte) {
	if c.limited {
		c.limited = false
		c.limit(time.Time{})
		c.freeWrite()
	}
	if c.text != nil {
		c.now.Store(q)
	}
	if !c.e.guard(func(q *Request) { c.e.Serve(q, body) }, q) {
		c.fail()
	}
	if c.text != nil {
		c.now.Store(nil)
		c.text = nil
	}
	c.flowed()
	c.consumed()
	c.finish()
}

// acceptAll serves the requests read so far. It reports whether nothing else has. It is
// called while the connection is being read, and saves a system call to find out that there
// is no more: see tryRead.
func (c *conn) acceptAll() bool {
	if c.busy {
		return false
	}
	for c.buf != nil {
		q, body, verdict := c.parse()
		if verdict != whole {
			return false
		}
		c.accept(q, body)
	}
	return true
}

// next returns the next request and its body, or the action for want of one.
func (c *conn) next() (*Request, []byte, func(*conn)) {
	for {
		q, body, verdict := c.parse()
		ok := false
		switch verdict {
		case whole:
			return q, body, nil
		case early:
			ok = c.wait(maxCount)
		case foreign:
			return nil, nil, c.back()
		case partial:
			if len(c.buf) == cap(c.buf) && c.used == 0 && !c.share.Reach(2*cap(c.buf)) {
				return nil, nil, c.back() // net/http will find no room either, and tell the client
			}
			switch err := c.fill(); {
			case err == nil:
				ok = true
			case err == errCalled && c.rests():
				return nil, nil, (*conn).rest
			case err == errCalled:
				ok = true
			case c.cut():
				return nil, nil, (*conn).giveBack
			}
		}
		if !ok {
			return nil, nil, (*conn).leave
		}
	}
}

// A verdict is a judgement of the bytes read.
type verdict uint8

const (
	partial verdict = iota
	whole
	early   // there are as many before it as may be, or it is too late
	foreign // not ours, or not understood
)

// consumed takes note of a served request.
func (c *conn) consumed() {
	c.skip = maxSkip
	c.release()
}

// release gives up an empty buffer.
func (c *conn) release() {
	if c.used == len(c.buf) {
		putBuffer(c.buf)
		c.buf, c.used = nil, 0
		c.share.Give()
	}
}

// parse looks at the bytes read. It returns the next request and its body if they are
// whole.
func (c *conn) parse() (*Request, []byte, verdict) {
	b := c.buf[c.used:]
	c.begun = 0
	if c.skip > 0 {
		if b = c.skipEmpty(b); len(b) < c.skip { // net/http looks at no less than maxSkip bytes
			return nil, nil, partial
		}
		c.skip = 0
	}
	r := reading{head: c.head}
	var size int
	ok := false
	if c.head != nil {
		size, r.length, ok = c.head.match(b)
	}
	if !ok {
		end := bytes.Index(b, emptyLine) + len(emptyLine)
		switch {
		case end < len(emptyLine) && (len(b) > c.route.server.maxHead || c.hopeless(b)), end > c.route.server.maxHead:
			return nil, nil, foreign
		case end < len(emptyLine):
			return nil, nil, partial
		}
		size = end
		if r = c.readHead(b[:end]); r.head == nil {
			return nil, nil, foreign
		}
		c.head = r.head
	}
	length := r.length
	if int64(length) > c.e.MaxBody {
		return nil, nil, foreign
	}
	if len(b) < size+length {
		c.begun = size
		return nil, nil, partial
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= maxCount || c.phase == gone || c.ending.Load() {
		return nil, nil, early
	}
	if c.activity >= tired {
		c.e.unrest()
	}
	c.activity, c.reader = active, away
	q := newRequest(c)
	q.head, q.length, q.varied, q.own = r.head, length, r.varied, r.own
	if r.varied {
		c.text = b[:size]
	}
	c.push(q)
	c.used += size + length
	c.usual = int32(min(size+length, buffer.Large-1))
	return q, b[size : size+length], whole
}

// readHead reads the head b, if it is of a request for us.
func (c *conn) readHead(b []byte) (r reading) {
	if c.head != nil {
		if r = c.head.read(b); r.head != nil {
			return r
		}
	}
	if r = c.e.heads.get(b); r.head != nil && c.routeOf(r.head) == nil {
		c.strange = true
		return reading{}
	}
	return r
}

// routeOf returns the route of a request with the head h, or nil if the connection was not
// taken over with it.
func (c *conn) routeOf(h *head) *route {
	for rt := range c.routes() {
		if rt.path == h.path && rt.host == h.host {
			return rt
		}
	}
	return nil
}

// routes yields all routes of the connection.
func (c *conn) routes() iter.Seq[*route] {
	return func(yield func(*route) bool) {
		if yield(c.route) {
			for _, rt := range c.more {
				if !yield(rt) {
					return
				}
			}
		}
	}
}

// maxMore is how many other routes a connection may have.
const maxMore = 8

var emptyLine = []byte("\r\n\r\n")

// hopeless reports whether b, a head without its end, cannot become one for us. Nobody
// should have to wait for an end when net/http has seen enough.
func (c *conn) hopeless(b []byte) bool {
	b, ok := c.target(b)
	if !ok {
		return true
	}
	for {
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

// target cuts off the first line of b, as far as it has come. It reports whether it may
// be one of ours.
func (c *conn) target(b []byte) (rest []byte, ok bool) {
	for rt := range c.routes() {
		want := "POST " + rt.path
		if n := min(len(b), len(want)); string(b[:n]) != want[:n] {
			continue
		} else if n == len(b) {
			return nil, true
		}
		rest = b[len(want):]
		if rest[0] == '?' {
			for len(rest) > 0 && ' ' < rest[0] && rest[0] < 0x7f {
				rest = rest[1:]
			}
		}
		const version = " HTTP/1.1\r\n"
		if n := min(len(rest), len(version)); string(rest[:n]) == version[:n] {
			return rest[n:], true
		}
	}
	return nil, false
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

// maxSkip is how many bytes of empty lines may come behind a request. net/http
// overlooks as many behind a POST, for the sake of old clients.
const maxSkip = 4

// skipEmpty takes empty lines from the beginning of b. A client with nothing but these has
// not begun a request, and has no time limit.
func (c *conn) skipEmpty(b []byte) []byte {
	for len(b) > 0 && c.skip > 0 && (b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
		c.used++
		c.skip--
	}
	return b
}

// context returns the context for the connection's requests: the one of the server's
// ConnContext, without anything of the first request, perhaps somebody else's. It panics if
// ConnContext does.
func (c *conn) context() context.Context {
	if c.ctx == nil {
		s := c.route.server
		ctx := context.WithValue(s.base, http.ServerContextKey, s.srv)
		c.ctx = s.connContext(context.WithValue(ctx, http.LocalAddrContextKey, c.rwc.LocalAddr()), c.rwc)
	}
	return c.ctx
}
