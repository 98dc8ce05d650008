package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/internal/demo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	kills  = flag.Int("kills", 3, "how often TestKill9 kills the service")
	events = flag.Int("events", 600, "how many events it publishes")
)

// program builds the service, once, and returns where it is.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "durable")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", dir, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(dir, "durable"), nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if file, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(code)
}

// A process is the service in a process of its own.
type process struct {
	cmd  *exec.Cmd
	said bytes.Buffer
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	file, err := program()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(file, args...)}
	p.cmd.Stderr = &p.said
	require.NoError(t, p.cmd.Start())
	return p
}

func (p *process) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(sig))
	p.cmd.Wait()
	assert.Empty(t, p.said.String())
}

// A number is the event of the tests.
type number struct {
	N int `json:"n"`
}

// A reader is the client of a user. It always comes back.
type reader struct {
	user string
	url  string

	mu    sync.Mutex
	last  uint64 // id of the last event
	got   []int
	twice int
}

func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
		c, err := boshclient.Dial(dialing, r.url+"/http-bind", &boshclient.Options{
			Framing: boshclient.Elements, To: r.user, GiveUp: 500 * time.Millisecond, NoAcks: strings.HasSuffix(r.user, "1"),
		})
		cancel()
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		for {
			el, err := c.ReadElement(ctx)
			if err != nil {
				break
			}
			r.take(el)
		}
		c.CloseNow()
	}
}

// take takes an event as the page does.
func (r *reader) take(el []byte) {
	var e event
	var n number
	if bosh.DecodeJSON(el, &e) != nil || json.Unmarshal(e.Data, &n) != nil {
		panic("no event: " + string(el))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.ID <= r.last {
		r.twice++
		return
	}
	r.last = e.ID
	r.got = append(r.got, n.N)
}

func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// publish publishes an event until it is stored.
func publish(t *testing.T, url, user string, n int) {
	t.Helper()
	body, _ := json.Marshal(number{n})
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/publish/"+user, bytes.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Event-Id", fmt.Sprint(n))
		res, err := http.DefaultClient.Do(r)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusNoContent {
				return
			}
			require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		}
		require.Less(t, time.Since(begun), time.Minute, "%v", err)
	}
}

// The service is killed in mid-burst, again and again: every event arrives, in order for
// each user, and what comes twice is known by its id.
func TestKill9(t *testing.T) {
	const users = 5
	addr, data := demo.FreeAddr(), t.TempDir()
	args := []string{"-http", addr, "-data", data}
	p := start(t, args...)
	url := "http://" + addr
	ctx, cancel := context.WithCancel(t.Context())
	var background, publishing sync.WaitGroup
	defer background.Wait()
	defer cancel()
	var readers []*reader
	for i := range users {
		r := &reader{user: fmt.Sprint("user", i), url: url}
		readers = append(readers, r)
		background.Go(func() { r.run(ctx) })
	}
	each := *events / users
	for _, r := range readers {
		publishing.Go(func() {
			for n := range each {
				publish(t, url, r.user, n)
			}
		})
	}
	arrived := func() (n int) {
		for _, r := range readers {
			n += r.count()
		}
		return n
	}
	until := func(n int) {
		t.Helper()
		for begun := time.Now(); arrived() < n; time.Sleep(time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatalf("%d of %d events have arrived", arrived(), n)
			}
		}
	}
	for i := range *kills {
		until((i + 1) * each * users / (*kills + 1))
		p.end(t, syscall.SIGKILL)
		p = start(t, args...)
	}
	publishing.Wait()
	until(each * users)
	time.Sleep(200 * time.Millisecond) // for what comes twice
	p.end(t, syscall.SIGTERM)
	twice := 0
	for _, r := range readers {
		r.mu.Lock()
		for n, got := range r.got {
			if n != got {
				t.Errorf("%s: event %d has come where %d is due", r.user, got, n)
				break
			}
		}
		assert.Len(t, r.got, each, "%s", r.user)
		twice += r.twice
		r.mu.Unlock()
	}
	t.Logf("%d events, %d kills: 0 lost, %d came twice and were dropped", each*users, *kills, twice)
}

// A client without proof of an event gets it in its next session, and one with proof does
// not. Of two clients of a user the last one has the queue.
func TestSessions(t *testing.T) {
	addr := demo.FreeAddr()
	p := start(t, "-http", addr, "-data", t.TempDir())
	defer func() { p.end(t, syscall.SIGTERM) }()
	url := "http://" + addr
	for n := range 3 {
		publish(t, url, "alice", n)
		publish(t, url, "bob", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dial := func() *boshclient.Conn {
		c, err := boshclient.Dial(ctx, url+"/http-bind", &boshclient.Options{Framing: boshclient.Elements, To: "alice"})
		require.NoError(t, err)
		return c
	}
	read := func(c *boshclient.Conn) (n number) {
		el, err := c.ReadElement(ctx)
		require.NoError(t, err)
		var e event
		require.NoError(t, bosh.DecodeJSON(el, &e))
		require.NoError(t, json.Unmarshal(e.Data, &n))
		return n
	}
	one := dial()
	for n := range 3 {
		assert.Equal(t, number{n}, read(one))
	}
	publish(t, url, "alice", 3)
	assert.Equal(t, number{3}, read(one))
	publish(t, url, "alice", 4) // in an answer to a request that proves those before
	assert.Equal(t, number{4}, read(one))
	time.Sleep(500 * time.Millisecond) // until it is acknowledged

	two := dial()
	_, err := one.ReadElement(ctx)
	var ended *boshclient.Error
	require.ErrorAs(t, err, &ended)
	assert.Equal(t, boshclient.PolicyViolation, ended.Condition)
	publish(t, url, "alice", 5)
	n := read(two)
	assert.GreaterOrEqual(t, n.N, 3, "what was proven does not come again")
	for n.N < 5 {
		n = read(two)
	}
	two.CloseNow()
}

func TestBadNames(t *testing.T) {
	addr := demo.FreeAddr()
	p := start(t, "-http", addr, "-data", t.TempDir())
	defer func() { p.end(t, syscall.SIGTERM) }()
	url := "http://" + addr
	publish(t, url, "alice", 1)
	for _, name := range []string{"*", "a.b", "a*", ">", "A", "a b", strings.Repeat("a", 65)} {
		_, err := boshclient.Dial(t.Context(), url+"/http-bind", &boshclient.Options{Framing: boshclient.Elements, To: name})
		assert.ErrorContains(t, err, "host-unknown", name)
	}
	res, err := http.Post(url+"/publish/a.b", "", strings.NewReader("1"))
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, http.StatusBadRequest, res.StatusCode)
	res, err = http.Post(url+"/publish/alice", "", strings.NewReader("no json"))
	require.NoError(t, err)
	res.Body.Close()
	assert.Equal(t, http.StatusBadRequest, res.StatusCode)
}
