package main

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/gobosh/bosh"
	"mellium.im/xmpp/stream"
)

// nsLeave is of the page's last stanza: it goes away, by the end of its tab or to be loaded
// again.
const nsLeave = "https://github.com/gobosh/bosh/examples/chat#leave"

// reloads tell the end of a tab from a reload, which look the same to the page. A browser
// fetches a page that is loaded again before it leaves the old one. So a good-bye without a
// fetch before it is the end. The zero value is ready for use.
type reloads struct {
	mu    sync.Mutex
	until map[string]time.Time // by browser: a good-bye up to then may be of a reload
	blind time.Time            // the same, of all browsers
}

const (
	browserCookie = "chat-browser"
	loadTime      = 10 * time.Second // from the fetch until the page runs
	settleTime    = time.Second      // then the good-bye of the old one has come
	maxBrowsers   = 10_000
)

// page notes who fetches the page, or with its first question says that it runs.
func (l *reloads) page(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			c, err := r.Cookie(browserCookie)
			switch r.URL.Path {
			case "/", "/index.html":
				if err != nil {
					c = &http.Cookie{Name: browserCookie, Value: rand.Text(), HttpOnly: true, SameSite: http.SameSiteLaxMode}
					http.SetCookie(w, c)
				}
				l.note(c.Value, loadTime)
			case "/about.json":
				if err == nil {
					l.note(c.Value, settleTime)
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (l *reloads) note(browser string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if len(l.until) >= maxBrowsers {
		for b, until := range l.until {
			if now.After(until) {
				delete(l.until, b)
			}
		}
	}
	switch {
	case len(browser) > 64:
	case len(l.until) >= maxBrowsers:
		l.blind = now.Add(loadTime)
	case l.until == nil:
		l.until = map[string]time.Time{browser: now.Add(d)}
	default:
		l.until[browser] = now.Add(d)
	}
}

// over reports whether a good-bye of a page in the session with this first request is the end
// of its tab, beyond doubt.
func (l *reloads) over(first *http.Request) bool {
	c, err := first.Cookie(browserCookie)
	if err != nil || len(c.Value) > 64 {
		return false // who knows: the page may be another server's
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return now.After(l.blind) && now.After(l.until[c.Value])
}

// leaves handles the good-bye of a page. A session whose tab is closed ends; another one
// has asked for a pause in the same request, as long as a reload may take.
func (srv *server) leaves(s *session) {
	if st, ok := s.conn.Conn.(*bosh.Stream); ok && srv.reloads.over(st.Session().Request()) {
		s.stop(stream.Error{}) // which is none
	}
}
