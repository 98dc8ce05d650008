package handler_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	turmoilSeed  = flag.Uint64("turmoilseed", 0, "replay TestTurmoil with this seed only")
	turmoilSeeds = flag.Int("turmoilseeds", 40, "seeds of TestTurmoil")
)

// A turmoil is a Handler all of whose callbacks call back into it, into
// sessions and streams, at random, while clients come over connections that
// break, until it is closed or shut down at a random moment.
type turmoil struct {
	*testing.T
	h      *bosh.Handler
	seed   uint64
	calls  atomic.Uint64
	panics atomic.Int64
}

// TestTurmoil finds deadlocks: in a bubble everything stands still then, and
// the test fails. What is left of it are no sessions, no goroutines, no memory.
func TestTurmoil(t *testing.T) {
	for i := range uint64(*turmoilSeeds) {
		seed := i + 1
		if *turmoilSeed != 0 {
			seed = *turmoilSeed
		}
		synctest.Test(t, func(t *testing.T) { (&turmoil{T: t, seed: seed}).run() })
		if t.Failed() {
			t.Fatalf("-turmoilseed %d", seed)
		}
		if *turmoilSeed != 0 {
			break
		}
	}
}

func (u *turmoil) run() {
	rng := rand.New(rand.NewPCG(u.seed, 0))
	u.h = bosh.New(bosh.Options{
		Framing: bosh.Elements, MaxStreams: 3, ReadBuffer: 100, WriteBuffer: 100, Serve: u.serve,
		Admit: func(ctx context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
			u.callBack(nil, nil)
			return ctx, nil
		},
		AllowOrigin: func(string) bool { u.callBack(nil, nil); return true },
		ClientAddr:  func(*http.Request) net.Addr { u.callBack(nil, nil); return nil },
		Secure:      func(*http.Request) bool { u.callBack(nil, nil); return false },
		Trace: &bosh.Trace{
			SessionStart: func(s *bosh.Session) { u.callBack(s, nil) },
			SessionEnd:   func(s *bosh.Session) { u.callBack(s, nil) },
			Refused:      func(*http.Request, *bosh.Error) { u.callBack(nil, nil) },
			Request:      func(s *bosh.Session, _ bosh.RequestInfo) { u.callBack(s, nil) },
			Response:     func(s *bosh.Session, _ bosh.ResponseInfo) { u.callBack(s, nil) },
		},
		Logger: slog.New(Calling{F: func() { u.callBack(nil, nil) }}),
	})
	rt := boshtest.InMemory(u.h)
	ctx, cancel := context.WithTimeout(u.Context(), time.Hour)
	defer cancel()
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() { u.client(ctx, rt, rand.New(rand.NewPCG(u.seed, uint64(i+1)))) })
	}
	time.Sleep(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
	switch rng.IntN(3) {
	case 0:
		require.NoError(u, u.h.Close())
	case 1:
		require.NoError(u, u.h.Shutdown(ctx))
	default: // both
		down := Async(func() error { return u.h.Shutdown(ctx) })
		time.Sleep(time.Duration(rng.Int64N(int64(10 * time.Millisecond))))
		require.NoError(u, u.h.Close())
		require.NoError(u, <-down)
	}
	clients.Wait()
	rt.Wait()
	time.Sleep(time.Minute) // until all is forgotten
	synctest.Wait()
	st := u.h.Stats()
	assert.Zero(u, st.Sessions)
	assert.Zero(u, st.Memory)
	assert.Zero(u, st.Open)
	ended := int64(0)
	for _, n := range st.Ended {
		ended += n
	}
	assert.Equal(u, st.Created, ended)
	assert.LessOrEqual(u, st.Ended[string(bosh.InternalServerError)], u.panics.Load())
}

// callBack calls something. A session or stream that it is given may be used.
func (u *turmoil) callBack(s *bosh.Session, st *bosh.Stream) {
	rng := rand.New(rand.NewPCG(u.seed, 1<<32+u.calls.Add(1)))
	if rng.IntN(4) > 0 {
		return
	}
	if s == nil {
		for s = range u.h.Sessions() {
			break
		}
	}
	if s != nil && st == nil {
		for _, st = range s.Streams() {
			break
		}
	}
	switch what := rng.IntN(20); {
	case what == 0:
		u.h.Stats()
	case what == 1:
		for s := range u.h.Sessions() {
			s.Stats()
		}
	case s == nil:
	case what == 2:
		s.Terminate(nil)
	case what == 3:
		s.Terminate(&bosh.Error{Condition: bosh.PolicyViolation})
	case what < 7:
		s.Err()
		s.Stats()
		s.Request()
		s.Context().Err()
	case st == nil:
	case what == 7:
		st.Close()
	case what == 8:
		st.CloseWithError(&bosh.Error{Condition: bosh.RemoteConnectionFailed})
	case what < 12:
		soon := time.Duration(rng.Int64N(int64(50 * time.Millisecond)))
		st.SetDeadline(time.Now().Add(soon - 1))
		ctx, cancel := context.WithTimeout(u.Context(), soon)
		defer cancel()
		st.WriteElement(ctx, []byte(X("called back"))) // it must not wait for ever: what it waits for may wait for it
	case what < 15:
		for range st.Undelivered() {
		}
		st.Opening()
	default:
		st.SetDeadline(time.Time{})
	}
}

// serve is the application, with several goroutines on one stream, that panics
// now and then.
func (u *turmoil) serve(st *bosh.Stream) {
	rng := rand.New(rand.NewPCG(u.seed, 1<<33+u.calls.Add(1)))
	var writers sync.WaitGroup
	defer writers.Wait()
	for range rng.IntN(3) {
		writers.Go(func() {
			for st.WriteElement(st.Context(), []byte(X("pushed"))) == nil {
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for {
		el, err := st.ReadElement(st.Context())
		if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			st.SetDeadline(time.Time{})
			continue
		}
		if err != nil {
			return
		}
		u.callBack(st.Session(), st)
		if rng.IntN(50) == 0 {
			u.panics.Add(1)
			defer st.Close() // for the writers
			panic("a bug")
		}
		st.WriteElement(st.Context(), el)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// client has one session after the other until none is to be had.
func (u *turmoil) client(ctx context.Context, rt http.RoundTripper, rng *rand.Rand) {
	for {
		c, err := boshtest.Dial(ctx, boshtest.Config{
			Transport: rt, Acks: rng.IntN(2) == 0, Hold: 1 + rng.IntN(2),
			Fault: &boshtest.Faults{Seed: rng.Uint64(), Rates: boshtest.Evenly(0.3), Creations: true},
		})
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, boshclient.SystemShutdown) {
				continue // ended by a callback before it began, or cut
			}
			return
		}
		go func() {
			for err := error(nil); err == nil; {
				_, err = c.Recv(ctx)
			}
		}()
		for i := range 20 {
			time.Sleep(time.Duration(rng.Int64N(int64(5 * time.Millisecond))))
			switch rng.IntN(12) {
			case 0:
				more, err := c.AddStream(ctx, "b.test")
				if err == nil {
					go func() {
						for err := error(nil); err == nil; {
							_, err = more.Recv(ctx)
						}
					}()
				}
			case 1:
				c.Pause(ctx, time.Second)
			default:
				err = c.Send(ctx, X(fmt.Sprint(i)))
			}
			if err != nil {
				break
			}
		}
		if rng.IntN(2) == 0 {
			c.Terminate(ctx)
		}
		c.Close()
	}
}

// Whatever panics in the application ends one session, and is logged with its
// stack; the client is told, and others are not disturbed.
func TestPanicsEndOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		h := NewHandler(t, bosh.Options{
			Framing: bosh.Elements, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Serve: func(s *bosh.Stream) {
				if s.Opening().To == "bad.test" {
					panic(errors.New("on purpose"))
				}
				io.Copy(s, s)
			},
		})
		rt := boshtest.InMemory(h)
		good, err := boshtest.Dial(t.Context(), boshtest.Config{Transport: rt, To: "good.test"})
		require.NoError(t, err)
		defer good.Close()
		for range 20 {
			c, err := boshtest.Dial(t.Context(), boshtest.Config{Transport: rt, To: "bad.test"})
			if err == nil {
				_, err = c.Recv(t.Context())
				c.Close()
			}
			assert.ErrorIs(t, err, boshclient.InternalServerError)
			require.NoError(t, good.Send(t.Context(), X("ping")))
			_, err = good.Recv(t.Context())
			require.NoError(t, err)
		}
		assert.Equal(t, 20, strings.Count(log.String(), "on purpose"))
		assert.Contains(t, log.String(), "concurrency_test.go", "the stack")
		assert.Equal(t, int64(20), h.Stats().Ended[string(bosh.InternalServerError)])
	})
}
