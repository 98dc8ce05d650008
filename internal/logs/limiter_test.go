package logs

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRation(t *testing.T) {
	var r Limiter
	take := func(now time.Duration, held int64, ok bool) {
		t.Helper()
		gotHeld, gotOK := r.Take(now)
		assert.Equal(t, held, gotHeld)
		assert.Equal(t, ok, gotOK)
	}
	take(0, 0, true)
	take(0, 0, false)
	take(Every-1, 0, false)
	take(Every, 2, true)
	take(2*Every, 0, true)
	take(2*Every, 0, false)
}

func TestOneSays(t *testing.T) {
	var r Limiter
	var said, held atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if n, ok := r.Take(time.Second); ok {
				said.Add(1)
				held.Add(n)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, said.Load())
	n, ok := r.Take(time.Minute)
	assert.True(t, ok)
	assert.EqualValues(t, 99, held.Load()+n)
}
