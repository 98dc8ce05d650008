package session

import (
	"runtime"
	"sync/atomic"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/wire"
)

// An Event is elements for many clients.
type Event struct {
	whole    []byte // the answer that carries them and says nothing else
	payloads []byte // of whole
	n        int64
}

// NewEvent returns an Event of n elements, a copy. Its bytes count on memory until nobody
// has them any more, as the garbage collector finds out.
func NewEvent(elements []byte, n int64, memory *atomic.Int64) *Event {
	e := &Event{n: n}
	e.whole, e.payloads = wire.Wrap(elements)
	size := int64(cap(e.whole))
	memory.Add(size)
	runtime.AddCleanup(&e.whole[0], func(memory *atomic.Int64) { memory.Add(-size) }, memory)
	return e
}

// An Outbox keeps the application's output until its client is given it. Events for many
// clients are kept once. The zero value is empty.
type Outbox struct {
	b    []byte
	n    int64  // payloads, those of Events included
	last *share // the newest Event, or nil
}

// A share is where an Event goes.
type share struct {
	e      *Event
	at     uint32 // how many bytes of the Outbox's own are before it
	events uint32 // with those before it
	size   int    // of them
	before *share // the Event before it, or nil
}

// Len returns how many bytes wait.
func (o *Outbox) Len() int {
	if o.last == nil {
		return len(o.b)
	}
	return len(o.b) + o.last.size
}

// Count returns how many payloads wait.
func (o *Outbox) Count() int64 { return o.n }

// Empty reports whether none do.
func (o *Outbox) Empty() bool { return len(o.b) == 0 && o.last == nil }

// Size returns how many bytes of memory it takes, about, without the Events.
func (o *Outbox) Size() int {
	n := buffer.Size(o.b)
	if o.last != nil {
		n += int(o.last.events) * shareSize
	}
	return n
}

const shareSize = 32 // bytes of memory

// Add adds n payloads.
func (o *Outbox) Add(b []byte, n int64) {
	o.b = append(buffer.Grow(o.b, len(b)), b...)
	o.n += n
}

// Share adds an Event.
func (o *Outbox) Share(e *Event) {
	p := &share{e: e, at: uint32(len(o.b)), events: 1, size: len(e.payloads), before: o.last}
	if o.last != nil {
		p.events += o.last.events
		p.size += o.last.size
	}
	o.last = p
	o.n += e.n
}

// alone reports whether there is one Event, and nothing else.
func (o *Outbox) alone() bool { return len(o.b) == 0 && o.last != nil && o.last.before == nil }

// Bytes returns all waiting output. It is good until the next call of another method, and
// must not be changed.
func (o *Outbox) Bytes() []byte {
	if o.last == nil {
		return o.b
	}
	if o.alone() {
		return o.last.e.payloads
	}
	own, to := o.b, o.Len()
	b := buffer.Grow(nil, to)[:to]
	for p := o.last; p != nil; p = p.before { // from the end
		at := int(p.at)
		to -= len(own) - at
		copy(b[to:], own[at:])
		own = own[:at]
		to -= len(p.e.payloads)
		copy(b[to:], p.e.payloads)
	}
	copy(b, own)
	buffer.Rest(o.b)
	o.b, o.last = b, nil
	return b
}

// Answer returns the answer with this output and nothing else, if there is one already, or
// nil. It is shared.
func (o *Outbox) Answer() []byte {
	if o.alone() {
		return o.last.e.whole
	}
	return nil
}

// Take empties the Outbox, and returns how many payloads there were.
func (o *Outbox) Take() (n int64) {
	n, o.n = o.n, 0
	o.b, o.last = buffer.Rest(o.b), nil
	return n
}
