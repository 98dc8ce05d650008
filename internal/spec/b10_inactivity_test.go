package spec_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// XEP-0124, section 10: inactivity.
func TestInactivity(t *testing.T) {
	Std(t, "B10-1 silence ends the session without a word", func(b *Harness, s *Session) {
		s.App.Writes(X("a"))
		s.Send(1001).GetsNow(Answer(X("a")))
		b.Wait(30*time.Second + Overtime - 1)
		s.Alive()
		b.Wait(1)
		var e *bosh.Error
		require.ErrorAs(b, s.App.Session().Err(), &e)
		assert.True(b, e.Remote)
		assert.Error(b, s.App.Ended())
		assert.Error(b, s.App.Context().Err())
		s.Gone()
	})

	Std(t, "B10-2 and the sid is as unknown as any", func(b *Harness, s *Session) {
		s.App.Writes(X("a"))
		s.Send(1001)
		b.Wait(2 * time.Hour)
		late := s.Send(1002).Answer()
		unknown := (&Session{B: b, Sid: "unknown"}).Send(1002).Answer()
		assert.Equal(b, string(unknown.Body), string(late.Body))
		assert.Equal(b, unknown.Head, late.Head)
		s.Send(1001).GetsNow(Condition(bosh.ItemNotFound))
	})

	Bubble(t, "B10-3 without inactivity there is no limit", With(func(o *bosh.Options) { o.Inactivity = -1 }), func(b *Harness) {
		s := b.Create()
		_, sent := s.Granted.Lookup("inactivity")
		assert.False(b, sent)
		b.Wait(1000 * time.Hour)
		s.App.Writes(X("a"))
		s.Send(1001).GetsNow(Answer(X("a")))
	})

	Bubble(t, "B10-4 the timer runs only while no request is open", With(func(o *bosh.Options) { o.Inactivity = 5 * time.Second }), func(b *Harness) {
		s := b.Create()
		s.Send(1001).GetsAfter(Patience, Empty)
		b.Wait(5*time.Second + Overtime - 1)
		s.Alive()
		b.Wait(1)
		s.Gone()
	})

	Bubble(t, "B10-5 by default a page whose timers run once a minute keeps its session", bosh.Options{Framing: bosh.Elements, Grace: -1}, func(b *Harness) {
		s := b.Create()
		assert.Equal(b, "75", s.Granted.Attr("inactivity"))
		b.Wait(75*time.Second + Overtime - 1)
		s.Alive()
		b.Wait(1)
		s.Gone()
	})

	Std(t, "B10-6 the timer runs from the moment a connection breaks", func(b *Harness, s *Session) {
		c := s.Send(1001)
		b.Wait(10 * time.Second)
		c.Breaks()
		b.Wait(30*time.Second + Overtime - 1)
		s.Alive()
		b.Wait(1)
		s.Gone()
	})

	Std(t, "B10-7 a repeat stops the timer", func(b *Harness, s *Session) {
		s.App.Writes(X("a"))
		s.Send(1001)
		for range 8 {
			b.Wait(15 * time.Second)
			s.Send(1001).GetsNow(Answer(X("a")))
		}
		s.Alive()
		b.Wait(30*time.Second + Overtime)
		s.Gone()
	})
	Std(t, "B10-7 what is refused does not", func(b *Harness, s *Session) {
		b.Wait(29 * time.Second)
		(&Session{B: b, Sid: "unknown"}).Send(1001).GetsNow(Condition(bosh.ItemNotFound))
		s.Raw("").GetsNow(Condition(bosh.BadRequest))
		b.Wait(time.Second)
		s.Gone()
	})

	Std(t, "B10-14 the application gets an error and what was not delivered", func(b *Harness, s *Session) {
		s.App.Writes(X("a") + X("b"))
		assert.Empty(b, s.App.Lost())
		b.Wait(30*time.Second + Overtime)
		assert.ErrorContains(b, s.App.Ended(), "inactive")
		_, err := s.App.Write([]byte(X("c")))
		assert.ErrorContains(b, err, "inactive")
		assert.Equal(b, []string{X("a"), X("b")}, s.App.Lost())
	})
	Std(t, "B10-14 also what was sent, but perhaps not received", func(b *Harness, s *Session) {
		for rid := int64(1001); rid < 1005; rid++ {
			s.App.Writes(X(fmt.Sprint(rid)))
			s.Send(rid)
		}
		s.App.Writes(X("a"))
		b.Wait(30*time.Second + Overtime)
		// With two requests open, 1004 proves that 1002 was answered.
		assert.Equal(b, []string{X("1003") + "*", X("1004") + "*", X("a")}, s.App.Lost())
	})
}

// XEP-0124, section 10: pauses.
func TestPause(t *testing.T) {
	const pause60 = "pause='60'"

	Std(t, "B10-8 a pause answers all at once, in order", func(b *Harness, s *Session) {
		held := s.Send(1001)
		b.Wait(time.Second)
		pause := s.Send(1002, pause60)
		held.GetsNow(Empty)
		pause.GetsNow(Empty)
		InOrder(b, []*Call{held, pause})
	})
	Std(t, "B10-8 also with R requests open", func(b *Harness, s *Session) {
		calls := []*Call{s.Send(1002, X("b")), s.Send(1003, pause60), s.Send(1001)}
		calls[2].GetsNow(Empty)
		calls[0].GetsNow(Empty)
		calls[1].GetsNow(Empty)
		s.Alive()
	})

	Std(t, "B10-9 its answer has no payloads", func(b *Harness, s *Session) {
		s.App.Writes(X("a"))
		s.Send(1001, pause60).GetsNow(Empty)
		b.Wait(time.Second)
		s.Send(1002).GetsNow(Answer(X("a")))
	})
	Std(t, "B10-9 but an older one's may", func(b *Harness, s *Session) {
		held := s.Send(1001)
		early := s.Send(1003, pause60)
		early.Waits()
		s.App.Writes(X("a"))
		held.GetsNow(Answer(X("a")))
		s.App.Writes(X("b"))
		s.Send(1002).GetsNow(Answer(X("b")))
		early.GetsNow(Empty)
	})

	Std(t, "B10-10 until the next request the pause is the limit", func(b *Harness, s *Session) {
		s.Send(1001, pause60).GetsNow(Empty)
		b.Wait(60*time.Second + Overtime - 1)
		s.Alive()
		s.Send(1002).Waits()
	})
	Std(t, "B10-10 and the end", func(b *Harness, s *Session) {
		s.Send(1001, pause60).GetsNow(Empty)
		b.Wait(60*time.Second + Overtime)
		s.Gone()
	})
	Std(t, "B10-10 a pause may also be short", func(b *Harness, s *Session) {
		s.Send(1001, "pause='5'").GetsNow(Empty)
		b.Wait(7 * time.Second)
		s.Gone()
	})

	Std(t, "B10-11 the next request puts the limit back", func(b *Harness, s *Session) {
		s.Send(1001, pause60)
		b.Wait(50 * time.Second)
		c := s.Send(1002)
		s.App.Writes(X("a"))
		c.GetsNow(Answer(X("a")))
		b.Wait(30*time.Second + Overtime - 1)
		s.Alive()
		b.Wait(1)
		s.Gone()
	})
	Std(t, "B10-11 and a session may pause again", func(b *Harness, s *Session) {
		for rid := int64(1001); rid < 1010; rid++ {
			s.Send(rid, pause60, X("a")).GetsNow(Empty)
			b.Wait(59 * time.Second)
		}
		s.Alive()
	})

	Std(t, "B10-12 a longer pause is granted as maxpause", func(b *Harness, s *Session) {
		assert.Equal(b, "120", s.Granted.Attr("maxpause"))
		s.Send(1001, "pause='500'").GetsNow(Empty)
		b.Wait(120*time.Second + Overtime - 1)
		s.Alive()
		b.Wait(1)
		s.Gone()
	})
	Bubble(t, "B10-12 without maxpause there are no pauses", With(func(o *bosh.Options) { o.Pause = -1 }), func(b *Harness) {
		s := b.Create()
		_, sent := s.Granted.Lookup("maxpause")
		assert.False(b, sent)
		s.Send(1001, pause60).GetsAfter(Patience, Empty)
		b.Wait(30*time.Second + Overtime)
		s.Gone()
	})
	t.Run("B10-12 other values are ignored", func(t *testing.T) {
		for _, v := range []string{"0", "-1", "x", "", "1.5"} {
			Std(t, v, func(b *Harness, s *Session) {
				s.Send(1001, "pause='"+v+"'").GetsAfter(Patience, Empty)
				b.Wait(30*time.Second + Overtime)
				s.Gone()
			})
		}
	})

	Std(t, "B10-13 payloads in a pause are forwarded", func(b *Harness, s *Session) {
		s.Send(1001, pause60, X("a")).GetsNow(Empty)
		s.App.Reads(X("a"))
	})

	Std(t, "B10-10 the repeat of a pause starts it anew", func(b *Harness, s *Session) {
		s.Send(1001, pause60).GetsNow(Empty)
		b.Wait(50 * time.Second)
		s.App.Writes(X("a"))
		s.Send(1001, pause60).GetsNow(Empty)
		b.Wait(60*time.Second + Overtime - 1)
		s.Alive()
		s.Send(1002).GetsNow(Answer(X("a")))
	})
}
