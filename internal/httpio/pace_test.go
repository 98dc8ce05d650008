package httpio

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// flow has n bytes flow every interval, for as long as the deadline lets it and at most
// for as long as long, and returns how long that is.
func flow(l *Limit, n int, interval, long time.Duration) time.Duration {
	begin := time.Now()
	p := l.Begin()
	for time.Since(begin) < long {
		if left := time.Until(l.Deadline(&p)); left <= interval {
			time.Sleep(left)
			return time.Since(begin)
		}
		time.Sleep(interval)
		l.Flowed(&p, n)
	}
	return long
}

func TestPace(t *testing.T) {
	const second = time.Second
	for name, test := range map[string]struct {
		timeout  time.Duration
		rate, n  int
		interval time.Duration
		want     time.Duration
	}{
		"nothing":             {15 * second, 1000, 0, second, 15 * second},
		"a byte a second":     {15 * second, 1000, 1, second, 15 * second},
		"half the rate":       {15 * second, 1000, 500, second, 29 * second},
		"the rate":            {15 * second, 1000, 1000, second, Most},
		"in little pieces":    {15 * second, 1000, 10, 10 * time.Millisecond, Most},
		"in large pieces":     {15 * second, 1000, 14_000, 14 * second, Most},
		"in too large pieces": {15 * second, 1000, 1 << 30, 15*second + 1, 15 * second},
		"ten times the rate":  {15 * second, 1000, 10_000, second, Most},
		"no rate":             {15 * second, 0, 1 << 20, second, 15 * second},
		"a long time-out":     {time.Hour, 1000, 10_000, second, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := flow(NewLimit(test.timeout, test.rate), test.n, test.interval, 2*time.Hour)
				assert.InDelta(t, test.want.Seconds(), got.Seconds(), test.timeout.Seconds()/8)
				assert.LessOrEqual(t, got, max(test.want, test.timeout*2))
			})
		})
	}
}

// What has been fast may not stand still for longer.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimit(15*time.Second, 1000)
		p := l.Begin()
		time.Sleep(10 * time.Second)
		assert.True(t, l.Flowed(&p, 1<<20))
		assert.Equal(t, 15*time.Second, time.Until(l.Deadline(&p)))
		assert.False(t, l.Flowed(&p, 1<<20))
	})
}

func TestChunk(t *testing.T) {
	for _, test := range []struct {
		timeout    time.Duration
		rate, want int
	}{
		{30 * time.Second, 1024, 15 << 10}, {time.Second, 1024, minChunk}, {time.Hour, 1024, maxChunk},
		{65535 * time.Second, 1 << 30, maxChunk}, {30 * time.Second, 0, math.MaxInt}, {0, 1024, math.MaxInt},
	} {
		assert.Equal(t, test.want, NewLimit(test.timeout, test.rate).Chunk(), "%+v", test)
	}
	assert.False(t, NewLimit(0, 1024).On())
	assert.True(t, NewLimit(1, 0).On())
}
