package netconn

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// An owner is what a Deadline belongs to.
type owner struct {
	mu    sync.Mutex
	d     Deadline
	wakes int
}

// set sets the deadline d from now, or none if d is 0.
func (o *owner) set(d time.Duration) {
	at := time.Time{}
	if d != 0 {
		at = time.Now().Add(d)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.d.Set(&o.mu, at, func() {
		if o.mu.TryLock() {
			panic("the lock is not held")
		}
		o.wakes++
	})
}

func (o *owner) state() (expired bool, passed, wakes int) {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.d.Expired(), int(o.d.Passed()), o.wakes
}

// A step sets the deadline, or lets time go on.
type step struct {
	set, wait time.Duration // set: 0 for neither, never for no deadline
	expired   bool
	passed    int // how often until now
}

const never = -1 << 60

func TestDeadline(t *testing.T) {
	for name, steps := range map[string][]step{
		"none":            {{wait: time.Hour}},
		"future":          {{set: 5}, {wait: 4}, {wait: 1, expired: true, passed: 1}, {wait: 9, expired: true, passed: 1}},
		"past":            {{set: -1, expired: true, passed: 1}},
		"taken back":      {{set: 5}, {wait: 4}, {set: never}, {wait: 9}},
		"extended":        {{set: 5}, {wait: 4}, {set: 5}, {wait: 4}, {wait: 1, expired: true, passed: 1}},
		"shortened":       {{set: 50}, {set: 1}, {wait: 1, expired: true, passed: 1}, {wait: 60, expired: true, passed: 1}},
		"again":           {{set: 1}, {wait: 1, expired: true, passed: 1}, {set: 3, passed: 1}, {wait: 3, expired: true, passed: 2}},
		"set and cleared": {{set: -1, expired: true, passed: 1}, {set: never, passed: 1}, {wait: 9, passed: 1}},
		"past, twice":     {{set: -1, expired: true, passed: 1}, {set: -1, expired: true, passed: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o owner
				for i, s := range steps {
					switch s.set {
					case 0:
						time.Sleep(s.wait)
					case never:
						o.set(0)
					default:
						o.set(s.set)
					}
					expired, passed, wakes := o.state()
					assert.Equal(t, s.expired, expired, "step %d", i)
					assert.Equal(t, s.passed, passed, "step %d", i)
					assert.Equal(t, passed, wakes, "step %d: who waits is woken each time", i)
				}
			})
		})
	}
}

// A timer that fires while the deadline is being moved does not count.
func TestMovedWhileFiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o owner
		o.set(time.Second)
		o.mu.Lock()
		time.Sleep(time.Second) // the timer waits for the lock
		o.d.Set(&o.mu, time.Now().Add(time.Second), func() { o.wakes++ })
		o.mu.Unlock()
		time.Sleep(time.Second / 2)
		expired, passed, _ := o.state()
		assert.False(t, expired)
		assert.Zero(t, passed)
		time.Sleep(time.Second / 2)
		expired, passed, wakes := o.state()
		assert.True(t, expired)
		assert.Equal(t, 1, passed)
		assert.Equal(t, 1, wakes)
	})
}
