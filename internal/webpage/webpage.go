// Package webpage serves the pages of the examples, which use the BOSH client.
package webpage

import (
	"io/fs"
	"net/http"

	"github.com/gobosh/bosh/boshclient/web"
)

// Serve returns a handler for the files of a page. The client is beside them
// as bosh.js.
func Serve(files fs.FS) http.Handler {
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
