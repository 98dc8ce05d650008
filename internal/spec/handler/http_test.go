package handler_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requireSafe asserts that a browser cannot be made to run or keep an answer.
func requireSafe(t *testing.T, r HttpAnswer) {
	t.Helper()
	require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
	require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
	require.Contains(t, r.Header.Get("Content-Security-Policy"), "sandbox")
	require.Contains(t, r.Header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Empty(t, r.Header["Access-Control-Allow-Credentials"])
	require.Empty(t, r.Header["Set-Cookie"])
}

func TestMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		text := p.Body(1001, "<forged xmlns='u'/>")
		for method, status := range map[string]int{
			"GET": 200, "HEAD": 200, "OPTIONS": 204,
			"PUT": 405, "DELETE": 405, "PATCH": 405, "TRACE": 405, "CONNECT": 405, "post": 405, "FOO": 405,
		} {
			r := Do(t, p.Rt, method, AnyURL, strings.NewReader(text))
			assert.Equal(t, status, r.StatusCode, method)
			requireSafe(t, r)
			switch {
			case status != 200:
				assert.Equal(t, "POST, OPTIONS, GET, HEAD", r.Header.Get("Allow"), method)
				assert.Empty(t, r.Text)
			case method == "GET":
				assert.Contains(t, r.Text, "BOSH")
				assert.True(t, strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain"))
			default:
				assert.Empty(t, r.Text)
			}
		}
		assert.EqualValues(t, 1, s.Session().Stats().Requests, "none of them was for the session")
		p.Send("<real xmlns='u'/>")
		RequireRead(t, s, "<real xmlns='u'/>")
	})
}

func TestCORS(t *testing.T) {
	const page, evil = "https://page.example", "https://evil.example"
	only := func(origin string) bool { return origin == page }
	for name, test := range map[string]struct {
		o      bosh.Options
		origin []string
		want   string // Access-Control-Allow-Origin
		vary   string
	}{
		"any":           {bosh.Options{}, []string{page}, "*", ""},
		"any, none":     {bosh.Options{}, nil, "*", ""},
		"allowed":       {bosh.Options{AllowOrigin: only}, []string{page}, page, "Origin"},
		"not allowed":   {bosh.Options{AllowOrigin: only}, []string{evil}, "", "Origin"},
		"null":          {bosh.Options{AllowOrigin: only}, []string{"null"}, "", "Origin"},
		"none":          {bosh.Options{AllowOrigin: only}, nil, "", "Origin"},
		"two":           {bosh.Options{AllowOrigin: only}, []string{page, evil}, "", "Origin"},
		"NoCORS":        {bosh.Options{NoCORS: true}, []string{page}, "", ""},
		"with Compress": {bosh.Options{AllowOrigin: only, Compress: 1}, []string{page}, page, "Origin, Accept-Encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.o.Framing = bosh.Elements
				rt := boshtest.InMemory(NewHandler(t, test.o))
				var headers []string
				for _, origin := range test.origin {
					headers = append(headers, "Origin", origin)
				}
				pre := Do(t, rt, "OPTIONS", AnyURL, nil, append(headers, "Access-Control-Request-Method", "POST",
					"Access-Control-Request-Headers", "content-type")...)
				post := Do(t, rt, "POST", AnyURL, strings.NewReader(Creation()), headers...)
				for _, r := range []HttpAnswer{pre, post} {
					assert.Equal(t, test.want, r.Header.Get("Access-Control-Allow-Origin"))
					requireSafe(t, r)
				}
				assert.Equal(t, test.vary, strings.Join(post.Header["Vary"], ", "))
				assert.Equal(t, http.StatusNoContent, pre.StatusCode)
				if test.want == "" {
					assert.Empty(t, pre.Header["Access-Control-Allow-Methods"])
					return
				}
				assert.Equal(t, "POST, OPTIONS", pre.Header.Get("Access-Control-Allow-Methods"))
				assert.Equal(t, "Content-Type", pre.Header.Get("Access-Control-Allow-Headers"))
				assert.NotEmpty(t, pre.Header.Get("Access-Control-Max-Age"))
			})
		})
	}
}

// A browser that does not accept the headers for CORS, as when something in front adds
// its own, sends preflights and no requests. Nobody but we can tell the operator. B5-9.
func TestPreflightsOnly(t *testing.T) {
	const page = "https://page.example"
	message := "bosh: preflights of a page are answered, and no request follows: its browser does not accept the headers for CORS;" +
		" a proxy in front may set them too, and must not"
	for name, test := range map[string]struct {
		o    bosh.Options
		post bool // requests follow
		said string
	}{
		"two headers":       {bosh.Options{}, false, message},
		"nobody sees to it": {bosh.Options{NoCORS: true}, false, message},
		"requests follow":   {bosh.Options{}, true, ""},
		"not allowed": {bosh.Options{AllowOrigin: func(string) bool { return false }}, false,
			"bosh: preflight refused: AllowOrigin does not let this page in"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &Journal{}
				test.o.Framing, test.o.Logger = bosh.Elements, slog.New(j)
				pipe := boshtest.NewPipeServer(NewHandler(t, test.o))
				defer pipe.Close()
				for range 5 {
					Do(t, pipe, "OPTIONS", AnyURL, nil, "Origin", page, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
					if test.post {
						Do(t, pipe, "POST", AnyURL, strings.NewReader(Creation()), "Origin", page)
					}
					Do(t, pipe, "OPTIONS", AnyURL, nil) // which is no preflight
					time.Sleep(1100 * time.Millisecond)
				}
				for _, m := range []string{message, "bosh: preflight refused: AllowOrigin does not let this page in"} {
					said := j.Of(m)
					if m != test.said {
						assert.Empty(t, said)
					} else if assert.Len(t, said, 1) {
						assert.Equal(t, page, said[0].Attrs["origin"])
					}
				}
			})
		})
	}
}

// B5-9 a page may set further headers, and send credentials, where that is wanted.
func TestCORSOptions(t *testing.T) {
	const page = "https://page.example"
	only := func(origin string) bool { return origin == page }
	for name, test := range map[string]struct {
		o                   bosh.Options
		origin, credentials string
		log                 int
	}{
		"with AllowOrigin":  {bosh.Options{AllowOrigin: only, AllowCredentials: true}, page, "true", 0},
		"another page":      {bosh.Options{AllowOrigin: only, AllowCredentials: true}, "https://evil.example", "", 0},
		"without":           {bosh.Options{AllowCredentials: true}, page, "", 1},
		"but not":           {bosh.Options{AllowOrigin: only}, page, "", 0},
		"with NoCORS":       {bosh.Options{AllowOrigin: only, AllowCredentials: true, NoCORS: true}, page, "", 0},
		"and odd names":     {bosh.Options{AllowOrigin: only, AllowCredentials: true, AllowHeaders: []string{"X: y", "", "X\r\nY"}}, page, "true", 3},
		"and no credential": {bosh.Options{AllowHeaders: []string{"Authorization"}}, page, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				test.o.Framing, test.o.Logger = bosh.Elements, slog.New(slog.NewTextHandler(&log, nil))
				test.o.AllowHeaders = append(test.o.AllowHeaders, "X-Token")
				pipe := boshtest.NewPipeServer(NewHandler(t, test.o))
				defer pipe.Close()
				pre := Do(t, pipe, "OPTIONS", AnyURL, nil, "Origin", test.origin, "Access-Control-Request-Method", "POST",
					"Access-Control-Request-Headers", "content-type,x-token")
				answers := []HttpAnswer{pre}
				for range 2 {
					answers = append(answers, Do(t, pipe, "POST", AnyURL, strings.NewReader(Creation()), "Origin", test.origin, "X-Token", "a"))
				}
				for _, r := range answers {
					assert.Equal(t, test.credentials, r.Header.Get("Access-Control-Allow-Credentials"))
					if test.credentials != "" {
						assert.Equal(t, page, r.Header.Get("Access-Control-Allow-Origin"), "never with *")
					}
				}
				if pre.Header["Access-Control-Allow-Origin"] != nil {
					list := strings.Split(pre.Header.Get("Access-Control-Allow-Headers"), ", ")
					assert.Equal(t, "Content-Type", list[0])
					assert.Equal(t, "X-Token", list[len(list)-1])
				}
				assert.NotContains(t, pre.Header.Get("Access-Control-Allow-Headers"), "Y")
				assert.Equal(t, test.log, strings.Count(log.String(), "level=WARN"), log.String())
			})
		})
	}
}

// B5-9 a policy that a handler in front has set is left alone, in each answer of a
// connection, and that is said once.
func TestCORSInFront(t *testing.T) {
	const page = "https://page.example"
	for _, isDirect := range []bool{false, true} {
		for name, front := range map[string]http.Header{
			"an origin": {"Access-Control-Allow-Origin": {page}, "Access-Control-Allow-Credentials": {"true"}, "Vary": {"Origin"}},
			"no":        {"Vary": {"Origin"}},
		} {
			for _, o := range []bosh.Options{{}, {AllowOrigin: func(string) bool { return true }}, {NoCORS: true}} {
				t.Run(fmt.Sprint(name, isDirect, o.AllowOrigin != nil, o.NoCORS), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var log strings.Builder
						o.Framing, o.Logger = bosh.Elements, slog.New(slog.NewTextHandler(&log, nil))
						h := WithEngine(t, o, isDirect)
						pipe := boshtest.NewPipeServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							for name, values := range front {
								w.Header()[name] = values
							}
							h.ServeHTTP(w, r)
						}))
						defer pipe.Close()
						answers := []HttpAnswer{Do(t, pipe, "OPTIONS", AnyURL, nil, "Origin", page)}
						for range 3 {
							answers = append(answers, Do(t, pipe, "POST", AnyURL, strings.NewReader(Creation()), "Origin", page))
						}
						for _, r := range answers {
							for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"} {
								assert.Equal(t, front[name], r.Header[name])
							}
						}
						want := 1
						if o.NoCORS {
							want = 0
						}
						assert.Equal(t, want, strings.Count(log.String(), "are left as they are"), log.String())
					})
				})
			}
		}
	}
}

// Whatever the outcome, the answer is safe and has an exact length.
func TestEveryAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		body   func(p *Peer) string
		status int
	}{
		"creation":          {func(*Peer) string { return Creation() }, 200},
		"refused":           {func(*Peer) string { return strings.Replace(Creation(), "'60'", "'x'", 1) }, 200},
		"no body":           {func(*Peer) string { return "" }, 200},
		"no XML":            {func(*Peer) string { return "<script>alert(1)</script>" }, 200},
		"unknown session":   {func(p *Peer) string { return strings.Replace(p.Body(1001, ""), p.Sid, "X"+p.Sid, 1) }, 200},
		"rid":               {func(p *Peer) string { return p.Body(5000, "") }, 200},
		"malformed":         {func(p *Peer) string { return p.Body(1001, "<a>") }, 200},
		"payload":           {func(p *Peer) string { return p.Body(1001, "<a/>") }, 200},
		"pause":             {func(p *Peer) string { return p.Body(1001, "", "pause='10'") }, 200},
		"terminate":         {func(p *Peer) string { return p.Body(1001, "", "type='terminate'") }, 200},
		"legacy, refused":   {func(*Peer) string { return "<body rid='0' to='a' xmlns='" + NsBind + "'/>" }, 400},
		"legacy, malformed": {func(*Peer) string { return "<body rid='1' to='a' xmlns='" + NsBind + "'><a>" }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pipe := boshtest.NewPipeServer(NewHandler(t, Elements()))
				defer pipe.Close()
				p := Dial(t, pipe)
				r := Do(t, pipe, "POST", AnyURL, strings.NewReader(test.body(p)))
				assert.Equal(t, test.status, r.StatusCode)
				requireSafe(t, r)
				assert.Equal(t, []string{strconv.Itoa(len(r.Text))}, r.Header["Content-Length"])
				assert.Empty(t, r.TransferEncoding)
				if test.status == 200 {
					_, err := boshtest.ParseBody([]byte(r.Text))
					assert.NoError(t, err)
					assert.Equal(t, "text/xml; charset=utf-8", r.Header.Get("Content-Type"))
				}
			})
		})
	}
}

// Headers that mean nothing to BOSH change nothing. B5-3, B5-8.
func TestHeadersWithoutMeaning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		rt := boshtest.InMemory(h)
		var first string
		for i, headers := range [][]string{
			{},
			{"Content-Type", "text/xml; charset=utf-8"},
			{"Content-Type", "text/plain"},
			{"Content-Type", "application/x-www-form-urlencoded"},
			{"Content-Type", "application/xml; charset=us-ascii"},
			{"Content-Type", "\x7f;"},
			{"X-Foo", "bar", "Cookie", "a=b", "Authorization", "Basic eDp5", "If-None-Match", "*", "Range", "bytes=0-1"},
		} {
			p := Dial(t, rt)
			s := Accept(t, h)
			Write(t, s, "<out xmlns='u'/>")
			r := Do(t, rt, "POST", AnyURL, strings.NewReader(p.Body(1001, "<in xmlns='u'/>")), headers...)
			RequireRead(t, s, "<in xmlns='u'/>")
			assert.Equal(t, http.StatusOK, r.StatusCode)
			if i == 0 {
				first = r.Text
			}
			assert.Equal(t, first, r.Text, "%v", headers)
		}
	})
}

// B5-4: HTTP/1.0 is served in full.
func TestHTTP10(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := boshtest.NewPipeServer(NewHandler(t, Elements()))
		defer pipe.Close()
		for _, headers := range []string{"", "Connection: keep-alive\r\n"} {
			_, b := RawHTTP(t, pipe.Listener, PostText("1.0", headers, Creation()))
			r, err := http.ReadResponse(b, nil)
			require.NoError(t, err)
			text, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			assert.EqualValues(t, len(text), r.ContentLength)
			assert.Contains(t, string(text), "sid=")
			if headers == "" {
				_, err = b.ReadByte()
				assert.Equal(t, io.EOF, err, "the connection is closed")
				continue
			}
			assert.Equal(t, "keep-alive", r.Header.Get("Connection"))
		}
	})
}

// B5-5: an answer is never chunked, however large.
func TestLargeAnswer(t *testing.T) {
	OverVersions(t, Elements(), 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		p := Dial(t, pipe)
		big := "<big xmlns='u'>" + strings.Repeat("x", 1<<20) + "</big>"
		Write(t, Accept(t, h), big)
		r := Do(t, pipe, "POST", AnyURL, strings.NewReader(p.Body(1001, "")))
		assert.Contains(t, r.Text, big)
		assert.EqualValues(t, len(r.Text), r.ContentLength)
		assert.Empty(t, r.TransferEncoding)
	})
}

// B5-6: a request may be chunked.
func TestChunkedRequest(t *testing.T) {
	OverVersions(t, Elements(), 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		p := Dial(t, pipe)
		s := Accept(t, h)
		body := struct{ io.Reader }{strings.NewReader(p.Body(1001, "<a xmlns='u'/>"))} // of unknown length
		answer := Async(func() HttpAnswer { return Do(t, pipe, "POST", AnyURL, body) })
		RequireRead(t, s, "<a xmlns='u'/>")
		Write(t, s, "<b xmlns='u'/>")
		assert.Contains(t, (<-answer).Text, "<b xmlns='u'/>")
	})
}

// Nor does a deadline that somebody in front has set for reading the request.
func TestDeadlineInFront(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		pipe := boshtest.Pipe(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			assert.NoError(t, http.NewResponseController(w).SetReadDeadline(time.Now().Add(5*Second)))
			h.ServeHTTP(w, r)
		})})
		defer pipe.Close()
		p := Dial(t, pipe)
		s := Accept(t, h)
		c := p.Hold("")
		time.Sleep(50 * Second)
		assert.Equal(t, 1, s.Session().Stats().Open)
		Write(t, s, "<b xmlns='u'/>")
		assert.Equal(t, "<b xmlns='u'/>", c.Wait().Payload())
	})
}

// Time-outs of the Server that are shorter than the wait do not end it.
func TestServerTimeouts(t *testing.T) {
	for _, o := range []bosh.Options{{}, {WriteTimeout: time.Minute}} {
		o.Framing = bosh.Elements
		OverVersions(t, o, 2*Second, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
			p := Dial(t, pipe)
			s := Accept(t, h)
			for range 3 {
				c := p.Hold("<a xmlns='u'/>")
				time.Sleep(50 * Second)
				assert.Equal(t, 1, s.Session().Stats().Open)
				Write(t, s, "<b xmlns='u'/>")
				assert.Equal(t, "<b xmlns='u'/>", c.Wait().Payload())
			}
		})
	}
}

// A client that takes an answer too slowly is cut off, and gets the same answer
// when it asks again.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, WriteTimeout: 5 * Second})
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		p := Dial(t, pipe)
		s := Accept(t, h)
		big := "<big xmlns='u'>" + strings.Repeat("x", 1<<20) + "</big>"
		Write(t, s, big)
		body := p.Body(1001, "")
		RawHTTP(t, pipe.Listener, PostText("1.1", "", body))
		synctest.Wait()
		assert.Equal(t, 1, s.Session().Stats().Open)
		time.Sleep(5 * Second)
		synctest.Wait()
		assert.Zero(t, s.Session().Stats().Open)
		assert.Equal(t, big, boshtest.Exchange(t, pipe, body).Payload())
	})
}

// Behind what hides the connection's deadlines everything works, and the log
// says once what is missing.
func TestWithoutDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		o := Elements()
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		h := NewHandler(t, o)
		for range 3 {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(Creation())))
			b, err := boshtest.ParseBody(w.Body.Bytes())
			require.NoError(t, err)
			assert.NotEmpty(t, b.Attr("sid"))
			Accept(t, h)
		}
		assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
	})
}

// http.TimeoutHandler ends a request that cannot be answered in time, since one before
// it is missing. For the session it is a broken connection.
func TestTimeoutHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		rt := boshtest.InMemory(http.TimeoutHandler(h, 10*Second, "too late"))
		p := Dial(t, rt)
		s := Accept(t, h)
		early := p.Body(1002, "<b xmlns='u'/>")
		assert.Equal(t, http.StatusServiceUnavailable, boshtest.Exchange(t, rt, early).Status)
		synctest.Wait() // for the handler, for which nobody has waited
		first := p.Post("<a xmlns='u'/>")
		RequireRead(t, s, "<a xmlns='u'/>")
		RequireRead(t, s, "<b xmlns='u'/>")
		assert.Zero(t, s.Session().Stats().Unread, "read once")
		Write(t, s, "<c xmlns='u'/>")
		assert.Equal(t, "<c xmlns='u'/>", first.Wait().Payload())
		repeated := boshtest.Post(t, rt, early)
		Write(t, s, "<d xmlns='u'/>")
		assert.Equal(t, "<d xmlns='u'/>", repeated.Wait().Payload())
	})
}

// A held request whose client has gone gets nothing; what there is to say waits
// for the next one.
func TestClientGone(t *testing.T) {
	OverVersions(t, Elements(), 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		p := Dial(t, pipe)
		s := Accept(t, h)
		p.Hold("").Cancel()
		synctest.Wait()
		assert.Zero(t, s.Session().Stats().Open)
		Write(t, s, "<a xmlns='u'/>")
		synctest.Wait()
		assert.Equal(t, "<a xmlns='u'/>", p.Send("").Payload())
		assert.Empty(t, boshtest.Exchange(t, pipe, p.Body(1001, "")).Payload(), "the lost one is settled")
	})
}

// A server that stops while requests are held leaves no session in a mess.
func TestServerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		pipe := boshtest.NewPipeServer(h)
		p := Dial(t, pipe)
		s := Accept(t, h)
		c := p.Hold("")
		pipe.Close()
		require.Error(t, c.Err())
		synctest.Wait()
		assert.Zero(t, s.Session().Stats().Open)
		assert.NoError(t, s.Session().Err())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		assert.NoError(t, h.Shutdown(ctx))
	})
}

// A stall is a dialer of connections of which nothing is read any more once it is
// dead.
type stall struct {
	dial func(context.Context, string, string) (net.Conn, error)
	dead atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
}

type stalledConn struct {
	net.Conn
	s      *stall
	closed chan struct{}
	once   sync.Once
}

func (s *stall) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := s.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, &stalledConn{Conn: c, s: s, closed: make(chan struct{})})
	return s.conns[len(s.conns)-1], nil
}

// end closes all connections.
func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

func (c *stalledConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.s.dead.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *stalledConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// overStalls runs a test with both engines, and also over HTTP/2. What is posted over
// lame is answered as far as its connections take it, once it is dead.
func overStalls(t *testing.T, o bosh.Options, f func(t *testing.T, h *bosh.Handler, good *boshtest.PipeServer, lame *lameTransport)) {
	for _, o.Direct = range []bool{false, true} {
		OverVersions(t, o, 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
			lame := &lameTransport{stall: stall{dial: pipe.Listener.DialContext}}
			lame.Transport = &http.Transport{DialContext: lame.stall.DialContext, Protocols: pipe.Transport.Protocols}
			defer lame.end()
			f(t, h, pipe, lame)
		})
	}
}

type lameTransport struct {
	*http.Transport
	stall
}

// A connection that dies in the middle of an answer holds up nothing any more once
// the client has asked for that answer elsewhere. B14.3-1.
func TestRepeatTakesTheTurn(t *testing.T) {
	big := "<big xmlns='u'>" + strings.Repeat("x", 100<<10) + "</big>"
	overStalls(t, StdOptions, func(t *testing.T, h *bosh.Handler, good *boshtest.PipeServer, lame *lameTransport) {
		p := Dial(t, good)
		s := Accept(t, h)
		held := boshtest.Post(t, lame, p.Body(1001, ""))
		synctest.Wait()
		lame.dead.Store(true)
		Write(t, s, big)
		synctest.Wait()
		next := boshtest.Post(t, good, p.Body(1002, ""))
		synctest.Wait()
		Write(t, s, X("a"))
		time.Sleep(Second)
		assert.False(t, next.Answered(), "one after the other")
		assert.Zero(t, Elapsed(func() {
			assert.Equal(t, big, boshtest.Exchange(t, good, p.Body(1001, "")).Payload())
			assert.Equal(t, X("a"), next.Wait().Payload())
		}))
		assert.Equal(t, 1, s.Session().Stats().Open, "the dead one")
		held.Cancel()
	})

	// Nor does one that has still to be written to.
	const success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
	o := StdOptions
	o.Framing, o.CreateTimeout, o.Hold = bosh.XMPP, -1, 2
	overStalls(t, o, func(t *testing.T, h *bosh.Handler, good *boshtest.PipeServer, lame *lameTransport) {
		created := boshtest.Exchange(t, good, strings.Replace(Creation(), "hold='1'", "hold='2'", 1))
		p := &Peer{T: t, Rt: good, Sid: created.Attr("sid"), Rid: 1000}
		s := Accept(t, h)
		for rid := range int64(2) {
			boshtest.Post(t, lame, p.Body(1001+rid, ""))
			synctest.Wait()
		}
		lame.dead.Store(true)
		Write(t, s, "<stream:stream xmlns:stream='"+NsStream+"' xmlns='jabber:client' version='1.0'>"+big)
		synctest.Wait()
		Write(t, s, big+success)
		restart := boshtest.Post(t, good, p.Body(1003, "", "xmpp:restart='true'", "xmlns:xmpp='"+NsXBOSH+"'"))
		synctest.Wait()
		Write(t, s, "<stream:features/>")
		assert.Zero(t, Elapsed(func() {
			assert.Equal(t, big+success, boshtest.Exchange(t, good, p.Body(1002, "")).Payload())
			assert.Equal(t, big, boshtest.Exchange(t, good, p.Body(1001, "")).Payload())
			assert.Contains(t, restart.Wait().Payload(), "features")
		}))
	})
}

// A client that leaves before it is told of its session has none, and so nobody
// could ask again: row "Creating, connection breaks" of the requirements.
func TestCreationIsLeft(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		for name, framing := range map[string]bosh.Framing{"XMPP": bosh.XMPP, "Elements": bosh.Elements} {
			o := bosh.Options{Framing: framing, Direct: isDirect}
			ends := make(chan error, 1)
			o.Grace = 50 * time.Millisecond // for Elements
			o.Serve = func(s *bosh.Stream) {
				<-s.Context().Done()
				_, err := io.Copy(io.Discard, s)
				ends <- err
			}
			t.Run(name, func(t *testing.T) {
				OverVersions(t, o, 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
					c := boshtest.Post(t, pipe, Creation())
					synctest.Wait()
					assert.EqualValues(t, 1, h.Stats().Sessions)
					assert.Zero(t, Elapsed(func() {
						c.Cancel()
						assert.ErrorContains(t, <-ends, "left")
					}))
					synctest.Wait()
					assert.Zero(t, h.Stats().Sessions)
					assert.Equal(t, map[string]int64{"inactive": 1}, h.Stats().Ended)

					c = boshtest.Post(t, pipe, Creation())
					c.Wait() // this one is told in time
					c.Cancel()
					synctest.Wait()
					assert.EqualValues(t, 1, h.Stats().Sessions)
					h.Close()
					<-ends
				})
			})
		}
	}
}
