package main

import (
	"flag"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/demo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var payloads = flag.Int("payloads", 6000, "how many elements TestFronts sends, all clients together")

// owned sends the first request to one node, and all others through the balancer.
type owned struct {
	b     *balancer
	owner string
	first sync.Once
}

func (o *owned) RoundTrip(r *http.Request) (*http.Response, error) {
	direct := false
	o.first.Do(func() { direct = true })
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", o.owner
	if direct {
		return transport.RoundTrip(r)
	}
	return o.b.RoundTrip(r)
}

// startRouted returns a balancer with three nodes, and the proxies between each two of
// them, so that the route can be cut. Either node may have opened it.
func startRouted(t *testing.T) (*balancer, [3][]*boshtest.Proxy) {
	listen := []string{demo.FreeAddr(), demo.FreeAddr(), demo.FreeAddr()}
	var routes [3][]*boshtest.Proxy
	to := make([][]string, len(listen))
	for i := range listen {
		for j, addr := range listen {
			if i == j {
				continue
			}
			p, err := boshtest.NewProxy(addr, boshtest.ProxyFaults{})
			require.NoError(t, err)
			t.Cleanup(func() { p.Close() })
			pair := i + j - 1
			routes[pair], to[i] = append(routes[pair], p), append(to[i], p.Addr())
		}
	}
	direct := strconv.FormatBool(os.Getenv("BOSH_ENGINE") == "direct")
	b := &balancer{quit: make(chan struct{}), args: func(i int) []string {
		return []string{"-listen", listen[i], "-routes", strings.Join(to[i], ","), "-direct=" + direct}
	}}
	require.NoError(t, b.start(len(listen)))
	t.Cleanup(b.close)
	srv := httptest.NewServer(b.handler())
	t.Cleanup(srv.Close)
	require.Eventually(t, func() bool { return len(sum(t, srv.URL).Nodes) == 3 }, 20*time.Second, 50*time.Millisecond)
	return b, routes
}

// cut breaks a route again and again for a while.
func cut(route []*boshtest.Proxy, while time.Duration) {
	for end := time.Now().Add(while); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, p := range route {
			p.CutAll()
		}
	}
}

// Nodes that have none of the sessions are killed, and stand still, and routes between
// nodes are cut, while a fifth of the requests is hit by a fault: no session ends, and
// each element arrives once, in order.
//
//	go test -run TestFronts -payloads 1000000 -timeout 2h .
func TestFronts(t *testing.T) {
	b, routes := startRouted(t)
	owner := b.pick()
	const clients, batch = 10, 20
	done := make(chan struct{})
	var wg sync.WaitGroup
	var sent, hit atomic.Int64
	for i := range clients {
		rt := &owned{b: b, owner: owner.addr}
		f := &boshtest.Faults{Transport: rt, Seed: uint64(i), Rates: boshtest.Evenly(0.2)}
		c, err := boshtest.Dial(t.Context(), boshtest.Config{
			URL: "http://" + owner.addr + "/http-bind", To: "x", Transport: rt, Fault: f, Acks: i%2 == 0,
			Backoff: 20 * time.Millisecond, GiveUp: 10 * time.Minute, AnswerTimeout: 90 * time.Second,
		})
		require.NoError(t, err)
		defer c.Close()
		wg.Go(func() {
			var seq boshtest.Sequence
			n := 0
			for n < *payloads/clients {
				var els []string
				for range batch {
					els = append(els, string(boshtest.Numbered(n, 50)))
					n++
				}
				if !assert.NoError(t, c.Send(t.Context(), els...)) {
					return
				}
				for range els {
					el, err := c.Recv(t.Context())
					if !assert.NoError(t, err) {
						return
					}
					k, _ := boshtest.Number(el)
					seq.Got(k)
				}
				sent.Add(batch)
			}
			assert.NoError(t, seq.Check(n))
			s := f.Stats()
			hit.Add(int64(s.Hit()))
		})
	}
	killed, stopped, cuts := 0, 0, 0
	var cutting sync.WaitGroup
	defer cutting.Wait()
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		pause := time.Duration(300+rand.IntN(1200)) * time.Millisecond
		if p := b.pick(); p != nil && p.name != owner.name {
			if killed <= stopped {
				killed++
				b.kill(p.name)
			} else {
				stopped++
				p.cmd.Process.Signal(syscall.SIGSTOP)
				time.AfterFunc(pause, func() { p.cmd.Process.Signal(syscall.SIGCONT) })
			}
		}
		cuts++
		route := routes[rand.IntN(len(routes))]
		cutting.Go(func() { cut(route, time.Duration(rand.Int64N(int64(time.Second)))) })
		select {
		case <-time.After(pause + 300*time.Millisecond):
		case <-done:
			running = false
		}
	}
	t.Logf("%d elements each way, %d faults, %d nodes killed, %d stopped, %d times a route cut", sent.Load(), hit.Load(), killed, stopped, cuts)
}
