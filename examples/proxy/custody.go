package main

import (
	"bytes"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A custody has the server keep all stanzas not known to be with the client, by
// stream management (XEP-0198). It is for a client without management of its own.
// The server then takes care of them even if this process dies. The proxy asks for
// management after the binding, and acknowledges all proven elements: see
// [bosh.Stream.Proven]. The client sees nothing of it.
type custody struct {
	off bool // by a flag

	// Of the goroutine for the client's input.
	decided bool      // it has been asked for, or the client does so
	since   time.Time // the client is bound

	offered atomic.Bool // by the server's last features
	asked   atomic.Bool // for, by the proxy, and the server has not answered
	granted atomic.Bool // by the server, and so elements are counted
	waiting atomic.Bool // somebody will answer the server's question soon
	open    atomic.Bool // nothing has been acknowledged since that

	writing sync.Mutex // held by whoever writes to the server
	mid     bool       // a stanza of the client's has been written in part
	owed    bool       // an acknowledgement, when the rest has been; the lock is held
	over    bool       // nobody but leave acknowledges any more
	told    int64      // what the server has been told

	mu       sync.Mutex // guards what follows
	elements int64      // that the stream has been given
	base     int64      // how many of them came before the server began to count
	except   []exception
	offset   int64 // the sum of exceptions that are behind us
}

// An exception is where the server counts otherwise than the stream does.
type exception struct {
	at int64 // with the element of this number
	by int64 // 1 if a stanza of the server's is not for the client, -1 if an element is no stanza
}

// awhile is how long a client may be bound before its stream is managed even if it
// wants nobody's messages yet. Some clients ask for management late.
const awhile = 2 * time.Second

// begins reports whether to ask the server now, before it gets the client's words.
// These are whole elements. Before a client is available it gets hardly anything,
// and may still ask by itself.
func (c *custody) begins(said []byte, bound, wants bool) bool {
	if c.off || c.decided || !bound || !c.offered.Load() {
		return false
	}
	if wants {
		c.decided = true
		return false
	}
	if c.since.IsZero() {
		c.since = time.Now()
	}
	c.decided = bytes.Contains(said, []byte("<presence")) || bytes.Contains(said, []byte("<message")) || time.Since(c.since) >= awhile
	c.asked.Store(c.decided)
	return c.decided
}

// pass tells the server the client's words. They may end in the middle of a
// stanza.
func (b *bridge) pass(said []byte, whole bool) error {
	c := &b.custody
	c.writing.Lock()
	defer c.writing.Unlock()
	if whole && !c.mid && c.begins(said, b.bound.Load(), b.wants.yes) {
		said = append([]byte(enableText), said...)
	}
	if c.mid = !whole; whole && c.owed {
		c.owed = false
		said = b.appendAck(said)
	}
	return b.tell(said)
}

// holds takes an element not meant for the client. The reader from the server
// calls it. It never waits for the server.
func (b *bridge) holds(element []byte) bool {
	c := &b.custody
	if c.off {
		return false
	}
	switch localName(element) {
	case "features":
		c.offered.Store(mentions(element, smOffered))
		return false
	case "failed":
		return rootName(element) == smFailed && c.asked.CompareAndSwap(true, false)
	case "enabled":
		if rootName(element) != smEnabled || !c.asked.CompareAndSwap(true, false) {
			return false
		}
		c.mu.Lock()
		c.base = c.elements
		c.mu.Unlock()
		c.granted.Store(true)
		b.stream.OnProven(func(int64) { b.acknowledge(false) })
		return true
	case "r":
		if !c.granted.Load() || !ofManagement(element) {
			return false
		}
		c.open.Store(true)
		if c.waiting.CompareAndSwap(false, true) {
			time.AfterFunc(answerSoon, func() { b.acknowledge(true) })
		}
		return true
	case "a":
		return c.granted.Load() && ofManagement(element)
	}
	return false
}

// answerSoon is how long a server waits for the answer to its question: mostly something
// is proven meanwhile, and answers it.
const answerSoon = 50 * time.Millisecond

// ofManagement reports whether an element is of stream management.
func ofManagement(element []byte) bool {
	_, attrs, _ := bytes.Cut(element, []byte(" "))
	return bytes.HasPrefix(attrs, []byte("xmlns='"+nsSM+"'")) || rootName(element).Space == nsSM // mostly the former
}

// counts counts an element of the server's, given to the client or not.
func (b *bridge) counts(element []byte, given bool) {
	c := &b.custody
	if c.off {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if given {
		c.elements++
	}
	if !c.granted.Load() {
		return
	}
	if is := isStanza(element); is != given {
		e := exception{at: c.elements, by: 1}
		if given {
			e.by = -1
		}
		c.except = append(c.except, e)
	}
}

// isStanza reports whether the two sides of a managed stream count an element.
func isStanza(element []byte) bool {
	switch localName(element) {
	case "message", "presence", "iq":
		return true
	}
	return false
}

// handled returns how many stanzas of the managed stream are among the first n
// elements.
func (c *custody) handled(n int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < c.base {
		return 0
	}
	done := 0
	for done < len(c.except) && c.except[done].at <= n {
		c.offset += c.except[done].by
		done++
	}
	c.except = c.except[done:]
	return n - c.base + c.offset
}

// acknowledge tells the server how much the client has, if it is news or the server
// has asked.
func (b *bridge) acknowledge(asked bool) {
	c := &b.custody
	c.writing.Lock()
	defer c.writing.Unlock()
	if asked {
		c.waiting.Store(false)
	}
	switch {
	case asked && !c.open.Load():
	case c.over || !asked && c.handled(b.stream.Proven()) <= c.told:
	case c.mid:
		c.owed = true
	default:
		b.tell(b.appendAck(nil)) // if it fails, so will what the client says
	}
}

// appendAck appends an acknowledgement of all proven elements.
func (b *bridge) appendAck(p []byte) []byte {
	b.custody.open.Store(false)
	b.custody.told = max(b.custody.told, b.custody.handled(b.stream.Proven()))
	return appendAck(p, b.custody.told)
}

// appendAck appends an acknowledgement of h stanzas. The count is of 32 bits.
func appendAck(p []byte, h int64) []byte {
	p = append(p, "<a xmlns='"+nsSM+"' h='"...)
	return append(strconv.AppendUint(p, uint64(uint32(h)), 10), "'/>"...)
}

// endCustody has nobody but the caller write to the server. It reports whether the
// server keeps all unacknowledged stanzas.
func (b *bridge) endCustody() bool {
	c := &b.custody
	b.server.SetWriteDeadline(time.Now().Add(leaveTimeout)) // of whoever is writing
	c.writing.Lock()
	defer c.writing.Unlock()
	c.over = true
	return c.granted.Load()
}

// entrust leaves the stanzas lost to the client, after its stream has ended by err, to
// the server: it acknowledges all the rest. It returns the ones from before the server
// began to keep any.
func (b *bridge) entrust(err error) {
	c, lost := &b.custody, b.undelivered(err)
	got := c.elements - int64(len(lost)) // nobody counts any more
	var replies bytes.Buffer
	for _, element := range lost[:min(max(0, c.base-got), int64(len(lost)))] {
		b.bounce(&replies, element)
	}
	b.reply(&replies)
	b.tell(appendAck(nil, max(c.told, c.handled(got))))
}
