package direct

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/httpbody"
)

// A server is an http.Server that connections are taken from, and given back to.
type server struct {
	srv  *http.Server
	back *http.Server // serves what is given back, by the same handler
	base context.Context
	idle time.Duration // how long a connection may be idle; no limit if not positive

	maxHead int // limits the size of a head that is read directly

	mu     sync.Mutex // guards routes
	routes map[string]*route

	down bool // it shuts down; guarded by the Engine's lock
}

// server returns the server for srv, or nil if it or the Engine does not go on.
func (e *Engine) server(srv *http.Server, local net.Addr) *server {
	e.mu.Lock()
	s := e.servers[srv]
	e.mu.Unlock()
	var made *server
	if s == nil {
		made = newServer(srv, local)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s = e.servers[srv]; s == nil {
		s = made
		if e.servers == nil {
			e.servers = make(map[*http.Server]*server)
		}
		e.servers[srv] = s
		srv.RegisterOnShutdown(func() { e.shutdown(s) })
	}
	if e.closed || s.down {
		return nil
	}
	return s
}

// shutdown is called when the http.Server shuts down, which does not know of the
// connections that were taken from it.
func (e *Engine) shutdown(s *server) {
	e.mu.Lock()
	s.down = true
	e.mu.Unlock()
	e.each(func(c *conn) {
		if c.route.server == s {
			c.end()
		}
	})
	s.back.SetKeepAlivesEnabled(false)
}

// newServer returns the server for srv. A Server knows a connection by its type,
// so what it is given back goes by a twin of it that tells the handler what it
// would have told.
func newServer(srv *http.Server, local net.Addr) *server {
	s := &server{srv: srv, base: context.Background(), idle: srv.IdleTimeout, maxHead: maxHead}
	if srv.BaseContext != nil {
		s.base = srv.BaseContext(&single{addr: local})
	}
	if n := srv.MaxHeaderBytes; n > 0 {
		s.maxHead = min(n, maxHead)
	}
	if s.idle == 0 {
		s.idle = srv.ReadTimeout
	}
	s.back = &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		DisableGeneralOptionsHandler: srv.DisableGeneralOptionsHandler,
		ReadTimeout:                  srv.ReadTimeout,
		ReadHeaderTimeout:            srv.ReadHeaderTimeout,
		WriteTimeout:                 srv.WriteTimeout,
		IdleTimeout:                  srv.IdleTimeout,
		MaxHeaderBytes:               srv.MaxHeaderBytes,
		TLSNextProto:                 make(map[string]func(*http.Server, *tls.Conn, http.Handler)),
		ErrorLog:                     srv.ErrorLog,
		BaseContext:                  func(net.Listener) context.Context { return s.base },
		ConnContext:                  s.connContext,
	}
	if srv.ConnState != nil {
		s.back.ConnState = func(c net.Conn, state http.ConnState) { srv.ConnState(c.(*returned).Conn, state) }
	}
	return s
}

type returnedKey struct{}

func (s *server) connContext(ctx context.Context, c net.Conn) context.Context {
	back := c.(*returned)
	ctx = context.WithValue(ctx, http.ServerContextKey, s.srv)
	if s.srv.ConnContext != nil {
		ctx = s.srv.ConnContext(ctx, back.Conn)
	}
	return context.WithValue(ctx, returnedKey{}, back)
}

func (s *server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	r.TLS = r.Context().Value(returnedKey{}).(*returned).tls
	h := s.srv.Handler
	if h == nil {
		h = http.DefaultServeMux
	}
	h.ServeHTTP(w, r)
}

// serve serves a connection that is given back.
func (s *server) serve(c *returned) {
	if s.back.Serve(&single{conn: c, addr: c.LocalAddr()}) == http.ErrServerClosed {
		c.Close()
	}
}

// maxRoutes is how many routes are shared.
const maxRoutes = 64

// route returns the route that r has come.
func (s *server) route(r *http.Request) *route {
	key := r.Host + " " + r.RequestURI
	s.mu.Lock()
	defer s.mu.Unlock()
	if rt := s.routes[key]; rt != nil {
		return rt
	}
	rt := newRoute(s, r)
	if s.routes == nil || len(s.routes) >= maxRoutes {
		s.routes = make(map[string]*route)
	}
	s.routes[strings.Clone(key)] = rt
	return rt
}

// A single is a listener for one connection.
type single struct {
	conn *returned
	addr net.Addr
}

func (l *single) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, io.EOF
	}
	c := l.conn
	l.conn = nil
	return c, nil
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return l.addr }

// A returned is a connection that is given back. What had been read of it comes
// first.
type returned struct {
	net.Conn
	unread []byte
	tls    *tls.ConnectionState
	kept   bool // it is not to be taken over again
}

func (c *returned) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		if c.unread = c.unread[n:]; len(c.unread) == 0 {
			c.unread = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends what is written, if the connection can do that.
func (c *returned) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return http.ErrNotSupported
}

// ReadFrom writes what r has, as fast as the connection can.
func (c *returned) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// NetConn returns the connection that c wraps.
func (c *returned) NetConn() net.Conn { return c.Conn }

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
	c := &conn{e: e, tls: r.TLS, share: httpbody.Share{Budget: e.Budget}, route: s.route(r), skip: true, buf: ahead(rw.Reader)}
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
