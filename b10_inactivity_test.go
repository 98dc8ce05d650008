package bosh_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// overtime is how much longer than it was told a client may be silent.
const overtime = 2 * time.Second

// XEP-0124, section 10: inactivity.
func TestInactivity(t *testing.T) {
	std(t, "B10-1 silence ends the session without a word", func(b *bench, s *session) {
		s.app.writes(x("a"))
		s.send(1001).getsNow(answer(x("a")))
		b.wait(30*time.Second + overtime - 1)
		s.alive()
		b.wait(1)
		var e *bosh.Error
		require.ErrorAs(b, s.app.Session().Err(), &e)
		assert.True(b, e.Remote)
		assert.Error(b, s.app.ended())
		assert.Error(b, s.app.Context().Err())
		s.gone()
	})

	std(t, "B10-2 and the sid is as unknown as any", func(b *bench, s *session) {
		s.app.writes(x("a"))
		s.send(1001)
		b.wait(2 * time.Hour)
		late := s.send(1002).answer()
		unknown := (&session{b: b, sid: "unknown"}).send(1002).answer()
		assert.Equal(b, string(unknown.body), string(late.body))
		assert.Equal(b, unknown.header, late.header)
		s.send(1001).getsNow(condition(bosh.ItemNotFound))
	})

	bubble(t, "B10-3 without inactivity there is no limit", with(func(o *bosh.Options) { o.Inactivity = -1 }), func(b *bench) {
		s := b.create()
		_, sent := s.granted.Lookup("inactivity")
		assert.False(b, sent)
		b.wait(1000 * time.Hour)
		s.app.writes(x("a"))
		s.send(1001).getsNow(answer(x("a")))
	})

	bubble(t, "B10-4 the timer runs only while no request is open", with(func(o *bosh.Options) { o.Inactivity = 5 * time.Second }), func(b *bench) {
		s := b.create()
		s.send(1001).getsAfter(patience, empty)
		b.wait(5*time.Second + overtime - 1)
		s.alive()
		b.wait(1)
		s.gone()
	})

	bubble(t, "B10-5 by default a page whose timers run once a minute keeps its session", bosh.Options{Framing: bosh.Elements, Grace: -1}, func(b *bench) {
		s := b.create()
		assert.Equal(b, "75", s.granted.Attr("inactivity"))
		b.wait(75*time.Second + overtime - 1)
		s.alive()
		b.wait(1)
		s.gone()
	})

	std(t, "B10-6 the timer runs from the moment a connection breaks", func(b *bench, s *session) {
		c := s.send(1001)
		b.wait(10 * time.Second)
		c.breaks()
		b.wait(30*time.Second + overtime - 1)
		s.alive()
		b.wait(1)
		s.gone()
	})

	std(t, "B10-7 a repeat stops the timer", func(b *bench, s *session) {
		s.app.writes(x("a"))
		s.send(1001)
		for range 8 {
			b.wait(15 * time.Second)
			s.send(1001).getsNow(answer(x("a")))
		}
		s.alive()
		b.wait(30*time.Second + overtime)
		s.gone()
	})
	std(t, "B10-7 what is refused does not", func(b *bench, s *session) {
		b.wait(29 * time.Second)
		(&session{b: b, sid: "unknown"}).send(1001).getsNow(condition(bosh.ItemNotFound))
		s.raw("").getsNow(condition(bosh.BadRequest))
		b.wait(time.Second)
		s.gone()
	})

	std(t, "B10-14 the application gets an error and what was not delivered", func(b *bench, s *session) {
		s.app.writes(x("a") + x("b"))
		assert.Empty(b, s.app.undelivered())
		b.wait(30*time.Second + overtime)
		assert.ErrorContains(b, s.app.ended(), "inactive")
		_, err := s.app.Write([]byte(x("c")))
		assert.ErrorContains(b, err, "inactive")
		assert.Equal(b, []string{x("a"), x("b")}, s.app.undelivered())
	})
	std(t, "B10-14 also what was sent, but perhaps not received", func(b *bench, s *session) {
		for rid := int64(1001); rid < 1005; rid++ {
			s.app.writes(x(fmt.Sprint(rid)))
			s.send(rid)
		}
		s.app.writes(x("a"))
		b.wait(30*time.Second + overtime)
		// With two requests open, 1004 proves that 1002 was answered.
		assert.Equal(b, []string{x("1003") + "*", x("1004") + "*", x("a")}, s.app.undelivered())
	})
}

// XEP-0124, section 10: pauses.
func TestPause(t *testing.T) {
	const pause60 = "pause='60'"

	std(t, "B10-8 a pause answers all at once, in order", func(b *bench, s *session) {
		held := s.send(1001)
		b.wait(time.Second)
		pause := s.send(1002, pause60)
		held.getsNow(empty)
		pause.getsNow(empty)
		inOrder(b, []*call{held, pause})
	})
	std(t, "B10-8 also with R requests open", func(b *bench, s *session) {
		calls := []*call{s.send(1002, x("b")), s.send(1003, pause60), s.send(1001)}
		calls[2].getsNow(empty)
		calls[0].getsNow(empty)
		calls[1].getsNow(empty)
		s.alive()
	})

	std(t, "B10-9 its answer has no payloads", func(b *bench, s *session) {
		s.app.writes(x("a"))
		s.send(1001, pause60).getsNow(empty)
		b.wait(time.Second)
		s.send(1002).getsNow(answer(x("a")))
	})
	std(t, "B10-9 but an older one's may", func(b *bench, s *session) {
		held := s.send(1001)
		early := s.send(1003, pause60)
		early.waits()
		s.app.writes(x("a"))
		held.getsNow(answer(x("a")))
		s.app.writes(x("b"))
		s.send(1002).getsNow(answer(x("b")))
		early.getsNow(empty)
	})

	std(t, "B10-10 until the next request the pause is the limit", func(b *bench, s *session) {
		s.send(1001, pause60).getsNow(empty)
		b.wait(60*time.Second + overtime - 1)
		s.alive()
		s.send(1002).waits()
	})
	std(t, "B10-10 and the end", func(b *bench, s *session) {
		s.send(1001, pause60).getsNow(empty)
		b.wait(60*time.Second + overtime)
		s.gone()
	})
	std(t, "B10-10 a pause may also be short", func(b *bench, s *session) {
		s.send(1001, "pause='5'").getsNow(empty)
		b.wait(7 * time.Second)
		s.gone()
	})

	std(t, "B10-11 the next request puts the limit back", func(b *bench, s *session) {
		s.send(1001, pause60)
		b.wait(50 * time.Second)
		c := s.send(1002)
		s.app.writes(x("a"))
		c.getsNow(answer(x("a")))
		b.wait(30*time.Second + overtime - 1)
		s.alive()
		b.wait(1)
		s.gone()
	})
	std(t, "B10-11 and a session may pause again", func(b *bench, s *session) {
		for rid := int64(1001); rid < 1010; rid++ {
			s.send(rid, pause60, x("a")).getsNow(empty)
			b.wait(59 * time.Second)
		}
		s.alive()
	})

	std(t, "B10-12 a longer pause is granted as maxpause", func(b *bench, s *session) {
		assert.Equal(b, "120", s.granted.Attr("maxpause"))
		s.send(1001, "pause='500'").getsNow(empty)
		b.wait(120*time.Second + overtime - 1)
		s.alive()
		b.wait(1)
		s.gone()
	})
	bubble(t, "B10-12 without maxpause there are no pauses", with(func(o *bosh.Options) { o.Pause = -1 }), func(b *bench) {
		s := b.create()
		_, sent := s.granted.Lookup("maxpause")
		assert.False(b, sent)
		s.send(1001, pause60).getsAfter(patience, empty)
		b.wait(30*time.Second + overtime)
		s.gone()
	})
	t.Run("B10-12 other values are ignored", func(t *testing.T) {
		for _, v := range []string{"0", "-1", "x", "", "1.5"} {
			std(t, v, func(b *bench, s *session) {
				s.send(1001, "pause='"+v+"'").getsAfter(patience, empty)
				b.wait(30*time.Second + overtime)
				s.gone()
			})
		}
	})

	std(t, "B10-13 payloads in a pause are forwarded", func(b *bench, s *session) {
		s.send(1001, pause60, x("a")).getsNow(empty)
		s.app.reads(x("a"))
	})

	std(t, "B10-10 the repeat of a pause starts it anew", func(b *bench, s *session) {
		s.send(1001, pause60).getsNow(empty)
		b.wait(50 * time.Second)
		s.app.writes(x("a"))
		s.send(1001, pause60).getsNow(empty)
		b.wait(60*time.Second + overtime - 1)
		s.alive()
		s.send(1002).getsNow(answer(x("a")))
	})
}
