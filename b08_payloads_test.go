package bosh_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long a request is held when a minute was granted: a little
// less, for clients that give up at just that time.
const patience = 59 * time.Second

// XEP-0124, section 8: sending and receiving payloads.
func TestPayloads(t *testing.T) {
	std(t, "B8-1 payloads go on while their request is held", func(b *bench, s *session) {
		c := s.send(1001, x("a"))
		s.app.reads(x("a"))
		c.waits()
	})

	std(t, "B8-2 payloads of different requests go in rid order", func(b *bench, s *session) {
		s.send(1002, x("b"))
		s.app.reads("")
		s.send(1001, x("a"))
		s.app.reads(x("a") + x("b"))
	})

	bubble(t, "B8-3 an answer does not depend on what becomes of the payloads", with(func(o *bosh.Options) {
		o.Serve = func(st *bosh.Stream) { <-st.Context().Done() } // never reads
	}), func(b *bench) {
		s := &session{b: b, sid: b.post(complete("<body rid='1000' " + stdAttrs + "/>")).body().Attr("sid")}
		c := s.send(1001, x("a"))
		for rid := int64(1002); rid < 1010; rid++ {
			next := s.send(rid, x("a"))
			c.getsNow(empty)
			c = next
		}
	})

	std(t, "B8-4 an answer is kept back until there is a payload", func(b *bench, s *session) {
		c := s.send(1001)
		b.wait(3 * time.Second)
		c.waits()
		s.app.writes(x("a"))
		c.getsNow(answer(x("a")))
		assert.Equal(b, 3*time.Second, c.at())
	})

	custom(t, "B8-5 no request waits longer than W from its own arrival", with(func(o *bosh.Options) { o.Hold = 2 }),
		"to='example.com' hold='2' wait='5' ver='1.11'", func(b *bench, s *session) {
			first := s.send(1001)
			b.wait(3 * time.Second)
			second := s.send(1002)
			b.wait(10 * time.Second)
			first.gets(empty)
			second.gets(empty)
			assert.Equal(b, 4750*time.Millisecond, first.at())
			assert.Equal(b, 7750*time.Millisecond, second.at())
		})

	custom(t, "B8-6 the surplus over H is released oldest first", with(func(o *bosh.Options) { o.Hold = 2 }),
		"to='example.com' hold='2' wait='60' ver='1.11'", func(b *bench, s *session) {
			first, second := s.send(1001, x("a")), s.send(1002, x("b"))
			b.wait(time.Second)
			first.waits()
			second.waits()
			third := s.send(1003, x("c"))
			first.getsNow(empty)
			second.waits()
			third.waits()
		})

	custom(t, "B8-7 answers are given in rid order", with(func(o *bosh.Options) { o.Hold = 2 }),
		"to='example.com' hold='2' wait='60' ver='1.11'", func(b *bench, s *session) {
			first, second := s.send(1001), s.send(1002, x("a"))
			s.app.writes(x("b"))
			first.getsNow(answer(x("b")))
			second.waits()
			s.app.writes(x("c"))
			second.getsNow(answer(x("c")))
		})

	std(t, "B8-8 when W ends the answer is empty", func(b *bench, s *session) {
		s.send(1001).getsAfter(patience, empty)
	})

	std(t, "B8-9 a payload goes out at once on the oldest held request", func(b *bench, s *session) {
		c := s.send(1001)
		s.app.writes(x("a"))
		c.getsNow(answer(x("a")))
	})

	std(t, "B8-10 payloads wait for a request, and all go out on it in order", func(b *bench, s *session) {
		s.app.writes(x("a"))
		b.wait(time.Second)
		s.app.writes(x("b"))
		b.wait(time.Second)
		s.send(1001).getsNow(answer(x("a"), x("b")))
	})

	t.Run("B8-11 empty requests are held like others", func(t *testing.T) {
		for _, parts := range [][]string{nil, {x("a")}} {
			std(t, fmt.Sprint(len(parts), " payloads"), func(b *bench, s *session) {
				s.send(1001, parts...).getsAfter(patience, empty)
				c := s.send(1002, parts...)
				b.wait(time.Second)
				s.app.writes(x("b"))
				c.getsNow(answer(x("b")))
			})
		}
	})

	std(t, "B8-12 each payload is in exactly one answer, whole and in order", func(b *bench, s *session) {
		var sent, got strings.Builder
		rid := int64(1000)
		for i := range 1000 {
			text := x(fmt.Sprint(i))
			sent.WriteString(text)
			half := i % len(text) // elements are whole however they are written
			s.app.writes(text[:half])
			s.app.writes(text[half:])
			if i%20 == 19 {
				rid++
				for _, p := range s.send(rid, x("more")).body().Payloads {
					got.Write(p)
				}
			}
		}
		assert.Equal(b, sent.String(), got.String())
	})

	bubble(t, "B8-13 the queue toward the client is bounded", with(func(o *bosh.Options) {
		o.WriteBuffer = 1000
	}), func(b *bench) {
		s := b.create()
		require.NoError(b, s.app.SetWriteDeadline(time.Now().Add(time.Second)))
		written := 0
		for {
			n, err := s.app.Write([]byte(x("a")))
			if err != nil {
				assert.ErrorIs(b, err, os.ErrDeadlineExceeded)
				break
			}
			written += n
			require.Less(b, written, 2000, "no back-pressure")
		}
		assert.GreaterOrEqual(b, written, 1000)
		require.NoError(b, s.app.SetWriteDeadline(time.Time{}))
		done := make(chan error, 1)
		go func() {
			_, err := s.app.Write([]byte(x("b")))
			done <- err
		}()
		b.wait(time.Second)
		select {
		case err := <-done:
			b.Error("the write did not block:", err)
		default:
		}
		full := s.send(1001).body()
		assert.Equal(b, written, len(strings.Join(texts(full.Payloads), "")))
		assert.NoError(b, <-done, "room again")
		s.send(1002).getsNow(answer(x("b")))
	})

	bubble(t, "B8-13 and a blocked write ends with its session", with(func(o *bosh.Options) {
		o.WriteBuffer = 1
	}), func(b *bench) {
		s := b.create()
		s.app.writes(x("a"))
		done := make(chan error, 1)
		go func() {
			_, err := s.app.Write([]byte(x("b")))
			done <- err
		}()
		b.wait(time.Second)
		s.send(5000)
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
