// Package demo has the common parts of the example programs. They serve pages with the
// BOSH client, say where they can be reached, and notice faults of the fronts.
package demo

import (
	"io/fs"
	"net/http"

	"github.com/gobosh/bosh/boshclient/web"
)

// ServePage returns a handler for the files of a page. The client is beside them
// as bosh.js.
func ServePage(files fs.FS) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(files))
	mux.Handle("/bosh.js", web.Handler())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}
