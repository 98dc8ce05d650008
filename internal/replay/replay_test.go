package replay

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

func TestEntry(t *testing.T) {
	life := Session{SID: "sid", Content: "text/xml; charset=utf-8", Legacy: true, Secure: true, Cert: []byte{0, 1, 2}}
	long := strings.Repeat("long", 1000)
	s := Entry{string(encode(nil, &life, []Answer{
		{Rid: 1<<53 - 2, Body: []byte("created")},
		{Rid: 1<<53 - 1, Sum: 1<<64 - 1, Key: "key", Body: []byte(long)},
	}))}
	assert.Equal(t, "sid", s.SID())
	assert.Equal(t, life, s.Session())
	assert.Equal(t, "created", string(s.Answer(1<<53-2, 4711, nil)))
	assert.Equal(t, long, string(s.Answer(1<<53-1, 1<<64-1, []byte("key"))))
	assert.Nil(t, s.Answer(1<<53-1, 1<<64-1, nil), "no key")
	assert.Nil(t, s.Answer(1<<53-1, 1, []byte("key")), "another body")
	assert.Nil(t, s.Answer(1<<53, 1, nil), "another rid")

	life.Condition, life.URI, life.Payload = "see-other-uri", "https://a.example/", "<a/>"
	s = Entry{string(encode(nil, &life, []Answer{{Rid: 1, Body: []byte("a")}}))}
	assert.Equal(t, life, s.Session())
	assert.Equal(t, "a", string(s.Answer(1, 0, nil)))
	assert.LessOrEqual(t, len(s.text), maxSize(&life, []Answer{{Rid: 1, Body: []byte("a")}}))
}

func TestEntryWithoutAnything(t *testing.T) {
	s := Entry{string(encode(nil, &Session{SID: "sid"}, nil))}
	assert.Equal(t, "sid", s.SID())
	assert.Equal(t, Session{SID: "sid", Cert: []byte{}}, s.Session())
	assert.Nil(t, s.Answer(1, 1, nil))
}

func newStore(keep time.Duration, size *atomic.Int64) *Store {
	epoch := time.Now()
	return New(keep, func() time.Duration { return time.Since(epoch) }, size)
}

func put(s *Store, n int) { s.Put(s.now(), &Session{SID: fmt.Sprint("sid", n)}, nil) }

func TestStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var size atomic.Int64
		s := newStore(30*time.Second, &size)
		has := func(n int) bool {
			_, ok := s.Get(fmt.Append(nil, "sid", n))
			return ok
		}
		put(s, 1)
		one := size.Load()
		assert.Positive(t, one)
		time.Sleep(20 * time.Second)
		put(s, 2)
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
		assert.Empty(t, s.batches)

		time.Sleep(time.Hour)
		put(s, 4)
		assert.True(t, has(4))
	})
}

// Entries of the same second go together, and none is seen after its time.
func TestStoreSweepsRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		var size atomic.Int64
		s := newStore(30*time.Second, &size)
		for i := range n {
			put(s, i)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(30*time.Second - time.Millisecond)
		synctest.Wait()
		assert.Len(t, s.batches, 1)
		_, ok := s.Get([]byte("sid500"))
		assert.False(t, ok)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Zero(t, size.Load())
	})
}

// A batch of many blocks, and of Entries larger than a block, has them all, also those
// that came after it was asked for one.
func TestStoreOfManyBlocks(t *testing.T) {
	var size atomic.Int64
	s := newStore(time.Minute, &size)
	const n = 300
	body := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, i*i) }
	for i := range n {
		s.Put(s.now(), &Session{SID: fmt.Sprint("sid", i)}, []Answer{{Rid: 1, Body: body(i)}})
		for _, had := range []int{i / 2, i} {
			s, ok := s.Get(fmt.Append(nil, "sid", had))
			if assert.True(t, ok) && i%7 == 0 {
				assert.Equal(t, body(had), s.Answer(1, 0, nil))
			}
		}
		_, ok := s.Get(fmt.Append(nil, "sid", i+1))
		assert.False(t, ok)
	}
	assert.Greater(t, len(s.batches[0].blocks), n/2)
}

func TestStoreLongSID(t *testing.T) {
	var size atomic.Int64
	s := newStore(time.Minute, &size)
	sid := strings.Repeat("x", 255)
	s.Put(s.now(), &Session{SID: sid}, nil)
	e, ok := s.Get([]byte(sid))
	assert.True(t, ok)
	assert.Equal(t, sid, e.SID())
}

func BenchmarkStore(b *testing.B) {
	var size atomic.Int64
	s := newStore(time.Second, &size)
	life := Session{SID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Content: "text/xml; charset=utf-8"}
	answers := []Answer{{Rid: 1, Body: make([]byte, 300)}, {Rid: 2, Sum: 4711, Body: make([]byte, 80)}}
	b.ReportAllocs()
	for i := range b.N {
		life.SID = fmt.Sprintf("%026d", i)
		s.Put(s.now(), &life, answers)
	}
}
