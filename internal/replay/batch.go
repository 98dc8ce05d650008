package replay

import (
	"encoding/binary"
	"hash/maphash"
	"time"
)

// A batch has the Entries of one sweepInterval. They leave it together, in no time, and the
// garbage collector need not look into it.
type batch struct {
	blocks [][]byte         // what encode has made, each behind its length and when its time is over
	places map[uint64]place // of the Entries before next, by the hash of the sid; see index
	next   place
	count  int           // of the Entries
	size   int           // bytes in blocks
	begun  time.Duration // by the Store's clock
	until  time.Duration // for the last one
}

// A place is where an Entry is in a batch.
type place struct{ block, at uint32 }

const (
	blockSize = 64 << 10 // bytes of a block, unless an Entry has more
	prefix    = 4 + 8    // bytes before an Entry's text
)

// put adds an Entry with its end at until. It returns its size in bytes.
func (p *batch) put(until time.Duration, l *Session, answers []Answer) int {
	to := p.block(prefix + maxSize(l, answers))
	at := len(*to)
	var head [prefix]byte
	b := encode(append(*to, head[:]...), l, answers)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-prefix))
	binary.BigEndian.PutUint64(b[at+4:], uint64(until))
	*to, p.until = b, max(p.until, until)
	p.count++
	p.size += len(b) - at
	return len(b) - at
}

// block returns the block for the next n bytes. The first one grows, since most
// batches are small; others do not, since to copy them would cost more than all else.
func (p *batch) block(n int) *[]byte {
	last := len(p.blocks) - 1
	switch {
	case last < 0:
		p.blocks = append(p.blocks, nil)
	case len(p.blocks[last])+n <= max(cap(p.blocks[last]), blockSize):
		return &p.blocks[last]
	default:
		p.blocks = append(p.blocks, make([]byte, 0, max(n, blockSize)))
	}
	return &p.blocks[last+1]
}

// index adds the places of the Entries added since its last call. It is called when one is
// asked for. That is rare: most of them go before that. For the first one asked for that may
// be some milliseconds of work for 100,000 Entries.
func (p *batch) index(seed maphash.Seed) {
	if p.places == nil {
		p.places = make(map[uint64]place, p.count)
	}
	for int(p.next.block) < len(p.blocks) {
		if b := p.blocks[p.next.block]; int(p.next.at) < len(b) {
			text, _ := p.entry(p.next)
			p.places[maphash.Bytes(seed, sidOf(text))] = p.next
			p.next.at += prefix + uint32(len(text))
			continue
		}
		if int(p.next.block) == len(p.blocks)-1 {
			return // there may be more to come
		}
		p.next = place{p.next.block + 1, 0}
	}
}

// entry returns the text of the Entry at a place, and its end.
func (p *batch) entry(at place) (text []byte, until time.Duration) {
	b := p.blocks[at.block][at.at:]
	n := binary.BigEndian.Uint32(b)
	return b[prefix:][:n], time.Duration(binary.BigEndian.Uint64(b[4:]))
}
