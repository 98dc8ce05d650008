package logs

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A fragile handler panics for a message, or when it is asked for a level.
type fragile struct {
	slog.Handler
	level slog.Level
}

func (h fragile) Enabled(_ context.Context, level slog.Level) bool {
	if level == h.level {
		panic("a level")
	}
	return true
}

func (h fragile) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "bad" {
		panic("a message")
	}
	return h.Handler.Handle(ctx, r)
}

func TestLogger(t *testing.T) {
	var out, errs bytes.Buffer
	defer func(was io.Writer) { stderr = was }(stderr)
	stderr = &errs
	l := Safe(slog.New(fragile{slog.NewTextHandler(&out, &slog.HandlerOptions{AddSource: true}), slog.LevelDebug}))
	assert.Same(t, l, Safe(l))

	l.Info("good", "a", 1)
	assert.Contains(t, out.String(), "msg=good a=1")
	assert.Contains(t, out.String(), "safe_test.go", "the source is the caller's")
	assert.Empty(t, errs.String())

	l.Info("bad")
	assert.Contains(t, errs.String(), "a message")
	assert.Contains(t, errs.String(), "safe_test.go", "the stack")
	l.Debug("good")
	assert.NotContains(t, errs.String(), "a level", "once is enough")

	out.Reset()
	l.With("b", 2).WithGroup("c").Info("good", "d", 3)
	assert.Contains(t, out.String(), "b=2 c.d=3")
}
