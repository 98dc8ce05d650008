package main

import (
	"errors"
	"io"
	"sync"
)

const (
	// maxQueue is how many bytes may wait for a client. A slower client is
	// better off with a new session.
	maxQueue = 4 << 20

	// chunk is about how much is written at a time.
	chunk = 32 << 10
)

var (
	errOutboxFull   = errors.New("too much waits for the client")
	errOutboxClosed = errors.New("the session has ended")
)

// An item is a waiting packet for a client.
type item struct {
	p       *packet
	to      string // instead of the packet's own, if not empty
	delayed bool   // stamp it with the time it came
	order   uint64 // of a message for all sessions of a user; 0 for this one's own
}

// An outbox is the unwritten output to one client. To put something in never
// waits for the client: a goroutine takes all there is and writes it at once.
// The goroutine stays for as long as the session does, since the stack of a new
// one would have to grow each time.
type outbox struct {
	w      io.Writer
	domain string
	done   chan struct{} // closed once nothing more will be written
	ledger *ledger       // of what has been written; nil if the connection can tell nothing of it

	mu sync.Mutex
	// Protected by mu.
	changed sync.Cond // has mu; signalled when there is something to do
	items   []item    // what waits
	size    int       // of items
	full    bool      // nothing more is taken
	closed  bool      // nothing more is taken, and final is known
	final   []byte    // written after the last item
}

// newOutbox returns an outbox. It writes nothing before start is called.
func newOutbox(w io.Writer, domain string) *outbox {
	o := &outbox{w: w, domain: domain, done: make(chan struct{})}
	o.changed.L = &o.mu
	return o
}

func (o *outbox) start() {
	go o.run()
}

// put adds an item. After errOutboxFull no more are taken, and the caller must
// end the session.
func (o *outbox) put(it item) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.full {
		return errOutboxClosed
	}
	if o.size+it.p.size() > maxQueue {
		o.full = true
		return errOutboxFull
	}
	o.items = append(o.items, it)
	o.size += it.p.size()
	o.changed.Signal()
	return nil
}

// finish closes the outbox. The waiting items are written, and then final.
func (o *outbox) finish(final []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.final = final
	o.changed.Signal()
}

// drop is like finish, but takes back the waiting items not being written.
func (o *outbox) drop(final []byte) []item {
	o.mu.Lock()
	rest := o.items
	o.items, o.size = nil, 0
	o.mu.Unlock()
	o.finish(final)
	return rest
}

// rest returns the items never written, once done is closed.
func (o *outbox) rest() []item {
	<-o.done
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.items
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunk+chunk/2); return &b }}

// run writes until the outbox is closed.
func (o *outbox) run() {
	for {
		batch, final := o.next()
		if batch == nil {
			if len(final) > 0 {
				o.w.Write(final)
			}
			close(o.done)
			return
		}
		if n := o.write(batch); n < len(batch) {
			o.fail(batch[n:])
			return
		}
	}
}

// next waits for items and takes them all. There are none when the outbox is
// closed, but the final bytes.
func (o *outbox) next() (batch []item, final []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.items) == 0 && !o.closed {
		o.changed.Wait()
	}
	if len(o.items) == 0 {
		return nil, o.final
	}
	batch = o.items
	o.items, o.size = nil, 0
	return batch, nil
}

// write writes a batch in chunks, and returns how many items the client's
// connection has taken.
func (o *outbox) write(batch []item) int {
	pooled := chunks.Get().(*[]byte)
	defer chunks.Put(pooled)
	buf := *pooled
	var ends []int // of the items in buf
	for i := 0; i < len(batch); {
		buf, ends = buf[:0], ends[:0]
		for ; i < len(batch) && len(buf) < chunk; i++ {
			it := batch[i]
			delayedBy := ""
			if it.delayed {
				delayedBy = o.domain
			}
			buf = it.p.appendTo(buf, it.to, delayedBy)
			ends = append(ends, len(buf))
		}
		if n, err := o.w.Write(buf); err != nil {
			lost := 0
			for lost < len(ends) && ends[len(ends)-1-lost] > n {
				lost++
			}
			o.note(batch[i-len(ends) : i-lost])
			return i - lost
		}
		o.note(batch[i-len(ends) : i])
	}
	return len(batch)
}

// note records written items.
func (o *outbox) note(items []item) {
	if o.ledger != nil {
		o.ledger.add(items)
	}
}

// fail keeps the unwritten items and ends the outbox.
func (o *outbox) fail(rest []item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.items = append(rest, o.items...)
	o.closed = true
	close(o.done)
}
