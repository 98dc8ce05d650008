package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/gobosh/bosh"
)

// A proxy is the connection manager: it takes BOSH sessions, connects to a
// server for each, and carries between the two.
type proxy struct {
	bosh      *bosh.Handler
	connector *connector
	frontage  frontage
	keepalive time.Duration
	log       *slog.Logger
	count     metrics

	bridges sync.WaitGroup
}

// newProxy returns a proxy that keeps to the options, but for those which are
// its own matter.
func newProxy(cfg *config, o bosh.Options, log *slog.Logger) *proxy {
	p := &proxy{
		connector: &cfg.connector,
		frontage:  cfg.frontage,
		keepalive: cfg.keepalive,
		log:       log,
	}
	o.Framing = bosh.XMPP
	o.Admit = p.admit
	o.Serve = p.serve
	o.ClientAddr = p.frontage.clientAddr
	o.Secure = p.frontage.secure
	o.Logger = log
	o.Trace = &bosh.Trace{Refused: p.refused}
	p.bosh = bosh.New(o)
	p.count.stats = p.bosh.Stats
	return p
}

// refused counts a session that is refused, by whomever.
func (p *proxy) refused(_ *http.Request, e *bosh.Error) { p.count.refused.add(string(e.Condition)) }

// An errand is a connection on its way from admit to serve.
type errand struct {
	conn   net.Conn
	expiry *time.Timer
}

// errandTimeout is how long a connection waits for its stream. One never comes
// if what else the creation request says is no good.
const errandTimeout = time.Minute

type errandKey struct{}

// send puts an errand into a context.
func send(ctx context.Context, conn net.Conn) context.Context {
	e := &errand{conn: conn, expiry: time.AfterFunc(errandTimeout, func() { conn.Close() })}
	return context.WithValue(ctx, errandKey{}, e)
}

// receive takes the errand out of a context, and reports whether it is in time.
func receive(ctx context.Context) (*errand, bool) {
	e, ok := ctx.Value(errandKey{}).(*errand)
	return e, ok && e.expiry.Stop()
}

// admit connects to the server that a client asks for.
func (p *proxy) admit(ctx context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
	client := p.frontage.client(r).from
	if o.To == "" {
		return nil, p.refuse(client, "", &bosh.Error{Condition: bosh.ImproperAddressing})
	}
	d, err := parseDomain(o.To)
	if err != nil {
		return nil, p.refuse(client, o.To, &bosh.Error{Condition: bosh.HostUnknown, Err: err})
	}
	o.To = d.name // as the server has to see it
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	// A client that gives up need not be connected any more.
	conn, err := p.connector.connect(r.Context(), request{domain: d, route: o.Route, wait: o.Wait, client: client, local: local})
	if err != nil {
		return nil, p.refuse(client, d.name, err)
	}
	return send(ctx, conn), nil
}

// refuse takes note that a client is refused by err, which it returns.
func (p *proxy) refuse(client netip.AddrPort, domain string, err error) error {
	condition, cause := bosh.InternalServerError, err
	var e *bosh.Error
	if errors.As(err, &e) {
		condition, cause = e.Condition, e.Err
	}
	p.log.Info("session refused", "client", hop{from: client}.host(), "domain", domain, "condition", condition, "cause", cause)
	return err
}

// serve carries between a stream and the connection that was made for it.
func (p *proxy) serve(s *bosh.Stream) {
	p.bridges.Add(1)
	defer p.bridges.Done()
	e, ok := receive(s.Context())
	if !ok {
		s.CloseWithError(&bosh.Error{Condition: bosh.RemoteConnectionFailed})
		return
	}
	log := p.log.With("session", s.Session().ID())
	log.Info("session began", "client", s.RemoteAddr(), "domain", s.Opening().To, "server", e.conn.RemoteAddr())
	b := &bridge{
		stream:    s,
		server:    e.conn,
		split:     splitter{max: p.connector.maxStanza},
		keepalive: p.keepalive,
		patience:  p.connector.timeout,
		count:     &p.count,
	}
	began := time.Now()
	why := b.run()
	p.count.ended.add(why)
	log.Info("session ended", "reason", why, "after", time.Since(began).Round(time.Millisecond))
	if b.lost > 0 {
		log.Warn("stanzas came too late to be returned, and the server has no stream management", "lost", b.lost)
	}
}

// shutdown tells all clients and servers of the end, and waits until they know.
func (p *proxy) shutdown(ctx context.Context) error {
	if err := p.bosh.Shutdown(ctx); err != nil {
		p.bosh.Close()
		return err
	}
	return nil
}

// wait waits until all servers have been taken leave of.
func (p *proxy) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		p.bridges.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
