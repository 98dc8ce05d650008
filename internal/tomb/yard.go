package tomb

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Yard keeps Stones, each for the same time. Make it by New.
type Yard struct {
	keep time.Duration
	now  func() time.Duration
	size *atomic.Int64
	seed maphash.Seed

	mu    sync.Mutex // guards the following
	plots []*plot    // the oldest first
	timer *time.Timer
	wound bool // timer is to fire
}

// rest is how long the Yard is left alone at least, since to look at each Stone
// when its time comes costs more than to keep some for longer. Nobody gets to see
// those.
const rest = time.Second

// room is what a Stone takes besides its text, with its place, in bytes, about.
const room = 100

// New returns a Yard that keeps Stones for the time keep, as now measures time. To
// size it adds what they take in bytes, about.
func New(keep time.Duration, now func() time.Duration, size *atomic.Int64) *Yard {
	y := &Yard{keep: keep, now: now, size: size, seed: maphash.MakeSeed()}
	y.timer = time.AfterFunc(keep, y.ring)
	y.timer.Stop()
	return y
}

// Put adds the Stone of a session. There may be no other of its sid, which may
// have up to 255 bytes. It is now now, or was a moment ago.
func (y *Yard) Put(now time.Duration, l *Life, answers []Answer) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.sweep(now)
	n := y.plot(now).put(now+y.keep, l, answers)
	y.size.Add(int64(n) + room)
	y.wind(now)
}

// plot returns the plot for a Stone that comes now.
func (y *Yard) plot(now time.Duration) *plot {
	if n := len(y.plots); n > 0 && now-y.plots[n-1].begun < rest {
		return y.plots[n-1]
	}
	p := &plot{begun: now}
	y.plots = append(y.plots, p)
	return p
}

// Get returns the Stone of a sid.
func (y *Yard) Get(sid []byte) (s Stone, ok bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	now, hash := y.now(), maphash.Bytes(y.seed, sid)
	for _, p := range y.plots {
		p.index(y.seed)
		at, ok := p.places[hash]
		if !ok {
			continue
		}
		if text, until := p.stone(at); string(sidOf(text)) == string(sid) {
			return Stone{string(text)}, now < until
		}
	}
	return Stone{}, false
}

// sweep removes the Stones whose time is over.
func (y *Yard) sweep(now time.Duration) {
	n := 0
	for n < len(y.plots) && y.plots[n].until <= now {
		p := y.plots[n]
		y.size.Add(-int64(p.size) - int64(p.count)*room)
		n++
	}
	y.plots = slices.Delete(y.plots, 0, n)
}

// ring is called by the timer.
func (y *Yard) ring() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.wound = false
	now := y.now()
	if y.sweep(now); len(y.plots) > 0 {
		y.wind(now)
	}
}

// wind sets the timer for the first plot, unless it is set: nothing is due before
// what was due first then.
func (y *Yard) wind(now time.Duration) {
	if !y.wound {
		y.timer.Reset(max(y.plots[0].until-now, rest))
		y.wound = true
	}
}
