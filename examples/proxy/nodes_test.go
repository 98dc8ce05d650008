//go:build interop

package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/demo"
)

// TestNodes has real clients talk through a cluster of three proxies, each request to the
// next one: strophe.js, and a page in a browser, which is reloaded.
func TestNodes(t *testing.T) {
	dir, err := programs()
	require.NoError(t, err)
	page, c2s := demo.FreeAddr(), demo.FreeAddr()
	chat := startProcess(t, exec.Command(filepath.Join(dir, "chat"), "-http", page, "-https", "", "-c2s", c2s), new(buffer))
	chat.accepting(t, page)
	chat.accepting(t, c2s)
	peers := startPeers(t, 3, c2s, "-wait", "5s", "-trust", "127.0.0.1")
	var targets []*url.URL
	for _, p := range peers {
		u, err := url.Parse(p.url)
		require.NoError(t, err)
		targets = append(targets, &url.URL{Scheme: "http", Host: u.Host})
	}
	next := func() func() *url.URL {
		var n atomic.Int64
		return func() *url.URL { return targets[n.Add(1)%int64(len(targets))] }
	}()
	pass := func(to func() *url.URL) http.Handler {
		return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to())
			r.SetXForwarded()
		}}
	}
	mux := http.NewServeMux()
	mux.Handle("/http-bind", pass(next))
	mux.Handle("/", pass(func() *url.URL { return &url.URL{Scheme: "http", Host: page} }))
	web := httptest.NewServer(mux)
	defer web.Close()
	t.Run("strophe.js", func(t *testing.T) {
		node(t, "strophe.mjs", "strophe", "INTEROP_HTTP="+web.URL, "INTEROP_C2S="+c2s, "INTEROP_WAIT=5")
	})
	t.Run("Chromium", func(t *testing.T) {
		node(t, "page.mjs", "reload", "INTEROP_HTTP="+web.URL, "INTEROP_PID="+strconv.Itoa(peers[0].cmd.Process.Pid))
	})
	passed := nodesOf(peers[0].admin).Total.Relayed
	for _, p := range peers {
		assert.Greater(t, passed[p.node].In, int64(5), p.node)
		assert.Zero(t, passed[p.node].Failed)
	}
}
