package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// serve is an XMPP server before the login.
func serve(s *bosh.Stream) {
	io.WriteString(s, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='example.org' version='1.0' id='1'>"+
		"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>")
	buf := make([]byte, 4096)
	for {
		n, err := s.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("<auth")) {
			io.WriteString(s, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-mechanism/></failure>")
		}
	}
}

func handler(t *testing.T, change ...func(*bosh.Options)) *bosh.Handler {
	o := bosh.Options{Serve: serve, Admit: func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
		if op.To != "example.org" {
			return ctx, &bosh.Error{Condition: bosh.HostUnknown}
		}
		return ctx, nil
	}}
	for _, f := range change {
		f(&o)
	}
	h := bosh.New(o)
	t.Cleanup(func() { h.Close() })
	return h
}

// A recorded is an answer on its way through a front.
type recorded struct {
	status int
	header http.Header
	body   []byte
}

// through passes a request on, whose body is b, and returns the answer.
func through(h http.Handler, r *http.Request, b []byte) recorded {
	w := httptest.NewRecorder()
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(b))
	r.ContentLength = int64(len(b))
	func() {
		defer func() { recover() }() // http.ErrAbortHandler, when the client has left
		h.ServeHTTP(w, r)
	}()
	return recorded{w.Code, w.Header(), w.Body.Bytes()}
}

func (a recorded) write(w http.ResponseWriter) {
	for k, vs := range a.header {
		w.Header()[k] = vs
	}
	w.WriteHeader(a.status)
	w.Write(a.body)
}

// A front is what is in front of a handler, with a fault.
type front func(h http.Handler, w http.ResponseWriter, r *http.Request, body []byte)

// buffers keeps each answer for a while.
func buffers(h http.Handler, w http.ResponseWriter, r *http.Request, body []byte) {
	a := through(h, r, body)
	time.Sleep(800 * time.Millisecond)
	a.write(w)
}

// serializes passes one request of a session on at a time.
func serializes() front {
	var sessions sync.Map
	return func(h http.Handler, w http.ResponseWriter, r *http.Request, body []byte) {
		m := regexp.MustCompile(`sid='([^']*)'`).FindSubmatch(body)
		if m != nil {
			turn, _ := sessions.LoadOrStore(string(m[1]), make(chan bool, 1))
			turn.(chan bool) <- true
			defer func() { <-turn.(chan bool) }()
		}
		through(h, r, body).write(w)
	}
}

// gives up after a time, by a status and a body.
func givesUp(after time.Duration, status int, body ...string) front {
	return func(h http.Handler, w http.ResponseWriter, r *http.Request, b []byte) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		done := make(chan recorded, 1)
		go func() { done <- through(h, r.WithContext(ctx), b) }()
		select {
		case a := <-done:
			a.write(w)
		case <-time.After(after):
			w.WriteHeader(status)
			io.WriteString(w, strings.Join(body, ""))
		}
	}
}

// mixesUp gives the answer to the older of two requests to the newer one, and keeps the other.
func mixesUp() front {
	var mu sync.Mutex
	waiting := map[string]chan recorded{}
	sid := regexp.MustCompile(`sid='([^']*)'`)
	return func(h http.Handler, w http.ResponseWriter, r *http.Request, body []byte) {
		m := sid.FindSubmatch(body)
		if m == nil || bytes.Contains(body, []byte("terminate")) {
			through(h, r, body).write(w)
			return
		}
		key := string(m[1])
		mu.Lock()
		newer, open := waiting[key]
		if !open {
			waiting[key] = make(chan recorded, 1)
		}
		mine := waiting[key]
		mu.Unlock()
		if open {
			go through(h, r.WithContext(context.WithoutCancel(r.Context())), body)
			(<-newer).write(w)
			return
		}
		a := through(h, r, body)
		mu.Lock()
		delete(waiting, key)
		mu.Unlock()
		mine <- a
		if len(a.body) > 0 && bytes.Contains(a.body, []byte("failure")) {
			time.Sleep(2 * time.Second)
		}
		a.write(w)
	}
}

// forgetful answers a request that it has seen by a status of its own.
func forgetful() front {
	var seen sync.Map
	return func(h http.Handler, w http.ResponseWriter, r *http.Request, body []byte) {
		if _, again := seen.LoadOrStore(string(body), true); again {
			w.WriteHeader(http.StatusConflict)
			return
		}
		through(h, r, body).write(w)
	}
}

// rewrites gives other answers to repeats.
func rewrites() front {
	var seen sync.Map
	return func(h http.Handler, w http.ResponseWriter, r *http.Request, body []byte) {
		a := through(h, r, body)
		if _, again := seen.LoadOrStore(string(body), true); again {
			a.body = []byte("<body xmlns='" + ns + "'/>")
			a.header.Del("Content-Length")
		}
		a.write(w)
	}
}

func behind(h http.Handler, f front) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		f(h, w, r, b)
	})
}

// unordered answers requests as they arrive.
func unordered(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
	switch {
	case bytes.Contains(b, []byte(" to=")):
		fmt.Fprintf(w, "<body xmlns='%s' sid='1' wait='3' hold='1' requests='2'/>", ns)
	case bytes.Contains(b, []byte("<auth")):
		fmt.Fprintf(w, "<body xmlns='%s'><failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></body>", ns)
	default:
		select {
		case <-time.After(3 * time.Second):
		case <-r.Context().Done():
		}
		fmt.Fprintf(w, "<body xmlns='%s'/>", ns)
	}
}

// Each kind of fault is found, by its name and with a cure, and a good endpoint has none.
func TestRun(t *testing.T) {
	good := func(t *testing.T) http.Handler { return handler(t) }
	with := func(f front) func(t *testing.T) http.Handler {
		return func(t *testing.T) http.Handler { return behind(handler(t), f) }
	}
	status := func(status int, header ...string) func(t *testing.T) http.Handler {
		return func(t *testing.T) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for i := 0; i < len(header); i += 2 {
					w.Header().Set(header[i], header[i+1])
				}
				w.WriteHeader(status)
				io.WriteString(w, "<html>hello</html>")
			})
		}
	}
	for name, test := range map[string]struct {
		handler func(t *testing.T) http.Handler
		wait    time.Duration
		domain  string
		check   string // of the finding that there must be
		text    string // that is in it
	}{
		"good":                  {handler: good},
		"a good front":          {handler: with(func(h http.Handler, w http.ResponseWriter, r *http.Request, b []byte) { through(h, r, b).write(w) })},
		"buffering":             {handler: with(buffers), check: "buffering", text: "came after"},
		"one at a time":         {handler: with(serializes()), wait: 4 * time.Second, check: "buffering", text: "at once"},
		"short time-out by 504": {handler: with(givesUp(1500*time.Millisecond, 504)), wait: 4 * time.Second, check: "wait", text: "HTTP status 504"},
		"short time-out by a blank": {handler: func(t *testing.T) http.Handler {
			return http.TimeoutHandler(handler(t), 2*time.Second, "<body xmlns='"+ns+"'/>")
		}, wait: 6 * time.Second, check: "wait", text: "shorter time-out"},
		"a server that waits for a login in vain": {handler: with(givesUp(2*time.Second, 200, "<body xmlns='"+ns+"' type='terminate' condition='remote-stream-error'/>")), wait: 6 * time.Second},
		"no CORS": {handler: func(t *testing.T) http.Handler { return handler(t, func(o *bosh.Options) { o.NoCORS = true }) }, check: "CORS", text: "no page"},
		"CORS twice": {handler: with(func(h http.Handler, w http.ResponseWriter, r *http.Request, b []byte) {
			a := through(h, r, b)
			a.header.Add("Access-Control-Allow-Origin", "*")
			a.write(w)
		}), check: "CORS", text: "twice"},
		"another origin": {handler: with(func(h http.Handler, w http.ResponseWriter, r *http.Request, b []byte) {
			a := through(h, r, b)
			a.header.Set("Access-Control-Allow-Origin", "https://other.example")
			a.write(w)
		}), check: "CORS", text: "other.example"},
		"origin not allowed": {handler: func(t *testing.T) http.Handler {
			return handler(t, func(o *bosh.Options) { o.AllowOrigin = func(string) bool { return false } })
		}, check: "reached", text: "policy-violation"},
		"reordering":             {handler: with(mixesUp()), wait: 4 * time.Second, check: "order", text: "newer of two requests was answered first"},
		"a server without order": {handler: func(*testing.T) http.Handler { return http.HandlerFunc(unordered) }, wait: 4 * time.Second, check: "overtaking", text: "before its predecessor"},
		"lost resend":            {handler: with(forgetful()), check: "resend", text: "HTTP status 409"},
		"another answer":         {handler: with(rewrites()), check: "resend", text: "another answer"},
		"unknown domain":         {handler: good, domain: "nowhere.example", check: "reached", text: "host-unknown"},
		"unknown to the server": {handler: func(t *testing.T) http.Handler {
			return handler(t, func(o *bosh.Options) {
				o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
					return ctx, &bosh.Error{Condition: bosh.RemoteStreamError, Payload: []byte("<stream:error xmlns:stream='http://etherx.jabber.org/streams'><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")}
				}
			})
		}, check: "reached", text: "the XMPP server says host-unknown"},
		"HTTPS, by nginx": {handler: func(*testing.T) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, "The plain HTTP request was sent to HTTPS port", 400)
			})
		}, check: "TLS", text: "speaks TLS"},
		"wrong path":       {handler: status(404), check: "reached", text: "404"},
		"no POST":          {handler: status(405), check: "reached", text: "405"},
		"bodies too large": {handler: status(413), check: "reached", text: "413"},
		"server down":      {handler: status(502), check: "reached", text: "502"},
		"redirect":         {handler: status(301, "Location", "https://b.example/"), check: "reached", text: "b.example"},
		"a web page":       {handler: status(200), check: "reached", text: "not BOSH"},
		"cached": {handler: with(func(h http.Handler, w http.ResponseWriter, r *http.Request, b []byte) {
			a := through(h, r, b)
			a.header.Set("Cache-Control", "public, max-age=60")
			a.write(w)
		}), check: "caching", text: "max-age=60"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := boshtest.InMemory(test.handler(t))
				o := Options{transport: rt, URL: "http://127.0.0.1/", Domain: "example.org", Origin: "https://a.example", Wait: 3 * time.Second, Timeout: 10 * time.Second, Slow: 600 * time.Millisecond}
				if test.wait > 0 {
					o.Wait = test.wait
				}
				if test.domain != "" {
					o.Domain = test.domain
				}
				var bad []Finding
				var texts []string
				all := Run(t.Context(), o)
				for _, f := range all {
					texts = append(texts, fmt.Sprint(f))
					if f.Level != OK {
						bad = append(bad, f)
					}
					if f.Level == Failure {
						assert.NotEmpty(t, f.Cure, f.Text)
					}
				}
				if test.check == "" {
					assert.Empty(t, bad)
					assert.GreaterOrEqual(t, len(all), 8, "%s", strings.Join(texts, "\n"))
					return
				}
				found := false
				for _, f := range bad {
					found = found || f.Check == test.check && strings.Contains(f.Text, test.text)
				}
				assert.True(t, found, "%s", strings.Join(texts, "\n"))
			})
		})
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(handler(t))
	defer s.Close()
	s.Config.ErrorLog = nil
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	run := func(url string, c *tls.Config) Finding {
		var bad Finding
		for _, f := range Run(t.Context(), Options{URL: url, Domain: "example.org", Origin: "https://a.example", Wait: 2 * time.Second, Timeout: 10 * time.Second, TLS: c}) {
			if f.Level == Failure {
				bad = f
			}
		}
		return bad
	}
	assert.Empty(t, run(s.URL, &tls.Config{RootCAs: pool}))
	assert.Contains(t, run(s.URL, nil).Text, "no authority")
	assert.Contains(t, run(s.URL, &tls.Config{RootCAs: pool, ServerName: "other.example"}).Text, "another name")
	assert.Contains(t, run(strings.Replace(s.URL, "https", "http", 1), nil).Cure, "use https://")
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	assert.Contains(t, run(strings.Replace(plain.URL, "http", "https", 1), nil).Cure, "use http://")
	assert.Contains(t, run("http://127.0.0.1:1/", nil).Text, "nobody listens")

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	silent := Run(t.Context(), Options{URL: "http://" + ln.Addr().String(), Domain: "example.org", Wait: 2 * time.Second, Timeout: time.Second})
	assert.Contains(t, silent[0].Text, "no answer in 1s")
}

func TestCommandLine(t *testing.T) {
	s := httptest.NewServer(handler(t))
	defer s.Close()
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-wait", "2s", s.URL, "example.org"}, 0, "ok    resend"},
		{[]string{"-wait", "2s", s.URL, "b.example"}, 1, "-> correct the domain"},
		{[]string{"-h"}, 0, "bosh-proxy probe https://example.org/http-bind example.org"},
		{[]string{s.URL}, 2, "usage"},
		{[]string{"example.org", "example.org"}, 2, "is no URL"},
		{[]string{"-wait", "0s", s.URL, "example.org"}, 2, "a second at least"},
		{[]string{"-nonsense"}, 2, "nonsense"},
	} {
		var out bytes.Buffer
		assert.Equal(t, test.code, Main(t.Context(), "bosh-proxy probe", test.args, &out, &out), "%v: %s", test.args, out.String())
		assert.Contains(t, out.String(), test.want)
	}
}
