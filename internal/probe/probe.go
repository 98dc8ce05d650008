// Package probe checks a BOSH endpoint of any make from outside, as a client sees it, with
// all proxies in front. It says each finding in a sentence, and the cure in another.
package probe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A Level says how bad a Finding is.
type Level int

const (
	OK Level = iota
	Warning
	Failure
)

func (l Level) String() string { return [...]string{"ok  ", "warn", "FAIL"}[l] }

// A Finding is the result of a check.
type Finding struct {
	Level Level
	Check string // in a word
	Text  string // a sentence
	Cure  string // what to do, unless all is well
}

// Options say how to probe.
type Options struct {
	URL, Domain string
	Origin      string        // of a page that is to use the endpoint
	Wait        time.Duration // that is asked for, and waited for
	Timeout     time.Duration // for what should come at once
	Slow        time.Duration // from when on an answer that should come at once is late
	TLS         *tls.Config   // nil for the system's

	// Found is called with each Finding, if it is not nil.
	Found func(Finding)

	transport http.RoundTripper // of a test
}

// Main is the command line.
func Main(ctx context.Context, name string, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintf(stderr, `usage: %[1]s [flags] URL DOMAIN

It checks a BOSH endpoint of any make as a client sees it, with all that is in front, and says
what is wrong and what to do. It does not log in. It takes as long as -wait. For example:

	%[1]s https://example.org/http-bind example.org

It returns 0 if all is well, 1 if not, and 2 if it is not told what to check.

`, name)
		fs.PrintDefaults()
	}
	o := Options{Found: func(f Finding) {
		fmt.Fprintf(stdout, "%v  %-10s %s\n", f.Level, f.Check, f.Text)
		if f.Cure != "" {
			fmt.Fprintf(stdout, "      %-10s -> %s\n", "", f.Cure)
		}
	}}
	fs.StringVar(&o.Origin, "origin", "https://bosh-probe.example", "`origin` of the pages that are to use it")
	fs.DurationVar(&o.Wait, "wait", time.Minute, "how long a request may be held; front ends with a shorter time-out are found")
	fs.DurationVar(&o.Timeout, "timeout", 15*time.Second, "how long an answer may take that should come at once")
	insecure := fs.Bool("insecure", false, "check no certificate")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if fs.NArg() != 2 {
		fs.Usage()
		return 2
	}
	o.URL, o.Domain = fs.Arg(0), fs.Arg(1)
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		fmt.Fprintf(stderr, "%s: %q is no URL that begins with https:// or http://\n", name, o.URL)
		return 2
	}
	if o.Wait < time.Second || o.Timeout < time.Second {
		fmt.Fprintf(stderr, "%s: -wait and -timeout are a second at least\n", name)
		return 2
	}
	if *insecure {
		o.TLS = &tls.Config{InsecureSkipVerify: true}
	}
	for _, f := range Run(ctx, o) {
		if f.Level == Failure {
			return 1
		}
	}
	return 0
}

// A prober probes.
type prober struct {
	Options
	client *http.Client

	mu       sync.Mutex
	findings []Finding
}

// Run probes, and returns its findings.
func Run(ctx context.Context, o Options) []Finding {
	if o.Slow == 0 {
		o.Slow = 1500 * time.Millisecond
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLS, MaxIdleConnsPerHost: 4, ForceAttemptHTTP2: true, DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	p := &prober{Options: o, client: &http.Client{
		Transport:     cmp.Or[http.RoundTripper](o.transport, transport),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if p.reached(ctx) {
		p.cors(ctx)
		var running sync.WaitGroup
		running.Go(func() { p.order(ctx) })
		running.Go(func() { p.early(ctx) })
		running.Go(func() { p.resend(ctx) })
		running.Go(func() { p.broken(ctx) })
		running.Go(func() { p.wait(ctx) })
		running.Wait()
	}
	return p.findings
}

func (p *prober) found(l Level, check, cure, format string, args ...any) {
	f := Finding{Level: l, Check: check, Text: fmt.Sprintf(format, args...), Cure: cure}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.findings = append(p.findings, f)
	if p.Found != nil {
		p.Found(f)
	}
}

// An answer is that to a request.
type answer struct {
	err    error
	status int
	header http.Header
	text   []byte
	body   body
	after  time.Duration
	at     time.Time
	tls    *tls.ConnectionState
}

// ok reports whether it is an answer of BOSH and does not end the session.
func (a answer) ok() bool { return a.err == nil && a.status == 200 && a.body.ok && a.body.kind == "" }

// said describes it, for a sentence.
func (a answer) said() string {
	switch {
	case errors.Is(a.err, context.DeadlineExceeded):
		return "no answer"
	case a.err != nil:
		return "an error: " + cause(a.err)
	case a.status != 200:
		return fmt.Sprintf("HTTP status %d", a.status)
	case !a.body.ok:
		return "something else than BOSH"
	case a.body.kind != "":
		if a.body.condition != "" {
			return "the end of the session by " + a.body.condition
		}
		return "the end of the session"
	case a.body.children > 0:
		return "an answer with payloads"
	}
	return "an empty answer"
}

// cause returns the error without the URL; everybody knows that.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	s := err.Error()
	return s[:min(len(s), 200)]
}

// post posts a body, and waits for the answer for so long.
func (p *prober) post(ctx context.Context, text string, limit time.Duration) (a answer) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begin := time.Now()
	defer func() { a.at = time.Now(); a.after = a.at.Sub(begin) }()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, strings.NewReader(text))
	if err != nil {
		return answer{err: err}
	}
	r.GetBody = nil // net/http is not to repeat it by itself
	r.Header.Set("Content-Type", "text/xml; charset=utf-8")
	r.Header.Set("Origin", p.Origin)
	resp, err := p.client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return answer{err: err}
	}
	defer resp.Body.Close()
	a = answer{status: resp.StatusCode, header: resp.Header, tls: resp.TLS}
	a.text, a.err = io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	a.body = parse(a.text)
	return a
}

// later posts in a goroutine.
func (p *prober) later(ctx context.Context, text string, limit time.Duration) <-chan answer {
	c := make(chan answer, 1)
	go func() { c <- p.post(ctx, text, limit) }()
	return c
}

// A session is one of the prober's.
type session struct {
	p        *prober
	sid      string
	rid      int64
	wait     time.Duration // as granted
	requests int
	hold     int
}

// open opens a session.
func (p *prober) open(ctx context.Context) (*session, answer) {
	rid := 1 + rand.Int64N(1e9)
	var to bytes.Buffer
	escape(&to, p.Domain)
	a := p.post(ctx, fmt.Sprintf("<body rid='%d' to='%s' xml:lang='en' ver='1.11' wait='%d' hold='1' content='text/xml; charset=utf-8'"+
		" xmpp:version='1.0' xmlns='%s' xmlns:xmpp='urn:xmpp:xbosh'/>", rid, to.String(), int(p.Wait.Seconds()), ns), p.Timeout)
	if !a.ok() || a.body.sid == "" {
		return nil, a
	}
	s := &session{p: p, sid: a.body.sid, rid: rid, wait: time.Duration(a.body.wait) * time.Second, requests: a.body.requests, hold: a.body.hold}
	if s.requests == 0 {
		s.requests = s.hold + 1
	}
	return s, a
}

// next returns the next request.
func (s *session) next(payload, attrs string) string {
	s.rid++
	var sid bytes.Buffer
	escape(&sid, s.sid)
	return fmt.Sprintf("<body rid='%d' sid='%s' %s xmlns='%s'>%s</body>", s.rid, sid.String(), attrs, ns, payload)
}

// close ends the session, and ignores the result.
func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.p.post(ctx, s.next("", "type='terminate'"), 5*time.Second)
}

// question is a stanza that a server answers before a login, without ending the stream.
const question = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='BOSH-PROBE'/>"
