package boshtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// planned returns Faults with one fate for the first request, none for the others, and a
// counter of the requests at the server.
func planned(fault Fault, h http.HandlerFunc) (*Faults, *atomic.Int32) {
	seen := new(atomic.Int32)
	return &Faults{
		Transport: InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen.Add(1)
			h(w, r)
		})),
		Plan: func(n int, _ []byte) Fault {
			if n == 0 {
				return fault
			}
			return Pass
		},
		Latency: time.Second,
	}, seen
}

// echo reads all before it writes, since HTTP/1 does not do both at once.
func echo(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	w.Write(data)
}

func TestFaultCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, seen := planned(CutBefore, echo)
		_, err := post(t, f, t.Context(), "http://a/", "1234")
		assert.ErrorIs(t, err, ErrCut)
		assert.EqualValues(t, 0, seen.Load())

		f, seen = planned(CutAfter, echo)
		_, err = post(t, f, t.Context(), "http://a/", "1234")
		assert.ErrorIs(t, err, ErrCut)
		assert.EqualValues(t, 1, seen.Load())

		f, seen = planned(CutMiddle, echo)
		got, err := post(t, f, t.Context(), "http://a/", "1234")
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Empty(t, got)
		assert.EqualValues(t, 1, seen.Load())
		got, err = post(t, f, t.Context(), "http://a/", "1234")
		assert.NoError(t, err)
		assert.Equal(t, "1234", got)
		assert.Equal(t, FaultStats{Requests: 2, Hits: map[Fault]int{CutMiddle: 1}}, f.Stats())
		assert.Equal(t, 1, f.Stats().Hit())
	})
}

func TestFaultCutHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f, _ := planned(CutHeld, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		_, err := post(t, f, t.Context(), "http://a/", "")
		assert.ErrorIs(t, err, ErrCut)
		assert.LessOrEqual(t, time.Since(start), time.Second)
		assert.NotZero(t, time.Since(start))

		f, _ = planned(CutHeld, echo)
		got, err := post(t, f, t.Context(), "http://a/", "1234")
		assert.NoError(t, err, "answered before")
		assert.Equal(t, "1234", got)
		assert.Zero(t, f.Stats().Hit())

		f, _ = planned(CutHeld, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		_, err = post(t, f, ctx, "http://a/", "")
		assert.ErrorIs(t, err, context.DeadlineExceeded, "the client's own doing")
	})
}

func TestFaultDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, seen := planned(Duplicate, echo)
		got, err := post(t, f, t.Context(), "http://a/", "1234")
		require.NoError(t, err)
		assert.Equal(t, "1234", got)
		assert.EqualValues(t, 2, seen.Load())

		f, seen = planned(DuplicateLate, echo)
		got, err = post(t, f, t.Context(), "http://a/", "<body xmlns='"+NSBind+"'/>")
		require.NoError(t, err)
		assert.Contains(t, got, "<body")
		assert.EqualValues(t, 2, seen.Load())
		assert.Zero(t, f.Stats().Differing)

		f, seen = planned(DuplicateLate, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "<body n='%d' xmlns='%s'/>", seen.Load(), NSBind)
		})
		got, err = post(t, f, t.Context(), "http://a/", "")
		require.NoError(t, err)
		assert.Contains(t, got, "n='1'")
		assert.Equal(t, 1, f.Stats().Differing)
	})
}

func TestFaultDelayAndReorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f, _ := planned(Delay, echo)
		_, err := post(t, f, t.Context(), "http://a/", "1234")
		require.NoError(t, err)
		assert.NotZero(t, time.Since(start))
		assert.LessOrEqual(t, time.Since(start), time.Second)

		order := make(chan string, 2)
		f, _ = planned(Reorder, func(w http.ResponseWriter, r *http.Request) {
			data, _ := io.ReadAll(r.Body)
			order <- string(data)
			fmt.Fprintf(w, "<body xmlns='%s'/>", NSBind)
		})
		first := Post(t, f, "1")
		synctest.Wait()
		second := Post(t, f, "2")
		assert.NoError(t, first.Err())
		assert.NoError(t, second.Err())
		assert.Equal(t, "2", <-order)
		assert.Equal(t, "1", <-order)
		assert.Equal(t, 1, f.Stats().Hits[Reorder])

		start = time.Now()
		f, _ = planned(Reorder, echo)
		_, err = post(t, f, t.Context(), "http://a/", "1234")
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(start), "none came")
		assert.Zero(t, f.Stats().Hit())
	})
}

func TestFaultsAreReproducible(t *testing.T) {
	draw := func(t *testing.T, seed uint64) (got []Fault) {
		f := &Faults{Seed: seed, Rates: Evenly(0.5), Transport: InMemory(http.HandlerFunc(echo)), Latency: 1}
		for range 200 {
			before := f.Stats()
			post(t, f, t.Context(), "http://a/", "<body sid='1'/>")
			after := f.Stats()
			hit := Pass
			for k, n := range after.Hits {
				if n > before.Hits[k] {
					hit = k
				}
			}
			got = append(got, hit)
		}
		return got
	}
	synctest.Test(t, func(t *testing.T) {
		assert.Equal(t, draw(t, 1), draw(t, 1))
		assert.NotEqual(t, draw(t, 1), draw(t, 2))
	})
	f := &Faults{Rates: Evenly(1, CutBefore), Transport: InMemory(http.HandlerFunc(echo))}
	_, err := post(t, f, t.Context(), "http://a/", "<body rid='1'/>")
	assert.NoError(t, err, "creations are spared")
	f.Creations = true
	_, err = post(t, f, t.Context(), "http://a/", "<body rid='1'/>")
	assert.ErrorIs(t, err, ErrCut)
}

func TestFaultNames(t *testing.T) {
	for f := range faults {
		assert.NotEmpty(t, f.String())
	}
	assert.Equal(t, "Fault(200)", Fault(200).String())
	assert.InDelta(t, 0.1, Evenly(0.9)[Reorder], 1e-9)
}

// TestClientLosesNothing is the test of the client itself: under all faults, the numbers it
// sends come back once and in order.
func TestClientLosesNothing(t *testing.T) {
	for fault := Pass; fault <= faults; fault++ {
		rates := Evenly(0.4)
		if fault < faults {
			rates = Evenly(0.4, fault)
		}
		t.Run(strings.ReplaceAll(fault.String(), " ", "-"), func(t *testing.T) {
			for _, cfg := range []Config{{Batch: 1}, {Acks: true, Batch: 1}, {Keys: 5, Batch: 1}} {
				synctest.Test(t, func(t *testing.T) {
					s := newFake()
					s.late = 3 * time.Millisecond
					cfg.Fault = &Faults{Seed: 7, Rates: rates}
					c := dial(t, s, cfg)
					const n = 300
					pingPong(t, c, n)
					st := cfg.Fault.Stats()
					assert.Zero(t, st.Differing)
					if fault != Pass {
						assert.NotZero(t, st.Hit())
					}
				})
			}
		})
	}
}

// pingPong sends n numbers, a few at a time, to a server that echoes them.
func pingPong(t *testing.T, c *Client, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var back Sequence
	sent := 0
	for back.Count() < n {
		for ; sent < n && sent < back.Count()+3; sent++ {
			require.NoError(t, c.Send(ctx, string(Numbered(sent, 10))))
		}
		p, err := c.Recv(ctx)
		require.NoError(t, err)
		got, ok := Number(p)
		require.True(t, ok, "%s", p)
		back.Got(got)
	}
	require.NoError(t, c.Terminate(ctx))
	for {
		if _, err := c.Recv(ctx); err != nil {
			assert.ErrorIs(t, err, io.EOF)
			break
		}
		back.Got(n) // nothing may be left
	}
	assert.NoError(t, back.Check(n))
}
