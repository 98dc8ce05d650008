// Package logs keeps logging harmless: a panicking handler does no damage, texts of
// clients are cut, and repeated events are logged at intervals.
package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
)

// stderr is where panics are reported.
var stderr io.Writer = os.Stderr

// Safe returns a logger by the handler of l. It reports the first of the handler's
// panics on standard error.
func Safe(l *slog.Logger) *slog.Logger {
	if _, ok := l.Handler().(handler); ok {
		return l
	}
	return slog.New(handler{l.Handler(), new(sync.Once)})
}

type handler struct {
	slog.Handler
	report *sync.Once
}

func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	defer h.caught()
	return h.Handler.Enabled(ctx, level)
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	defer h.caught()
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.report}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.report}
}

// caught is to be deferred.
func (h handler) caught() {
	if v := recover(); v != nil {
		h.report.Do(func() {
			fmt.Fprintf(stderr, "bosh: the handler of the logger panicked, and may do so again: %v\n%s", v, debug.Stack())
		})
	}
}
