package boshtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// A Client is one session of a well-behaved BOSH client. It
//
//   - keeps one request with the server, unless it is Manual, paused or in a
//     polling session, in which it keeps the polling interval;
//   - sends what was queued as soon as the window of `requests` allows,
//     everything that waits in one body;
//   - repeats a request byte for byte when its connection breaks, when the
//     answer is incomplete or of type error, when the server reports it, and
//     when it stays out for too long;
//   - takes the answers in the order of their rids, and gives the payloads
//     once and in order.
//
// Its methods may be called at the same time.
type Client struct {
	cfg     Config
	url     *url.URL
	header  http.Header
	rt      http.RoundTripper
	own     *http.Transport // to close; nil if rt is the caller's
	granted Granted

	ctx     context.Context // of all requests; ends with the session
	cancel  context.CancelFunc
	running sync.WaitGroup
	done    chan struct{} // closed when err is set

	mu sync.Mutex
	// Protects following.

	queue  []item // to be sent
	queued int    // bytes in it
	room   signal // the queue has shrunk
	inbox  []Payload
	ready  signal // the inbox has grown

	next int64              // rid of the next request
	head int64              // lowest rid that has not been answered
	open map[int64]*request // the requests in [head, next)
	keys *keys

	streams map[string]bool // open ones, by name
	closing bool            // a terminate has been sent, or the server has ended the session
	end     error           // why the server ended it, while answers are outstanding
	pausing bool            // a pause has been sent and not been answered
	resume  time.Time       // when to end the pause; zero if there is none
	pollAt  time.Time       // not before this is the next empty request due
	timer   *time.Timer     // wakes pump for resume or pollAt
	err     error
	stats   Stats
}

// Stats count what a [Client] has done.
type Stats struct {
	Requests    int // new ones, each counted once
	Empty       int // those of them without payloads
	Repeats     int
	Answers     int // those taken; one for each request that was answered
	Recoverable int // answers of type error
	PayloadsOut int // put into requests, repeats not counted
	PayloadsIn  int
}

// A Payload is an element from the server, or the end of one of several
// streams.
type Payload struct {
	Stream string // as the answer named it: empty in sessions of one stream
	Data   []byte // the element as it was in the body; nil at the end of the stream
	End    error  // io.EOF or an *EndError if the stream has ended but the session has not
}

// Dial creates a session, or goes on with the one of cfg.Sid. The context is
// for the creation alone. If the server refuses, the error is an [*EndError] or
// a [*StatusError].
//
// A creation that fails for another reason is tried again as often as any
// request. A server that has seen more than one of them has made more than one
// session, for it cannot tell; those that the client knows nothing of end by
// inactivity.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("boshtest: %w", err)
	}
	c := &Client{
		cfg:     cfg,
		url:     u,
		header:  cfg.Header.Clone(),
		rt:      cfg.Transport,
		done:    make(chan struct{}),
		open:    make(map[int64]*request),
		streams: make(map[string]bool),
		next:    cfg.Rid,
		head:    cfg.Rid,
	}
	if c.header == nil {
		c.header = make(http.Header)
	}
	if c.header.Get("Content-Type") == "" {
		c.header.Set("Content-Type", "text/xml; charset=utf-8")
	}
	if c.rt == nil {
		conns := max(1, cfg.Hold) + 2 // a pause or an end may be open beyond `requests`
		c.own = &http.Transport{MaxConnsPerHost: conns, MaxIdleConnsPerHost: conns}
		c.rt = c.own
	}
	if cfg.Fault != nil {
		c.rt = cfg.Fault.over(c.rt)
	}
	if err := c.create(ctx); err != nil {
		if c.own != nil {
			c.own.CloseIdleConnections()
		}
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pump()
	return c, nil
}

// Granted returns what the server granted.
func (c *Client) Granted() Granted { return c.granted }

// Sid returns the session's id.
func (c *Client) Sid() string { return c.granted.Sid }

// Rid returns the id that the next request will have. With Sid it is what
// another client needs to go on with the session after Close.
func (c *Client) Rid() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// Stats returns the counts so far.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Done is closed when the session is over for the client.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the session is over: nil if it is not, [io.EOF] after a
// graceful end by either side, an [*EndError], a [*StatusError],
// [ErrUnanswered] or [ErrClosed].
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Recv waits for the next payload and returns it exactly as it was in the
// answer: one whole element, which uses the prefixes that the answer's wrapper
// declared. The caller owns it. After the last payload Recv returns the error
// of [Client.Err].
//
// Payloads that nobody receives pile up without a limit.
func (c *Client) Recv(ctx context.Context) ([]byte, error) {
	for {
		p, err := c.Next(ctx)
		if err != nil || p.End == nil {
			return p.Data, err
		}
	}
}

// Next is Recv for sessions of several streams.
func (c *Client) Next(ctx context.Context) (Payload, error) {
	for {
		c.mu.Lock()
		if len(c.inbox) > 0 {
			p := c.inbox[0]
			c.inbox[0] = Payload{}
			c.inbox = c.inbox[1:]
			c.mu.Unlock()
			return p, nil
		}
		if c.err != nil {
			defer c.mu.Unlock()
			return Payload{}, c.err
		}
		ready := c.ready.wait()
		c.mu.Unlock()
		select {
		case <-ready:
		case <-ctx.Done():
			return Payload{}, context.Cause(ctx)
		}
	}
}

// Close abandons the session: it tells the server nothing, aborts the requests
// that are open and waits until their goroutines have ended. It may be called
// more than once, and after any end.
func (c *Client) Close() error {
	c.mu.Lock()
	c.finish(ErrClosed)
	c.mu.Unlock()
	c.running.Wait()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// finish ends the session for the client, the first time. The lock is held.
func (c *Client) finish(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.closing = true
	c.cancel()
	close(c.done)
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, it := range c.queue {
		it.tell(nil, err)
	}
	for _, r := range c.open {
		r.tell(nil, err)
	}
	c.queue = nil
	c.room.send()
	c.ready.send()
}

// create sends the creation request until it is answered.
func (c *Client) create(ctx context.Context) error {
	if c.cfg.Sid != "" {
		c.granted = c.cfg.attached()
		return nil
	}
	var newkey string
	if c.cfg.Keys > 0 {
		c.keys, newkey = newKeys(c.cfg.Keys)
	}
	text := c.cfg.creation(c.url, newkey)
	patience := c.cfg.Patience
	if patience == 0 {
		patience = c.cfg.Wait + 10*time.Second
	}
	for try := 0; ; try++ {
		b, err := c.post(ctx, text, patience)
		if err == nil && b.Attr("type") == "error" {
			err = errRecoverable
		}
		switch {
		case err == nil:
			return c.created(b)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isFinal(err):
			return err
		case try >= c.cfg.Retries:
			return fmt.Errorf("%w: %w", ErrUnanswered, err)
		}
		if err := sleep(ctx, c.backoff(try)); err != nil {
			return err
		}
	}
}

// created takes the creation answer.
func (c *Client) created(b *Body) error {
	if b.Attr("type") == "terminate" {
		return endOf(b)
	}
	c.granted = granted(b)
	if c.granted.Sid == "" {
		return errors.New("boshtest: creation answer without sid: " + b.String())
	}
	if c.granted.Wait < 0 {
		c.granted.Wait = c.cfg.Wait
	}
	if c.granted.Stream != "" {
		c.streams[c.granted.Stream] = true
	}
	c.deliver(b)
	c.next++
	c.head++
	c.stats.Requests, c.stats.Answers, c.stats.Empty = 1, 1, 1
	return nil
}

// endOf returns the end that a terminal answer means.
func endOf(b *Body) error {
	if condition := b.Attr("condition"); condition != "" {
		return &EndError{Condition: condition, Body: b}
	}
	return io.EOF
}

// A signal wakes those who wait for a change. It is guarded by the client's
// lock.
type signal struct{ ch chan struct{} }

// wait returns a channel that the next send closes.
func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) send() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
