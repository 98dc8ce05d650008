package demo

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestClean(t *testing.T) {
	mux := http.NewServeMux()
	for _, pattern := range []string{"/", "/http-bind", "/http-bind/"} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Got", r.Pattern+" "+r.URL.RequestURI())
		})
	}
	h := CleanSlashes(mux)
	for target, want := range map[string]string{
		"/http-bind":        "/http-bind /http-bind",
		"//http-bind":       "/http-bind /http-bind",
		"///http-bind":      "/http-bind /http-bind",
		"/./http-bind":      "/http-bind /http-bind",
		"/%2Fhttp-bind":     "/http-bind /http-bind",
		"//http-bind?a=/b/": "/http-bind /http-bind?a=/b/",
		"/http-bind/":       "/http-bind/ /http-bind/",
		"/http-bind//":      "/http-bind/ /http-bind/",
		"//http-bind//":     "/http-bind/ /http-bind/",
		"/":                 "/ /",
		"//":                "/ /",
		"//app.js":          "/ /app.js",
		"/a/../../b":        "/ /b",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, "http://localhost"+target, nil))
			if got := w.Header().Get("Got"); w.Code != http.StatusOK || got != want {
				t.Errorf("%s %s: status %d, %q; want %q", method, target, w.Code, got, want)
			}
		}
	}
}
