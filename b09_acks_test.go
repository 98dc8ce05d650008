package bosh_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
)

// acks are stdOptions with acknowledgements, and reports after a second.
var acks = with(func(o *bosh.Options) { o.NoAcks = false; o.ReportAfter = time.Second })

// XEP-0124, section 9.1: request acknowledgements.
func TestRequestAcks(t *testing.T) {
	bubble(t, "B9.1-1 an answer acknowledges what has come", acks, func(b *bench) {
		s := b.create()
		held := s.send(1001)
		s.send(1002, x("a"))
		held.getsNow("<body ack='1002'/>")
	})

	bubble(t, "B9.1-2 with acks the creation says so", acks, func(b *bench) {
		assert.Equal(b, "1000", b.create().granted.Attr("ack"))
	})
	bubble(t, "B9.1-2 and all answers do it that may", acks, func(b *bench) {
		s := b.create()
		last := s.send(1001)
		for rid := int64(1002); rid < 1010; rid++ {
			next := s.send(rid, x("a"))
			last.getsNow(fmt.Sprintf("<body ack='%d'/>", rid))
			last = next
		}
		over := s.send(1010, terminate)
		last.getsNow("<body ack='1010' type='terminate'/>")
		over.getsNow(empty)
	})
	std(t, "B9.1-2 without acks there are none", func(b *bench, s *session) {
		_, sent := s.granted.Lookup("ack")
		assert.False(b, sent)
		held := s.send(1001)
		last := s.send(1002, x("a"))
		held.getsNow(empty)
		s.app.writes(x("b"))
		last.getsNow(answer(x("b")))
	})

	bubble(t, "B9.1-3 an ack of the rid that is answered is left out", acks, func(b *bench) {
		s := b.create()
		held := s.send(1001)
		s.app.writes(x("a"))
		held.getsNow(answer(x("a")))
	})

	bubble(t, "B9.1-4 an ack does not count beyond a gap", with(func(o *bosh.Options) { o.Hold = 2; o.NoAcks = false }), func(b *bench) {
		s := b.create("to='example.com' hold='2' wait='60' ver='1.11'")
		held := s.send(1001)
		s.send(1003, x("c"))
		s.app.writes(x("a"))
		held.getsNow(answer(x("a")))
	})

	bubble(t, "B9.1-5 a copy keeps the ack that it had", acks, func(b *bench) {
		s := b.create()
		held := s.send(1001)
		s.send(1002, x("a"))
		s.app.writes(x("1"))
		s.send(1003, x("b"))
		assert.Equal(b, "1002", held.body().Attr("ack"))
		s.send(1001).getsNow("<body ack='1002'/>")
		assert.Equal(b, string(held.answer().body), string(s.send(1001).answer().body))
	})
}

// XEP-0124, section 9.2: response acknowledgements.
func TestResponseAcks(t *testing.T) {
	// answered has requests answered, each with a payload of its rid.
	answered := func(s *session, from, to int64, attrs ...string) {
		s.b.Helper()
		for rid := from; rid <= to; rid++ {
			s.app.writes(x(fmt.Sprint(rid)))
			s.send(rid, attrs...).getsNow(answer(x(fmt.Sprint(rid))))
		}
	}
	noReport := with(func(o *bosh.Options) { o.NoAcks = false; o.ReportAfter = -1 })
	const acking = stdAttrs + " ack='1'"

	custom(t, "B9.2-1 an ack frees what it acknowledges", noReport, acking, func(b *bench, s *session) {
		answered(s, 1001, 1003, "ack='1000'")
		answered(s, 1004, 1006, "ack='1002'")
		s.send(1003, "ack='1000'").getsNow(answer(x("1003")))
		s.send(1002, "ack='1000'").getsAfter(doubt, condition(bosh.ItemNotFound))
	})

	std(t, "B9.2-2 without acks the absence of one means nothing", func(b *bench, s *session) {
		answered(s, 1001, 1010)
		s.send(1009).getsNow(answer(x("1009")))
		s.send(1010).getsNow(answer(x("1010")))
	})
	custom(t, "B9.2-2 with acks the absence of one acknowledges all", acks, acking, func(b *bench, s *session) {
		answered(s, 1001, 1004, "ack='1000'")
		b.wait(10 * time.Second)
		next := s.send(1005)
		next.waits()
		s.app.writes(x("1005"))
		next.getsNow(answer(x("1005")))
		s.send(1001, "ack='1000'").getsAfter(doubt, condition(bosh.ItemNotFound))
	})

	custom(t, "B9.2-3 acks never free the last R answers", acks, acking, func(b *bench, s *session) {
		answered(s, 1001, 1005)
		s.send(1005).getsNow(answer(x("1005")))
		s.send(1004).getsNow(answer(x("1004")))
	})

	custom(t, "B9.2-4 B9.2-5 what seems lost is reported at once", acks, acking, func(b *bench, s *session) {
		answered(s, 1001, 1002)
		b.wait(1500 * time.Millisecond)
		s.send(1003, "ack='1001'").getsNow("<body report='1002' time='1500'/>")
	})

	custom(t, "B9.2-6 but not before the answer can have arrived", acks, acking, func(b *bench, s *session) {
		answered(s, 1001, 1002)
		b.wait(time.Second - 1)
		s.send(1003, "ack='1001'").waits()
	})
	custom(t, "B9.2-6 nor what was not answered", acks, acking, func(b *bench, s *session) {
		held := s.send(1001)
		b.wait(10 * time.Second)
		next := s.send(1002, "ack='1000'", x("a"))
		held.getsNow("<body ack='1002'/>")
		next.waits()
	})
	bubble(t, "B9.2-6 the delay is 5 s by default", with(func(o *bosh.Options) { o.NoAcks = false }), func(b *bench) {
		s := b.create(acking)
		answered(s, 1001, 1002)
		b.wait(5*time.Second - 1)
		held := s.send(1003, "ack='1001'", x("a"))
		held.waits()
		b.wait(1)
		s.send(1004, "ack='1001'", x("a")).getsNow("<body report='1002' time='5000'/>")
	})

	custom(t, "B9.2-7 a report rides with payloads and is repeated", acks, acking, func(b *bench, s *session) {
		answered(s, 1001, 1002)
		b.wait(2 * time.Second)
		s.app.writes(x("a"))
		for range 2 {
			s.send(1003, "ack='1001'").getsNow("<body report='1002' time='2000'>" + x("a") + "</body>")
		}
	})
	custom(t, "B9.2-7 and comes after the answers to older requests", acks, acking, func(b *bench, s *session) {
		answered(s, 1001, 1002)
		held := s.send(1003)
		b.wait(2 * time.Second)
		report := s.send(1004, "ack='1001'", x("a"))
		held.getsNow("<body ack='1004'/>")
		report.getsNow("<body report='1002' time='2000'/>")
		inOrder(b, []*call{held, report})
	})

	t.Run("B9.2-8 acks that make no sense are ignored", func(t *testing.T) {
		for _, ack := range []string{"999999", "x", "0", "-1", "", "1004", "1e3", "123456789012345678901234567890"} {
			custom(t, ack, acks, acking, func(b *bench, s *session) {
				answered(s, 1001, 1003, "ack='1000'")
				b.wait(10 * time.Second)
				next := s.send(1004, "ack='"+ack+"'")
				next.waits()
				s.app.writes(x("a"))
				next.getsNow(answer(x("a")))
				s.send(1001, "ack='1000'").getsNow(answer(x("1001")))
				s.alive()
			})
		}
	})

	custom(t, "B9.2-9 the age of what is reported has 16 bits", acks, acking, func(b *bench, s *session) {
		answered(s, 1001, 1002)
		for range 4 { // stay active
			b.wait(25 * time.Second)
			s.send(1002)
		}
		s.send(1003, "ack='1001'").getsNow("<body report='1002' time='65535'/>")
	})
}
