package boshtest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProxy(t *testing.T) {
	for fault, wantSeen := range map[Fault]int{Pass: 2, CutBefore: 1, CutAfter: 2, CutMiddle: 2, CutHeld: 2, Delay: 2} {
		t.Run(strings.ReplaceAll(fault.String(), " ", "-"), func(t *testing.T) {
			var seen atomic.Int32
			gone := make(chan bool, 1)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if seen.Add(1) == 2 && fault == CutHeld {
					io.Copy(io.Discard, r.Body) // the server looks no further before
					<-r.Context().Done()
					gone <- true
					return
				}
				echo(w, r)
			}))
			defer srv.Close()
			p, err := NewProxy(strings.TrimPrefix(srv.URL, "http://"), ProxyFaults{
				Rates: map[Fault]float64{fault: 1}, Spare: 1, Latency: time.Millisecond,
			})
			require.NoError(t, err)
			defer p.Close()
			rt := &http.Transport{}
			defer rt.CloseIdleConnections()
			got, err := post(t, rt, t.Context(), "http://"+p.Addr(), "spared")
			require.NoError(t, err)
			assert.Equal(t, "spared", got)
			text := strings.Repeat("x", 10000)
			got, err = post(t, rt, t.Context(), "http://"+p.Addr(), text)
			if fault == Pass || fault == Delay {
				assert.NoError(t, err)
				assert.True(t, text == got, "%d bytes of %d", len(got), len(text))
			} else {
				assert.Error(t, err)
			}
			if fault == CutHeld {
				assert.True(t, <-gone)
			}
			assert.EqualValues(t, wantSeen, seen.Load())
			if fault != Pass {
				assert.Equal(t, map[Fault]int{fault: 1}, p.Stats().Hits)
			}
			assert.Equal(t, 2, p.Stats().Requests)
		})
	}
}

func TestProxyWithoutTarget(t *testing.T) {
	p, err := NewProxy("127.0.0.1:1", ProxyFaults{})
	require.NoError(t, err)
	_, err = post(t, &http.Transport{}, t.Context(), "http://"+p.Addr(), "x")
	assert.Error(t, err)
	require.NoError(t, p.Close())
}

// Close does not wait for a silent target: here for its name, since a test can delay that.
func TestProxyCloseWhileDialling(t *testing.T) {
	dialling := make(chan struct{}, 10)
	was := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialling <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	defer func() { net.DefaultResolver = was }()
	p, err := NewProxy("dark.test:80", ProxyFaults{})
	require.NoError(t, err)
	client, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	defer client.Close()
	<-dialling
	began := time.Now()
	require.NoError(t, p.Close())
	assert.Less(t, time.Since(began), 2*time.Second)
	_, err = client.Read(make([]byte, 1))
	assert.Error(t, err)
}
