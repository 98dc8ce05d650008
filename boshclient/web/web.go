// Package web serves the BOSH client for browsers: one JavaScript module
// without dependencies, embedded in the program: a page needs no build step.
//
//	mux.Handle("/bosh/", http.StripPrefix("/bosh", web.Handler()))
//
// A page then says
//
//	<script type="module">
//	import { Bosh } from '/bosh/bosh.js';
//	const bosh = new Bosh('/push', { reconnect: true });
//	bosh.onjson = (event) => document.body.append(event.text);
//	bosh.connect();
//	</script>
//
// The module opens sessions with a [github.com/gobosh/bosh.Handler], or with any
// other BOSH server. It carries XML elements, JSON, XMPP stanzas or bytes;
// repeats broken requests, so each payload arrives once and in order; and goes
// on after a reload of the page. bosh.d.ts has its documentation, and its types
// for TypeScript. It runs in a worker and in Node too.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"path"
	"strings"
)

//go:embed bosh.js bosh.d.ts
var files embed.FS

// Handler returns a handler that serves bosh.js and bosh.d.ts at its root. Pages
// of all origins may load them. A browser asks each time whether its copy is
// still good, so client and server are of one version.
func Handler() http.Handler {
	tags := map[string]string{}
	for _, name := range []string{"bosh.js", "bosh.d.ts"} {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(content)
		tags[name] = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	}
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tag, ok := tags[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		h.Set("X-Content-Type-Options", "nosniff")
		if path.Ext(r.URL.Path) == ".ts" {
			h.Set("Content-Type", "text/plain; charset=utf-8") // not video/mp2t
		}
		server.ServeHTTP(w, r)
	})
}
