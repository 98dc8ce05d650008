package boshclient_test

import (
	"context"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the faults")

// over returns a client whose requests go through faults to a handler.
func over(h http.Handler, f *boshtest.Faults) *http.Client {
	if f == nil {
		return &http.Client{Transport: boshtest.InMemory(h)}
	}
	f.Transport = boshtest.InMemory(h)
	return &http.Client{Transport: f}
}

// dial opens a session in a bubble.
func dial(t *testing.T, h http.Handler, f *boshtest.Faults, o boshclient.Options) *boshclient.Conn {
	t.Helper()
	o.HTTPClient = over(h, f)
	c, err := boshclient.Dial(t.Context(), "http://example.com/", &o)
	require.NoError(t, err)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

func newHandler(t *testing.T, o bosh.Options) *bosh.Handler {
	o.Logger = quiet
	h := bosh.New(o)
	t.Cleanup(func() { h.Close() })
	return h
}

// day is longer than anything takes in a bubble.
func day(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// TestExactlyOnce has client and server send numbers at their own pace over
// connections that break in all the ways there are.
func TestExactlyOnce(t *testing.T) {
	t.Logf("-seed %d", *seed)
	for name, test := range map[string]struct {
		n     int
		o     boshclient.Options
		rates map[boshtest.Fault]float64
	}{
		"cut":     {10_000, boshclient.Options{}, boshtest.Evenly(0.16, cuts...)},
		"all":     {10_000, boshclient.Options{}, boshtest.Evenly(0.3)},
		"no acks": {3000, boshclient.Options{NoAcks: true}, boshtest.Evenly(0.3)},
		"keys":    {3000, boshclient.Options{Keys: 10}, boshtest.Evenly(0.3)},
		"two":     {3000, boshclient.Options{Hold: 2}, boshtest.Evenly(0.3)},
		"polling": {1000, boshclient.Options{Hold: -1}, boshtest.Evenly(0.2)},
		"small":   {3000, boshclient.Options{ReadBuffer: -1, WriteBuffer: 1, Batch: 100}, boshtest.Evenly(0.2)},
		"request": {3000, boshclient.Options{}, boshtest.Evenly(0.3, boshtest.CutRequest)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				exactlyOnce(t, test.n, test.o, &boshtest.Faults{Seed: *seed, Rates: test.rates})
			})
		})
	}
}

var cuts = []boshtest.Fault{boshtest.CutBefore, boshtest.CutRequest, boshtest.CutAfter, boshtest.CutMiddle, boshtest.CutHeld}

// The same over sockets, with both versions of HTTP: through a proxy that cuts
// connections, and by faults of the client's.
func TestExactlyOnceOverSockets(t *testing.T) {
	t.Logf("-seed %d", *seed)
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			h := newHandler(t, bosh.Options{Framing: bosh.Elements, MaxRepeats: 100, Serve: func(s *bosh.Stream) { io.Copy(s, s) }})
			srv := httptest.NewUnstartedServer(h)
			o := boshclient.Options{Framing: boshclient.Elements, Backoff: time.Millisecond}
			at := ""
			if version == "HTTP/2.0" {
				srv.EnableHTTP2 = true
				srv.StartTLS()
				at = srv.URL
				o.HTTPClient = &http.Client{Transport: &boshtest.Faults{Transport: srv.Client().Transport, Seed: *seed, Rates: boshtest.Evenly(0.3)}}
			} else {
				srv.Start()
				p, err := boshtest.NewProxy(strings.TrimPrefix(srv.URL, "http://"), boshtest.ProxyFaults{Seed: *seed, Spare: 1,
					Latency: 2 * time.Millisecond, Rates: boshtest.Evenly(0.1, cuts...)})
				require.NoError(t, err)
				defer p.Close()
				at = "http://" + p.Addr()
				o.HTTPClient = &http.Client{Transport: &http.Transport{}}
			}
			defer srv.Close()
			c, err := boshclient.Dial(t.Context(), at, &o)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			const n = 1000
			sent := make(chan error, 1)
			go func() {
				var err error
				for i := 0; i < n && err == nil; i++ {
					err = c.WriteElement(ctx, boshtest.Numbered(i, i%50))
				}
				sent <- err
			}()
			var back boshtest.Sequence
			for back.Count() < n {
				element, err := c.ReadElement(ctx)
				require.NoError(t, err, "after %d: %+v", back.Count(), c.Stats())
				number, _ := boshtest.Number(element)
				back.Got(number)
			}
			require.NoError(t, <-sent)
			require.NoError(t, c.Terminate(ctx))
			require.NoError(t, back.Check(n))
			c.Close()
			o.HTTPClient.CloseIdleConnections()
		})
	}
}

func exactlyOnce(t *testing.T, n int, o boshclient.Options, f *boshtest.Faults) {
	var up, down boshtest.Sequence
	served := make(chan error, 1)
	h := newHandler(t, bosh.Options{Framing: bosh.Elements, Hold: 2, MaxRepeats: 30, Serve: func(s *bosh.Stream) {
		go func() {
			for i := range n {
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				if s.WriteElement(s.Context(), boshtest.Numbered(i, i%100)) != nil {
					return
				}
			}
		}()
		for {
			element, err := s.ReadElement(context.Background())
			if err != nil {
				served <- err
				return
			}
			number, _ := boshtest.Number(element)
			up.Got(number)
		}
	}})
	o.Framing = boshclient.Elements
	c := dial(t, h, f, o)
	ctx := day(t)
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < n && err == nil; i++ {
			time.Sleep(time.Duration(i%5) * time.Millisecond)
			err = c.WriteElement(ctx, boshtest.Numbered(i, i%50))
		}
		sent <- err
	}()
	for down.Count() < n {
		element, err := c.ReadElement(ctx)
		require.NoError(t, err, "after %d: %+v", down.Count(), c.Stats())
		number, _ := boshtest.Number(element)
		down.Got(number)
	}
	require.NoError(t, <-sent)
	require.NoError(t, c.Terminate(ctx))
	assert.ErrorIs(t, <-served, io.EOF)
	assert.NoError(t, up.Check(n))
	assert.NoError(t, down.Check(n))
	st := f.Stats()
	t.Logf("%+v %+v", c.Stats(), st)
	assert.Zero(t, st.Differing)
	assert.NotZero(t, st.Hit())
}
