package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// reached checks whether there is a BOSH endpoint, and how it is reached.
func (p *prober) reached(ctx context.Context) bool {
	s, a := p.open(ctx)
	if s == nil {
		p.unreached(a)
		return false
	}
	defer s.close(ctx)
	p.found(OK, "reached", "", "a session for %s was opened in %v; it has wait %v, hold %d and %d requests",
		p.Domain, a.after.Round(time.Millisecond), s.wait, s.hold, s.requests)
	if s.hold == 0 || s.wait == 0 {
		p.found(Warning, "polling", "allow hold and wait in the server: each client polls every few seconds, and is late by as much",
			"the server holds no requests")
	}
	if len(a.header.Values("Content-Length")) == 0 && len(a.header.Values("Transfer-Encoding")) == 0 && a.body.children == 0 {
		p.found(Warning, "features", "have the server send its features with the answer to the creation: several clients look for them there alone",
			"the first answer has no stream features")
	}
	if cache := strings.ToLower(a.header.Get("Cache-Control")); strings.Contains(cache, "public") || strings.Contains(cache, "max-age") && !strings.Contains(cache, "max-age=0") {
		p.found(Failure, "caching", "have the front set no Cache-Control for this path, or no-store", "answers may be cached: Cache-Control: %s", cache)
	}
	p.encrypted(a.tls)
	return true
}

// unreached says why there is no session.
func (p *prober) unreached(a answer) {
	fail := func(cure, format string, args ...any) { p.found(Failure, "reached", cure, format, args...) }
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	tlsFail := func(cure, format string, args ...any) { p.found(Failure, "TLS", cure, format, args...) }
	switch {
	case errors.As(a.err, &dns):
		fail("correct the name in the URL, or its DNS records", "the name %s is not found", dns.Name)
	case errors.Is(a.err, syscall.ECONNREFUSED):
		fail("start the server or what is in front of it, and look at the port", "nobody listens there")
	case errors.Is(a.err, context.DeadlineExceeded):
		fail("look for a firewall in between; or the XMPP server behind the endpoint does not answer: for bosh-proxy, -check says so", "there was no answer in %v", p.Timeout)
	case errors.As(a.err, &unknown):
		tlsFail("install the whole chain (fullchain.pem), of an authority that clients trust", "the certificate is of no authority that is known here")
	case errors.As(a.err, &name):
		tlsFail("get a certificate for this name, or use the name that it has", "the certificate is for another name: %s", cause(a.err))
	case errors.As(a.err, &invalid):
		tlsFail("renew the certificate, and have the server read it", "the certificate is no good: %s", cause(a.err))
	case errors.As(a.err, &record) || errors.Is(a.err, http.ErrSchemeMismatch):
		tlsFail("use http:// in the URL, or serve HTTPS at this port", "the port does not speak TLS")
	case a.err != nil && strings.Contains(a.err.Error(), `malformed HTTP response "\x15\x03`): // an alert
		tlsFail("use https:// in the URL", "the port speaks TLS, and the URL is of http://")
	case a.err != nil:
		fail("look into the log of what is in front, and of the server", "the connection failed: %s", cause(a.err))
	case a.status >= 300 && a.status < 400:
		fail("use that URL: BOSH clients follow no redirects of POST", "it redirects to %q", a.header.Get("Location"))
	case a.status == http.StatusNotFound:
		fail("correct the path of the URL, mostly /http-bind; or what is in front passes it on by another one", "there is no such path (404)")
	case a.status == http.StatusMethodNotAllowed:
		fail("this is no BOSH endpoint: correct the path, or let the front pass POST on", "it does not take POST (405)")
	case a.status == http.StatusRequestEntityTooLarge:
		fail("raise the limit on bodies in what is in front, as client_max_body_size", "a short request is too large (413)")
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		fail("let the path through without a login in what is in front: BOSH clients have their own", "it is forbidden (%d)", a.status)
	case a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout:
		fail("start the BOSH server behind the front, and look at the address that the front has for it", "what is in front does not reach the BOSH server (%d)", a.status)
	case a.status == http.StatusBadRequest && bytes.Contains(a.text, []byte("HTTPS")): // as nginx, Apache and Go say it
		tlsFail("use https:// in the URL", "the port speaks TLS, and the URL is of http://")
	case a.status != http.StatusOK:
		fail("look into the log of what is in front, and of the server", "it answers by HTTP status %d", a.status)
	case !a.body.ok:
		fail("correct the path of the URL: something else is served there", "the answer is not BOSH: %.60q", a.text)
	default:
		condition, says := a.body.condition, orNone(a.body.condition)
		if a.body.streamError != "" {
			condition, says = a.body.streamError, says+", and the XMPP server says "+a.body.streamError
		}
		fail(p.conditionCure(condition), "the server refuses a session for %s: %s", p.Domain, says)
	}
}

func orNone(condition string) string {
	if condition == "" {
		return "no condition"
	}
	return condition
}

// conditionCure returns the cure for a condition.
func (p *prober) conditionCure(condition string) string {
	switch condition {
	case "host-unknown", "improper-addressing", "host-gone":
		return "correct the domain, or have the server serve it: for bosh-proxy, -domain or -upstream; for others, a virtual host of that name"
	case "remote-connection-failed":
		return "the XMPP server is not reached from the BOSH server: for bosh-proxy, -check with its flags says why"
	case "policy-violation":
		return "a limit is reached, or pages of " + p.Origin + " are not allowed: look into the server's log, or name another -origin"
	case "system-shutdown":
		return "the server is about to stop: wait until it is up again"
	case "see-other-uri":
		return "use the URL that the server names"
	case "bad-request":
		return "something in front changes what is sent, or the server is no good: look into its log"
	}
	return "look into the log of the BOSH server"
}

// encrypted checks the encryption.
func (p *prober) encrypted(s *tls.ConnectionState) {
	switch {
	case s == nil:
		if u, err := url.Parse(p.URL); err == nil && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()) {
			p.found(OK, "TLS", "", "none, on this machine")
			return
		}
		p.found(Failure, "TLS", "serve HTTPS: passwords and sessions can be read on the way, and no page of https:// can connect", "the connection is not encrypted")
	case s.Version < tls.VersionTLS12:
		p.found(Failure, "TLS", "switch TLS 1.2 and 1.3 on in what is in front", "it is %s", tls.VersionName(s.Version))
	case len(s.PeerCertificates) > 0 && time.Until(s.PeerCertificates[0].NotAfter) < 14*24*time.Hour:
		p.found(Warning, "TLS", "renew the certificate, and have the server read it", "the certificate is good until %s only", s.PeerCertificates[0].NotAfter.Format(time.DateOnly))
	default:
		p.found(OK, "TLS", "", "%s, and %s", tls.VersionName(s.Version), orHTTP1(s.NegotiatedProtocol))
	}
}

func orHTTP1(protocol string) string {
	if protocol == "h2" {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

// cors checks whether pages of the origin may use the endpoint.
func (p *prober) cors(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodOptions, p.URL, nil)
	if err != nil {
		return
	}
	r.Header.Set("Origin", p.Origin)
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "content-type")
	const cure = "have either the server or what is in front answer OPTIONS with Access-Control-Allow-Origin, -Methods and -Headers: for bosh-proxy leave -origin out, or name the page's"
	resp, err := p.client.Do(r)
	if err != nil {
		p.found(Failure, "CORS", cure, "OPTIONS is not answered: %s", cause(err))
		return
	}
	resp.Body.Close()
	_, a := p.openAndClose(ctx)
	for what, got := range map[string]struct {
		values []string
		status int
	}{"OPTIONS": {resp.Header.Values("Access-Control-Allow-Origin"), resp.StatusCode}, "POST": {a.header.Values("Access-Control-Allow-Origin"), 200}} {
		switch {
		case got.status < 200 || got.status > 299:
			p.found(Failure, "CORS", cure, "%s is answered by status %d, so no page of another origin can connect", what, got.status)
		case len(got.values) == 0:
			p.found(Failure, "CORS", cure, "the answer to %s has no Access-Control-Allow-Origin, so no page of %s can connect", what, p.Origin)
		case len(got.values) > 1 || strings.Contains(got.values[0], ","):
			p.found(Failure, "CORS", "let only one of them set it: take add_header out of what is in front, or switch the server's off", "the answer to %s has Access-Control-Allow-Origin twice, which browsers refuse: %s", what, strings.Join(got.values, " and "))
		case got.values[0] != "*" && got.values[0] != p.Origin:
			p.found(Failure, "CORS", cure, "%s allows %s, and not %s", what, got.values[0], p.Origin)
		default:
			continue
		}
		return
	}
	if h := strings.ToLower(resp.Header.Get("Access-Control-Allow-Headers")); !strings.Contains(h, "content-type") && h != "*" {
		p.found(Failure, "CORS", "add Content-Type to Access-Control-Allow-Headers", "pages may not send Content-Type, as BOSH clients do")
		return
	}
	p.found(OK, "CORS", "", "pages of %s may connect", p.Origin)
}

func (p *prober) openAndClose(ctx context.Context) (*session, answer) {
	s, a := p.open(ctx)
	if s != nil {
		s.close(ctx)
	}
	return s, a
}

// another opens a further session for a check.
func (p *prober) another(ctx context.Context, check string) *session {
	s, a := p.open(ctx)
	if s == nil {
		p.found(Failure, check, p.conditionCure(a.body.condition), "no further session could be opened: %s", a.said())
	}
	return s
}

// order checks that an answer comes at once, and on the oldest request: then nothing buffers
// answers, or keeps requests back while another is open.
func (p *prober) order(ctx context.Context) {
	s := p.another(ctx, "order")
	if s == nil || s.hold == 0 || s.wait < 2*time.Second {
		return
	}
	defer s.close(ctx)
	older := p.later(ctx, s.next("", ""), s.wait+p.Timeout)
	select {
	case a := <-older:
		if !a.ok() {
			p.found(Failure, "order", "look into the log of what is in front, and of the server", "a request that should be held got %s after %v", a.said(), a.after.Round(time.Millisecond))
			return
		}
		older = p.later(ctx, s.next("", ""), s.wait+p.Timeout) // something was left to say
		time.Sleep(300 * time.Millisecond)
	case <-time.After(time.Second):
	case <-ctx.Done():
		return
	}
	sent := time.Now()
	newer := p.later(ctx, s.next(question, ""), s.wait+p.Timeout)
	const late = "switch buffering off in what is in front, and let it pass on requests while others are open: in nginx proxy_buffering off and proxy_request_buffering as it is, in others no queue for each client"
	select {
	case a := <-older:
		took := a.at.Sub(sent)
		switch {
		case !a.ok():
			p.found(Failure, "order", "look into the log of what is in front, and of the server", "the request that was open got %s when another one was sent", a.said())
		case took > p.Slow:
			p.found(Failure, "buffering", late, "an answer that should come at once came after %v", took.Round(100*time.Millisecond))
		default:
			p.found(OK, "buffering", "", "an answer came %v after there was something to say", took.Round(time.Millisecond))
			p.found(OK, "order", "", "the older of two requests was answered first")
		}
	case a := <-newer:
		select {
		case <-older: // both at once
			if took := a.at.Sub(sent); took > p.Slow {
				p.found(Failure, "buffering", late, "an answer that should come at once came after %v", took.Round(100*time.Millisecond))
				return
			}
			p.found(OK, "buffering", "", "an answer came %v after there was something to say", a.at.Sub(sent).Round(time.Millisecond))
			p.found(OK, "order", "", "the older of two requests was answered first")
			return
		case <-time.After(300 * time.Millisecond):
		}
		p.found(Failure, "order", "something in front mixes answers up, or the server answers as requests arrive: no HTTP pipelining towards it, no queue, or another server",
			"the newer of two requests was answered first, by %s: answers do not keep the order of requests", a.said())
	case <-time.After(p.Timeout):
		p.found(Failure, "buffering", late, "an answer that should come at once did not come in %v", p.Timeout)
	case <-ctx.Done():
	}
}

// early checks that a request waits for the one it has overtaken.
func (p *prober) early(ctx context.Context) {
	s := p.another(ctx, "overtaking")
	if s == nil || s.requests < 2 {
		return
	}
	defer s.close(ctx)
	first, second := s.next("", ""), s.next(question, "")
	const cure = "the server has to take requests in the order of their rid (XEP-0124, section 14): use another one"
	ahead := p.later(ctx, second, s.wait+p.Timeout)
	select {
	case a := <-ahead:
		p.found(Failure, "overtaking", cure, "a request that came before its predecessor got %s, and should wait for it", a.said())
		return
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
		return
	}
	a := p.post(ctx, first, p.Timeout)
	if !a.ok() {
		p.found(Failure, "overtaking", cure, "the predecessor of a request that came too early got %s", a.said())
		return
	}
	p.found(OK, "overtaking", "", "a request that overtakes another waits for it")
}

// resend checks a repeated request: it must get the same answer.
func (p *prober) resend(ctx context.Context) {
	s := p.another(ctx, "resend")
	if s == nil {
		return
	}
	defer s.close(ctx)
	text := s.next(question, "")
	limit := min(s.wait, 20*time.Second) + p.Timeout
	a := p.post(ctx, text, limit)
	if !a.ok() || a.body.children == 0 {
		p.found(Warning, "resend", "", "it could not be tried, since the server gives %s to a request", a.said())
		return
	}
	again := p.post(ctx, text, p.Timeout)
	const cure = "no cache, deduplication or retry in what is in front may answer in the server's place, and the server has to keep its answers (XEP-0124, section 14.3)"
	switch {
	case !again.ok():
		p.found(Failure, "resend", cure, "a request that is sent again gets %s, so a client that loses an answer loses its session", again.said())
	case !bytes.Equal(a.text, again.text):
		p.found(Failure, "resend", cure, "a request that is sent again gets another answer, so what the first one had is lost")
	default:
		p.found(OK, "resend", "", "a request that is sent again gets the same answer")
	}
}

// broken checks a session's survival when a connection breaks while a request is held.
func (p *prober) broken(ctx context.Context) {
	s := p.another(ctx, "broken")
	if s == nil || s.hold == 0 {
		return
	}
	defer s.close(ctx)
	held := s.next("", "")
	a := p.post(ctx, held, 500*time.Millisecond)
	if a.err == nil {
		held = s.next("", "")
		a = p.post(ctx, held, 500*time.Millisecond)
	}
	if !errors.Is(a.err, context.DeadlineExceeded) {
		p.found(Warning, "broken", "", "it could not be tried, since a request that should be held got %s", a.said())
		return
	}
	again := p.later(ctx, held, s.wait+p.Timeout)
	select {
	case a := <-again:
		if !a.ok() {
			p.found(Failure, "broken", "something in front answers a request that it has seen before, or the server ends sessions whose connection breaks",
				"a request whose connection broke gets %s when it is sent again", a.said())
			return
		}
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
		return
	}
	release := p.later(ctx, s.next(question, ""), s.wait+p.Timeout)
	select {
	case a := <-again:
		if !a.ok() {
			p.found(Failure, "broken", "the server has to take a repeated request in the place of the first: use another one", "a repeated request gets %s", a.said())
			return
		}
	case <-release:
	case <-time.After(p.Timeout):
		p.found(Failure, "broken", "the server has to take a repeated request in the place of the first", "after a broken connection nothing is answered any more")
		return
	case <-ctx.Done():
		return
	}
	p.found(OK, "broken", "", "a session survives a connection that breaks")
}

// wait checks that a request is held as long as the server has promised.
func (p *prober) wait(ctx context.Context) {
	s := p.another(ctx, "wait")
	if s == nil || s.hold == 0 || s.wait == 0 {
		return
	}
	defer s.close(ctx)
	var a answer
	for range 3 { // something may be left to say
		if a = p.post(ctx, s.next("", ""), s.wait+p.Timeout); !a.ok() || a.body.children == 0 {
			break
		}
	}
	took := a.after.Round(100 * time.Millisecond)
	const cure = "raise the time-out of what is in front above wait (nginx: proxy_read_timeout, HAProxy: timeout server, Apache: ProxyTimeout), or lower wait in the server below it (bosh-proxy: -wait)"
	switch {
	case ctx.Err() != nil:
	case errors.Is(a.err, context.DeadlineExceeded):
		p.found(Failure, "wait", "the server, or what is in front, has to answer when wait is over: clients give up then, and send again", "a request was still open %v after the %v of wait were over", p.Timeout, s.wait)
	case a.err != nil || a.status == 502 || a.status == 504 || a.status == 408 || a.status == 503 || a.status == 500 || a.status == 499:
		p.found(Failure, "wait", cure, "after %v a held request got %s, and wait is %v: something in front has a shorter time-out", took, a.said(), s.wait)
	case a.body.condition == "remote-stream-error" && a.after > s.wait/4:
		p.found(OK, "wait", "", "a request was held for %v; then the XMPP server ended the session, as most do if nobody logs in: what the whole wait of %v would meet is not known", took, s.wait)
	case !a.ok():
		p.found(Failure, "wait", p.conditionCure(a.body.condition), "after %v a held request got %s", took, a.said())
	case a.after < s.wait*8/10-time.Second:
		p.found(Warning, "wait", cure, "a held request was answered after %v already, and wait is %v: something has a shorter time-out, and clients ask more often", took, s.wait)
	case a.after > s.wait+max(s.wait/10, 2*time.Second):
		p.found(Warning, "wait", "clients give up after 1.1 times wait: what holds answers back?", "a held request was answered after %v, and wait is %v", took, s.wait)
	default:
		p.found(OK, "wait", "", "a request is held for %v, and wait is %v", took, s.wait)
	}
	if s.wait < p.Wait {
		p.found(OK, "wait", "", "the server grants %v of the %v asked for; what a longer one would meet is not known", s.wait, p.Wait)
	}
}
