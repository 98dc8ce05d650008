package registry

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var others atomic.Int64
		f := NewInFlight(func() bool { return others.Load() > 0 })
		others.Add(1)
		f.Enter()
		f.Enter()
		f.Leave()
		assert.False(t, f.Closed())
		f.Close()
		assert.True(t, f.Closed())

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, f.Wait(ctx), context.DeadlineExceeded)

		var waited atomic.Int64
		for range 3 {
			go func() {
				assert.NoError(t, f.Wait(t.Context()))
				waited.Add(1)
			}()
		}
		f.Leave()
		synctest.Wait()
		assert.Zero(t, waited.Load(), "there is something else")
		others.Add(-1)
		f.Notify()
		synctest.Wait()
		assert.EqualValues(t, 3, waited.Load())
		assert.NoError(t, f.Wait(t.Context()))
	})
}

// What was over before the InFlight was closed is not waited for.
func TestQuiet(t *testing.T) {
	f := NewInFlight(func() bool { return false })
	f.Enter()
	f.Leave()
	f.Close()
	assert.NoError(t, f.Wait(t.Context()))
}

// What drains is waited for without what has come in by Enter, and before it is closed.
func TestWaitIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var others atomic.Int64
		f := NewInFlight(func() bool { return others.Load() > 0 })
		others.Add(1)
		f.Enter()
		assert.False(t, f.Draining())
		f.Drain()
		assert.True(t, f.Draining())
		assert.False(t, f.Closed())
		var waited atomic.Int64
		for range 3 {
			go func() {
				assert.NoError(t, f.WaitIdle(t.Context()))
				waited.Add(1)
			}()
		}
		synctest.Wait()
		assert.Zero(t, waited.Load())
		others.Add(-1)
		f.Notify()
		synctest.Wait()
		assert.EqualValues(t, 3, waited.Load())
	})
}

// Who waits for more does not take the token of the others.
func TestWaitAndWaitIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 { // whoever comes first
			var others atomic.Int64
			f := NewInFlight(func() bool { return others.Load() > 0 })
			others.Add(1)
			f.Enter()
			f.Close()
			var all, idle atomic.Bool
			go func() {
				assert.NoError(t, f.Wait(t.Context()))
				all.Store(true)
			}()
			synctest.Wait()
			go func() {
				assert.NoError(t, f.WaitIdle(t.Context()))
				idle.Store(true)
			}()
			synctest.Wait()
			others.Add(-1)
			f.Notify()
			synctest.Wait()
			assert.True(t, idle.Load())
			assert.False(t, all.Load())
			f.Leave()
			synctest.Wait()
			assert.True(t, all.Load())
		}
	})
}
