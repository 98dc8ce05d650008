package buffer

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGrow(t *testing.T) {
	var b, want []byte
	for i := range 100 {
		chunk := bytes.Repeat([]byte{byte(i)}, i*11)
		before := cap(b)
		b = Grow(b, len(chunk))
		require.GreaterOrEqual(t, cap(b)-len(b), len(chunk))
		if before >= len(b)+len(chunk) {
			require.Equal(t, before, cap(b), "there was room")
		}
		b, want = append(b, chunk...), append(want, chunk...)
		require.Equal(t, want, b)
	}
	require.Greater(t, len(b), Block, "or it proves little")
	assert.Nil(t, Rest(b))
}

func TestRest(t *testing.T) {
	small := make([]byte, 10, Small)
	assert.Equal(t, Small, cap(Rest(small)))
	assert.Empty(t, Rest(small))
	assert.Empty(t, Rest(nil))
	assert.Nil(t, Rest(Grow(nil, Small+1)))
	assert.Nil(t, Rest(make([]byte, Block+1)))
}

// A large buffer is used again, and has not much more room than it needs.
func TestLarge(t *testing.T) {
	for need, want := range map[int]int{
		Block + 1: Block * 5 / 4, Block * 3 / 2: Block * 3 / 2, Block*7/4 + 1: 2 * Block, 2*Block + 1: Block * 5 / 2,
		200 << 10: 224 << 10, Large*3/4 + 1: Large * 7 / 8, Large - 1: Large, Large: Large,
	} {
		b := Grow(nil, need)
		assert.Empty(t, b)
		assert.Equal(t, want, cap(b), need)
		assert.Nil(t, Rest(b))
	}
	assert.Less(t, cap(Grow(nil, Large+1)), 2*Large)
	for _, n := range []int{Small + 1, Block + 1} {
		least := testing.AllocsPerRun(100, func() { Rest(Grow(nil, n)) })
		for range 5 { // the garbage collector, and the race detector, take some
			least = min(least, testing.AllocsPerRun(100, func() { Rest(Grow(nil, n)) }))
		}
		assert.Zero(t, least, n)
	}
	took := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Rest(Grow(nil, Large))
		}
	})
	assert.Less(t, took.AllocedBytesPerOp(), int64(Large/2))
}

// Nobody gets a buffer that somebody else still has.
func TestOwners(t *testing.T) {
	var bufs [8][]byte
	for i := range 10_000 {
		k := rand.IntN(len(bufs))
		require.Equal(t, len(bufs[k]), bytes.Count(bufs[k], []byte{byte(k)}), "somebody else's bytes")
		if i%3 == 0 {
			bufs[k] = Rest(bufs[k])
			continue
		}
		n := rand.IntN(6000 << rand.IntN(4))
		bufs[k] = append(Grow(bufs[k], n), bytes.Repeat([]byte{byte(k)}, n)...)
	}
}

func TestSize(t *testing.T) {
	assert.Zero(t, Size(nil))
	assert.Zero(t, Size(make([]byte, 0, Block)))
	assert.Equal(t, 10, Size(make([]byte, 10, Small)))
	assert.Equal(t, Small+1, Size(make([]byte, 10, Small+1)))
}
