package timers

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A steps clock goes on by a step whenever it is read.
type steps struct{ at, step atomic.Int64 }

func (c *steps) now() time.Duration { return time.Duration(c.at.Add(c.step.Load())) }

// An member notes how it is looked at.
type member struct {
	want  int // how often, to be done
	looks int
	lasts int
}

func (o *member) look(last bool) (done bool) {
	o.looks++
	if last {
		o.lasts++
	}
	return o.looks == o.want
}

func bubble(t *testing.T, f func(c *steps, s *Idle[*member])) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		c := new(steps)
		c.at.Store(int64(time.Hour))
		f(c, NewIdle(c.now, (*member).look))
	})
}

func TestSpare(t *testing.T) {
	bubble(t, func(c *steps, s *Idle[*member]) {
		spare := func() bool {
			defer synctest.Wait()
			return s.Spare(time.Duration(c.at.Load()))
		}
		assert.False(t, spare(), "it is not known yet that there is time")
		assert.True(t, spare())

		c.step.Store(int64(long + 1))
		s.After(0, &member{want: 1})
		synctest.Wait()
		for range 10 {
			assert.False(t, spare(), "there is none")
		}
		c.step.Store(0)
		c.at.Add(int64(pause / 2))
		assert.False(t, spare())
		assert.False(t, spare(), "it is left alone for a while")
		c.at.Add(int64(pause))
		c.step.Store(int64(long + 1))
		assert.False(t, spare())
		c.step.Store(0)
		assert.False(t, spare(), "it was tried, and there was none")
		c.at.Add(int64(2 * pause))
		assert.False(t, spare())
		assert.True(t, spare(), "it was tried again")
	})
}

func TestAfter(t *testing.T) {
	bubble(t, func(c *steps, s *Idle[*member]) {
		s.spare.Store(true)
		after := func(want int) *member {
			o := &member{want: want}
			s.After(time.Duration(c.at.Load()), o)
			return o
		}
		once, often, never := after(1), after(looks-1), after(-1)
		synctest.Wait()
		assert.Equal(t, member{1, 1, 0}, *once)
		assert.Equal(t, member{looks - 1, looks - 1, 0}, *often)
		assert.Equal(t, member{-1, looks, 1}, *never)
		assert.False(t, s.running)
		assert.True(t, s.spare.Load())

		c.step.Store(int64(long + 1))
		never = after(-1)
		synctest.Wait()
		assert.Equal(t, member{-1, 1, 1}, *never, "it is late already")
		assert.False(t, s.spare.Load())
	})
}

func BenchmarkAfter(b *testing.B) {
	epoch := time.Now()
	done := make(chan struct{})
	s := NewIdle(func() time.Duration { return time.Since(epoch) }, func(struct{}, bool) bool { done <- struct{}{}; return true })
	b.ReportAllocs()
	for b.Loop() {
		s.After(s.now(), struct{}{})
		<-done
	}
}
