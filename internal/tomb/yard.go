package tomb

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Yard keeps Stones, each for the same time. Make it by New.
type Yard struct {
	keep  time.Duration
	size  *atomic.Int64
	epoch time.Time
	seed  maphash.Seed

	mu    sync.Mutex // guards the following
	plots []*plot    // the oldest first
	timer *time.Timer
	wound bool // timer is to fire
}

// A plot has the Stones that came within rest. They leave it together, in no time,
// and the garbage collector need not look into it.
type plot struct {
	text  []byte            // what carve has made, each behind its length and when its time is over
	place map[uint64]uint32 // by the hash of the sid: where that begins
	count int               // of them
	begun time.Duration     // since the Yard's epoch
	until time.Duration     // for the last one
}

// rest is how long the Yard is left alone at least, since to look at each Stone
// when its time comes costs more than to keep some for longer. Nobody gets to see
// those.
const rest = time.Second

const (
	room    = 100      // what a Stone takes besides its text, about
	maxPlot = 32 << 20 // bytes of a plot
	prefix  = 4 + 8    // bytes before a Stone's text
)

// New returns a Yard that keeps Stones for the time keep. To size it adds what
// they take in bytes, about.
func New(keep time.Duration, size *atomic.Int64) *Yard {
	y := &Yard{keep: keep, size: size, epoch: time.Now(), seed: maphash.MakeSeed()}
	y.timer = time.AfterFunc(keep, y.ring)
	y.timer.Stop()
	return y
}

// Put adds the Stone of a session. There may be no other of its sid, which may
// have up to 255 bytes.
func (y *Yard) Put(l *Life, answers []Answer) {
	y.mu.Lock()
	defer y.mu.Unlock()
	now := time.Since(y.epoch)
	y.sweep(now)
	p := y.plot(now)
	at := len(p.text)
	p.place[maphash.String(y.seed, l.SID)] = uint32(at)
	var head [prefix]byte
	p.text = carve(append(p.text, head[:]...), l, answers)
	p.until = now + y.keep
	p.count++
	binary.BigEndian.PutUint32(p.text[at:], uint32(len(p.text)-at-prefix))
	binary.BigEndian.PutUint64(p.text[at+4:], uint64(p.until))
	y.size.Add(int64(len(p.text)-at) + room)
	y.wind(now)
}

// plot returns the plot for a Stone that comes now.
func (y *Yard) plot(now time.Duration) *plot {
	n := len(y.plots)
	if n > 0 && now-y.plots[n-1].begun < rest && len(y.plots[n-1].text) < maxPlot {
		return y.plots[n-1]
	}
	var last plot
	if n > 0 {
		last = *y.plots[n-1]
	}
	p := &plot{ // it will get about as many as the last
		text:  make([]byte, 0, len(last.text)+len(last.text)/8),
		place: make(map[uint64]uint32, len(last.place)),
		begun: now,
	}
	y.plots = append(y.plots, p)
	return p
}

// Get returns the Stone of a sid.
func (y *Yard) Get(sid []byte) (s Stone, ok bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	now, hash := time.Since(y.epoch), maphash.Bytes(y.seed, sid)
	for _, p := range y.plots {
		at, ok := p.place[hash]
		if !ok || !is(p.text[at+prefix:], sid) {
			continue
		}
		n := binary.BigEndian.Uint32(p.text[at:])
		until := time.Duration(binary.BigEndian.Uint64(p.text[at+4:]))
		return Stone{string(p.text[at+prefix:][:n])}, now < until
	}
	return Stone{}, false
}

// sweep removes the Stones whose time is over.
func (y *Yard) sweep(now time.Duration) {
	n := 0
	for n < len(y.plots) && y.plots[n].until <= now {
		p := y.plots[n]
		y.size.Add(-int64(len(p.text)) - int64(p.count)*room)
		n++
	}
	y.plots = slices.Delete(y.plots, 0, n)
}

// ring is called by the timer.
func (y *Yard) ring() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.wound = false
	now := time.Since(y.epoch)
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
