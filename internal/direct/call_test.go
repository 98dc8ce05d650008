package direct

import (
	"fmt"
	"github.com/gobosh/bosh/internal/httpio"
	"net"
	"strings"
	"testing"
	"time"
)

// A reader that was called before it has to wait for room does not wait for a
// second call.
func TestCalledBeforeWaiting(t *testing.T) {
	s := newSite(t, false)
	v := s.visitor()
	v.says(post("first"))
	s.has("first")
	c := s.theConn()
	c.rwc.(*net.TCPConn).SetReadBuffer(4 << 20) // so that one read gets more than maxAhead
	s.answers("first", "1")
	v.hears("1")

	// While the reader sleeps there come a request with a body so large that
	// what follows is in the same buffer, as many requests as may be held, and
	// more than may be read ahead.
	big := "big" + strings.Repeat("x", 150<<10)
	var all strings.Builder
	all.WriteString(post(big))
	const n = maxCount + 100
	for i := range n {
		body := fmt.Sprintf("%04d", i)
		if i >= maxCount {
			body += strings.Repeat("y", 3000)
		}
		all.WriteString(post(body))
	}
	serve := s.e.Serve
	s.e.Serve = func(q *Request, body []byte) {
		switch {
		case len(body) == len(big):
			q.Context = "big"
			q.Answer(httpio.RawAnswer{Body: []byte(large)})
		case string(body) == "sleep":
			serve(q, body)
			s.answers("sleep", "2")
			time.Sleep(300 * time.Millisecond)
		default:
			serve(q, body[:4])
		}
	}
	v.says(post("sleep"))
	v.hears("2")
	go v.Conn.Write([]byte(all.String()))
	s.until("a blocked write", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.writer == somebody && c.reader == away
	})
	time.Sleep(300 * time.Millisecond) // until all has come
	c.look()
	c.look()
	v.hears(large)
	for i := range n {
		s.answers(fmt.Sprintf("%04d", i), "3")
		v.hears("3")
	}
	v.Close()
	s.until("the end", func() bool { return s.e.Conns() == 0 })
}
