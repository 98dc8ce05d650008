package main

import (
	"flag"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	rollClients = flag.Int("rollclients", 30, "clients of TestRollingRestart")
	rollRounds  = flag.Int("rollrounds", 1, "how often TestRollingRestart restarts all nodes")
	rollPause   = flag.Duration("rollpause", 500*time.Millisecond, "how long a client of TestRollingRestart waits after an echo")
)

// All nodes are restarted, one after the other, under load of clients of several kinds: no
// session ends, each element comes back once, in order, and none is very late.
//
//	go test -run TestRollingRestart -rollclients 600 -rollrounds 10 -rollpause 3s -timeout 1h -v .
func TestRollingRestart(t *testing.T) {
	for name, direct := range map[string]bool{"net/http": false, "direct": true} {
		t.Run(name, func(t *testing.T) { rollingRestart(t, direct) })
	}
}

func rollingRestart(t *testing.T, direct bool) {
	b, url := startWith(t, direct)
	end := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var waits []time.Duration
	for i := range *rollClients {
		cfg := boshtest.Config{URL: url + "/http-bind", To: "x", Acks: i%2 == 0, Backoff: 20 * time.Millisecond, GiveUp: time.Minute}
		if i%3 == 1 {
			cfg.Keys = 50
		}
		if i%5 == 2 {
			cfg.Hold = -1 // it polls
		}
		c, err := boshtest.Dial(t.Context(), cfg)
		require.NoError(t, err)
		wg.Go(func() {
			defer c.Close()
			var seq boshtest.Sequence
			for n := 0; ; n++ {
				select {
				case <-end:
					assert.NoError(t, seq.Check(n))
					return
				case <-time.After(*rollPause):
				}
				if cfg.Hold >= 0 && i%7 == 3 && n%10 == 9 {
					assert.NoError(t, c.Pause(t.Context(), 5*time.Second))
				}
				began := time.Now()
				if !assert.NoError(t, c.Send(t.Context(), string(boshtest.Numbered(n, 250))), "client %d", i) {
					return
				}
				for heard := false; !heard; {
					el, err := c.Recv(t.Context())
					if !assert.NoError(t, err, "client %d", i) {
						return
					}
					var k int
					if k, heard = boshtest.Number(el); heard {
						seq.Got(k)
					}
				}
				if cfg.Hold >= 0 { // or it is as late as it polls
					mu.Lock()
					waits = append(waits, time.Since(began))
					mu.Unlock()
				}
			}
		})
	}
	for range *rollRounds {
		r, _ := http.NewRequest("POST", url+"/restart", nil)
		r.Header.Set("Cluster", "restart")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	time.Sleep(time.Second)
	close(end)
	wg.Wait()
	require.NotEmpty(t, waits)
	slices.Sort(waits)
	t.Logf("%d echoes: half within %v, 99 %% within %v, all within %v", len(waits), waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1])
	assert.Less(t, waits[len(waits)-1], 15*time.Second, "half a second, on an idle machine")
	assert.Len(t, b.nodes, 3)
}
