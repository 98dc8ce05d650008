package timers

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Turns has clients take turns in a process at its limit. A fast client's next request may
// be there when the goroutine of its last one comes back. It could be served again and
// again, while others wait in the network poller. The zero value is ready for use. It may
// be used by several goroutines at once.
type Turns struct {
	begun atomic.Int64 // requests
	again atomic.Int64 // until then nobody is put off

	period  atomic.Int64 // that now is in
	clients atomic.Int64 // that have come in this period
	before  atomic.Int64 // those of the period before
}

const (
	// shortly is how soon after the last request of a client another one waits for others to
	// have their turn. With more clients than can be served in that time, all wait in the
	// poller.
	shortly = 4 * time.Millisecond

	// period is for how long clients are counted.
	period = 20 * time.Millisecond

	// slice is how long a busy goroutine runs at a time.
	slice = 10 * time.Millisecond

	// respite is how long nobody is put off after the process was busy with something
	// else than requests.
	respite = 100 * time.Millisecond
)

// Begin takes note of a request. It reports whether others are to have their turn before
// it: see Yield. last is the time of the same client's request before, or 0 if there was
// none.
func (t *Turns) Begin(last, now time.Duration) (yields bool) {
	t.begun.Add(1)
	others := t.others(last, now)
	return others && last > 0 && now-last < shortly && int64(now) >= t.again.Load()
}

// others counts a client, and reports whether there have been others of late. A client
// alone would but lose time.
func (t *Turns) others(last, now time.Duration) bool {
	p := int64(now / period)
	if was := t.period.Load(); was != p && t.period.CompareAndSwap(was, p) {
		n := t.clients.Swap(0)
		if was+1 != p {
			n = 0
		}
		t.before.Store(n)
	}
	if last == 0 || int64(last/period) != p {
		t.clients.Add(1)
	}
	return max(t.clients.Load(), t.before.Load()) > 1
}

// Yield lets others have their turn. In a busy process that may take long, so there it is
// rarely called for.
func (t *Turns) Yield(now func() time.Duration) {
	began, others := now(), t.begun.Load()
	runtime.Gosched()
	ended := now()
	if took := ended - began; took > slice/2 && t.begun.Load()-others < int64(took/long) {
		t.again.Store(int64(ended + respite))
	}
}
