package tomb

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestStone(t *testing.T) {
	life := Life{SID: "sid", Content: "text/xml; charset=utf-8", Legacy: true, Secure: true, Cert: []byte{0, 1, 2}}
	long := strings.Repeat("long", 1000)
	s := Stone{string(carve(nil, &life, []Answer{
		{Rid: 1<<53 - 2, Body: []byte("created")},
		{Rid: 1<<53 - 1, Sum: 1<<64 - 1, Key: "key", Body: []byte(long)},
	}))}
	assert.Equal(t, "sid", s.SID())
	assert.Equal(t, life, s.Life())
	assert.Equal(t, "created", string(s.Answer(1<<53-2, 4711, nil)))
	assert.Equal(t, long, string(s.Answer(1<<53-1, 1<<64-1, []byte("key"))))
	assert.Nil(t, s.Answer(1<<53-1, 1<<64-1, nil), "no key")
	assert.Nil(t, s.Answer(1<<53-1, 1, []byte("key")), "another body")
	assert.Nil(t, s.Answer(1<<53, 1, nil), "another rid")
}

func TestStoneWithoutAnything(t *testing.T) {
	s := Stone{string(carve(nil, &Life{SID: "sid"}, nil))}
	assert.Equal(t, "sid", s.SID())
	assert.Equal(t, Life{SID: "sid", Cert: []byte{}}, s.Life())
	assert.Nil(t, s.Answer(1, 1, nil))
}

func newYard(keep time.Duration, size *atomic.Int64) *Yard {
	epoch := time.Now()
	return New(keep, func() time.Duration { return time.Since(epoch) }, size)
}

func put(y *Yard, n int) { y.Put(y.now(), &Life{SID: fmt.Sprint("sid", n)}, nil) }

func TestYard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var size atomic.Int64
		y := newYard(30*time.Second, &size)
		has := func(n int) bool {
			_, ok := y.Get(fmt.Append(nil, "sid", n))
			return ok
		}
		put(y, 1)
		one := size.Load()
		assert.Positive(t, one)
		time.Sleep(20 * time.Second)
		put(y, 2)
		assert.Equal(t, 2*one, size.Load())
		time.Sleep(10*time.Second - 1)
		assert.True(t, has(1))
		assert.False(t, has(3))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.False(t, has(1))
		assert.True(t, has(2))
		assert.Equal(t, one, size.Load())
		time.Sleep(20*time.Second - 1)
		assert.True(t, has(2))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.False(t, has(2))
		assert.Zero(t, size.Load())
		assert.Empty(t, y.plots)

		time.Sleep(time.Hour)
		put(y, 4)
		assert.True(t, has(4))
	})
}

// Stones of the same second go together, and none is seen after its time.
func TestYardSweepsRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		var size atomic.Int64
		y := newYard(30*time.Second, &size)
		for i := range n {
			put(y, i)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(30*time.Second - time.Millisecond)
		synctest.Wait()
		assert.Len(t, y.plots, 1)
		_, ok := y.Get([]byte("sid500"))
		assert.False(t, ok)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Zero(t, size.Load())
	})
}

// A plot of many blocks, and of Stones larger than a block, has them all, also those
// that came after it was asked for one.
func TestYardOfManyBlocks(t *testing.T) {
	var size atomic.Int64
	y := newYard(time.Minute, &size)
	const n = 300
	body := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, i*i) }
	for i := range n {
		y.Put(y.now(), &Life{SID: fmt.Sprint("sid", i)}, []Answer{{Rid: 1, Body: body(i)}})
		for _, had := range []int{i / 2, i} {
			s, ok := y.Get(fmt.Append(nil, "sid", had))
			if assert.True(t, ok) && i%7 == 0 {
				assert.Equal(t, body(had), s.Answer(1, 0, nil))
			}
		}
		_, ok := y.Get(fmt.Append(nil, "sid", i+1))
		assert.False(t, ok)
	}
	assert.Greater(t, len(y.plots[0].blocks), n/2)
}

func TestYardLongSID(t *testing.T) {
	var size atomic.Int64
	y := newYard(time.Minute, &size)
	sid := strings.Repeat("x", 255)
	y.Put(y.now(), &Life{SID: sid}, nil)
	s, ok := y.Get([]byte(sid))
	assert.True(t, ok)
	assert.Equal(t, sid, s.SID())
}

func BenchmarkYard(b *testing.B) {
	var size atomic.Int64
	y := newYard(time.Second, &size)
	life := Life{SID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Content: "text/xml; charset=utf-8"}
	answers := []Answer{{Rid: 1, Body: make([]byte, 300)}, {Rid: 2, Sum: 4711, Body: make([]byte, 80)}}
	b.ReportAllocs()
	for i := range b.N {
		life.SID = fmt.Sprintf("%026d", i)
		y.Put(y.now(), &life, answers)
	}
}
