package logs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const second = time.Second

func TestSameAge(t *testing.T) {
	var w Cutoffs
	assert.False(t, w.GivenUp(1, 30*second, 30*second))
	assert.False(t, w.GivenUp(1, 30*second+20*time.Millisecond, 60*second))
	assert.True(t, w.GivenUp(1, 30*second-20*time.Millisecond, 90*second))
	assert.False(t, w.GivenUp(1, 30*second, 95*second), "twice in 10 s")
	assert.True(t, w.GivenUp(1, 30*second, 120*second))
}

// Clients that leave do so once, and whenever they like.
func TestClientsThatLeave(t *testing.T) {
	var w Cutoffs
	for i := range int64(10_000) {
		assert.False(t, w.GivenUp(i, 30*second, time.Duration(i)*second))
	}
	for i := range 100 {
		assert.False(t, w.GivenUp(7, time.Duration(i%3+1)*10*second, time.Duration(20_000+i)*second))
		assert.False(t, w.GivenUp(8, 100*time.Millisecond, time.Duration(20_000+i)*second), "a page that is loaded again")
	}
}

// Sessions that share a slot keep each other from being seen for a while only.
func TestSharedSlot(t *testing.T) {
	var w Cutoffs
	now := time.Duration(0)
	said := false
	for range 100 {
		for _, session := range []int64{1, 1 + slots} {
			now += 30 * second
			said = w.GivenUp(session, 30*second, now) || said
		}
	}
	assert.True(t, said)
	w = Cutoffs{}
	w.GivenUp(1, 30*second, 0) // and never again
	now = stale + second
	for range enough - 1 {
		assert.False(t, w.GivenUp(1+slots, 30*second, now))
	}
	assert.True(t, w.GivenUp(1+slots, 30*second, now))
}
