package main

import (
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// drained shuts down like the program, without its HTTP. It returns how long it took.
func (r *rig) drained(drain time.Duration) (untold int, took time.Duration) {
	r.t.Helper()
	start := time.Now()
	untold, err := (&web{proxy: r.proxy}).shutdown(drain)
	require.NoError(r.t, err)
	return untold, time.Since(start)
}

// A restart takes as long as the living clients need. The stanzas of all others go back
// before the process ends.
func TestDrain(t *testing.T) {
	for name, test := range map[string]struct {
		vanished time.Duration // that the client has been away for; negative for one that comes back so much later
		drain    time.Duration
		told     bool
		took     time.Duration // at the most
	}{
		"long gone":                {20 * time.Second, 20 * time.Second, false, 100 * time.Millisecond},
		"gone for a moment":        {2 * time.Second, 20 * time.Second, false, 4100 * time.Millisecond},
		"coming back":              {-3 * time.Second, 20 * time.Second, true, 3100 * time.Millisecond},
		"coming back, short drain": {-3 * time.Second, 4 * time.Second, false, 2 * time.Second},
		"gone, no drain":           {time.Second, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				living, s1 := r.bound()
				c, s2 := r.bound(func(cfg *boshtest.Config) { cfg.Manual = true })
				for i := range 3 {
					s2.write(fmt.Sprintf("<message id='%d' from='a'/>", i))
				}
				time.Sleep(max(test.vanished, 0))
				synctest.Wait()
				returned := make(chan string, 1)
				go func() { s1.pong(""); s1.farewell() }()
				go func() { returned <- s2.pong("") + s2.farewell() }()
				if test.vanished < 0 {
					time.AfterFunc(-test.vanished, c.Wake)
				}
				untold, took := r.drained(test.drain)
				assert.LessOrEqual(t, took, test.took)
				<-living.Done()
				assert.ErrorIs(t, living.Err(), boshclient.SystemShutdown)
				got := ids(<-returned)
				if test.told {
					assert.Zero(t, untold)
					assert.Empty(t, got)
					r.recv(c, "<success")
					r.recv(c, "<jid>")
					for i := range 3 {
						r.recv(c, fmt.Sprintf("id='%d'", i))
					}
				} else {
					assert.Equal(t, 1, untold)
					assert.Equal(t, []string{"0", "1", "2"}, got)
				}
				c.Close()
			})
		})
	}
}

// With -linger sessions go on until they have ended or the time is over, and new ones are
// refused. The rest is then told as without it.
func TestLinger(t *testing.T) {
	for name, end := range map[string]func(c *boshtest.Client){
		"its client ends it": func(c *boshtest.Client) { c.Close() },
		"the time is over":   nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				c, s := r.bound()
				start := time.Now()
				w := &web{proxy: r.proxy}
				lingered := make(chan error, 1)
				go func() { lingered <- w.linger(time.Hour) }()
				synctest.Wait()
				assert.True(t, r.proxy.bosh.Draining())
				_, err := boshtest.Dial(t.Context(), boshtest.Config{To: "example.org", Transport: r.front, XMPP: true})
				assert.ErrorIs(t, err, boshclient.SystemShutdown)
				for range 59 {
					require.NoError(t, c.Send(t.Context(), "<message id='x'/>"))
					s.expect("<message xmlns='jabber:client' id='x'/>")
					s.write("<message id='y' from='a'/>")
					r.recv(c, "id='y'")
					time.Sleep(time.Minute - time.Second)
				}
				require.Empty(t, lingered)
				if end != nil {
					go io.Copy(io.Discard, s)
					end(c)
					require.NoError(t, <-lingered)
					assert.Less(t, time.Since(start), time.Hour)
				} else {
					go func() { s.pong(""); s.farewell() }()
					require.NoError(t, <-lingered)
					assert.Equal(t, time.Hour, time.Since(start))
					<-c.Done()
					assert.ErrorIs(t, c.Err(), boshclient.SystemShutdown)
				}
				_, took := r.drained(20 * time.Second)
				assert.LessOrEqual(t, took, leaveLimit)
			}, func(c *config) { c.connector.timeout = 3 * time.Hour })
		})
	}
}

// Nobody who connects is waited for.
func TestDrainConnecting(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		refused := make(chan struct{})
		go func() {
			defer close(refused)
			_, err := boshtest.Dial(t.Context(), boshtest.Config{To: "example.org", Transport: r.front, XMPP: true})
			assert.ErrorIs(t, err, boshclient.SystemShutdown)
		}()
		synctest.Wait()
		_, took := r.drained(20 * time.Second)
		assert.Zero(t, took)
		<-refused
	}, func(c *config) { c.connector.dial = (&network{}).dial })
}

// A server is waited for until it ends its side, but not for ever, and all at the same
// time. A connection without a stream does not count.
func TestDrainServers(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for range 5 {
			c, s := r.bound()
			defer c.Close()
			defer s.Close()
		}
		_, took := r.drained(20 * time.Second)
		assert.LessOrEqual(t, took, leaveLimit)
		assert.Greater(t, took, time.Second)
	})
	inBubble(t, func(t *testing.T, r *rig) {
		client, server := net.Pipe()
		defer server.Close()
		require.True(t, r.proxy.begin())
		send(t.Context(), r.proxy.ended, &errand{conn: client, over: r.proxy.over})
		start := time.Now()
		_, err := (&web{proxy: r.proxy}).shutdown(20 * time.Second)
		require.NoError(t, err)
		assert.Zero(t, time.Since(start))
	})
}

// However short the time is, servers have theirs.
func TestSessionLimit(t *testing.T) {
	for drain, want := range map[time.Duration]time.Duration{
		0: 0, time.Second: 500 * time.Millisecond, 20 * time.Second: 20*time.Second - 10*time.Second, time.Minute: time.Minute - leaveLimit,
	} {
		assert.Equal(t, want, sessionLimit(drain))
	}
}
