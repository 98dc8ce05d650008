package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
)

// A network has hosts that are dark, which is not even to refuse a connection,
// others that refuse one, and others that accept one after a while.
type network struct {
	took map[string]time.Duration // by host:port; the others are dark
	mute map[string]bool          // these accept, and then say nothing

	mu     sync.Mutex
	dials  []string
	open   int // connections
	server sync.WaitGroup
}

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, addr)
	took, ok := n.took[addr]
	n.mu.Unlock()
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(took.Abs()):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if took < 0 {
		return nil, errRefusedConn
	}
	client, server := net.Pipe()
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	n.server.Go(func() {
		defer server.Close()
		if !n.mute[addr] {
			greet(server, "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		}
		io.Copy(io.Discard, server)
		n.mu.Lock()
		n.open--
		n.mu.Unlock()
	})
	return client, nil
}

var errRefusedConn = errors.New("connection refused")

// A server that is down costs its clients no more than a moment, whether it
// refuses connections, takes no notice of them, or says nothing.
func TestDarkServers(t *testing.T) {
	const answered = bosh.RemoteStreamError
	v6, v4 := "[2606:4700::1]:5222", "8.8.8.8:5222"
	other, third := "8.8.4.4:5222", "1.1.1.1:5222"
	for name, test := range map[string]struct {
		network *network
		hosts   []string // addresses of one host each
		wait    time.Duration
		want    bosh.Condition
		after   time.Duration
	}{
		"well":                    {&network{took: map[string]time.Duration{v4: 100 * time.Millisecond}}, []string{"8.8.8.8"}, 0, answered, 100 * time.Millisecond},
		"a dark address":          {&network{took: map[string]time.Duration{v4: 0}}, []string{"2606:4700::1 8.8.8.8"}, 0, answered, 250 * time.Millisecond},
		"a dark server":           {&network{took: map[string]time.Duration{other: 0}}, []string{"8.8.8.8", "8.8.4.4"}, 0, answered, 500 * time.Millisecond},
		"two dark servers":        {&network{took: map[string]time.Duration{third: 0}}, []string{"8.8.8.8", "8.8.4.4", "1.1.1.1"}, 0, answered, time.Second},
		"it refuses":              {&network{took: map[string]time.Duration{v4: -10 * time.Millisecond, other: 0}}, []string{"8.8.8.8", "8.8.4.4"}, 0, answered, 10 * time.Millisecond},
		"slow, but first":         {&network{took: map[string]time.Duration{v4: 400 * time.Millisecond, other: 0}}, []string{"8.8.8.8", "8.8.4.4"}, 0, answered, 400 * time.Millisecond},
		"slower than the next":    {&network{took: map[string]time.Duration{v4: 5 * time.Second, other: 0}}, []string{"8.8.8.8", "8.8.4.4"}, 0, answered, 500 * time.Millisecond},
		"mute":                    {&network{took: map[string]time.Duration{v4: 0, other: 0}, mute: map[string]bool{v4: true}}, []string{"8.8.8.8", "8.8.4.4"}, 0, answered, 5 * time.Second},
		"all dark":                {&network{}, []string{"2606:4700::1 8.8.8.8", "8.8.4.4"}, 0, bosh.RemoteConnectionFailed, 10 * time.Second},
		"all mute":                {&network{took: map[string]time.Duration{v6: 0, v4: 0}, mute: map[string]bool{v4: true, v6: true}}, []string{"2606:4700::1 8.8.8.8"}, 0, bosh.RemoteConnectionFailed, 10 * time.Second},
		"all dark, a short wait":  {&network{}, []string{"8.8.8.8", "8.8.4.4"}, 2 * time.Second, bosh.RemoteConnectionFailed, 2 * time.Second},
		"mute, a short wait":      {&network{took: map[string]time.Duration{v4: 0}, mute: map[string]bool{v4: true}}, []string{"8.8.8.8"}, 2 * time.Second, bosh.RemoteConnectionFailed, 2 * time.Second},
		"one dark, a short wait":  {&network{took: map[string]time.Duration{other: 0}}, []string{"8.8.8.8", "8.8.4.4"}, time.Second, answered, time.Second / 3},
		"all dark, a longer wait": {&network{}, []string{"8.8.8.8"}, time.Minute, bosh.RemoteConnectionFailed, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				world := names{srv: map[string][]*net.SRV{}, hosts: map[string][]string{}}
				for i, addrs := range test.hosts {
					host := fmt.Sprintf("%d.example", i)
					world.hosts[host] = strings.Fields(addrs)
					world.srv["xmpp-client.example.org"] = append(world.srv["xmpp-client.example.org"], &net.SRV{Target: host + ".", Port: 5222, Priority: uint16(i)})
				}
				c := &connector{resolver: world, dial: test.network.dial, timeout: 10 * time.Second}
				q := asked(t, "example.org")
				q.wait = test.wait
				start := time.Now()
				_, err := c.connect(t.Context(), q)
				require.ErrorIs(t, err, &bosh.Error{Condition: test.want})
				assert.Equal(t, test.after, time.Since(start))
				test.network.server.Wait()
				assert.Zero(t, test.network.open, "a connection is left open")
			})
		})
	}
}

// One request has the proxy connect to a few addresses, whatever the records of
// its domain are.
func TestFewDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := names{srv: map[string][]*net.SRV{}, hosts: map[string][]string{}}
		for i := range 50 {
			host := fmt.Sprintf("%d.example", i)
			for j := range 30 {
				world.hosts[host] = append(world.hosts[host], fmt.Sprintf("8.8.%d.%d", i, j))
			}
			world.srv["xmpp-client.example.org"] = append(world.srv["xmpp-client.example.org"], &net.SRV{Target: host + ".", Port: 5222, Priority: uint16(i)})
		}
		for name, took := range map[string]time.Duration{"dark": time.Hour, "closed": -1, "mute": 0} {
			n := &network{took: map[string]time.Duration{}, mute: map[string]bool{}}
			for i := range 50 {
				for j := range 30 {
					addr := fmt.Sprintf("8.8.%d.%d:5222", i, j)
					n.took[addr], n.mute[addr] = took, true
				}
			}
			c := &connector{resolver: world, dial: n.dial, timeout: time.Minute}
			_, err := c.connect(t.Context(), asked(t, "example.org"))
			require.ErrorIs(t, err, &bosh.Error{Condition: bosh.RemoteConnectionFailed}, name)
			assert.LessOrEqual(t, len(n.dials), maxDials, name)
			assert.GreaterOrEqual(t, len(n.dials), 8, name)
			n.server.Wait()
		}
	})
}

// A client that leaves is not connected any more.
func TestConnectCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		c := &connector{fixed: &endpoint{host: "127.0.0.1", port: 5222, tls: startTLS, trusted: true}, resolver: names{}, dial: n.dial, timeout: time.Minute}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := c.connect(ctx, asked(t, "example.org"))
		require.ErrorIs(t, err, &bosh.Error{Condition: bosh.RemoteConnectionFailed})
		assert.Equal(t, time.Second, time.Since(start))
	})
}

// A connection that comes when another has won is closed.
func TestRaceLosers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make([]net.Conn, 3)
		start := time.Now()
		won, errs := race(t.Context(), 3, time.Second, func(_ context.Context, i int) (net.Conn, error) {
			time.Sleep(time.Duration(8-4*i) * time.Second)
			var conn net.Conn
			conn, ends[i] = net.Pipe()
			return conn, nil
		})
		assert.Equal(t, 2, won.i)
		assert.Empty(t, errs)
		assert.Equal(t, 8*time.Second, time.Since(start), "it has waited for them")
		for i, end := range ends {
			end.SetReadDeadline(time.Now())
			_, err := end.Read(make([]byte, 1))
			assert.Equal(t, i != 2, err == io.EOF, "%d: %v", i, err)
			end.Close()
		}
		won.conn.Close()
	})
}

func TestInterleave(t *testing.T) {
	var got []string
	var addrs []netip.Addr
	for _, a := range strings.Fields("2001::1 2001::2 2001::3 10.0.0.1 10.0.0.2") {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	for _, a := range interleave(addrs) {
		got = append(got, a.String())
	}
	assert.Equal(t, "2001::1 10.0.0.1 2001::2 10.0.0.2 2001::3", strings.Join(got, " "))
	assert.Empty(t, interleave(nil))
}
