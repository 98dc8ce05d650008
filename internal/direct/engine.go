// Package direct serves HTTP/1.1 requests on connections taken over from an [http.Server].
// It is for a handler with many held requests: net/http keeps some 30 KB for each, and
// serves the requests of a connection one after the other.
//
// It serves one kind of request only: a POST with a Content-Length, to the host and path of
// a first request, and with nothing in its head to change how it is read. For anything
// else, well-formed or not, the connection is given back to the Server with all bytes read,
// and net/http answers.
//
// A connection has one goroutine for reading. While it waits it has no buffer. The maker of
// an answer writes it, in the order of the requests, as long as it does not block. The rest
// is left to that goroutine, without reading meanwhile. Over TLS it writes all.
//
// On Linux, a connection without TLS has no goroutine after some time of waiting. All of
// them share one, waiting by epoll.
package direct

import (
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gobosh/bosh/internal/httpio"
)

// Always tells whether every handler is to use an Engine. It is for tests; see
// enginetest.
var Always = func() bool { return false }

// An Engine has the connections of one handler. Its exported fields must be set
// before its first use.
type Engine struct {
	// Serve is called for each request, with its body, by the connection's reading
	// goroutine, but for the first. It may keep the request, but not the body. For every
	// request exactly one of Answer and Abort must be called, at any time, by anyone. An
	// answer left to the goroutine waits for Serve to return. Serve is called in the middle
	// of reading, and so must not close the connection.
	Serve func(q *Request, body []byte)

	// Gone is called when a client has left before there was an answer.
	// Nobody will read one, but Answer or Abort are still due.
	Gone func(*Request)

	// Done is called once for each request: after its answer has been written, or put
	// behind earlier ones of its connection, or has turned out to be unwanted. After it the
	// request may not be touched.
	Done func(*Request)

	// Flowing is called when a part of a request's body has come, before the connection is
	// waited for, with the values of its Content-Encoding. state is its last result for the
	// connection, or nil. Flowed is called after that, when the request has been served, or
	// is lost. Both may be nil.
	Flowing func(state any, body []byte, encoding []string) any
	Flowed  func(state any)

	MaxBody          int64
	Budget           *httpio.Budget // of requests that are being read
	Reading, Writing *httpio.Limit  // of a request, and of an answer
	Logger           *slog.Logger

	heads    heads
	poller   poller
	sweeping atomic.Bool // sweep is due
	expired  sync.Once   // see conn.expired

	mu      sync.Mutex       // guards the following
	conns   map[uint64]*conn // by their ids
	lastID  uint64
	servers map[*http.Server]*server
	closed  bool
}

// add registers a connection, unless the Engine is closed.
func (e *Engine) add(c *conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || c.route.server.down {
		return false
	}
	if e.conns == nil {
		e.conns = make(map[uint64]*conn)
	}
	e.lastID++
	c.id = e.lastID
	e.conns[c.id] = c
	e.unrest()
	return true
}

func (e *Engine) remove(c *conn) {
	e.mu.Lock()
	delete(e.conns, c.id)
	e.mu.Unlock()
}

// Close takes no further connections. It closes its connections, also those given back, as
// soon as their requests have been answered. It does not wait.
func (e *Engine) Close() {
	var servers []*server
	e.mu.Lock()
	e.closed = true
	for _, s := range e.servers {
		servers = append(servers, s)
	}
	e.mu.Unlock()
	e.each((*conn).end)
	for _, s := range servers {
		s.back.SetKeepAlivesEnabled(false)
	}
}

// each calls f for each connection.
func (e *Engine) each(f func(*conn)) {
	e.mu.Lock()
	cs := slices.Collect(maps.Values(e.conns))
	e.mu.Unlock()
	for _, c := range cs {
		f(c)
	}
}

// wake has a resting connection go on, if there is one with this id.
func (e *Engine) wake(id uint64) {
	e.mu.Lock()
	c := e.conns[id]
	e.mu.Unlock()
	if c != nil {
		c.wake()
	}
}

// guard calls f. It reports whether f returned, rather than panic.
func (e *Engine) guard(f func(*Request), q *Request) (ok bool) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			e.Logger.Error("bosh: panic while serving", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f(q)
	return true
}

// caught is to be deferred where something of the server's is called. It has a panic
// logged.
func (e *Engine) caught(what string) {
	if v := recover(); v != nil {
		e.Logger.Error("bosh: "+what+" panicked", "panic", v, "stack", string(debug.Stack()))
	}
}
