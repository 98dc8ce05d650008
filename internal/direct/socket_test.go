package direct

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobosh/bosh/internal/httpio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A site is an Engine behind a server with sockets. The test answers the requests.
type site struct {
	*httptest.Server
	t *testing.T
	e *Engine

	mu   sync.Mutex // guards the following
	qs   map[string]*Request
	gone []string
}

// onSockets runs f with a site over TLS, and with one without.
func onSockets(t *testing.T, name string, f func(t *testing.T, s *site), tune ...func(s *site)) {
	t.Helper()
	for _, network := range []string{"plain", "TLS"} {
		t.Run(name+", "+network, func(t *testing.T) { f(t, newSite(t, network == "TLS", tune...)) })
	}
}

func newSite(t *testing.T, secure bool, tune ...func(s *site)) *site {
	s := &site{t: t, qs: make(map[string]*Request)}
	s.e = &Engine{MaxBody: 1 << 20, Writing: httpio.NewLimit(20*time.Second, 0), Logger: slog.New(slog.DiscardHandler), Done: func(*Request) {}}
	s.e.Serve = func(q *Request, body []byte) { s.serve(q, string(body)) }
	s.e.Gone = func(q *Request) {
		s.mu.Lock()
		s.gone = append(s.gone, q.Context.(string))
		s.mu.Unlock()
		q.Abort()
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if q := s.e.Take(w, r); q != nil {
			q.Begin(func(q *Request) { s.serve(q, string(body)) })
			return
		}
		fmt.Fprintf(w, "net/http has %q", body)
	}))
	for _, f := range tune {
		f(s)
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.Close()
		s.e.Close()
		s.until("the end of all connections", func() bool { return s.e.Conns() == 0 })
	})
	return s
}

func (s *site) serve(q *Request, body string) {
	q.Context = body
	s.mu.Lock()
	s.qs[body] = q
	s.mu.Unlock()
	if text, ok := strings.CutPrefix(body, "echo "); ok {
		s.answers(body, text)
	}
}

// until waits for something.
func (s *site) until(what string, f func() bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			require.Fail(s.t, "in vain", what)
		}
	}
}

// has waits for a request, and returns it.
func (s *site) has(body string) (q *Request) {
	s.t.Helper()
	s.until("request "+body, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		q = s.qs[body]
		return q != nil
	})
	return q
}

func (s *site) answers(body, text string) {
	q := s.has(body)
	s.mu.Lock()
	delete(s.qs, body)
	s.mu.Unlock()
	q.Answer(httpio.RawAnswer{Body: []byte(text)})
}

// lost waits until nobody waits for a request any more.
func (s *site) lost(body string) {
	s.t.Helper()
	s.until("the end of "+body, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.gone) > 0 && s.gone[len(s.gone)-1] == body
	})
}

// A visitor is a client of a site.
type visitor struct {
	net.Conn
	t   *testing.T
	tcp *net.TCPConn
	r   *bufio.Reader
}

func (s *site) visitor() *visitor {
	at := s.Listener.Addr()
	conn, err := net.Dial(at.Network(), at.String())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	v := &visitor{Conn: conn, t: s.t}
	if tcp, ok := conn.(*net.TCPConn); ok {
		v.tcp = tcp
		require.NoError(s.t, tcp.SetReadBuffer(64<<10))
	}
	if s.TLS != nil {
		v.Conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	v.r = bufio.NewReader(v.Conn)
	return v
}

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func (v *visitor) says(text string) {
	v.t.Helper()
	_, err := io.WriteString(v.Conn, text)
	require.NoError(v.t, err)
}

func (v *visitor) hears(want string) {
	v.t.Helper()
	resp, err := http.ReadResponse(v.r, nil)
	require.NoError(v.t, err)
	got, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	assert.Equal(v.t, len(want), len(got))
	assert.True(v.t, want == string(got))
}

func (v *visitor) ends() {
	v.t.Helper()
	_, err := v.r.ReadByte()
	assert.Equal(v.t, io.EOF, err)
}

// A client's end right behind its request is noticed, though both come by one read.
func TestEndBehindRequest(t *testing.T) {
	free := make(chan bool)
	onSockets(t, "held", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("echo 1"))
		v.hears("1")
		v.says(post("busy"))
		v.says(post("last"))
		v.Close()
		free <- true
		s.lost("last")
	}, func(s *site) {
		s.e.Serve = func(q *Request, body []byte) {
			s.serve(q, string(body))
			if string(body) == "busy" {
				<-free
			}
		}
	})
}

// settled returns how many goroutines there are when some have come to their end.
func settled() int {
	for n, since := 0, time.Now(); ; time.Sleep(time.Millisecond) {
		if is := runtime.NumGoroutine(); is != n {
			n, since = is, time.Now()
		} else if time.Since(since) > 50*time.Millisecond {
			return n
		}
	}
}

// large is more than a socket takes while a visitor does not read.
var large = strings.Repeat("x", 8<<20)

func TestSlowReaders(t *testing.T) {
	onSockets(t, "a goroutine for each connection", func(t *testing.T, s *site) {
		const n = 5
		before := settled()
		var vs [n]*visitor
		for i := range vs {
			vs[i] = s.visitor()
			vs[i].says(post("echo hello"))
			vs[i].hears("hello")
			vs[i].says(post(fmt.Sprint(i)))
			s.has(fmt.Sprint(i))
		}
		assert.LessOrEqual(t, settled(), before+n)
		for i := range vs {
			s.answers(fmt.Sprint(i), large)
		}
		assert.LessOrEqual(t, settled(), before+n)
		for i, v := range vs {
			v.says(post(fmt.Sprint(i)))
			v.hears(large)
			s.answers(fmt.Sprint(i), "again")
			v.hears("again")
		}
		assert.LessOrEqual(t, settled(), before+n)
	})

	onSockets(t, "an answer of the reader itself", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("echo hello"))
		v.hears("hello")
		v.says(post("echo "+large[:1<<20-5]) + post("a"))
		s.has("a")
		s.answers("a", "b")
		v.hears(large[:1<<20-5])
		v.hears("b")
	})

	onSockets(t, "one that is too slow", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("a") + post("b"))
		s.has("b")
		s.answers("a", large)
		s.lost("b")
		s.until("the end", func() bool { return s.e.Conns() == 0 })
	}, func(s *site) { s.e.Writing = httpio.NewLimit(50*time.Millisecond, 0) })

	onSockets(t, "one that vanishes", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("a") + post("b"))
		s.has("b")
		s.answers("a", large)
		require.NoError(t, v.tcp.Close())
		s.lost("b")
		s.until("the end", func() bool { return s.e.Conns() == 0 })
	})

	onSockets(t, "one that has ended what it sends", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("a"))
		s.answers("a", large)
		require.NoError(t, v.tcp.CloseWrite())
		v.hears(large)
		v.ends()
	})

	onSockets(t, "while the engine ends", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("a") + post("b"))
		s.has("b")
		s.answers("a", large)
		s.e.Close()
		v.hears(large)
		s.answers("b", "2")
		v.hears("2")
		v.ends()
	})

	onSockets(t, "while the engine ends, and nobody reads", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("a"))
		s.answers("a", large)
		s.e.Close()
		s.until("the end", func() bool { return s.e.Conns() == 0 })
	}, func(s *site) { s.e.Writing = httpio.NewLimit(50*time.Millisecond, 0) })

	onSockets(t, "with something else behind it", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("a") + "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nput")
		s.answers("a", large)
		v.hears(large)
		v.hears(`net/http has "put"`)
	})

	onSockets(t, "a failure cuts it", func(t *testing.T, s *site) {
		v := s.visitor()
		v.says(post("a"))
		s.answers("a", large)
		c := s.theConn()
		s.until("a blocked write", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.writer == somebody && c.reader == away
		})
		c.fail()
		s.until("the end", func() bool { return s.e.Conns() == 0 })
	})
}

// theConn returns the only connection.
func (s *site) theConn() *conn {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	require.Len(s.t, s.e.conns, 1)
	for _, c := range s.e.conns {
		return c
	}
	return nil
}
