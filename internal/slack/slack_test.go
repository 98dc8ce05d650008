package slack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A clock goes on by a step whenever it is read.
type clock struct{ at, step time.Duration }

func (c *clock) now() time.Duration {
	c.at += c.step
	return c.at
}

const long = 200 * time.Microsecond

func TestYield(t *testing.T) {
	c := &clock{at: time.Hour, step: long}
	s := New(c.now, long)
	for range 3 {
		assert.True(t, s.Yield(), "there is time")
	}
	c.step = long + 1
	assert.True(t, s.Yield(), "it is not known yet that there is none")
	c.step = 0
	for range 3 {
		c.at += pause / 4
		assert.False(t, s.Yield(), "it has taken long")
	}
	c.at += pause / 4
	c.step = long + 1
	assert.True(t, s.Yield(), "it is tried again")
	c.step = 0
	assert.False(t, s.Yield(), "it has taken long again")
	c.at += pause
	assert.True(t, s.Yield(), "it is tried again")
	for range 3 {
		assert.True(t, s.Yield(), "there is time")
	}
}

// One at a time tries whether there is time again.
func TestOneTries(t *testing.T) {
	c := &clock{at: time.Hour, step: long + 1}
	s := New(c.now, long)
	assert.True(t, s.Yield())
	c.at += pause
	readings := 0
	s.now = func() time.Duration {
		if readings++; readings == 2 { // in the middle of the try
			assert.False(t, s.Yield())
		}
		return c.now()
	}
	assert.True(t, s.Yield())
	assert.Equal(t, 3, readings)
}
