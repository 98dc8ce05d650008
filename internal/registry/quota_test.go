package registry

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestQuota(t *testing.T) {
	q := Quota{Max: 3, MaxEach: 2}
	assert.NoError(t, q.Take("a"))
	assert.NoError(t, q.Take("a"))
	assert.ErrorIs(t, q.Take("a"), ErrMaxEach)
	assert.NoError(t, q.Take("b"))
	assert.ErrorIs(t, q.Take("c"), ErrMax)
	assert.EqualValues(t, 3, q.Taken())
	assert.EqualValues(t, 2, q.Give("a"))
	assert.NoError(t, q.Take("c"))
	q.Give("a")
	q.Give("b")
	assert.EqualValues(t, 0, q.Give("c"))
	assert.Empty(t, q.each)
}

func TestQuotaHasNoRoomForTwoAtOnce(t *testing.T) {
	q := Quota{Max: 50}
	var wg sync.WaitGroup
	taken := make(chan bool, 100)
	for range 100 {
		wg.Go(func() { taken <- q.Take("x") == nil })
	}
	wg.Wait()
	close(taken)
	n := 0
	for ok := range taken {
		if ok {
			n++
		}
	}
	assert.Equal(t, 50, n)
	assert.EqualValues(t, 50, q.Taken())
}
