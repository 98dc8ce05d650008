package logs

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestNoRequests(t *testing.T) {
	var w Preflights
	assert.False(t, w.Preflight("https://a.example", 0))
	assert.True(t, w.Pending())
	assert.False(t, w.Preflight("https://a.example", second))
	assert.True(t, w.Preflight("https://a.example", 3*second))
	assert.False(t, w.Preflight("https://a.example", 4*second), "twice in 10 s")
	w.Request("https://a.example")
	assert.False(t, w.Pending())
	assert.False(t, w.Preflight("https://a.example", 20*second))
}

// Many pages that begin together ask many times before the first request comes.
func TestCrowd(t *testing.T) {
	var w Preflights
	for i := range 1000 {
		assert.False(t, w.Preflight("https://a.example", time.Duration(i)*time.Millisecond))
	}
	w.Request("https://a.example")
	assert.False(t, w.Preflight("https://a.example", 10*second))
}

// Requests of one page say nothing of another's.
func TestOrigins(t *testing.T) {
	var w Preflights
	for i := range 3 {
		got := w.Preflight("https://bad.example", time.Duration(i)*second)
		assert.Equal(t, i == 2, got)
		w.Preflight("https://good.example", time.Duration(i)*second)
		w.Request("https://good.example")
	}
}

func TestBounded(t *testing.T) {
	var w Preflights
	for i := range 1000 {
		w.Preflight(fmt.Sprint("https://", i, ".example"), 0)
	}
	assert.Len(t, w.asked, origins)
	for i := range 3 {
		got := w.Preflight("https://late.example", forgotten+second+time.Duration(i)*second)
		assert.Equal(t, i == 2, got)
	}
}
