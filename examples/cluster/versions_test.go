package main

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two programs side by side, of which one writes states in a later version: all nodes are
// replaced, one after the other, by the new program, and then one by the old one again. Sessions
// move from old to old, from old to new, and from new to new. The old program refuses those of
// the new one, which find another place. None ends, and nothing is lost.
func TestTwoVersions(t *testing.T) {
	old, err := os.Executable()
	require.NoError(t, err)
	later := filepath.Join(t.TempDir(), "later")
	out, err := exec.Command("go", "build", "-tags", "boshnext", "-o", later, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)

	var news [3]atomic.Bool // which places have the new program
	b := prepare(3, false)
	b.path = func(i int) string {
		if news[i].Load() {
			return later
		}
		return old
	}
	require.NoError(t, b.start(3))
	t.Cleanup(b.close)
	srv := httptest.NewServer(b.handler())
	t.Cleanup(srv.Close)
	require.Eventually(t, func() bool { return len(sum(t, srv.URL).Nodes) == 3 }, 20*time.Second, 50*time.Millisecond)
	var clients []*client
	for range 12 {
		clients = append(clients, dial(t, srv.URL))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wait := runAll(ctx, t, clients)
	at := func(place int) *process {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.nodes {
			if p.place == place {
				return p
			}
		}
		return nil
	}
	sessions := func() (all, old int64) {
		s := sum(t, srv.URL)
		for _, n := range s.Nodes {
			for place := range news {
				if p := at(place); p != nil && p.name == n.Node && !news[place].Load() {
					old += n.Sessions
				}
			}
		}
		return s.Total.Sessions, old
	}
	replace := func(place int, isNew bool) {
		news[place].Store(isNew)
		began := time.Now()
		require.NoError(t, b.replace(at(place)))
		t.Logf("place %d, new: %v: replaced within %v", place, isNew, time.Since(began))
		require.Eventually(t, func() bool { all, _ := sessions(); return all == int64(len(clients)) }, 10*time.Second, 50*time.Millisecond)
	}
	replace(0, true)
	replace(1, false)
	replace(1, true)
	replace(2, true)
	_, there := sessions()
	assert.Zero(t, there, "all are at the new program")
	replace(0, false)
	replace(1, true) // its first successor would be the old one, which has no session
	_, there = sessions()
	assert.Zero(t, there, "the old program cannot read the state")
	cancel()
	for i, err := range wait() {
		assert.NoError(t, err)
		assert.NoError(t, clients[i].echo(t.Context()))
	}
}
