package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	_ "github.com/gobosh/bosh/internal/enginetest"
)

// start has main register what it serves, and serves it at another address, too.
var start = sync.OnceValue(func() *httptest.Server {
	go main()
	for {
		if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest(http.MethodGet, "/", nil)); pattern != "" {
			return httptest.NewServer(nil)
		}
		time.Sleep(time.Millisecond)
	}
})

// The program and its page are what README.md shows, and twenty lines.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	lines := 0
	for name, kind := range map[string]string{"main.go": "go", "index.html": "html"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.True(t, strings.Contains(string(readme), "\n```"+kind+"\n"+string(text)+"```\n"), "README.md has another %s", name)
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) != "" {
				lines++
			}
		}
	}
	assert.LessOrEqual(t, lines, 20)
}

// They do what it says.
func TestPush(t *testing.T) {
	server := start()
	for name, want := range map[string]string{"/": "from '/bosh.js'", "/bosh.js": "export class Bosh"} {
		r, err := http.Get(server.URL + name)
		require.NoError(t, err)
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		assert.Contains(t, string(b), want)
	}
	client, err := boshtest.Dial(t.Context(), boshtest.Config{URL: server.URL + "/push"})
	require.NoError(t, err)
	defer client.Close()
	var before time.Time
	for range 2 {
		element, err := client.Recv(t.Context())
		require.NoError(t, err)
		var now time.Time
		require.NoError(t, bosh.DecodeJSON(element, &now))
		assert.True(t, now.After(before))
		before = now
	}
}
