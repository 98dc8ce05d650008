package bosh_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A server logs its user in, and the page goes on with the session.
func TestPrebind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
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
		p, err := h.Prebind(t.Context(), page, bosh.Opening{To: "example.com"})
		require.NoError(t, err)
		answer, err := p.Exchange(t.Context(), []byte("<login xmlns='urn:x'/>"))
		require.NoError(t, err)
		assert.Equal(t, "<welcome xmlns='urn:x'/>", string(answer))
		for s := range h.Sessions() {
			assert.Equal(t, "192.0.2.7:99", s.RemoteAddr().String())
		}

		sid, rid := p.Attach()
		c, err := boshtest.Dial(t.Context(), boshtest.Config{Transport: boshtest.InMemory(h), Sid: sid, Rid: rid + 1})
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.Send(t.Context(), "<a xmlns='urn:x'/>"))
		got, err := c.Recv(t.Context())
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
