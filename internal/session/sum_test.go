package session

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The sums are the same in every process and on every machine: these are those of another.
func TestSumIsTheSameEverywhere(t *testing.T) {
	for body, want := range sums {
		assert.Equal(t, want, Sum("ABCDEFGHIJKLMNOPQRSTUVWXYZ.a", []byte(body)), body)
		assert.Equal(t, want, Sum([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ.a"), []byte(body)), body)
	}
}

// A body that differs in any bit, or in its length alone, has another sum, and so has the
// same body in another session.
func TestSum(t *testing.T) {
	seen := make(map[uint64]string)
	add := func(sid string, body []byte) {
		sum, what := Sum(sid, body), fmt.Sprintf("%s %x", sid, body)
		assert.NotZero(t, sum)
		if was, ok := seen[sum]; ok && was != what {
			t.Fatalf("%s and %s have the same sum", was, what)
		}
		seen[sum] = what
	}
	text := []byte("<body rid='1573741820' sid='ABCDEFGHIJKLMNOPQRSTUVWXYZ' xmlns='http://jabber.org/protocol/httpbind'/>")
	for n := range len(text) {
		add("ABCDEFGHIJKLMNOPQRSTUVWXYZ", text[:n])
		add("PONMLKJIHGFEDCBA", make([]byte, n))
		for bit := range 8 {
			b := bytes.Clone(text)
			b[n] ^= 1 << bit
			add("ABCDEFGHIJKLMNOPQRSTUVWXYZ", b)
			sid := []byte("PONMLKJIHGFEDCBA")
			sid[n%16] ^= 1 << bit
			add(string(sid), text)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 200)
	seed := maphash.MakeSeed()
	for name, sum := range map[string]func() uint64{
		"ours":    func() uint64 { return Sum("ABCDEFGHIJKLMNOPQRSTUVWXYZ", body) },
		"maphash": func() uint64 { return maphash.Bytes(seed, body) },
		"sha256":  func() uint64 { s := sha256.Sum256(body); return uint64(s[0]) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				sum()
			}
		})
	}
}

var sums = map[string]uint64{
	"":                  0xbc763fbf35cb6fd5,
	"a":                 0x5d3d788127c12fea,
	"0123456789abcdef":  0xfe2010e555e637af,
	"0123456789abcdefg": 0x29a0640e5277a7bb,
	"<body rid='1' sid='x' xmlns='http://jabber.org/protocol/httpbind'/>": 0xe8cc103ca84c078,
}
