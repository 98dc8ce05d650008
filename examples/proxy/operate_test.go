package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/logs"
	"github.com/gobosh/bosh/internal/registry"
)

// The program's texts about itself, and its exit codes.
func TestCommand(t *testing.T) {
	for _, test := range []struct {
		args      string
		code      int
		out, said string
	}{
		{"-version", 0, "bosh-proxy (devel)", ""},
		{"-version -upstream a:b", 0, "bosh-proxy ", ""},
		{"-h", 0, "", "bosh-proxy lets browsers in to an XMPP server"},
		{"-h", 0, "", "\tbosh-proxy -upstream 127.0.0.1:5222 -trust 127.0.0.1\n"},
		{"-h", 0, "", "(default 75s)"},
		{"", 2, "", "open relay"},
		{"-upstream a:1 -wait 60", 2, "", "as in 60s"},
		{"-upstream a:1 -wait -60s", 2, "", "-wait: -60s is less than 1s"},
		{"-upstream a:1 -rate -1", 2, "", "-rate"},
		{"-upstream a:1 -rate 10", 2, "", "-rate"},
		{"-upstream a:1 -http 127.0.0.1:99999", 2, "", "-http: "},
		{"-upstream a:1 -cert /nowhere/at/all -key /nowhere", 1, "", "bosh-proxy: -cert: "},
		{"help", 0, "", "Flags:"},
		{"version", 0, "bosh-proxy ", ""},
		{"health a b", 2, "", "usage"},
		{"probe", 2, "", "usage: bosh-proxy probe [flags] URL DOMAIN"},
		{"probe x y", 2, "", "is no URL"},
		{"probe -wait 2s http://127.0.0.1:1/ example.org", 1, "nobody listens there", ""},
	} {
		var out, said bytes.Buffer
		code := command(t.Context(), strings.Fields(test.args), &out, &said)
		assert.Equal(t, test.code, code, test.args)
		assert.Contains(t, out.String(), test.out, test.args)
		assert.Contains(t, said.String(), test.said, test.args)
	}
	for d, want := range map[time.Duration]string{time.Minute: "60s", 2 * time.Minute: "120s", 1500 * time.Millisecond: "1.5s", 0: "0s", -time.Minute: "-60s"} {
		assert.Equal(t, want, inSeconds(d))
	}
}

// -check prints a server's features, or the fault.
func talks(t *testing.T, text string) string {
	return serverAt(t, func(c net.Conn) {
		c.Read(make([]byte, 100))
		io.WriteString(c, text)
	}).String()
}

// -check says what a server offers, or what is wrong.
func TestCheck(t *testing.T) {
	good := serverAt(t, func(c net.Conn) {
		if _, err := expect(c, "xml:lang='en'"); err == nil {
			io.WriteString(c, header+"<stream:features>"+plain+"<register xmlns='http://jabber.org/features/iq-register'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>")
			expect(c, streamEnd)
		}
	})
	poor := serverAt(t, func(c net.Conn) {
		if _, err := expect(c, "xml:lang='en'"); err == nil {
			io.WriteString(c, header+"<stream:features/>")
			expect(c, streamEnd)
		}
	})
	angry := serverAt(t, func(c net.Conn) {
		if _, err := expect(c, "xml:lang='en'"); err == nil {
			io.WriteString(c, header+"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		}
	})
	for args, want := range map[string]struct {
		code int
		said string
	}{
		good.String() + " -domain example.org": {0, "logins by PLAIN. Registration: yes. Other features: sm (urn:xmpp:sm:3)."},
		good.String():                          {0, "localhost: connected to"},
		poor.String():                          {1, "nobody can log in"},
		angry.String():                         {1, "stream error host-unknown"},
		"127.0.0.1:1":                          {1, "remote-connection-failed: "},
		talks(t, "SSH-2.0-OpenSSH_9.2\r\n") + " -tls starttls":          {1, `the server is none of XMPP, for it says "SSH-2.0-OpenSSH_9.2`},
		talks(t, "HTTP/1.1 400 Bad Request\r\n\r\n") + " -tls starttls": {1, `the server is none of XMPP, for it says "HTTP/1.1 400 Bad Request`},
		talks(t, "\x15\x03\x01\x00\x02\x02\x46") + " -tls starttls":     {1, "the port wants TLS from the start, by -tls direct"},
		talks(t, "") + " -tls starttls":                                 {1, "before the server had said anything: is the port one for clients, and not of -tls direct?"},
		talks(t, header) + " -tls direct -domain example.org":           {1, "a port that begins without TLS wants no -tls direct"},
	} {
		var out, said bytes.Buffer
		code := command(t.Context(), append([]string{"-check", "-tls", "none", "-upstream"}, strings.Fields(args)...), &out, &said)
		assert.Equal(t, want.code, code, "%s: %s%s", args, out.String(), said.String())
		assert.Contains(t, out.String()+said.String(), want.said, args)
	}
}

// A signal has the certificate read again, and what is no good stays out.
func TestReload(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	cert, key := ca.issue(t, "a.example")
	w, log, stop := started(t, "-upstream", "127.0.0.1:1", "-cert", writeFile(t, dir, "cert.pem", cert), "-key", writeFile(t, dir, "key.pem", key))
	hup := func(want string) {
		t.Helper()
		n := strings.Count(log.String(), want)
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		require.Eventually(t, func() bool { return strings.Count(log.String(), want) > n }, 10*time.Second, 5*time.Millisecond, want)
	}
	cert, key = ca.issue(t, "b.example")
	writeFile(t, dir, "cert.pem", cert)
	writeFile(t, dir, "key.pem", key)
	hup("certificate reloaded")
	assert.Equal(t, "b.example", w.pair.leaf().Subject.CommonName)
	writeFile(t, dir, "cert.pem", []byte("nonsense"))
	hup("certificate not reloaded")
	got, err := w.pair.get(nil)
	require.NoError(t, err)
	assert.Equal(t, "b.example", got.Leaf.Subject.CommonName)
	require.NoError(t, stop())

	_, log, _ = started(t, "-upstream", "127.0.0.1:1")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "nothing to reload") }, 10*time.Second, 5*time.Millisecond)
}

// health says whether a proxy takes sessions.
func TestHealthCommand(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	cert, key := ca.issue(t, "a.example")
	w, _, _ := started(t, "-upstream", "127.0.0.1:1", "-cert", writeFile(t, dir, "cert.pem", cert), "-key", writeFile(t, dir, "key.pem", key))
	https, http := w.public.Addr().String(), w.admin.Addr().String()
	for _, where := range []string{https, http, "https://" + https + "/healthz", "http://" + http + "/healthz"} {
		assert.Equal(t, 0, command(t.Context(), []string{"health", where}, io.Discard, io.Discard), where)
	}
	var said bytes.Buffer
	assert.Equal(t, 1, command(t.Context(), []string{"health", "127.0.0.1:1"}, io.Discard, &said))
	assert.Contains(t, said.String(), "refused")
	require.NoError(t, w.proxy.bosh.Drain(t.Context()))
	assert.Equal(t, 1, command(t.Context(), []string{"health", https}, io.Discard, io.Discard))
}

// The start says how many sessions there is room for, and in JSON times have units.
func TestLogLines(t *testing.T) {
	_, log, stop := started(t, "-upstream", "127.0.0.1:1", "-log-json", "-max-sessions", "2000000000", "-drain", "90s")
	require.NoError(t, stop())
	lines := map[string]map[string]any{}
	for line := range strings.Lines(log.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		lines[m["msg"].(string)] = m
	}
	assert.Equal(t, "90s", lines["draining"]["for"])
	assert.EqualValues(t, 0, lines["drained"]["not told"])
	assert.Contains(t, log.String(), "too low for -max-sessions")
	_, log, _ = started(t, "-upstream", "127.0.0.1:1", "-max-sessions", "10")
	assert.Regexp(t, `msg="room for sessions" sessions=\d+ descriptors=\d+ max-sessions=10`, log.String())
}

// A server that cannot be reached is a warning, with its domain and the cause; and one
// line says all of a session's end.
func TestRefusalLog(t *testing.T) {
	w, log, _ := started(t, "-upstream", "127.0.0.1:1", "-origin", "https://a.example", "-v")
	url := "http://" + w.public.Addr().String() + "/http-bind"
	ask := func(body string, header ...string) {
		r, err := http.NewRequest("POST", url, strings.NewReader(body))
		require.NoError(t, err)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	const creation = "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' ver='1.11' hold='1' wait='60' to='example.org'/>"
	ask(creation)
	ask(creation, "Origin", "https://evil.example")
	ask("<body")
	ask(strings.Replace(creation, "example.org", "a@b", 1))
	text := log.String()
	assert.Regexp(t, `level=WARN msg="session refused: the XMPP server cannot be reached: does it run, and listen there\?" client=127.0.0.1 domain=example.org condition=remote-connection-failed cause=.*refused`, text)
	assert.Regexp(t, `level=INFO msg="session refused" client=127.0.0.1 origin=https://evil.example condition=policy-violation cause=`, text)
	assert.Regexp(t, `level=INFO msg="session refused" client=127.0.0.1 condition=bad-request cause=.*malformed`, text)
	assert.Regexp(t, `level=INFO msg="session refused" client=127.0.0.1 domain=a@b condition=host-unknown`, text)
	assert.Equal(t, 4, strings.Count(text, "session refused"), text)
	for range 30 {
		ask("<body")
	}
	assert.Equal(t, 10, strings.Count(log.String(), "condition=bad-request"))
	_, _, body := fetch(t, http.DefaultClient, "http://"+w.admin.Addr().String()+"/metrics")
	assert.Contains(t, body, `bosh_sessions_refused_total{condition="bad-request"} 31`)
	assert.Contains(t, body, "bosh_proxy_connect_seconds_count 1\n")
}

// What is wrong with a server, and the cure, is plain from the sentence.
func TestUnreached(t *testing.T) {
	for want, err := range map[string]error{
		"of an unknown authority: name that by -ca": fmt.Errorf("TLS: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
		"not for the domain":                        x509.HostnameError{Certificate: &x509.Certificate{}, Host: "example.org"},
		"has expired: renew it":                     x509.CertificateInvalidError{Reason: x509.Expired},
		"in time":                                   fmt.Errorf("a:1: %w", slow(time.Second)),
		"does it run":                               &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"the XMPP server cannot be reached":         errNoTLS,
		"mend its records, or name the server":      &net.DNSError{IsNotFound: true},
	} {
		var b bytes.Buffer
		p := &proxy{log: slog.New(slog.NewTextHandler(&b, nil))}
		r := httptest.NewRequest("POST", "/", nil)
		p.refused(r, refuse("a", verdict(err)).(*bosh.Error))
		assert.Regexp(t, `msg="session refused: .*`+want, b.String())
	}
}

// A server that says nothing is said to be slow, and how long was waited for it.
func TestSlow(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for mode, want := range map[tlsMode]string{startTLS: "within 100ms, before the server had said anything", directTLS: "TLS: the server does not answer within 100ms"} {
		e, err := parseEndpoint(ln.Addr().String())
		require.NoError(t, err)
		e.tls = mode
		c := connector{fixed: &e, timeout: 100 * time.Millisecond, resolver: net.DefaultResolver, dial: new(net.Dialer).DialContext}
		_, err = c.connect(t.Context(), request{domain: domain{"localhost", "localhost"}})
		assert.ErrorContains(t, err, want)
		assert.Contains(t, unreached(err), "in time")
	}
}

// The library's options are flags here, and so they are called.
func TestFlagged(t *testing.T) {
	var b bytes.Buffer
	log := logger(&config{}, &b)
	log.Info("raise Options.MaxBody behind the Handler", "cause", registry.ErrMaxEach, "stack", "Options.Wait")
	assert.Contains(t, b.String(), `msg="raise -max-body behind bosh-proxy" cause="too many sessions of one address: -max-sessions-per-client allows no more" stack=Options.Wait`)
	for _, err := range []error{registry.ErrMax, registry.ErrMemory, httpio.ErrNoRoom} {
		log.Info("a", "cause", err)
	}
	assert.Equal(t, 1, strings.Count(b.String(), "Options."))
}

// A proxy in front that -trust does not name has all clients count as one.
func TestDistrust(t *testing.T) {
	trusted := netip.MustParsePrefix("10.0.0.0/24")
	for name, test := range map[string]struct {
		from, header string
		want         int
	}{
		"another machine's":      {"10.0.1.1:5", "X-Forwarded-For", 1},
		"this machine's":         {"[::1]:5", "Forwarded", 1},
		"mapped":                 {"[::ffff:127.0.0.1]:5", "X-Forwarded-For", 1},
		"trusted":                {"10.0.0.1:5", "X-Forwarded-For", 0},
		"no proxy":               {"127.0.0.1:5", "Origin", 0},
		"a client that pretends": {"203.0.113.1:5", "X-Forwarded-For", 0},
		"no address":             {"@", "X-Forwarded-For", 0},
	} {
		var b bytes.Buffer
		p := &proxy{log: slog.New(slog.NewTextHandler(&b, nil)), frontage: frontage{trusted: []netip.Prefix{trusted}}}
		for range 3 {
			r := httptest.NewRequest("POST", "/", nil)
			r.RemoteAddr = test.from
			r.Header.Set(test.header, "192.0.2.1")
			p.admit(t.Context(), r, new(bosh.Opening))
		}
		assert.Equal(t, test.want, strings.Count(b.String(), "not named by -trust"), "%s: %s", name, &b)
	}
}

func TestRefusals(t *testing.T) {
	var r refusals
	now := time.Now()
	for i := range 25 {
		_, ok := r.take(bosh.BadRequest, now)
		assert.Equal(t, i < refusalsSaid, ok)
	}
	_, ok := r.take(bosh.HostUnknown, now)
	assert.True(t, ok, "another condition")
	unsaid, ok := r.take(bosh.BadRequest, now.Add(refusalsEvery))
	assert.True(t, ok)
	assert.Equal(t, 15, unsaid)
}

func TestOutOfDescriptors(t *testing.T) {
	var b bytes.Buffer
	p := &proxy{log: slog.New(slog.NewTextHandler(&b, nil))}
	p.refused(httptest.NewRequest("POST", "/", nil), &bosh.Error{Condition: bosh.RemoteConnectionFailed, Err: refusal{"a", &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}}})
	assert.Regexp(t, `level=ERROR msg=".*no file descriptors are left.*" .*domain=a`, b.String())
	for _, err := range theLibrarys {
		p.refused(nil, &bosh.Error{Condition: bosh.PolicyViolation, Err: err})
	}
	assert.Equal(t, 1, strings.Count(b.String(), "\n"), "the library logs the others")
}

// One line says how a session has ended, at any level.
func TestSessionEnded(t *testing.T) {
	e := serverAt(t, func(c net.Conn) {
		if _, err := expect(c, "xml:lang='en'>"); err == nil {
			io.WriteString(c, header+"<stream:features>"+plain+"</stream:features>")
			expect(c, streamEnd)
			io.WriteString(c, streamEnd)
		}
	})
	w, log, stop := started(t, "-upstream", e.String(), "-tls", "none", "-v")
	c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: "http://" + w.public.Addr().String() + "/http-bind", To: "example.org", XMPP: true})
	require.NoError(t, err)
	require.NoError(t, c.Terminate(t.Context()))
	c.Close()
	w.proxy.bridges.Wait()
	require.NoError(t, stop())
	var ends []string
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "session end") {
			ends = append(ends, line)
		}
	}
	require.Len(t, ends, 1, log.String())
	assert.Regexp(t, `level=INFO msg="session ended" session=\w+ reason=client-ended client=127.0.0.1:\d+ domain=example.org after=\S+ requests=\d+ received=\d+ sent=\d+ returned=\d+\n`, ends[0])
}

// A client that is too fast is slowed to the rate, and not ended, however busy its server is.
func TestShape(t *testing.T) {
	for name, test := range map[string]struct {
		shape shape
		want  float64 // bytes a second
		limit string
	}{
		"bytes":              {shape{bytes: 2000}, 2000, "session"},
		"stanzas":            {shape{stanzas: 10}, 10 * 600, "session"},
		"bytes of address":   {shape{addrBytes: 2000, bytes: 1 << 30}, 2000, "address"},
		"stanzas of address": {shape{addrStanzas: 10}, 10 * 600, "address"},
		"none":               {shape{}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				var log bytes.Buffer
				r.proxy.shaper.log = slog.New(slog.NewTextHandler(&log, nil))
				c, s := r.loggedIn()
				var got atomic.Int64
				go func() {
					buf := make([]byte, 4096)
					for {
						n, err := s.Conn.Read(buf)
						if got.Add(int64(n)); err != nil {
							return
						}
						s.write("<message><body>there is always something to say</body></message>")
					}
				}()
				go func() {
					for {
						if _, err := c.Recv(t.Context()); err != nil {
							return
						}
					}
				}()
				stanza := "<message to='a@b'><body>" + strings.Repeat("x", 600-len("<message to='a@b'><body></body></message>")) + "</body></message>"
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				sent := 0
				for ctx.Err() == nil && sent < 3000 {
					if err := c.Send(ctx, stanza); err != nil {
						require.ErrorIs(t, err, context.DeadlineExceeded)
					}
					sent++
				}
				synctest.Wait()
				rate := float64(got.Load()) / time.Since(begin).Seconds()
				if test.want == 0 {
					assert.Less(t, time.Since(begin), time.Minute)
				} else {
					assert.InDelta(t, test.want, rate, test.want/5)
					assert.Positive(t, r.proxy.count.slowed.All()[test.limit])
					assert.Positive(t, r.proxy.count.slowedFor.Load())
				}
				assert.NoError(t, c.Err(), "it is not ended")
				assert.Equal(t, test.want > 0, strings.Contains(log.String(), "is too fast and is slowed"), "the log says so")
				assert.LessOrEqual(t, strings.Count(log.String(), "too fast"), int(time.Since(begin)/logs.Every)+1)
				c.Close()
				s.Close()
			}, func(c *config) { c.shape = test.shape })
		})
	}
}

// Nothing is left of addresses without sessions.
func TestShapeForgets(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for range 3 {
			c, s := r.loggedIn()
			assert.Len(t, r.proxy.shaper.addrs, 1)
			go func() { io.Copy(io.Discard, s.Conn); s.Close() }()
			require.NoError(t, c.Terminate(t.Context()))
			c.Close()
			r.proxy.bridges.Wait()
			synctest.Wait()
			assert.Empty(t, r.proxy.shaper.addrs)
		}
	}, func(c *config) { c.shape = shape{addrBytes: 1 << 20} })
}

// The unit is one that systemd takes, and does what the README says.
func TestUnit(t *testing.T) {
	unit, err := os.ReadFile("bosh-proxy.service")
	require.NoError(t, err)
	for _, want := range []string{
		"AmbientCapabilities=CAP_NET_BIND_SERVICE", "LoadCredential=", "RestartPreventExitStatus=2", "ExecReload=/bin/kill -HUP $MAINPID", "TimeoutStopSec=40",
	} {
		assert.Contains(t, string(unit), want)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	dir := t.TempDir()
	text := strings.ReplaceAll(string(unit), "/usr/local/bin/bosh-proxy", "/bin/true")
	out, err := exec.Command(analyze, "verify", "--man=no", writeFile(t, dir, "bosh-proxy.service", []byte(text))).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		assert.NotContains(t, line, "bosh-proxy.service", "%s %v", out, err)
	}
}

// The name is the same everywhere, and the container asks the program how it is.
func TestNames(t *testing.T) {
	for name, wants := range map[string][]string{
		"Dockerfile":      {"go build -C examples/proxy ", "-o /bosh-proxy .", `HEALTHCHECK`, `CMD ["/bosh-proxy", "health"]`, "STOPSIGNAL SIGTERM"},
		"compose.yaml":    {"stop_grace_period: 40s", "bosh-proxy"},
		"goreleaser.yaml": {"dir: examples/proxy", "binary: bosh-proxy", "internal/version.Set={{ .Version }}"},
		"README.md":       {"bosh-proxy -upstream"},
	} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, want := range wants {
			assert.Contains(t, string(text), want, name)
		}
	}
	_, err := os.Stat("../../.dockerignore")
	assert.NoError(t, err)
}
