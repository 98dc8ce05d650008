// Command push is a service for pushing JSON over BOSH to web pages. Its page
// is a monitor of its own handler: it draws sessions, requests, payloads and
// latencies as they are pushed to it, and has buttons to load the handler.
//
//	go run ./examples/push
//
// It has nothing of XMPP. The part for a service of one's own is in service.go,
// and app.js on the page's side.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gobosh/bosh/internal/demo"
)

// shutdownTimeout is how long pages may take to hear of the end.
const shutdownTimeout = 3 * time.Second

func main() {
	addr := flag.String("http", "127.0.0.1:5290", "`address` of the page and of BOSH")
	direct := flag.Bool("direct", false, "take HTTP/1.1 connections over from net/http: bosh.Options.Direct")
	idle := flag.Duration("idle-timeout", demo.IdleTimeout, "how long a connection is kept without a request; longer than what is in front keeps it")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "push: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		err = run(ctx, ln, *direct, *idle, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "push:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and then sees all pages off.
func run(ctx context.Context, ln net.Listener, direct bool, idle time.Duration, stdout io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := newService(log, direct)
	defer s.close()
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       idle,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	demo.WatchIdle(server, log)
	defer server.Close()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(demo.WatchDescriptors(ln, log)) }()
	for _, url := range demo.URLs("http", ln.Addr()) {
		fmt.Fprintf(stdout, "push: open %s\n", url)
	}
	demo.SayRoom(stdout, "push")

	sampling, stop := context.WithCancel(ctx)
	defer stop()
	go s.sample(sampling, time.Second)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	fmt.Fprintln(stdout, "push: shutting down")
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	s.load.stop()
	// First the sessions, then the server: a page hears of the end in the
	// answer to its held request, or to its next.
	if err := errors.Join(s.bosh.Shutdown(deadline), server.Shutdown(deadline)); err != nil {
		log.Info("not all pages have heard the end", "err", err) // some are just gone
	}
	return nil
}
