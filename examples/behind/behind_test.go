//go:build interop

package behind

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/internal/demo"
	"github.com/gobosh/bosh/internal/enginetest"
)

// The wait of the proxy behind the fronts. It is short, so that it can be waited for.
const wait = 3 * time.Second

// clientIP is where clients come from, and fronts do not.
var clientIP = net.IPv4(127, 0, 0, 2)

// host is what the configurations are for.
const host = "xmpp.example.org"

var (
	chat, bosh string // programs
	certs      string // a directory with a certificate for host
	roots      = x509.NewCertPool()
	c2s        string // address of an XMPP server
	shared     *proxy // the proxy behind the fronts, as README.md starts it
)

func TestMain(m *testing.M) {
	code, err := main(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// main starts what all tests share: an XMPP server, and bosh-proxy in front of it.
func main(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "behind")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // workers may be somebody else
		return 0, err
	}
	chat, bosh = filepath.Join(dir, "chat"), filepath.Join(dir, "proxy")
	for program, from := range map[string]string{chat: "../chat", bosh: "../proxy"} {
		build := exec.Command("go", "build", "-o", program, ".")
		build.Dir = from // a module of its own
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("building %s: %w\n%s", from, err, out)
		}
	}
	if certs, err = certify(dir); err != nil {
		return 0, err
	}
	c2s = demo.FreeAddr()
	server, err := start(exec.Command(chat, "-http", "", "-https", "", "-c2s", c2s), c2s)
	if err != nil {
		return 0, err
	}
	defer server.stop()
	if shared, err = startProxy("-wait", wait.String(), "-trust", "127.0.0.1"); err != nil {
		return 0, err
	}
	defer shared.stop()
	return m.Run(), nil
}

// A process is a program that runs.
type process struct {
	cmd    *exec.Cmd
	output *output
	done   chan struct{}
}

// start starts a program and waits until it takes connections at an address.
func start(cmd *exec.Cmd, addr string) (*process, error) {
	p := &process{cmd: cmd, output: new(output), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = p.output, p.output, time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		cmd.Wait()
	}()
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return p, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended: %s", cmd, p.output)
		default:
		}
	}
	p.stop()
	return nil, fmt.Errorf("%s does not listen: %s", cmd, p.output)
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// An output is what a program says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// says waits until the log has a line with all of the texts.
func (o *output) says(t *testing.T, texts ...string) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(o.String()) {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				return
			}
		}
	}
	t.Errorf("the log does not say %q:\n%s", texts, o)
}

// A proxy is bosh-proxy.
type proxy struct {
	*process
	addr string
}

func startProxy(args ...string) (*proxy, error) {
	addr := demo.FreeAddr()
	args = append([]string{"-http", addr, "-upstream", c2s, "-tls", "none"}, args...)
	if enginetest.Direct() {
		args = append(args, "-direct")
	}
	p, err := start(exec.Command(bosh, args...), addr)
	return &proxy{p, addr}, err
}

// A front is a program in front.
type front struct {
	file    string // its configuration
	command func(dir, config string) *exec.Cmd
	tune    func(config, dir, addr string) string // for the test, which is not alone on its machine
	wait    [2]string                             // the time-out, and one that is less than the wait
	status  int                                   // what a client gets for that
	program string                                // that Debian does not have; the tests are skipped without it
}

var fronts = map[string]front{
	"nginx": {
		file: "nginx.conf",
		command: func(dir, config string) *exec.Cmd {
			return exec.Command("nginx", "-p", dir, "-c", config, "-g", "daemon off;")
		},
		tune: func(config, dir, addr string) string {
			temp := ""
			for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
				temp += name + "_temp_path " + filepath.Join(dir, name) + ";\n"
			}
			return change(config, "worker_processes auto;", "worker_processes 1;", "/run/nginx.pid", dir+"/pid",
				"/var/log/nginx/error.log", "stderr", "access_log /var/log/nginx/access.log;", "access_log off;"+temp, "listen 443 ", "listen "+addr+" ")
		},
		wait: [2]string{"proxy_read_timeout 75s;", "proxy_read_timeout 1s;"}, status: http.StatusGatewayTimeout,
	},
	"Caddy": {
		file: "Caddyfile",
		command: func(dir, config string) *exec.Cmd {
			cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", config)
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
			return cmd
		},
		tune: func(config, dir, addr string) string {
			_, port, _ := net.SplitHostPort(addr)
			return "{\nadmin off\nauto_https disable_redirects\n}\n" + change(config, "\n"+host+" {", "\nhttps://"+host+":"+port+" {\nbind 127.0.0.1")
		},
		wait: [2]string{"response_header_timeout 75s", "response_header_timeout 1s"}, status: http.StatusGatewayTimeout,
	},
	"HAProxy": {
		file:    "haproxy.cfg",
		command: func(dir, config string) *exec.Cmd { return exec.Command("haproxy", "-db", "-f", config) },
		tune: func(config, dir, addr string) string {
			return change(config, "maxconn 20000", "maxconn 200", "bind :443 ", "bind "+addr+" ")
		},
		wait: [2]string{"timeout server 75s", "timeout server 1s"}, status: http.StatusGatewayTimeout,
	},
	"Apache": {
		file: "apache.conf",
		command: func(dir, config string) *exec.Cmd {
			return exec.Command("apache2", "-f", config, "-D", "FOREGROUND")
		},
		tune: func(config, dir, addr string) string {
			return change(config, "/run/apache2/apache2.pid", dir+"/pid", "/var/log/apache2/error.log", dir+"/error.log",
				"Listen 443", "Listen "+addr+"\nDefaultRuntimeDir "+dir, "<VirtualHost *:443>", "<VirtualHost "+addr+">",
				"ServerLimit 64", "ServerLimit 2", "MaxRequestWorkers 4096", "MaxRequestWorkers 128", "H2MaxWorkers 4096", "H2MaxWorkers 128")
		},
		wait: [2]string{"timeout=75", "timeout=1"}, status: http.StatusBadGateway, // as Apache has it
	},
	"Traefik": {
		file:    "traefik.yml",
		program: "traefik",
		command: func(dir, config string) *exec.Cmd { return exec.Command("traefik", "--configFile="+config) },
		tune: func(config, dir, addr string) string {
			return change(config, `":443"`, `"`+addr+`"`, "/etc/traefik/traefik.yml", filepath.Join(dir, "config.yml"))
		},
		wait: [2]string{"responseHeaderTimeout: 75s", "responseHeaderTimeout: 1s"}, status: http.StatusGatewayTimeout,
	},
}

// change replaces texts in a configuration, each of which must be there.
func change(config string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(config, pairs[i]) {
			panic(fmt.Sprintf("there is no %q in the configuration", pairs[i]))
		}
		config = strings.ReplaceAll(config, pairs[i], pairs[i+1])
	}
	return config
}

// A running front passes connections to a proxy, and they are counted.
type running struct {
	*process
	addr  string
	relay *relay
}

// start starts a front before a proxy, with changes to its configuration.
func (f front) start(t *testing.T, p *proxy, changes ...string) *running {
	t.Helper()
	if _, err := exec.LookPath(f.program); f.program != "" && err != nil {
		t.Skip(err)
	}
	text, err := os.ReadFile(f.file)
	require.NoError(t, err)
	dir, err := os.MkdirTemp(certs, "front") // workers may be somebody else, to whom others are closed
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	r := &running{addr: demo.FreeAddr(), relay: relayTo(t, p.addr)}
	config := change(string(text), append([]string{"127.0.0.1:5280", r.relay.Addr().String()}, changes...)...)
	config = strings.ReplaceAll(config, "/etc/ssl/"+host, certs)
	file := filepath.Join(dir, "config.yml") // a name that Traefik needs, and nothing to the others
	require.NoError(t, os.WriteFile(file, []byte(f.tune(config, dir, r.addr)), 0o644))
	r.process, err = start(f.command(dir, file), r.addr)
	require.NoError(t, err)
	t.Cleanup(r.stop)
	if f.program != "" { // Traefik listens before it has read the rest of its file
		client := &http.Client{Transport: r.client(t)}
		require.Eventually(t, func() bool {
			resp, err := client.Get(r.url("/http-bind"))
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode != http.StatusNotFound
		}, 30*time.Second, 50*time.Millisecond, "%s", r.output)
	}
	return r
}

// url is a URL at the front.
func (r *running) url(path string) string {
	_, port, _ := net.SplitHostPort(r.addr)
	return "https://" + net.JoinHostPort(host, port) + path
}

// client returns an HTTP client for the front that keeps what it has been answered.
func (r *running) client(t *testing.T) *recorder {
	rec := &recorder{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: clientIP}}).DialContext(ctx, network, r.addr)
		},
	}}
	t.Cleanup(rec.CloseIdleConnections)
	return rec
}

// A recorder is a transport.
type recorder struct {
	*http.Transport
	requests, other, failed, unzipped atomic.Int64 // all; not over HTTP/2; not answered by 200; answered with gzip
	last                              atomic.Int64 // the last status that was not 200
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.requests.Add(1)
	resp, err := r.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.ProtoMajor != 2 {
		r.other.Add(1)
	}
	if resp.StatusCode != http.StatusOK {
		r.failed.Add(1)
		r.last.Store(int64(resp.StatusCode))
	}
	if resp.Uncompressed {
		r.unzipped.Add(1)
	}
	return resp, nil
}

// A relay is a listener that passes connections on.
type relay struct {
	net.Listener
	accepted atomic.Int64
}

func relayTo(t *testing.T, addr string) *relay {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	r := &relay{Listener: ln}
	pipe := func(to, from net.Conn) {
		io.Copy(to, from)
		to.Close()
		from.Close()
	}
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			r.accepted.Add(1)
			out, err := net.Dial("tcp", addr)
			if err != nil {
				in.Close()
				continue
			}
			go pipe(out, in)
			go pipe(in, out)
		}
	}()
	return r
}

// certify makes a certificate for host, in the files that the configurations name.
func certify(dir string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	roots.AppendCertsFromPEM(cert)
	for name, text := range map[string][]byte{"fullchain.pem": cert, "privkey.pem": private, "all.pem": slices.Concat(cert, private)} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	return dir, err
}

// A user is an XMPP client that is logged in.
type user struct {
	*xmpp.Session
	conn *boshclient.Conn
	http *recorder
	got  chan message
	done chan error
}

type message struct {
	stanza.Message
	Body string `xml:"body"`
}

// login logs in over a front.
func login(t *testing.T, r *running, path, name, resource string) *user {
	t.Helper()
	u := &user{http: r.client(t), got: make(chan message, 1000), done: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var err error
	u.conn, err = boshclient.Dial(ctx, r.url(path), &boshclient.Options{To: "localhost", HTTPClient: &http.Client{Transport: u.http}})
	require.NoError(t, err, "%s", r.output)
	t.Cleanup(func() { u.conn.CloseNow() })
	me := jid.MustParse(name + "@localhost/" + resource)
	u.Session, err = xmpp.NewSession(ctx, me.Domain(), me, u.conn, xmpp.Secure, xmpp.NewNegotiator(
		func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{xmpp.SASL("", name, sasl.ScramSha256), xmpp.BindResource()}}
		}))
	require.NoError(t, err)
	go func() {
		u.done <- u.Serve(xmpp.HandlerFunc(func(tr xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			if start.Name.Local != "message" {
				return nil
			}
			var m message
			if err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), tr)).Decode(&m); err != nil {
				return err
			}
			u.got <- m
			return nil
		}))
	}()
	require.NoError(t, u.Send(t.Context(), stanza.Presence{}.Wrap(nil)))
	return u
}

func (u *user) say(t *testing.T, to *user, text string) {
	t.Helper()
	m := message{Message: stanza.Message{To: to.LocalAddr(), Type: stanza.ChatMessage}, Body: text}
	require.NoError(t, u.Encode(t.Context(), m))
}

func (u *user) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case m := <-u.got:
		require.Equal(t, want, m.Body)
	case err := <-u.done:
		t.Fatalf("ended: %v, %v", err, context.Cause(u.conn.Context()))
	case <-time.After(30 * time.Second):
		t.Fatalf("nothing came: %+v", u.conn.Stats())
	}
}

// odd are texts that something on the way could spoil.
var odd = []string{
	"<b>&amp;</b> \"'", "👋🏽 ſpéçïål \u2028\u200f עברית", "]]>", "%00 %2F + ?#", "  two  blanks  ", "line\nbreak\tand tab",
	strings.Repeat("0123456789", 10_000),
}

// TestFronts has each program pass on what clients do, with the configuration as it is
// here.
func TestFronts(t *testing.T) {
	for name, f := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := f.start(t, shared)
			alice, bob := login(t, r, "/http-bind", "alice", name), login(t, r, "/xmpp/http-bind", "bob", name)
			for _, text := range odd {
				alice.say(t, bob, text)
				bob.hears(t, text)
				bob.say(t, alice, text)
				alice.hears(t, text)
			}
			const burst = 200
			for i := range burst {
				alice.say(t, bob, fmt.Sprint("burst ", i))
			}
			for i := range burst {
				bob.hears(t, fmt.Sprint("burst ", i))
			}
			for i := range 100 { // a request for each
				alice.say(t, bob, fmt.Sprint("ping ", i))
				bob.hears(t, fmt.Sprint("ping ", i))
				bob.say(t, alice, fmt.Sprint("pong ", i))
				alice.hears(t, fmt.Sprint("pong ", i))
			}
			time.Sleep(wait + wait/2) // what is to be seen is a program's clock
			bob.say(t, alice, "still there?")
			alice.hears(t, "still there?")
			for _, u := range []*user{alice, bob} {
				assert.Zero(t, u.conn.Stats().Repeats, "repeats")
				assert.Zero(t, u.http.failed.Load(), "failures")
				assert.Zero(t, u.http.other.Load(), "answers that did not come over HTTP/2")
				assert.NotZero(t, u.http.unzipped.Load(), "compressed answers")
			}
			requests := alice.http.requests.Load() + bob.http.requests.Load()
			assert.Greater(t, requests, int64(200))
			assert.LessOrEqual(t, r.relay.accepted.Load(), int64(20), "connections for %d requests", requests)
			t.Logf("%d connections for %d requests", r.relay.accepted.Load(), requests)
			assert.NotContains(t, shared.output.String(), "client=127.0.0.1:")
			assert.Contains(t, shared.output.String(), "client=127.0.0.2:0 ")

			resp, err := (&http.Client{Transport: r.client(t)}).Post(r.url("/elsewhere"), "text/xml", nil)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Contains(t, []int{http.StatusNotFound, http.StatusOK}, resp.StatusCode) // Caddy has nothing to say
		})
	}
}

// TestShortTimeOut has each front give up requests before their wait is over. Nothing
// gets lost, and the log of the proxy names the cause.
func TestShortTimeOut(t *testing.T) {
	for name, f := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := startProxy("-wait", "60s", "-trust", "127.0.0.1")
			require.NoError(t, err)
			t.Cleanup(p.stop)
			r := f.start(t, p, f.wait[0], f.wait[1])
			alice := login(t, r, "/http-bind", "alice", "short "+name)
			p.output.says(t, "level=WARN", "requests are given up before their wait is over", "after=1", "wait=60s")
			assert.EqualValues(t, f.status, alice.http.last.Load())
			for i := range 3 {
				alice.say(t, alice, fmt.Sprint("message ", i))
				alice.hears(t, fmt.Sprint("message ", i))
			}
			assert.NotZero(t, alice.conn.Stats().Repeats)
		})
	}
}

// body returns a request that creates a session.
func body(to string) string {
	return "<body xmlns='http://jabber.org/protocol/httpbind' rid='1000' to='" + to + "' wait='60' hold='1' ver='1.11'" +
		" xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'/>"
}

// TestSymptoms brings each row of README.md's table about. The log of the proxy must name
// the cause. The first row is TestShortTimeOut.
func TestSymptoms(t *testing.T) {
	t.Parallel()
	const once = "\t\tlocation = /http-bind {\n"
	p, err := startProxy("-domain", "localhost", "-max-sessions-per-client", "1", "-idle-timeout", "4s", "-inactivity", "3s", "-max-body", "10000")
	require.NoError(t, err)
	t.Cleanup(p.stop)
	r := fronts["nginx"].start(t, p, once, "\t\tlocation /chat/ { proxy_pass http://bosh; }\n"+
		"\t\tlocation = /small { proxy_pass http://bosh/http-bind; client_max_body_size 1k; }\n"+
		"\t\tlocation = /twice { proxy_pass http://bosh/http-bind; add_header Access-Control-Allow-Origin * always; }\n"+once)
	client := &http.Client{Transport: r.client(t)}
	post := func(path, text string) (int, string) {
		t.Helper()
		resp, err := client.Post(r.url(path), "text/xml; charset=utf-8", strings.NewReader(text))
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(answer)
	}

	// 404
	status, _ := post("/chat/http-bind", body("localhost"))
	assert.Equal(t, http.StatusNotFound, status)
	p.output.says(t, "level=WARN", "a request for a path that is not BOSH's", "path=/chat/http-bind", `"BOSH is at"=/http-bind`)

	// host-unknown
	_, answer := post("/http-bind", body("nowhere.example"))
	assert.Contains(t, answer, "host-unknown")
	p.output.says(t, "session refused", "domain=nowhere.example", "condition=host-unknown")

	// policy-violation: without -trust all clients are one
	_, answer = post("/http-bind", body("localhost"))
	require.Contains(t, answer, "sid=")
	_, answer = post("/http-bind", body("localhost"))
	assert.Contains(t, answer, "policy-violation")
	p.output.says(t, "session refused", "=127.0.0.1", "condition=policy-violation", "too many sessions of one address: -max-sessions-per-client allows no more")
	p.output.says(t, "level=WARN", "a proxy in front is not named by -trust", "address=127.0.0.1")

	// 413, ours
	large := strings.Replace(body("localhost"), "/>", ">"+strings.Repeat(" ", 20_000)+"</body>", 1)
	_, answer = post("/http-bind", large)
	assert.Contains(t, answer, "bad-request")
	p.output.says(t, "a request is too large", "max-body=10000")
	// and the front's, which never comes to us
	said := strings.Count(p.output.String(), "too large")
	status, _ = post("/small", large)
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	p.output.says(t, "session ended", "reason=client-lost")
	assert.Equal(t, said, strings.Count(p.output.String(), "too large"))

	// Two headers for CORS.
	for range 4 {
		req, err := http.NewRequest(http.MethodOptions, r.url("/twice"), nil)
		require.NoError(t, err)
		req.Header = http.Header{"Origin": {"https://page.example"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type"}}
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Len(t, resp.Header["Access-Control-Allow-Origin"], 2)
		time.Sleep(time.Second) // as long as a client waits before it tries again
	}
	p.output.says(t, "level=WARN", "no request follows", "a proxy in front may set them too", "origin=https://page.example")

	// 502 at idle: the front's connection has been kept for longer than -idle-timeout.
	p.output.says(t, "level=WARN", "was idle for too long and is closed", "502", "idle-timeout=4s")
}

// What README.md says is in the configurations.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, f := range fronts {
		assert.Contains(t, string(text), "("+f.file+")")
	}
	for _, row := range []string{"504", "404", "413", "Access-Control-Allow-Origin", "host-unknown", "policy-violation", "502"} {
		assert.Regexp(t, `(?m)^\| [^|]*`+row+`[^|]*\|`, string(text))
	}
}
