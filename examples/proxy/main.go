// Command proxy is a BOSH connection manager: it stands in front of any XMPP
// server that speaks TCP, and lets clients in that speak HTTP.
//
//	go run ./examples/proxy -http 127.0.0.1:5280 -upstream example.org
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
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	cfg, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // parse has said it
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, cfg, os.Stderr, nil); err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done and all clients and servers know. It calls ready,
// if there is one, when the ports are open.
func run(ctx context.Context, cfg *config, output io.Writer, ready func(*web)) error {
	log := logger(cfg, output)
	w, err := listen(cfg, newProxy(cfg, cfg.options, log), log)
	if err != nil {
		return err
	}
	attrs := []any{"http", w.public.Addr().String(), "path", cfg.path}
	if w.admin != nil {
		attrs = append(attrs, "admin", w.admin.Addr().String())
	}
	log.Info("serving", attrs...)
	for _, warning := range cfg.warnings {
		log.Warn(warning)
	}
	if ready != nil {
		ready(w)
	}
	select {
	case <-ctx.Done():
	case err = <-w.failed:
	}
	log.Info("draining", "for", cfg.drain)
	untold, derr := w.shutdown(cfg.drain)
	log.Info("drained", "clients not told", untold)
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

// maxText is how many bytes of a text are logged. Clients, servers and the DNS say
// some of what is in it.
const maxText = 300

// brief cuts what is long, but for the stack of a panic.
func brief(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "stack" || a.Key == slog.MessageKey {
		return a
	}
	text := ""
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	}
	if len(text) > maxText {
		a.Value = slog.StringValue(strings.ToValidUTF8(text[:maxText], "") + "...")
	}
	return a
}
