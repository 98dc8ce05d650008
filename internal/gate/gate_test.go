package gate

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var others atomic.Int64
		g := New(func() bool { return others.Load() > 0 })
		others.Add(1)
		g.Enter()
		g.Enter()
		g.Leave()
		assert.False(t, g.Closed())
		g.Close()
		assert.True(t, g.Closed())

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, g.Wait(ctx), context.DeadlineExceeded)

		var waited atomic.Int64
		for range 3 {
			go func() {
				assert.NoError(t, g.Wait(t.Context()))
				waited.Add(1)
			}()
		}
		g.Leave()
		synctest.Wait()
		assert.Zero(t, waited.Load(), "there is something else")
		others.Add(-1)
		g.Hush()
		synctest.Wait()
		assert.EqualValues(t, 3, waited.Load())
		assert.NoError(t, g.Wait(t.Context()))
	})
}

// What was over before the Gate was closed is not waited for.
func TestQuiet(t *testing.T) {
	g := New(func() bool { return false })
	g.Enter()
	g.Leave()
	g.Close()
	assert.NoError(t, g.Wait(t.Context()))
}
