// Command durable is a push service. A crash costs it nothing: the events of each
// user are in a queue of NATS JetStream, and leave it when the user's client is
// proven to have them.
//
//	go run -C examples/durable .
//
// NATS runs inside the program unless -nats names another one. How a stream of BOSH
// becomes the consumer of a queue is in queue.go.
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

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A config is the command line.
type config struct {
	http, data, nats string
	replicas         int
}

func main() {
	var cfg config
	flag.StringVar(&cfg.http, "http", "127.0.0.1:5291", "`address` of the page, of BOSH and of /publish")
	flag.StringVar(&cfg.data, "data", "durable-data", "`directory` of the queues, if NATS is inside the program")
	flag.StringVar(&cfg.nats, "nats", "", "`URL` of a NATS with JetStream, as nats://a:4222,nats://b:4222, instead")
	flag.IntVar(&cfg.replicas, "replicas", 1, "how many servers of -nats keep each queue: 3 survives the loss of one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", cfg.http)
	if err == nil {
		err = run(ctx, ln, cfg, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "durable:", err)
		os.Exit(1)
	}
}

// shutdownTimeout is how long clients may take to hear of the end.
const shutdownTimeout = 3 * time.Second

// run serves until ctx ends, and then sees all clients off.
func run(ctx context.Context, ln net.Listener, cfg config, stdout io.Writer) error {
	nc, stop, err := connect(cfg)
	if err != nil {
		return err
	}
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	q, err := newQueue(ctx, nc, cfg.replicas)
	if err != nil {
		return err
	}
	s := newService(q, log)
	defer s.bosh.Close()
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 6 * time.Minute}
	defer srv.Close()
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	fmt.Fprintf(stdout, "durable: open http://%s/\n", ln.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	errors.Join(s.bosh.Shutdown(deadline), srv.Shutdown(deadline)) // who does not hear of it comes back
	return nil
}

// connect connects to NATS. If no server is named it starts one inside this process.
func connect(cfg config) (nc *nats.Conn, stop func(), err error) {
	if cfg.nats != "" {
		nc, err = nats.Connect(cfg.nats, nats.Name("durable"), nats.MaxReconnects(-1))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", cfg.nats, err)
		}
		return nc, nc.Close, nil
	}
	ns, err := server.NewServer(&server.Options{
		ServerName: "durable", DontListen: true, JetStream: true, StoreDir: cfg.data, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, nil, err
	}
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		ns.Shutdown()
		return nil, nil, errors.New("NATS inside the program does not start: is another one using its directory?")
	}
	if nc, err = nats.Connect("", nats.InProcessServer(ns)); err != nil {
		ns.Shutdown()
		return nil, nil, err
	}
	return nc, func() {
		nc.Close()
		ns.Shutdown()
		ns.WaitForShutdown()
	}, nil
}
