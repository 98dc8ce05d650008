package bosh

import (
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/timers"
)

// BeBusy has h take the process for a busy one.
func (h *Handler) BeBusy() {
	var readings atomic.Int64
	now := func() time.Duration { return time.Duration(readings.Add(1)) * time.Millisecond }
	h.idle = timers.NewIdle(now, (*Session).look)
}

// Effective returns what o comes to.
func (o Options) Effective() Options { return o.withDefaults() }
