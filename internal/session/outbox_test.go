package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// All comes in the order in which it was added, whoever has the bytes.
func TestOrder(t *testing.T) {
	var memory atomic.Int64
	rnd := rand.New(rand.NewPCG(1, 2))
	var o Outbox
	var want []byte
	n := int64(0)
	for i := range 20_000 {
		b := fmt.Appendf(nil, "<e n='%d'/>", i)
		switch rnd.IntN(8) {
		case 0, 1, 2:
			o.Add(b, 1)
		case 3, 4:
			o.Share(NewEvent(b, 1, &memory))
		default:
			if rnd.IntN(2) == 0 {
				assert.Equal(t, string(want), string(o.Bytes()))
			}
			if whole := o.Answer(); whole != nil {
				assert.Contains(t, string(whole), ">"+string(want)+"</body>")
			}
			if i%3 == 0 {
				require.Equal(t, n, o.Take())
				require.True(t, o.Empty())
				require.Zero(t, o.Size())
				want, n = want[:0], 0
			}
			continue
		}
		want, n = append(want, b...), n+1
		require.Equal(t, len(want), o.Len())
		require.False(t, o.Empty())
	}
	require.Positive(t, memory.Load())
}

// An Event has bytes of its own, and nobody can add to them.
func TestEvent(t *testing.T) {
	var memory atomic.Int64
	b := []byte("<e/>")
	e := NewEvent(b, 1, &memory)
	clear(b)
	var o Outbox
	o.Share(e)
	require.Equal(t, "<e/>", string(o.Bytes()))
	_ = append(o.Bytes(), "<f/>"...)
	assert.True(t, bytes.HasSuffix(o.Answer(), []byte("<e/></body>")))
	o.Add([]byte("<g/>"), 1)
	assert.Nil(t, o.Answer())
	assert.Equal(t, "<e/><g/>", string(o.Bytes()))
}
