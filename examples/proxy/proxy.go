package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
)

// A proxy is the connection manager: it takes BOSH sessions, connects to a
// server for each, and carries between the two.
type proxy struct {
	bosh      *bosh.Handler
	connector *connector
	frontage  frontage
	keepalive time.Duration
	noCustody bool
	log       *slog.Logger
	count     metrics
	budget    budget
	shaper    shaper
	refusals  refusals

	distrusted sync.Once // a proxy in front, in the log

	cluster *boshnats.Node // nil if it is alone

	bridges sync.WaitGroup // and connections that are to become some
	living  atomic.Int64   // how many there are

	closing, ended context.Context // no session begins any more; and they have all ended
	close, end     context.CancelCauseFunc

	mu     sync.Mutex // Protects following.
	closed bool       // no bridge begins any more
}

// newProxy returns a proxy with the options, except for its own ones.
func newProxy(cfg *config, o bosh.Options, log *slog.Logger) *proxy {
	p := &proxy{
		connector: &cfg.connector,
		frontage:  cfg.frontage,
		keepalive: cfg.keepalive,
		noCustody: cfg.noCustody,
		log:       log,
	}
	p.count.init()
	p.closing, p.close = context.WithCancelCause(context.Background())
	p.ended, p.end = context.WithCancelCause(context.Background())
	p.budget.max = max(o.MaxMemory, 0) / serverShare
	o.Framing = bosh.XMPP
	o.Admit = p.admit
	o.Serve = p.serve
	o.ClientAddr = p.frontage.clientAddr
	o.Secure = p.frontage.secure
	p.shaper.shape, p.shaper.count, p.shaper.log, p.shaper.began = cfg.shape, &p.count, log, time.Now()
	if cfg.shape.on() {
		o.Throttle, o.ReadBuffer = true, throttledBuffer
	}
	o.Logger = slog.New(quieter{log.Handler()})
	o.Trace = &bosh.Trace{
		Refused: p.refused,
		Request: func(s *bosh.Session, i bosh.RequestInfo) {
			seen(s)
			p.count.received.Observe(float64(i.Bytes))
		},
		Response: func(s *bosh.Session, i bosh.ResponseInfo) {
			seen(s)
			p.count.open.Observe(i.Open.Seconds())
			p.count.answered.Observe(float64(i.Bytes))
		},
	}
	p.bosh = bosh.New(o)
	p.count.stats, p.count.kept = p.bosh.Stats, p.budget.taken
	return p
}

// serverShare is the part of -max-memory for bytes from servers, on top of it.
const serverShare = 4

// throttledBuffer is how many bytes a slowed client may be ahead.
const throttledBuffer = 8 << 10

// An errand is a connection on its way from admit to serve. It stays with its
// session.
type errand struct {
	conn   net.Conn
	domain domain
	over   func() // to be called once, when the connection is

	expiry *time.Timer
	forget func() bool  // that the program may end
	seen   atomic.Int64 // when the client last made a request or got an answer, in Unix nanoseconds
}

// errandTimeout is how long a connection waits for its stream. None comes if
// the rest of the creation request is no good.
const errandTimeout = time.Minute

type errandKey struct{}

// send puts an errand into a context. It expires after a while, or when ended is
// done, since no stream comes any more.
func send(ctx, ended context.Context, e *errand) context.Context {
	e.seen.Store(time.Now().UnixNano())
	expire := func() {
		e.conn.Close()
		e.over()
	}
	e.expiry = time.AfterFunc(errandTimeout, expire)
	e.forget = context.AfterFunc(ended, func() {
		if e.expiry.Stop() {
			expire()
		}
	})
	return context.WithValue(ctx, errandKey{}, e)
}

// receive takes the errand out of a context, and reports whether it is in time.
func receive(ctx context.Context) (*errand, bool) {
	e, ok := ctx.Value(errandKey{}).(*errand)
	if !ok {
		return nil, false
	}
	e.forget()
	return e, e.expiry.Stop()
}

// seen notes a sign of life of a session's client.
func seen(s *bosh.Session) {
	if e, ok := s.Context().Value(errandKey{}).(*errand); ok {
		e.seen.Store(time.Now().UnixNano())
	}
}

var errClosing = errors.New("the proxy is about to end")

// begin counts a coming bridge. It reports whether one may still begin.
func (p *proxy) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.bridges.Add(1)
		p.living.Add(1)
	}
	return !p.closed
}

// over is called when a bridge has ended.
func (p *proxy) over() {
	p.living.Add(-1)
	p.bridges.Done()
}

// admit connects to the server for a client's domain.
func (p *proxy) admit(ctx context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
	client := p.frontage.client(r).from
	p.distrust(r)
	if o.To == "" {
		return nil, refuse("", &bosh.Error{Condition: bosh.ImproperAddressing, Err: errNoTo})
	}
	d, err := parseDomain(o.To)
	if err != nil {
		return nil, refuse(o.To, &bosh.Error{Condition: bosh.HostUnknown, Err: err})
	}
	o.To = d.name // as the server has to see it
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	// If a client gives up it need not be connected any more, nor any at the end.
	dialing, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(p.closing, func() { cancel(errClosing) })()
	began := time.Now()
	conn, err := p.connector.connect(dialing, request{domain: d, route: o.Route, wait: o.Wait, client: client, local: local})
	p.count.connect.Observe(time.Since(began).Seconds())
	if err == nil && !p.begin() {
		conn.Close()
		err = errClosing
	}
	if context.Cause(dialing) == errClosing || err == errClosing {
		err = &bosh.Error{Condition: bosh.SystemShutdown, Err: errClosing}
	}
	if err != nil {
		return nil, refuse(d.name, err)
	}
	return send(ctx, p.ended, &errand{conn: conn, domain: d, over: p.over}), nil
}

// serve carries between a stream and its connection.
func (p *proxy) serve(s *bosh.Stream) {
	e, ok := receive(s.Context())
	if !ok {
		s.CloseWithError(&bosh.Error{Condition: bosh.RemoteConnectionFailed})
		return
	}
	defer e.over()
	log := p.log.With("session", s.Session().ID())
	log.Info("session began", "client", s.RemoteAddr(), "domain", e.domain.name, "server", e.conn.RemoteAddr())
	b := &bridge{
		stream:    s,
		server:    e.conn,
		domain:    e.domain,
		split:     splitter{max: p.connector.maxStanza},
		pulse:     pulse{conn: e.conn, patience: p.connector.timeout},
		budget:    &p.budget,
		keepalive: p.keepalive,
		custody:   custody{off: p.noCustody},
		patience:  p.connector.timeout,
		count:     &p.count,
		meter:     p.shaper.meter(s.Session()),
	}
	defer b.meter.close()
	began := time.Now()
	why, cause := b.run()
	p.count.ended.add(why)
	level, n := slog.LevelInfo, s.Session().Stats()
	attrs := []any{
		"reason", why, "client", s.RemoteAddr(), "domain", e.domain.name, "after", time.Since(began).Round(time.Millisecond),
		"requests", n.Requests, "received", n.PayloadsIn, "sent", n.PayloadsOut, "returned", b.returned,
	}
	if why == serverFailed {
		level = slog.LevelWarn
		attrs = append(attrs, "server", e.conn.RemoteAddr())
	}
	if b.lost > 0 {
		// They came too late to be returned, and the server has no stream management.
		level = slog.LevelWarn
		attrs = append(attrs, "lost", b.lost)
	}
	if cause != nil {
		attrs = append(attrs, "cause", cause)
	}
	log.Log(context.Background(), level, "session ended", attrs...)
}
