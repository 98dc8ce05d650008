package spec_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
)

// acks are stdOptions with acknowledgements, and reports after a second.
var acks = With(func(o *bosh.Options) { o.NoAcks = false; o.ReportAfter = time.Second })

// XEP-0124, section 9.1: request acknowledgements.
func TestRequestAcks(t *testing.T) {
	Bubble(t, "B9.1-1 an answer acknowledges what has come", acks, func(b *Harness) {
		s := b.Create()
		held := s.Send(1001)
		s.Send(1002, X("a"))
		held.GetsNow("<body ack='1002'/>")
	})

	Bubble(t, "B9.1-2 with acks the creation says so", acks, func(b *Harness) {
		assert.Equal(b, "1000", b.Create().Granted.Attr("ack"))
	})
	Bubble(t, "B9.1-2 and all answers do it that may", acks, func(b *Harness) {
		s := b.Create()
		last := s.Send(1001)
		for rid := int64(1002); rid < 1010; rid++ {
			next := s.Send(rid, X("a"))
			last.GetsNow(fmt.Sprintf("<body ack='%d'/>", rid))
			last = next
		}
		over := s.Send(1010, terminate)
		last.GetsNow("<body ack='1010' type='terminate'/>")
		over.GetsNow(Empty)
	})
	Std(t, "B9.1-2 without acks there are none", func(b *Harness, s *Session) {
		_, sent := s.Granted.Lookup("ack")
		assert.False(b, sent)
		held := s.Send(1001)
		last := s.Send(1002, X("a"))
		held.GetsNow(Empty)
		s.App.Writes(X("b"))
		last.GetsNow(Answer(X("b")))
	})

	Bubble(t, "B9.1-3 an ack of the rid that is answered is left out", acks, func(b *Harness) {
		s := b.Create()
		held := s.Send(1001)
		s.App.Writes(X("a"))
		held.GetsNow(Answer(X("a")))
	})

	Bubble(t, "B9.1-4 an ack does not count beyond a gap", With(func(o *bosh.Options) { o.Hold = 2; o.NoAcks = false }), func(b *Harness) {
		s := b.Create("to='example.com' hold='2' wait='60' ver='1.11'")
		held := s.Send(1001)
		s.Send(1003, X("c"))
		s.App.Writes(X("a"))
		held.GetsNow(Answer(X("a")))
	})

	Bubble(t, "B9.1-5 a copy keeps the ack that it had", acks, func(b *Harness) {
		s := b.Create()
		held := s.Send(1001)
		s.Send(1002, X("a"))
		s.App.Writes(X("1"))
		s.Send(1003, X("b"))
		assert.Equal(b, "1002", held.Body().Attr("ack"))
		s.Send(1001).GetsNow("<body ack='1002'/>")
		assert.Equal(b, string(held.Answer().Body), string(s.Send(1001).Answer().Body))
	})
}

// XEP-0124, section 9.2: response acknowledgements.
func TestResponseAcks(t *testing.T) {
	// answered has requests answered, each with a payload of its rid.
	answered := func(s *Session, from, to int64, attrs ...string) {
		s.B.Helper()
		for rid := from; rid <= to; rid++ {
			s.App.Writes(X(fmt.Sprint(rid)))
			s.Send(rid, attrs...).GetsNow(Answer(X(fmt.Sprint(rid))))
		}
	}
	noReport := With(func(o *bosh.Options) { o.NoAcks = false; o.ReportAfter = -1 })
	const acking = StdAttrs + " ack='1'"

	Custom(t, "B9.2-1 an ack frees what it acknowledges", noReport, acking, func(b *Harness, s *Session) {
		answered(s, 1001, 1003, "ack='1000'")
		answered(s, 1004, 1006, "ack='1002'")
		s.Send(1003, "ack='1000'").GetsNow(Answer(X("1003")))
		s.Send(1002, "ack='1000'").GetsAfter(Doubt, Condition(bosh.ItemNotFound))
	})

	Std(t, "B9.2-2 without acks the absence of one means nothing", func(b *Harness, s *Session) {
		answered(s, 1001, 1010)
		s.Send(1009).GetsNow(Answer(X("1009")))
		s.Send(1010).GetsNow(Answer(X("1010")))
	})
	Custom(t, "B9.2-2 with acks the absence of one acknowledges all", acks, acking, func(b *Harness, s *Session) {
		answered(s, 1001, 1004, "ack='1000'")
		b.Wait(10 * time.Second)
		next := s.Send(1005)
		next.Waits()
		s.App.Writes(X("1005"))
		next.GetsNow(Answer(X("1005")))
		s.Send(1001, "ack='1000'").GetsAfter(Doubt, Condition(bosh.ItemNotFound))
	})

	Custom(t, "B9.2-3 acks never free the last R answers", acks, acking, func(b *Harness, s *Session) {
		answered(s, 1001, 1005)
		s.Send(1005).GetsNow(Answer(X("1005")))
		s.Send(1004).GetsNow(Answer(X("1004")))
	})

	Custom(t, "B9.2-4 B9.2-5 what seems lost is reported at once", acks, acking, func(b *Harness, s *Session) {
		answered(s, 1001, 1002)
		b.Wait(1500 * time.Millisecond)
		s.Send(1003, "ack='1001'").GetsNow("<body report='1002' time='1500'/>")
	})

	Custom(t, "B9.2-6 but not before the answer can have arrived", acks, acking, func(b *Harness, s *Session) {
		answered(s, 1001, 1002)
		b.Wait(time.Second - 1)
		s.Send(1003, "ack='1001'").Waits()
	})
	Custom(t, "B9.2-6 nor what was not answered", acks, acking, func(b *Harness, s *Session) {
		held := s.Send(1001)
		b.Wait(10 * time.Second)
		next := s.Send(1002, "ack='1000'", X("a"))
		held.GetsNow("<body ack='1002'/>")
		next.Waits()
	})
	Bubble(t, "B9.2-6 the delay is 5 s by default", With(func(o *bosh.Options) { o.NoAcks = false }), func(b *Harness) {
		s := b.Create(acking)
		answered(s, 1001, 1002)
		b.Wait(5*time.Second - 1)
		held := s.Send(1003, "ack='1001'", X("a"))
		held.Waits()
		b.Wait(1)
		s.Send(1004, "ack='1001'", X("a")).GetsNow("<body report='1002' time='5000'/>")
	})

	Custom(t, "B9.2-7 a report rides with payloads and is repeated", acks, acking, func(b *Harness, s *Session) {
		answered(s, 1001, 1002)
		b.Wait(2 * time.Second)
		s.App.Writes(X("a"))
		for range 2 {
			s.Send(1003, "ack='1001'").GetsNow("<body report='1002' time='2000'>" + X("a") + "</body>")
		}
	})
	Custom(t, "B9.2-7 and comes after the answers to older requests", acks, acking, func(b *Harness, s *Session) {
		answered(s, 1001, 1002)
		held := s.Send(1003)
		b.Wait(2 * time.Second)
		report := s.Send(1004, "ack='1001'", X("a"))
		held.GetsNow("<body ack='1004'/>")
		report.GetsNow("<body report='1002' time='2000'/>")
		InOrder(b, []*Call{held, report})
	})

	t.Run("B9.2-8 acks that make no sense are ignored", func(t *testing.T) {
		for _, ack := range []string{"999999", "x", "0", "-1", "", "1004", "1e3", "123456789012345678901234567890"} {
			Custom(t, ack, acks, acking, func(b *Harness, s *Session) {
				answered(s, 1001, 1003, "ack='1000'")
				b.Wait(10 * time.Second)
				next := s.Send(1004, "ack='"+ack+"'")
				next.Waits()
				s.App.Writes(X("a"))
				next.GetsNow(Answer(X("a")))
				s.Send(1001, "ack='1000'").GetsNow(Answer(X("1001")))
				s.Alive()
			})
		}
	})

	Custom(t, "B9.2-9 the age of what is reported has 16 bits", acks, acking, func(b *Harness, s *Session) {
		answered(s, 1001, 1002)
		for range 4 { // stay active
			b.Wait(25 * time.Second)
			s.Send(1002)
		}
		s.Send(1003, "ack='1001'").GetsNow("<body report='1002' time='65535'/>")
	})
}
