package boshclient_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// While the application does not read, no more is fetched than it has room for; but the
// session lives, and what is written goes out.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20_000
		var up boshtest.Sequence
		var ahead atomic.Int64
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, WriteBuffer: 32 << 10, Serve: func(s *bosh.Stream) {
			go func() {
				for i := 0; s.WriteElement(s.Context(), boshtest.Numbered(i, 50)) == nil; i++ {
					ahead.Add(1)
				}
			}()
			for {
				el, err := s.ReadElement(context.Background())
				if err != nil {
					return
				}
				i, _ := boshtest.Number(el)
				up.Got(i)
			}
		}})
		o := elements
		o.ReadBuffer = 10_000
		var answers atomic.Int64
		rt := boshtest.InMemory(h)
		o.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			resp, err := rt.RoundTrip(r)
			if err == nil {
				answers.Add(resp.ContentLength)
			}
			return resp, err
		})}
		c, err := boshclient.Dial(t.Context(), "http://example.com/", &o)
		require.NoError(t, err)
		defer c.CloseNow()
		for i := range 100 {
			time.Sleep(time.Minute)
			require.NoError(t, c.WriteElement(t.Context(), boshtest.Numbered(i, 0)))
		}
		time.Sleep(time.Second)
		assert.NoError(t, up.Check(100))
		assert.Less(t, answers.Load(), int64(10_000+(256<<10)+3*40_000), "the buffer, the slack, and an answer for each open request")
		assert.NoError(t, context.Cause(c.Context()))
		var down boshtest.Sequence
		for range n {
			el, err := c.ReadElement(t.Context())
			require.NoError(t, err)
			i, _ := boshtest.Number(el)
			down.Got(i)
		}
		assert.NoError(t, down.Check(n))
	})
}

// A server that grants no pauses gets no requests meanwhile.
func TestSlowReaderWithoutPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, Pause: -1, Serve: func(s *bosh.Stream) {
			for i := 0; s.WriteElement(s.Context(), boshtest.Numbered(i, 1000)) == nil; i++ {
			}
		}})
		c := dial(t, h, nil, elements)
		time.Sleep(30 * time.Second)
		n := c.Stats().Requests
		assert.Less(t, n, int64(10))
		el, err := c.ReadElement(t.Context())
		require.NoError(t, err)
		assert.Contains(t, string(el), "n='0'")
		time.Sleep(time.Hour)
		for err == nil {
			_, err = c.ReadElement(t.Context())
		}
		assert.ErrorIs(t, err, boshclient.ItemNotFound)
	})
}

// Write blocks when the server does not read, and goes on when it does.
func TestSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, served := make(chan bool), make(chan bool)
		var got boshtest.Sequence
		const n = 2000
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, ReadBuffer: 1000, Serve: func(s *bosh.Stream) {
			defer close(served)
			<-begin
			for {
				el, err := s.ReadElement(context.Background())
				if err != nil {
					return
				}
				i, _ := boshtest.Number(el)
				got.Got(i)
			}
		}})
		o := elements
		o.WriteBuffer, o.Batch = 5000, 1000
		c := dial(t, h, nil, o)
		var sent atomic.Int64
		done := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < n && err == nil; i++ {
				err = c.WriteElement(t.Context(), boshtest.Numbered(i, 100))
				sent.Add(1)
			}
			done <- err
		}()
		time.Sleep(time.Minute - time.Second)
		assert.Less(t, sent.Load(), int64(300))
		close(begin)
		require.NoError(t, <-done)
		require.NoError(t, c.Terminate(day(t)))
		<-served
		assert.NoError(t, got.Check(n))
	})
}

func TestPauseAndWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
			for {
				el, err := s.ReadElement(context.Background())
				if err != nil {
					return
				}
				time.Sleep(time.Second)
				s.WriteElement(s.Context(), el)
			}
		}})
		c := dial(t, h, nil, elements)
		pause := c.Granted().MaxPause
		for _, end := range []func() time.Duration{
			func() time.Duration { return pause * 9 / 10 },
			func() time.Duration {
				time.Sleep(5 * time.Second)
				c.Wake()
				return 5 * time.Second
			},
			func() time.Duration {
				time.Sleep(10 * time.Second)
				c.WriteElement(t.Context(), []byte("<b xmlns='u'/>"))
				return 10 * time.Second
			},
		} {
			require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
			require.NoError(t, c.Pause(t.Context(), pause))
			start := time.Now()
			synctest.Wait()
			n := c.Stats().Requests
			want := end()
			el, err := c.ReadElement(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "<a xmlns='u'/>", string(el))
			assert.InDelta(t, want, time.Since(start), float64(10*time.Millisecond))
			assert.LessOrEqual(t, c.Stats().Requests, n+2)
		}
		for _, d := range []time.Duration{0, -1, time.Second - 1, pause + 1} {
			assert.Error(t, c.Pause(t.Context(), d))
		}
		c.Wake()
		require.NoError(t, c.Terminate(t.Context()))
		assert.Error(t, c.Pause(t.Context(), time.Minute))
		c.Wake()
		time.Sleep(time.Minute) // the server is done
	})
}

// Close delivers what was written, even much of it, and waits no longer than it may.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got bytes.Buffer
		ended := make(chan error, 1)
		h := newHandler(t, bosh.Options{Framing: bosh.Opaque, Serve: func(s *bosh.Stream) {
			_, err := io.Copy(&got, s)
			ended <- err
		}})
		o := boshclient.Options{Framing: boshclient.Opaque}
		f := &boshtest.Faults{Rates: boshtest.Evenly(0.3, cuts...)}
		c := dial(t, h, f, o)
		text := strings.Repeat("0123456789", 25_000)
		write(t, c, text)
		require.NoError(t, c.Close())
		require.NoError(t, <-ended)
		assert.Equal(t, text, got.String())
		_, err := c.Read(make([]byte, 1))
		assert.ErrorContains(t, err, "closed")
		assert.Error(t, c.Close())
		assert.Error(t, c.Terminate(t.Context()))
		assert.Error(t, c.SetDeadline(time.Now()))
	})
	for name, timeout := range map[string]time.Duration{"default": 5 * time.Second, "short": time.Second, "none": 0} {
		synctest.Test(t, func(t *testing.T) { // the server never answers
			o := boshclient.Options{Framing: boshclient.Opaque}
			switch name {
			case "short":
				o.CloseTimeout = timeout
			case "none":
				o.CloseTimeout = -1
			}
			c := (&script{mute: true}).dial(t, o)
			write(t, c, "lost")
			start := time.Now()
			err := c.Close()
			assert.Equal(t, name != "none", err != nil, "%v", err)
			assert.Equal(t, timeout, time.Since(start), name)
			assert.Error(t, context.Cause(c.Context()))
		})
	}
}

// Close and CloseNow end what is blocked.
func TestCloseEndsWhatBlocks(t *testing.T) {
	for name, stop := range map[string]func(*boshclient.Conn){
		"Close":    func(c *boshclient.Conn) { c.Close() },
		"CloseNow": func(c *boshclient.Conn) { c.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := elements
				o.WriteBuffer = 1
				s := &script{mute: true, answer: func(_ int, _ *http.Request, b *boshtest.Body) (any, error) {
					if b.Attr("sid") == "" {
						return "<body sid='a' stream='s' requests='2' maxpause='100'" + ns + "/>", nil
					}
					return nil, nil
				}}
				c := s.dial(t, o)
				synctest.Wait()
				el := []byte("<a xmlns='u'/>")
				for range 2 { // one under way, one that fills the buffer
					require.NoError(t, c.WriteElement(t.Context(), el))
					synctest.Wait()
				}
				var wg sync.WaitGroup
				var failed atomic.Int64
				blocked := []func() error{
					func() error { _, err := c.Read(make([]byte, 1)); return err },
					func() error { _, err := c.ReadElement(t.Context()); return err },
					func() error { _, err := c.Write(el); return err },
					func() error { return c.WriteElement(t.Context(), el) },
				}
				for _, f := range blocked {
					wg.Go(func() {
						if err := f(); err != nil && strings.Contains(err.Error(), "use of closed network connection") {
							failed.Add(1)
						}
					})
				}
				other := s.dial(t, o)
				wg.Go(func() { assert.Error(t, other.Pause(t.Context(), time.Minute)) })
				wg.Go(func() {
					_, err := other.OpenStream(t.Context(), "b")
					assert.Error(t, err)
				})
				synctest.Wait()
				assert.Zero(t, failed.Load())
				go stop(c)
				go stop(other)
				synctest.Wait()
				assert.Equal(t, int64(len(blocked)), failed.Load(), "at once")
				wg.Wait()
			})
		})
	}
}

// Terminate takes what the server still has to say.
func TestTerminate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
			for i := range 10 {
				s.WriteElement(s.Context(), boshtest.Numbered(i, 0))
			}
			<-s.Context().Done()
		}})
		c := dial(t, h, nil, elements)
		synctest.Wait()
		require.NoError(t, c.Terminate(t.Context()))
		require.NoError(t, c.Terminate(t.Context()), "again")
		assert.Error(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
		var got boshtest.Sequence
		for {
			el, err := c.ReadElement(t.Context())
			if err != nil {
				assert.Equal(t, io.EOF, err)
				break
			}
			i, _ := boshtest.Number(el)
			got.Got(i)
		}
		assert.NoError(t, got.Check(10))
		assert.Equal(t, io.EOF, context.Cause(c.Context()))
		assert.NoError(t, c.Close())

		c = (&script{mute: true}).dial(t, elements)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, c.Terminate(ctx), context.DeadlineExceeded)
	})
}

func TestStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, MaxStreams: 4, Serve: func(s *bosh.Stream) { io.Copy(s, s) }})
		f := &boshtest.Faults{Seed: *seed, Rates: boshtest.Evenly(0.3)}
		first := dial(t, h, f, elements)
		assert.True(t, first.Granted().Streams)
		conns := []*boshclient.Conn{first}
		for i := range 3 {
			c, err := first.OpenStream(t.Context(), fmt.Sprint("s", i, ".example"))
			require.NoError(t, err)
			conns = append(conns, c)
		}
		_, err := first.OpenStream(t.Context(), "more.example")
		assert.ErrorIs(t, err, boshclient.PolicyViolation)
		const n = 300
		var wg sync.WaitGroup
		for k, c := range conns {
			wg.Go(func() {
				for i := range n {
					if c.WriteElement(t.Context(), boshtest.Numbered(i*10+k, i%40)) != nil {
						return
					}
				}
			})
			wg.Go(func() {
				for i := range n {
					el, err := c.ReadElement(t.Context())
					if !assert.NoError(t, err) {
						return
					}
					got, _ := boshtest.Number(el)
					assert.Equal(t, i*10+k, got)
				}
			})
		}
		wg.Wait()
		require.NoError(t, conns[1].Close())
		_, err = conns[1].Read(make([]byte, 1))
		assert.Error(t, err)
		require.NoError(t, first.Terminate(t.Context()))
		_, err = first.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		write(t, conns[2], "<a xmlns='u'/>")
		requireRead(t, conns[2], "<a xmlns='u'/>")
		require.NoError(t, conns[2].Close())
		require.NoError(t, conns[3].Close())
		h.Close()
		assert.Equal(t, map[string]int64{"closed": 1}, h.Stats().Ended)

		_, err = (&script{}).dial(t, elements).OpenStream(t.Context(), "b.example")
		assert.Error(t, err)
	})
}
