// Package prebind opens a session inside the server's process, and takes it to where a page
// can go on with it.
//
// It is no other client: what it writes and reads is wire's, as with package boshclient. But
// that one keeps requests open, repeats lost ones and polls, in goroutines of its own. Here a
// request is a call of the handler. Between two calls none is open, so that the page can have
// the session at once, and no connection can break.
package prebind

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/gobosh/bosh/internal/wire"
)

// A Client is a session not yet handed over. It sends one request at a time, and may not
// be used by several goroutines at once.
type Client struct {
	handler http.Handler
	request *http.Request // in whose name it speaks
	sid     string
	rid     int64 // of the last request that the handler has taken in
}

// An EndError is the error when the server ended the session. The Condition is empty if
// it did so in good order.
type EndError struct{ Condition string }

func (e *EndError) Error() string { return "session ended: " + e.Condition }

// wait is how long a request is held at the most, in seconds.
const wait = 60

// Open opens a session with handler, in the name of the request r, by a creation request
// with the wishes of ask. It returns the payloads of the answer.
func Open(ctx context.Context, handler http.Handler, r *http.Request, ask wire.Ask) (*Client, []byte, error) {
	c := &Client{handler: handler, request: r.Clone(r.Context()), rid: rand.Int64N(1 << 52)} // middleware may go on with r
	ask.Create = &wire.Terms{Wait: wait, Hold: 1, Ver: "1.11"}
	payload, err := c.exchange(ctx, ask)
	if err != nil {
		return nil, nil, err
	}
	return c, payload, nil
}

// Exchange sends payloads and returns those of the answer. It comes when the application
// has something to say, or after a minute without any. If ctx is done before, the
// payloads have been sent all the same, unless it was done from the start. The
// application's reply to them is in a later answer.
func (c *Client) Exchange(ctx context.Context, payloads []byte) ([]byte, error) {
	return c.exchange(ctx, wire.Ask{Payloads: [][]byte{payloads}})
}

// Restart restarts an XMPP stream and returns the payloads of the answer.
func (c *Client) Restart(ctx context.Context) ([]byte, error) {
	return c.exchange(ctx, wire.Ask{Restart: true})
}

// Attach returns the data for a page to go on with the session: its sid, and the rid of
// the last request. The page's first rid must follow it.
func (c *Client) Attach() (sid string, rid int64) { return c.sid, c.rid }

func (c *Client) exchange(ctx context.Context, ask wire.Ask) (payloads []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ask.Rid, ask.SID = c.rid+1, c.sid
	b := ask.Append(nil)
	r := c.request.Clone(untimed{ctx})
	r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(bytes.NewReader(b)), int64(len(b))
	for _, about := range []string{"Accept-Encoding", "Content-Encoding", "Content-Length", "Origin"} {
		r.Header.Del(about) // of the page's request, and not of this one
	}
	w := &recorder{header: make(http.Header)}
	c.serve(w, r)
	switch {
	case w.body.Len() > 0: // even if ctx is done: what is in it comes once
	case ctx.Err() != nil:
		// The handler has the request, since no connection was there to break, and has
		// spent nothing on it. Its payloads are in the next answer.
		c.rid++
		return nil, ctx.Err()
	default:
		return nil, errAborted
	}
	c.rid++
	answer := wire.Answer{Request: wire.Request{Body: w.body.Bytes()}}
	if err := answer.Parse(); err != nil {
		return nil, err
	}
	if ask.Create != nil {
		c.sid = string(answer.SID)
	}
	for _, p := range answer.Payloads {
		payloads = answer.AppendElement(payloads, p)
	}
	switch string(answer.Type) {
	case "terminate":
		return payloads, &EndError{string(answer.Condition)}
	case "error":
		return payloads, errors.New("answer to another request")
	}
	return payloads, nil
}

// An untimed context does not tell its deadline: the handler would answer a little
// before, with nothing, rather than let it pass.
type untimed struct{ context.Context }

func (untimed) Deadline() (deadline time.Time, ok bool) { return deadline, false }

var errAborted = errors.New("the server broke the connection")

// serve makes the handler serve r. The handler may abort it.
func (c *Client) serve(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	c.handler.ServeHTTP(w, r)
}

// A recorder keeps an answer.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header            { return w.header }
func (w *recorder) WriteHeader(int)                {}
func (w *recorder) Write(p []byte) (int, error)    { return w.body.Write(p) }
func (*recorder) SetReadDeadline(time.Time) error  { return nil }
func (*recorder) SetWriteDeadline(time.Time) error { return nil }
