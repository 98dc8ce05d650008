package direct

import (
	"net/http"
	"reflect"
	"sync/atomic"
)

// switchOf returns the switch set by [http.Server.SetKeepAlivesEnabled]: if it is true,
// connections are to be closed after their next answer. net/http has no other way to ask,
// and does not tell the takers of connections. In a release without this field the switch
// is never set; a test would show it.
func switchOf(srv *http.Server) *atomic.Bool {
	f := reflect.ValueOf(srv).Elem().FieldByName("disableKeepAlives")
	if !f.IsValid() || f.Type() != reflect.TypeFor[atomic.Bool]() {
		return new(atomic.Bool)
	}
	return (*atomic.Bool)(f.Addr().UnsafePointer())
}

// heed closes the connection after the answer in progress if the server keeps none alive.
func (c *conn) heed() {
	if !c.route.server.noKeepAlives.Load() {
		return
	}
	c.mu.Lock()
	c.ending.Store(true)
	c.mu.Unlock()
}

// heed ends the idle connections of servers without keep-alive. Others end with their
// answers.
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
