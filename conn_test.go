package bosh_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// result is what a Read or Write returned.
type result struct {
	n   int
	err error
}

func goRead(c net.Conn) <-chan result {
	return async(func() result {
		n, err := c.Read(make([]byte, 1024))
		return result{n, err}
	})
}

func goCopy(c net.Conn) <-chan result {
	return async(func() result {
		n, err := io.Copy(io.Discard, c)
		return result{int(n), err}
	})
}

func goWrite(c net.Conn, b string) <-chan result {
	return async(func() result {
		n, err := c.Write([]byte(b))
		return result{n, err}
	})
}

// requireTimeout asserts that err is what the net package returns at a deadline.
func requireTimeout(t *testing.T, err error) {
	t.Helper()
	requireOp(t, err)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
}

func requireClosed(t *testing.T, err error) {
	t.Helper()
	requireOp(t, err)
	require.ErrorIs(t, err, net.ErrClosed)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.False(t, ne.Timeout())
}

func requireOp(t *testing.T, err error) {
	t.Helper()
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, "bosh", op.Net)
	require.NotNil(t, op.Source)
	require.NotNil(t, op.Addr)
}

func elements() bosh.Options { return bosh.Options{Framing: bosh.Elements} }

// full returns a stream whose write buffer is full.
func full(t *testing.T) (*bosh.Stream, *peer) {
	t.Helper()
	s, p := connect(t, bosh.Options{Framing: bosh.Elements, WriteBuffer: 10})
	_, err := s.Write([]byte("<first/>"))
	require.NoError(t, err)
	return s, p
}

// blocked are the ways to block on a stream, with the deadline for each.
var blocked = map[string]struct {
	do  func(net.Conn) <-chan result
	set func(net.Conn, time.Time) error
}{
	"Read":               {goRead, net.Conn.SetReadDeadline},
	"Read, SetDeadline":  {goRead, net.Conn.SetDeadline},
	"WriteTo":            {goCopy, net.Conn.SetReadDeadline},
	"Write":              {func(c net.Conn) <-chan result { return goWrite(c, "<x/>") }, net.Conn.SetWriteDeadline},
	"Write, SetDeadline": {func(c net.Conn) <-chan result { return goWrite(c, "<x/>") }, net.Conn.SetDeadline},
}

// forBlocked runs a test in a bubble for each of them.
func forBlocked(t *testing.T, f func(t *testing.T, s *bosh.Stream, do func() <-chan result, set func(time.Time))) {
	for name, b := range blocked {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := full(t)
				f(t, s, func() <-chan result { return b.do(s) },
					func(at time.Time) { require.NoError(t, b.set(s, at)) })
			})
		})
	}
}

func TestDeadlinePast(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan result, set func(time.Time)) {
		set(time.Now().Add(-second))
		requireTimeout(t, (<-do()).err)
		set(time.Time{})
		require.True(t, pending(do()), "the deadline was taken back")
	})
}

func TestDeadlineFuture(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan result, set func(time.Time)) {
		begin := time.Now()
		set(begin.Add(3 * second))
		requireTimeout(t, (<-do()).err)
		assert.Equal(t, 3*second, time.Since(begin))
		requireTimeout(t, (<-do()).err)
		assert.Equal(t, 3*second, time.Since(begin))
	})
}

func TestDeadlineWhileBlocked(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan result, set func(time.Time)) {
		r, begin := do(), time.Now()
		require.True(t, pending(r))
		set(begin.Add(second))
		requireTimeout(t, (<-r).err)
		assert.Equal(t, second, time.Since(begin))
	})
}

func TestDeadlineExtendedWhileBlocked(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan result, set func(time.Time)) {
		begin := time.Now()
		set(begin.Add(second))
		r := do()
		require.True(t, pending(r))
		set(begin.Add(5 * second))
		requireTimeout(t, (<-r).err)
		assert.Equal(t, 5*second, time.Since(begin))
	})
}

// A deadline that is set and taken back before the blocked goroutine runs must
// interrupt it all the same: this is how servers cancel.
func TestDeadlineSetAndCleared(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan result, set func(time.Time)) {
		for range 20 {
			r := do()
			require.True(t, pending(r))
			set(time.Unix(1, 0))
			set(time.Time{})
			requireTimeout(t, (<-r).err)
		}
	})
}

func TestDeadlinesAreSeparate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, elements())
		require.NoError(t, s.SetReadDeadline(time.Unix(1, 0)))
		_, err := s.Write([]byte("<a/>"))
		require.NoError(t, err)
		require.NoError(t, s.SetReadDeadline(time.Time{}))
		require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
		p.send("<b/>")
		requireRead(t, s, "<b xmlns='"+nsBind+"'/>")
		_, err = s.Write([]byte("<a/>"))
		requireTimeout(t, err)
	})
}

// A Read that has timed out has lost nothing.
func TestDeadlineLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, elements())
		require.NoError(t, s.SetReadDeadline(time.Now().Add(second)))
		requireTimeout(t, (<-goRead(s)).err)
		p.post("<b xmlns='u'/>")
		synctest.Wait()
		requireTimeout(t, (<-goRead(s)).err)
		require.NoError(t, s.SetReadDeadline(time.Time{}))
		requireRead(t, s, "<b xmlns='u'/>")
	})
}

func TestCloseUnblocks(t *testing.T) {
	forBlocked(t, func(t *testing.T, s *bosh.Stream, do func() <-chan result, set func(time.Time)) {
		a, b := do(), do()
		require.True(t, pending(a) && pending(b))
		require.NoError(t, s.Close())
		requireClosed(t, (<-a).err)
		requireClosed(t, (<-b).err)
		requireClosed(t, (<-do()).err)
	})
}

func TestAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, elements())
		p.post("<unread/>")
		synctest.Wait()
		require.NoError(t, s.Close())
		for name, err := range map[string]error{
			"Close":            s.Close(),
			"Read":             (<-goRead(s)).err,
			"Write":            (<-goWrite(s, "<a/>")).err,
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

// Of many Writes at once each arrives whole, and all of them.
// failing has room for so many bytes, and fails when it has no more.
type failing struct {
	n   int
	err error
	got []byte
}

func (w *failing) Write(p []byte) (int, error) {
	n := min(w.n, len(p))
	w.n -= n
	w.got = append(w.got, p[:n]...)
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

// WriteTo writes all that comes, and its end is that of the stream or of the writer.
func TestWriteTo(t *testing.T) {
	broken := errors.New("broken")
	element := func(i int) string {
		return "<a xmlns='u' i='" + strconv.Itoa(i) + "'>" + strings.Repeat("x", 100*i) + "</a>"
	}
	for name, test := range map[string]struct {
		end  string // of the client
		w    *failing
		want error
	}{
		"the client's end": {"type='terminate'", &failing{n: 1 << 20}, nil},
		"the session's":    {"", &failing{n: 1 << 20}, &bosh.Error{Condition: bosh.PolicyViolation}},
		"the writer's":     {"", &failing{n: 1000, err: broken}, broken},
		"a short write":    {"", &failing{n: 1000}, io.ErrShortWrite},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := connect(t, elements())
				r := async(func() result {
					n, err := s.WriteTo(test.w)
					return result{int(n), err}
				})
				all := ""
				for i := range 20 {
					all += element(i)
					p.post(element(i))
					time.Sleep(second)
				}
				if test.end != "" {
					p.send("", test.end)
				} else {
					s.Session().Terminate(&bosh.Error{Condition: bosh.PolicyViolation})
				}
				res := <-r
				if test.want == nil {
					assert.NoError(t, res.err)
				} else if e := (*bosh.Error)(nil); errors.As(test.want, &e) {
					requireOp(t, res.err)
					assert.ErrorAs(t, res.err, &e)
					assert.Equal(t, bosh.PolicyViolation, e.Condition)
				} else {
					assert.ErrorIs(t, res.err, test.want)
				}
				if test.w.n == 0 {
					all = all[:1000]
				}
				assert.True(t, all == string(test.w.got))
				assert.Equal(t, len(all), res.n)
			})
		})
	}
}

func TestConcurrentWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writers, each = 8, 20
		s, p := connect(t, bosh.Options{Framing: bosh.Elements, WriteBuffer: 64})
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
			r := p.send("")
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

// Of many Reads at once each gets a part of the input, and no byte twice.
func TestConcurrentReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := connect(t, elements())
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
			calls = append(calls, p.post(el))
			time.Sleep(second) // more than the grace for which an older one is held
		}
		p.send("", "type='terminate'")
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
	end  func(s *bosh.Stream, p *peer)
	want error
	text string
}{
	"terminate": {
		func(_ *bosh.Stream, p *peer) { p.post("", "type='terminate'").Wait() }, io.EOF, "EOF",
	},
	"inactivity": {
		func(_ *bosh.Stream, _ *peer) { time.Sleep(78 * second) }, &bosh.Error{}, "inactive",
	},
	"protocol error": {
		func(_ *bosh.Stream, p *peer) { p.rid += 99; p.send("") }, &bosh.Error{Condition: bosh.ItemNotFound}, "item-not-found",
	},
	"malformed": {
		func(_ *bosh.Stream, p *peer) { p.send("<a>") }, &bosh.Error{Condition: bosh.BadRequest}, "bad-request",
	},
	"Session.Terminate": {
		func(s *bosh.Stream, p *peer) {
			s.Session().Terminate(&bosh.Error{Condition: bosh.PolicyViolation})
			p.send("")
		}, &bosh.Error{Condition: bosh.PolicyViolation}, "policy-violation",
	},
}

func TestCauseOfTheEnd(t *testing.T) {
	for name, test := range ended {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := connect(t, elements())
				p.post("<last xmlns='u'/>")
				time.Sleep(78 * second) // until it is answered
				test.end(s, p)
				requireRead(t, s, "<last xmlns='u'/>") // what came before the end
				var errs []error
				for range 2 {
					errs = append(errs, (<-goRead(s)).err, (<-goWrite(s, "<a/>")).err, s.WriteElement(t.Context(), []byte("<a/>")))
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
				requireClosed(t, (<-goRead(s)).err)
			})
		})
	}
}

func TestTheEndUnblocks(t *testing.T) {
	for name, test := range ended {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := full(t)
				r, w := goRead(s), goWrite(s, "<x/>")
				require.True(t, pending(r) && pending(w))
				test.end(s, p)
				rerr := (<-r).err
				assert.ErrorIs(t, rerr, test.want)
				if werr := (<-w).err; werr != nil { // the last answer may have made room
					assert.ErrorIs(t, werr, test.want)
				}
			})
		})
	}
}

func TestAddrs(t *testing.T) {
	t.Run("of the connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := connect(t, elements())
			assert.Equal(t, "192.0.2.2:80", s.LocalAddr().String())
			assert.Equal(t, "192.0.2.1:1234", s.RemoteAddr().String())
			assert.Equal(t, "tcp", s.RemoteAddr().Network())
		})
	})
	t.Run("ClientAddr", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := elements()
			o.ClientAddr = clientAddr
			s, _ := connect(t, o)
			assert.Equal(t, "203.0.113.9", s.RemoteAddr().String())
			assert.Equal(t, s.RemoteAddr(), s.Session().RemoteAddr())
		})
	})
	t.Run("unknown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHandler(t, elements())
			dial(t, boshtest.InMemory(nameless{h}))
			s := accept(t, h)
			assert.NotNil(t, s.LocalAddr())
			assert.NotNil(t, s.RemoteAddr())
			assert.NotPanics(t, func() { _ = s.LocalAddr().String() + s.RemoteAddr().String() })
		})
	})
}

func TestEmptyReadAndWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := full(t)
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
	for _, ctx := range []context.Context{nil, fragileContext{t.Context(), func() { panic("a bug") }}} {
		synctest.Test(t, func(t *testing.T) {
			s, p := full(t)
			for range 2 {
				assert.Panics(t, func() { s.ReadElement(ctx) })
				assert.Panics(t, func() { s.WriteElement(ctx, []byte("<a/>")) })
			}
			p.send("<b xmlns='u'/>")
			requireRead(t, s, "<b xmlns='u'/>")
			assert.NoError(t, s.WriteElement(t.Context(), []byte("<c xmlns='u'/>")))
			assert.Equal(t, "<c xmlns='u'/>", p.send("").Payload())
		})
	}
}
