package boshclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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

var elements = boshclient.Options{Framing: boshclient.Elements}

func TestCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		c := s.dial(t, boshclient.Options{})
		synctest.Wait()
		all := s.requests()
		require.Len(t, all, 2, "the creation and a poll")
		for name, want := range map[string]string{"to": "example.com", "xml:lang": "en", "wait": "60", "hold": "1",
			"ver": "1.11", "ack": "1", "xmpp:version": "1.0", "sid": "", "from": "", "newkey": ""} {
			assert.Equal(t, want, all[0].Attr(name), name)
		}
		assert.NotEqual(t, s.requests()[0].Attr("rid"), "")
		assert.Equal(t, "secret", all[1].Attr("sid"))
		_, has := all[1].Lookup("ack")
		assert.False(t, has, "all answers before it have arrived")
		assert.Equal(t, boshclient.Granted{Wait: time.Minute, Hold: 1, Requests: 2, Polling: 5 * time.Second,
			Inactivity: time.Minute, MaxPause: 2 * time.Minute, Ver: "1.6"}, c.Granted())
		assert.Equal(t, "bosh", c.RemoteAddr().Network())
		assert.Equal(t, "https://example.com/bind", c.RemoteAddr().String())
		assert.NotNil(t, c.LocalAddr())
	})
}

func TestDialErrors(t *testing.T) {
	refuse := func(answer any, err error) *script {
		return &script{answer: func(int, *http.Request, *boshtest.Body) (any, error) { return answer, err }}
	}
	status := func(n int) *http.Response { return response(nil, n, "<html/>") }
	for name, test := range map[string]struct {
		s    *script
		want error
	}{
		"refused":      {refuse("<body type='terminate' condition='host-unknown'"+ns+"/>", nil), boshclient.HostUnknown},
		"same error":   {refuse("<body type='terminate' condition='host-unknown'"+ns+"/>", nil), &boshclient.Error{Condition: boshclient.HostUnknown}},
		"broken":       {refuse(nil, errBroken), errBroken},
		"legacy 400":   {refuse(status(400), nil), boshclient.BadRequest},
		"legacy 403":   {refuse(status(403), nil), boshclient.PolicyViolation},
		"legacy 404":   {refuse(status(404), nil), boshclient.ItemNotFound},
		"condition":    {refuse("<body type='terminate' condition='my-own'"+ns+"/>", nil), boshclient.Condition("my-own")},
		"no condition": {refuse("<body type='terminate'"+ns+"/>", nil), nil},
		"no sid":       {refuse("<body"+ns+"/>", nil), nil},
		"no xml":       {refuse("<html>log in first</html>", nil), nil},
		"empty":        {refuse("", nil), nil},
		"recoverable":  {refuse("<body type='error'"+ns+"/>", nil), nil},
	} {
		_, err := test.s.tryDial(t, elements)
		require.Error(t, err, name)
		if test.want != nil {
			assert.ErrorIs(t, err, test.want, name)
		}
		assert.Len(t, test.s.requests(), 1, "a creation cannot be repeated")
	}
	_, err := refuse(status(503), nil).tryDial(t, elements)
	var se *boshclient.StatusError
	require.True(t, errors.As(err, &se))
	assert.Equal(t, 503, se.Status)

	_, err = refuse("<body type='terminate' condition='see-other-uri'"+ns+"><uri>https://a.example/?a&amp;b</uri><x xmlns='u'/></body>", nil).tryDial(t, elements)
	var e *boshclient.Error
	require.True(t, errors.As(err, &e))
	assert.Equal(t, "https://a.example/?a&b", e.URI)
	assert.Equal(t, "<x xmlns='u'/>", string(e.Payload))

	for _, url := range []string{"", "wss://example.com/", "example.com", "http://", "http://a b/", "https://user:pass word@example.com:x/"} {
		_, err := boshclient.Dial(t.Context(), url, nil)
		require.Error(t, err, url)
		assert.NotContains(t, err.Error(), "pass word")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	_, err = boshclient.Dial(ctx, "http://example.com", &boshclient.Options{HTTPClient: over(http.NotFoundHandler(), nil)})
	assert.ErrorIs(t, err, errBroken, "the cause of the context")
	_, err = refuse(nil, nil).tryDial(t, boshclient.Options{Framing: 9})
	assert.Error(t, err)
}

// The error of Dial says how to mend what a user can mend.
func TestDialAdvice(t *testing.T) {
	end := func(rest string) string { return "<body" + ns + rest }
	status := func(n int) *http.Response { return response(nil, n, "<html/>") }
	moved := status(302)
	moved.Header = http.Header{"Location": {"https://example.org/http-bind?token=secret"}}
	page := response(nil, 200, "<html>log in first</html>")
	page.Header = http.Header{"Content-Type": {"text/html"}}
	for want, answer := range map[string]any{
		"is the URL that of a BOSH endpoint, with http or https":                                                                         status(404),
		`no answer of a BOSH server but something of type "text/html": root is not a body of the httpbind namespace (is the URL that of`: page,
		"a token goes into Options.HTTPHeader":                                                                                           status(403),
		"HTTP status 302 Found to https://example.org/http-bind: dial that URL":                                                          moved,
		`Options.To is "example.com"`:                                                                                                    end(" type='terminate' condition='host-unknown'/>"),
		"Error.URI is where to go":                                                                                                       end(" type='terminate' condition='see-other-uri'/>"),
	} {
		s := &script{answer: func(int, *http.Request, *boshtest.Body) (any, error) { return answer, nil }}
		_, err := s.tryDial(t, elements)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "secret")
	}
	ts := httptest.NewUnstartedServer(http.NotFoundHandler())
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.StartTLS()
	defer ts.Close()
	_, err := boshclient.Dial(t.Context(), ts.URL, nil)
	assert.ErrorContains(t, err, "the Transport of Options.HTTPClient decides whom to trust")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := &script{answer: func(int, *http.Request, *boshtest.Body) (any, error) { cancel(errBroken); return nil, ctx.Err() }}
	o := elements
	o.HTTPClient = &http.Client{Transport: s}
	_, err = boshclient.Dial(ctx, "https://example.com/bind", &o)
	assert.ErrorIs(t, err, errBroken)
	assert.ErrorContains(t, err, "no answer yet")
}

// A request is repeated byte for byte until it is answered, by whatever it fails.
func TestRepeats(t *testing.T) {
	for name, fail := range map[string]func(*http.Request) (any, error){
		"broken":      func(*http.Request) (any, error) { return nil, errBroken },
		"recoverable": func(*http.Request) (any, error) { return "<body type='error'" + ns + "/>", nil },
		"html":        func(*http.Request) (any, error) { return "<html><p>You are behind a portal<br></html>", nil },
		"cut":         func(*http.Request) (any, error) { return "<body" + ns + "><a xmlns='u'>", nil },
		"500":         func(r *http.Request) (any, error) { return response(r, 500, ""), nil },
		"503":         func(r *http.Request) (any, error) { return response(r, 503, "soon"), nil },
		"429":         func(r *http.Request) (any, error) { return response(r, 429, ""), nil },
		"late":        func(*http.Request) (any, error) { return never{}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answer: func(n int, r *http.Request, b *boshtest.Body) (any, error) {
					if n > 0 && n < 5 {
						return fail(r)
					}
					if n == 5 {
						return body("<ok xmlns='u'/>"), nil
					}
					return nil, nil
				}}
				o := elements
				o.GiveUp = time.Hour
				c := s.dial(t, o)
				start := time.Now()
				el, err := c.ReadElement(day(t))
				require.NoError(t, err)
				assert.Equal(t, "<ok xmlns='u'/>", string(el))
				all := s.requests()
				for i := 2; i <= 5; i++ {
					assert.Equal(t, all[1].String(), all[i].String(), i)
				}
				if name != "late" {
					assert.Less(t, time.Since(start), 700*time.Millisecond, "at once, after 100, 200 and 400 ms")
					assert.Greater(t, time.Since(start), 350*time.Millisecond)
				} else {
					assert.Greater(t, time.Since(start), 4*70*time.Second)
				}
				assert.Equal(t, int64(4), c.Stats().Repeats)
			})
		})
	}
}

// What a repeat does not mend ends the session at once.
func TestFinalErrors(t *testing.T) {
	type answers = func(*http.Request) (any, error)
	status := func(n int) answers { return func(r *http.Request) (any, error) { return response(r, n, ""), nil } }
	text := func(s string) answers { return func(*http.Request) (any, error) { return s, nil } }
	for name, test := range map[string]struct {
		answer answers
		want   error
	}{
		"condition": {text("<body type='terminate' condition='policy-violation'" + ns + "/>"), boshclient.PolicyViolation},
		"graceful":  {text("<body type='terminate'" + ns + "/>"), io.EOF},
		"404":       {status(404), nil},
		"401":       {status(401), nil},
		"301":       {status(301), nil},
		"large":     {text(body(strings.Repeat("<a xmlns='u'/>", 200))), nil},
		"huge": {func(r *http.Request) (any, error) {
			resp := response(r, 200, "")
			resp.ContentLength = 1 << 40
			return resp, nil
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answer: func(n int, r *http.Request, b *boshtest.Body) (any, error) {
					if n == 0 {
						return nil, nil
					}
					return test.answer(r)
				}}
				o := elements
				o.MaxBody, o.GiveUp = 2000, time.Millisecond
				c := s.dial(t, o)
				start := time.Now()
				_, err := c.Read(make([]byte, 1))
				require.Error(t, err)
				if test.want != nil {
					assert.ErrorIs(t, err, test.want)
				}
				var op *net.OpError
				assert.Equal(t, err != io.EOF, errors.As(err, &op), "in an OpError: %v", err)
				assert.NotContains(t, err.Error(), "secret")
				assert.Zero(t, time.Since(start))
				assert.Len(t, s.requests(), 2)
				_, werr := c.Write([]byte("<a xmlns='u'/>"))
				assert.ErrorIs(t, werr, context.Cause(c.Context()))
				assert.NoError(t, c.Close(), "nothing was lost by closing")
			})
		})
	}
}

func TestGivesUp(t *testing.T) {
	for _, giveUp := range []time.Duration{0, time.Minute, -1} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{answer: func(n int, _ *http.Request, _ *boshtest.Body) (any, error) {
				if n == 0 {
					return nil, nil
				}
				return nil, errBroken
			}}
			o := elements
			o.GiveUp = giveUp
			c := s.dial(t, o)
			start := time.Now()
			_, err := c.ReadElement(day(t))
			assert.ErrorIs(t, err, boshclient.ErrUnanswered)
			assert.ErrorIs(t, err, errBroken)
			took := time.Since(start)
			switch giveUp {
			case 0: // wait and inactivity
				assert.InDelta(t, 2*time.Minute, took, float64(11*time.Second))
			case -1:
				assert.Zero(t, took)
				assert.Len(t, s.requests(), 2)
			default:
				assert.InDelta(t, giveUp, took, float64(11*time.Second))
			}
		})
	}
}

// 401 is not final for a client that can get a fresh token.
func TestPrepare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tokens atomic.Int64
		s := &script{answer: func(n int, r *http.Request, _ *boshtest.Body) (any, error) {
			switch r.Header.Get("Authorization") {
			case "Bearer 1", "Bearer 4":
				assert.Equal(t, "yes", r.Header.Get("X-Static"))
				return nil, nil
			}
			return response(r, 401, ""), nil
		}}
		o := elements
		o.HTTPHeader = http.Header{"X-Static": {"yes"}}
		o.Prepare = func(r *http.Request) error {
			n := tokens.Add(1)
			if n == 2 {
				return errBroken
			}
			r.Header.Set("Authorization", fmt.Sprint("Bearer ", n))
			return nil
		}
		c := s.dial(t, o)
		time.Sleep(time.Second)
		assert.Equal(t, int64(4), tokens.Load(), "creation, an error, a refused one, a good one")
		assert.Equal(t, int64(2), c.Stats().Repeats)
		assert.Empty(t, o.HTTPHeader.Get("Authorization"))
	})
}

// Two answers are taken in the order of their rids.
func TestOrderOfAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first string
		s := &script{answer: func(n int, r *http.Request, b *boshtest.Body) (any, error) {
			switch n {
			case 1:
				first = b.Attr("rid")
				time.Sleep(time.Second)
				return body("<one xmlns='u'/>"), nil
			case 2:
				return body("<two xmlns='u'/><three xmlns='u'/>", "report='"+first+"' time='1'"), nil
			}
			return nil, nil
		}}
		c := s.dial(t, elements)
		synctest.Wait()
		require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
		for _, want := range []string{"one", "two", "three"} {
			el, err := c.ReadElement(day(t))
			require.NoError(t, err)
			assert.Contains(t, string(el), want)
		}
	})
}

// A recoverable error has all earlier requests repeated too, and a report the one that
// it names.
func TestRepeatsOthers(t *testing.T) {
	for name, second := range map[string]func(first string) string{
		"recoverable": func(string) string { return "<body type='error'" + ns + "/>" },
		"report":      func(first string) string { return body("", "report='"+first+"' time='9'") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var first string
				var repeats int
				s := &script{answer: func(n int, r *http.Request, b *boshtest.Body) (any, error) {
					switch {
					case n == 1:
						first = b.Attr("rid")
						return never{}, nil
					case n == 2:
						return second(first), nil
					case b.Attr("rid") == first:
						repeats++
						return body("<one xmlns='u'/>"), nil
					}
					return nil, nil
				}}
				c := s.dial(t, elements)
				synctest.Wait()
				require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
				el, err := c.ReadElement(day(t))
				require.NoError(t, err)
				assert.Equal(t, "<one xmlns='u'/>", string(el))
				assert.Equal(t, 1, repeats)
			})
		})
	}
}

// Of several ends the one that says most counts.
func TestEndGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(n int, r *http.Request, b *boshtest.Body) (any, error) {
			switch n {
			case 1:
				time.Sleep(time.Second)
				return "<body type='terminate' condition='other-request'" + ns + "/>", nil
			case 2:
				time.Sleep(2 * time.Second)
				return "<body type='terminate' condition='policy-violation'" + ns + "/>", nil
			}
			return nil, nil
		}}
		c := s.dial(t, elements)
		synctest.Wait()
		require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
		start := time.Now()
		_, err := c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, boshclient.PolicyViolation)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestKeysAndAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) { io.Copy(s, s) }})
		var all []*boshtest.Body
		spy := spyOn(boshtest.InMemory(h), func(b *boshtest.Body) { all = append(all, b) })
		o := elements
		o.Keys, o.HTTPClient = 3, &http.Client{Transport: spy}
		c, err := boshclient.Dial(t.Context(), "http://example.com/", &o)
		require.NoError(t, err)
		defer c.CloseNow()
		for range 20 {
			time.Sleep(time.Second) // it polls
			require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
			_, err := c.ReadElement(t.Context())
			require.NoError(t, err)
		}
		synctest.Wait()
		keys, newkeys, acks := 0, 0, 0
		for _, b := range all[1:] {
			if b.Attr("key") != "" {
				keys++
			}
			if b.Attr("newkey") != "" {
				newkeys++
			}
			if b.Attr("ack") != "" {
				acks++
			}
		}
		assert.Equal(t, len(all)-1, keys)
		assert.Greater(t, newkeys, 5)
		assert.Positive(t, acks)
	})
}

// spyOn has a function see each request.
func spyOn(rt http.RoundTripper, see func(*boshtest.Body)) http.RoundTripper {
	var mu sync.Mutex
	return transport(func(r *http.Request) (*http.Response, error) {
		rc, _ := r.GetBody()
		text, _ := io.ReadAll(rc)
		if b, err := boshtest.ParseBody(text); err == nil {
			mu.Lock()
			see(b)
			mu.Unlock()
		}
		return rt.RoundTrip(r)
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What is written while requests are open goes out together with the next.
func TestWritesGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(n int, r *http.Request, b *boshtest.Body) (any, error) {
			if n == 1 {
				time.Sleep(time.Second)
				return body(""), nil
			}
			return nil, nil
		}}
		c := s.dial(t, elements)
		synctest.Wait()
		require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
		synctest.Wait()
		for range 5 {
			write(t, c, "<b xmlns='u'/>")
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		all := s.requests()
		require.Len(t, all, 4)
		assert.Len(t, all[2].Payloads, 1)
		assert.Len(t, all[3].Payloads, 5)
	})
}

// A server that does not hold requests is not asked without end.
func TestNoBusyLoop(t *testing.T) {
	for name, test := range map[string]struct {
		created string
		every   time.Duration
	}{
		"polling": {"<body sid='a' wait='0' polling='5'" + ns + "/>", 5 * time.Second},
		"one":     {"<body sid='a' wait='60' hold='1' requests='1'" + ns + "/>", time.Second},
		"hasty":   {"<body sid='a' wait='60' hold='1' requests='2'" + ns + "/>", time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{answer: func(n int, r *http.Request, b *boshtest.Body) (any, error) {
				if n == 0 {
					return test.created, nil
				}
				return body(""), nil
			}}
			s.dial(t, elements)
			time.Sleep(time.Minute)
			assert.InDelta(t, time.Minute/test.every, len(s.requests())-1, 1, name)
		})
	}
}

func TestRedirects(t *testing.T) {
	for _, test := range []struct {
		status int
		to     string
		ok     bool
	}{
		{307, "https://other.example/bind", true},
		{308, "https://other.example/bind", true},
		{307, "http://other.example/bind", false},
		{302, "https://other.example/bind", false},
	} {
		s := &script{answer: func(n int, r *http.Request, _ *boshtest.Body) (any, error) {
			if r.URL.Host == "other.example" {
				return granted, nil
			}
			resp := response(r, test.status, "")
			resp.Header.Set("Location", test.to)
			return resp, nil
		}}
		o := elements
		o.HTTPClient = &http.Client{Transport: s}
		_, err := boshclient.Dial(t.Context(), "https://example.com/", &o)
		assert.Equal(t, test.ok, err == nil, "%+v: %v", test, err)
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := elements
		o.WriteBuffer = 20
		c := (&script{mute: true}).dial(t, o)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		start := time.Now()
		_, err := c.ReadElement(t.Context())
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		var timeout net.Error
		require.True(t, errors.As(err, &timeout))
		assert.True(t, timeout.Timeout())

		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
		for err = nil; err == nil; {
			err = c.WriteElement(t.Context(), []byte("<a xmlns='u'>0123456789</a>"))
		}
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, 2*time.Second, time.Since(start))
		require.NoError(t, c.SetDeadline(time.Time{}))
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBroken)
		defer cancel()
		assert.ErrorIs(t, c.WriteElement(ctx, []byte("<a xmlns='u'/>")), errBroken)
		_, err = c.ReadElement(ctx)
		assert.ErrorIs(t, err, errBroken)
	})
}

// A reply goes out in place of a poll, and a query that is answered at once takes one
// request.
func TestRequestsPerQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) { io.Copy(s, s) }})
		c := dial(t, h, nil, elements)
		const n = 100
		for range n {
			require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
			_, err := c.ReadElement(t.Context())
			require.NoError(t, err)
		}
		assert.LessOrEqual(t, c.Stats().Requests, int64(n+3))
	})
}

// A request is not sent before the one before it has been written, so that they arrive
// in order over connections that take a while.
func TestSentInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) { io.Copy(io.Discard, s) }})
		srv := boshtest.NewPipeServer(h)
		defer srv.Close()
		var dials, at, atOnce, broken atomic.Int64
		dial := srv.Transport.DialContext
		srv.Transport.DisableKeepAlives = true // each request has a connection of its own
		srv.Transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if at.Add(1) > 1 {
				atOnce.Add(1)
			}
			defer at.Add(-1)
			switch n := dials.Add(1); {
			case n%7 == 2:
				broken.Add(1)
				return nil, errBroken
			case n%2 == 0:
				time.Sleep(20 * time.Millisecond)
			}
			return dial(ctx, network, addr)
		}
		o := elements
		o.HTTPClient = &http.Client{Transport: srv.Transport}
		c, err := boshclient.Dial(t.Context(), srv.URL, &o)
		require.NoError(t, err)
		for range 30 {
			time.Sleep(5*time.Millisecond + 1) // it polls, mostly
			require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
		}
		require.NoError(t, c.Close())
		assert.Zero(t, atOnce.Load(), "a connection was asked for while another request waited for one")
		assert.Positive(t, broken.Load())
	})
}
