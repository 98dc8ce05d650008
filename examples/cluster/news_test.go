package main

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var newsOf = regexp.MustCompile(`"text":"news (\d+)"`)

// What is pushed while all nodes are restarted comes to each client, once.
func TestPushRestart(t *testing.T) {
	_, url := start(t)
	const clients = 6
	var mu sync.Mutex // guards got
	got := make([]map[int]int, clients)
	stop := make([]func(), clients)
	for i := range clients {
		c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: url + "/http-bind", To: "x", Acks: i%2 == 0, Backoff: 20 * time.Millisecond, GiveUp: time.Minute})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		stop[i] = func() { cancel(); <-done; c.Close() }
		got[i] = make(map[int]int)
		go func() {
			defer close(done)
			for {
				el, err := c.Recv(ctx)
				if err != nil {
					assert.ErrorIs(t, err, context.Canceled)
					return
				}
				if m := newsOf.FindSubmatch(el); m != nil {
					n, _ := strconv.Atoi(string(m[1]))
					mu.Lock()
					got[i][n]++
					mu.Unlock()
				}
			}
		}()
	}
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		r, _ := http.NewRequest("POST", url+"/restart", nil)
		r.Header.Set("Cluster", "restart")
		if resp, err := http.DefaultClient.Do(r); assert.NoError(t, err) {
			resp.Body.Close()
		}
	}()
	said := map[int]bool{}
	for n, over := 0, false; !over; n++ {
		select {
		case <-restarted:
			over = true
		case <-time.After(50 * time.Millisecond):
		}
		resp, err := http.Post(url+"/say", "", strings.NewReader("news "+strconv.Itoa(n)))
		require.NoError(t, err)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK { // or its node has left before it had it, perhaps
			said[n] = true
		}
	}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		for i := range clients {
			for n := range said {
				if got[i][n] == 0 {
					return false
				}
			}
		}
		return true
	}, 20*time.Second, 20*time.Millisecond, "some are lost")
	for i := range clients {
		stop[i]()
		for n := range said {
			assert.Equal(t, 1, got[i][n], "client %d, news %d", i, n)
		}
	}
	t.Logf("%d news", len(said))
	assert.Greater(t, len(said), 10)
}
