package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain is the program itself where the balancer starts it.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-listen") {
		main()
		return
	}
	os.Exit(m.Run())
}

// start returns a balancer with three nodes, and where it is.
func start(t *testing.T) (*balancer, string) {
	return startWith(t, os.Getenv("BOSH_ENGINE") == "direct")
}

func startWith(t *testing.T, direct bool) (*balancer, string) {
	b, err := newBalancer(3, direct)
	require.NoError(t, err)
	t.Cleanup(b.close)
	srv := httptest.NewServer(b.handler())
	t.Cleanup(srv.Close)
	require.Eventually(t, func() bool { return len(sum(t, srv.URL).Nodes) == 3 }, 20*time.Second, 50*time.Millisecond)
	return b, srv.URL
}

func sum(t *testing.T, url string) (s boshnats.Sum) {
	resp, err := http.Get(url + "/nodes?format=json")
	if err != nil {
		return s
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	json.Unmarshal(text, &s)
	return s
}

// A client has echoes come back, and counts them.
type client struct {
	*boshtest.Client
	seq  boshtest.Sequence
	n    int
	node string
}

func dial(t *testing.T, url string) *client {
	c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: url + "/http-bind", To: "x", Acks: true, Backoff: 20 * time.Millisecond, GiveUp: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, node, _ := strings.Cut(c.Created().Attr("sid"), ".")
	return &client{Client: c, node: node}
}

// echo has an element come back.
func (c *client) echo(ctx context.Context) error {
	if err := c.Send(ctx, string(boshtest.Numbered(c.n, 100))); err != nil {
		return err
	}
	for {
		el, err := c.Recv(ctx)
		if err != nil {
			return err
		}
		if k, ok := boshtest.Number(el); ok {
			c.seq.Got(k)
			c.n++
			return c.seq.Check(c.n)
		}
	}
}

// runAll has clients echo until ctx ends, and returns the error of each.
func runAll(ctx context.Context, t *testing.T, clients []*client) (wait func() []error) {
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				if errs[i] = c.echo(t.Context()); errs[i] != nil {
					return
				}
			}
		})
	}
	return func() []error { wg.Wait(); return errs }
}

// A node that dies takes its own sessions, and no others: those have each element once,
// also what was on its way through that node. It is started anew, under another name.
func TestKill(t *testing.T) {
	_, url := start(t)
	var clients []*client
	for range 12 {
		clients = append(clients, dial(t, url))
	}
	ctx, cancel := context.WithCancel(t.Context())
	wait := runAll(ctx, t, clients)
	time.Sleep(500 * time.Millisecond)
	victim := clients[0].node
	resp, err := http.Post(url+"/kill?node="+victim, "", nil)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
	r, _ := http.NewRequest("POST", url+"/kill?node="+victim, nil)
	r.Header.Set("Cluster", "kill")
	began := time.Now()
	resp, err = http.DefaultClient.Do(r)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	for _, c := range clients {
		if c.node == victim {
			<-c.Done()
			assert.ErrorContains(t, c.Err(), "item-not-found")
		}
	}
	t.Log("told after", time.Since(began))
	assert.Less(t, time.Since(began), 10*time.Second, "a second, on an idle machine")
	require.Eventually(t, func() bool { s := sum(t, url); return len(s.Nodes) == 3 && len(s.Missing) == 0 }, 20*time.Second, 50*time.Millisecond)
	cancel()
	for i, err := range wait() {
		if clients[i].node != victim {
			assert.NoError(t, err, "session of another node")
			assert.NoError(t, clients[i].echo(t.Context()))
		} else {
			assert.Error(t, err)
		}
	}
}

// A node that stands still is gone after some seconds; what it has said before has
// arrived once.
func TestStop(t *testing.T) {
	b, url := start(t)
	var clients []*client
	for range 9 {
		clients = append(clients, dial(t, url))
	}
	for _, c := range clients {
		require.NoError(t, c.echo(t.Context()))
	}
	victim := b.pick()
	began := time.Now()
	require.NoError(t, victim.cmd.Process.Signal(syscall.SIGSTOP))
	b.takeOut(victim) // as a balancer with a health check does
	for _, c := range clients {
		if c.node == victim.name {
			<-c.Done()
			assert.ErrorContains(t, c.Err(), "item-not-found")
		}
	}
	t.Log("told after", time.Since(began))
	assert.Less(t, time.Since(began), 20*time.Second, "4 seconds, on an idle machine")
	for _, c := range clients {
		if c.node != victim.name {
			assert.NoError(t, c.echo(t.Context()))
		}
	}
	victim.cmd.Process.Kill()
}

// What is pushed at any node comes to all.
func TestPush(t *testing.T) {
	_, url := start(t)
	var clients []*client
	for range 6 {
		clients = append(clients, dial(t, url))
		require.NoError(t, clients[len(clients)-1].echo(t.Context()))
	}
	resp, err := http.Post(url+"/say", "", strings.NewReader("<hello> & goodbye"))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	for _, c := range clients {
		el, err := c.Recv(t.Context())
		require.NoError(t, err)
		assert.Contains(t, string(el), `{"text":"\u003chello\u003e \u0026 goodbye"}`)
	}
	resp, err = http.Get(url)
	require.NoError(t, err)
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	assert.Contains(t, string(page), "Kill ")
}

func TestAddrTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	assert.Error(t, run(t.Context(), l.Addr().String(), 1, false))
	assert.ErrorContains(t, runNode(t.Context(), "no address", nil, false), "Listen", fmt.Sprint(l.Addr()))
}
