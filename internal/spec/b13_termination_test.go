package spec_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const terminate = "type='terminate'"

// XEP-0124, section 13: termination.
func TestTermination(t *testing.T) {
	hold2 := With(func(o *bosh.Options) { o.Hold = 2 })
	const hold2Attrs = "to='example.com' hold='2' wait='60' ver='1.11'"

	Std(t, "B13-1 the end comes in its turn", func(b *Harness, s *Session) {
		last := s.Send(1002, terminate)
		s.Alive()
		assert.NoError(b, s.App.Ended())
		first := s.Send(1001, X("a"))
		s.App.Reads(X("a"))
		assert.Equal(b, io.EOF, s.App.Ended())
		first.GetsNow(End)
		last.GetsNow(Empty)
		InOrder(b, []*Call{first, last})
		s.Gone()
	})

	Std(t, "B13-2 payloads come before the end", func(b *Harness, s *Session) {
		s.Send(1001, terminate, X("bye"))
		s.App.Reads(X("bye"))
		assert.Equal(b, io.EOF, s.App.Ended())
		assert.Equal(b, io.EOF, s.App.Session().Err())
	})

	Std(t, "B13-3 B13-4 the oldest gets the acknowledgement", func(b *Harness, s *Session) {
		held := s.Send(1001)
		b.Wait(time.Second)
		last := s.Send(1002, terminate)
		held.GetsNow(End)
		last.GetsNow(Empty)
		InOrder(b, []*Call{held, last})
	})

	Custom(t, "B13-4 all others get empty bodies", hold2, hold2Attrs, func(b *Harness, s *Session) {
		calls := []*Call{s.Send(1001), s.Send(1002), s.Send(1003, terminate)}
		calls[0].GetsNow(End)
		calls[1].GetsNow(Empty)
		calls[2].GetsNow(Empty)
		InOrder(b, calls)
	})

	Std(t, "B13-5 the only one gets the acknowledgement itself", func(b *Harness, s *Session) {
		s.Send(1001, terminate).GetsNow(End)
	})

	Std(t, "B13-6 afterwards the sid is unknown", func(b *Harness, s *Session) {
		s.Send(1001, terminate)
		s.Send(1002).GetsNow(Condition(bosh.ItemNotFound))
		s.Gone()
	})

	Std(t, "B13-6 what was queued goes out with the acknowledgement", func(b *Harness, s *Session) {
		s.App.Writes(X("late"))
		s.Send(1001, terminate).GetsNow("<body type='terminate'>" + X("late") + "</body>")
	})

	Std(t, "B13-6 or is handed back", func(b *Harness, s *Session) {
		s.App.Writes(X("late"))
		early := s.Send(1002, terminate)
		early.Breaks()
		s.Send(1001).Breaks()
		b.Wait(time.Hour)
		assert.Contains(b, [][]string{{X("late")}, {X("late") + "*"}}, s.App.Lost())
	})

	Std(t, "B13-6 all that is open is answered, also if the end itself has no connection any more", func(b *Harness, s *Session) {
		s.Send(1002, terminate).Breaks()
		early := s.Send(1003, "pause='5'")
		early.Waits()
		s.Send(1001, "pause='5'").GetsNow(Empty)
		early.GetsNow(Empty)
		s.App.Reads("")
	})

	Std(t, "B13-6 the application has closed, and the client asks for the end and leaves", func(b *Harness, s *Session) {
		require.NoError(b, s.App.Close())
		s.Send(1002, terminate).Breaks()
		s.Send(1001, "pause='5'").GetsNow(Empty)
		s.Send(1003).GetsNow(Condition(bosh.ItemNotFound)) // it is over
		s.Send(1002, terminate).GetsNow(End)
	})

	Custom(t, "B13-7 the application closes: the rest and the end on the oldest", hold2, hold2Attrs, func(b *Harness, s *Session) {
		calls := []*Call{s.Send(1001), s.Send(1002)}
		b.Wait(time.Second)
		_, err := s.App.Write([]byte(X("last")))
		require.NoError(b, err)
		require.NoError(b, s.App.Close())
		// The oldest may be answered between Write and Close.
		if oldest := calls[0].Body(); oldest.Attr("type") == "" {
			calls[0].GetsNow(Answer(X("last")))
		} else {
			calls[0].GetsNow("<body type='terminate'>" + X("last") + "</body>")
		}
		calls[1].GetsNow(End)
		InOrder(b, calls)
		s.Gone()
	})

	Std(t, "B13-7 or on the next", func(b *Harness, s *Session) {
		s.App.Writes(X("last"))
		require.NoError(b, s.App.Close())
		b.Wait(29 * time.Second)
		s.Send(1001).GetsNow("<body type='terminate'>" + X("last") + "</body>")
		s.Send(1002).GetsNow(Condition(bosh.ItemNotFound))
	})

	Std(t, "B13-7 but no longer than I", func(b *Harness, s *Session) {
		s.App.Writes(X("last"))
		require.NoError(b, s.App.Close())
		assert.Empty(b, s.App.Lost(), "too early to tell")
		b.Wait(30*time.Second + Overtime)
		s.Send(1001).GetsNow(Condition(bosh.ItemNotFound))
		assert.Equal(b, []string{X("last")}, s.App.Lost())
	})

	t.Run("B13-8 other types are ignored", func(t *testing.T) {
		for _, typ := range []string{"error", "nonsense", ""} {
			Std(t, typ, func(b *Harness, s *Session) {
				c := s.Send(1001, "type='"+typ+"'", X("a"))
				s.App.Reads(X("a"))
				c.Waits()
				s.App.Writes(X("b"))
				c.GetsNow(Answer(X("b")))
			})
		}
	})

	Std(t, "B13-3 the answers to the end are repeated", func(b *Harness, s *Session) {
		held, last := s.Send(1001), s.Send(1002, terminate)
		held.Gets(End)
		last.Gets(Empty)
		s.Send(1001).GetsNow(End)
		s.Send(1002, terminate).GetsNow(Empty)
	})

	Std(t, "B13-2 a client that leaves without its answer has ended all the same", func(b *Harness, s *Session) {
		c := b.Request("half", cutAfter{s.Text("1001", terminate, X("bye"))})
		c.Breaks()
		s.App.Reads("")
		s.Alive()
		s.Send(1001, terminate, X("bye")).GetsNow(End)
		s.App.Reads(X("bye"))
	})
}

// cutAfter is a request body of which only half arrives.
type cutAfter struct{ text string }

func (r cutAfter) Read(p []byte) (int, error) {
	return copy(p, r.text[:len(r.text)/2]), errors.New("connection cut")
}
