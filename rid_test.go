package bosh_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
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
		h := NewHandler(t, o)
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
				o := Elements()
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
			o := Elements()
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
	o := Elements()
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
				h := NewHandler(t, o)
				pipe := boshtest.NewPipeServer(h)
				defer pipe.Close()
				p := Dial(t, pipe)
				var last *boshtest.Call
				if held {
					last = p.Hold("")
				}
				for range 20 {
					before := time.Now()
					if held { // the reply is on the one that is held
						c := p.Post("<m xmlns='u'/>")
						synctest.Wait()
						require.True(t, last.Answered() && !c.Answered())
						last = c
					} else {
						assert.Equal(t, "<m xmlns='u'/>", p.Send("<m xmlns='u'/>").Payload())
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
		o := Elements()
		o.Grace = 20 * time.Millisecond
		h := NewHandler(t, o)
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		p := Dial(t, pipe)
		s := Accept(t, h)
		before := time.Now()
		c := p.Hold("<m xmlns='u'/>")
		_, err := s.ReadElement(t.Context())
		require.NoError(t, err)
		Write(t, s, "<r xmlns='u'/>")
		require.Equal(t, "<r xmlns='u'/>", c.Wait().Payload())
		assert.Equal(t, o.Grace, time.Since(before))
	})
}

// A23, to the moment. A client behind a proxy: no connection is known to be its own.
func TestOrderOfAnswers(t *testing.T) {
	const grace = 20 * time.Millisecond
	behindProxy := func(name string, change func(o *bosh.Options), attrs string, f func(b *Harness, s *Session)) {
		t.Helper()
		o := With(func(o *bosh.Options) { o.Grace, o.Polling = grace, -1; change(o) })
		Bubble(t, name, o, func(b *Harness) {
			b.Headers.Set("X-Forwarded-For", "192.0.2.7")
			b.Wait(time.Second)
			f(b, b.Create(attrs))
		})
	}
	same := func(*bosh.Options) {}
	// underWay has an answer to 1001 go out, behind which 1002 is held.
	underWay := func(s *Session) (held *Call) {
		first, held := s.Send(1001), s.Send(1002, X("a"))
		s.App.Reads(X("a"))
		s.App.Writes(X("1"))
		first.GetsNow(Answer(X("1")))
		return held
	}

	behindProxy("what comes behind an answer waits until grace is over, all together", same, StdAttrs, func(b *Harness, s *Session) {
		held := underWay(s)
		s.App.Writes(X("2"))
		b.Wait(grace / 2)
		s.App.Writes(X("3"))
		held.GetsAfter(grace/2, Answer(X("2")+X("3")))
	})
	behindProxy("or until a request proves that the client has it", same, StdAttrs, func(b *Harness, s *Session) {
		held := underWay(s)
		s.App.Writes(X("2"))
		b.Wait(grace / 2)
		s.Send(1003)
		held.GetsNow(Answer(X("2")))
	})
	behindProxy("or an ack", same, StdAttrs+" ack='1'", func(b *Harness, s *Session) {
		s.Send(1001, X("a"))
		s.App.Writes(X("1"))
		s.App.Writes(X("2"))
		s.Send(1002, "ack='1001'").GetsNow(Answer(X("2")))
	})
	behindProxy("a request that may have been sent before proves nothing", same, StdAttrs, func(b *Harness, s *Session) {
		first := s.Send(1001)
		s.App.Writes(X("1"))
		first.GetsNow(Answer(X("1")))
		b.Wait(grace / 4)
		next := s.Send(1002, X("a"))
		s.App.Writes(X("2"))
		next.GetsAfter(grace*3/4, Answer(X("2")))
	})
	behindProxy("an answer without payloads does not wait", same, StdAttrs, func(b *Harness, s *Session) {
		held := underWay(s)
		s.Send(1003, "pause='10'").GetsNow(Empty)
		held.GetsNow(Empty)
	})
	behindProxy("an answer that is repeated is on its way again", same, StdAttrs, func(b *Harness, s *Session) {
		held := underWay(s)
		b.Wait(time.Second)
		s.Send(1001).GetsNow(Answer(X("1")))
		s.App.Writes(X("2"))
		held.GetsAfter(grace, Answer(X("2")))
	})
	behindProxy("the end on another connection too", same, StdAttrs, func(b *Harness, s *Session) {
		held := underWay(s)
		s.App.Writes(X("2"))
		require.NoError(b, s.App.Close())
		held.GetsAfter(grace, "<body type='terminate'>"+X("2")+"</body>")
	})
	const hold2 = "to='example.com' hold='2' wait='60' ver='1.11'"
	two := func(o *bosh.Options) { o.Hold = 2 }
	behindProxy("and what says no more than that", two, hold2, func(b *Harness, s *Session) {
		first, second, third := s.Send(1001), s.Send(1002), s.Send(1003, X("a"))
		s.App.Reads(X("a"))
		s.App.Writes(X("1"))
		require.NoError(b, s.App.Close())
		first.GetsNow(Answer(X("1")))
		third.Waits()
		second.GetsAfter(grace, End)
		third.GetsNow(End)
		InOrder(b, []*Call{first, second, third})
	})

	hook := make(chan func(*bosh.Stream), 1)
	serve := func(o *bosh.Options) { o.Serve = func(st *bosh.Stream) { (<-hook)(st) } }
	// served runs f with an application of its own.
	served := func(name, attrs string, app func(*bosh.Stream), f func(b *Harness, s *Session)) {
		t.Helper()
		o := With(func(o *bosh.Options) { o.Grace, o.Polling, o.WriteBuffer = grace, -1, 100; serve(o) })
		Bubble(t, name, o, func(b *Harness) {
			b.Headers.Set("X-Forwarded-For", "192.0.2.7")
			b.Wait(time.Second)
			hook = make(chan func(*bosh.Stream), 1)
			hook <- app
			created := b.Post(Complete("<body rid='1000' " + attrs + "/>"))
			b.Wait(grace)
			f(b, &Session{B: b, Sid: created.Body().Attr("sid")})
		})
	}
	read := func(st *bosh.Stream) bool {
		_, err := st.ReadElement(st.Context())
		return err == nil
	}
	served("while the application works there is no answer", StdAttrs, func(st *bosh.Stream) {
		for read(st) {
			io.WriteString(st, X("1"))
			time.Sleep(grace / 2)
			io.WriteString(st, X("2"))
		}
	}, func(b *Harness, s *Session) {
		s.Send(1001, X("a")).GetsAfter(grace/2, Answer(X("1")+X("2")))
	})
	served("for no longer than grace", StdAttrs, func(st *bosh.Stream) {
		for read(st) {
			io.WriteString(st, X("1"))
			time.Sleep(2 * grace)
			io.WriteString(st, X("2"))
		}
	}, func(b *Harness, s *Session) {
		s.Send(1001, X("a")).GetsAfter(grace, Answer(X("1")))
		b.Wait(grace)
		s.Send(1002).GetsNow(Answer(X("2")))
	})
	served("nor if its output has no room", StdAttrs, func(st *bosh.Stream) {
		for read(st) {
			for range 2 {
				io.WriteString(st, X(strings.Repeat("1", 100)))
			}
		}
	}, func(b *Harness, s *Session) {
		s.Send(1001, X("a")).GetsNow(Answer(X(strings.Repeat("1", 100))))
	})
	served("each of several that read", StdAttrs, func(st *bosh.Stream) {
		for i := range 2 {
			go func() {
				for read(st) {
					time.Sleep(grace / 4 * time.Duration(1+i))
					io.WriteString(st, X("1"))
				}
			}()
		}
		<-st.Context().Done()
	}, func(b *Harness, s *Session) {
		s.Send(1001, X("a")+X("b")).GetsAfter(grace/2, Answer(X("1")+X("1")))
	})
	served("one that never comes back costs grace once", StdAttrs, func(st *bosh.Stream) {
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
					io.WriteString(st, X("1"))
				}
			}()
		}
		<-st.Context().Done()
	}, func(b *Harness, s *Session) {
		s.Send(1001, X("a")+X("b")).GetsAfter(grace, Answer(X("1")))
		b.Wait(grace)
		s.Send(1002, X("a")).GetsNow(Answer(X("1")))
	})
	served("the end goes at once, and after it what others get", hold2, func(st *bosh.Stream) {
		if read(st) {
			io.WriteString(st, X("1"))
		}
	}, func(b *Harness, s *Session) {
		first, second := s.Send(1001), s.Send(1002, X("a"))
		first.GetsNow("<body type='terminate'>" + X("1") + "</body>")
		second.GetsAfter(grace, End)
	})
	served("a polling session", "to='example.com' hold='0' wait='60' ver='1.11'", func(st *bosh.Stream) {
		for read(st) {
			io.WriteString(st, X("1"))
			time.Sleep(grace / 2)
			io.WriteString(st, X("2"))
		}
	}, func(b *Harness, s *Session) {
		s.Send(1001, X("a")).GetsAfter(grace/2, Answer(X("1")+X("2")))
		s.Send(1002, X("a")).GetsAfter(grace/2, Answer(X("1")+X("2"))) // 1001 is proven
	})

	Bubble(t, "the payloads of a creation", With(func(o *bosh.Options) {
		o.Grace = grace
		o.Serve = func(st *bosh.Stream) {
			for read(st) {
				io.WriteString(st, X("1"))
				time.Sleep(grace / 4)
			}
		}
	}), func(b *Harness) {
		c := b.Post(Complete("<body rid='1000' " + StdAttrs + ">" + X("a") + X("b") + "</body>"))
		c.Waits()
		b.Wait(grace / 2)
		assert.Equal(b, X("1")+X("1"), string(bytes.Join(c.Body().Payloads, nil)))
	})
}

// In a busy process nothing is different but when alarms are set.
func TestBusy(t *testing.T) {
	const grace = 20 * time.Millisecond
	options := With(func(o *bosh.Options) { o.Grace = grace })

	Bubble(t, "an older request waits for the application until grace is over", options, func(b *Harness) {
		s := b.Create()
		b.H.BeBusy()
		for rid := int64(1001); rid < 1020; rid += 3 {
			older, newer := s.Send(rid), s.Send(rid+1, X("a"))
			s.App.Reads(X("a"))
			older.GetsAfter(grace, Empty)
			last := s.Send(rid+2, X("b"))
			s.App.Reads(X("b"))
			newer.Waits()
			b.Wait(grace / 2)
			s.App.Writes(X("c"))
			newer.GetsNow(Answer(X("c")))
			s.App.Writes(X("d"))
			last.GetsNow(Answer(X("d")))
		}
	})

	Bubble(t, "an application that answers at once is in time", options, func(b *Harness) {
		s := b.Create()
		b.H.BeBusy()
		held := s.Send(1001)
		for rid := int64(1002); rid < 1020; rid++ {
			next := s.Send(rid, X("a"))
			s.App.Reads(X("a"))
			s.App.Writes(X("b"))
			held.GetsNow(Answer(X("b")))
			held = next
		}
		b.Wait(time.Second)
		held.Waits()
	})
}

// A client that gets no replies does not wait for them, until one has come in time.
func TestGraceInVain(t *testing.T) {
	const grace = 20 * time.Millisecond
	options := With(func(o *bosh.Options) { o.Grace, o.Polling = grace, -1 })
	send := func(b *Harness, s *Session, held **Call, rid int64) *Call {
		older := *held
		*held = s.Send(rid, X("a"))
		s.App.Reads(X("a"))
		return older
	}

	std := func(name, attrs string, f func(b *Harness, s *Session)) { Custom(t, name, options, attrs, f) }
	std("a client that only sends", StdAttrs, func(b *Harness, s *Session) {
		held := s.Send(1001)
		rid := int64(1002)
		for range 2 {
			for range 3 {
				send(b, s, &held, rid).GetsAfter(grace, Empty)
				rid++
			}
			for range 10 {
				send(b, s, &held, rid).GetsNow(Empty)
				rid++
			}
			s.App.Writes(X("b")) // in time, although nothing has waited for it
			held.GetsNow(Answer(X("b")))
			held = s.Send(rid)
			rid++
		}
		b.Wait(time.Second)
		held.Waits()
	})

	std("a reply that is late is none", StdAttrs, func(b *Harness, s *Session) {
		held := s.Send(1001)
		for rid := int64(1002); rid < 1020; rid += 2 {
			older := send(b, s, &held, rid)
			if rid < 1008 {
				older.GetsAfter(grace, Empty)
			} else {
				older.GetsNow(Empty)
				b.Wait(grace)
			}
			s.App.Writes(X("b"))
			held.GetsNow(Answer(X("b")))
			held = s.Send(rid + 1)
		}
	})

	std("a polling session", "hold='1' wait='0' ver='1.11'", func(b *Harness, s *Session) {
		for rid := int64(1001); rid < 1010; rid++ {
			c := s.Send(rid, X("a"))
			s.App.Reads(X("a"))
			if rid < 1004 {
				c.GetsAfter(grace, Empty)
			} else {
				c.GetsNow(Empty)
			}
		}
		s.App.Writes(X("b"))
		s.Send(1010, X("a")).GetsNow(Answer(X("b")))
	})
}

// A computer is a goroutine that takes all the time it can get.
type computer struct{ steps atomic.Int64 }

// compute starts one, which shares a processor with the test until that is over.
func compute(t *testing.T) *computer {
	was := runtime.GOMAXPROCS(1)
	c := new(computer)
	stop := make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		runtime.GOMAXPROCS(was)
	})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.steps.Add(1)
			}
		}
	}()
	return c
}

// meanwhile returns how many of a number of tries of f it gets some time in.
func (c *computer) meanwhile(tries int, prepare, f func()) (n int) {
	for range tries {
		prepare()
		for steps := c.steps.Load(); steps == c.steps.Load(); runtime.Gosched() {
		} // a time slice of ours begins
		steps := c.steps.Load()
		f()
		if c.steps.Load() != steps {
			n++
		}
	}
	return n
}

// twoLines serves h over HTTP/1.1 in memory, and returns two connections to it, and
// a session's name.
func twoLines(t *testing.T, h *bosh.Handler) (lines [2]*Line) {
	srv := boshtest.Pipe(&http.Server{Handler: h})
	t.Cleanup(func() { srv.Close() })
	for i := range lines {
		conn, err := srv.Listener.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		lines[i] = &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
	}
	lines[0].Says(RawRequest(Creation()))
	body, err := boshtest.ParseBody([]byte(ReadAnswer(t, lines[0].R)))
	require.NoError(t, err)
	lines[0].Sid, lines[1].Sid = body.Attr("sid"), body.Attr("sid")
	return lines
}

// In a process that computes, an answer does not wait for others to have had
// their turn: it goes out before the time slice is over in which it was made.
func TestAnswersDoNotYield(t *testing.T) {
	const tries = 16
	for name, isDirect := range map[string]bool{"net/http": false, "direct": true} {
		t.Run("a push, "+name, func(t *testing.T) {
			h := WithEngine(t, Elements(), isDirect)
			lines := twoLines(t, h)
			app := Accept(t, h)
			rid := int64(1000)
			c := compute(t)
			late := c.meanwhile(tries, func() {
				rid++
				lines[0].Says(lines[0].Req(rid, ""))
				for app.Session().Stats().Open == 0 {
					runtime.Gosched()
				}
			}, func() {
				Write(t, app, X("a"))
				ReadAnswer(t, lines[0].R)
			})
			assert.Less(t, late, tries/2)
		})

		t.Run("a reply, "+name, func(t *testing.T) {
			o := Elements()
			o.Serve = func(st *bosh.Stream) { io.Copy(st, st) }
			lines := twoLines(t, WithEngine(t, o, isDirect))
			rid := int64(1001)
			lines[0].Says(lines[0].Req(rid, ""))
			c := compute(t)
			late := c.meanwhile(tries, func() {}, func() {
				rid++
				lines[1].Says(lines[1].Req(rid, X("a")))
				ReadAnswer(t, lines[0].R)
				slices.Reverse(lines[:])
			})
			assert.Less(t, late, tries/2)
		})

		t.Run("a session's creation, "+name, func(t *testing.T) {
			lines := twoLines(t, WithEngine(t, bosh.Options{Serve: func(st *bosh.Stream) {
				if _, err := st.Read(make([]byte, 1000)); err == nil {
					io.WriteString(st, "<stream:stream xmlns:stream='"+NsStream+"' xmlns='jabber:client' version='1.0'><stream:features/>")
				}
				<-st.Context().Done()
			}}, isDirect))
			c := compute(t)
			late := c.meanwhile(tries, func() {}, func() {
				lines[0].Says(RawRequest(Creation()))
				ReadAnswer(t, lines[0].R)
			})
			assert.Less(t, late, tries/2)
		})

		t.Run("the end of grace, "+name, func(t *testing.T) {
			o := Elements()
			o.Serve = func(st *bosh.Stream) { io.Copy(io.Discard, st) }
			lines := twoLines(t, WithEngine(t, o, isDirect))
			rid, least := int64(1001), time.Hour
			lines[0].Says(lines[0].Req(rid, ""))
			compute(t)
			for range 5 {
				rid++
				least = min(least, Elapsed(func() {
					lines[1].Says(lines[1].Req(rid, X("a")))
					ReadAnswer(t, lines[0].R)
				}))
				slices.Reverse(lines[:])
			}
			assert.Less(t, least, 100*time.Millisecond, "twenty time slices took 200 ms")
		})
	}
}

// A client that comes again at once lets others have their turn before it, but not
// again and again in a process that computes.
func TestTurns(t *testing.T) {
	begin := func(t *testing.T) (client func() (next func())) {
		t.Cleanup(func(n int) func() { return func() { runtime.GOMAXPROCS(n) } }(runtime.GOMAXPROCS(1)))
		h := WithEngine(t, Elements(), false)
		return func() func() {
			rid := int64(1000)
			post := func(attrs string) *boshtest.Body {
				w := httptest.NewRecorder()
				body := fmt.Sprintf("<body rid='%d' %s xmlns='%s'/>", rid, attrs, boshtest.NSBind)
				h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
				rid++
				b, err := boshtest.ParseBody(w.Body.Bytes())
				require.NoError(t, err)
				return b
			}
			sid := post("to='example.com' wait='60' hold='1' ver='1.11'").Attr("sid")
			app := Accept(t, h)
			return func() {
				Write(t, app, X("a"))
				post("sid='" + sid + "'")
			}
		}
	}

	t.Run("others come first", func(t *testing.T) {
		client := begin(t)
		next, another, first := client(), client(), 0
		next()
		for range 50 {
			another()
			var ran atomic.Bool
			go ran.Store(true)
			if next(); ran.Load() {
				first++
			}
		}
		assert.Greater(t, first, 2)
	})

	t.Run("a process that computes", func(t *testing.T) {
		client := begin(t)
		next, another := client(), client()
		compute(t)
		took := Elapsed(func() {
			for range 150 {
				next()
				another()
			}
		})
		assert.Less(t, took, time.Second, "300 time slices took 3 s")
	})
}
