package handler_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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

// A server logs its user in, and the page goes on with the session.
func TestPrebind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secure := func(r *http.Request) bool { return r.Header.Get("X-Secure") == "yes" }
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Secure: secure, Serve: func(s *bosh.Stream) {
			for {
				el, err := s.ReadElement(context.Background())
				if err != nil {
					return
				}
				reply := "<welcome xmlns='urn:x'/>"
				if !strings.HasPrefix(string(el), "<login") {
					reply = string(el)
				}
				s.WriteElement(context.Background(), []byte(reply))
			}
		}})
		defer h.Close()
		page := httptest.NewRequest("GET", "/", nil)
		page.RemoteAddr = "192.0.2.7:99"
		page.Header.Set("X-Secure", "yes")
		p, err := h.Prebind(t.Context(), page, bosh.Opening{To: "example.com"})
		require.NoError(t, err)
		page.Header.Del("X-Secure") // middleware may do so later, when its request is over
		answer, err := p.Exchange(t.Context(), []byte("<login xmlns='urn:x'/>"))
		require.NoError(t, err)
		assert.Equal(t, "<welcome xmlns='urn:x'/>", string(answer))
		for s := range h.Sessions() {
			assert.Equal(t, "192.0.2.7:99", s.RemoteAddr().String())
		}

		sid, rid := p.Attach()
		c, err := boshclient.Resume(t.Context(), &boshclient.State{URL: "http://example.com/", Sid: sid, Rid: rid + 1},
			&boshclient.Options{Framing: boshclient.Elements, HTTPHeader: http.Header{"X-Secure": {"yes"}},
				HTTPClient: &http.Client{Transport: boshtest.InMemory(h)}})
		require.NoError(t, err)
		defer c.CloseNow()
		require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='urn:x'/>")))
		got, err := c.ReadElement(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "<a xmlns='urn:x'/>", string(got))
	})
}

func TestPrebindRefused(t *testing.T) {
	h := bosh.New(bosh.Options{Admit: func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) {
		return nil, &bosh.Error{Condition: bosh.HostUnknown}
	}})
	_, err := h.Prebind(t.Context(), httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "example.com"})
	require.ErrorContains(t, err, "host-unknown")
}

// The page's own context ends its wait.
func TestPrebindCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) { <-s.Context().Done() }})
		defer h.Close()
		ctx, cancel := context.WithCancel(t.Context())
		p, err := h.Prebind(ctx, httptest.NewRequest("GET", "/", nil), bosh.Opening{})
		require.NoError(t, err)
		cause := make(chan error)
		go func() {
			_, err := p.Exchange(ctx, nil)
			cause <- err
		}()
		synctest.Wait()
		cancel()
		assert.True(t, errors.Is(<-cause, context.Canceled))
	})
}

// lateEcho has an application that sends back what it reads, after a while.
func lateEcho(delay time.Duration) bosh.Options {
	return bosh.Options{Framing: bosh.Elements, Grace: -1, Serve: func(s *bosh.Stream) {
		for {
			el, err := s.ReadElement(context.Background())
			if err != nil {
				return
			}
			time.Sleep(delay)
			s.WriteElement(context.Background(), el)
		}
	}}
}

// An Exchange or Restart that ctx has ended has sent its elements, and what the
// application says to them comes with what is asked next.
func TestPrebindGoesOn(t *testing.T) {
	prebound := func(name string, delay time.Duration, f func(t *testing.T, h *bosh.Handler, p *bosh.Prebound)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHandler(t, lateEcho(delay))
				p, err := h.Prebind(t.Context(), httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "example.com"})
				require.NoError(t, err)
				f(t, h, p)
				require.NoError(t, h.Close())
				time.Sleep(time.Minute) // until the application is back
			})
		})
	}
	// exchange gives an Exchange a second.
	exchange := func(t *testing.T, p *bosh.Prebound, el string) string {
		ctx, cancel := context.WithTimeout(t.Context(), Second)
		defer cancel()
		begin := time.Now()
		answer, err := p.Exchange(ctx, []byte(el))
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, Second, time.Since(begin))
		}
		return string(answer)
	}

	prebound("with the next Exchange", 2*Second, func(t *testing.T, h *bosh.Handler, p *bosh.Prebound) {
		assert.Empty(t, exchange(t, p, X("1")))
		answer, err := p.Exchange(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, X("1"), string(answer))
		answer, err = p.Exchange(t.Context(), []byte(X("2")))
		require.NoError(t, err)
		assert.Equal(t, X("2"), string(answer))
	})
	prebound("with an Exchange of something else", 2*Second, func(t *testing.T, h *bosh.Handler, p *bosh.Prebound) {
		assert.Empty(t, exchange(t, p, X("1")))
		answer, err := p.Exchange(t.Context(), []byte(X("2")))
		require.NoError(t, err)
		assert.Equal(t, X("1"), string(answer))
		answer, err = p.Exchange(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, X("2"), string(answer))
	})
	prebound("with the page", 2*Second, func(t *testing.T, h *bosh.Handler, p *bosh.Prebound) {
		assert.Empty(t, exchange(t, p, X("1")))
		sid, rid := p.Attach()
		page := &Peer{T: t, Rt: boshtest.InMemory(h), Sid: sid, Rid: rid}
		assert.Equal(t, X("1"), page.Send("").Payload())
		assert.Equal(t, X("2"), page.Send(X("2")).Payload())
	})
	prebound("with what the page sends at once", 2*Second, func(t *testing.T, h *bosh.Handler, p *bosh.Prebound) {
		assert.Empty(t, exchange(t, p, X("1")))
		sid, rid := p.Attach()
		page := &Peer{T: t, Rt: boshtest.InMemory(h), Sid: sid, Rid: rid}
		one, two := page.Post(X("2")), page.Post(X("3"))
		got := one.Wait().Payload() + two.Wait().Payload()
		for range 2 {
			got += page.Send("").Payload()
		}
		assert.Equal(t, X("1")+X("2")+X("3"), got)
	})
	prebound("however often", 50*Second, func(t *testing.T, h *bosh.Handler, p *bosh.Prebound) {
		var want, got strings.Builder
		for i := range 100 {
			el := X(fmt.Sprint(i))
			want.WriteString(el)
			got.WriteString(exchange(t, p, el))
		}
		for s := range h.Sessions() {
			assert.Equal(t, int64(101), s.Stats().Requests)
			assert.Zero(t, s.Stats().Repeats)
		}
		assert.Less(t, h.Stats().Memory, int64(32<<10))
		for got.Len() < want.Len() {
			answer, err := p.Exchange(t.Context(), nil)
			require.NoError(t, err)
			got.Write(answer)
		}
		assert.Equal(t, want.String(), got.String())
	})
	prebound("unless it was done from the start", 0, func(t *testing.T, h *bosh.Handler, p *bosh.Prebound) {
		_, before := p.Attach()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := p.Exchange(ctx, []byte(X("1")))
		require.ErrorIs(t, err, context.Canceled)
		_, after := p.Attach()
		assert.Equal(t, before, after)
		answer, err := p.Exchange(t.Context(), []byte(X("2")))
		require.NoError(t, err)
		assert.Equal(t, X("2"), string(answer))
	})
	prebound("also if it was done in the instant of the answer", Second, func(t *testing.T, h *bosh.Handler, p *bosh.Prebound) {
		var want, got strings.Builder
		for i := range 100 {
			el := X(fmt.Sprint(i))
			want.WriteString(el)
			got.WriteString(exchange(t, p, el))
		}
		for got.Len() < want.Len() {
			answer, err := p.Exchange(t.Context(), nil)
			require.NoError(t, err)
			got.Write(answer)
		}
		assert.Equal(t, want.String(), got.String())
	})

	t.Run("with the features of a restart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, bosh.Options{Serve: func(s *bosh.Stream) {
				Write(t, s, ServerHeader+Features+Success)
				for range 2 {
					ReadOnce(t, s)
				}
				time.Sleep(2 * Second)
				Write(t, s, ServerHeader+BindFeatures)
				<-s.Context().Done()
			}})
			p, err := h.Prebind(t.Context(), httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "example.com"})
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), Second)
			defer cancel()
			_, err = p.Restart(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			answer, err := p.Exchange(t.Context(), nil)
			require.NoError(t, err)
			assert.Contains(t, string(answer), "xmpp-bind")
		})
	})
}

// A session that Prebind has opened for nobody ends, and the application is told.
func TestPrebindOpenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		h := NewHandler(t, bosh.Options{Serve: func(s *bosh.Stream) {
			io.Copy(io.Discard, s)
			<-s.Context().Done()
			ended <- s.Session().Err()
		}})
		ctx, cancel := context.WithTimeout(t.Context(), Second)
		defer cancel()
		_, err := h.Prebind(ctx, httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "example.com"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		begin := time.Now()
		assert.Error(t, <-ended)
		assert.Zero(t, time.Since(begin))
		assert.Zero(t, h.Stats().Sessions)
		assert.Equal(t, int64(1), h.Stats().Created)

		_, err = h.Prebind(ctx, httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "example.com"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, int64(1), h.Stats().Created, "nor is one opened by a context that is done")
	})
}

// How a session has ended is an Error.
func TestPrebindEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, e := range []*bosh.Error{{Condition: bosh.HostGone}, {}} {
			h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
				s.ReadElement(context.Background())
				s.CloseWithError(e)
			}})
			p, err := h.Prebind(t.Context(), httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "example.com"})
			require.NoError(t, err)
			_, err = p.Exchange(t.Context(), []byte(X("1")))
			assert.ErrorIs(t, err, e)
			for range 2 {
				_, err = p.Exchange(t.Context(), nil)
				assert.ErrorIs(t, err, &bosh.Error{Condition: cmp.Or(e.Condition, bosh.ItemNotFound)})
			}
		}
	})
}

// A server logs its user in for a page, which then calls
// connection.attach(jid, sid, rid).
func ExampleHandler_Prebind() {
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
		s.ReadElement(context.Background())
		s.WriteElement(context.Background(), []byte("<welcome xmlns='urn:example'/>"))
		<-s.Context().Done()
	}})
	defer h.Close()

	r := httptest.NewRequest("GET", "/chat", nil) // of the page
	p, err := h.Prebind(context.Background(), r, bosh.Opening{To: "example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := p.Exchange(context.Background(), []byte("<login xmlns='urn:example' token='secret'/>"))
	fmt.Println(string(answer), err)
	sid, rid := p.Attach()
	fmt.Println(sid != "", rid > 0)
	// Output:
	// <welcome xmlns='urn:example'/> <nil>
	// true true
}
