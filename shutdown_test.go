package bosh_test

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
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goShutdown calls Shutdown with a deadline, if it is not 0.
func goShutdown(t *testing.T, h *bosh.Handler, limit time.Duration) <-chan error {
	return async(func() error {
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
			h := newHandler(t, bosh.Options{Framing: bosh.Elements, SeeOther: uri})
			rt := boshtest.InMemory(h)
			want, payload := bosh.SystemShutdown, ""
			if uri != "" {
				want, payload = bosh.SeeOtherURI, "<uri>"+uri+"</uri>"
			}

			held, between := dial(t, rt), dial(t, rt)
			s1, s2 := accept(t, h), accept(t, h)
			waiting := held.hold("")
			accepting := async(func() error { _, err := h.Listener().Accept(); return err })
			_, err := s2.Write([]byte("<last xmlns='u'/>"))
			require.NoError(t, err)

			done := goShutdown(t, h, 0)
			r := waiting.Wait()
			requireEnd(t, r, want)
			assert.Equal(t, payload, r.Payload())
			assert.Error(t, <-accepting)
			require.True(t, pending(done), "a client between two requests has not been told")

			r = boshtest.Exchange(t, rt, creation())
			requireEnd(t, r, want)
			assert.Equal(t, payload, r.Payload())

			time.Sleep(20 * second)
			require.True(t, pending(done))
			r = between.send("<from xmlns='u'/>")
			requireEnd(t, r, want)
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
		{10 * second, 10 * second, context.DeadlineExceeded},
		{0, 77 * second, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHandler(t, elements())
			dial(t, boshtest.InMemory(h))
			begin := time.Now()
			assert.ErrorIs(t, <-goShutdown(t, h, test.limit), test.err)
			assert.Equal(t, test.want, time.Since(begin))
		})
	}
}

func TestShutdownOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, elements())
		first, second := goShutdown(t, h, 0), goShutdown(t, h, 0)
		assert.NoError(t, <-first)
		assert.NoError(t, <-second)
	})
}

func TestShutdownTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, elements())
		p := dial(t, boshtest.InMemory(h))
		first, second := goShutdown(t, h, 0), goShutdown(t, h, 0)
		require.True(t, pending(first) && pending(second))
		requireEnd(t, p.send(""), bosh.SystemShutdown)
		assert.NoError(t, <-first)
		assert.NoError(t, <-second)
	})
}

// A session that is being created while Shutdown begins is told as well.
func TestShutdownDuringCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admit, admitted := make(chan bool), make(chan bool)
		h := newHandler(t, bosh.Options{
			Framing: bosh.Elements,
			Serve:   func(s *bosh.Stream) { io.Copy(io.Discard, s) },
			Admit: func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
				admit <- true
				<-admitted
				return ctx, nil
			},
		})
		c := boshtest.Post(t, boshtest.InMemory(h), creation())
		<-admit
		done := goShutdown(t, h, 0)
		require.True(t, pending(done), "a request is being served")
		close(admitted)
		requireEnd(t, c.Wait(), bosh.SystemShutdown)
		assert.NoError(t, <-done)
	})
}

// Shutdown waits also for sessions whose context has been cancelled from
// outside.
func TestShutdownAndCancelledContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		o := elements()
		o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) { return ctx, nil }
		h := newHandler(t, o)
		p := dial(t, boshtest.InMemory(h))
		cancel()
		synctest.Wait() // it is the context that ends the session
		done := goShutdown(t, h, 0)
		require.True(t, pending(done))
		requireEnd(t, p.send(""), bosh.PolicyViolation)
		assert.NoError(t, <-done)
	})
}

// Streams that have closed already wait for their client as before.
func TestShutdownAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, elements())
		p := dial(t, boshtest.InMemory(h))
		require.NoError(t, accept(t, h).CloseWithError(&bosh.Error{Condition: bosh.HostGone}))
		done := goShutdown(t, h, 0)
		require.True(t, pending(done))
		requireEnd(t, p.send(""), bosh.HostGone)
		assert.NoError(t, <-done)
	})
}

func TestHandlerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, elements())
		rt := boshtest.InMemory(h)
		held, between := dial(t, rt), dial(t, rt)
		s1, s2 := accept(t, h), accept(t, h)
		waiting := held.hold("")
		read := goRead(s1)
		require.True(t, pending(read))
		_, err := s2.Write([]byte("<lost xmlns='u'/>"))
		require.NoError(t, err)

		require.NoError(t, h.Close())
		requireEnd(t, waiting.Wait(), bosh.SystemShutdown)
		requireEnd(t, between.send(""), bosh.SystemShutdown)
		requireEnd(t, held.send(""), bosh.SystemShutdown)
		requireEnd(t, boshtest.Exchange(t, rt, creation()), bosh.SystemShutdown)
		assert.ErrorIs(t, (<-read).err, &bosh.Error{Condition: bosh.SystemShutdown})
		_, err = s2.Write([]byte("<x/>"))
		assert.ErrorIs(t, err, &bosh.Error{Condition: bosh.SystemShutdown})
		assert.Equal(t, []string{"<lost xmlns='u'/>"}, undelivered(s2))
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
		h := newHandler(t, elements())
		dial(t, boshtest.InMemory(h))
		done := goShutdown(t, h, 0)
		require.True(t, pending(done))
		require.NoError(t, h.Close())
		assert.NoError(t, <-done)
	})
}

// The order that the documentation asks for, with an http.Server: all clients
// are told, and nothing is cut.
func TestShutdownOfServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, elements())
		srv := &http.Server{Handler: h}
		pipe := boshtest.Pipe(srv)
		defer pipe.Close()
		held, between := dial(t, pipe), dial(t, pipe)
		waiting := held.hold("")
		done := async(func() error {
			if err := h.Shutdown(t.Context()); err != nil {
				return err
			}
			return srv.Shutdown(t.Context())
		})
		requireEnd(t, waiting.Wait(), bosh.SystemShutdown)
		requireEnd(t, between.send(""), bosh.SystemShutdown)
		assert.NoError(t, <-done)
		assert.Error(t, boshtest.Post(t, pipe, creation()).Err())
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
				h := newHandler(t, bosh.Options{Framing: bosh.Elements})
				held := dial(t, boshtest.InMemory(h)).hold("")
				s := accept(t, h)
				require.NoError(t, end(h))
				requireEnd(t, held.Wait(), bosh.SystemShutdown)
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
			var log logBuffer
			o := manyStreams
			o.Direct, o.Logger = direct, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			h := newHandler(t, o)
			rt := boshtest.NewPipeServer(h)
			defer rt.Close()
			p := dial(t, rt)
			s := accept(t, h)
			assert.False(t, h.Draining())
			first := async(func() error { return h.Drain(t.Context()) })
			other := async(func() error { return h.Drain(t.Context()) })
			require.True(t, pending(first))
			assert.True(t, h.Draining())

			requireEnd(t, boshtest.Exchange(t, rt, creation()), bosh.SystemShutdown)
			assert.Contains(t, log.String(), "there are no new sessions any more")
			assert.Equal(t, map[string]int64{"system-shutdown": 1}, h.Stats().Refused)
			_, err := h.Prebind(t.Context(), httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "x"})
			assert.ErrorIs(t, err, &bosh.Error{Condition: bosh.SystemShutdown})

			for range 100 {
				held := p.post(x("a"))
				requireRead(t, s, x("a"))
				write(t, s, x("b"))
				assert.Equal(t, x("b"), held.Wait().Payload())
				time.Sleep(10 * second)
			}
			assert.NotEmpty(t, p.send("", "to='example.net'").Attr("stream"))
			accept(t, h)
			require.True(t, pending(first) && pending(other))
			requireEnd(t, p.send("", "type='terminate'"), "")
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
				h := newHandler(t, bosh.Options{Framing: bosh.Elements, SeeOther: uri, Direct: direct})
				rt := boshtest.NewPipeServer(h)
				defer rt.Close()
				ends, held, between := dial(t, rt), dial(t, rt), dial(t, rt)
				accept(t, h)
				accept(t, h)
				s := accept(t, h)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				done := async(func() error { return h.Drain(ctx) })
				require.True(t, pending(done))
				requireEnd(t, boshtest.Exchange(t, rt, creation()), want)
				requireEnd(t, ends.send("", "type='terminate'"), "")
				time.Sleep(30 * second)
				waiting := held.hold("")
				time.Sleep(29 * second)
				require.True(t, pending(done))
				require.False(t, waiting.Answered())
				write(t, s, x("last"))
				assert.ErrorIs(t, <-done, context.DeadlineExceeded)
				requireEnd(t, waiting.Wait(), want)
				stopped := goShutdown(t, h, 0)
				require.True(t, pending(stopped), "a client between two requests has not been told")
				r := between.send("")
				requireEnd(t, r, want)
				assert.Contains(t, r.Payload(), x("last"))
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
		h := newHandler(t, bosh.Options{
			Framing: bosh.Elements,
			Admit: func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
				admit <- true
				return ctx, <-admitted
			},
		})
		c := boshtest.Post(t, boshtest.InMemory(h), creation())
		<-admit
		done := async(func() error { return h.Drain(t.Context()) })
		require.True(t, pending(done), "it may become a session")
		admitted <- errors.New("no")
		assert.NotEmpty(t, c.Wait().Attr("condition"))
		assert.NoError(t, <-done, "and has not")
	})
}
