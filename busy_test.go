package bosh_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// In a busy process nothing is different but when alarms are set.
func TestBusy(t *testing.T) {
	const grace = 20 * time.Millisecond
	options := with(func(o *bosh.Options) { o.Grace = grace })

	bubble(t, "an older request waits for the application until grace is over", options, func(b *bench) {
		s := b.create()
		b.h.BeBusy()
		for rid := int64(1001); rid < 1020; rid += 3 {
			older, newer := s.send(rid), s.send(rid+1, x("a"))
			s.app.reads(x("a"))
			older.getsAfter(grace, empty)
			last := s.send(rid+2, x("b"))
			s.app.reads(x("b"))
			newer.waits()
			b.wait(grace / 2)
			s.app.writes(x("c"))
			newer.getsNow(answer(x("c")))
			s.app.writes(x("d"))
			last.getsNow(answer(x("d")))
		}
	})

	bubble(t, "an application that answers at once is in time", options, func(b *bench) {
		s := b.create()
		b.h.BeBusy()
		held := s.send(1001)
		for rid := int64(1002); rid < 1020; rid++ {
			next := s.send(rid, x("a"))
			s.app.reads(x("a"))
			s.app.writes(x("b"))
			held.getsNow(answer(x("b")))
			held = next
		}
		b.wait(time.Second)
		held.waits()
	})
}

// A client that gets no replies does not wait for them, until one has come in time.
func TestGraceInVain(t *testing.T) {
	const grace = 20 * time.Millisecond
	options := with(func(o *bosh.Options) { o.Grace, o.Polling = grace, -1 })
	send := func(b *bench, s *session, held **call, rid int64) *call {
		older := *held
		*held = s.send(rid, x("a"))
		s.app.reads(x("a"))
		return older
	}

	std := func(name, attrs string, f func(b *bench, s *session)) { custom(t, name, options, attrs, f) }
	std("a client that only sends", stdAttrs, func(b *bench, s *session) {
		held := s.send(1001)
		rid := int64(1002)
		for range 2 {
			for range 3 {
				send(b, s, &held, rid).getsAfter(grace, empty)
				rid++
			}
			for range 10 {
				send(b, s, &held, rid).getsNow(empty)
				rid++
			}
			s.app.writes(x("b")) // in time, although nothing has waited for it
			held.getsNow(answer(x("b")))
			held = s.send(rid)
			rid++
		}
		b.wait(time.Second)
		held.waits()
	})

	std("a reply that is late is none", stdAttrs, func(b *bench, s *session) {
		held := s.send(1001)
		for rid := int64(1002); rid < 1020; rid += 2 {
			older := send(b, s, &held, rid)
			if rid < 1008 {
				older.getsAfter(grace, empty)
			} else {
				older.getsNow(empty)
				b.wait(grace)
			}
			s.app.writes(x("b"))
			held.getsNow(answer(x("b")))
			held = s.send(rid + 1)
		}
	})

	std("a polling session", "hold='1' wait='0' ver='1.11'", func(b *bench, s *session) {
		for rid := int64(1001); rid < 1010; rid++ {
			c := s.send(rid, x("a"))
			s.app.reads(x("a"))
			if rid < 1004 {
				c.getsAfter(grace, empty)
			} else {
				c.getsNow(empty)
			}
		}
		s.app.writes(x("b"))
		s.send(1010, x("a")).getsNow(answer(x("b")))
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
func twoLines(t *testing.T, h *bosh.Handler) (lines [2]*line) {
	srv := boshtest.Pipe(&http.Server{Handler: h})
	t.Cleanup(func() { srv.Close() })
	for i := range lines {
		conn, err := srv.Listener.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		lines[i] = &line{peer: &peer{t: t}, Conn: conn, r: bufio.NewReader(conn)}
	}
	lines[0].says(rawRequest(creation()))
	body, err := boshtest.ParseBody([]byte(readAnswer(t, lines[0].r)))
	require.NoError(t, err)
	lines[0].sid, lines[1].sid = body.Attr("sid"), body.Attr("sid")
	return lines
}

// In a process that computes, an answer does not wait for others to have had
// their turn: it goes out before the time slice is over in which it was made.
func TestAnswersDoNotYield(t *testing.T) {
	const tries = 16
	for name, isDirect := range map[string]bool{"net/http": false, "direct": true} {
		t.Run("a push, "+name, func(t *testing.T) {
			h := withEngine(t, elements(), isDirect)
			lines := twoLines(t, h)
			app := accept(t, h)
			rid := int64(1000)
			c := compute(t)
			late := c.meanwhile(tries, func() {
				rid++
				lines[0].says(lines[0].req(rid, ""))
				for app.Session().Stats().Open == 0 {
					runtime.Gosched()
				}
			}, func() {
				write(t, app, x("a"))
				readAnswer(t, lines[0].r)
			})
			assert.Less(t, late, tries/2)
		})

		t.Run("a reply, "+name, func(t *testing.T) {
			o := elements()
			o.Serve = func(st *bosh.Stream) { io.Copy(st, st) }
			lines := twoLines(t, withEngine(t, o, isDirect))
			rid := int64(1001)
			lines[0].says(lines[0].req(rid, ""))
			c := compute(t)
			late := c.meanwhile(tries, func() {}, func() {
				rid++
				lines[1].says(lines[1].req(rid, x("a")))
				readAnswer(t, lines[0].r)
				slices.Reverse(lines[:])
			})
			assert.Less(t, late, tries/2)
		})

		t.Run("a session's creation, "+name, func(t *testing.T) {
			lines := twoLines(t, withEngine(t, bosh.Options{Serve: func(st *bosh.Stream) {
				if _, err := st.Read(make([]byte, 1000)); err == nil {
					io.WriteString(st, "<stream:stream xmlns:stream='"+nsStream+"' xmlns='jabber:client' version='1.0'><stream:features/>")
				}
				<-st.Context().Done()
			}}, isDirect))
			c := compute(t)
			late := c.meanwhile(tries, func() {}, func() {
				lines[0].says(rawRequest(creation()))
				readAnswer(t, lines[0].r)
			})
			assert.Less(t, late, tries/2)
		})

		t.Run("the end of grace, "+name, func(t *testing.T) {
			o := elements()
			o.Serve = func(st *bosh.Stream) { io.Copy(io.Discard, st) }
			lines := twoLines(t, withEngine(t, o, isDirect))
			rid, least := int64(1001), time.Hour
			lines[0].says(lines[0].req(rid, ""))
			compute(t)
			for range 5 {
				rid++
				least = min(least, elapsed(func() {
					lines[1].says(lines[1].req(rid, x("a")))
					readAnswer(t, lines[0].r)
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
	begin := func(t *testing.T) (next func()) {
		t.Cleanup(func(n int) func() { return func() { runtime.GOMAXPROCS(n) } }(runtime.GOMAXPROCS(1)))
		h := withEngine(t, elements(), false)
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
		app := accept(t, h)
		return func() {
			write(t, app, x("a"))
			post("sid='" + sid + "'")
		}
	}

	t.Run("others come first", func(t *testing.T) {
		next, first := begin(t), 0
		next()
		for range 50 {
			var ran atomic.Bool
			go ran.Store(true)
			if next(); ran.Load() {
				first++
			}
		}
		assert.Greater(t, first, 2)
	})

	t.Run("a process that computes", func(t *testing.T) {
		next := begin(t)
		compute(t)
		took := elapsed(func() {
			for range 300 {
				next()
			}
		})
		assert.Less(t, took, time.Second, "300 time slices took 3 s")
	})
}
