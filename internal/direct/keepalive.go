package direct

import (
	"net/http"
	"reflect"
	"sync/atomic"
)

// switchOf returns the switch of srv that [http.Server.SetKeepAlivesEnabled] sets:
// connections are to be closed after their next answer if it is true. net/http has no
// other way to ask, and tells nothing of it to those that take a connection over. If a
// release has no such field the switch is never set, which a test would show.
func switchOf(srv *http.Server) *atomic.Bool {
	f := reflect.ValueOf(srv).Elem().FieldByName("disableKeepAlives")
	if !f.IsValid() || f.Type() != reflect.TypeFor[atomic.Bool]() {
		return new(atomic.Bool)
	}
	return (*atomic.Bool)(f.Addr().UnsafePointer())
}

// heed has the connection closed after the answer that is being made if the server
// keeps none alive.
func (c *conn) heed() {
	if !c.route.server.noKeepAlives.Load() {
		return
	}
	c.mu.Lock()
	c.ending.Store(true)
	c.mu.Unlock()
}

// heed ends the idle connections of servers that keep none alive. Others end with
// their answers.
func (e *Engine) heed() {
	e.mu.Lock()
	off := false
	for _, s := range e.servers {
		off = off || s.noKeepAlives.Load()
	}
	e.mu.Unlock()
	if off {
		e.each(func(c *conn) {
			if c.route.server.noKeepAlives.Load() && c.idles() {
				c.end()
			}
		})
	}
}

// idles reports whether no request waits for its answer.
func (c *conn) idles() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first == nil
}
