package boshclient

import (
	"time"

	"github.com/gobosh/bosh/internal/buffer"
)

// A kind is the kind of an item, and of the request that carries it.
type kind uint8

const (
	data kind = iota
	empty
	restart
	another // opens a further stream
	pause
	terminate
)

// An item waits to be sent.
type item struct {
	kind  kind
	b     []byte // whole elements, or bytes
	n     int64  // how many elements, or pieces of bytes
	to    string // of another, and of restart if the header has one
	from  string
	lang  string
	pause time.Duration
	why   Condition    // of terminate
	reply chan<- reply // gets one if it is not nil; has room for it
}

// A reply tells the sender of an item the outcome.
type reply struct {
	conn *Conn // of another
	err  error
}

// An outbox is the unsent output of one stream. The session's lock guards it.
type outbox struct {
	items []item
	size  int // bytes in it
	chunk int // about how many bytes an item of data holds if larger elements do not make it larger
}

func (o *outbox) empty() bool { return len(o.items) == 0 }

// maxChunk is the largest chunk: the size of a lent buffer.
const maxChunk = buffer.Block

// add adds n whole elements, or bytes.
func (o *outbox) add(b []byte, n int64) {
	o.size += len(b)
	if last := len(o.items) - 1; last >= 0 {
		if it := &o.items[last]; it.kind == data && len(it.b)+len(b) <= o.chunk {
			it.b = append(buffer.Grow(it.b, len(b)), b...)
			it.n += n
			return
		}
	}
	o.items = append(o.items, item{kind: data, b: append(buffer.Grow(nil, len(b)), b...), n: n})
}

// put adds an item other than data.
func (o *outbox) put(it item) { o.items = append(o.items, it) }

// A batch is the content of one request: the first n items. The last one decides
// on the kind.
type batch struct {
	n    int
	kind kind
}

// batch returns the next one, of about max bytes.
func (o *outbox) batch(max int) batch {
	size := 0
	for i := range o.items {
		switch it := &o.items[i]; it.kind {
		case data:
			if i > 0 && size+len(it.b) > max {
				return batch{i, data}
			}
			size += len(it.b)
		case pause, terminate:
			return batch{i + 1, it.kind}
		default:
			if i > 0 {
				return batch{i, data}
			}
			return batch{1, it.kind}
		}
	}
	return batch{len(o.items), data}
}

// take removes the first n items and returns them. The caller owns them.
func (o *outbox) take(n int) []item {
	took := o.items[:n:n]
	o.items = o.items[n:]
	if len(o.items) == 0 {
		o.items = nil
	}
	for i := range took {
		o.size -= len(took[i].b)
	}
	return took
}
