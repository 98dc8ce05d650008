package main

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/demo"
	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/reqinfo"
)

var errNoTo = errors.New("the client has named no domain")

// A refusal is the reason to refuse a client that asked for a domain.
type refusal struct {
	domain string
	error
}

func (r refusal) Unwrap() error { return r.error }

// refuse returns err with the client's domain, for the log.
func refuse(domain string, err error) error {
	var e *bosh.Error
	if !errors.As(err, &e) {
		return refusal{domain, err}
	}
	c := *e
	c.Err = refusal{domain, e.Err}
	return &c
}

func (r refusal) Error() string {
	if r.error == nil {
		return "refused"
	}
	return r.error.Error()
}

// refusals keeps a crowd of refused clients from filling the log: in ten seconds it logs
// ten of each condition, and the number of further ones.
type refusals struct {
	mu   sync.Mutex // Protects following.
	said map[bosh.Condition]*saidOf
}

type saidOf struct {
	since  time.Time
	n      int
	unsaid int
}

const (
	refusalsSaid  = 10
	refusalsEvery = 10 * time.Second
)

// take reports whether a refusal may be logged, and how many were not before it.
func (r *refusals) take(c bosh.Condition, now time.Time) (unsaid int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil {
		r.said = make(map[bosh.Condition]*saidOf)
	}
	s := r.said[c]
	if s == nil || now.Sub(s.since) >= refusalsEvery {
		if s != nil {
			unsaid = s.unsaid
		}
		s = &saidOf{since: now}
		r.said[c] = s
	}
	if s.n++; s.n > refusalsSaid {
		s.unsaid++
		return 0, false
	}
	return unsaid, true
}

// refused notes the refusal of a session, by the library too. An unreachable server is
// a warning, since it concerns all its clients.
func (p *proxy) refused(r *http.Request, e *bosh.Error) {
	for _, err := range theLibrarys {
		if errors.Is(e.Err, err) {
			return
		}
	}
	unsaid, ok := p.refusals.take(e.Condition, time.Now())
	if !ok {
		return
	}
	level, message := slog.LevelInfo, "session refused"
	switch {
	case demo.NoDescriptors(e.Err):
		level, message = slog.LevelError, "session refused: no file descriptors are left: raise the limit, by ulimit -n or LimitNOFILE, or lower -max-sessions"
	case e.Condition == bosh.RemoteConnectionFailed:
		level, message = slog.LevelWarn, "session refused: "+unreached(e.Err)
	case e.Condition == bosh.HostUnknown && notFound(e.Err):
		message = "session refused: the DNS knows no XMPP server of the domain: mend its records, or name the server by -upstream"
	case e.Condition == bosh.InternalServerError:
		level = slog.LevelWarn
	}
	attrs := []any{"client", hop{from: p.frontage.client(r).from}.host()}
	if asked := (refusal{}); errors.As(e.Err, &asked) {
		attrs = append(attrs, "domain", asked.domain)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		attrs = append(attrs, "origin", logs.Text(origin))
	}
	attrs = append(attrs, "condition", e.Condition, "cause", e.Err)
	if unsaid > 0 {
		attrs = append(attrs, "unlogged", unsaid)
	}
	p.log.Log(context.Background(), level, message, attrs...)
}

// theLibrarys are refusals that the library logs, and not as often.
var theLibrarys = []error{registry.ErrMax, registry.ErrMaxEach, registry.ErrMemory, httpio.ErrNoRoom, httpio.ErrTooLarge}

// unreached says in words why there is no connection to a server, and how to have one.
func unreached(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		late      slow
	)
	const certificate = "the XMPP server's certificate "
	switch {
	case errors.As(err, &authority):
		return certificate + "is of an unknown authority: name that by -ca"
	case errors.As(err, &name):
		return certificate + "is not for the domain: give it one that is"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return certificate + "has expired: renew it"
	case errors.As(err, &late), errors.Is(err, context.DeadlineExceeded):
		return "the XMPP server cannot be reached in time: is it overloaded, or is something lost on the way? -timeout gives it longer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the XMPP server cannot be reached: does it run, and listen there?"
	}
	return "the XMPP server cannot be reached"
}

// distrust warns, once, that a proxy in front counts as the client: it is not named by
// -trust. Only one that may be the operator's own is meant.
func (p *proxy) distrust(r *http.Request) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !reqinfo.Forwarded(r.Header) {
		return
	}
	addr := peer.Addr().Unmap().WithZone("")
	if contains(p.frontage.trusted, addr) || !addr.IsLoopback() && !addr.IsPrivate() {
		return
	}
	p.distrusted.Do(func() {
		p.log.Warn("a proxy in front is not named by -trust, so all of its clients count as one, with its address: add -trust with the address", "address", addr.String())
	})
}

// A quieter is the library's log, without the proxy's own events.
type quieter struct{ slog.Handler }

func (q quieter) Handle(ctx context.Context, r slog.Record) error {
	switch r.Message {
	case "bosh: session begins", "bosh: session ends":
		return nil
	case "bosh: session refused":
		if r.Level != slog.LevelInfo { // that is of the limits
			return nil
		}
	}
	return q.Handler.Handle(ctx, r)
}

func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}
func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }
