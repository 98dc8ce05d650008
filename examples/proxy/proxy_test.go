package main

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// refusal asks for a session that must be refused.
func (r *rig) refusal(to, condition string) {
	r.t.Helper()
	body := "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' ver='1.11' hold='1' wait='60' to='" + to + "'/>"
	assert.Equal(r.t, condition, boshtest.Exchange(r.t, r.front, body).Attr("condition"))
}

func TestRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.servers.Close()
		r.refusal("example.org", "remote-connection-failed")
		r.refusal("example.com", "host-unknown")
		r.refusal("", "improper-addressing")
		r.refusal("example.org", "remote-connection-failed")
		assert.Equal(t, map[string]int64{"remote-connection-failed": 2, "host-unknown": 1, "improper-addressing": 1}, r.proxy.bosh.Stats().Refused)
	}, func(c *config) { c.connector.domains = map[string]bool{"example.org": true} })
}

func TestSessionsPerClient(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		a, s1 := r.dial()
		b, s2 := r.dial()
		r.refusal("example.org", "policy-violation")
		require.NoError(t, a.Terminate(t.Context()))
		s1.farewell()
		synctest.Wait()
		c, s3 := r.dial()
		r.refusal("example.org", "policy-violation")
		for client, server := range map[*boshtest.Client]*fakeServer{b: s2, c: s3} {
			require.NoError(t, client.Terminate(t.Context()))
			server.farewell()
		}
	}, withOptions(bosh.Options{MaxPerAddr: 2}))
}

// A connection whose stream never comes is closed.
func TestErrand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := 0
		ended, end := context.WithCancel(t.Context())
		client, server := net.Pipe()
		defer server.Close()
		e, ok := receive(send(t.Context(), ended, &errand{conn: client, over: func() { over++ }}))
		require.True(t, ok)
		time.Sleep(2 * errandTimeout)
		go e.conn.Write([]byte("x"))
		_, err := server.Read(make([]byte, 1))
		require.NoError(t, err)
		client.Close()
		assert.Zero(t, over)

		client, server = net.Pipe()
		ctx := send(t.Context(), ended, &errand{conn: client, over: func() { over++ }})
		time.Sleep(errandTimeout)
		synctest.Wait()
		_, err = server.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, 1, over)
		_, ok = receive(ctx)
		assert.False(t, ok)
		_, ok = receive(context.Background())
		assert.False(t, ok)

		client, server = net.Pipe()
		ctx = send(t.Context(), ended, &errand{conn: client, over: func() { over++ }})
		end()
		_, err = server.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		synctest.Wait()
		assert.Equal(t, 2, over)
		_, ok = receive(ctx)
		assert.False(t, ok)
	})
}

// Nobody is connected for longer than the client waits for an answer.
func TestConnectWait(t *testing.T) {
	for wait, want := range map[string]time.Duration{"2": 2 * time.Second, "60": 10 * time.Second, "0": 10 * time.Second} {
		for _, mute := range []bool{false, true} {
			inBubble(t, func(t *testing.T, r *rig) {
				start := time.Now()
				body := "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' ver='1.11' hold='1' wait='" + wait + "' to='example.org'/>"
				assert.Equal(t, "remote-connection-failed", boshtest.Exchange(t, r.front, body).Attr("condition"))
				assert.Equal(t, want, time.Since(start))
			}, func(c *config) {
				n := &network{}
				if mute {
					n.took, n.mute = map[string]time.Duration{"127.0.0.1:5222": 0}, map[string]bool{"127.0.0.1:5222": true}
				}
				c.connector.dial, c.connector.fixed.tls = n.dial, startTLS
			})
		}
	}
}
