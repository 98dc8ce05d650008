package main

import (
	"net/http"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient/web"
)

func main() {
	http.Handle("/push", bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
		for ; s.WriteJSON(s.Context(), time.Now()) == nil; time.Sleep(time.Second) {
		}
	}}))
	http.Handle("/bosh.js", web.Handler())
	http.Handle("/", http.FileServer(http.Dir(".")))
	http.ListenAndServe("localhost:8080", nil)
}
