package session

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

func all(int) bool { return true }

func TestOne(t *testing.T) {
	r := RoundRobinOf[int, string](7)
	assert.Equal(t, []int{7}, r.All())
	for range 2 {
		x, ok := r.Next(all)
		assert.True(t, ok)
		assert.Equal(t, 7, x)
	}
	_, ok := r.Next(func(int) bool { return false })
	assert.False(t, ok)
	assert.Nil(t, r.With())
	assert.False(t, r.Left(""))
	*r.Several() = "with"
	assert.Equal(t, "with", *r.With())
	assert.Equal(t, []int{7}, r.All())
}

// Everyone that is ready has a turn, also when members come and go.
func TestTurns(t *testing.T) {
	r := RoundRobinOf[int, struct{}](0)
	for i := range 4 {
		r.Add(i + 1)
	}
	take := func(n int, ready func(int) bool) (xs []int) {
		for range n {
			if x, ok := r.Next(ready); ok {
				xs = append(xs, x)
			}
		}
		return xs
	}
	assert.Equal(t, []int{0, 1, 2, 3, 4, 0, 1}, take(7, all))
	assert.Equal(t, []int{3, 1, 3, 1}, take(4, func(x int) bool { return x%2 == 1 }))
	assert.Empty(t, take(2, func(int) bool { return false }))
	r.Remove(2, "two")
	assert.Equal(t, []int{0, 1, 3, 4}, r.All())
	assert.ElementsMatch(t, []int{0, 1, 3, 4}, take(4, all))
	for _, x := range []int{0, 1, 3, 4} {
		r.Remove(x, strconv.Itoa(x))
	}
	assert.Empty(t, r.All())
	assert.Empty(t, take(1, all))
	r.Add(9)
	assert.Equal(t, []int{9, 9}, take(2, all))
}

// The names of the last that have left are remembered.
func TestLeft(t *testing.T) {
	r := RoundRobinOf[int, struct{}](0)
	for i := range maxLeft + 1 {
		r.Add(i + 1)
		r.Remove(i+1, strconv.Itoa(i+1))
	}
	assert.False(t, r.Left("0"))
	assert.False(t, r.Left("1"))
	for i := range maxLeft {
		assert.True(t, r.Left(strconv.Itoa(i+2)))
	}
	assert.Equal(t, []int{0}, r.All())
}
