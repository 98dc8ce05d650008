package demo

import (
	"net/http"
	"path"
	"strings"
)

// CleanSlashes serves each request as if its path were written with single slashes.
// Fronts add some: a prefix with one at its end, before a path with one at its
// start. An http.ServeMux would redirect to the clean path, and the front has no
// such path.
func CleanSlashes(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := shortest(r.URL.Path); p != r.URL.Path {
			url := *r.URL
			url.Path, url.RawPath = p, ""
			again := *r
			again.URL = &url
			r = &again
		}
		h.ServeHTTP(w, r)
	})
}

// shortest returns the path in its shortest form. A slash at its end stays one.
func shortest(p string) string {
	c := path.Clean("/" + p)
	if c != "/" && strings.HasSuffix(p, "/") {
		c += "/"
	}
	return c
}
