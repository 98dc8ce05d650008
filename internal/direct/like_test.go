package direct

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/gobosh/bosh/internal/httpio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What proxies send: one connection has the requests of many clients.
func TestForwardedRequests(t *testing.T) {
	// says sends a request with a target, a host and the lines of some fields.
	says := func(g *rig, target, host, fields, body string) {
		g.t.Helper()
		_, err := fmt.Fprintf(g.client, "POST %s HTTP/1.1\r\nhost: %s\r\n%scontent-length: %d\r\n\r\n%s", target, host, fields, len(body), body)
		require.NoError(g.t, err)
		synctest.Wait()
	}
	var asked []string // by the Handler of the server
	count := func(g *rig) {
		asked = nil
		next := g.srv.Handler
		g.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Host+r.RequestURI)
			next.ServeHTTP(w, r)
		})
	}

	var seen []*http.Request // by the Engine
	look := func(g *rig) {
		seen = nil
		g.e.Serve = func(q *Request, body []byte) {
			seen = append(seen, q.HTTP(), q.Origin().Request())
			assert.Equal(g.t, seen[0].Header["X-Forwarded-For"], q.Header("X-Forwarded-For"))
			g.serve(q, string(body))
		}
		count(g)
	}

	rigged(t, "fields and queries", func(t *testing.T, g *rig) {
		says(g, "/?n=0", "a", "X-Forwarded-For: 192.0.2.0\r\nOrigin: https://0.test\r\n", "first")
		g.answers("first", "0")
		g.hears("0")
		var shared *head
		for i := 1; i < 300; i++ {
			seen = nil
			from, origin, uri := fmt.Sprint("192.0.2.", i), fmt.Sprintf("https://%d.test", i%3), fmt.Sprint("/?n=", i)
			says(g, uri, "a", "X-Forwarded-For: "+from+"\r\nOrigin: "+origin+"\r\n", "b")
			for _, r := range seen {
				assert.Equal(t, []string{from}, r.Header["X-Forwarded-For"])
				assert.Equal(t, []string{origin}, r.Header["Origin"])
				assert.Equal(t, uri, r.RequestURI)
				assert.Equal(t, uri, r.URL.String())
				assert.Equal(t, "a", r.Host)
			}
			require.Len(t, seen, 2)
			q := g.q("b")
			assert.Equal(t, []string{origin}, q.Header("Origin"))
			assert.True(t, q.Forwarded())
			if i > 1 { // which is known as it is
				assert.Equal(t, []string{""}, q.Header("X-Forwarded-For"), "that is over, and another's is none")
				assert.Equal(t, "/", q.HTTP().RequestURI)
			}
			assert.Nil(t, q.c.text)
			if shared == nil {
				shared = q.c.head
			}
			assert.Same(t, shared, q.c.head, "it keeps no head of its own")
			g.serve(q, "b")
			g.answers("b", "1")
			g.hears("1")
		}
		assert.Equal(t, []string{"a/?n=0"}, asked)
	}, look)

	rigged(t, "two lines of one field", func(t *testing.T, g *rig) {
		for i := range 4 {
			says(g, "/", "a", fmt.Sprintf("Accept-Encoding: br\r\nOrigin: https://%d.test\r\naccept-encoding: x%d\r\n", i, i%2), fmt.Sprint(i))
			q := g.q(fmt.Sprint(i))
			assert.Equal(t, []string{"br", fmt.Sprint("x", i%2)}, q.Header("Accept-Encoding"))
			assert.Equal(t, []string{fmt.Sprintf("https://%d.test", i)}, q.Header("Origin"))
			q.Answer(httpio.RawAnswer{Body: []byte("1")})
			g.hears("1")
		}
	})

	rigged(t, "two hosts", func(t *testing.T, g *rig) {
		for i := range 10 {
			for _, host := range []string{"a", "b"} {
				says(g, fmt.Sprint("/?", i), host, "", host)
				q := g.q(host)
				assert.Equal(t, host, q.Host())
				assert.Equal(t, host, q.HTTP().Host)
				g.serve(q, host)
				g.answers(host, host)
				g.hears(host)
			}
		}
		assert.Equal(t, []string{"a/?0", "b/?0"}, asked)
	}, count)

	rigged(t, "more hosts than a connection may have", func(t *testing.T, g *rig) {
		for range 2 {
			for i := range maxMore + 3 {
				host := fmt.Sprint(i)
				says(g, "/", host, "", host)
				if q := g.qs[host]; q != nil {
					g.answers(host, host)
					g.hears(host)
				} else {
					g.hears(fmt.Sprintf("net/http has %q", host))
				}
			}
		}
		assert.Len(t, asked, 2*(maxMore+3), "net/http has it from then on")
	}, count)

	rigged(t, "another path is somebody else's", func(t *testing.T, g *rig) {
		says(g, "/", "a", "", "a")
		g.answers("a", "1")
		g.hears("1")
		io.WriteString(g.client, "POST /?a")
		synctest.Wait()
		says(g, "b", "a", "", "c") // which makes it POST /?aPOST b, and net/http has something to say to that
		r, err := http.ReadResponse(g.r, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusBadRequest, r.StatusCode)
	}, count)

	rigged(t, "each path is asked for once", func(t *testing.T, g *rig) {
		for range 3 {
			for _, path := range []string{"/", "/b"} {
				says(g, path, "a", "", "a")
				g.answers("a", "1")
				g.hears("1")
			}
		}
		assert.Equal(t, []string{"a/", "a/b"}, asked)
	}, count)
}
