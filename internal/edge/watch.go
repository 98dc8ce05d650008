package edge

import (
	"net/http"
	"sync"
	"time"
)

// A watch bounds the time for reading one body after the other. A body has mostly
// come whole when it is read, and to set and clear a deadline of its connection
// costs more than to read it. So a watch does that only for a body that is late. Its
// timer is left running from one body to the next.
//
// Make it by newWatch. It is for one goroutine at a time.
type watch struct {
	limit  time.Duration
	result func(error) // of setting a deadline

	mu      sync.Mutex // guards the following
	timer   *time.Timer
	ticking bool                // the timer runs
	w       http.ResponseWriter // of the body that is being read; or else nil
	until   time.Time           // when that must have come
	late    chan struct{}       // not nil if it has not: closed when the deadline of w has been set
}

func newWatch(limit time.Duration, result func(error)) *watch {
	return &watch{limit: limit, result: result}
}

// begin is called before the body of w's request is read.
func (t *watch) begin(w http.ResponseWriter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.w, t.until = w, time.Now().Add(t.limit)
	switch {
	case t.ticking:
		return
	case t.timer == nil:
		t.timer = time.AfterFunc(t.limit, t.ring)
	default:
		t.timer.Reset(t.limit)
	}
	t.ticking = true
}

// ring is called by the timer.
func (t *watch) ring() {
	t.mu.Lock()
	left := time.Until(t.until)
	if t.ticking = t.w != nil && left > 0; t.ticking {
		t.timer.Reset(left)
	}
	if t.w == nil || t.ticking {
		t.mu.Unlock()
		return
	}
	w, late := t.w, make(chan struct{})
	t.late = late
	t.mu.Unlock()
	t.set(w, past)
	close(late)
}

var past = time.Unix(1, 0)

// end is called when the body has been read. If that has failed, its rest may still
// be to come, which the http.Server waits for: then the limit stays.
func (t *watch) end(failed bool) {
	t.mu.Lock()
	w, until, late := t.w, t.until, t.late
	t.w, t.late = nil, nil
	t.mu.Unlock()
	if late != nil {
		<-late
	}
	if failed {
		t.set(w, until)
	} else if late != nil {
		t.set(w, time.Time{})
	}
}

// set sets the deadline for reading.
func (t *watch) set(w http.ResponseWriter, until time.Time) {
	t.result(http.NewResponseController(w).SetReadDeadline(until))
}
