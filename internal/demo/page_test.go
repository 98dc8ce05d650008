package demo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestServe(t *testing.T) {
	h := ServePage(fstest.MapFS{
		"index.html": {Data: []byte("<title>page</title>")},
		"app.js":     {Data: []byte("import './bosh.js'")},
	})
	for path, want := range map[string]struct{ mediaType, text string }{
		"/":        {"text/html; charset=utf-8", "<title>page"},
		"/app.js":  {"text/javascript; charset=utf-8", "import"},
		"/bosh.js": {"text/javascript; charset=utf-8", "export class Bosh"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != want.mediaType {
			t.Errorf("%s: status %d, %s, want %s", path, w.Code, got, want.mediaType)
		}
		if !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%s: no %q", path, want.text)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: headers %v", path, w.Header())
		}
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/webpage.go", nil)); w.Code != http.StatusNotFound {
		t.Errorf("status %d for a file that is not of the page", w.Code)
	}
}
