package direct

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A lateHijacker calls a function before its connection is taken over.
type lateHijacker struct {
	http.ResponseWriter
	before func()
}

func (w lateHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.before()
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// A connection that is taken over while its server is shut down ends with it.
func TestTakenDuringShutdown(t *testing.T) {
	s := newSite(t, false, func(s *site) {
		h, once := s.Config.Handler, sync.Once{}
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(lateHijacker{w, func() {
				once.Do(func() {
					down := make(chan struct{})
					s.Config.RegisterOnShutdown(func() { close(down) })
					go s.Config.Shutdown(context.Background())
					<-down
					time.Sleep(50 * time.Millisecond) // the Engine is told by another goroutine
				})
			}}, r)
		})
	})
	v := s.visitor()
	v.says(post("a"))
	s.answers("a", "1")
	v.hears("1")
	v.ends()
	s.until("the end", func() bool { return s.e.Conns() == 0 })
}
