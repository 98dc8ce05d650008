package spec_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// XEP-0124, section 8: sending and receiving payloads.
func TestPayloads(t *testing.T) {
	Std(t, "B8-1 payloads go on while their request is held", func(b *Harness, s *Session) {
		c := s.Send(1001, X("a"))
		s.App.Reads(X("a"))
		c.Waits()
	})

	Std(t, "B8-2 payloads of different requests go in rid order", func(b *Harness, s *Session) {
		s.Send(1002, X("b"))
		s.App.Reads("")
		s.Send(1001, X("a"))
		s.App.Reads(X("a") + X("b"))
	})

	Bubble(t, "B8-3 an answer does not depend on what becomes of the payloads", With(func(o *bosh.Options) {
		o.Serve = func(st *bosh.Stream) { <-st.Context().Done() } // never reads
	}), func(b *Harness) {
		s := &Session{B: b, Sid: b.Post(Complete("<body rid='1000' " + StdAttrs + "/>")).Body().Attr("sid")}
		c := s.Send(1001, X("a"))
		for rid := int64(1002); rid < 1010; rid++ {
			next := s.Send(rid, X("a"))
			c.GetsNow(Empty)
			c = next
		}
	})

	Std(t, "B8-4 an answer is kept back until there is a payload", func(b *Harness, s *Session) {
		c := s.Send(1001)
		b.Wait(3 * time.Second)
		c.Waits()
		s.App.Writes(X("a"))
		c.GetsNow(Answer(X("a")))
		assert.Equal(b, 3*time.Second, c.At())
	})

	Custom(t, "B8-5 no request waits longer than W from its own arrival", With(func(o *bosh.Options) { o.Hold = 2 }),
		"to='example.com' hold='2' wait='5' ver='1.11'", func(b *Harness, s *Session) {
			first := s.Send(1001)
			b.Wait(3 * time.Second)
			second := s.Send(1002)
			b.Wait(10 * time.Second)
			first.Gets(Empty)
			second.Gets(Empty)
			assert.Equal(b, 4750*time.Millisecond, first.At())
			assert.Equal(b, 7750*time.Millisecond, second.At())
		})

	Custom(t, "B8-6 the surplus over H is released oldest first", With(func(o *bosh.Options) { o.Hold = 2 }),
		"to='example.com' hold='2' wait='60' ver='1.11'", func(b *Harness, s *Session) {
			first, second := s.Send(1001, X("a")), s.Send(1002, X("b"))
			b.Wait(time.Second)
			first.Waits()
			second.Waits()
			third := s.Send(1003, X("c"))
			first.GetsNow(Empty)
			second.Waits()
			third.Waits()
		})

	Custom(t, "B8-7 answers are given in rid order", With(func(o *bosh.Options) { o.Hold = 2 }),
		"to='example.com' hold='2' wait='60' ver='1.11'", func(b *Harness, s *Session) {
			first, second := s.Send(1001), s.Send(1002, X("a"))
			s.App.Writes(X("b"))
			first.GetsNow(Answer(X("b")))
			second.Waits()
			s.App.Writes(X("c"))
			second.GetsNow(Answer(X("c")))
		})

	Std(t, "B8-8 when W ends the answer is empty", func(b *Harness, s *Session) {
		s.Send(1001).GetsAfter(Patience, Empty)
	})

	Std(t, "B8-9 a payload goes out at once on the oldest held request", func(b *Harness, s *Session) {
		c := s.Send(1001)
		s.App.Writes(X("a"))
		c.GetsNow(Answer(X("a")))
	})

	Std(t, "B8-10 payloads wait for a request, and all go out on it in order", func(b *Harness, s *Session) {
		s.App.Writes(X("a"))
		b.Wait(time.Second)
		s.App.Writes(X("b"))
		b.Wait(time.Second)
		s.Send(1001).GetsNow(Answer(X("a"), X("b")))
	})

	t.Run("B8-11 empty requests are held like others", func(t *testing.T) {
		for _, parts := range [][]string{nil, {X("a")}} {
			Std(t, fmt.Sprint(len(parts), " payloads"), func(b *Harness, s *Session) {
				s.Send(1001, parts...).GetsAfter(Patience, Empty)
				c := s.Send(1002, parts...)
				b.Wait(time.Second)
				s.App.Writes(X("b"))
				c.GetsNow(Answer(X("b")))
			})
		}
	})

	Std(t, "B8-12 each payload is in exactly one answer, whole and in order", func(b *Harness, s *Session) {
		var sent, got strings.Builder
		rid := int64(1000)
		for i := range 1000 {
			text := X(fmt.Sprint(i))
			sent.WriteString(text)
			half := i % len(text) // elements are whole however they are written
			s.App.Writes(text[:half])
			s.App.Writes(text[half:])
			if i%20 == 19 {
				rid++
				for _, p := range s.Send(rid, X("more")).Body().Payloads {
					got.Write(p)
				}
			}
		}
		assert.Equal(b, sent.String(), got.String())
	})

	Bubble(t, "B8-13 the queue toward the client is bounded", With(func(o *bosh.Options) {
		o.WriteBuffer = 1000
	}), func(b *Harness) {
		s := b.Create()
		require.NoError(b, s.App.SetWriteDeadline(time.Now().Add(time.Second)))
		written := 0
		for {
			n, err := s.App.Write([]byte(X("a")))
			if err != nil {
				assert.ErrorIs(b, err, os.ErrDeadlineExceeded)
				break
			}
			written += n
			require.Less(b, written, 2000, "no back-pressure")
		}
		assert.GreaterOrEqual(b, written, 1000)
		require.NoError(b, s.App.SetWriteDeadline(time.Time{}))
		done := make(chan error, 1)
		go func() {
			_, err := s.App.Write([]byte(X("b")))
			done <- err
		}()
		b.Wait(time.Second)
		select {
		case err := <-done:
			b.Error("the write did not block:", err)
		default:
		}
		full := s.Send(1001).Body()
		assert.Equal(b, written, len(strings.Join(texts(full.Payloads), "")))
		assert.NoError(b, <-done, "room again")
		s.Send(1002).GetsNow(Answer(X("b")))
	})

	Bubble(t, "B8-13 and a blocked write ends with its session", With(func(o *bosh.Options) {
		o.WriteBuffer = 1
	}), func(b *Harness) {
		s := b.Create()
		s.App.Writes(X("a"))
		done := make(chan error, 1)
		go func() {
			_, err := s.App.Write([]byte(X("b")))
			done <- err
		}()
		b.Wait(time.Second)
		s.Send(5000)
		var e *bosh.Error
		require.True(b, errors.As(<-done, &e))
		assert.Equal(b, bosh.ItemNotFound, e.Condition)
	})
}

func texts(payloads [][]byte) (all []string) {
	for _, p := range payloads {
		all = append(all, string(p))
	}
	return all
}
