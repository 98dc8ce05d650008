package direct

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gobosh/bosh/internal/httpio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rest waits until all connections have come to rest, and does not wait for the
// sweep.
func (s *site) rest() {
	s.t.Helper()
	s.until("rest", func() bool {
		at := true
		s.e.each(func(c *conn) {
			c.look()
			c.mu.Lock()
			at = at && c.activity == rested && (c.reader == none || !watches || s.TLS != nil)
			c.mu.Unlock()
		})
		return at
	})
}

// held returns a visitor whose request is held, on a connection at rest.
func (s *site) held(body string) *visitor {
	v := s.visitor()
	v.says(post(body))
	s.has(body)
	s.rest()
	return v
}

// idle returns a visitor with no request, on a connection at rest.
func (s *site) idle() *visitor {
	v := s.visitor()
	v.says(post("echo hello"))
	v.hears("hello")
	s.rest()
	return v
}

func TestRest(t *testing.T) {
	onSockets(t, "no goroutine", func(t *testing.T, s *site) {
		const n = 20
		before := settled()
		var vs [n]*visitor
		for i := range vs {
			vs[i] = s.visitor()
			vs[i].says(post(fmt.Sprint(i)))
			s.has(fmt.Sprint(i))
		}
		at := before + n
		if watches && s.TLS == nil {
			at = before + 1
		}
		for round := range 3 {
			s.rest()
			assert.Equal(t, at, settled())
			for i, v := range vs {
				s.answers(fmt.Sprint(i), "pushed")
				v.hears("pushed")
			}
			assert.Equal(t, at, settled(), "nobody was needed to write")
			for i, v := range vs {
				v.says(post(fmt.Sprintf("echo %d", round)) + post(fmt.Sprint(i)))
				v.hears(fmt.Sprint(round))
				s.has(fmt.Sprint(i))
			}
		}
		s.rest()
		for _, v := range vs {
			v.Close()
		}
		s.until("the end", func() bool { return s.e.Conns() == 0 })
		assert.Equal(t, before, settled())
	})

	onSockets(t, "by itself", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("a"))
		s.has("a")
		c := s.theConn()
		s.until("rest", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.activity == rested
		})
		s.answers("a", "1")
		v.hears("1")
	})

	onSockets(t, "a request behind a held one", func(t *testing.T, s *site) {
		v := s.held("a")
		v.says(post("b") + post("c"))
		s.answers("c", "3")
		s.answers("b", "2")
		s.rest()
		s.answers("a", "1")
		v.hears("1")
		v.hears("2")
		v.hears("3")
	})

	onSockets(t, "more behind it than may be", func(t *testing.T, s *site) {
		v := s.held("0")
		for i := range 2 * maxCount {
			v.says(post(fmt.Sprint(i + 1)))
		}
		for i := range 2*maxCount + 1 {
			s.answers(fmt.Sprint(i), fmt.Sprint(i))
			v.hears(fmt.Sprint(i))
		}
	})

	onSockets(t, "half a request", func(t *testing.T, s *site) {
		v := s.held("a")
		text := post("echo hello")
		v.says(text[:30])
		c := s.theConn()
		s.until("a limit", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return !c.until.IsZero()
		})
		for range 10 {
			c.look()
		}
		v.says(text[30:])
		s.answers("a", "1")
		v.hears("1")
		v.hears("hello")
	}, func(s *site) { s.e.Reading = httpio.NewLimit(20*time.Second, 0) })

	onSockets(t, "half a request, and no more", func(t *testing.T, s *site) {
		v := s.held("a")
		v.says(post("b")[:30])
		s.until("the end", func() bool {
			s.e.each(func(c *conn) { c.look() })
			return s.e.Conns() == 0
		})
		s.lost("a")
		v.ends()
	}, func(s *site) { s.e.Reading = httpio.NewLimit(50*time.Millisecond, 0) })

	onSockets(t, "an answer that blocks", func(t *testing.T, s *site) {
		v := s.held("a")
		s.answers("a", large)
		v.hears(large)
		s.rest()
		v.says(post("echo hello"))
		v.hears("hello")
	})

	onSockets(t, "what is not ours", func(t *testing.T, s *site) {
		v := s.held("a")
		v.says("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nput")
		s.answers("a", "1")
		v.hears("1")
		v.hears(`net/http has "put"`)
		v.says(post("echo hello"))
		v.hears("hello")
		s.rest()
		v.says(post("echo hello"))
		v.hears("hello")
	})

	onSockets(t, "a client that vanishes", func(t *testing.T, s *site) {
		v := s.held("a")
		require.NoError(t, v.tcp.Close())
		s.lost("a")
	})

	onSockets(t, "a client that resets the connection", func(t *testing.T, s *site) {
		v := s.held("a")
		require.NoError(t, v.tcp.SetLinger(0))
		require.NoError(t, v.tcp.Close())
		s.lost("a")
	})

	onSockets(t, "a client that ends what it sends", func(t *testing.T, s *site) {
		v := s.held("a")
		require.NoError(t, v.tcp.CloseWrite())
		s.lost("a")
	})

	onSockets(t, "a client that vanished before", func(t *testing.T, s *site) {
		v := s.idle()
		require.NoError(t, v.tcp.Close())
		s.until("the end", func() bool { return s.e.Conns() == 0 })
	})

	onSockets(t, "one that is idle for too long", func(t *testing.T, s *site) {
		v := s.held("a")
		time.Sleep(150 * time.Millisecond)
		s.answers("a", "1")
		began := time.Now()
		v.hears("1")
		v.ends()
		assert.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
	}, func(s *site) { s.Config.IdleTimeout = 100 * time.Millisecond })

	onSockets(t, "the end of the Engine", func(t *testing.T, s *site) {
		idle := s.idle()
		held := s.held("a")
		s.e.Close()
		idle.ends()
		s.answers("a", "1")
		held.hears("1")
		held.ends()
	})

	onSockets(t, "the end of the Server", func(t *testing.T, s *site) {
		idle := s.idle()
		held := s.held("a")
		require.NoError(t, s.Config.Shutdown(t.Context()))
		idle.ends()
		s.answers("a", "1")
		held.hears("1")
		held.ends()
	})

	onSockets(t, "a failure", func(t *testing.T, s *site) {
		v := s.held("a")
		s.answers("a", "1")
		v.hears("1")
		v.ends()
	}, func(s *site) { s.e.Done = func(*Request) { panic("oops") } })

	onSockets(t, "an abort", func(t *testing.T, s *site) {
		v := s.held("a")
		s.has("a").Abort()
		v.ends()
	})

	onSockets(t, "somebody else closes it", func(t *testing.T, s *site) {
		v := s.held("a")
		require.NoError(t, s.theConn().rwc.Close())
		other := s.visitor() // whose file descriptor may be the same
		other.says(post("b"))
		s.has("b")
		s.rest()
		s.lost("a")
		v.ends()
		s.answers("b", "2")
		other.hears("2")
		other.says(post("echo hello"))
		other.hears("hello")
	})
}

// Connections that come to rest all the time, while there is much to do.
func TestRestless(t *testing.T) {
	onSockets(t, "many", func(t *testing.T, s *site) {
		const n, rounds = 10, 200
		over := make(chan struct{})
		var sweeper, all sync.WaitGroup
		sweeper.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					s.e.each(func(c *conn) { c.look() })
					time.Sleep(20 * time.Microsecond)
				}
			}
		})
		for i := range n {
			v := s.visitor()
			all.Go(func() {
				for k := range rounds {
					body := fmt.Sprintf("%d-%d", i, k)
					io.WriteString(v.Conn, post(body))
					io.WriteString(v.Conn, post("echo "+body))
					var pusher sync.WaitGroup
					pusher.Go(func() { s.answers(body, "pushed") })
					v.hears("pushed")
					v.hears(body)
					pusher.Wait()
				}
			})
		}
		all.Wait()
		close(over)
		sweeper.Wait()
	})
}

func TestRestUnix(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	require.NoError(t, err)
	s := newSite(t, false, func(s *site) {
		s.Listener.Close()
		s.Listener = l
	})
	v := s.held("a")
	s.answers("a", "1")
	v.hears("1")
	v.says(post("echo hello"))
	v.hears("hello")
	s.rest()
	v.Close()
	s.until("the end", func() bool { return s.e.Conns() == 0 })
}

// A request that is held does not keep what was sent.
func TestHeldBody(t *testing.T) {
	const n, size = 10, 1 << 19
	held := make(chan *Request, n)
	s := newSite(t, false, func(s *site) {
		serve := s.e.Serve
		s.e.Serve = func(q *Request, body []byte) {
			if len(body) < size {
				serve(q, body)
				return
			}
			q.Context = "large"
			held <- q
		}
	})
	v := s.visitor()
	v.says(post("echo hello"))
	v.hears("hello")
	before := heap()
	text := post(large[:size])
	for range n {
		v.says(text)
	}
	s.until("the requests", func() bool { return len(held) == n })
	s.rest()
	assert.Less(t, heap()-before, int64(n*size/2))
	for range n {
		(<-held).Answer(httpio.RawAnswer{Body: []byte("hello")})
		v.hears("hello")
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A connection that has been idle for too long is closed, also if it came to rest
// before.
func TestIdleBeforeRest(t *testing.T) {
	s := newSite(t, false, func(s *site) { s.Config.IdleTimeout = 3 * time.Second })
	v := s.visitor()
	v.says(post("echo hello"))
	v.hears("hello")
	v.SetDeadline(time.Now().Add(10 * time.Second))
	v.ends()
}
