// Command bosh-proxy is a BOSH connection manager: it stands in front of any XMPP
// server on TCP, and lets clients in over HTTP.
//
//	go build -C examples/proxy -o ../../bosh-proxy .
//	./bosh-proxy -http 127.0.0.1:5280 -upstream example.org
//
// README.md tells operators how to use it.
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
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/gobosh/bosh/internal/demo"
	"github.com/gobosh/bosh/internal/probe"
	"github.com/gobosh/bosh/internal/version"
)

const program = "bosh-proxy"

// The exit codes of the program. A wrong command line stays wrong: a service
// manager need not try again.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command runs the program and returns its exit code.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "probe":
			return probe.Main(ctx, program+" probe", args[1:], stdout, stderr)
		case "health":
			return health(ctx, args[1:], stderr)
		case "help", "version":
			args = []string{"-" + args[0]}
		}
	}
	cfg, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage // parse has said it
	case cfg.version:
		fmt.Fprintf(stdout, "%s %s %s %s/%s\n", program, version.Module(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return 0
	case cfg.check:
		err = cfg.tryServers(ctx, stdout)
	default:
		err = run(ctx, cfg, stderr, nil)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", program, err)
		return exitFailed
	}
	return 0
}

// descriptorsEach is how many file descriptors a session takes: two connections of its
// client's, and one to the server.
const descriptorsEach = 3

// run serves until ctx is done and all clients and servers know. It calls ready,
// if there is one, when the ports are open.
func run(ctx context.Context, cfg *config, output io.Writer, ready func(*web)) error {
	log := logger(cfg, output)
	o := cfg.options
	m, err := cfg.cluster.join(&o, cfg.http, log)
	if err != nil {
		return err
	}
	defer m.leave()
	p := newProxy(cfg, o, log)
	if m != nil {
		p.cluster = m.node
		m.node.Serve(p.bosh)
	}
	w, err := listen(cfg, p, log)
	if err != nil {
		return err
	}
	attrs := []any{"version", version.Module(), "http", w.public.Addr().String(), "path", cfg.path}
	if w.admin != nil {
		attrs = append(attrs, "admin", w.admin.Addr().String())
	}
	if o.Node != "" {
		attrs = append(attrs, "node", o.Node)
	}
	if m != nil {
		attrs = append(attrs, "others", len(m.node.Nodes())-1)
	}
	log.Info("serving", attrs...)
	demo.LogSessions(log, descriptorsEach, int64(cfg.options.MaxSessions))
	for _, warning := range cfg.warnings {
		log.Warn(warning)
	}
	defer w.reloadAtSignal(log)()
	if ready != nil {
		ready(w)
	}
	select {
	case <-ctx.Done():
	case err = <-w.failed:
	}
	if err == nil && cfg.linger > 0 {
		log.Info("lingering", "for", cfg.linger, "sessions", w.proxy.bosh.Stats().Sessions)
		err = w.linger(cfg.linger)
	}
	log.Info("draining", "for", cfg.drain, "sessions", w.proxy.bosh.Stats().Sessions)
	began := time.Now()
	untold, derr := w.shutdown(cfg.drain)
	level := slog.LevelInfo
	if untold > 0 {
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, "drained", "not told", untold, "after", time.Since(began).Round(time.Millisecond))
	return errors.Join(err, derr)
}

func logger(cfg *config, output io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{ReplaceAttr: brief}
	if cfg.verbose {
		o.Level = slog.LevelDebug
	}
	if cfg.logJSON {
		return slog.New(slog.NewJSONHandler(output, o))
	}
	return slog.New(slog.NewTextHandler(output, o))
}

// maxText is how many bytes of a text are logged. Some texts come from clients,
// servers and the DNS.
const maxText = 300

// flagged names our flags for the library's options, and this program for its Handler.
var flagged = strings.NewReplacer(
	"Options.MaxSessions", "-max-sessions", "Options.MaxPerAddr", "-max-sessions-per-client", "Options.MaxBody", "-max-body",
	"Options.MaxMemory", "-max-memory", "Options.Wait", "-wait", "the Handler", program,
)

// brief names flags, cuts long texts, except the stack of a panic. A duration gets its unit, since JSON
// has none, and an address is a text there, too.
func brief(_ []string, a slog.Attr) slog.Attr {
	text := ""
	switch a.Key {
	case "stack":
		return a
	case slog.MessageKey:
		a.Value = slog.StringValue(flagged.Replace(a.Value.String()))
		return a
	case "cause", "error":
		if named := flagged.Replace(a.Value.String()); named != a.Value.String() {
			a.Value = slog.StringValue(named)
		}
	}
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	case time.Duration:
		a.Value = slog.StringValue(inSeconds(v))
	case net.Addr:
		a.Value = slog.StringValue(v.String())
	}
	if len(text) > maxText {
		a.Value = slog.StringValue(strings.ToValidUTF8(text[:maxText], "") + "...")
	}
	return a
}
