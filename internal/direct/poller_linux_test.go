package direct

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const watches = true

// files returns how many file descriptors there are.
func files(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

// The poller is there as long as it is needed.
func TestPoller(t *testing.T) {
	s := newSite(t, false)
	goroutines := settled()
	began := files(t)
	for range 3 {
		v := s.held("a")
		w := s.idle()
		assert.Equal(t, began+4+1, files(t))
		assert.Equal(t, goroutines+1, settled())
		s.answers("a", "1")
		v.hears("1")
		for _, v := range []*visitor{v, w} {
			v.says(post("echo hello"))
			v.hears("hello")
		}
		s.until("the end of the poller", func() bool { return files(t) == began+4 })
		assert.LessOrEqual(t, settled(), goroutines+2)
		s.rest()
		assert.Equal(t, began+4+1, files(t))
		v.Close()
		w.Close()
		s.until("the end", func() bool { return files(t) == began })
		assert.Equal(t, goroutines, settled())
	}
}

// Without a poller there are goroutines.
func TestNoPoller(t *testing.T) {
	for name, break_ := range map[string]func(t *testing.T, s *site){
		"no more files": func(t *testing.T, s *site) {
			var was syscall.Rlimit
			require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: was.Max}))
			t.Cleanup(func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) })
		},
		"the kernel refuses": func(t *testing.T, s *site) {
			null, err := os.Open(os.DevNull) // which is no epoll instance
			require.NoError(t, err)
			p := &s.e.poller
			p.mu.Lock()
			p.file, p.fd = null, int(null.Fd())
			p.mu.Unlock()
			t.Cleanup(func() {
				p.mu.Lock()
				p.close()
				p.mu.Unlock()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, false)
			before := settled()
			v := s.visitor()
			v.says(post("a"))
			s.has("a")
			break_(t, s)
			c := s.theConn()
			s.until("rest", func() bool {
				c.look()
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.activity == rested
			})
			assert.Equal(t, before+1, settled())
			s.answers("a", "1")
			v.hears("1")
			v.says(post("echo hello"))
			v.hears("hello")
		})
	}
}

// An event for a connection that is not at rest, or not there any more, is
// nothing.
func TestStaleEvent(t *testing.T) {
	s := newSite(t, false)
	v := s.held("a")
	c := s.theConn()
	v.says(post("b"))
	s.has("b")
	s.e.wake(c.id)
	s.e.wake(c.id + 1)
	s.answers("a", "1")
	v.hears("1")
	s.answers("b", "2")
	v.hears("2")
	s.rest()
	before := settled()
	s.e.wake(c.id)
	s.e.wake(c.id)
	assert.Equal(t, before, settled(), "one more, and no poller")
	s.rest()
	assert.Equal(t, before, settled())
	v.Close()
	s.until("the end", func() bool { return s.e.Conns() == 0 })
	s.e.wake(c.id)
}
