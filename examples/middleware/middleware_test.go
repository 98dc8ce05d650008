package middleware

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
)

const wait = 5 // seconds, longer than timeout

// A buffer is written and read by several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// The tests wait most of the time, so they all run at once, on any machine.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "100")
	os.Exit(m.Run())
}

func TestMiddleware(t *testing.T) {
	for _, r := range rows {
		for _, direct := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/direct=%t", r.name, direct), func(t *testing.T) {
				t.Parallel()
				serve(t, r, direct)
			})
		}
	}
}

// serve mounts a Handler behind a middleware, and is its client.
func serve(t *testing.T, r row, direct bool) {
	logged, compress := new(buffer), 256
	if r.twice {
		compress = 0
	}
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements, Direct: direct, Wait: wait * time.Second, Inactivity: 10 * time.Second,
		NoCORS: r.cors, Compress: compress,
		Logger: slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelError})),
		Serve: func(st *bosh.Stream) {
			for {
				e, err := st.ReadElement(st.Context())
				if err != nil || st.WriteElement(st.Context(), e) != nil {
					return
				}
			}
		},
	})
	t.Cleanup(func() { h.Close() })
	var seen atomic.Int64 // requests, by the middleware
	wrapped := r.wrap(h, logged)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		wrapped.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(logged, "", 0)
	tr := new(http.Transport)
	if r.h2c {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetUnencryptedHTTP2(true)
		srv.Config.Protocols = tr.Protocols
	}
	srv.Start()
	t.Cleanup(srv.Close)
	t.Cleanup(tr.CloseIdleConnections)
	c := &client{t: t, url: srv.URL + "/http-bind", http: &http.Client{Transport: tr}, rid: 1000}

	c.open()
	for i := range 20 {
		ping := fmt.Sprintf("<ping xmlns='urn:x' n='%d'>%s</ping>", i, strings.Repeat("text ", i*40))
		require.Contains(t, c.post(ping), fmt.Sprintf("n='%d'", i))
	}
	c.leaves()
	for range 2 { // each waits as long as it may
		before := time.Now()
		require.NotContains(t, c.post(""), "terminate")
		if r.cuts {
			require.Less(t, time.Since(before), timeout+500*time.Millisecond)
		} else {
			require.Greater(t, time.Since(before), wait*900*time.Millisecond)
		}
	}
	c.preflight()
	require.Contains(t, c.post("<last xmlns='urn:x'/>"), "<last")
	c.end()
	cells := cells(t, r.name)
	assert.Equal(t, "works", cells[0])
	switch cells[1] {
	case "works", "first request only":
		assert.Equal(t, direct, seen.Load() < c.sent/2, "it saw %d of %d requests, direct=%t", seen.Load(), c.sent, direct)
	default:
		assert.Contains(t, []string{"off", "HTTP/1.1 only"}, cells[1])
		assert.Equal(t, c.sent, seen.Load())
	}
	if direct && r.noise {
		for line := range strings.Lines(logged.String()) {
			assert.Regexp(t, "on hijacked connection", line)
		}
		return
	}
	assert.Empty(t, logged.String(), "something was logged")
}

// A client keeps to the rules of XEP-0124, one request at a time.
type client struct {
	t    *testing.T
	url  string
	http *http.Client
	sid  string
	rid  int
	sent int64 // requests
}

func (c *client) body(attrs, payload string) string {
	c.rid++
	return fmt.Sprintf("<body xmlns='http://jabber.org/protocol/httpbind' rid='%d' %s %s>%s</body>", c.rid, c.sid, attrs, payload)
}

func (c *client) send(ctx context.Context, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header.Set("Origin", "https://example.com")
	c.sent++
	res, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	require.Equal(c.t, http.StatusOK, res.StatusCode, "%s", answer)
	require.Regexp(c.t, `^<body [^>]*/?>`, string(answer))
	require.Len(c.t, res.Header.Values("Access-Control-Allow-Origin"), 1, "CORS")
	return string(answer), nil
}

func (c *client) post(payload string) string {
	c.t.Helper()
	answer, err := c.send(c.t.Context(), c.body("", payload))
	require.NoError(c.t, err)
	return answer
}

func (c *client) open() {
	c.t.Helper()
	answer, err := c.send(c.t.Context(), c.body(fmt.Sprintf("to='example.com' ver='1.11' wait='%d' hold='1'", wait), ""))
	require.NoError(c.t, err)
	c.sid = regexp.MustCompile(`sid=['"][^'"]+['"]`).FindString(answer)
	require.NotEmpty(c.t, c.sid, answer)
}

// leaves breaks a request that is held, and repeats it.
func (c *client) leaves() {
	c.t.Helper()
	poll := c.body("", "")
	for range 3 {
		ctx, cancel := context.WithTimeout(c.t.Context(), 100*time.Millisecond)
		_, err := c.send(ctx, poll)
		cancel()
		require.ErrorIs(c.t, err, context.DeadlineExceeded)
	}
	answer, err := c.send(c.t.Context(), poll)
	require.NoError(c.t, err)
	require.NotContains(c.t, answer, "terminate")
}

func (c *client) preflight() {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodOptions, c.url, nil)
	require.NoError(c.t, err)
	req.Header.Set("Origin", "https://example.com")
	req.Header.Set("Access-Control-Request-Method", "POST")
	req.Header.Set("Access-Control-Request-Headers", "content-type")
	c.sent++
	res, err := c.http.Do(req)
	require.NoError(c.t, err)
	res.Body.Close()
	require.Less(c.t, res.StatusCode, 300)
	require.Len(c.t, res.Header.Values("Access-Control-Allow-Origin"), 1)
	require.Contains(c.t, res.Header.Get("Access-Control-Allow-Methods"), "POST")
	require.Contains(c.t, strings.ToLower(res.Header.Get("Access-Control-Allow-Headers")), "content-type")
}

func (c *client) end() {
	c.t.Helper()
	answer, err := c.send(c.t.Context(), c.body("type='terminate'", ""))
	require.NoError(c.t, err)
	require.Contains(c.t, answer, "terminate")
}

// cells returns what README.md says of a row, without Direct and with it.
func cells(t *testing.T, name string) []string {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, row, found := strings.Cut(string(text), "\n| "+name+" | ")
	require.True(t, found, "README.md has no row for it")
	return strings.SplitN(row, " | ", 3)
}

// README.md has no row that is not tried.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	assert.Equal(t, len(rows)+2, strings.Count(string(text), "\n|"), "rows of the table")
}
