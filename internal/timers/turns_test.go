package timers

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTurns(t *testing.T) {
	const began = time.Second
	crowd := func(t *Turns, now time.Duration) {
		for range 2 {
			t.Begin(0, now)
		}
	}
	var turns Turns
	crowd(&turns, began)
	assert.False(t, turns.Begin(0, began), "a client's first request")
	assert.True(t, turns.Begin(began, began), "at the same time")
	assert.True(t, turns.Begin(began, began+shortly-1))
	assert.False(t, turns.Begin(began, began+shortly), "it has waited long enough")

	t.Run("a client alone", func(t *testing.T) {
		var turns Turns
		last, now := time.Duration(0), began
		comes := func(d time.Duration) (yields bool) {
			for end := now + d; now < end; now += time.Millisecond {
				yields = turns.Begin(last, now) || yields
				last = now
			}
			return yields
		}
		assert.False(t, comes(3*period))
		turns.Begin(0, now)
		assert.True(t, comes(2*time.Millisecond), "another one has come")
		comes(2 * period)
		assert.False(t, comes(period), "the other one has left")
	})

	t.Run("others are first", func(t *testing.T) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		ran := 0
		for range 10 {
			done := make(chan struct{})
			go func() { close(done) }()
			turns.Yield(func() time.Duration { return 0 })
			select {
			case <-done:
				ran++
			default:
			}
		}
		assert.Greater(t, ran, 5)
	})

	for name, requests := range map[string]int{"a process that computes": 0, "one that serves requests": 20} {
		t.Run(name, func(t *testing.T) {
			var turns Turns
			var reads time.Duration // each reading of the clock is 10 ms after the last one
			now := func() time.Duration {
				for range requests {
					turns.Begin(0, 0)
				}
				reads += 10 * time.Millisecond
				return began + reads
			}
			turns.Yield(now)
			ended := began + reads
			crowd(&turns, ended)
			assert.Equal(t, requests > 0, turns.Begin(ended, ended))
			crowd(&turns, ended+respite)
			assert.True(t, turns.Begin(ended+respite, ended+respite))
		})
	}
}
