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
		n := rand.IntN(6000)
		bufs[k] = append(Grow(bufs[k], n), bytes.Repeat([]byte{byte(k)}, n)...)
	}
}

func TestSize(t *testing.T) {
	assert.Zero(t, Size(nil))
	assert.Zero(t, Size(make([]byte, 0, Block)))
	assert.Equal(t, 10, Size(make([]byte, 10, Small)))
	assert.Equal(t, Small+1, Size(make([]byte, 10, Small+1)))
}
