package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A receiver notes what it is called with, and echoes it.
type receiver struct {
	t    *testing.T
	s    *bosh.Stream
	got  []string
	ends []error
	slow chan bool // if it is not nil, closed when receive may go on
}

func (r *receiver) receive(b []byte, err error) {
	if err != nil {
		assert.Empty(r.t, b)
		r.ends = append(r.ends, err)
		return
	}
	assert.Empty(r.t, r.ends, "nothing comes behind the end")
	if r.slow != nil {
		<-r.slow
	}
	r.got = append(r.got, string(b))
	r.s.WriteElement(context.Background(), b)
}

// receiving is serving with a receiver.
func receiving(t *testing.T, o bosh.Options, f func(t *testing.T, p *Peer, r *receiver)) {
	t.Helper()
	r := &receiver{t: t}
	Serving(t, o, func(s *bosh.Stream) {
		r.s = s
		assert.NoError(t, s.Receive(r.receive))
	}, func(t *testing.T, p *Peer) { f(t, p, r) })
}

// receivers is how many goroutines there are that receive.
func receivers() int {
	b := make([]byte, 1<<20)
	return strings.Count(string(b[:runtime.Stack(b, true)]), "netconn.(*Conn).receive(")
}

func TestReceive(t *testing.T) {
	receiving(t, bosh.Options{}, func(t *testing.T, p *Peer, r *receiver) {
		synctest.Wait()
		require.Zero(t, receivers(), "there is none while there is nothing to receive")
		assert.Equal(t, "<a xmlns='u'/><b xmlns='u'/>", p.Send("<a xmlns='u'/><b xmlns='u'/>").Payload())
		assert.Equal(t, "<c xmlns='u'/>", p.Send("<c xmlns='u'/>").Payload())
		synctest.Wait()
		assert.Zero(t, receivers())
		p.Send("<d xmlns='u'/>", "type='terminate'")
		synctest.Wait()
		assert.Equal(t, []string{"<a xmlns='u'/>", "<b xmlns='u'/>", "<c xmlns='u'/>", "<d xmlns='u'/>"}, r.got)
		assert.Equal(t, []error{io.EOF}, r.ends)
		assert.Zero(t, receivers())
		assert.ErrorIs(t, r.s.Close(), net.ErrClosed, "it is closed already")
	})
}

// A stream from the Listener is received as one of Serve is, also what has come before.
func TestReceiveAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		p.Send("<a xmlns='u'/>")
		r := &receiver{t: t, s: s}
		require.NoError(t, s.Receive(r.receive))
		synctest.Wait()
		assert.Equal(t, []string{"<a xmlns='u'/>"}, r.got)
		p.Send("<b xmlns='u'/>")
		synctest.Wait()
		assert.Equal(t, []string{"<a xmlns='u'/>", "<b xmlns='u'/>"}, r.got)
	})
}

// Whatever ends Read ends Receive, once, and the stream is closed.
func TestReceiveEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(p *Peer, r *receiver)
		want error
	}{
		"by the client":        {func(p *Peer, r *receiver) { p.Send("", "type='terminate'") }, io.EOF},
		"by Close":             {func(p *Peer, r *receiver) { r.s.Close() }, net.ErrClosed},
		"by a deadline":        {func(p *Peer, r *receiver) { r.s.SetReadDeadline(time.Now().Add(Second)) }, os.ErrDeadlineExceeded},
		"by one that has come": {func(p *Peer, r *receiver) { r.s.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
		"by the application": {func(p *Peer, r *receiver) {
			p.Hold("")
			r.s.Session().Terminate(&bosh.Error{Condition: bosh.HostGone})
		}, &bosh.Error{Condition: bosh.HostGone}},
		"by silence": {func(p *Peer, r *receiver) { time.Sleep(time.Hour) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			receiving(t, bosh.Options{}, func(t *testing.T, p *Peer, r *receiver) {
				p.Send("<a xmlns='u'/>")
				test.end(p, r)
				time.Sleep(2 * Second)
				synctest.Wait()
				require.Len(t, r.ends, 1)
				if test.want != nil {
					assert.ErrorIs(t, r.ends[0], test.want)
				}
				assert.ErrorIs(t, r.s.Close(), net.ErrClosed)
				assert.Zero(t, receivers())
			})
		})
	}
}

// The last call may still say how the stream ends.
func TestReceiveEndsByItself(t *testing.T) {
	Serving(t, bosh.Options{}, func(s *bosh.Stream) {
		s.SetReadDeadline(time.Now().Add(Second))
		s.Receive(func(_ []byte, err error) {
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
			assert.NoError(t, s.CloseWithError(&bosh.Error{Condition: bosh.HostGone}))
		})
	}, func(t *testing.T, p *Peer) {
		RequireEnd(t, p.Hold("").Wait(), bosh.HostGone)
	})
}

// What came before the deadline is not lost to a function that is behind.
func TestReceiveBehindDeadline(t *testing.T) {
	receiving(t, bosh.Options{}, func(t *testing.T, p *Peer, r *receiver) {
		slow := make(chan bool)
		synctest.Wait()
		r.slow = slow
		p.Post("<a xmlns='u'/><b xmlns='u'/><c xmlns='u'/>")
		synctest.Wait()
		require.NoError(t, r.s.SetReadDeadline(time.Now()))
		close(slow)
		synctest.Wait()
		assert.Equal(t, []string{"<a xmlns='u'/>", "<b xmlns='u'/>", "<c xmlns='u'/>"}, r.got)
		require.Len(t, r.ends, 1)
		assert.ErrorIs(t, r.ends[0], os.ErrDeadlineExceeded)
	})
}

// What reads fails after Close as that of any stream.
func TestReceiveClosed(t *testing.T) {
	receiving(t, bosh.Options{}, func(t *testing.T, p *Peer, r *receiver) {
		require.NoError(t, r.s.Close())
		_, err := r.s.Read(make([]byte, 10))
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}

// While the function has not returned the client waits, once there is too much.
func TestReceiveSlowly(t *testing.T) {
	const n = 20
	element := "<a xmlns='u'>" + strings.Repeat("x", 100) + "</a>"
	calls := 0
	var goOn chan bool
	Serving(t, bosh.Options{ReadBuffer: len(element), Grace: -1}, func(s *bosh.Stream) {
		s.Receive(func(b []byte, err error) {
			if err == nil {
				calls++
				<-goOn
				assert.Equal(t, element, string(b))
			}
		})
	}, func(t *testing.T, p *Peer) {
		goOn = make(chan bool) // of this bubble
		held := p.Hold("")
		answered := 0
		for range n {
			next := p.Hold(element)
			synctest.Wait()
			if !held.Answered() {
				break
			}
			held = next
			answered++
		}
		assert.Less(t, answered, n)
		assert.Equal(t, 1, calls, "one at a time")
		assert.Equal(t, 1, receivers())
		close(goOn)
		synctest.Wait()
		assert.Equal(t, answered+1, calls)
		assert.True(t, held.Answered())
		assert.Zero(t, receivers())
	})
}

// All input is the receiver's.
func TestReceiveAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		blocked := Async(func() error {
			_, err := s.Read(make([]byte, 10))
			return err
		})
		require.True(t, Pending(blocked))
		r := &receiver{t: t, s: s}
		assert.ErrorContains(t, s.Receive(nil), "without a function")
		require.NoError(t, s.Receive(r.receive))
		const theirs = "input is Receive's"
		assert.ErrorContains(t, <-blocked, theirs)
		assert.ErrorContains(t, s.Receive(r.receive), theirs)
		_, err := s.ReadElement(t.Context())
		assert.ErrorContains(t, err, theirs)
		_, err = s.Token()
		assert.ErrorContains(t, err, theirs)
		_, err = io.Copy(io.Discard, s)
		assert.ErrorContains(t, err, theirs)
		p.Send("<a xmlns='u'/>")
		synctest.Wait()
		assert.Equal(t, []string{"<a xmlns='u'/>"}, r.got)
	})
}

// Streams that are not of elements are received as bytes.
func TestReceiveBytes(t *testing.T) {
	for _, framing := range []bosh.Framing{bosh.Opaque, bosh.XMPP} {
		t.Run(fmt.Sprint(framing), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []byte
				h := NewHandler(t, bosh.Options{Framing: framing, Serve: func(s *bosh.Stream) {
					s.Receive(func(b []byte, err error) { got = append(got, b...) })
				}})
				p := Dial(t, boshtest.InMemory(h))
				switch framing {
				case bosh.Opaque:
					p.Hold("<data xmlns='" + bosh.OpaqueNS + "'>aGVsbG8=</data>")
					synctest.Wait()
					p.Hold("<data xmlns='" + bosh.OpaqueNS + "'>LCB5b3U=</data>")
					synctest.Wait()
					assert.Equal(t, "hello, you", string(got))
				case bosh.XMPP:
					p.Hold("<presence xmlns='jabber:client'/>")
					synctest.Wait()
					p.Post("", "type='terminate'")
					synctest.Wait()
					assert.Contains(t, string(got), "<presence")
					assert.True(t, strings.HasSuffix(string(got), "</stream:stream>"), "%s", got)
				}
			})
		})
	}
}

// A function that panics, or exits, ends its own session only.
func TestReceivePanics(t *testing.T) {
	for condition, bug := range map[bosh.Condition]func(){
		bosh.InternalServerError: func() { panic("oops") },
		"":                       runtime.Goexit,
	} {
		var log bytes.Buffer
		o := bosh.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		Serving(t, o, func(s *bosh.Stream) {
			s.Receive(func(b []byte, err error) {
				if bytes.Contains(b, []byte("secret")) {
					bug()
				}
				s.WriteElement(context.Background(), b)
			})
		}, func(t *testing.T, p *Peer) {
			other := Dial(t, p.Rt)
			RequireEnd(t, p.Send("<secret xmlns='u'/>"), condition)
			assert.Equal(t, "<x xmlns='u'/>", other.Send("<x xmlns='u'/>").Payload())
			assert.Equal(t, condition != "", strings.Contains(log.String(), "Receive panicked"))
			assert.NotContains(t, log.String(), "<secret")
		})
	}
}

// A Serve that exits after Receive has not returned.
func TestReceiveExits(t *testing.T) {
	Serving(t, bosh.Options{}, func(s *bosh.Stream) {
		s.Receive(func([]byte, error) {})
		time.Sleep(Second)
		runtime.Goexit()
	}, func(t *testing.T, p *Peer) {
		c := p.Hold("<a/>")
		time.Sleep(2 * Second)
		RequireEnd(t, c.Wait(), "")
	})
}
