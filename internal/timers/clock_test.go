package timers

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// An owner is what has an Alarm.
type owner struct {
	busy chan struct{} // until it is closed; nil if it never is

	mu    sync.Mutex // guards the following
	alarm Alarm
	rung  []time.Duration
}

func (o *owner) rings() []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rung
}

type clock struct{ *Clock[*owner] }

func newClock() (c clock) {
	c.Clock = NewClock(func(o *owner) *Alarm { return &o.alarm }, func(o *owner) {
		if o.busy != nil {
			<-o.busy
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.alarm.Rung()
		o.rung = append(o.rung, c.Now())
	})
	return c
}

func (c clock) owner() *owner { return &owner{alarm: c.Alarm()} }

func (c clock) set(o *owner, d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.Set(o, c.Now(), c.Now()+d)
}

func (c clock) stop(o *owner) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.Stop(o)
}

func TestAlarm(t *testing.T) {
	for name, test := range map[string]struct {
		use  func(c clock, o *owner)
		want []time.Duration
	}{
		"never":    {func(clock, *owner) {}, nil},
		"past":     {func(c clock, o *owner) { c.set(o, -time.Second) }, []time.Duration{0}},
		"future":   {func(c clock, o *owner) { c.set(o, time.Hour) }, []time.Duration{time.Hour}},
		"earlier":  {func(c clock, o *owner) { c.set(o, time.Hour); c.set(o, time.Minute) }, []time.Duration{time.Minute}},
		"later":    {func(c clock, o *owner) { c.set(o, time.Minute); c.set(o, time.Hour) }, []time.Duration{time.Minute}},
		"put off":  {func(c clock, o *owner) { c.set(o, soon); c.set(o, time.Hour) }, []time.Duration{time.Hour}},
		"stopped":  {func(c clock, o *owner) { c.set(o, time.Hour); c.stop(o) }, nil},
		"again":    {func(c clock, o *owner) { c.set(o, 1); synctest.Wait(); time.Sleep(2 * time.Nanosecond); c.set(o, 1) }, []time.Duration{1, 3}},
		"stop all": {func(c clock, o *owner) { c.stop(o); c.set(o, 5); c.stop(o); c.stop(o); c.set(o, 7) }, []time.Duration{7}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClock()
				o := c.owner()
				test.use(c, o)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				assert.Equal(t, test.want, o.rings())
			})
		})
	}
}

// Many alarms that are set, moved and stopped ring when they are to, and no other.
func TestManyAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		r := rand.New(rand.NewPCG(1, 2))
		owners := make([]*owner, 500)
		want := make([]time.Duration, len(owners))
		for i := range owners {
			owners[i] = c.owner()
		}
		for range 5000 {
			i := r.IntN(len(owners))
			c.stop(owners[i])
			if want[i] = 0; r.IntN(4) > 0 {
				d := time.Second + time.Duration(r.IntN(1000))*time.Millisecond
				c.set(owners[i], d)
				want[i] = c.Now() + d
			}
			time.Sleep(time.Microsecond)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for i, o := range owners {
			var rings []time.Duration
			if want[i] != 0 {
				rings = []time.Duration{want[i]}
			}
			assert.Equal(t, rings, o.rings())
		}
		for i := range c.shards {
			assert.True(t, c.shards[i].queue.empty())
			assert.Zero(t, c.shards[i].at, "no timer is left")
		}
	})
}

// The room of a peak is given back.
func TestPeak(t *testing.T) {
	q := queue[*owner]{of: func(o *owner) *Alarm { return &o.alarm }}
	owners := make([]*owner, 100*maxSpare)
	for i := range owners {
		owners[i] = new(owner)
		q.put(owners[i], time.Duration(i))
	}
	for _, o := range owners[10:] {
		q.remove(o)
	}
	assert.LessOrEqual(t, cap(q.entries), maxSpare)
	for i := range 10 {
		assert.Same(t, owners[i], q.first().owner)
		q.remove(owners[i])
	}
	assert.True(t, q.empty())
}

// An owner that is busy delays no other.
func TestBusyOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		owners := make([]*owner, 3*shards)
		for i := range owners {
			owners[i] = c.owner()
			owners[i].busy = make(chan struct{})
			c.set(owners[i], time.Second)
		}
		late := c.owner()
		c.set(late, 2*time.Second)
		for _, o := range owners[2*shards:] {
			close(o.busy)
		}
		time.Sleep(3 * time.Second)
		for _, o := range owners[2*shards:] {
			assert.Equal(t, []time.Duration{time.Second}, o.rings())
		}
		assert.Equal(t, []time.Duration{2 * time.Second}, late.rings())
		for _, o := range owners[:2*shards] {
			assert.Empty(t, o.rings())
			close(o.busy)
		}
	})
}

func BenchmarkSet(b *testing.B) {
	c := newClock()
	b.RunParallel(func(pb *testing.PB) {
		owners := make([]*owner, 1000)
		for i := range owners {
			owners[i] = c.owner()
		}
		for i := 0; pb.Next(); i++ {
			o := owners[i%len(owners)]
			c.stop(o)
			c.set(o, time.Hour)
		}
	})
}
