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
		assert.Equal(t, map[string]int64{"remote-connection-failed": 2, "host-unknown": 1, "improper-addressing": 1}, r.proxy.count.refused.get())
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
		r.proxy.bridges.Wait()
		assert.Empty(t, r.proxy.clients)
	}, func(c *config) { c.perClient = 2 })
}

// A connection whose stream never comes is closed.
func TestErrand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := 0
		ctx := send(t.Context(), nopConn{}, func() { left++ })
		_, ok := receive(ctx)
		require.True(t, ok)
		time.Sleep(2 * errandTimeout)
		assert.Zero(t, left)

		client, server := net.Pipe()
		ctx = send(t.Context(), client, func() { left++ })
		time.Sleep(errandTimeout)
		synctest.Wait()
		assert.Equal(t, 1, left)
		_, err := server.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		_, ok = receive(ctx)
		assert.False(t, ok)
		_, ok = receive(context.Background())
		assert.False(t, ok)
	})
}

type nopConn struct{ net.Conn }

func TestMetrics(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		c, s := r.loggedIn()
		live, sum := r.proxy.count.sums()
		assert.Equal(t, 1, live)
		assert.Positive(t, sum.Requests)
		assert.Equal(t, 1, sum.Open)
		require.NoError(t, c.Terminate(t.Context()))
		s.pong("")
		s.farewell()
		r.proxy.bridges.Wait()
		synctest.Wait()
		live, after := r.proxy.count.sums()
		assert.Zero(t, live)
		assert.Equal(t, sum.Requests+1, after.Requests)
		assert.Equal(t, sum.PayloadsOut, after.PayloadsOut)
		assert.Equal(t, int64(1), r.proxy.count.opened.Load())
	}, withOptions(bosh.Options{}))
}
