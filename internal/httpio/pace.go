package httpio

import (
	"math"
	"time"
)

// A Limit bounds transfers of a kind. Make it by NewLimit.
type Limit struct {
	timeout, most time.Duration
	rate          int64
	epoch         time.Time
}

// Most is how long an uninterrupted transfer may take, unless its time-out is longer.
const Most = 15 * time.Minute

// NewLimit returns a Limit: a transfer may fall behind rate, in bytes a second, by timeout.
// Without a rate it ends at timeout in any case, and without a timeout it may take
// as long as it likes. None of them is negative.
func NewLimit(timeout time.Duration, rate int) *Limit {
	return &Limit{timeout: timeout, most: max(timeout, Most), rate: int64(rate), epoch: time.Now()}
}

// On reports whether there is a limit. A nil Limit is none.
func (l *Limit) On() bool { return l != nil && l.timeout > 0 }

// Soon returns the time by which something just begun must end, if it does not flow.
func (l *Limit) Soon() time.Time { return l.epoch.Add(l.now() + l.timeout) }

// now is the time since the Limit was made. It asks one clock where time.Now asks two.
func (l *Limit) now() time.Duration { return time.Since(l.epoch) }

// A Pace is how a transfer goes.
type Pace struct {
	due  time.Duration // when it must end if nothing more flows
	set  time.Duration // the due that its deadline is
	last time.Duration // when it must end
}

// Begin returns the Pace of a transfer beginning now.
func (l *Limit) Begin() Pace {
	now := l.now()
	return Pace{due: now + l.timeout, set: now + l.timeout, last: now + l.most}
}

// Deadline returns when the transfer must end unless more of it flows.
func (l *Limit) Deadline(p *Pace) time.Time { return l.epoch.Add(p.set) }

// Flowed takes note of n more transferred bytes. They earn the time that they may take. It
// reports whether the deadline is a later one now. It is left alone as long as it is late
// enough.
func (l *Limit) Flowed(p *Pace, n int) bool {
	if l.rate == 0 || l.timeout == 0 {
		return false
	}
	earned := time.Duration(int64(n) * int64(time.Second) / l.rate)
	p.due = min(p.due+earned, l.now()+l.timeout, p.last)
	if p.due-p.set < l.timeout/grain {
		return false
	}
	p.set = p.due
	return true
}

// grain is the share of a time-out by which a deadline may be too early.
const grain = 16

// Chunk returns how many bytes to write at a time, so that their flow can be seen.
func (l *Limit) Chunk() int {
	if !l.On() || l.rate == 0 {
		return math.MaxInt
	}
	return max(minChunk, int(min(maxChunk, l.rate*int64(l.timeout/time.Millisecond)/2000)))
}

// Fewer bytes than minChunk net/http keeps back, and more than maxChunk a kernel hardly
// takes at a time.
const (
	minChunk = 4 << 10
	maxChunk = 64 << 10
)
