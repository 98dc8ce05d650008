// Package webclient has the BOSH client of the examples' pages, in JavaScript,
// and serves pages that use it.
package webclient

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed bosh.js
var script embed.FS

// Serve returns a handler for the files of a page. The client is beside them
// as bosh.js.
func Serve(page fs.FS) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(page))
	mux.Handle("/bosh.js", http.FileServerFS(script))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}
