package demo_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/demo"
)

func TestCheckPaths(t *testing.T) {
	for method, paths := range map[string]map[string]bool{ // whether something is logged
		http.MethodPost: {
			"/http-bind": false, "/http-bind/": false, "/sessions": false, "/": true, "/bosh": true, "/chat/http-bind": true,
			"/" + strings.Repeat("x", 10_000): true,
		},
		http.MethodOptions: {"/http-bind": false, "/bosh": true, "/chat/http-bind": true}, // before a page's POST
		http.MethodGet:     {"/http-bind": false, "/": false, "/favicon.ico": false},
	} {
		for path, want := range paths {
			t.Run(method+" "+path[:min(len(path), 20)], func(t *testing.T) {
				for _, page := range []bool{false, true} { // is there one at the root
					mux := http.NewServeMux()
					served := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "served") }
					for _, p := range []string{"/http-bind", "/http-bind/", "/sessions"} {
						mux.HandleFunc(p, served)
					}
					if page {
						mux.HandleFunc("/", served)
					}
					var log bytes.Buffer
					h := demo.CheckPaths(mux, "/http-bind", slog.New(slog.NewTextHandler(&log, nil)))
					for range 3 {
						w := httptest.NewRecorder()
						r := httptest.NewRequest(method, path, nil)
						if method == http.MethodOptions {
							r.Header.Set("Access-Control-Request-Method", "POST")
						}
						h.ServeHTTP(w, r)
						if want {
							assert.Equal(t, http.StatusNotFound, w.Code)
						}
					}
					if !want {
						assert.Empty(t, log.String())
						continue
					}
					assert.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
					assert.Contains(t, log.String(), "path="+path[:min(len(path), 200)])
					assert.Contains(t, log.String(), `"BOSH is at"=/http-bind`)
					assert.Less(t, log.Len(), 1000)
				}
			})
		}
	}
}

// What a front keeps for longer than we do is worth a word, once. What a browser does
// is not.
func TestWatchIdle(t *testing.T) {
	for name, test := range map[string]struct {
		header string
		idle   time.Duration
		want   int
	}{
		"a front":               {"X-Forwarded-For", 2 * time.Minute, 1},
		"another":               {"Forwarded", 2 * time.Minute, 1},
		"a browser":             {"Origin", 2 * time.Minute, 0},
		"a front that is first": {"X-Forwarded-For", 30 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				srv := &http.Server{IdleTimeout: time.Minute, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
				demo.WatchIdle(srv, slog.New(slog.NewTextHandler(&log, nil)))
				pipe := boshtest.Pipe(srv)
				defer pipe.Close()
				pipe.Transport.IdleConnTimeout = test.idle
				for range 3 {
					r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
					require.NoError(t, err)
					r.Header.Set(test.header, "192.0.2.1")
					resp, err := pipe.RoundTrip(r)
					require.NoError(t, err)
					resp.Body.Close()
					time.Sleep(3 * time.Minute)
				}
				synctest.Wait()
				assert.Equal(t, test.want, strings.Count(log.String(), "502"), log.String())
			})
		})
	}
}
