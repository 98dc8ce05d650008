package registry

import (
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// key returns a key that is the same for the same i and spread over the shards.
func key(i int) string { return string(rune('A'+i%26)) + string(rune('a'+i/26%26)) + strconv.Itoa(i) }

func TestTable(t *testing.T) {
	var tab Table[int]
	const n = 1000
	for i := range n {
		tab.Put(key(i), i)
	}
	tab.Put(key(7), -7)
	tab.Delete(key(8))
	tab.Delete("not there")
	for _, test := range []struct {
		key  string
		want int
		ok   bool
	}{
		{key(0), 0, true}, {key(n - 1), n - 1, true}, {key(7), -7, true},
		{key(8), 0, false}, {key(n), 0, false}, {key(0) + "x", 0, false},
		{"", 0, false}, {"A", 0, false}, {"Aa", 0, false},
	} {
		v, ok := tab.Get([]byte(test.key))
		assert.Equal(t, test.ok, ok, test.key)
		assert.Equal(t, test.want, v, test.key)
	}
	assert.Len(t, slices.Collect(tab.All()), n-1)
	for range tab.All() {
		break
	}
}

// What All yields may be deleted meanwhile, and others may come.
func TestAllWhileChanging(t *testing.T) {
	var tab Table[int]
	for i := range 100 {
		tab.Put(key(i), i)
	}
	seen := make(map[int]bool)
	for v := range tab.All() {
		assert.False(t, seen[v])
		seen[v] = true
		tab.Delete(key(v))
		tab.Put(key(1000+v), 1000+v)
	}
	for i := range 100 {
		assert.True(t, seen[i])
	}
}

func TestConcurrent(t *testing.T) {
	var tab Table[int]
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := g; i < 1000; i += 4 {
				tab.Put(key(i), i)
				v, ok := tab.Get([]byte(key(i)))
				assert.True(t, ok && v == i)
				if i%3 == 0 {
					tab.Delete(key(i))
				}
				for range tab.All() {
					break
				}
			}
		})
	}
	wg.Wait()
	assert.Len(t, slices.Collect(tab.All()), 666)
}

func BenchmarkGet(b *testing.B) {
	var tab Table[int]
	for i := range 1000 {
		tab.Put(key(i), i)
	}
	k := []byte(key(500))
	b.ReportAllocs()
	for b.Loop() {
		tab.Get(k)
	}
}
