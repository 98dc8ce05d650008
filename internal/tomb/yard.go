package tomb

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh/internal/alarm"
)

// A Yard keeps Stones, each for the same time. Make it by New.
type Yard struct {
	keep  time.Duration
	size  *atomic.Int64
	epoch time.Time

	mu    sync.Mutex     // guards the following
	place map[string]int // by sid: the Stone's place in the queue, counted from the first there ever was
	queue []grave        // the oldest first
	gone  int            // how many have left the queue
	alarm alarm.Alarm    // rings when some are due; not set if the queue is empty
}

type grave struct {
	stone Stone
	until time.Duration // since epoch
}

// New returns a Yard that keeps Stones for the time keep. To size it adds what
// they take in bytes, about.
func New(keep time.Duration, size *atomic.Int64) *Yard {
	y := &Yard{keep: keep, size: size, epoch: time.Now()}
	y.alarm = alarm.New(y.ring)
	return y
}

// room is what a Stone takes besides its text, about.
const room = 100

// rest is how long the Yard is left alone at least, since sweeping it for each
// Stone costs more than to keep some for longer. Nobody gets to see those.
const rest = time.Second

// Put adds a Stone. There may be no other of its sid.
func (y *Yard) Put(s Stone) {
	y.mu.Lock()
	defer y.mu.Unlock()
	now := time.Since(y.epoch)
	y.sweep(now)
	if y.place == nil {
		y.place = make(map[string]int)
	}
	y.place[s.SID()] = y.gone + len(y.queue)
	y.queue = append(y.queue, grave{s, now + y.keep})
	y.size.Add(int64(len(s.text)) + room)
	y.wind(now)
}

// Get returns the Stone of a sid.
func (y *Yard) Get(sid []byte) (s Stone, ok bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	i, ok := y.place[string(sid)]
	if !ok {
		return Stone{}, false
	}
	g := y.queue[i-y.gone]
	return g.stone, time.Since(y.epoch) < g.until
}

// sweep removes the Stones whose time is over.
func (y *Yard) sweep(now time.Duration) {
	for len(y.queue) > 0 && y.queue[0].until <= now {
		s := y.queue[0].stone
		delete(y.place, s.SID())
		y.size.Add(-int64(len(s.text)) - room)
		y.queue[0] = grave{}
		y.queue = y.queue[1:]
		y.gone++
	}
	if len(y.queue) == 0 {
		y.queue, y.place = nil, nil // maps do not shrink
	}
}

// ring is called by the timer.
func (y *Yard) ring() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.alarm.Fired()
	now := time.Since(y.epoch)
	if y.sweep(now); len(y.queue) > 0 {
		y.wind(now)
	}
}

// wind sets the alarm for the first Stone in the queue.
func (y *Yard) wind(now time.Duration) { y.alarm.Set(now, max(y.queue[0].until, now+rest)) }
