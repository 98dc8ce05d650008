package boshtest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An item waits to be sent.
type item struct {
	kind   kind
	stream string // to which the payload goes, or which is ended
	data   []byte // payload
	attrs  string // of the wrapper
	pause  time.Duration
	reply  chan<- reply // gets one, if it is not nil
}

type kind uint8

const (
	payload kind = iota
	empty
	restart
	newStream
	pause
	terminate
)

// A reply is the answer to the request that carried an item.
type reply struct {
	body *Body
	err  error
}

func (it *item) tell(b *Body, err error) {
	if it.reply != nil {
		it.reply <- reply{b, err}
		it.reply = nil
	}
}

// Send queues payloads, each of them one or more whole elements, and returns
// when there was room for all of them. They go out in order, as soon as the server's
// limits allow. The client does not look into them.
func (c *Client) Send(ctx context.Context, payloads ...string) error {
	return c.SendTo(ctx, "", payloads...)
}

// SendTo is Send for one of several streams. Payloads to the stream "" go to
// all of them.
func (c *Client) SendTo(ctx context.Context, stream string, payloads ...string) error {
	return c.enqueue(ctx, items(stream, payloads)...)
}

func items(stream string, payloads []string) []item {
	its := make([]item, len(payloads), len(payloads)+1)
	for i, p := range payloads {
		its[i] = item{kind: payload, stream: stream, data: []byte(p)}
	}
	return its
}

// Poll queues an empty request.
func (c *Client) Poll(ctx context.Context) error {
	return c.enqueue(ctx, item{kind: empty})
}

// Restart queues a stream restart, as XMPP wants it after authentication. What
// is queued later is sent after it. The server's new stream features come out
// of Recv. Attrs are further attributes, as XML: "from='a@example.com'".
func (c *Client) Restart(ctx context.Context, attrs ...string) error {
	it := item{kind: restart, attrs: c.streamAttrs(c.cfg.To, " xmlns:xmpp='"+NSXMPP+"' xmpp:restart='true'", attrs)}
	return c.enqueue(ctx, it)
}

// AddStream opens a further stream to a domain and returns its name. Attrs are
// further attributes, as XML.
func (c *Client) AddStream(ctx context.Context, to string, attrs ...string) (string, error) {
	if c.granted.Stream == "" {
		return "", errors.New("boshtest: the server knows no further streams")
	}
	var xmpp string
	if c.cfg.XMPP {
		xmpp = " xmlns:xmpp='" + NSXMPP + "' xmpp:version='1.0'"
	}
	b, err := c.call(ctx, item{kind: newStream, attrs: c.streamAttrs(to, xmpp, attrs)})
	if err != nil {
		return "", err
	}
	name := b.Attr("stream")
	switch {
	case b.Attr("type") == "terminate":
		return "", endOf(b)
	case name == "":
		return "", errors.New("boshtest: the server did not open a further stream")
	}
	return name, nil
}

// streamAttrs are the attributes of a request that opens a stream.
func (c *Client) streamAttrs(to, xmpp string, more []string) string {
	var b []byte
	if to != "" {
		b = appendAttr(b, "to", to)
	}
	b = appendAttr(b, "xml:lang", c.cfg.Lang)
	b = append(b, xmpp...)
	for _, m := range more {
		b = append(append(b, ' '), m...)
	}
	return string(b)
}

// Pause asks the server to bear a silence of d and returns when it and all
// requests before it have been answered. The client then sends nothing until
// there is something to send, or until nine tenths of d are over.
func (c *Client) Pause(ctx context.Context, d time.Duration) error {
	if limit := c.granted.MaxPause; d < time.Second || d > limit {
		return fmt.Errorf("boshtest: pause of %v is not between 1s and maxpause %v", d, limit)
	}
	_, err := c.call(ctx, item{kind: pause, pause: d})
	return err
}

// CloseStream ends one of several streams, with last payloads for it. The end
// comes out of [Client.Next].
func (c *Client) CloseStream(ctx context.Context, stream string, payloads ...string) error {
	return c.enqueue(ctx, append(items(stream, payloads), item{kind: terminate, stream: stream})...)
}

// Terminate ends the session in an orderly way: it sends all that is queued,
// then last payloads with type='terminate', and waits for the server's
// answers. It returns nil if the session has ended well. Payloads that the
// server still had can be received afterwards.
func (c *Client) Terminate(ctx context.Context, payloads ...string) error {
	if err := c.enqueue(ctx, append(items("", payloads), item{kind: terminate})...); err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := c.Err(); !isEOF(err) {
		return err
	}
	return nil
}

// enqueue puts items at the end of the queue when there is room for all.
func (c *Client) enqueue(ctx context.Context, its ...item) error {
	size := 0
	for i := range its {
		size += len(its[i].data)
	}
	for {
		c.mu.Lock()
		if err := c.ended(); err != nil {
			c.mu.Unlock()
			return err
		}
		if size == 0 || c.queued == 0 || c.queued+size <= c.cfg.Queue {
			c.queue = append(c.queue, its...)
			c.queued += size
			c.pump()
			c.mu.Unlock()
			return nil
		}
		room := c.room.wait()
		c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ended returns why nothing can be sent any more. The lock is held.
func (c *Client) ended() error {
	switch {
	case c.err != nil:
		return c.err
	case c.end != nil:
		return c.end
	case c.closing:
		return ErrClosed
	}
	return nil
}

// call sends an item and waits for the answer to it.
func (c *Client) call(ctx context.Context, it item) (*Body, error) {
	got := make(chan reply, 1)
	it.reply = got
	if err := c.enqueue(ctx, it); err != nil {
		return nil, err
	}
	select {
	case r := <-got:
		return r.body, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
