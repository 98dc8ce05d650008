package bosh_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func goCopy(c net.Conn) <-chan Result {
	return Async(func() Result {
		n, err := io.Copy(io.Discard, c)
		return Result{N: int(n), Err: err}
	})
}

func requireClosed(t *testing.T, err error) {
	t.Helper()
	RequireOp(t, err)
	require.ErrorIs(t, err, net.ErrClosed)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.False(t, ne.Timeout())
}

// blocked are the ways to block on a stream, with the deadline for each.
var blocked = map[string]struct {
	do  func(net.Conn) <-chan Result
	set func(net.Conn, time.Time) error
}{
	"Read":               {GoRead, net.Conn.SetReadDeadline},
	"Read, SetDeadline":  {GoRead, net.Conn.SetDeadline},
	"WriteTo":            {goCopy, net.Conn.SetReadDeadline},
	"Write":              {func(c net.Conn) <-chan Result { return GoWrite(c, "<x/>") }, net.Conn.SetWriteDeadline},
	"Write, SetDeadline": {func(c net.Conn) <-chan Result { return GoWrite(c, "<x/>") }, net.Conn.SetDeadline},
}

// forBlocked runs a test in a bubble for each of them.
func forBlocked(t *testing.T, f func(t *testing.T, s *bosh.Stream, do func() <-chan Result, set func(time.Time))) {
	for name, b := range blocked {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := Full(t)
				f(t, s, func() <-chan Result { return b.do(s) },
					func(at time.Time) { require.NoError(t, b.set(s, at)) })
			})
		})
	}
}

func TestDeadlinePast(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan Result, set func(time.Time)) {
		set(time.Now().Add(-Second))
		RequireTimeout(t, (<-do()).Err)
		set(time.Time{})
		require.True(t, Pending(do()), "the deadline was taken back")
	})
}

func TestDeadlineFuture(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan Result, set func(time.Time)) {
		begin := time.Now()
		set(begin.Add(3 * Second))
		RequireTimeout(t, (<-do()).Err)
		assert.Equal(t, 3*Second, time.Since(begin))
		RequireTimeout(t, (<-do()).Err)
		assert.Equal(t, 3*Second, time.Since(begin))
	})
}

func TestDeadlineWhileBlocked(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan Result, set func(time.Time)) {
		r, begin := do(), time.Now()
		require.True(t, Pending(r))
		set(begin.Add(Second))
		RequireTimeout(t, (<-r).Err)
		assert.Equal(t, Second, time.Since(begin))
	})
}

func TestDeadlineExtendedWhileBlocked(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan Result, set func(time.Time)) {
		begin := time.Now()
		set(begin.Add(Second))
		r := do()
		require.True(t, Pending(r))
		set(begin.Add(5 * Second))
		RequireTimeout(t, (<-r).Err)
		assert.Equal(t, 5*Second, time.Since(begin))
	})
}

// A deadline that is set and taken back before the blocked goroutine runs must
// interrupt it all the same: this is how servers cancel.
func TestDeadlineSetAndCleared(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan Result, set func(time.Time)) {
		for range 20 {
			r := do()
			require.True(t, Pending(r))
			set(time.Unix(1, 0))
			set(time.Time{})
			RequireTimeout(t, (<-r).Err)
		}
	})
}

func TestDeadlinesAreSeparate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		require.NoError(t, s.SetReadDeadline(time.Unix(1, 0)))
		_, err := s.Write([]byte("<a/>"))
		require.NoError(t, err)
		require.NoError(t, s.SetReadDeadline(time.Time{}))
		require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
		p.Send("<b/>")
		RequireRead(t, s, "<b xmlns='"+NsBind+"'/>")
		_, err = s.Write([]byte("<a/>"))
		RequireTimeout(t, err)
	})
}

// A Read that has timed out has lost nothing.
func TestDeadlineLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		require.NoError(t, s.SetReadDeadline(time.Now().Add(Second)))
		RequireTimeout(t, (<-GoRead(s)).Err)
		p.Post("<b xmlns='u'/>")
		synctest.Wait()
		RequireTimeout(t, (<-GoRead(s)).Err)
		require.NoError(t, s.SetReadDeadline(time.Time{}))
		RequireRead(t, s, "<b xmlns='u'/>")
	})
}

func TestCloseUnblocks(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan Result, set func(time.Time)) {
		a, b := do(), do()
		require.True(t, Pending(a) && Pending(b))
		require.NoError(t, s.Close())
		requireClosed(t, (<-a).Err)
		requireClosed(t, (<-b).Err)
		requireClosed(t, (<-do()).Err)
	})
}

func TestAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		p.Post("<unread/>")
		synctest.Wait()
		require.NoError(t, s.Close())
		for name, err := range map[string]error{
			"Close":            s.Close(),
			"Read":             (<-GoRead(s)).Err,
			"Write":            (<-GoWrite(s, "<a/>")).Err,
			"SetDeadline":      s.SetDeadline(time.Now()),
			"SetReadDeadline":  s.SetReadDeadline(time.Now()),
			"SetWriteDeadline": s.SetWriteDeadline(time.Time{}),
			"WriteElement":     s.WriteElement(t.Context(), []byte("<a/>")),
		} {
			t.Log(name)
			requireClosed(t, err)
		}
		assert.NotNil(t, s.LocalAddr())
		assert.NotNil(t, s.RemoteAddr())
	})
}

// WriteTo writes all that comes, and its end is that of the stream or of the writer.
func TestWriteTo(t *testing.T) {
	broken := errors.New("broken")
	element := func(i int) string {
		return "<a xmlns='u' i='" + strconv.Itoa(i) + "'>" + strings.Repeat("x", 100*i) + "</a>"
	}
	for name, test := range map[string]struct {
		end  string // of the client
		w    *Failing
		want error
	}{
		"the client's end": {"type='terminate'", &Failing{N: 1 << 20}, nil},
		"the session's":    {"", &Failing{N: 1 << 20}, &bosh.Error{Condition: bosh.PolicyViolation}},
		"the writer's":     {"", &Failing{N: 1000, Err: broken}, broken},
		"a short write":    {"", &Failing{N: 1000}, io.ErrShortWrite},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Connect(t, Elements())
				r := Async(func() Result {
					n, err := s.WriteTo(test.w)
					return Result{N: int(n), Err: err}
				})
				all := ""
				for i := range 20 {
					all += element(i)
					p.Post(element(i))
					time.Sleep(Second)
				}
				if test.end != "" {
					p.Send("", test.end)
				} else {
					s.Session().Terminate(&bosh.Error{Condition: bosh.PolicyViolation})
				}
				res := <-r
				if test.want == nil {
					assert.NoError(t, res.Err)
				} else if e := (*bosh.Error)(nil); errors.As(test.want, &e) {
					RequireOp(t, res.Err)
					assert.ErrorAs(t, res.Err, &e)
					assert.Equal(t, bosh.PolicyViolation, e.Condition)
				} else {
					assert.ErrorIs(t, res.Err, test.want)
				}
				if test.w.N == 0 {
					all = all[:1000]
				}
				assert.True(t, all == string(test.w.Got))
				assert.Equal(t, len(all), res.N)
			})
		})
	}
}

func TestConcurrentWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writers, each = 8, 20
		s, p := Connect(t, bosh.Options{Framing: bosh.Elements, WriteBuffer: 64})
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					id := strconv.Itoa(w*each + i)
					b := "<x id='" + id + "' xmlns='u'>" + strings.Repeat("<y/>", i) + "</x><z id='" + id + "' xmlns='u'/>"
					n, err := s.Write([]byte(b))
					assert.NoError(t, err)
					assert.Equal(t, len(b), n)
				}
			})
		}
		seen := make(map[string]bool)
		var last string
		for count := 0; count < 2*writers*each; {
			r := p.Send("")
			for _, el := range r.Payloads {
				id := strings.Split(string(el), "'")[1]
				if el[1] == 'x' {
					require.False(t, seen[id], "%s twice", id)
					seen[id], last = true, id
				} else {
					require.Equal(t, last, id, "another Write came between")
				}
				count++
			}
		}
		wg.Wait()
		assert.Len(t, seen, writers*each)
	})
}

// Of two Reads one gets the last input, and the other one the end that came along with it.
func TestConcurrentReadsAtEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		a, b := GoRead(s), GoRead(s)
		synctest.Wait()
		p.Send("<x xmlns='u'/>", "type='terminate'")
		synctest.Wait()
		assert.False(t, Pending(a))
		assert.False(t, Pending(b))
		s.Close()
	})
}

// Of many Reads at once each gets a part of the input, and no byte twice.
func TestConcurrentReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		parts := make(chan string, 100)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				for {
					b := make([]byte, 100)
					n, err := s.Read(b)
					if err != nil {
						assert.Equal(t, io.EOF, err)
						return
					}
					parts <- string(b[:n])
				}
			})
		}
		want := make(map[string]bool)
		var calls []*boshtest.Call
		for i := range 20 {
			el := "<x xmlns='u' n='" + strconv.Itoa(i) + "'/>"
			want[el] = true
			calls = append(calls, p.Post(el))
			time.Sleep(Second) // more than the grace for which an older one is held
		}
		p.Send("", "type='terminate'")
		wg.Wait()
		close(parts)
		for el := range parts {
			require.True(t, want[el], "%s", el)
			delete(want, el)
		}
		assert.Empty(t, want)
		for _, c := range calls {
			c.Wait()
		}
	})
}

// ended are the ways in which a session ends, and what Read and Write say then.
var ended = map[string]struct {
	end  func(s *bosh.Stream, p *Peer)
	want error
	text string
}{
	"terminate": {
		func(_ *bosh.Stream, p *Peer) { p.Post("", "type='terminate'").Wait() }, io.EOF, "EOF",
	},
	"inactivity": {
		func(_ *bosh.Stream, _ *Peer) { time.Sleep(78 * Second) }, &bosh.Error{}, "inactive",
	},
	"protocol error": {
		func(_ *bosh.Stream, p *Peer) { p.Rid += 99; p.Send("") }, &bosh.Error{Condition: bosh.ItemNotFound}, "item-not-found",
	},
	"malformed": {
		func(_ *bosh.Stream, p *Peer) { p.Send("<a>") }, &bosh.Error{Condition: bosh.BadRequest}, "bad-request",
	},
	"Session.Terminate": {
		func(s *bosh.Stream, p *Peer) {
			s.Session().Terminate(&bosh.Error{Condition: bosh.PolicyViolation})
			p.Send("")
		}, &bosh.Error{Condition: bosh.PolicyViolation}, "policy-violation",
	},
}

func TestCauseOfTheEnd(t *testing.T) {
	for name, test := range ended {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Connect(t, Elements())
				p.Post("<last xmlns='u'/>")
				time.Sleep(78 * Second) // until it is answered
				test.end(s, p)
				RequireRead(t, s, "<last xmlns='u'/>") // what came before the end
				var errs []error
				for range 2 {
					errs = append(errs, (<-GoRead(s)).Err, (<-GoWrite(s, "<a/>")).Err, s.WriteElement(t.Context(), []byte("<a/>")))
				}
				for _, err := range errs {
					assert.ErrorIs(t, err, test.want)
					assert.ErrorContains(t, err, test.text)
				}
				if test.want == io.EOF {
					for _, err := range errs {
						assert.Equal(t, io.EOF, err, "not wrapped")
					}
				}
				assert.ErrorIs(t, s.Session().Err(), test.want)
				<-s.Context().Done()
				<-s.Session().Context().Done()
				assert.NoError(t, s.Close())
				requireClosed(t, (<-GoRead(s)).Err)
			})
		})
	}
}

func TestTheEndUnblocks(t *testing.T) {
	for name, test := range ended {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Full(t)
				r, w := GoRead(s), GoWrite(s, "<x/>")
				require.True(t, Pending(r) && Pending(w))
				test.end(s, p)
				rerr := (<-r).Err
				assert.ErrorIs(t, rerr, test.want)
				if werr := (<-w).Err; werr != nil { // the last answer may have made room
					assert.ErrorIs(t, werr, test.want)
				}
			})
		})
	}
}

func TestAddrs(t *testing.T) {
	t.Run("of the connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := Connect(t, Elements())
			assert.Equal(t, "192.0.2.2:80", s.LocalAddr().String())
			assert.Equal(t, "192.0.2.1:1234", s.RemoteAddr().String())
			assert.Equal(t, "tcp", s.RemoteAddr().Network())
		})
	})
	t.Run("ClientAddr", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := Elements()
			o.ClientAddr = ClientAddr
			s, _ := Connect(t, o)
			assert.Equal(t, "203.0.113.9", s.RemoteAddr().String())
			assert.Equal(t, s.RemoteAddr(), s.Session().RemoteAddr())
		})
	})
	t.Run("unknown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, Elements())
			Dial(t, boshtest.InMemory(Nameless{H: h}))
			s := Accept(t, h)
			assert.NotNil(t, s.LocalAddr())
			assert.NotNil(t, s.RemoteAddr())
			assert.NotPanics(t, func() { _ = s.LocalAddr().String() + s.RemoteAddr().String() })
		})
	})
}

func TestEmptyReadAndWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := Full(t)
		n, err := s.Read(nil)
		assert.NoError(t, err)
		assert.Zero(t, n)
		n, err = s.Write(nil)
		assert.NoError(t, err)
		assert.Zero(t, n)
		require.NoError(t, s.Close())
		_, err = s.Read(nil)
		assert.True(t, errors.Is(err, net.ErrClosed))
	})
}

// A context that is nil, or that panics, is a bug of the caller's goroutine, which may
// recover. It leaves no lock locked, nor unlocks one twice, which nobody could survive.
func TestBadContext(t *testing.T) {
	for _, ctx := range []context.Context{nil, FragileContext{Context: t.Context(), F: func() { panic("a bug") }}} {
		synctest.Test(t, func(t *testing.T) {
			s, p := Full(t)
			for range 2 {
				assert.Panics(t, func() { s.ReadElement(ctx) })
				assert.Panics(t, func() { s.WriteElement(ctx, []byte("<a/>")) })
			}
			p.Send("<b xmlns='u'/>")
			RequireRead(t, s, "<b xmlns='u'/>")
			assert.NoError(t, s.WriteElement(t.Context(), []byte("<c xmlns='u'/>")))
			assert.Equal(t, "<c xmlns='u'/>", p.Send("").Payload())
		})
	}
}
