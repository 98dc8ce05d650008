// Package buffer has the buffers that sessions share: large ones are lent out while
// they are full, since many sessions have bytes to keep now and then, and few at the
// same time. An Inbox is a queue of input in such a buffer.
package buffer

import (
	"math/bits"
	"slices"
	"sync"
)

const (
	// Small is the capacity up to which a buffer is worth keeping while it
	// is empty.
	Small = 1 << 10

	// Block is the capacity of the buffers that are lent out.
	Block = 16 << 10

	// Large is the capacity of the largest ones. Between a Block and that there are four
	// for each that is twice as large as another.
	Large  = Block << larger
	larger = 6
)

// blocks are the spare buffers of Block, and sizes the larger ones, by size. A new one of
// these would have to be cleared, and the system asked for its pages, again and again.
var (
	blocks = sync.Pool{New: func() any { return new([Block]byte) }}
	sizes  [4 * larger]sync.Pool // of *[]byte
)

// sizeFor returns the capacity of the buffers that have room for n bytes, more than Block
// and no more than Large, and their index in sizes.
func sizeFor(n int) (size, i int) {
	k := bits.Len(uint(n-1)) - 1
	quarter := 1 << (k - 2)
	quarters := (n - 1) / quarter // from 4 to 7 of them are not enough
	return (quarters + 1) * quarter, 4*(k-bits.Len(Block-1)) + quarters - 4
}

// large returns an empty buffer with room for n bytes.
func large(n int) []byte {
	size, i := sizeFor(n)
	if b, ok := sizes[i].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 0, size)
}

// Grow returns b with room for n more bytes. The buffer that b had is taken
// back if it is another one.
func Grow(b []byte, n int) []byte {
	if n <= cap(b)-len(b) {
		return b
	}
	var grown []byte
	switch need := len(b) + n; {
	case need <= Small || need > Large:
		grown = slices.Grow(b, n)
	case need <= Block:
		grown = append(blocks.Get().(*[Block]byte)[:0], b...)
	default:
		grown = append(large(need), b...)
	}
	giveBack(b)
	return grown
}

// Rest takes back the buffer of somebody who has nothing to keep any more, and
// returns what he may keep of it.
func Rest(b []byte) []byte {
	if cap(b) <= Small {
		return b[:0]
	}
	giveBack(b)
	return nil
}

// Size returns how many bytes of memory b takes because there is something in it. A
// buffer that is worth keeping while it is empty takes no more than that.
func Size(b []byte) int {
	if len(b) == 0 || cap(b) <= Small {
		return len(b)
	}
	return cap(b)
}

func giveBack(b []byte) {
	n := cap(b)
	if n == Block {
		blocks.Put((*[Block]byte)(b[:Block]))
	} else if n > Block && n <= Large {
		if size, i := sizeFor(n); size == n {
			b = b[:0]
			sizes[i].Put(&b)
		}
	}
}
