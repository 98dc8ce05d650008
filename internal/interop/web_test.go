//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient/web"
)

// TestWebUnit runs the unit tests of the client for browsers.
func TestWebUnit(t *testing.T) {
	script(t, filepath.Join("..", "..", "boshclient", "web"), "node", "--test", "--test-force-exit", "--test-timeout=20000", "bosh.test.mjs")
}

// TestWebTypes has TypeScript check the types of the client, and a program that
// uses all of them.
func TestWebTypes(t *testing.T) {
	script(t, ".", filepath.Join("node_modules", ".bin", "tsc"), "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022",
		"--module", "nodenext", "--moduleResolution", "nodenext", "--lib", "es2022,dom,dom.iterable", "web-types.mts")
}

// TestWebClient runs the client for browsers in a page, a worker and Node.
func TestWebClient(t *testing.T) {
	for _, name := range []string{"node", "page", "worker", "reload"} {
		t.Run(name, func(t *testing.T) {
			ws := webServer(t)
			t.Setenv("INTEROP_HTTP", ws.URL)
			script(t, ".", "node", "web.mjs", name)
			if n := ws.wrong.Load(); n != 0 {
				t.Errorf("%d sessions came without their token", n)
			}
		})
	}
}

// script runs a program in a directory.
func script(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s\n%s", cmd, out)
	if err != nil {
		t.Fatal(err)
	}
}

type testServer struct {
	*httptest.Server
	wrong atomic.Int64
}

// webServer serves the client, a page for it, and three services: an echo of
// elements, one of bytes, and one that ends each session.
func webServer(t *testing.T) *testServer {
	t.Helper()
	ws := new(testServer)
	admit := func(ctx context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
		if o.To != "example.com" || r.Header.Get("Authorization") != "Bearer 0" || len(o.Attr) != 1 || o.Attr[0].Value != "a'<b>" {
			ws.wrong.Add(1)
			return nil, &bosh.Error{Condition: bosh.PolicyViolation}
		}
		return ctx, nil
	}
	var sessions atomic.Int64
	elements := bosh.New(bosh.Options{Framing: bosh.Elements, Admit: admit, MaxRepeats: -1, Serve: func(st *bosh.Stream) {
		greeting, _ := json.Marshal(map[string]any{"session": sessions.Add(1)})
		st.WriteElement(st.Context(), append(append([]byte("<json xmlns='urn:xmpp:json:0'>"), greeting...), "</json>"...))
		for {
			e, err := st.ReadElement(st.Context())
			if err != nil || st.WriteElement(st.Context(), e) != nil {
				return
			}
		}
	}})
	bytes := bosh.New(bosh.Options{Framing: bosh.Opaque, Admit: admit, MaxRepeats: -1, Serve: func(st *bosh.Stream) { io.Copy(st, st) }})
	ends := bosh.New(bosh.Options{Framing: bosh.Elements, Admit: admit, Serve: func(st *bosh.Stream) {
		st.ReadElement(st.Context())
		st.Session().Terminate(&bosh.Error{Condition: bosh.PolicyViolation, Err: errors.New("a test")})
	}})
	mux := http.NewServeMux()
	mux.Handle("/elements", elements)
	mux.Handle("/bytes", bytes)
	mux.Handle("/ends", ends)
	mux.Handle("/bosh/", http.StripPrefix("/bosh", web.Handler()))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "<!DOCTYPE html><title>test</title><link rel=icon href='data:,'>")
	})
	for _, name := range []string{"web-scenario.mjs", "web-worker.mjs"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/javascript")
			w.Write(text)
		})
	}
	ws.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		for _, h := range []*bosh.Handler{elements, bytes, ends} {
			h.Close()
		}
		ws.Close()
	})
	return ws
}
