// Package buffer has the buffers shared by sessions. Large ones are lent out while they
// are full: many sessions have bytes to keep now and then, but few at the same time. An
// Inbox is a queue of input in such a buffer.
package buffer

import (
	"math/bits"
	"slices"
	"sync"
)

const (
	// Small is the capacity up to which a buffer is worth keeping while it is empty.
	Small = 1 << 10

	// Block is the capacity of the common lent buffers.
	Block = 16 << 10

	// Large is the capacity of the largest ones. From Block up to it there are four sizes
	// for each doubling.
	Large  = Block << larger
	larger = 6
)

// blocks are the spare buffers of Block, and sizes the larger ones, by size. A new one of
// these would have to be cleared, and the system asked for its pages, again and again.
var (
	blocks  = sync.Pool{New: func() any { return new([Block]byte) }}
	sizes   [4 * larger]sync.Pool                               // of *[]byte
	headers = sync.Pool{New: func() any { return new([]byte) }} // for sizes, empty
)

// sizeFor returns the capacity of the buffers with room for n bytes, more than Block and
// no more than Large, and their index in sizes.
func sizeFor(n int) (size, i int) {
	k := bits.Len(uint(n-1)) - 1
	quarter := 1 << (k - 2)
	quarters := (n - 1) / quarter // from 4 to 7 of them are not enough
	return (quarters + 1) * quarter, 4*(k-bits.Len(Block-1)) + quarters - 4
}

// large returns an empty buffer with room for n bytes.
func large(n int) []byte {
	size, i := sizeFor(n)
	if h, ok := sizes[i].Get().(*[]byte); ok {
		b := *h
		*h = nil
		headers.Put(h)
		return b
	}
	return make([]byte, 0, size)
}

// Grow returns b with room for n more bytes. It takes back the old buffer of b if the new
// one is another.
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

// Rest takes back an empty buffer from its user, and returns the part that the user may
// keep.
func Rest(b []byte) []byte {
	if cap(b) <= Small {
		return b[:0]
	}
	giveBack(b)
	return nil
}

// Size returns the bytes of memory that b takes for its content. A buffer worth keeping
// while empty takes only the content's.
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
			h := headers.Get().(*[]byte)
			*h = b[:0]
			sizes[i].Put(h)
		}
	}
}
