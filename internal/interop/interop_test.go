//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobosh/bosh/internal/enginetest"
)

// chat is the server's program, built once.
var chat string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "interop")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		chat = filepath.Join(dir, "chat")
		build := exec.Command("go", "build", "-o", chat, ".")
		build.Dir = filepath.Join("..", "..", "examples", "chat")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building examples/chat: %v\n%s", err, out)
			return 1
		}
		if _, err := os.Stat("node_modules"); err != nil {
			fmt.Fprintln(os.Stderr, "run this first: npm --prefix internal/interop ci")
			return 1
		}
		return m.Run()
	}())
}

func TestStrophe(t *testing.T) {
	s := start(t, "-wait", "5s")
	node(t, s, "strophe.mjs", "strophe", "INTEROP_WAIT=5")
}

func TestStanza(t *testing.T) {
	node(t, start(t), "stanza.mjs", "stanza")
}

func TestPage(t *testing.T) {
	names := []string{"chat", "reload", "cut", "restart", "tcp", "tls", "guests", "keyboard", "looks", "backoff", "elsewhere"}
	if enginetest.Direct() {
		names = names[:4] // the engine is nothing to the others
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node(t, start(t), "page.mjs", name, "INTEROP_PROGRAM="+chat)
		})
	}
	if enginetest.Direct() {
		return
	}
	t.Run("sleep", func(t *testing.T) { // alone: it has no time to lose
		node(t, start(t, "-inactivity", "5s"), "page.mjs", "sleep")
	})
}

// A server is a running program of the examples.
type server struct {
	cmd              *exec.Cmd
	http, https, c2s string
}

// The lines that the server greets with. The last one ends the greeting.
var (
	greetHTTP  = regexp.MustCompile(`open (http://[^/\s]+)/`)
	greetHTTPS = regexp.MustCompile(`open (https://[^/\s]+)/`)
	greetC2S   = regexp.MustCompile(`TCP at ([\d.:]+)`)
	greetLast  = regexp.MustCompile(`accounts:`)
)

// start runs examples/chat until the test is over.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	s := launch(t, greetLast, exec.Command(chat, append([]string{
		"-http", "127.0.0.1:0", "-https", "127.0.0.1:0", "-c2s", "127.0.0.1:0"}, args...)...))
	if s.https == "" || s.c2s == "" {
		t.Fatal("the server did not say where it is to be found")
	}
	return s
}

// hints are what the server says of those in front of it: the tests are bad ones on
// purpose.
var hints = regexp.MustCompile(`(?m)^.*(given up before their wait is over|a path that is not BOSH's).*\n`)

// launch runs a server, whose greeting ends with a line that is like last,
// until the test is over. It must then end in peace when it is interrupted,
// without having complained of anything. It has the engine that is asked for.
func launch(t *testing.T, last *regexp.Regexp, cmd *exec.Cmd) *server {
	t.Helper()
	if enginetest.Direct() {
		cmd.Args = append(cmd.Args, "-direct")
	}
	s := &server{cmd: cmd}
	var stderr bytes.Buffer
	s.cmd.Stderr = &stderr
	s.cmd.WaitDelay = 5 * time.Second
	stdout, w := io.Pipe()
	s.cmd.Stdout = w
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() {
		err := s.cmd.Wait()
		w.CloseWithError(io.EOF)
		exited <- err
	}()
	t.Cleanup(func() {
		// A test may have interrupted it already.
		if err := s.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		select {
		case err := <-exited:
			if err != nil {
				t.Errorf("the server ended with %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("the server does not end when it is interrupted; its goroutines:")
			s.cmd.Process.Signal(syscall.SIGQUIT)
			<-exited
		}
		if complaints := hints.ReplaceAll(stderr.Bytes(), nil); len(complaints) > 0 {
			t.Errorf("the server complained:\n%s", complaints)
		}
	})

	greeted := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			line := lines.Text()
			for re, to := range map[*regexp.Regexp]*string{greetHTTP: &s.http, greetHTTPS: &s.https, greetC2S: &s.c2s} {
				if m := re.FindStringSubmatch(line); m != nil {
					*to = m[1]
				}
			}
			if last.MatchString(line) {
				greeted <- s.http != ""
				io.Copy(io.Discard, stdout)
				return
			}
		}
		greeted <- false
	}()
	select {
	case ok := <-greeted:
		if !ok {
			t.Fatal("the server did not say where it is to be found")
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the server said nothing for 15 s")
	}
	return s
}

// node runs a test of a script against the server.
func node(t *testing.T, s *server, script, test string, env ...string) {
	t.Helper()
	output := os.Getenv("INTEROP_OUTPUT")
	if output == "" {
		output = t.TempDir()
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, test)
	cmd.Env = append(os.Environ(),
		"INTEROP_HTTP="+s.http,
		"INTEROP_HTTPS="+s.https,
		"INTEROP_C2S="+s.c2s,
		"INTEROP_PID="+strconv.Itoa(s.cmd.Process.Pid),
		"INTEROP_OUTPUT="+output)
	cmd.Env = append(cmd.Env, env...)
	// A process group, so that no browser outlives a script that hangs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("node %s %s\n%s", script, test, bytes.TrimSpace(out))
	if err != nil {
		why := err.Error()
		if ctx.Err() != nil {
			why = "it did not come to an end"
		}
		t.Fatalf("%s: %s", strings.TrimSuffix(script, ".mjs"), why)
	}
}
