package boshtest_test

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the faults")

var quiet = slog.New(slog.DiscardHandler)

// newEcho returns a service that sends each element back after a time.
func newEcho(after time.Duration) *bosh.Handler {
	return bosh.New(bosh.Options{Framing: bosh.Elements, MaxStreams: 4, Hold: 2, Logger: quiet, Serve: func(s *bosh.Stream) {
		defer s.Close()
		ctx := context.Background()
		for {
			element, err := s.ReadElement(ctx)
			if err != nil {
				return
			}
			time.Sleep(after)
			if err := s.WriteElement(ctx, element); err != nil {
				return
			}
		}
	}})
}

func dial(t *testing.T, cfg boshtest.Config) *boshtest.Client {
	t.Helper()
	c, err := boshtest.Dial(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// pings sends n numbers to a service that echoes them, and at most ahead of
// them before their echoes are there.
func pings(t *testing.T, c *boshtest.Client, n, ahead int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	defer cancel()
	var back boshtest.Sequence
	sent := 0
	for back.Count() < n {
		for ; sent < n && sent < back.Count()+ahead; sent++ {
			require.NoError(t, c.Send(ctx, string(boshtest.Numbered(sent, 20))))
		}
		receive(t, ctx, c, &back)
	}
	assert.NoError(t, back.Check(n))
}

// receive takes one number.
func receive(t *testing.T, ctx context.Context, c *boshtest.Client, into *boshtest.Sequence) {
	t.Helper()
	element, err := c.Recv(ctx)
	require.NoError(t, err, "after %d: %+v", into.Count(), c.Stats())
	number, ok := boshtest.Number(element)
	require.True(t, ok, "%s", element)
	into.Got(number)
}

var cuts = []boshtest.Fault{boshtest.CutBefore, boshtest.CutAfter, boshtest.CutMiddle, boshtest.CutHeld}

// TestPingsAreNotLost is the library's main promise: over connections of which
// one in ten is cut, before, during and after the answer, nothing is lost and
// nothing comes twice.
func TestPingsAreNotLost(t *testing.T) {
	t.Logf("-seed %d", *seed)
	// One in ten and more, since a cut while the request is held passes when
	// it is answered at once.
	cut := boshtest.Evenly(0.16, cuts...)
	for name, test := range map[string]struct {
		n     int
		cfg   boshtest.Config
		rates map[boshtest.Fault]float64
		slow  time.Duration // the service
		ahead int
	}{
		"one":  {10_000, boshtest.Config{}, cut, 0, 1},
		"many": {3000, boshtest.Config{}, cut, 0, 10},
		"slow": {10_000, boshtest.Config{}, cut, 30 * time.Millisecond, 1},
		"acks": {3000, boshtest.Config{Acks: true}, cut, time.Millisecond, 3},
		"keys": {3000, boshtest.Config{Keys: 10}, cut, time.Millisecond, 3},
		"two":  {3000, boshtest.Config{Hold: 2}, boshtest.Evenly(0.2), 5 * time.Millisecond, 5},
		"poll": {3000, boshtest.Config{Hold: -1}, cut, 0, 5},
		"all":  {3000, boshtest.Config{Acks: true, Keys: 10}, boshtest.Evenly(0.3), 5 * time.Millisecond, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newEcho(test.slow)
				defer h.Close()
				faults := &boshtest.Faults{Seed: *seed, Rates: test.rates}
				test.cfg.Transport, test.cfg.Fault = boshtest.InMemory(h), faults
				c := dial(t, test.cfg)
				pings(t, c, test.n, test.ahead)
				require.NoError(t, c.Terminate(t.Context()))
				st := faults.Stats()
				t.Logf("%+v %+v", c.Stats(), st)
				assert.Zero(t, st.Differing)
				if test.n >= 10_000 { // enough to be sure
					assert.Greater(t, st.Hit(), st.Requests/10)
				}
			})
		})
	}
}

// TestBothWays has client and service send at their own pace.
func TestBothWays(t *testing.T) {
	t.Logf("-seed %d", *seed)
	synctest.Test(t, func(t *testing.T) {
		const n = 2000
		var up, down boshtest.Sequence
		served := make(chan error, 1)
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Logger: quiet, Serve: func(s *bosh.Stream) {
			ctx := context.Background()
			go func() {
				for i := range n {
					time.Sleep(time.Duration(i%7) * time.Millisecond)
					if s.WriteElement(ctx, boshtest.Numbered(i, i%100)) != nil {
						return
					}
				}
			}()
			for {
				element, err := s.ReadElement(ctx)
				if err != nil {
					served <- err
					return
				}
				number, _ := boshtest.Number(element)
				up.Got(number)
			}
		}})
		defer h.Close()
		faults := &boshtest.Faults{Seed: *seed, Rates: boshtest.Evenly(0.3)}
		c := dial(t, boshtest.Config{Transport: boshtest.InMemory(h), Fault: faults})
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		sent := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < n && err == nil; i++ {
				time.Sleep(time.Duration(i%5) * time.Millisecond)
				err = c.Send(ctx, string(boshtest.Numbered(i, i%50)))
			}
			sent <- err
		}()
		for down.Count() < n {
			receive(t, ctx, c, &down)
		}
		require.NoError(t, <-sent)
		require.NoError(t, c.Terminate(ctx))
		assert.ErrorIs(t, <-served, io.EOF)
		assert.NoError(t, up.Check(n))
		assert.NoError(t, down.Check(n))
		assert.Zero(t, faults.Stats().Differing)
	})
}

// TestEndIsNotLost has the service say its last words and close, many times.
func TestEndIsNotLost(t *testing.T) {
	t.Logf("-seed %d", *seed)
	synctest.Test(t, func(t *testing.T) {
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Logger: quiet, Serve: func(s *bosh.Stream) {
			defer s.Close()
			first, err := s.ReadElement(context.Background())
			if err != nil {
				return
			}
			n, _ := boshtest.Number(first)
			for i := range n {
				if s.WriteElement(context.Background(), boshtest.Numbered(i, 0)) != nil {
					return
				}
				if i%3 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}})
		defer h.Close()
		rt := boshtest.InMemory(h)
		for i := range 300 {
			faults := &boshtest.Faults{Seed: *seed + uint64(i), Rates: boshtest.Evenly(0.4)}
			c := dial(t, boshtest.Config{Transport: rt, Fault: faults, Acks: i%2 == 0})
			n := i % 10
			require.NoError(t, c.Send(t.Context(), string(boshtest.Numbered(n, 0))))
			var got boshtest.Sequence
			for {
				element, err := c.Recv(t.Context())
				if err != nil {
					assert.ErrorIs(t, err, io.EOF, "%d: %+v %+v", i, c.Stats(), faults.Stats())
					break
				}
				number, _ := boshtest.Number(element)
				got.Got(number)
			}
			assert.NoError(t, got.Check(n), "%d: %+v %+v", i, c.Stats(), faults.Stats())
			c.Close()
		}
	})
}

// TestOverHTTP is the same over HTTP/1.1 and HTTP/2.
func TestOverHTTP(t *testing.T) {
	t.Logf("-seed %d", *seed)
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newEcho(time.Millisecond)
				defer h.Close()
				srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
				srv.Protocols.SetHTTP1(version == "HTTP/1.1")
				srv.Protocols.SetUnencryptedHTTP2(version == "HTTP/2.0")
				s := boshtest.Pipe(srv)
				defer s.Close()
				s.Transport.Protocols = srv.Protocols
				faults := &boshtest.Faults{Seed: *seed, Rates: boshtest.Evenly(0.2)}
				c := dial(t, boshtest.Config{URL: s.URL, Transport: s, Fault: faults})
				pings(t, c, 2000, 3)
				require.NoError(t, c.Terminate(t.Context()))
				assert.Zero(t, faults.Stats().Differing)
			})
		})
	}
}

// TestOverSockets is the same over TCP, through a proxy that cuts connections.
func TestOverSockets(t *testing.T) {
	t.Logf("-seed %d", *seed)
	h := newEcho(0)
	defer h.Close()
	srv := httptest.NewServer(h)
	defer srv.Close()
	p, err := boshtest.NewProxy(strings.TrimPrefix(srv.URL, "http://"), boshtest.ProxyFaults{
		Seed:    *seed,
		Spare:   1,
		Rates:   boshtest.Evenly(0.1, cuts...),
		Latency: 2 * time.Millisecond,
	})
	require.NoError(t, err)
	defer p.Close()
	c := dial(t, boshtest.Config{URL: "http://" + p.Addr(), Backoff: time.Millisecond})
	pings(t, c, 1000, 3)
	require.NoError(t, c.Terminate(t.Context()))
	st := p.Stats()
	t.Logf("%+v %+v", c.Stats(), st)
	assert.NotZero(t, st.Hit())
	p.CutAll()
}
