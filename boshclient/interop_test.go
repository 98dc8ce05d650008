//go:build interop

package boshclient_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
	"github.com/gobosh/bosh/boshclient/web"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/demo"
	"github.com/gobosh/bosh/internal/enginetest"
	"github.com/gobosh/bosh/internal/probe"
)

// TestServers has mellium.im/xmpp talk over BOSH as servers of other makes speak it,
// over good connections and bad ones.
func TestServers(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"ours": startOurs, "Prosody": startProsody, "ejabberd": startEjabberd} {
		t.Run(name, func(t *testing.T) {
			at := start(t)
			rates := []float64{0, 0.2}
			if name == "ejabberd" { // with faults it forgets an answer, or the stream's end, once in some 20 runs
				rates = rates[:1]
			}
			for _, rate := range rates {
				t.Run(fmt.Sprint("chat/faults ", rate), func(t *testing.T) { testChat(t, at, rate) })
			}
			t.Run("large", func(t *testing.T) { testLarge(t, at) })
			t.Run("strophe", func(t *testing.T) { testStrophe(t, at) })
			t.Run("web", func(t *testing.T) { testWeb(t, at, name != "Prosody") })
			t.Run("password", func(t *testing.T) { testPassword(t, at) })
			t.Run("resume", func(t *testing.T) { testResume(t, at) })
			t.Run("backlog", func(t *testing.T) { testBacklog(t, at) })
			t.Run("unknown", func(t *testing.T) { testUnknown(t, at) })
			t.Run("probe", func(t *testing.T) { testProbe(t, at) })
		})
	}
}

// A user is an XMPP client that is logged in.
type user struct {
	*xmpp.Session
	conn *boshclient.Conn
	got  chan Message
	done chan error // of Serve
}

// login logs in over BOSH, over a network with faults if there is a rate.
func login(t *testing.T, at, name, resource string, rate float64) *user {
	t.Helper()
	u := &user{conn: connect(t, at, rate), got: make(chan Message, 10_000), done: make(chan error, 1)}
	me := jid.MustParse(name + "@localhost/" + resource)
	session, err := negotiate(t, u.conn, me, name)
	require.NoError(t, err)
	u.Session = session
	go func() {
		u.done <- session.Serve(xmpp.HandlerFunc(func(tr xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			if start.Name.Local != "message" {
				return nil
			}
			var m Message
			if err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), tr)).Decode(&m); err != nil {
				return err
			}
			if m.Body != "" {
				u.got <- m
			}
			return nil
		}))
	}()
	require.NoError(t, session.Send(t.Context(), stanza.Presence{}.Wrap(nil)))
	return u
}

func connect(t *testing.T, at string, rate float64) *boshclient.Conn {
	t.Helper()
	o := &boshclient.Options{To: "localhost", Backoff: 10 * time.Millisecond}
	if rate > 0 {
		// Prosody ends a session if its requests come twice in the wrong moment.
		o.HTTPClient = &http.Client{Transport: &boshtest.Faults{Transport: http.DefaultTransport, Seed: *seed,
			Rates: boshtest.Evenly(rate, boshtest.CutBefore, boshtest.CutAfter, boshtest.CutMiddle, boshtest.Delay)}}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := boshclient.Dial(ctx, at, o)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func negotiate(t *testing.T, c *boshclient.Conn, me jid.JID, password string) (*xmpp.Session, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return xmpp.NewSession(ctx, me.Domain(), me, c, xmpp.Secure, xmpp.NewNegotiator(
		func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
				xmpp.SASL("", password, sasl.ScramSha256, sasl.ScramSha1, sasl.Plain), xmpp.BindResource(),
			}}
		}))
}

func (u *user) say(t *testing.T, to *user, id, text string) {
	t.Helper()
	m := Message{Message: stanza.Message{ID: id, To: to.LocalAddr(), Type: stanza.ChatMessage}, Body: text}
	require.NoError(t, u.Encode(t.Context(), m))
}

func (u *user) hear(t *testing.T) Message {
	t.Helper()
	select {
	case m := <-u.got:
		return m
	case err := <-u.done:
		t.Fatalf("ended: %v, %v, %+v", err, context.Cause(u.conn.Context()), u.conn.Stats())
	case <-time.After(60 * time.Second):
		t.Fatalf("nothing came: %+v", u.conn.Stats())
	}
	return Message{}
}

// quit ends a session in good order.
func (u *user) quit(t *testing.T) {
	t.Helper()
	require.NoError(t, u.Session.Close())
	select {
	case err := <-u.done:
		assert.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Error("the stream does not end")
	}
	assert.NoError(t, u.conn.Close())
}

// testChat has two users send each other numbers, in a burst and one after the other.
func testChat(t *testing.T, at string, rate float64) {
	alice, bob := login(t, at, "alice", "a", rate), login(t, at, "bob", "b", rate)
	const n = 100
	var wg sync.WaitGroup
	for _, pair := range [][2]*user{{alice, bob}, {bob, alice}} {
		wg.Go(func() {
			for i := range n {
				pair[0].say(t, pair[1], fmt.Sprint(i), fmt.Sprintf("%d <&> 👋", i))
			}
		})
	}
	for i := range n {
		require.Equal(t, fmt.Sprintf("%d <&> 👋", i), bob.hear(t).Body)
		require.Equal(t, fmt.Sprint(i), alice.hear(t).ID)
	}
	wg.Wait()
	for i := range n {
		alice.say(t, bob, fmt.Sprint(i), "ping")
		require.Equal(t, fmt.Sprint(i), bob.hear(t).ID)
		bob.say(t, alice, fmt.Sprint(i), "pong")
		require.Equal(t, fmt.Sprint(i), alice.hear(t).ID)
	}
	t.Logf("%+v %+v", alice.conn.Stats(), bob.conn.Stats())
	alice.quit(t)
	bob.quit(t)
}

func testLarge(t *testing.T, at string) {
	alice := login(t, at, "alice", "large", 0)
	text := strings.Repeat("0123456789", 10_000)
	for range 3 {
		alice.say(t, alice, "l", text)
	}
	for range 3 {
		require.Equal(t, text, alice.hear(t).Body)
	}
	alice.quit(t)
}

// testStrophe has mellium.im/xmpp talk with strophe.js, each over its own client for BOSH.
func testStrophe(t *testing.T, at string) {
	dir := filepath.Join("..", "internal", "interop")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal("run this first: npm --prefix internal/interop ci")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "strophe.mjs", "peer")
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	cmd.Env = append(os.Environ(), "INTEROP_HTTP="+strings.TrimSuffix(at, "/http-bind"))
	var stderr logged
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer cancel()
	var peer jid.JID
	lines := bufio.NewScanner(stdout)
	for peer.Equal(jid.JID{}) && lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "logged in as "); ok {
			peer = jid.MustParse(name)
		}
	}
	require.NotEqual(t, jid.JID{}, peer, "strophe.js does not log in: %s", &stderr)
	alice := login(t, at, "alice", "strophe", 0)
	for _, text := range []string{"hello", "<b>&amp; 👋🏽", strings.Repeat("long ", 1000), "bye"} {
		m := Message{Message: stanza.Message{To: peer, Type: stanza.ChatMessage}, Body: text}
		require.NoError(t, alice.Encode(t.Context(), m))
		require.Equal(t, text, alice.hear(t).Body)
	}
	alice.quit(t)
	for lines.Scan() {
	}
	require.NoError(t, cmd.Wait(), "%s", &stderr)
}

// testWeb has the client for browsers log in: in Node, in a page and in a worker. One
// server has all they need, and passes the requests on. With cuts connections break:
// Prosody ends a session when both its requests come again.
func testWeb(t *testing.T, at string, cuts bool) {
	dir := filepath.Join("..", "internal", "interop")
	server, err := url.Parse(strings.TrimSuffix(at, "/http-bind"))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/http-bind", httputil.NewSingleHostReverseProxy(server))
	mux.Handle("/bosh/", http.StripPrefix("/bosh", web.Handler()))
	if cuts {
		mux.HandleFunc("/cuts", func(http.ResponseWriter, *http.Request) {})
	}
	for _, name := range []string{"web-xmpp.mjs", "web-worker.mjs"} {
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/javascript")
			http.ServeFile(w, r, filepath.Join(dir, name))
		})
	}
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "<!DOCTYPE html><title>test</title><link rel=icon href='data:,'>")
	})
	front := httptest.NewServer(mux)
	defer front.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "web.mjs", "xmpp")
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	cmd.Env = append(os.Environ(), "INTEROP_HTTP="+front.URL)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func testPassword(t *testing.T, at string) {
	c := connect(t, at, 0)
	_, err := negotiate(t, c, jid.MustParse("alice@localhost"), "wrong")
	require.Error(t, err)
	require.NoError(t, context.Cause(c.Context()), "the stream goes on")
}

// testResume puts the session of a user aside, while messages come in.
func testResume(t *testing.T, at string) {
	alice, bob := login(t, at, "alice", "here", 0), login(t, at, "bob", "there", 0)
	alice.say(t, bob, "1", "one")
	bob.hear(t)
	require.NoError(t, bob.conn.CloseNow())
	st, err := bob.conn.State()
	require.NoError(t, err)
	alice.say(t, bob, "2", "two")
	alice.say(t, bob, "3", "three")
	c, err := boshclient.Resume(t.Context(), st, &boshclient.Options{To: "localhost"})
	require.NoError(t, err)
	defer c.Close()
	d := xml.NewDecoder(c)
	for _, want := range []string{"two", "three"} {
		for {
			var stanza struct {
				Body string `xml:"body"`
			}
			require.NoError(t, d.Decode(&stanza))
			if stanza.Body != "" {
				require.Equal(t, want, stanza.Body)
				break
			}
		}
	}
	fmt.Fprintf(c, "<message to='%s' type='chat'><body>four</body></message></stream:stream>", alice.LocalAddr())
	require.Equal(t, "four", alice.hear(t).Body)
	alice.quit(t)
}

// testBacklog does not read while much comes in.
func testBacklog(t *testing.T, at string) {
	alice := login(t, at, "alice", "talks", 0)
	c := connect(t, at, 0)
	bob, err := negotiate(t, c, jid.MustParse("bob@localhost/slow"), "bob")
	require.NoError(t, err)
	require.NoError(t, bob.Send(t.Context(), stanza.Presence{}.Wrap(nil)))
	const n = 300
	text := strings.Repeat("x", 1000)
	for i := range n {
		m := Message{Message: stanza.Message{ID: fmt.Sprint(i), To: bob.LocalAddr(), Type: stanza.ChatMessage}, Body: text}
		require.NoError(t, alice.Encode(t.Context(), m))
	}
	next := 0
	err = func() error {
		bobGot := make(chan string, n)
		go bob.Serve(xmpp.HandlerFunc(func(tr xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			if start.Name.Local == "message" {
				for _, a := range start.Attr {
					if a.Name.Local == "id" {
						bobGot <- a.Value
					}
				}
			}
			return nil
		}))
		for ; next < n; next++ {
			select {
			case id := <-bobGot:
				if id != fmt.Sprint(next) {
					return fmt.Errorf("got %s", id)
				}
			case <-time.After(30 * time.Second):
				return fmt.Errorf("nothing came")
			}
		}
		return nil
	}()
	require.NoError(t, err, "after %d: %v, %+v", next, context.Cause(c.Context()), c.Stats())
	alice.quit(t)
}

func testUnknown(t *testing.T, at string) {
	_, err := boshclient.Dial(t.Context(), at, &boshclient.Options{To: "nowhere.example"})
	var refused boshclient.Condition
	require.ErrorAs(t, err, &refused)
	t.Log(err)
	c, err := boshclient.Resume(t.Context(), &boshclient.State{URL: at, Sid: "nobody", Rid: 5}, nil)
	require.NoError(t, err)
	defer c.CloseNow()
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, boshclient.ItemNotFound)
}

// An operator's check of the endpoint finds nothing wrong that is not.
func testProbe(t *testing.T, at string) {
	checked := make(map[string]bool)
	for _, f := range probe.Run(t.Context(), probe.Options{URL: at, Domain: "localhost", Origin: "https://page.example", Wait: 5 * time.Second, Timeout: 30 * time.Second}) {
		t.Logf("%v %s: %s %s", f.Level, f.Check, f.Text, f.Cure)
		assert.NotEqual(t, probe.Failure, f.Level)
		checked[f.Check] = true
	}
	for _, check := range []string{"reached", "order", "resend", "broken", "wait"} {
		assert.True(t, checked[check], check)
	}
}

// logged is the output of a process.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// launch runs a server until the end of the test, and waits for its port and for words
// of it.
func launch(t *testing.T, cmd *exec.Cmd, port, words string) {
	t.Helper()
	out := new(logged)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), out)
		}
	})
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			if strings.Contains(out.String(), words) {
				return
			}
		}
		select {
		case <-done:
			t.Fatal("the server has ended")
		default:
		}
		require.Less(t, time.Since(begin), time.Minute, "nobody listens")
	}
}

// freePort returns a port of loopback without a listener.
func freePort() string {
	_, port, _ := net.SplitHostPort(demo.FreeAddr())
	return port
}

// startOurs runs examples/chat. The engine is the one that is asked for.
func startOurs(t *testing.T) string {
	program, port := filepath.Join(t.TempDir(), "chat"), freePort()
	build := exec.Command("go", "build", "-o", program, "../examples/chat")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	args := []string{"-http", "127.0.0.1:" + port, "-https", "", "-c2s", ""}
	if enginetest.Direct() {
		args = append(args, "-direct")
	}
	launch(t, exec.Command(program, args...), port, "")
	return "http://127.0.0.1:" + port + "/http-bind"
}

func startProsody(t *testing.T) string {
	dir, port := t.TempDir(), freePort()
	accounts := filepath.Join(dir, "data", "localhost", "accounts")
	require.NoError(t, os.MkdirAll(accounts, 0o700))
	for _, name := range []string{"alice", "bob"} {
		require.NoError(t, os.WriteFile(filepath.Join(accounts, name+".dat"), fmt.Appendf(nil, "return { [\"password\"] = %q; };\n", name), 0o600))
	}
	root := ""
	if os.Getuid() == 0 {
		root = "run_as_root = true\n"
	}
	config := filepath.Join(dir, "prosody.cfg.lua")
	require.NoError(t, os.WriteFile(config, fmt.Appendf([]byte(root), `
pidfile = %[1]q.."/prosody.pid"
data_path = %[1]q.."/data"
log = { info = "*console" }
interfaces = { "127.0.0.1" }
c2s_ports = { }
http_ports = { %[2]s }
http_interfaces = { "127.0.0.1" }
https_ports = { }
http_default_host = "localhost"
modules_enabled = { "roster", "saslauth", "disco", "ping", "bosh" }
modules_disabled = { "s2s", "tls", "offline" }
authentication = "internal_plain"
consider_bosh_secure = true
VirtualHost "localhost"
`, dir, port), 0o600))
	launch(t, exec.Command("prosody", "--config", config, "-F"), port, "")
	return "http://127.0.0.1:" + port + "/http-bind"
}

func startEjabberd(t *testing.T) string {
	dir, port := t.TempDir(), freePort()
	config := filepath.Join(dir, "ejabberd.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
loglevel: info
log_rotate_count: 0
hosts:
  - localhost
auth_password_format: plain
listen:
  - port: %s
    ip: 127.0.0.1
    module: ejabberd_http
    request_handlers:
      /http-bind: mod_bosh
modules:
  mod_bosh: {}
  mod_disco: {}
  mod_ping: {}
  mod_roster: {}
`, port), 0o600))
	spool := filepath.Join(dir, "spool")
	require.NoError(t, os.Mkdir(spool, 0o700))
	libs, err := filepath.Glob("/usr/lib/*/ejabberd-*")
	require.NoError(t, err)
	require.NotEmpty(t, libs, "ejabberd is not installed")
	cmd := exec.Command("erl", "-noinput", "+B", "-mnesia", "dir", fmt.Sprintf("%q", spool), "-s", "ejabberd",
		"-eval", `[ok = ejabberd_auth:try_register(N, <<"localhost">>, N) || N <- [<<"alice">>, <<"bob">>]], io:format("accounts are there~n").`)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "ERL_LIBS="+filepath.Dir(libs[0]), "EJABBERD_CONFIG_PATH="+config,
		"EJABBERD_LOG_PATH="+filepath.Join(dir, "ejabberd.log"), "ERL_CRASH_DUMP="+filepath.Join(dir, "crash.dump"))
	launch(t, cmd, port, "accounts are there")
	return "http://127.0.0.1:" + port + "/http-bind"
}
