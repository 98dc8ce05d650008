// Package buffer has the buffers that sessions share: large ones are lent out while
// they are full, since many sessions have bytes to keep now and then, and few at the
// same time. An Inbox is a queue of input in such a buffer.
package buffer

import (
	"slices"
	"sync"
)

const (
	// Small is the capacity up to which a buffer is worth keeping while it
	// is empty.
	Small = 1 << 10

	// Block is the capacity of the buffers that are lent out.
	Block = 16 << 10
)

// blocks are the spare buffers, all of one capacity.
var blocks = sync.Pool{New: func() any { return new([Block]byte) }}

// Grow returns b with room for n more bytes. The buffer that b had is taken
// back if it is another one.
func Grow(b []byte, n int) []byte {
	if n <= cap(b)-len(b) {
		return b
	}
	if need := len(b) + n; need <= Small || need > Block {
		grown := slices.Grow(b, n)
		giveBack(b)
		return grown
	}
	grown := append(blocks.Get().(*[Block]byte)[:0], b...)
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
	if cap(b) == Block {
		blocks.Put((*[Block]byte)(b[:Block]))
	}
}
