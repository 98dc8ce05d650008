package bosh_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// An eager client takes answers as its connections deliver them, as most do. It
// has two connections, one for each request that may be open, and what goes
// over them takes up to 3 ms each way.
type eager struct {
	t    *testing.T
	do   func(conn int, body string) (string, error)
	rnd  *rand.Rand
	sid  string
	rid  int
	free []int // connections
	came chan delivery
	got  []string // payloads, as they came
}

type delivery struct {
	conn int
	body string
	err  error
}

const slowest = 3 * time.Millisecond

func (c *eager) delay() { time.Sleep(time.Duration(c.rnd.Int64N(int64(slowest)))) }

// send sends a request, by a connection that is free.
func (c *eager) send(attrs, payloads string) {
	c.rid++
	body := fmt.Sprintf("<body xmlns='http://jabber.org/protocol/httpbind' rid='%d' %s %s>%s</body>", c.rid, c.sid, attrs, payloads)
	conn := c.free[0]
	c.free = c.free[1:]
	there, back := time.Duration(c.rnd.Int64N(int64(slowest))), time.Duration(c.rnd.Int64N(int64(slowest)))
	go func() {
		time.Sleep(there)
		text, err := c.do(conn, body)
		time.Sleep(back)
		c.came <- delivery{conn, text, err}
	}()
}

// take takes the next answer.
func (c *eager) take() (payloads int) {
	a := <-c.came
	require.NoError(c.t, a.err)
	c.free = append(c.free, a.conn)
	b, err := boshtest.ParseBody([]byte(a.body))
	require.NoError(c.t, err)
	require.Empty(c.t, b.Attr("condition"), a.body)
	for _, p := range b.Payloads {
		c.got = append(c.got, strings.Join(strings.Fields(string(p)), " "))
	}
	if c.sid == "" {
		c.sid = "sid='" + b.Attr("sid") + "'"
	}
	return len(b.Payloads)
}

// inBubble runs an eager client against a Handler, by either engine.
func inBubble(t *testing.T, o bosh.Options, proxied bool, f func(c *eager)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, o)
		c := &eager{t: t, rnd: rand.New(rand.NewPCG(1, 2)), rid: 1000, free: []int{1, 2}, came: make(chan delivery, 2)}
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		var conns [3]http.RoundTripper
		for i := range conns {
			conns[i] = &http.Transport{DialContext: pipe.Listener.DialContext, MaxConnsPerHost: 1}
			defer conns[i].(*http.Transport).CloseIdleConnections()
		}
		c.do = func(conn int, body string) (string, error) {
			r := httptest.NewRequest(http.MethodPost, "http://example.com/http-bind", strings.NewReader(body))
			r.RequestURI = ""
			if proxied {
				r.Header.Set("X-Forwarded-For", "192.0.2.7")
			}
			res, err := conns[conn].RoundTrip(r)
			if err != nil {
				return "", err
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			return string(text), err
		}
		c.send("to='example.com' ver='1.11' wait='60' hold='1'", "")
		c.take()
		f(c)
		h.Close()
		for len(c.free) < 2 {
			c.free = append(c.free, (<-c.came).conn)
		}
	})
}

// A23: answers with payloads do not overtake each other, whoever writes when, and a
// client that takes them as they come has all in order.
func TestAnswersDoNotOvertake(t *testing.T) {
	const each = 3000
	for name, pushes := range map[string]func(ctx context.Context, rnd *rand.Rand, s *bosh.Stream, write func()){
		"pushes at any time": func(ctx context.Context, rnd *rand.Rand, s *bosh.Stream, write func()) {
			for range each {
				time.Sleep(time.Duration(rnd.Int64N(int64(4 * time.Millisecond))))
				write()
			}
		},
		"pushes beside replies": func(ctx context.Context, rnd *rand.Rand, s *bosh.Stream, write func()) {
			for n := 0; n < each; {
				if _, err := s.ReadElement(ctx); err != nil {
					return
				}
				for range 1 + rnd.IntN(3) {
					write()
					n++
				}
				if rnd.IntN(3) == 0 {
					time.Sleep(time.Duration(rnd.Int64N(int64(2 * time.Millisecond))))
				}
			}
		},
	} {
		for _, proxied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/proxied=%t", name, proxied), func(t *testing.T) {
				n := 0
				o := elements()
				o.Serve = func(s *bosh.Stream) {
					pushes(s.Context(), rand.New(rand.NewPCG(3, 4)), s, func() {
						n++
						s.WriteElement(s.Context(), fmt.Appendf(nil, "<n xmlns='u' i='%d'/>", n))
					})
					<-s.Context().Done()
				}
				inBubble(t, o, proxied, func(c *eager) {
					for len(c.got) < each {
						// It has something to say now and then, and else a request to be held.
						for len(c.free) > 0 && (len(c.free) == 2 || c.rnd.IntN(2) == 0) {
							c.send("", []string{"", "<m xmlns='u'/>"}[c.rnd.IntN(2)])
						}
						if len(c.free) == 0 || c.rnd.IntN(3) > 0 {
							c.take()
							continue
						}
						c.delay()
						if len(c.free) > 0 {
							c.send("", "<m xmlns='u'/>")
						}
					}
					for i := range each {
						require.Equal(c.t, fmt.Sprintf("<n xmlns='u' i='%d'/>", i+1), c.got[i])
					}
				})
			})
		}
	}
}

// A23: the replies to a body go out in one answer, however the application reads and
// writes, although the client has a request for them meanwhile.
func TestRepliesAreNotSplit(t *testing.T) {
	const bodies, each = 200, 25
	think := 150 * time.Microsecond
	echo := func(s *bosh.Stream, e []byte) {
		time.Sleep(think) // longer than it takes to answer; all together shorter than Grace
		s.WriteElement(s.Context(), e)
	}
	for name, serve := range map[string]func(s *bosh.Stream){
		"ReadElement": func(s *bosh.Stream) {
			for {
				e, err := s.ReadElement(s.Context())
				if err != nil {
					return
				}
				echo(s, e)
			}
		},
		"Receive": func(s *bosh.Stream) {
			s.Receive(func(e []byte, err error) {
				if err == nil {
					echo(s, e)
				}
			})
		},
		"WriteTo": func(s *bosh.Stream) {
			io.Copy(writerFunc(func(p []byte) (int, error) { time.Sleep(think); return s.Write(p) }), s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := elements()
			o.Serve = serve
			inBubble(t, o, false, func(c *eager) {
				c.send("", "") // held
				for range bodies {
					c.send("", strings.Repeat("<m xmlns='u'/>", each))
					n := c.take()
					if n == 0 { // it came too late for the held one
						n = c.take()
					}
					assert.Equal(c.t, each, n)
					for len(c.free) > 1 {
						c.send("", "")
					}
				}
			})
		})
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Neither rule costs a client time that has an answer for certain.
func TestRepliesAreNotLate(t *testing.T) {
	o := elements()
	o.Serve = func(s *bosh.Stream) {
		for {
			e, err := s.ReadElement(s.Context())
			if err != nil || s.WriteElement(s.Context(), e) != nil {
				return
			}
		}
	}
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("held=%t", held), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHandler(t, o)
				pipe := boshtest.NewPipeServer(h)
				defer pipe.Close()
				p := dial(t, pipe)
				var last *boshtest.Call
				if held {
					last = p.hold("")
				}
				for range 20 {
					before := time.Now()
					if held { // the reply is on the one that is held
						c := p.post("<m xmlns='u'/>")
						synctest.Wait()
						require.True(t, last.Answered() && !c.Answered())
						last = c
					} else {
						assert.Equal(t, "<m xmlns='u'/>", p.send("<m xmlns='u'/>").Payload())
					}
					synctest.Wait()
					require.Zero(t, time.Since(before))
				}
			})
		})
	}
}

// The application that does not come back for more gets its reply out after Grace.
func TestReplyWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := elements()
		o.Grace = 20 * time.Millisecond
		h := newHandler(t, o)
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		p := dial(t, pipe)
		s := accept(t, h)
		before := time.Now()
		c := p.hold("<m xmlns='u'/>")
		_, err := s.ReadElement(t.Context())
		require.NoError(t, err)
		write(t, s, "<r xmlns='u'/>")
		require.Equal(t, "<r xmlns='u'/>", c.Wait().Payload())
		assert.Equal(t, o.Grace, time.Since(before))
	})
}
