//go:build interop

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/demo"
	"github.com/gobosh/bosh/internal/enginetest"
)

// A realServer is an XMPP server in a process of its own, with a configuration,
// ports and data that are gone with it. Its domain is localhost, and alice and
// bob have accounts there whose passwords are their names.
type realServer struct {
	name    string
	dir     string
	caFile  string
	c2s     string // its address for TCP, with STARTTLS but also without
	direct  string // for direct TLS
	proxied string // for connections by the PROXY protocol; empty if it knows none
	output  *buffer
	process *process
}

// A buffer can be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A process is ended with its children by the end of the test.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of its end, once done
}

func startProcess(t testing.TB, cmd *exec.Cmd, output *buffer) *process {
	t.Helper()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	p := &process{cmd: cmd, done: make(chan struct{})}
	require.NoError(t, cmd.Start())
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), output)
		}
	})
	return p
}

// stop ends the process by a signal and waits for it.
func (p *process) stop(t testing.TB, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(sig))
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatal("the process does not end")
	}
}

// accepting waits until a port is open.
func (p *process) accepting(t testing.TB, addr string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-p.done:
			t.Fatal("the server has ended")
		default:
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("nobody listens at %s", addr)
		}
	}
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func newRealServer(t testing.TB, name string) *realServer {
	t.Helper()
	s := &realServer{name: name, dir: t.TempDir(), c2s: demo.FreeAddr(), direct: demo.FreeAddr(), output: new(buffer)}
	ca := newAuthority(t)
	cert, key := ca.issue(t, "localhost")
	s.caFile = writeFile(t, s.dir, "ca.pem", ca.pem)
	writeFile(t, s.dir, "cert.pem", append(bytes.Clone(cert), ca.pem...))
	writeFile(t, s.dir, "key.pem", key)
	writeFile(t, s.dir, "both.pem", append(append(bytes.Clone(cert), ca.pem...), key...))
	return s
}

// startProsody starts Prosody.
func startProsody(t testing.TB) *realServer {
	t.Helper()
	s := newRealServer(t, "Prosody")
	accounts := filepath.Join(s.dir, "data", "localhost", "accounts")
	require.NoError(t, os.MkdirAll(accounts, 0o700))
	for _, name := range []string{"alice", "bob"} {
		writeFile(t, accounts, name+".dat", fmt.Appendf(nil, "return { [\"password\"] = %q; };\n", name))
	}
	root := ""
	if os.Getuid() == 0 {
		root = "run_as_root = true\n"
	}
	config := writeFile(t, s.dir, "prosody.cfg.lua", fmt.Appendf([]byte(root), `
pidfile = %[1]q.."/prosody.pid"
data_path = %[1]q.."/data"
log = { info = "*console" }
interfaces = { "127.0.0.1" }
c2s_ports = { %[2]s }
c2s_direct_tls_ports = { %[3]s }
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "smacks", "offline" }
modules_disabled = { "s2s" }
authentication = "internal_plain"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
ssl = { certificate = %[1]q.."/cert.pem", key = %[1]q.."/key.pem" }
VirtualHost "localhost"
`, s.dir, port(s.c2s), port(s.direct)))
	s.process = startProcess(t, exec.Command("prosody", "--config", config, "-F"), s.output)
	s.process.accepting(t, s.c2s)
	s.process.accepting(t, s.direct)
	return s
}

// startEjabberd starts ejabberd, in an Erlang that is no node of a network.
func startEjabberd(t testing.TB) *realServer {
	t.Helper()
	s := newRealServer(t, "ejabberd")
	s.proxied = demo.FreeAddr()
	config := writeFile(t, s.dir, "ejabberd.yml", fmt.Appendf(nil, `
loglevel: info
log_rotate_count: 0
hosts:
  - localhost
certfiles:
  - %[1]q
auth_password_format: plain
disable_sasl_mechanisms:
  - digest-md5
  - X-OAUTH2
  - SCRAM-SHA-512
  - SCRAM-SHA-512-PLUS
listen:
  - port: %[2]s
    ip: 127.0.0.1
    module: ejabberd_c2s
    max_stanza_size: 262144
    backlog: 256
    starttls: true
    zlib: true
  - port: %[3]s
    ip: 127.0.0.1
    module: ejabberd_c2s
    max_stanza_size: 262144
    tls: true
  - port: %[4]s
    ip: 127.0.0.1
    module: ejabberd_c2s
    use_proxy_protocol: true
    starttls: true
shaper_rules:
  max_user_sessions: infinity
modules:
  mod_disco: {}
  mod_offline: {}
  mod_ping: {}
  mod_roster: {}
  mod_stream_mgmt: {}
`, filepath.Join(s.dir, "both.pem"), port(s.c2s), port(s.direct), port(s.proxied)))
	spool := filepath.Join(s.dir, "spool")
	require.NoError(t, os.Mkdir(spool, 0o700))
	libs, err := filepath.Glob("/usr/lib/*/ejabberd-*")
	require.NoError(t, err)
	require.NotEmpty(t, libs, "ejabberd is not installed")
	cmd := exec.Command("erl", "-noinput", "+B",
		"-mnesia", "dir", fmt.Sprintf("%q", spool),
		"-s", "ejabberd",
		"-eval", `[ok = ejabberd_auth:try_register(N, <<"localhost">>, N) || N <- [<<"alice">>, <<"bob">>]], io:format("accounts are there~n").`)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(),
		"HOME="+s.dir,
		"ERL_LIBS="+filepath.Dir(libs[0]),
		"EJABBERD_CONFIG_PATH="+config,
		"EJABBERD_LOG_PATH="+filepath.Join(s.dir, "ejabberd.log"),
		"ERL_CRASH_DUMP="+filepath.Join(s.dir, "crash.dump"))
	s.process = startProcess(t, cmd, s.output)
	for _, addr := range []string{s.c2s, s.direct, s.proxied} {
		s.process.accepting(t, addr)
	}
	eventually(t, "accounts", func() bool { return strings.Contains(s.output.String(), "accounts are there") })
	return s
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%s: not after 30 s", what)
		}
	}
}

// log returns what the server has logged.
func (s *realServer) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "ejabberd.log"))
	return s.output.String() + string(text)
}

// programs builds the proxy and the chat, once, and returns where they are.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "proxy")
	if err != nil {
		return "", err
	}
	atEnd = append(atEnd, func() { os.RemoveAll(dir) })
	for program, from := range map[string]string{"proxy": ".", "chat": "../chat"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, program), ".")
		build.Dir = from // a module of its own
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w\n%s", err, out)
		}
	}
	return dir, nil
})

// A realProxy is the proxy in a process of its own.
type realProxy struct {
	url, admin string // without a path
	output     *buffer
	process    *process
}

// startProxy starts the proxy. It must end in peace at the end of the test, if
// it has not been stopped.
func startProxy(t testing.TB, args ...string) *realProxy {
	t.Helper()
	dir, err := programs()
	require.NoError(t, err)
	web, admin := demo.FreeAddr(), demo.FreeAddr()
	p := &realProxy{url: "http://" + web, admin: "http://" + admin, output: new(buffer)}
	args = append([]string{"-http", web, "-admin", admin, "-drain", "10s", "-max-sessions", "1000"}, args...)
	if enginetest.Direct() {
		args = append(args, "-direct")
	}
	p.process = startProcess(t, exec.Command(filepath.Join(dir, "proxy"), args...), p.output)
	p.process.accepting(t, web)
	t.Cleanup(func() {
		select {
		case <-p.process.done:
		default:
			p.process.stop(t, syscall.SIGTERM)
			if p.process.err != nil {
				t.Errorf("the proxy ended with %v", p.process.err)
			}
		}
		for line := range strings.Lines(p.output.String()) {
			if strings.Contains(line, "level=WARN") && !expected.MatchString(line) || strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
				t.Errorf("the proxy complained: %s", line)
			}
		}
	})
	return p
}

// expected are the warnings that tests bring about on purpose.
var expected = regexp.MustCompile(`session refused: the XMPP server|a proxy in front is not named by -trust|msg=drained|msg="session ended".* reason=server-failed`)

// startChat starts examples/chat, for its page, and returns where it is.
func startChat(t testing.TB) string {
	t.Helper()
	dir, err := programs()
	require.NoError(t, err)
	addr := demo.FreeAddr()
	cmd := exec.Command(filepath.Join(dir, "chat"), "-http", addr, "-https", "", "-c2s", "")
	startProcess(t, cmd, new(buffer)).accepting(t, addr)
	return "http://" + addr
}

// node runs a test of a script of internal/interop.
func node(t *testing.T, script, test string, env ...string) {
	t.Helper()
	dir := filepath.Join("..", "..", "internal", "interop")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal("run this first: npm --prefix internal/interop ci")
	}
	output := os.Getenv("INTEROP_OUTPUT")
	if output == "" {
		output = t.TempDir()
	}
	require.NoError(t, os.MkdirAll(output, 0o755))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, test)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "INTEROP_OUTPUT="+output), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("node %s %s\n%s", script, test, bytes.TrimSpace(out))
	require.NoError(t, err)
	require.NoError(t, ctx.Err())
}
