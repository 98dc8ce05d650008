package handler_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goShutdown calls Shutdown with a deadline, if it is not 0.
func goShutdown(t *testing.T, h *bosh.Handler, limit time.Duration) <-chan error {
	return Async(func() error {
		if limit == 0 {
			return h.Shutdown(t.Context())
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return h.Shutdown(ctx)
	})
}

func TestShutdown(t *testing.T) {
	for _, uri := range []string{"", "https://b.example/http-bind"} {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, bosh.Options{Framing: bosh.Elements, SeeOther: uri})
			rt := boshtest.InMemory(h)
			want, payload := bosh.SystemShutdown, ""
			if uri != "" {
				want, payload = bosh.SeeOtherURI, "<uri>"+uri+"</uri>"
			}

			held, between := Dial(t, rt), Dial(t, rt)
			s1, s2 := Accept(t, h), Accept(t, h)
			waiting := held.Hold("")
			accepting := Async(func() error { _, err := h.Listener().Accept(); return err })
			_, err := s2.Write([]byte("<last xmlns='u'/>"))
			require.NoError(t, err)

			done := goShutdown(t, h, 0)
			r := waiting.Wait()
			RequireEnd(t, r, want)
			assert.Equal(t, payload, r.Payload())
			assert.Error(t, <-accepting)
			require.True(t, Pending(done), "a client between two requests has not been told")

			r = boshtest.Exchange(t, rt, Creation())
			RequireEnd(t, r, want)
			assert.Equal(t, payload, r.Payload())

			time.Sleep(20 * Second)
			require.True(t, Pending(done))
			r = between.Send("<from xmlns='u'/>")
			RequireEnd(t, r, want)
			assert.Equal(t, "<last xmlns='u'/>"+payload, r.Payload(), "what was written is delivered")
			assert.NoError(t, <-done)

			for _, s := range []*bosh.Stream{s1, s2} {
				b, err := io.ReadAll(s)
				assert.ErrorIs(t, err, &bosh.Error{Condition: want})
				if s == s2 {
					assert.Equal(t, "<from xmlns='u'/>", string(b))
				}
			}
			assert.NoError(t, h.Shutdown(t.Context()), "again")
		})
	}
}

// A client that never comes back is waited for as long as it may be inactive,
// and no longer than the context allows.
func TestShutdownWaits(t *testing.T) {
	for _, test := range []struct {
		limit, want time.Duration
		err         error
	}{
		{10 * Second, 10 * Second, context.DeadlineExceeded},
		{0, 77 * Second, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, Elements())
			Dial(t, boshtest.InMemory(h))
			begin := time.Now()
			assert.ErrorIs(t, <-goShutdown(t, h, test.limit), test.err)
			assert.Equal(t, test.want, time.Since(begin))
		})
	}
}

func TestShutdownOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		first, second := goShutdown(t, h, 0), goShutdown(t, h, 0)
		assert.NoError(t, <-first)
		assert.NoError(t, <-second)
	})
}

func TestShutdownTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		p := Dial(t, boshtest.InMemory(h))
		first, second := goShutdown(t, h, 0), goShutdown(t, h, 0)
		require.True(t, Pending(first) && Pending(second))
		RequireEnd(t, p.Send(""), bosh.SystemShutdown)
		assert.NoError(t, <-first)
		assert.NoError(t, <-second)
	})
}

// A session that is being created while Shutdown begins is told as well.
func TestShutdownDuringCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admit, admitted := make(chan bool), make(chan bool)
		h := NewHandler(t, bosh.Options{
			Framing: bosh.Elements,
			Serve:   func(s *bosh.Stream) { io.Copy(io.Discard, s) },
			Admit: func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
				admit <- true
				<-admitted
				return ctx, nil
			},
		})
		c := boshtest.Post(t, boshtest.InMemory(h), Creation())
		<-admit
		done := goShutdown(t, h, 0)
		require.True(t, Pending(done), "a request is being served")
		close(admitted)
		RequireEnd(t, c.Wait(), bosh.SystemShutdown)
		assert.NoError(t, <-done)
	})
}

// Shutdown waits also for sessions whose context has been cancelled from
// outside.
func TestShutdownAndCancelledContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		o := Elements()
		o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) { return ctx, nil }
		h := NewHandler(t, o)
		p := Dial(t, boshtest.InMemory(h))
		cancel()
		synctest.Wait() // it is the context that ends the session
		done := goShutdown(t, h, 0)
		require.True(t, Pending(done))
		RequireEnd(t, p.Send(""), bosh.PolicyViolation)
		assert.NoError(t, <-done)
	})
}

// Streams that have closed already wait for their client as before.
func TestShutdownAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		p := Dial(t, boshtest.InMemory(h))
		require.NoError(t, Accept(t, h).CloseWithError(&bosh.Error{Condition: bosh.HostGone}))
		done := goShutdown(t, h, 0)
		require.True(t, Pending(done))
		RequireEnd(t, p.Send(""), bosh.HostGone)
		assert.NoError(t, <-done)
	})
}

func TestHandlerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		rt := boshtest.InMemory(h)
		held, between := Dial(t, rt), Dial(t, rt)
		s1, s2 := Accept(t, h), Accept(t, h)
		waiting := held.Hold("")
		read := GoRead(s1)
		require.True(t, Pending(read))
		_, err := s2.Write([]byte("<lost xmlns='u'/>"))
		require.NoError(t, err)

		require.NoError(t, h.Close())
		RequireEnd(t, waiting.Wait(), bosh.SystemShutdown)
		RequireEnd(t, between.Send(""), bosh.SystemShutdown)
		RequireEnd(t, held.Send(""), bosh.SystemShutdown)
		RequireEnd(t, boshtest.Exchange(t, rt, Creation()), bosh.SystemShutdown)
		assert.ErrorIs(t, (<-read).Err, &bosh.Error{Condition: bosh.SystemShutdown})
		_, err = s2.Write([]byte("<x/>"))
		assert.ErrorIs(t, err, &bosh.Error{Condition: bosh.SystemShutdown})
		assert.Equal(t, []string{"<lost xmlns='u'/>"}, Lost(s2))
		assert.Error(t, func() error { _, err := h.Listener().Accept(); return err }())
		for range h.Sessions() {
			t.Error("there is a session")
		}
		assert.NoError(t, h.Close(), "again")
		assert.NoError(t, h.Shutdown(t.Context()))
	})
}

func TestCloseDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		Dial(t, boshtest.InMemory(h))
		done := goShutdown(t, h, 0)
		require.True(t, Pending(done))
		require.NoError(t, h.Close())
		assert.NoError(t, <-done)
	})
}

// The order that the documentation asks for, with an http.Server: all clients
// are told, and nothing is cut.
func TestShutdownOfServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		srv := &http.Server{Handler: h}
		pipe := boshtest.Pipe(srv)
		defer pipe.Close()
		held, between := Dial(t, pipe), Dial(t, pipe)
		waiting := held.Hold("")
		done := Async(func() error {
			if err := h.Shutdown(t.Context()); err != nil {
				return err
			}
			return srv.Shutdown(t.Context())
		})
		RequireEnd(t, waiting.Wait(), bosh.SystemShutdown)
		RequireEnd(t, between.Send(""), bosh.SystemShutdown)
		assert.NoError(t, <-done)
		assert.Error(t, boshtest.Post(t, pipe, Creation()).Err())
	})
}

// Whoever owns the listener may close it after the Handler has been shut down, and
// is told of no fault of its own; as it may close streams that have ended.
func TestListenerCloseAfterShutdown(t *testing.T) {
	for name, end := range map[string]func(*bosh.Handler) error{
		"Shutdown": func(h *bosh.Handler) error { return h.Shutdown(context.Background()) },
		"Close":    (*bosh.Handler).Close,
		"both":     func(h *bosh.Handler) error { return errors.Join(h.Shutdown(context.Background()), h.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHandler(t, bosh.Options{Framing: bosh.Elements})
				held := Dial(t, boshtest.InMemory(h)).Hold("")
				s := Accept(t, h)
				require.NoError(t, end(h))
				RequireEnd(t, held.Wait(), bosh.SystemShutdown)
				_, err := h.Listener().Accept()
				assert.ErrorIs(t, err, net.ErrClosed)
				assert.NoError(t, h.Listener().Close())
				assert.ErrorIs(t, h.Listener().Close(), net.ErrClosed, "as a listener of TCP has it")
				assert.NoError(t, s.Close())
				assert.NoError(t, end(h))
			})
		})
	}
}

// Drain refuses what is new, serves what lives, also when it opens further streams, and
// waits until it has ended.
func TestDrain(t *testing.T) {
	for _, direct := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log LogBuffer
			o := ManyStreams
			o.Direct, o.Logger = direct, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			h := NewHandler(t, o)
			rt := boshtest.NewPipeServer(h)
			defer rt.Close()
			p := Dial(t, rt)
			s := Accept(t, h)
			assert.False(t, h.Draining())
			first := Async(func() error { return h.Drain(t.Context()) })
			other := Async(func() error { return h.Drain(t.Context()) })
			require.True(t, Pending(first))
			assert.True(t, h.Draining())

			RequireEnd(t, boshtest.Exchange(t, rt, Creation()), bosh.SystemShutdown)
			assert.Contains(t, log.String(), "there are no new sessions any more")
			assert.Equal(t, map[string]int64{"system-shutdown": 1}, h.Stats().Refused)
			_, err := h.Prebind(t.Context(), httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "x"})
			assert.ErrorIs(t, err, &bosh.Error{Condition: bosh.SystemShutdown})

			for range 100 {
				held := p.Post(X("a"))
				RequireRead(t, s, X("a"))
				Write(t, s, X("b"))
				assert.Equal(t, X("b"), held.Wait().Payload())
				time.Sleep(10 * Second)
			}
			assert.NotEmpty(t, p.Send("", "to='example.net'").Attr("stream"))
			Accept(t, h)
			require.True(t, Pending(first) && Pending(other))
			RequireEnd(t, p.Send("", "type='terminate'"), "")
			assert.NoError(t, <-first)
			assert.NoError(t, <-other)
			assert.NoError(t, h.Shutdown(t.Context()))
			assert.NoError(t, h.Drain(t.Context()), "again")
		})
	}
}

// Those that are left when its time is over are ended as by Shutdown.
func TestDrainIsOver(t *testing.T) {
	for _, direct := range []bool{false, true} {
		for _, uri := range []string{"", "https://b.example/http-bind"} {
			synctest.Test(t, func(t *testing.T) {
				want := bosh.SystemShutdown
				if uri != "" {
					want = bosh.SeeOtherURI
				}
				h := NewHandler(t, bosh.Options{Framing: bosh.Elements, SeeOther: uri, Direct: direct})
				rt := boshtest.NewPipeServer(h)
				defer rt.Close()
				ends, held, between := Dial(t, rt), Dial(t, rt), Dial(t, rt)
				Accept(t, h)
				Accept(t, h)
				s := Accept(t, h)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				done := Async(func() error { return h.Drain(ctx) })
				require.True(t, Pending(done))
				RequireEnd(t, boshtest.Exchange(t, rt, Creation()), want)
				RequireEnd(t, ends.Send("", "type='terminate'"), "")
				time.Sleep(30 * Second)
				waiting := held.Hold("")
				time.Sleep(29 * Second)
				require.True(t, Pending(done))
				require.False(t, waiting.Answered())
				Write(t, s, X("last"))
				assert.ErrorIs(t, <-done, context.DeadlineExceeded)
				RequireEnd(t, waiting.Wait(), want)
				stopped := goShutdown(t, h, 0)
				require.True(t, Pending(stopped), "a client between two requests has not been told")
				r := between.Send("")
				RequireEnd(t, r, want)
				assert.Contains(t, r.Payload(), X("last"))
				assert.NoError(t, <-stopped)
			})
		}
	}
}

// A session that is being created while Drain begins is waited for, or refused: which of
// them, the moment decides.
func TestDrainDuringCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admit, admitted := make(chan bool), make(chan error)
		h := NewHandler(t, bosh.Options{
			Framing: bosh.Elements,
			Admit: func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
				admit <- true
				return ctx, <-admitted
			},
		})
		c := boshtest.Post(t, boshtest.InMemory(h), Creation())
		<-admit
		done := Async(func() error { return h.Drain(t.Context()) })
		require.True(t, Pending(done), "it may become a session")
		admitted <- errors.New("no")
		assert.NotEmpty(t, c.Wait().Attr("condition"))
		assert.NoError(t, <-done, "and has not")
	})
}
