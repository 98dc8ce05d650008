package main

import (
	"flag"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshtest"
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

// Nodes that have none of the sessions are killed, and stand still, while a fifth of the
// requests is hit by a fault: no session ends, and each element arrives once, in order.
//
//	go test -run TestFronts -payloads 1000000 -timeout 2h .
func TestFronts(t *testing.T) {
	b, _ := start(t)
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
	killed, stopped := 0, 0
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
		select {
		case <-time.After(pause + 300*time.Millisecond):
		case <-done:
			running = false
		}
	}
	t.Logf("%d elements each way, %d faults, %d nodes killed, %d stopped", sent.Load(), hit.Load(), killed, stopped)
}
