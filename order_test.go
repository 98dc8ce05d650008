package bosh_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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

// The ways that an eager client may have to a Handler.
const (
	unproxied = "HTTP/1.1"
	proxied   = "HTTP/1.1 by a proxy"
	multiplex = "HTTP/2" // over one connection
)

var ways = []string{unproxied, proxied, multiplex}

// inBubble runs an eager client against a Handler, by either engine.
func inBubble(t *testing.T, o bosh.Options, way string, f func(c *eager)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, o)
		c := &eager{t: t, rnd: rand.New(rand.NewPCG(1, 2)), rid: 1000, free: []int{1, 2}, came: make(chan delivery, 2)}
		srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
		srv.Protocols.SetHTTP1(way != multiplex)
		srv.Protocols.SetUnencryptedHTTP2(way == multiplex)
		pipe := boshtest.Pipe(srv)
		defer pipe.Close()
		var conns [3]*http.Transport
		for i := range conns {
			conns[i] = &http.Transport{DialContext: pipe.Listener.DialContext, MaxConnsPerHost: 1, Protocols: srv.Protocols}
			defer conns[i].CloseIdleConnections()
		}
		c.do = func(conn int, body string) (string, error) {
			r := httptest.NewRequest(http.MethodPost, "http://example.com/http-bind", strings.NewReader(body))
			r.RequestURI = ""
			if way == multiplex {
				conn = 0
			}
			if way == proxied {
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

var orderEach = flag.Int("ordereach", 3000, "payloads for each case of TestAnswersDoNotOvertake")

// A23: answers with payloads do not overtake each other, whoever writes when, and a
// client that takes them as they come has all in order.
func TestAnswersDoNotOvertake(t *testing.T) {
	each := *orderEach
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
		for _, way := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				n := 0
				o := elements()
				o.Serve = func(s *bosh.Stream) {
					pushes(s.Context(), rand.New(rand.NewPCG(3, 4)), s, func() {
						n++
						s.WriteElement(s.Context(), fmt.Appendf(nil, "<n xmlns='u' i='%d'/>", n))
					})
					<-s.Context().Done()
				}
				inBubble(t, o, way, func(c *eager) {
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
			inBubble(t, o, unproxied, func(c *eager) {
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

// A23, to the moment. A client behind a proxy: no connection is known to be its own.
func TestOrderOfAnswers(t *testing.T) {
	const grace = 20 * time.Millisecond
	behindProxy := func(name string, change func(o *bosh.Options), attrs string, f func(b *bench, s *session)) {
		t.Helper()
		o := with(func(o *bosh.Options) { o.Grace, o.Polling = grace, -1; change(o) })
		bubble(t, name, o, func(b *bench) {
			b.headers.Set("X-Forwarded-For", "192.0.2.7")
			b.wait(time.Second)
			f(b, b.create(attrs))
		})
	}
	same := func(*bosh.Options) {}
	// underWay has an answer to 1001 go out, behind which 1002 is held.
	underWay := func(s *session) (held *call) {
		first, held := s.send(1001), s.send(1002, x("a"))
		s.app.reads(x("a"))
		s.app.writes(x("1"))
		first.getsNow(answer(x("1")))
		return held
	}

	behindProxy("what comes behind an answer waits until grace is over, all together", same, stdAttrs, func(b *bench, s *session) {
		held := underWay(s)
		s.app.writes(x("2"))
		b.wait(grace / 2)
		s.app.writes(x("3"))
		held.getsAfter(grace/2, answer(x("2")+x("3")))
	})
	behindProxy("or until a request proves that the client has it", same, stdAttrs, func(b *bench, s *session) {
		held := underWay(s)
		s.app.writes(x("2"))
		b.wait(grace / 2)
		s.send(1003)
		held.getsNow(answer(x("2")))
	})
	behindProxy("or an ack", same, stdAttrs+" ack='1'", func(b *bench, s *session) {
		s.send(1001, x("a"))
		s.app.writes(x("1"))
		s.app.writes(x("2"))
		s.send(1002, "ack='1001'").getsNow(answer(x("2")))
	})
	behindProxy("a request that may have been sent before proves nothing", same, stdAttrs, func(b *bench, s *session) {
		first := s.send(1001)
		s.app.writes(x("1"))
		first.getsNow(answer(x("1")))
		b.wait(grace / 4)
		next := s.send(1002, x("a"))
		s.app.writes(x("2"))
		next.getsAfter(grace*3/4, answer(x("2")))
	})
	behindProxy("an answer without payloads does not wait", same, stdAttrs, func(b *bench, s *session) {
		held := underWay(s)
		s.send(1003, "pause='10'").getsNow(empty)
		held.getsNow(empty)
	})
	behindProxy("an answer that is repeated is on its way again", same, stdAttrs, func(b *bench, s *session) {
		held := underWay(s)
		b.wait(time.Second)
		s.send(1001).getsNow(answer(x("1")))
		s.app.writes(x("2"))
		held.getsAfter(grace, answer(x("2")))
	})
	behindProxy("the end on another connection too", same, stdAttrs, func(b *bench, s *session) {
		held := underWay(s)
		s.app.writes(x("2"))
		require.NoError(b, s.app.Close())
		held.getsAfter(grace, "<body type='terminate'>"+x("2")+"</body>")
	})
	const hold2 = "to='example.com' hold='2' wait='60' ver='1.11'"
	two := func(o *bosh.Options) { o.Hold = 2 }
	behindProxy("and what says no more than that", two, hold2, func(b *bench, s *session) {
		first, second, third := s.send(1001), s.send(1002), s.send(1003, x("a"))
		s.app.reads(x("a"))
		s.app.writes(x("1"))
		require.NoError(b, s.app.Close())
		first.getsNow(answer(x("1")))
		third.waits()
		second.getsAfter(grace, end)
		third.getsNow(end)
		inOrder(b, []*call{first, second, third})
	})

	hook := make(chan func(*bosh.Stream), 1)
	serve := func(o *bosh.Options) { o.Serve = func(st *bosh.Stream) { (<-hook)(st) } }
	// served runs f with an application of its own.
	served := func(name, attrs string, app func(*bosh.Stream), f func(b *bench, s *session)) {
		t.Helper()
		o := with(func(o *bosh.Options) { o.Grace, o.Polling, o.WriteBuffer = grace, -1, 100; serve(o) })
		bubble(t, name, o, func(b *bench) {
			b.headers.Set("X-Forwarded-For", "192.0.2.7")
			b.wait(time.Second)
			hook = make(chan func(*bosh.Stream), 1)
			hook <- app
			created := b.post(complete("<body rid='1000' " + attrs + "/>"))
			b.wait(grace)
			f(b, &session{b: b, sid: created.body().Attr("sid")})
		})
	}
	read := func(st *bosh.Stream) bool {
		_, err := st.ReadElement(st.Context())
		return err == nil
	}
	served("while the application works there is no answer", stdAttrs, func(st *bosh.Stream) {
		for read(st) {
			io.WriteString(st, x("1"))
			time.Sleep(grace / 2)
			io.WriteString(st, x("2"))
		}
	}, func(b *bench, s *session) {
		s.send(1001, x("a")).getsAfter(grace/2, answer(x("1")+x("2")))
	})
	served("for no longer than grace", stdAttrs, func(st *bosh.Stream) {
		for read(st) {
			io.WriteString(st, x("1"))
			time.Sleep(2 * grace)
			io.WriteString(st, x("2"))
		}
	}, func(b *bench, s *session) {
		s.send(1001, x("a")).getsAfter(grace, answer(x("1")))
		b.wait(grace)
		s.send(1002).getsNow(answer(x("2")))
	})
	served("nor if its output has no room", stdAttrs, func(st *bosh.Stream) {
		for read(st) {
			for range 2 {
				io.WriteString(st, x(strings.Repeat("1", 100)))
			}
		}
	}, func(b *bench, s *session) {
		s.send(1001, x("a")).getsNow(answer(x(strings.Repeat("1", 100))))
	})
	served("each of several that read", stdAttrs, func(st *bosh.Stream) {
		for i := range 2 {
			go func() {
				for read(st) {
					time.Sleep(grace / 4 * time.Duration(1+i))
					io.WriteString(st, x("1"))
				}
			}()
		}
		<-st.Context().Done()
	}, func(b *bench, s *session) {
		s.send(1001, x("a")+x("b")).getsAfter(grace/2, answer(x("1")+x("1")))
	})
	served("one that never comes back costs grace once", stdAttrs, func(st *bosh.Stream) {
		var both sync.WaitGroup
		both.Add(2)
		for i := range 2 {
			go func() {
				for n := 0; read(st); n++ {
					if n == 0 {
						both.Done()
						both.Wait()
					}
					if i == 0 {
						return
					}
					io.WriteString(st, x("1"))
				}
			}()
		}
		<-st.Context().Done()
	}, func(b *bench, s *session) {
		s.send(1001, x("a")+x("b")).getsAfter(grace, answer(x("1")))
		b.wait(grace)
		s.send(1002, x("a")).getsNow(answer(x("1")))
	})
	served("the end goes at once, and after it what others get", hold2, func(st *bosh.Stream) {
		if read(st) {
			io.WriteString(st, x("1"))
		}
	}, func(b *bench, s *session) {
		first, second := s.send(1001), s.send(1002, x("a"))
		first.getsNow("<body type='terminate'>" + x("1") + "</body>")
		second.getsAfter(grace, end)
	})
	served("a polling session", "to='example.com' hold='0' wait='60' ver='1.11'", func(st *bosh.Stream) {
		for read(st) {
			io.WriteString(st, x("1"))
			time.Sleep(grace / 2)
			io.WriteString(st, x("2"))
		}
	}, func(b *bench, s *session) {
		s.send(1001, x("a")).getsAfter(grace/2, answer(x("1")+x("2")))
		s.send(1002, x("a")).getsAfter(grace/2, answer(x("1")+x("2"))) // 1001 is proven
	})

	bubble(t, "the payloads of a creation", with(func(o *bosh.Options) {
		o.Grace = grace
		o.Serve = func(st *bosh.Stream) {
			for read(st) {
				io.WriteString(st, x("1"))
				time.Sleep(grace / 4)
			}
		}
	}), func(b *bench) {
		c := b.post(complete("<body rid='1000' " + stdAttrs + ">" + x("a") + x("b") + "</body>"))
		c.waits()
		b.wait(grace / 2)
		assert.Equal(b, x("1")+x("1"), string(bytes.Join(c.body().Payloads, nil)))
	})
}
