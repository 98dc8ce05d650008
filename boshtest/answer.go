package boshtest

import (
	"errors"
	"io"
	"strconv"
	"time"
)

// endGrace is how long the client waits, once the server has ended the
// session, for the answers to its other requests.
const endGrace = 2 * time.Second

// answered takes an answer. It goes no further until all lower rids have theirs.
func (c *Client) answered(r *request, b *Body) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	r.answer = b
	if rid, err := strconv.ParseInt(b.Attr("report"), 10, 64); err == nil {
		c.repeat(rid)
	}
	c.settle()
	c.pump()
}

// settle processes all answers whose turn it is.
func (c *Client) settle() {
	for c.head < c.next {
		r := c.open[c.head]
		if r.answer == nil && !r.failed {
			break
		}
		delete(c.open, c.head)
		c.head++
		if r.answer != nil {
			c.stats.Answers++
			c.process(r, r.answer)
		}
		r.tell(r.answer, c.end)
	}
	switch {
	case c.end == nil:
	case c.head == c.next:
		c.finish(c.end)
	default:
		c.wake(endGrace)
	}
}

// process takes the answer whose turn it is.
func (c *Client) process(r *request, b *Body) {
	if c.end == nil {
		c.deliver(b)
	}
	if b.Attr("type") == "terminate" {
		c.terminated(r, b)
		return
	}
	if name := b.Attr("stream"); name != "" {
		c.streams[name] = true
	}
	now := time.Now()
	switch {
	case r.kind == terminate && c.head == c.next && c.end == nil:
		// No answer has said so, but there is nothing more to come.
		c.end = io.EOF
	case r.kind == pause:
		c.pausing = false
		c.resume = now.Add(r.pause * 9 / 10)
	case r.kind == empty && len(b.Payloads) == 0 &&
		(c.granted.polled() || now.Sub(r.sentAt) < 10*time.Millisecond && c.head == c.next):
		// The second half is for a server that should hold requests and does
		// not, lest this become a loop without end.
		c.pollAt = now.Add(c.granted.pollEvery())
	}
}

// deliver puts the payloads of an answer into the inbox.
func (c *Client) deliver(b *Body) {
	if len(b.Payloads) == 0 {
		return
	}
	stream := b.Attr("stream")
	for _, p := range b.Payloads {
		c.inbox = append(c.inbox, Payload{Stream: stream, Data: p})
	}
	c.stats.PayloadsIn += len(b.Payloads)
	c.ready.send()
}

// terminated takes the end of the session or of one of several streams.
func (c *Client) terminated(r *request, b *Body) {
	end := endOf(b)
	if name := b.Attr("stream"); name != "" && c.end == nil && (len(c.streams) > 1 || !c.streams[name]) {
		delete(c.streams, name)
		c.inbox = append(c.inbox, Payload{Stream: name, End: end})
		c.ready.send()
		return
	}
	if c.closing && c.end == nil && r.repeats > 0 && conditionOf(end) == "item-not-found" {
		// The answer to a terminate was lost, and the session with it.
		end = io.EOF
	}
	c.closing = true
	if c.end == nil || weight(end) > weight(c.end) {
		c.end = end
	}
}

// weight orders the ends that several requests of a session got: the one that
// has caused it tells more than those given to the others.
func weight(end error) int {
	switch conditionOf(end) {
	case "other-request":
		return 0
	case "item-not-found":
		return 1
	case "":
		return 2
	}
	return 3
}

func conditionOf(err error) string {
	var e *EndError
	if errors.As(err, &e) {
		return e.Condition
	}
	return ""
}
