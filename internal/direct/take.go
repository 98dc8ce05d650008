package direct

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/gobosh/bosh/internal/httpbody"
)

// Take takes over the connection of r, whose body has been read, and returns r as
// a Request. It returns nil if that cannot be done, or if the client would see
// it. The caller calls Begin before it returns from ServeHTTP.
func (e *Engine) Take(w http.ResponseWriter, r *http.Request) *Request {
	srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || !usual(r) {
		return nil
	}
	if back, ok := r.Context().Value(returnedKey{}).(*returned); ok && back.kept {
		return nil
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if len(w.Header()["Connection"]) > 0 {
		return nil // the connection is to be closed
	}
	s := e.server(srv, local)
	if s == nil {
		return nil
	}
	rwc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	c := &conn{e: e, tls: r.TLS, share: httpbody.Share{Budget: e.Budget}, route: s.route(r), skip: true, buf: ahead(rw.Reader), away: true}
	if back, ok := rwc.(*returned); ok {
		if len(back.unread) > 0 {
			c.buf = append(c.buf, back.unread...)
		}
		rwc = back.Conn
	}
	c.rwc = rwc
	c.initRaw()
	q := newRequest(c)
	q.first = r.WithContext(context.WithoutCancel(r.Context()))
	q.first.Body = http.NoBody
	q.extra = w.Header()
	c.push(q)
	if !e.add(c) {
		c.ending.Store(true)
	}
	return q
}

// Begin has the request served, by serve, and then those that follow it on its
// connection.
func (q *Request) Begin(serve func(*Request)) {
	c := q.c
	if !c.e.guard(serve, q) {
		c.fail()
	}
	go c.serve()
}

// usual reports whether r has nothing that changes how it is read or answered.
func usual(r *http.Request) bool {
	for _, name := range [...]string{"Expect", "Upgrade", "Trailer"} {
		if len(r.Header[name]) > 0 {
			return false
		}
	}
	for _, v := range r.Header["Connection"] {
		if !strings.EqualFold(v, "keep-alive") {
			return false
		}
	}
	if _, limited := r.Context().Deadline(); limited { // somebody in front of the handler wants to limit the wait
		return false
	}
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 && !r.Close && r.ContentLength >= 0 && r.Method == http.MethodPost
}

// ahead returns what r has read beyond what was asked for.
func ahead(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	if len(b) == 0 {
		return nil
	}
	return append(getBuffer(), b...)
}
