package boshtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/internal/knobs"
)

// A Client is a [boshclient.Conn] of elements with additions for tests: it takes and
// gives strings, goes through faults, and can be away.
//
// Close is CloseNow: the client leaves without a word.
type Client struct {
	*boshclient.Conn
	created *Body
}

// Config says how a [Client] talks to its server. The zero value of each field is the
// default named with it; only URL or Transport must be there.
type Config struct {
	// URL is the server's address. The default is http://bosh.test/, for a
	// Transport that does not care.
	URL string

	// Transport carries the requests. The default is one shared by all clients.
	// Fault, if set, is put before it; its own Transport field is ignored.
	Transport http.RoundTripper
	Fault     *Faults

	// Manual keeps the client from sending empty requests by itself. The server's
	// output then comes on the answers to writes, and by [boshclient.Conn.Wake]:
	// it sends one such request.
	Manual bool

	// XMPP has the client speak XMPP by elements, as by Version "1.0".
	XMPP bool

	// Acks makes the client acknowledge answers, as a [boshclient.Conn] does by
	// default.
	Acks bool

	// The others are as in [boshclient.Options].
	To            string
	Header        http.Header
	Attr          []xml.Attr
	Wait          time.Duration
	Hold, Keys    int
	Batch         int
	GiveUp        time.Duration
	Backoff       time.Duration
	AnswerTimeout time.Duration
}

// Dial creates a session. The context is for the creation alone. The creation is
// tried once. If the server refuses, errors.Is finds its [boshclient.Condition] in
// the error.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	first := &recording{rt: cfg.transport()}
	o := cfg.options()
	o.HTTPClient = &http.Client{Transport: first}
	ctx = knobs.With(ctx, knobs.Knobs{Manual: cfg.Manual})
	c, err := boshclient.Dial(ctx, cmp.Or(cfg.URL, "http://bosh.test/"), o)
	if err != nil {
		return nil, err
	}
	return &Client{c, first.answer}, nil
}

// A recording keeps the first answer.
type recording struct {
	rt     http.RoundTripper
	once   sync.Once
	answer *Body
}

func (r *recording) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	r.once.Do(func() {
		resp, err = r.rt.RoundTrip(req)
		if err != nil {
			return
		}
		var text []byte
		if text, err = readBody(resp); err == nil {
			r.answer, _ = ParseBody(text)
			resp.Body = io.NopCloser(bytes.NewReader(text))
		}
	})
	switch {
	case err != nil:
		return nil, err
	case resp != nil:
		return resp, nil
	}
	return r.rt.RoundTrip(req)
}

// sockets is for a Config without a Transport.
var sockets = &http.Transport{MaxIdleConnsPerHost: 256}

// transport returns the transport of the requests, faults included.
func (cfg *Config) transport() http.RoundTripper {
	rt := cfg.Transport
	if rt == nil {
		rt = sockets
	}
	if cfg.Fault != nil {
		rt = cfg.Fault.over(rt)
	}
	return rt
}

func (cfg *Config) options() *boshclient.Options {
	o := &boshclient.Options{
		Framing: boshclient.Elements, To: cfg.To, HTTPHeader: cfg.Header, Attr: cfg.Attr, Wait: cfg.Wait, Hold: cfg.Hold,
		Keys: cfg.Keys, Batch: cfg.Batch, GiveUp: cfg.GiveUp, Backoff: cfg.Backoff, AnswerTimeout: cfg.AnswerTimeout,
		NoAcks: !cfg.Acks, CloseTimeout: -1,
	}
	if cfg.XMPP {
		o.Version = "1.0"
	}
	return o
}

// Created returns the answer to the creation of the session, with its sid.
func (c *Client) Created() *Body { return c.created }

// Send queues payloads, each of them one or more whole elements, and returns when there
// was room for all of them.
func (c *Client) Send(ctx context.Context, payloads ...string) error {
	for _, p := range payloads {
		if err := c.WriteElement(ctx, []byte(p)); err != nil {
			return err
		}
	}
	return nil
}

// Recv is [boshclient.Conn.ReadElement].
func (c *Client) Recv(ctx context.Context) ([]byte, error) { return c.ReadElement(ctx) }

// AddStream is [boshclient.Conn.OpenStream].
func (c *Client) AddStream(ctx context.Context, to string) (*Client, error) {
	more, err := c.OpenStream(ctx, to)
	if err != nil {
		return nil, err
	}
	return &Client{more, c.created}, nil
}

// Terminate is [boshclient.Conn.Terminate] with last payloads. They go out with the end.
func (c *Client) Terminate(ctx context.Context, payloads ...string) error {
	if err := c.Send(ctx, payloads...); err != nil {
		return err
	}
	return c.Conn.Terminate(ctx)
}

// Done is closed when the stream is over for the client.
func (c *Client) Done() <-chan struct{} { return c.Context().Done() }

// Err returns why the stream is over: nil if it is not, [io.EOF] after a graceful end,
// and else the error of Recv.
func (c *Client) Err() error { return context.Cause(c.Context()) }
