// Command prometheus is a BOSH echo service for Prometheus to watch. The code
// to copy is in collector.go.
//
//	cd examples/prometheus
//	go run .
//	curl http://127.0.0.1:5291/metrics
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/demo"
)

func main() {
	addr := flag.String("http", "127.0.0.1:5291", "`address` of BOSH and of the metrics")
	idle := flag.Duration("idle-timeout", demo.IdleTimeout, "how long a connection is kept without a request; longer than what is in front keeps it")
	flag.Parse()
	h, handler := newService()
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	for _, url := range demo.URLs("http", ln.Addr()) {
		fmt.Printf("prometheus: BOSH at %shttp-bind, metrics at %smetrics\n", url, url)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: *idle}
	demo.WatchIdle(server, slog.Default())
	demo.LogSessions(slog.Default(), 2, handler.Stats().MaxSessions)
	log.Fatal(server.Serve(demo.WatchDescriptors(ln, slog.Default())))
}

// newService returns the handler of all paths, and the BOSH handler in it.
func newService() (http.Handler, *bosh.Handler) {
	o := bosh.Options{Framing: bosh.Elements, Serve: echo}
	c := NewCollector(&o)
	h := bosh.New(o)
	c.Watch(h)

	reg := prometheus.NewRegistry()
	reg.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("/http-bind", h)
	mux.Handle("/http-bind/{$}", h)
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{})) // for the operators' network only
	return demo.CleanSlashes(demo.CheckPaths(mux, "/http-bind", slog.Default())), h
}

// echo sends all input back, until the client has gone. The end of the session
// ends a read, and earlier input is read first: no context is needed.
func echo(st *bosh.Stream) {
	ctx := context.Background()
	for {
		element, err := st.ReadElement(ctx)
		if err != nil || st.WriteElement(ctx, element) != nil {
			return
		}
	}
}
