// Command chat is a small XMPP server. It takes its clients over TCP and over
// BOSH with the same accept loop, and serves a page to chat with.
//
//	go run ./examples/chat
//
// It keeps everything in memory: accounts come from the command line, and
// messages for absent users are gone when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gobosh/bosh/internal/demo"
)

// shutdownTimeout is how long clients may take to hear of the end.
const shutdownTimeout = 10 * time.Second

// A config is the command line.
type config struct {
	http, https, c2s  string
	certFile, keyFile string
	domain            string
	users             []string
	anonymous         bool
	insecure          bool
	maxSessions       int
	direct            bool
	verbose           bool

	idle                                time.Duration // of a connection
	wait, inactivity, polling, maxpause time.Duration
}

func main() {
	cfg, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // the flag package has said it
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string, output io.Writer) (*config, error) {
	cfg := &config{}
	fs := flag.NewFlagSet("chat", flag.ContinueOnError)
	fs.SetOutput(output)
	fs.StringVar(&cfg.http, "http", "127.0.0.1:5280", "`address` of the page and of BOSH")
	fs.StringVar(&cfg.https, "https", "127.0.0.1:5281", "`address` of the same over TLS; empty for none")
	fs.StringVar(&cfg.certFile, "cert", "", "PEM `file` of the certificate; one is made if there is none")
	fs.StringVar(&cfg.keyFile, "key", "", "PEM `file` of its key")
	fs.StringVar(&cfg.c2s, "c2s", "127.0.0.1:5222", "`address` for XMPP clients over TCP; empty for none")
	fs.StringVar(&cfg.domain, "domain", "localhost", "the XMPP `domain`")
	fs.Func("user", "an account, as `name:password`; may be given again (default alice:alice and bob:bob)", func(s string) error {
		cfg.users = append(cfg.users, s)
		return nil
	})
	fs.BoolVar(&cfg.anonymous, "anonymous", true, "let guests log in")
	fs.BoolVar(&cfg.insecure, "insecure", false, "take passwords in the clear from other machines too")
	fs.DurationVar(&cfg.wait, "wait", 0, "the longest time that a request is held; 0 is the library's default, as with those below")
	fs.DurationVar(&cfg.inactivity, "inactivity", 0, "the longest time without a request")
	fs.DurationVar(&cfg.polling, "polling", 0, "the shortest interval between empty requests")
	fs.DurationVar(&cfg.maxpause, "maxpause", 0, "the longest pause")
	fs.IntVar(&cfg.maxSessions, "max-sessions", 0, "how many sessions there may be")
	fs.DurationVar(&cfg.idle, "idle-timeout", demo.IdleTimeout, "how long a connection is kept without a request; longer than what is in front keeps it")
	fs.BoolVar(&cfg.direct, "direct", false, "take HTTP/1.1 connections over from net/http: bosh.Options.Direct")
	fs.BoolVar(&cfg.verbose, "v", false, "log what happens; never what is said, nor any secret")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", fs.Arg(0))
		fmt.Fprintln(output, err)
		return nil, err
	}
	return cfg, nil
}

// run serves until ctx ends, and then sees all clients off.
func run(ctx context.Context, cfg *config, stdout io.Writer) error {
	level := slog.LevelWarn
	if cfg.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))

	users := cfg.users
	if users == nil {
		users = []string{"alice:alice", "bob:bob"}
	}
	accounts, err := newAccounts(cfg.domain, users)
	if err != nil {
		return err
	}
	srv := newServer(accounts, log)
	srv.anonymous = cfg.anonymous
	srv.insecure = cfg.insecure
	srv.maxSessions = cfg.maxSessions

	web, err := newWeb(cfg, srv)
	if err != nil {
		return err
	}
	defer web.close()
	failed := make(chan error, 4)
	var c2s net.Listener
	if cfg.c2s != "" {
		if c2s, err = net.Listen("tcp", cfg.c2s); err != nil {
			return err
		}
		defer c2s.Close()
		go func() { failed <- srv.serve(c2s) }()
	}
	go func() { failed <- srv.serve(web.bosh.Listener()) }()
	web.serve(failed)
	greet(stdout, cfg, srv, web, c2s)
	demo.SayRoom(stdout, "chat")

	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	fmt.Fprintln(stdout, "chat: shutting down")
	deadline, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if c2s != nil {
		c2s.Close()
	}
	// Both at once: clients of either kind may take their time.
	ended := make(chan error, 1)
	go func() { ended <- web.shutdown(deadline) }()
	if e := errors.Join(srv.shutdown(deadline), <-ended); e != nil {
		log.Warn("not all clients have heard the end", "err", e) // some are just gone
	}
	return err
}

// greet prints the addresses of the page and the logins.
func greet(w io.Writer, cfg *config, srv *server, web *web, c2s net.Listener) {
	var b strings.Builder
	for _, d := range web.doors {
		for _, url := range demo.URLs(d.scheme, d.Addr()) {
			fmt.Fprintf(&b, "chat: open %s  (BOSH at %shttp-bind)%s\n", url, url, d.warning(url, cfg.insecure))
		}
	}
	if c2s != nil {
		fmt.Fprintf(&b, "chat: XMPP over TCP at %s, without TLS\n", c2s.Addr())
	}
	fmt.Fprintf(&b, "chat: domain %s, accounts:", srv.domain)
	for _, u := range srv.registered {
		name, _, _ := strings.Cut(u.bare, "@")
		if cfg.users == nil {
			name += " (password " + name + ")"
		}
		fmt.Fprintf(&b, " %s", name)
	}
	if cfg.anonymous {
		b.WriteString(" and guests")
	}
	fmt.Fprintln(&b)
	io.WriteString(w, b.String())
}
