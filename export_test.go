package bosh

import (
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/slack"
)

// BeBusy has h take the process for a busy one, but for every tenth time or so.
func (h *Handler) BeBusy() {
	var readings atomic.Int64
	h.reading = slack.New(func() time.Duration { return time.Duration(readings.Add(1)) * time.Millisecond }, readingSlack)
	h.reading.Yield()
}

// Effective returns what o comes to.
func (o Options) Effective() Options { return o.withDefaults() }

// Direct reports whether h has the direct engine.
func (h *Handler) Direct() bool { return h.engine != nil }
