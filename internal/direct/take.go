package direct

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/reqinfo"
)

// Take takes over the connection of r after its body has been read, and returns r as a
// Request. It returns nil if it cannot do so, or if the client would notice. The caller
// calls Begin before it returns from ServeHTTP.
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
	first := r.Clone(context.WithoutCancel(r.Context())) // middleware may go on with r, which is its own
	first.Body = http.NoBody
	c := &conn{
		e: e, tls: r.TLS, share: httpio.Share{Budget: e.Budget}, route: s.route(first),
		skip: maxSkip, buf: ahead(rw), reader: away, front: reqinfo.Forwarded(r.Header),
	}
	if back, ok := rwc.(*returned); ok {
		if len(back.unread) > 0 {
			c.buf = append(c.buf, back.unread...)
		}
		rwc = back.Conn
		for _, rt := range back.routes {
			if rt != c.route {
				c.more = append(c.more, rt)
			}
		}
	}
	c.rwc = rwc
	c.initRaw()
	q := newRequest(c)
	q.first, q.extra = first, extra(w.Header())
	c.push(q)
	if !e.add(c) {
		c.ending.Store(true)
	}
	return q
}

// Begin has the request served by serve, and then its successors on the connection.
func (q *Request) Begin(serve func(*Request)) {
	c := q.c
	served := false
	defer func() { // also if a callback ends this goroutine: see runtime.Goexit
		if !served {
			c.fail()
		}
		go c.serve()
	}()
	served = c.e.guard(serve, q)
}

// usual reports whether r is to be read and answered without special rules.
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

// extra returns a copy of the fields in hd with a meaning for our answer: middleware may go
// on with hd itself, and does not see the answer. Names are in their canonical form.
func extra(hd http.Header) (kept http.Header) {
	for name, values := range hd {
		if name = http.CanonicalHeaderKey(name); ofBody(name) {
			continue
		}
		if kept == nil {
			kept = make(http.Header, len(hd))
		}
		kept[name] = append(kept[name], values...)
	}
	return kept
}

// ofBody reports whether a field describes the body of an answer or its transfer. It is not
// the middleware's matter any more: a compressor, for one, sets its Content-Encoding before
// it calls the handler.
func ofBody(name string) bool {
	switch name {
	case "Accept-Ranges", "Digest", "Etag", "Last-Modified", "Repr-Digest",
		"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return strings.HasPrefix(name, "Content-") && !strings.HasPrefix(name, "Content-Security-Policy") ||
		strings.HasPrefix(name, http.TrailerPrefix)
}

// ahead returns the bytes read beyond the request.
func ahead(rw *bufio.ReadWriter) []byte {
	if rw == nil || rw.Reader == nil {
		return nil // of somebody's own Hijack
	}
	r := rw.Reader
	b, _ := r.Peek(r.Buffered())
	if len(b) == 0 {
		return nil
	}
	return append(getBuffer(), b...)
}
