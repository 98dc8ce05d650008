package demo

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/reqinfo"
)

// IdleTimeout is how long the programs keep a connection without a request, unless they
// are told. Load balancers keep theirs for 10 minutes. The server must not close first,
// or a request may be on its way.
const IdleTimeout = 11 * time.Minute

// CheckPaths serves by mux, in which BOSH is at path. It logs a request for BOSH at another
// path: a front has changed the path, or has not. A page of another origin asks for leave
// first, and sends no request if it gets none.
func CheckPaths(mux *http.ServeMux, path string, log *slog.Logger) http.Handler {
	began, said := time.Now(), new(logs.Limiter)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") == http.MethodPost
		if (r.Method == http.MethodPost || asks) && r.URL.Path != path {
			if _, pattern := mux.Handler(r); pattern == "" || pattern == "/" {
				if more, ok := said.Take(time.Since(began)); ok {
					log.Warn("a request for a path that is not BOSH's: have the client, or the proxy in front, ask for the path that BOSH is at, or move BOSH to this one",
						"method", r.Method, "path", logs.Text(r.URL.Path), "BOSH is at", path, "status", http.StatusNotFound, "remote", logs.Text(r.RemoteAddr), "unlogged", more)
				}
				http.NotFound(w, r)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// WatchIdle has srv log, once, when it closes an idle connection of a front. The front may
// have sent a request at the same moment, and answers 502 then. It is called before srv
// serves.
func WatchIdle(srv *http.Server, log *slog.Logger) {
	w := &idleWatch{log: log, limit: srv.IdleTimeout}
	next, state, conn := srv.Handler, srv.ConnState, srv.ConnContext
	srv.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(watchKey{}).(*fronted); ok && !c.front.Load() && reqinfo.Forwarded(r.Header) {
			c.front.Store(true)
		}
		next.ServeHTTP(rw, r)
	})
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if conn != nil {
			ctx = conn(ctx, c)
		}
		mine := new(fronted)
		w.connections.Store(c, mine)
		return context.WithValue(ctx, watchKey{}, mine)
	}
	srv.ConnState = func(c net.Conn, s http.ConnState) {
		w.changed(c, s)
		if state != nil {
			state(c, s)
		}
	}
}

type watchKey struct{}

type idleWatch struct {
	log         *slog.Logger
	limit       time.Duration
	connections sync.Map // net.Conn to *fronted
	once        sync.Once
}

type fronted struct {
	front atomic.Bool
	since atomic.Pointer[time.Time] // it is idle; nil if it is not
}

func (w *idleWatch) changed(nc net.Conn, s http.ConnState) {
	v, ok := w.connections.Load(nc)
	if !ok {
		return
	}
	c := v.(*fronted)
	switch s {
	case http.StateIdle:
		now := time.Now()
		c.since.Store(&now)
	case http.StateActive:
		c.since.Store(nil)
	case http.StateHijacked:
		w.connections.Delete(nc)
	case http.StateClosed:
		w.connections.Delete(nc)
		since := c.since.Load()
		if since != nil && c.front.Load() && w.limit > 0 && time.Since(*since) >= w.limit-w.limit/100 {
			w.once.Do(func() { logs.IdleClosed(w.log, w.limit) })
		}
	}
}
