package bosh_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
)

// XEP-0124, section 14.1: generation of request ids.
func TestRid(t *testing.T) {
	t.Run("B14.1-1 any initial rid up to 2^53-1, exactly", func(t *testing.T) {
		for _, first := range []int64{1, 1 << 31, 9007199254740900} {
			custom(t, fmt.Sprint(first), stdOptions, fmt.Sprintf("rid='%d' %s", first, stdAttrs), func(b *bench, s *session) {
				for i := range int64(50) {
					text := x(fmt.Sprint(i))
					s.app.writes(text)
					s.send(first+1+i, text).getsNow(answer(text))
					s.app.reads(text)
				}
			})
		}
	})

	t.Run("B14.1-2 B14.1-1 larger ones are refused at creation", func(t *testing.T) {
		for rid, ok := range map[string]bool{
			"9007199254740991":               true,
			"9007199254740992":               false,
			"123456789012345678901234567890": false,
			"18446744073709551617":           false, // 2^64+1
		} {
			bubble(t, rid, stdOptions, func(b *bench) {
				c := b.post(complete("<body rid='" + rid + "' " + stdAttrs + "/>"))
				if ok {
					assert.NotEmpty(b, c.body().Attr("sid"))
				} else {
					c.getsNow(condition(bosh.BadRequest))
				}
			})
		}
	})

	t.Run("B14.1-2 and are outside the window in a session", func(t *testing.T) {
		for _, rid := range []string{"9007199254740992", "123456789012345678901234567890", "18446744073709552617"} {
			std(t, rid, func(b *bench, s *session) {
				s.raw(rid).getsNow(condition(bosh.ItemNotFound))
				s.gone()
			})
		}
	})

	custom(t, "B14.1-2 the last rid of all is the end of the line", stdOptions, "rid='9007199254740990' "+stdAttrs, func(b *bench, s *session) {
		s.app.writes(x("a"))
		s.send(9007199254740991).getsNow(answer(x("a")))
		s.raw("9007199254740992").getsNow(condition(bosh.ItemNotFound))
	})

	t.Run("B14.1-3 what is no positive decimal integer leaves the session alone", func(t *testing.T) {
		for _, rid := range []string{"0", "-5", "1e3", "0x10", "", "1001.0", "+1001", "10 01", "１００１"} {
			std(t, rid, func(b *bench, s *session) {
				s.raw(rid, x("no")).getsNow(condition(bosh.BadRequest))
				s.app.reads("")
				s.app.writes(x("a"))
				s.send(1001).getsNow(answer(x("a")))
			})
			bubble(t, rid+" at creation", stdOptions, func(b *bench) {
				b.post(complete("<body rid='" + rid + "' " + stdAttrs + "/>")).getsNow(condition(bosh.BadRequest))
			})
		}
	})

	t.Run("B14.1-3 white space and zeros around it are tolerated", func(t *testing.T) {
		for _, rid := range []string{" 1001 ", "001001", "&#9;1001\n"} {
			std(t, rid, func(b *bench, s *session) {
				s.app.writes(x("a"))
				s.raw(rid).getsNow(answer(x("a")))
			})
		}
	})
}

// XEP-0124, section 14.2: order and window.
func TestWindow(t *testing.T) {
	hold2 := with(func(o *bosh.Options) { o.Hold = 2 })
	const hold2Attrs = "to='example.com' hold='2' wait='60' ver='1.11'"

	std(t, "B14.2-1 requests out of order are answered in order", func(b *bench, s *session) {
		second := s.send(1002, x("b"))
		b.wait(time.Second)
		s.app.reads("")
		first := s.send(1001, x("a"))
		s.app.reads(x("a") + x("b"))
		first.getsNow(empty)
		second.waits()
		s.app.writes(x("c"))
		second.getsNow(answer(x("c")))
		inOrder(b, []*call{first, second})
	})

	std(t, "B14.2-1 and output that waits goes to the first of them", func(b *bench, s *session) {
		s.app.writes(x("c"))
		second := s.send(1002)
		b.wait(time.Second)
		second.waits()
		s.send(1001).getsNow(answer(x("c")))
		second.waits()
	})

	std(t, "B14.2-2 L+1 is accepted", func(b *bench, s *session) {
		s.send(1001, x("a")).waits()
		s.app.reads(x("a"))
	})
	std(t, "B14.2-2 L+R is accepted", func(b *bench, s *session) {
		s.send(1002, x("b")).waits()
		s.alive()
	})

	std(t, "B14.2-3 a rid above the window ends the session", func(b *bench, s *session) {
		s.send(1003).getsNow(condition(bosh.ItemNotFound))
		s.send(1001).getsNow(condition(bosh.ItemNotFound))
		s.gone()
	})

	custom(t, "B14.2-4 requests ahead do not move the window", hold2, hold2Attrs, func(b *bench, s *session) {
		early := s.send(1003, x("c"))
		early.waits()
		beyond := s.send(1004, x("d"))
		early.getsNow(condition(bosh.OtherRequest))
		beyond.getsNow(condition(bosh.ItemNotFound))
		inOrder(b, []*call{early, beyond})
		s.app.reads("")
	})

	std(t, "B14.2-5 a terminate may go one further", func(b *bench, s *session) {
		last := s.send(1003, terminate)
		last.waits()
		first := s.send(1001, x("a"))
		second := s.send(1002, x("b"))
		s.app.reads(x("a") + x("b"))
		first.getsNow(end)
		second.getsNow(empty)
		last.getsNow(empty)
		inOrder(b, []*call{first, second, last})
		s.gone()
	})
	std(t, "B14.2-5 and so may a pause", func(b *bench, s *session) {
		pause := s.send(1003, "pause='60'")
		pause.waits()
		first := s.send(1001, x("a"))
		second := s.send(1002, x("b"))
		for _, c := range []*call{first, second, pause} {
			c.getsNow(empty)
		}
		inOrder(b, []*call{first, second, pause})
	})
	std(t, "B14.2-5 but not two", func(b *bench, s *session) {
		s.send(1004, terminate).getsNow(condition(bosh.ItemNotFound))
	})

	std(t, "B14.2-6 a request ahead is not answered before the missing one", func(b *bench, s *session) {
		early := s.send(1002)
		b.wait(61 * time.Second)
		early.waits()
		s.app.writes(x("a"))
		early.waits()
		first := s.send(1001)
		first.getsNow(answer(x("a")))
		early.getsNow(empty) // its own time is over
		inOrder(b, []*call{first, early})
	})

	std(t, "B14.2-7 a gap ends the session in the end", func(b *bench, s *session) {
		early := s.send(1002, x("b"))
		b.wait(10 * time.Second)
		early.getsAfter(80*time.Second+overtime, condition(bosh.ItemNotFound)) // W+I from the beginning of the gap
		s.app.reads("")
		s.gone()
	})
	custom(t, "B14.2-7 and the gap counts from its beginning", hold2, hold2Attrs, func(b *bench, s *session) {
		early := s.send(1003, x("c"))
		b.wait(50 * time.Second)
		later := s.send(1002, x("b"))
		early.getsAfter(40*time.Second+overtime, condition(bosh.ItemNotFound))
		later.getsNow(condition(bosh.ItemNotFound))
	})
	std(t, "B14.2-7 a gap that is filled is forgotten", func(b *bench, s *session) {
		early := s.send(1002)
		b.wait(80 * time.Second)
		s.send(1001).getsNow(empty)
		early.getsNow(empty)
		b.wait(20 * time.Second)
		s.alive()
		next := s.send(1003)
		next.getsAfter(patience, empty)
	})

	custom(t, "B14.2-8 when the gap closes all are taken in one go", hold2, hold2Attrs, func(b *bench, s *session) {
		third, second := s.send(1003, x("c")), s.send(1002, x("b"))
		s.app.reads("")
		first := s.send(1001, x("a"))
		s.app.reads(x("a") + x("b") + x("c"))
		first.getsNow(empty) // H is 2 here: there cannot be two more than H
		second.waits()
		third.waits()
	})

	keys := keySequence("seed", 5)
	custom(t, "B14.2-9 checks that depend on order are made in order", stdOptions, stdAttrs+" newkey='"+keys[5]+"'", func(b *bench, s *session) {
		second := s.send(1002, "key='"+keys[3]+"'", x("b"))
		second.waits()
		first := s.send(1001, "key='"+keys[4]+"'", x("a"))
		s.app.reads(x("a") + x("b"))
		first.getsNow(empty)
		second.waits()
	})
}

// XEP-0124, section 14.3: broken connections.
func TestBroken(t *testing.T) {
	hold2 := with(func(o *bosh.Options) { o.Hold = 2 })
	const hold2Attrs = "to='example.com' hold='2' wait='60' ver='1.11'"

	// answered has the requests 1001 to last answered, each with a payload of
	// its rid.
	answered := func(s *session, last int64) {
		for rid := int64(1001); rid <= last; rid++ {
			s.app.writes(x(fmt.Sprint(rid)))
			s.send(rid).getsNow(answer(x(fmt.Sprint(rid))))
		}
	}

	std(t, "B14.3-1 the last R answers are kept", func(b *bench, s *session) {
		answered(s, 1003)
		s.send(1002).getsNow(answer(x("1002")))
		s.send(1003).getsNow(answer(x("1003")))
		s.send(1002).getsNow(answer(x("1002")))
	})
	std(t, "B14.3-1 also empty ones", func(b *bench, s *session) {
		first := s.send(1001)
		s.send(1002, x("a"))
		first.getsNow(empty)
		s.send(1001).getsNow(empty)
	})
	custom(t, "B14.3-1 with acks all that are not acknowledged", with(func(o *bosh.Options) { o.NoAcks = false }),
		stdAttrs+" ack='1'", func(b *bench, s *session) {
			answered := func(rid int64, attrs ...string) {
				s.app.writes(x(fmt.Sprint(rid)))
				s.send(rid, attrs...).getsNow(answer(x(fmt.Sprint(rid))))
			}
			answered(1001)
			for rid := int64(1002); rid < 1010; rid++ {
				answered(rid, "ack='1001'")
			}
			s.send(1002, "ack='1001'").getsNow(answer(x("1002")))
		})

	std(t, "B14.3-2 a repeat gets the same bytes again and again", func(b *bench, s *session) {
		s.app.writes("<x xmlns='u' q=\"'\" p='1'>&amp;<y/></x>")
		first := s.send(1001).answer()
		for range 3 {
			b.wait(time.Second)
			r := s.send(1001).answer()
			assert.Equal(b, string(first.body), string(r.body))
			assert.Equal(b, first.header, r.header)
			assert.Equal(b, first.status, r.status)
		}
	})

	std(t, "B14.3-3 a repeat is not acted on again", func(b *bench, s *session) {
		s.app.writes(x("1"))
		s.send(1001, x("a")).getsNow(answer(x("1")))
		s.app.reads(x("a"))
		s.send(1001, x("a")).getsNow(answer(x("1")))
		s.app.reads("")
	})
	t.Run("B14.3-3 even if it differs", func(t *testing.T) {
		for _, parts := range [][]string{{x("b")}, {terminate}, {"pause='60'"}, {}} {
			std(t, fmt.Sprint(parts), func(b *bench, s *session) {
				s.app.writes(x("1"))
				s.send(1001, x("a")).getsNow(answer(x("1")))
				s.app.reads(x("a"))
				s.send(1001, parts...).getsNow(condition(bosh.ItemNotFound)) // it is no repeat
				s.app.reads("")
				s.alive()
				s.send(1001, x("a")).getsNow(answer(x("1")))
				s.send(1002, x("c")).waits()
				s.app.reads(x("c"))
			})
		}
	})
	std(t, "B14.3-3 nor does an impostor take the place of a held one", func(b *bench, s *session) {
		held := s.send(1001, x("a"))
		s.send(1001, x("b")).getsNow(condition(bosh.ItemNotFound))
		held.waits()
		s.app.writes(x("1"))
		held.getsNow(answer(x("1")))
		s.app.reads(x("a"))
	})

	std(t, "B14.3-4 a repeat of a held one takes its place", func(b *bench, s *session) {
		old := s.send(1001, x("a"))
		b.wait(time.Second)
		repeat := s.send(1001, x("a"))
		old.getsNow(again)
		repeat.waits()
		s.app.reads(x("a"))
		s.app.writes(x("1"))
		repeat.getsNow(answer(x("1")))
	})
	std(t, "B14.3-4 and its time runs from the first arrival", func(b *bench, s *session) {
		s.send(1001)
		b.wait(10 * time.Second)
		s.send(1001).getsAfter(patience-10*time.Second, empty)
	})

	std(t, "B14.3-5 a repeat of an early one takes its place", func(b *bench, s *session) {
		old := s.send(1002, x("b"))
		repeat := s.send(1002, x("b"))
		old.getsNow(again)
		first := s.send(1001, x("a"))
		s.app.reads(x("a") + x("b"))
		first.getsNow(empty)
		repeat.waits()
	})
	std(t, "B14.3-5 also if the old connection broke before", func(b *bench, s *session) {
		s.send(1002, x("b")).breaks()
		repeat := s.send(1002, x("b"))
		s.send(1001, x("a")).getsNow(empty)
		s.app.reads(x("a") + x("b"))
		s.app.writes(x("1"))
		repeat.getsNow(answer(x("1")))
	})
	std(t, "B14.3-5 an early one counts though nobody waits for its answer", func(b *bench, s *session) {
		s.send(1002, x("b")).breaks()
		first := s.send(1001, x("a"))
		s.app.reads(x("a") + x("b"))
		s.app.writes(x("1"))
		first.getsNow(answer(x("1")))
		s.send(1002, x("b")).getsAfter(patience, empty)
	})

	bubble(t, "B14.3-6 repeats are limited", with(func(o *bosh.Options) { o.MaxRepeats = 10 }), func(b *bench) {
		s := b.create()
		s.app.writes(x("1"))
		s.send(1001)
		for range 10 {
			s.send(1001).getsNow(answer(x("1")))
		}
		s.send(1001).getsNow(condition(bosh.PolicyViolation))
		s.gone()
	})
	bubble(t, "B14.3-6 also of held ones", with(func(o *bosh.Options) { o.MaxRepeats = 2 }), func(b *bench) {
		s := b.create()
		last := s.send(1001)
		for range 2 {
			next := s.send(1001)
			last.getsNow(again)
			last = next
		}
		over := s.send(1001)
		last.getsNow(condition(bosh.OtherRequest))
		over.getsNow(condition(bosh.PolicyViolation))
		inOrder(b, []*call{last, over})
	})

	std(t, "B14.3-7 an answer that is no longer kept ends the session", func(b *bench, s *session) {
		answered(s, 1003)
		held := s.send(1004)
		gone := s.send(1001)
		gone.waits()
		held.getsAfter(doubt, condition(bosh.OtherRequest))
		gone.getsNow(condition(bosh.ItemNotFound))
		inOrder(b, []*call{held, gone})
		s.send(1005).getsNow(condition(bosh.ItemNotFound))
	})

	std(t, "B14.3-7 a copy that nobody waits for does not", func(b *bench, s *session) {
		answered(s, 1003)
		held := s.send(1004)
		gone := s.send(1001)
		gone.breaks()
		b.wait(time.Second)
		held.waits()
		s.app.writes(x("a"))
		held.getsNow(answer(x("a")))
		s.alive()
	})

	std(t, "B14.3-7 nor if that is noticed late", func(b *bench, s *session) {
		answered(s, 1003)
		held := s.send(1004)
		first, second := s.send(1001), s.send(1001)
		b.wait(500 * time.Millisecond)
		third := s.send(1001)
		b.wait(doubt - 500*time.Millisecond - 1)
		first.breaks()
		second.breaks()
		b.wait(100 * time.Millisecond)
		third.breaks()
		b.wait(time.Second)
		held.waits()
		s.alive()
	})

	std(t, "B14.3-7 many of them are too many", func(b *bench, s *session) {
		answered(s, 1003)
		for range 64 {
			s.send(1001).waits()
		}
		over := s.send(1001)
		over.getsNow(condition(bosh.ItemNotFound))
		s.gone()
	})

	bubble(t, "B14.3-8 the refusals tell nothing", stdOptions, func(b *bench) {
		large := b.create().send(1003).answer()
		s := b.create()
		answered(s, 1003)
		old := s.send(1001)
		b.wait(doubt)
		small := old.answer()
		unknown := (&session{b: b, sid: "unknown"}).send(1001).answer()
		assert.Equal(b, string(large.body), string(small.body))
		assert.Equal(b, string(large.body), string(unknown.body))
		assert.Equal(b, large.header, unknown.header)
		assert.Equal(b, small.header, unknown.header)
	})

	std(t, "B14.3-9 the answer to a pause takes no place", func(b *bench, s *session) {
		answered(s, 1002)
		s.send(1003, "pause='60'").getsNow(empty)
		s.send(1001).getsNow(answer(x("1001")))
		s.send(1003, "pause='60'").getsNow(empty)
		s.send(1002).getsNow(answer(x("1002")))
	})

	std(t, "B14.3-10 errors are not kept as answers", func(b *bench, s *session) {
		old := s.send(1001)
		repeat := s.send(1001)
		old.getsNow(again)
		s.app.writes(x("1"))
		repeat.getsNow(answer(x("1")))
		s.send(1001).getsNow(answer(x("1")))
	})

	std(t, "B14.3-11 nothing is spent on a broken connection", func(b *bench, s *session) {
		s.send(1001, x("a")).breaks()
		s.app.writes(x("1"))
		s.send(1002).getsNow(answer(x("1")))
		s.send(1001, x("a")).getsNow(empty)
		s.app.reads(x("a"))
	})
	std(t, "B14.3-11 and a repeat is held again", func(b *bench, s *session) {
		s.send(1001).breaks()
		b.wait(time.Second)
		repeat := s.send(1001)
		repeat.waits()
		s.app.writes(x("1"))
		repeat.getsNow(answer(x("1")))
	})
	custom(t, "B14.3-11 a broken one does not hold up the next", hold2, hold2Attrs, func(b *bench, s *session) {
		first, second := s.send(1001), s.send(1002)
		first.breaks()
		s.app.writes(x("1"))
		second.getsNow(answer(x("1")))
		s.send(1001).getsNow(empty)
	})

	polling := with(func(o *bosh.Options) { o.Polling = 5 * time.Second })
	custom(t, "B14.3-12 a repeat is no new request", polling, "to='example.com' wait='0' hold='1' ver='1.11'", func(b *bench, s *session) {
		s.send(1001).getsNow(empty)
		for range 5 {
			b.wait(200 * time.Millisecond)
			s.send(1001).getsNow(empty)
		}
		b.wait(4 * time.Second)
		s.send(1002).getsNow(empty)
	})
	std(t, "B14.3-12 and does not move the window", func(b *bench, s *session) {
		s.app.writes(x("1"))
		for range 5 {
			s.send(1001)
		}
		s.send(1004).getsNow(condition(bosh.ItemNotFound))
	})
}

// Requests that a client breaks off stay open for as many as it can repeat, and no more.
func TestOrphans(t *testing.T) {
	std(t, "B14.3-11 many of them", func(b *bench, s *session) {
		for rid := int64(1001); rid < 1501; rid++ {
			s.send(rid).breaks()
			b.wait(5 * time.Second)
		}
		assert.Less(b, b.h.Stats().Memory, int64(4<<10))
		last := s.send(1501)
		s.app.writes(x("a"))
		last.getsNow(answer(x("a")))
		s.send(1500).getsNow(empty)
		s.alive()
	})
}
