package boshtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// A request is one that has got its rid. Its text never changes, however often
// it is sent.
type request struct {
	rid    int64
	text   []byte
	kind   kind // pause, terminate (of the session), empty, or payload for all else
	pause  time.Duration
	sentAt time.Time
	items  []item // those that want a reply

	// Guarded by the client's lock.
	answer  *Body              // once it is there
	failed  bool               // it will not be answered any more: the session has ended
	again   context.CancelFunc // aborts the attempt under way, to repeat it
	repeats int
}

func (r *request) tell(b *Body, err error) {
	for i := range r.items {
		r.items[i].tell(b, err)
	}
}

// pump sends what may be sent. It is called with the lock held whenever
// something has changed.
func (c *Client) pump() {
	for !c.closing && !c.pausing {
		open := c.next - c.head
		if len(c.queue) > 0 {
			n, extra := c.batch()
			limit := c.granted.window()
			if extra {
				limit++
			}
			if open >= limit {
				return
			}
			c.start(c.build(n))
			continue
		}
		if c.cfg.Manual || open > 0 {
			return
		}
		due := c.pollAt
		if !c.resume.IsZero() {
			due = c.resume
		}
		if wait := time.Until(due); wait > 0 {
			c.wake(wait)
			return
		}
		c.queue = append(c.queue, item{kind: empty})
	}
}

// wake calls pump after d.
func (c *Client) wake(d time.Duration) {
	if c.timer == nil {
		c.timer = time.AfterFunc(d, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.end != nil {
				c.finish(c.end)
			}
			c.pump()
		})
		return
	}
	c.timer.Reset(d)
}

// batch returns how many items of the queue go into the next request, and
// whether that one may go beyond the limit of requests.
func (c *Client) batch() (n int, extra bool) {
	size := 0
	for n < len(c.queue) {
		it := &c.queue[n]
		if n > 0 && it.stream != c.queue[0].stream {
			break
		}
		switch it.kind {
		case payload:
			if n > 0 && size+len(it.data) > c.cfg.Batch {
				return n, false
			}
			size += len(it.data)
			n++
			continue
		case pause, terminate:
			return n + 1, true
		}
		if n == 0 {
			n = 1
		}
		break
	}
	return n, false
}

// build makes a request of the first n items.
func (c *Client) build(n int) *request {
	r := &request{rid: c.next, kind: empty}
	b := make([]byte, 0, 256)
	b = append(b, "<body"...)
	b = appendAttr(b, "rid", strconv.FormatInt(r.rid, 10))
	b = appendAttr(b, "sid", c.granted.Sid)
	if c.keys != nil {
		key, newkey := c.keys.next()
		b = appendAttr(b, "key", key)
		if newkey != "" {
			b = appendAttr(b, "newkey", newkey)
		}
	}
	if got := c.head - 1; c.cfg.Acks && got != r.rid-1 {
		b = appendAttr(b, "ack", strconv.FormatInt(got, 10))
	}
	if s := c.queue[0].stream; s != "" {
		b = appendAttr(b, "stream", s)
	}
	last := &c.queue[n-1]
	switch last.kind {
	case payload:
		r.kind = payload
	case restart, newStream:
		r.kind = payload
		b = append(b, last.attrs...)
	case pause:
		r.kind, r.pause = pause, last.pause
		b = appendAttr(b, "pause", strconv.Itoa(int(last.pause/time.Second)))
	case terminate:
		r.kind = payload
		if last.stream == "" {
			r.kind = terminate
		}
		b = appendAttr(b, "type", "terminate")
	}
	b = appendAttr(b, "xmlns", NSBind)
	mark := len(b)
	b = append(b, '>')
	for i := range c.queue[:n] {
		it := &c.queue[i]
		if it.kind == payload {
			b = append(b, it.data...)
			c.queued -= len(it.data)
			c.stats.PayloadsOut++
		}
		if it.reply != nil {
			r.items = append(r.items, *it)
		}
	}
	if len(b) == mark+1 {
		b = append(b[:mark], "/>"...)
		c.stats.Empty++
	} else {
		b = append(b, "</body>"...)
	}
	r.text = b
	clear(c.queue[:n])
	c.queue = c.queue[n:]
	c.room.send()
	return r
}

// start sends a request for the first time.
func (c *Client) start(r *request) {
	r.sentAt = time.Now()
	c.open[r.rid] = r
	c.next++
	c.stats.Requests++
	c.resume = time.Time{}
	c.pollAt = time.Time{}
	c.pausing = r.kind == pause
	c.closing = r.kind == terminate
	c.running.Go(func() { c.run(r) })
}

var errRecoverable = errors.New("boshtest: answer of type error")

// run sends a request until it is answered.
func (c *Client) run(r *request) {
	patience := c.cfg.Patience
	if patience == 0 {
		patience = c.granted.Wait + 10*time.Second
	}
	for {
		ctx, cancel := context.WithCancel(c.ctx)
		c.mu.Lock()
		r.again = cancel
		c.mu.Unlock()
		b, err := c.post(ctx, r.text, patience)
		cancel()
		if err == nil && b.Attr("type") != "error" {
			c.answered(r, b)
			return
		}
		pause, more := c.missed(r, err)
		if !more || sleep(c.ctx, pause) != nil {
			return
		}
	}
}

// missed takes note that an attempt was in vain, by an error or else by an
// answer of type error. It returns how long to wait before the next one, and
// whether there is to be one.
func (c *Client) missed(r *request, err error) (pause time.Duration, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = errRecoverable
		c.stats.Recoverable++
		// All earlier ones are to be repeated with it.
		for rid := c.head; rid < r.rid; rid++ {
			c.repeat(rid)
		}
	}
	switch {
	case c.err != nil:
		return 0, false
	case isFinal(err):
		c.finish(err)
		return 0, false
	case c.end != nil:
		r.failed = true
		c.settle()
		return 0, false
	case r.repeats >= c.cfg.Retries:
		c.finish(fmt.Errorf("%w: rid %d: %w", ErrUnanswered, r.rid, err))
		return 0, false
	}
	pause = c.backoff(r.repeats)
	r.repeats++
	c.stats.Repeats++
	return pause, true
}

// repeat has a request repeated if it is unanswered.
func (c *Client) repeat(rid int64) {
	if r := c.open[rid]; r != nil && r.answer == nil && r.again != nil {
		r.again()
	}
}

// backoff returns the pause before a repeat, of which there were n before.
func (c *Client) backoff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(c.cfg.Backoff<<min(n-1, 16), 5*time.Second)
}

// post sends a text once and returns the answer.
func (c *Client) post(ctx context.Context, text []byte, patience time.Duration) (*Body, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req := (&http.Request{
		Method:        http.MethodPost,
		URL:           c.url,
		Host:          c.url.Host,
		Header:        c.header,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Body:          io.NopCloser(bytes.NewReader(text)),
		ContentLength: int64(len(text)),
	}).WithContext(ctx)
	resp, err := c.rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	data, err := readBody(resp)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &StatusError{Status: resp.StatusCode}
	}
	return ParseBody(data)
}

// readBody reads and closes a response's body.
func readBody(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	n := resp.ContentLength
	if n < 0 || n > 1<<20 {
		return io.ReadAll(resp.Body)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(resp.Body, data); err != nil {
		if err == io.EOF && n > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return data, nil
}

// isFinal reports whether an error is not mended by a repeat: a client's
// fault, as HTTP has it.
func isFinal(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status < 500
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
