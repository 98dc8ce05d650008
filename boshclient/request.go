package boshclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/timers"
	"github.com/gobosh/bosh/internal/wire"
)

// A request has got its rid. Once it is composed its text never changes, however often
// it is sent.
type request struct {
	rid    int64
	kind   kind // of session and stream: terminate is the end of the session
	conn   *Conn
	pause  time.Duration
	sentAt time.Time

	sent   chan struct{} // closed when it was written to a connection, or was answered
	after  chan struct{} // the sent of the one before, if that was open; else nil
	isSent sync.Once     // closes sent

	ask   wire.Ask // until it is composed
	items []item   // that it carries; those that want no reply until it is composed

	// Guarded by the session's lock.
	text    []byte
	answer  *answer            // once it is there
	failed  bool               // it will not be answered any more, as the session has ended
	again   context.CancelFunc // aborts the attempt under way, to repeat it
	repeats int
	since   time.Time // of the first failure
}

// wrote marks the request as on its way.
func (r *request) wrote() { r.isSent.Do(func() { close(r.sent) }) }

// tell gives the outcome to the callers that wait for the answer.
func (r *request) tell(c *Conn, err error) {
	for i := range r.items {
		if it := &r.items[i]; it.reply != nil {
			it.reply <- reply{c, err}
			it.reply = nil
		}
	}
}

// compose makes the text of a request. On failure it ends the session and reports
// false.
func (s *session) compose(r *request) bool {
	err := s.hook(&r.ask)
	size := 512
	for _, p := range r.ask.Payloads {
		size += len(p)*4/3 + 64
	}
	text := r.ask.Append(make([]byte, 0, size))
	if err == nil && s.o.Attributes != nil {
		err = wellFormed(text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.text, r.ask = text, wire.Ask{}
	for i := range r.items {
		buffer.Rest(r.items[i].b)
		r.items[i].b = nil
	}
	if err != nil {
		s.finish(fmt.Errorf("attributes for a request: %w", err))
	}
	return err == nil
}

// hook adds the attributes from Options.Attributes to a request.
func (s *session) hook(a *wire.Ask) error {
	if s.o.Attributes == nil {
		return nil
	}
	attrs := s.o.Attributes(a.Rid)
	if err := checkAttrs(attrs); err != nil {
		return err
	}
	for _, x := range attrs {
		a.Attrs = append(a.Attrs, wire.Attr{Space: x.Name.Space, Local: x.Name.Local, Value: x.Value})
	}
	return nil
}

// wellFormed returns an error if the text of a request is not well-formed.
func wellFormed(text []byte) error {
	return (&wire.Request{Body: text}).Parse(wire.Limits{})
}

// inOrder bounds the wait of a request until the one before is on its way. They go by
// different connections, and some servers stall if requests arrive out of order.
const inOrder = time.Second

// carry sends a request until it is answered.
func (s *session) carry(r *request) {
	defer r.wrote()
	if r.after != nil {
		t := time.NewTimer(inOrder)
		select {
		case <-r.after:
		case <-t.C:
		case <-s.ctx.Done():
		}
		t.Stop()
	}
	for {
		ctx, cancel := context.WithCancel(s.ctx)
		s.mu.Lock()
		r.again = cancel
		s.mu.Unlock()
		patience := s.o.AnswerTimeout
		if r.pause == 0 { // which is answered at once
			patience += s.granted.Wait
		}
		a, err := s.post(ctx, r.text, patience, r.wrote)
		cancel()
		if err == nil && string(a.Type) != "error" {
			s.answered(r, a)
			return
		}
		a.release()
		pause, more := s.missed(r, err)
		if !more || timers.Sleep(s.ctx, pause) != nil {
			return
		}
	}
}

// missed notes a failed attempt: an error, or else a recoverable error from the
// server. It returns the pause before the next attempt, and whether there is to be
// one.
func (s *session) missed(r *request, err error) (pause time.Duration, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = errRecoverable
		// All earlier ones are to be repeated with it. XEP-0124, section 17.3.
		for rid := s.head; rid < r.rid; rid++ {
			s.repeat(rid)
		}
	}
	now := time.Now()
	if r.since.IsZero() {
		r.since = now
	}
	pause = s.backoff(r.repeats, err)
	switch {
	case s.err != nil:
		return 0, false
	case s.final(err):
		s.finish(s.condition(err))
		return 0, false
	case s.end != nil:
		r.failed = true
		s.settle()
		return 0, false
	case now.Add(pause).Sub(r.since) > s.o.GiveUp || s.o.GiveUp <= 0:
		s.finish(fmt.Errorf("%w: %w", ErrUnanswered, err))
		return 0, false
	}
	r.repeats++
	s.stats.Repeats++
	return pause, true
}

// repeat has a request repeated if it is unanswered.
func (s *session) repeat(rid int64) {
	if i := rid - s.head; i >= 0 && i < int64(len(s.open)) {
		if r := s.open[i]; r.answer == nil && r.again != nil {
			r.again()
		}
	}
}

// backoff returns the pause before a repeat, after n earlier ones.
func (s *session) backoff(n int, err error) time.Duration {
	var d time.Duration
	if n > 0 {
		d = min(s.o.Backoff<<min(n-1, 20), maxBackoff)
		d = d/2 + rand.N(d/2+1) // so that not all clients come back at once
	}
	var later *laterError
	if errors.As(err, &later) {
		d = max(d, later.after)
	}
	return d
}

// A laterError is a StatusError with the shortest pause before a repeat.
type laterError struct {
	StatusError
	after time.Duration
}

func (e *laterError) Unwrap() error { return &e.StatusError }

// post sends a text once and returns the answer. It calls wrote when the text has been
// written.
func (s *session) post(ctx context.Context, text []byte, patience time.Duration, wrote func()) (*answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errLate)
	defer cancel()
	a, err := s.exchange(s.traced(ctx, wrote), text)
	var at *url.Error // it has the URL in it, which may hold a token
	if errors.As(err, &at) {
		err = at.Err
	}
	if err != nil && context.Cause(ctx) == errLate {
		err = errLate
	}
	return a, err
}

var errLate = errors.New("no answer in time")

// traced returns a context. By it the transport calls wrote once the request is
// written. If the first request has shown that the transport never does, traced calls
// wrote now.
func (s *session) traced(ctx context.Context, wrote func()) context.Context {
	if !s.tells.Load() {
		defer wrote()
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { s.tells.Store(true) },
		WroteRequest: func(i httptrace.WroteRequestInfo) {
			if i.Err == nil {
				wrote()
			}
		},
	})
}

func (s *session) exchange(ctx context.Context, text []byte) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header = s.o.HTTPHeader.Clone()
	if s.o.Prepare != nil {
		if err := s.o.Prepare(req); err != nil {
			return nil, err
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
		return nil, statusError(resp)
	}
	return s.read(resp)
}

// statusError returns the error for a status other than 200.
func statusError(resp *http.Response) error {
	status := StatusError{Status: resp.StatusCode}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 && status.Status != http.StatusUnauthorized {
		return &laterError{status, min(time.Duration(n)*time.Second, maxBackoff)}
	}
	if u, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 { // of a redirect that a POST cannot follow
		return fmt.Errorf("%w to %s: dial that URL", &status, (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}))
	}
	return &status
}
