package direct

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A server is an http.Server: connections are taken from it, and given back.
type server struct {
	srv  *http.Server
	e    *Engine
	back *http.Server // serves what is given back, by the same handler
	base context.Context
	idle time.Duration // how long a connection may be idle; no limit if not positive

	maxHead int // limits the size of a head that is read directly

	noKeepAlives *atomic.Bool // of srv: see switchOf

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
		made = e.newServer(srv, local)
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
	if e.closed || s.down || s.noKeepAlives.Load() {
		return nil
	}
	return s
}

// shutdown is called when the http.Server shuts down. It does not know of the connections
// taken from it.
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

// newServer returns the server for srv. A Server knows a connection by its type.
// Connections go back to a twin of it, and the twin tells the handler all that the Server
// would have told. Its hooks are called anew, and may not like it.
func (e *Engine) newServer(srv *http.Server, local net.Addr) *server {
	s := &server{srv: srv, e: e, base: context.Background(), idle: srv.IdleTimeout, maxHead: maxHead, noKeepAlives: switchOf(srv)}
	s.down = !s.baseContext(&single{addr: local})
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
		ConnContext:                  s.backContext,
	}
	if srv.ConnState != nil {
		s.back.ConnState = func(c net.Conn, state http.ConnState) {
			defer e.caught("ConnState")
			srv.ConnState(c.(*returned).Conn, state)
		}
	}
	return s
}

// baseContext asks for the context of all connections. It reports whether there is one:
// BaseContext may not like the listener, and then no connection is taken over.
func (s *server) baseContext(l net.Listener) (ok bool) {
	if s.srv.BaseContext == nil {
		return true
	}
	defer s.e.caught("BaseContext")
	s.base = s.srv.BaseContext(l)
	return s.base != nil
}

// connContext asks for the context of a connection.
func (s *server) connContext(ctx context.Context, c net.Conn) context.Context {
	if s.srv.ConnContext == nil {
		return ctx
	}
	if ctx = s.srv.ConnContext(ctx, c); ctx == nil {
		panic("ConnContext returned nil")
	}
	return ctx
}

type returnedKey struct{}

// backContext is connContext for a connection given back. After a panic the connection is
// closed without service.
func (s *server) backContext(ctx context.Context, c net.Conn) context.Context {
	back, known := c.(*returned), false
	ctx = context.WithValue(ctx, http.ServerContextKey, s.srv)
	func() {
		defer s.e.caught("ConnContext")
		ctx = s.connContext(ctx, back.Conn)
		known = true
	}()
	if !known {
		back.unread = nil
		back.Conn.Close()
	}
	return context.WithValue(ctx, returnedKey{}, back)
}

func (s *server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	r.TLS = r.Context().Value(returnedKey{}).(*returned).tls
	if s.noKeepAlives.Load() {
		w.Header().Set("Connection", "close")
	}
	h := s.srv.Handler
	if h == nil {
		h = http.DefaultServeMux
	}
	h.ServeHTTP(w, r)
}

// serve serves a connection given back.
func (s *server) serve(c *returned) {
	if s.back.Serve(&single{conn: c, addr: c.LocalAddr()}) == http.ErrServerClosed {
		c.Close()
	}
}

// maxRoutes is how many routes are shared.
const maxRoutes = 64

// route returns the route of r.
func (s *server) route(r *http.Request) *route {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	key := r.Host + " " + path
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

// A returned is a connection given back. The bytes read before come first.
type returned struct {
	net.Conn
	unread []byte
	tls    *tls.ConnectionState
	kept   bool     // it is not to be taken over again
	routes []*route // that it has been taken over with
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

// CloseWrite closes the side of writing, if the connection can.
func (c *returned) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return http.ErrNotSupported
}

// ReadFrom writes the bytes of r, as fast as the connection can.
func (c *returned) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// NetConn returns the wrapped connection.
func (c *returned) NetConn() net.Conn { return c.Conn }
