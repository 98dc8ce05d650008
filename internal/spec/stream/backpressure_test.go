package stream_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
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

// numbered returns n elements of about size bytes each, which stand alone.
func numbered(n, size int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("<n xmlns='u' i='%d'>%s</n>", i, strings.Repeat("x", size)))
	}
	return all
}

// A Write of far more than the buffer blocks until the client has fetched the
// most of it, and all of it arrives in order.
func TestWriteBlocksUntilTaken(t *testing.T) {
	for _, size := range []int{1, 100, 5000} {
		synctest.Test(t, func(t *testing.T) {
			const buffer = 1000
			s, p := Connect(t, bosh.Options{Framing: bosh.Elements, WriteBuffer: buffer})
			all := numbered(50, size)
			w := GoWrite(s, strings.Join(all, ""))
			var got []string
			for len(got) < len(all) {
				if left := strings.Join(all[len(got):], ""); len(left) > buffer+size+50 {
					require.True(t, Pending(w), "%d bytes are left and Write is done", len(left))
				}
				r := p.Send("")
				require.LessOrEqual(t, len(r.Text), 2*(buffer+size+100), "more than the buffer is queued")
				for _, el := range r.Payloads {
					got = append(got, string(el))
				}
			}
			assert.Equal(t, all, got)
			assert.Equal(t, Result{N: len(strings.Join(all, "")), Err: nil}, <-w)
		})
	}
}

// A Write that is cut short tells how much of it is on its way.
func TestWriteCutShort(t *testing.T) {
	for _, framing := range []bosh.Framing{bosh.Elements, bosh.Opaque} {
		t.Run(framing.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Connect(t, bosh.Options{Framing: framing, WriteBuffer: 500})
				b := []byte(strings.Join(numbered(100, 10), ""))
				require.NoError(t, s.SetWriteDeadline(time.Now().Add(Second)))
				n, err := s.Write(b)
				RequireTimeout(t, err)
				require.Positive(t, n)
				require.Less(t, n, len(b))
				require.NoError(t, s.SetWriteDeadline(time.Time{}))
				rest := Async(func() error { _, err := s.Write(b[n:]); return err })
				var got []byte
				for len(got) < len(b) {
					got = append(got, data(t, framing, p.Send(""))...)
				}
				assert.Equal(t, string(b), string(got))
				assert.NoError(t, <-rest)
			})
		})
	}
}

// data returns the bytes that an answer carries.
func data(t *testing.T, framing bosh.Framing, r *boshtest.Response) string {
	t.Helper()
	if framing == bosh.Opaque {
		return Decode(t, r.Payloads)
	}
	return r.Payload()
}

// The buffer takes one element more than it has room for, of any size.
func TestWriteBufferTakesWholeElements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Elements, WriteBuffer: 1})
		big := numbered(1, 100_000)[0]
		_, err := s.Write([]byte(big))
		require.NoError(t, err)
		assert.Equal(t, big, p.Send("").Payload())
	})
}

func TestMaxElement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Elements, MaxElement: 100})
		require.Error(t, s.WriteElement(t.Context(), []byte(numbered(1, 100)[0])))
		_, err := s.Write([]byte("<fits xmlns='u'/>"))
		require.NoError(t, err, "WriteElement does no harm")
		_, err = s.Write([]byte(numbered(1, 100)[0]))
		RequireOp(t, err)
		r := p.Send("")
		assert.Equal(t, "<fits xmlns='u'/>", r.Payload())
		RequireEnd(t, r, bosh.InternalServerError)
	})
}

// What is not well-formed is never sent, not even a part of it.
func TestWriteMalformed(t *testing.T) {
	for _, bad := range []string{
		"<a></b>", "<a", "<a b='1' b='2'/>", "text", "<a>&nbsp;</a>", "<p:a/>", "<a>\x00</a>", "<a>\xff</a>",
		"<!-- c --><a/>", "<?p i?>", "</a>", "<!DOCTYPE a>", "<a>]]></a>",
	} {
		synctest.Test(t, func(t *testing.T) {
			s, p := Connect(t, bosh.Options{Framing: bosh.Elements})
			_, err := s.Write([]byte("<good xmlns='u'/>" + bad))
			if bad == "<a" { // not bad until it goes on badly
				require.NoError(t, err)
				_, err = s.Write([]byte("<"))
			}
			require.Error(t, err, bad)
			r := p.Send("")
			assert.Equal(t, "<good xmlns='u'/>", r.Payload(), bad)
			RequireEnd(t, r, bosh.InternalServerError)
		})
	}
}

// When the application does not read, requests stay unanswered, which stops a
// client that keeps to the rules; and nothing is lost.
func TestReadBufferFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Elements, ReadBuffer: 100})
		all := numbered(3, 100)
		first := p.Hold(all[0])
		second := p.Hold(all[1])
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.False(t, first.Answered(), "while the buffer is full")
		RequireRead(t, s, all[0])
		synctest.Wait()
		require.False(t, first.Answered(), "the buffer is still full")
		RequireRead(t, s, all[1][:50])
		first.Wait()
		synctest.Wait()
		require.False(t, second.Answered())
		third := p.Post(all[2])
		second.Wait()
		RequireRead(t, s, all[1][50:]+all[2])
		_, err := s.Write([]byte("<done xmlns='u'/>"))
		require.NoError(t, err)
		assert.Equal(t, "<done xmlns='u'/>", third.Wait().Payload())
	})
}

// A client that is held up for want of room hears what the application has to
// say all the same.
func TestReadBufferFullAndOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Elements, ReadBuffer: 10})
		c := p.Hold("<a xmlns='u'>more than ten bytes</a>")
		_, err := s.Write([]byte("<b xmlns='u'/>"))
		require.NoError(t, err)
		assert.Equal(t, "<b xmlns='u'/>", c.Wait().Payload())
	})
}

// Closing a stream that did not read frees the client.
func TestReadBufferFullAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Elements, ReadBuffer: 10})
		first := p.Hold("<a xmlns='u'>more than ten bytes</a>")
		second := p.Hold("<a xmlns='u'>more than ten bytes</a>")
		require.NoError(t, s.Close())
		RequireEnd(t, first.Wait(), "")
		RequireEnd(t, second.Wait(), "")
	})
}

// A well-behaved client and an echo, both with tiny buffers, move much data
// without a loss, whichever side is slower.
func TestSlowEcho(t *testing.T) {
	for _, o := range []bosh.Options{
		{Framing: bosh.Elements, ReadBuffer: 50, WriteBuffer: 50},
		{Framing: bosh.Elements, ReadBuffer: 2000, WriteBuffer: 10},
		{Framing: bosh.Elements, ReadBuffer: -1, WriteBuffer: 2000},
	} {
		synctest.Test(t, func(t *testing.T) {
			o.Serve = func(s *bosh.Stream) {
				b := make([]byte, 7)
				io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{s}, b)
			}
			c, err := boshtest.Dial(t.Context(), boshtest.Config{Transport: boshtest.InMemory(NewHandler(t, o)), Batch: 500})
			require.NoError(t, err)
			defer c.Close()
			all := numbered(300, 40)
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			sent := Async(func() error { return c.Send(ctx, all...) })
			for _, want := range all {
				el, err := c.Recv(ctx)
				require.NoError(t, err)
				require.Equal(t, want, string(el))
			}
			require.NoError(t, <-sent)
			require.NoError(t, c.Terminate(ctx))
		})
	}
}

// Throttle slows a fast client to the pace of a slow application, and does not end it.
// Nothing is answered while the application is behind: not for output, and not for a
// client without wait.
func TestThrottle(t *testing.T) {
	const body, rate = 1 << 14, 1 << 12 // bytes, and bytes a second that the application reads
	for name, attrs := range map[string]string{"holding": "wait='2' hold='1'", "polling": "wait='0' hold='0'", "pausing": "wait='2' hold='1'"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHandler(t, bosh.Options{
					Framing: bosh.Opaque, MaxBody: body + 1<<10, ReadBuffer: 1 << 10, Throttle: true, Polling: -1, MaxRepeats: -1,
				})
				rt := boshtest.InMemory(h)
				r := boshtest.Exchange(t, rt, strings.Replace(Creation(), "wait='60' hold='1'", attrs, 1))
				p := &Peer{T: t, Rt: rt, Sid: r.Attr("sid"), Rid: 1000}
				s := Accept(t, h)
				defer s.Close()
				read := make(chan int, 1)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				go func() {
					n, buf := 0, make([]byte, rate)
					for ctx.Err() == nil {
						time.Sleep(time.Second)
						k, err := s.Read(buf)
						if n += k; err != nil {
							break
						}
						s.Write([]byte("x")) // which would be a reason to answer
					}
					read <- n
				}()
				sent := 0
				for begin := time.Now(); time.Since(begin) < 5*time.Minute; {
					if name == "pausing" {
						p.Post("", "pause='1'").Wait()
					}
					r := p.Send(data64(body / 2))
					require.Empty(t, r.Attr("condition"))
					sent += body / 2
					require.Less(t, s.Session().Stats().Unread, 4*body)
				}
				assert.NoError(t, s.Session().Err())
				stop()
				assert.InDelta(t, 300*rate, <-read, 20*rate, "the application is kept at its pace")
				assert.InDelta(t, 300*rate, sent, 20*rate, "so is the client")
			})
		})
	}
}

// An application that cannot write before its client is answered is not stuck, and one
// that closes its stream, or ends the session, has the client told at once.
func TestThrottleAnswers(t *testing.T) {
	o := bosh.Options{Framing: bosh.Elements, ReadBuffer: -1, WriteBuffer: 500, Throttle: true}
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, o)
		call := p.Hold(X("1"))
		require.NoError(t, s.WriteElement(t.Context(), []byte(X("y"))))
		time.Sleep(time.Hour)
		require.False(t, call.Answered(), "there is room")
		w := GoWrite(s, strings.Join(numbered(3, 500), ""))
		assert.NotEmpty(t, call.Wait().Payloads)
		require.True(t, Pending(w))
		assert.NotEmpty(t, p.Send("").Payloads)
		<-w
	})
	for name, end := range map[string]func(s *bosh.Stream) error{
		"closed": (*bosh.Stream).Close,
		"ended":  func(s *bosh.Stream) error { return s.Session().Terminate(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Connect(t, o)
				call := p.Hold(X("1"))
				require.NoError(t, end(s))
				RequireEnd(t, call.Wait(), "")
			})
		})
	}
}

// data64 returns an element that carries n bytes of Opaque.
func data64(n int) string {
	return "<data xmlns='" + bosh.OpaqueNS + "'>" + base64.StdEncoding.EncodeToString(make([]byte, n)) + "</data>"
}
