// Command cluster is a push service on three processes. The balancer in front knows
// nothing of sessions. Its page shows the nodes with their sessions, and has buttons to
// kill each node, and to restart all of them without the end of a session.
//
//	go run .
//
// Each request of a page goes to the next node, regardless of its session: see
// package boshnats. The part for a service of one's own is in node.go and service.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("http", "127.0.0.1:5291", "`address` of the page and of the balancer")
	n := flag.Int("nodes", 3, "`number` of nodes")
	direct := flag.Bool("direct", false, "bosh.Options.Direct")
	routes := flag.String("routes", "", "run one node, whose routes are to these `addresses`: the program starts itself so")
	listen := flag.String("listen", "", "and this `address` is the node's own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *listen != "" {
		err = runNode(ctx, *listen, strings.Fields(strings.ReplaceAll(*routes, ",", " ")), *direct)
	} else {
		err = run(ctx, *addr, *n, *direct)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run runs nodes and the balancer until ctx ends.
func run(ctx context.Context, addr string, n int, direct bool) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	b, err := newBalancer(n, direct)
	if err != nil {
		return err
	}
	defer b.close()
	srv := &http.Server{Handler: b.handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	defer srv.Close()
	fmt.Printf("cluster: open http://%s/\n", ln.Addr())
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return err
}
