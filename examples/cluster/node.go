package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshnats/embed"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// news is the subject of the pushed texts between nodes. It is the application's own.
const news = "news"

// runNode runs one node until ctx or the parent process ends.
func runNode(ctx context.Context, listen string, routes []string, direct bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	asked := ctx // by SIGTERM
	ctx, stop2 := context.WithCancel(ctx)
	defer stop2()
	go func() {
		io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		stop2() // the parent process ends, and all nodes with it
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ns, nc, err := embed.Start(embed.Config{Listen: listen, Routes: routes, Options: func(o *server.Options) {
		o.Cluster.NoAdvertise = true // all are in routes
	}})
	if err != nil {
		return err
	}
	defer ns.Shutdown()
	defer nc.Close()
	node, err := boshnats.Join(nc, boshnats.Options{Addr: embed.Addr(ns), Adopt: true, Logger: log})
	if err != nil {
		return err
	}
	defer node.Leave()
	s := newService(node.Name())
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements, Node: node.Name(), Relay: node.Relay, Direct: direct, Logger: log,
		Grace: 50 * time.Millisecond, // answers to a client go out through different nodes, and none is to overtake another
		Serve: func(st *bosh.Stream) { s.serve(st) },
	})
	node.Serve(h)
	if _, err := nc.Subscribe(news, func(m *nats.Msg) { s.got(m.Data) }); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/http-bind", h)
	mux.Handle("/monitor", h.Monitor())
	mux.Handle("/nodes", node.Monitor())
	mux.HandleFunc("POST /say", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
		if err == nil {
			err = nc.Publish(news, s.next(element(string(text))))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(ln)
	defer srv.Close()
	fmt.Println(node.Name(), ln.Addr())

	<-ctx.Done()
	if asked.Err() != nil { // a restart: another node goes on with the sessions
		bye, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := node.HandOver(bye, s.export); err != nil {
			log.Warn("cluster: some sessions end", "error", err)
		}
	}
	bye, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	h.Shutdown(bye)
	node.Leave()
	soon, cancel2 := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel2()
	srv.Shutdown(soon) // nobody waits for an answer any more; some connections have not been used yet
	return nil
}

// element returns the pushed element: JSON in a container of XEP-0335.
func element(text string) []byte {
	b, _ := json.Marshal(map[string]string{"text": text}) // which escapes <, > and &
	return append(append([]byte("<json xmlns='urn:xmpp:json:0'>"), b...), "</json>"...)
}
