package direct

import (
	"context"
	"crypto/tls"
	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/reqinfo"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Request is one request on a connection taken over.
type Request struct {
	// Context is the handler's own. It is kept when the Request is used for
	// another one.
	Context any

	c      *conn
	head   *head         // nil for the first one
	varied bool          // it is but like that
	own    *own          // what it has of its own, and lasts
	length int           // of the body, unless it is the first one
	first  *http.Request // what net/http made of that
	extra  http.Header   // what others have put into the answer to it

	// The following is guarded by the connection's lock.

	next     *Request // behind this one on its connection
	out      []byte   // the answer
	status   status
	finished bool // Done has been called
}

// A status is how far a Request has come.
type status uint8

const (
	waiting status = iota
	answered
	aborted
)

var requests = sync.Pool{New: func() any { return new(Request) }}

func newRequest(c *conn) *Request {
	q := requests.Get().(*Request)
	q.c = c
	return q
}

func (q *Request) free() {
	*q = Request{Context: q.Context}
	requests.Put(q)
}

// Connection returns a number for the connection of the request. It is not 0.
func (q *Request) Connection() uint64 { return q.c.id }

// HTTP returns the request. It is the caller's.
func (q *Request) HTTP() *http.Request {
	if q.first != nil {
		return q.first.Clone(q.first.Context())
	}
	c := q.c
	h := q.read()
	s := source{h, c.routeOf(h), c.remote(), c.tls}
	r := s.request(c.context())
	r.ContentLength = int64(q.length)
	r.Header["Content-Length"] = []string{strconv.Itoa(q.length)}
	return r
}

// read returns the head as it came. They are known while the request is being served; after
// that, fields with varying values have none.
func (q *Request) read() *head {
	if !q.varied {
		return q.head
	}
	if q.c.now.Load() == q {
		if h := parseHead(q.c.text); h != nil {
			return h
		}
	}
	h := *q.head
	h.uri, h.header = h.path, make(http.Header, len(h.header))
	for name, values := range q.head.header {
		if kindOf(strings.ToLower(name)) == fixed {
			h.header[name] = values
		} else {
			h.header[name] = q.lasting(name, make([]string, len(values)))
		}
	}
	return &h
}

// lasting returns the values of a field for as long as the request waits, or def.
func (q *Request) lasting(name string, def []string) []string {
	switch {
	case name != "Origin" && name != "Accept-Encoding":
		return def
	case q.own == nil:
	case name == "Origin" && q.own.origin != nil:
		return q.own.origin
	case name == "Accept-Encoding" && q.own.accept != nil:
		return q.own.accept
	}
	return q.head.header[name]
}

// Forwarded reports whether something in front has passed the request on.
func (q *Request) Forwarded() bool {
	if q.first != nil {
		return reqinfo.Forwarded(q.first.Header)
	}
	return reqinfo.Forwarded(q.head.header)
}

// Values returns a context with the values of the request's. It outlives that one.
func (q *Request) Values() context.Context {
	if q.first != nil {
		return q.first.Context()
	}
	ctx := q.c.context()
	if ctx.Done() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	return ctx
}

// Host returns the host of the request.
func (q *Request) Host() string {
	if q.first != nil {
		return q.first.Host
	}
	return q.head.host
}

// Header returns the values of a field, by its canonical name.
func (q *Request) Header(name string) []string {
	if q.first != nil {
		return q.first.Header[name]
	}
	values := q.head.header[name]
	if len(values) == 0 || !q.varied {
		return values
	}
	if kindOf(strings.ToLower(name)) == loose {
		return q.read().header[name]
	}
	return q.lasting(name, values)
}

// Encoding returns the values of Content-Encoding.
func (q *Request) Encoding() []string {
	if q.first != nil {
		return q.first.Header["Content-Encoding"]
	}
	return q.head.encoding
}

// Extra returns the answer fields of others: of middleware around the handler of the
// connection's first request. All others have none. They are the caller's.
func (q *Request) Extra() http.Header { return q.extra }

// TLS returns the state of the connection, or nil.
func (q *Request) TLS() *tls.ConnectionState { return q.c.tls }

// Answer answers the request. It does not block, nor keep a.
func (q *Request) Answer(a httpio.RawAnswer) {
	q.c.heed()
	out := q.render(a)
	q.c.mu.Lock()
	q.out = out
	q.c.settle(q, answered)
}

// Abort closes the connection instead, after the earlier answers.
func (q *Request) Abort() {
	q.c.mu.Lock()
	q.c.settle(q, aborted)
}

// render returns an answer as it is sent.
func (q *Request) render(a httpio.RawAnswer) []byte {
	b := getBuffer()
	if a.Status == 0 || a.Status == http.StatusOK {
		b = append(b, "HTTP/1.1 200 OK\r\n"...)
	} else {
		b = append(b, "HTTP/1.1 "...)
		b = strconv.AppendInt(b, int64(a.Status), 10)
		b = append(append(append(b, ' '), http.StatusText(a.Status)...), "\r\n"...)
	}
	b = append(b, a.Before...)
	if a.Type != "" {
		b = append(append(append(b, "Content-Type: "...), a.Type...), "\r\n"...)
	}
	b = append(b, a.After...)
	b = appendHeader(b, a.Header)
	b = append(append(append(b, "Date: "...), date()...), "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(a.Body)), 10)
	if q.c.ending.Load() { // there may be more behind it, whose answers the client ignores then
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\n\r\n"...)
	return append(growBuffer(b, len(a.Body)), a.Body...)
}

// appendHeader appends the fields of h without those added in any case.
func appendHeader(b []byte, h http.Header) []byte {
	if len(h) == 0 {
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		switch name {
		case "Connection", "Content-Length", "Date", "Transfer-Encoding":
			continue
		}
		for _, v := range h[name] {
			if isToken(name) && isFieldValue(v) {
				b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
			}
		}
	}
	return b
}

// A second is one, and how HTTP writes it.
type second struct {
	began time.Time
	text  string
}

var lastSecond atomic.Pointer[second]

// date returns the time as HTTP writes it.
func date() string {
	// time.Since reads one clock where time.Now reads two. It is negative if
	// the clock has been another one, in a test.
	if s := lastSecond.Load(); s != nil && uint64(time.Since(s.began)) < uint64(time.Second) {
		return s.text
	}
	now := time.Now()
	s := &second{now.Add(-time.Duration(now.Nanosecond())), now.UTC().Format(http.TimeFormat)}
	lastSecond.Store(s)
	return s.text
}

// A route is the common part of a connection's requests. Several connections may share it.
type route struct {
	server  *server
	host    string
	path    string        // the URI to its query
	request *http.Request // without what belongs to a single request
}

// newRoute returns the route of r.
func newRoute(s *server, r *http.Request) *route {
	shared := r.WithContext(context.Background())
	shared.Header, shared.Trailer, shared.TLS, shared.RemoteAddr = nil, nil, nil, ""
	shared.Body, shared.GetBody, shared.Response = nil, nil, nil
	shared.Form, shared.PostForm, shared.MultipartForm = nil, nil, nil
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return &route{server: s, host: r.Host, path: path, request: shared}
}
