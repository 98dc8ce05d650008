package spec_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
)

// XEP-0124, section 11: overactivity.
func TestOveractivity(t *testing.T) {
	hold2 := With(func(o *bosh.Options) { o.Hold = 2 })
	const hold2Attrs = "to='example.com' hold='2' wait='60' ver='1.11'"

	// tooMany opens R+1 requests that the server cannot answer in time: the
	// last two are there before the one that they wait for.
	tooMany := func(s *Session, last ...string) []*Call {
		calls := []*Call{s.Send(1001, X("a")), nil, s.Send(1003, X("c")), s.Send(1004, last...)}
		for _, i := range []int{0, 2, 3} {
			calls[i].Waits()
		}
		calls[1] = s.Send(1002, X("b"))
		return calls
	}

	Custom(t, "B11-1 more than R requests at a time", hold2, hold2Attrs, func(b *Harness, s *Session) {
		calls := tooMany(s, X("d"))
		for _, c := range calls[:3] {
			c.GetsNow(Condition(bosh.OtherRequest))
		}
		calls[3].GetsNow(Condition(bosh.PolicyViolation))
		InOrder(b, calls)
		s.Gone()
	})

	Custom(t, "B11-2 one more is allowed for the end", hold2, hold2Attrs, func(b *Harness, s *Session) {
		calls := tooMany(s, terminate, X("d"))
		calls[0].GetsNow(End)
		for _, c := range calls[1:] {
			c.GetsNow(Empty)
		}
		s.App.Reads(X("a") + X("b") + X("c") + X("d"))
	})
	Custom(t, "B11-2 and for a pause", hold2, hold2Attrs, func(b *Harness, s *Session) {
		for _, c := range tooMany(s, "pause='60'", X("d")) {
			c.GetsNow(Empty)
		}
		s.App.Reads(X("a") + X("b") + X("c") + X("d"))
		b.Wait(50 * time.Second)
		s.Alive()
	})

	Std(t, "B11-3 repeats do not count", func(b *Harness, s *Session) {
		for range 4 {
			s.Send(1001)
		}
		b.Wait(time.Second)
		s.Send(1002, X("a"))
		s.Alive()
	})
	Std(t, "B11-3 nor do broken connections", func(b *Harness, s *Session) {
		s.Send(1001).Breaks()
		s.Send(1002).Waits()
		s.Alive()
	})

	Std(t, "B11-4 B11-8 the last allowed one may not be empty and early", func(b *Harness, s *Session) {
		held := s.Send(1001)
		b.Wait(5*time.Second - 1)
		early := s.Send(1002)
		held.GetsNow(Condition(bosh.OtherRequest))
		early.GetsNow(Condition(bosh.PolicyViolation))
		InOrder(b, []*Call{held, early})
		s.Gone()
	})

	t.Run("B11-5 what does not count as empty and early", func(t *testing.T) {
		for name, parts := range map[string][]string{
			"payload": {X("a")}, "pause": {"pause='60'"}, "terminate": {terminate},
		} {
			Std(t, name, func(b *Harness, s *Session) {
				held := s.Send(1001)
				s.Send(1002, parts...)
				assert.NotContains(b, string(held.Answer().Body), "condition")
			})
		}
		Bubble(t, "restart", With(func(o *bosh.Options) { o.Framing = bosh.XMPP; o.CreateTimeout = -1 }), func(b *Harness) {
			s := b.Create()
			held := s.Send(1001)
			next := s.Send(1002, "xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'")
			held.GetsNow(Empty)
			next.Waits()
			s.Alive()
		})
		Bubble(t, "new stream", With(func(o *bosh.Options) { o.MaxStreams = 2 }), func(b *Harness) {
			s := b.Create()
			s.Send(1001)
			s.Send(1002, "to='example.net'")
			s.Alive()
			assert.Len(b, s.App.Session().Streams(), 2)
		})
		Std(t, "late", func(b *Harness, s *Session) {
			held := s.Send(1001)
			b.Wait(5 * time.Second)
			s.Send(1002).Waits()
			held.GetsNow(Empty)
		})
		Std(t, "fewer than R", func(b *Harness, s *Session) {
			for rid := int64(1001); rid < 1010; rid++ {
				s.App.Writes(X("a"))
				s.Send(rid).GetsNow(Answer(X("a")))
			}
			s.Send(1010).Waits()
		})
	})

	for name, o := range map[string]bosh.Options{
		"default": {Framing: bosh.Elements, Grace: -1},
		"off":     {Framing: bosh.Elements, Grace: -1, Polling: -1},
	} {
		Bubble(t, "B11-6 without a positive polling there is no limit: "+name, o, func(b *Harness) {
			s := b.Create()
			_, sent := s.Granted.Lookup("polling")
			assert.False(b, sent, "B7.2-7")
			last := s.Send(1001)
			for rid := int64(1002); rid < 1022; rid++ {
				next := s.Send(rid)
				last.GetsNow("<body ack='" + fmt.Sprint(rid) + "'/>")
				last = next
			}
			last.Waits()
			s.Alive()
		})
	}

	// B11-7: there is no way to leave `requests` out, so that its limit always
	// binds; that it is sent is B7.2-4.
	for hold := range 4 {
		Custom(t, fmt.Sprint("B11-7 requests is always sent, hold ", hold), With(func(o *bosh.Options) { o.Hold = 3 }),
			fmt.Sprintf("to='example.com' hold='%d' wait='60' ver='1.11'", hold), func(b *Harness, s *Session) {
				assert.Equal(b, fmt.Sprint(hold+1), s.Granted.Attr("requests"))
			})
	}
}

// XEP-0124, section 12: polling sessions.
func TestPolling(t *testing.T) {
	const polls = "to='example.com' wait='0' hold='0' ver='1.11'"

	for _, attrs := range []string{"wait='0' hold='1'", "wait='60' hold='0'", "wait='0' hold='0'"} {
		Custom(t, "B12-1 with "+attrs+" nothing is kept waiting", StdOptions, "to='example.com' ver='1.11' "+attrs, func(b *Harness, s *Session) {
			s.Send(1001).GetsNow(Empty)
			s.Send(1002, X("a")).GetsNow(Empty)
			s.App.Reads(X("a"))
			s.App.Writes(X("b"))
			s.Send(1003).GetsNow(Answer(X("b")))
		})
	}
	for name, o := range map[string]bosh.Options{
		"wait": With(func(o *bosh.Options) { o.Wait = -1 }),
		"hold": With(func(o *bosh.Options) { o.Hold = -1 }),
	} {
		Bubble(t, "B12-2 a server may force it: "+name, o, func(b *Harness) {
			s := b.Create()
			s.Send(1001).GetsNow(Empty)
		})
	}
	Std(t, "B12-2 but does not by default", func(b *Harness, s *Session) {
		assert.Equal(b, "2", s.Granted.Attr("requests"))
	})

	Custom(t, "B12-3 a polling session may be silent for longer", StdOptions, polls, func(b *Harness, s *Session) {
		assert.Equal(b, "65", s.Granted.Attr("inactivity")) // above 30 + 5
		b.Wait(65*time.Second - 1)
		s.Alive()
		b.Wait(1)
		s.Gone()
	})

	Custom(t, "B12-4 two empty requests too soon", StdOptions, polls, func(b *Harness, s *Session) {
		s.Send(1001).GetsNow(Empty)
		b.Wait(5*time.Second - 1)
		s.Send(1002).GetsNow(Condition(bosh.PolicyViolation))
		s.Gone()
	})

	t.Run("B12-5 what is not too soon", func(t *testing.T) {
		Custom(t, "the first had payloads to take", StdOptions, polls, func(b *Harness, s *Session) {
			s.App.Writes(X("a"))
			s.Send(1001).GetsNow(Answer(X("a")))
			s.Send(1002).GetsNow(Empty)
		})
		for name, parts := range map[string][]string{
			"payload": {X("a")}, "pause": {"pause='60'"}, "terminate": {terminate},
		} {
			Custom(t, "the second is no poll: "+name, StdOptions, polls, func(b *Harness, s *Session) {
				s.Send(1001).GetsNow(Empty)
				assert.NotContains(b, string(s.Send(1002, parts...).Answer().Body), "condition")
			})
			if name != "terminate" {
				Custom(t, "the first is no poll: "+name, StdOptions, polls, func(b *Harness, s *Session) {
					s.Send(1001, parts...).GetsNow(Empty)
					s.Send(1002).GetsNow(Empty)
				})
			}
		}
		xmpp := With(func(o *bosh.Options) { o.Framing = bosh.XMPP })
		const restart = "xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'"
		Custom(t, "the second is a restart", xmpp, polls, func(b *Harness, s *Session) {
			s.Send(1001).GetsNow(Empty)
			s.Send(1002, restart).GetsNow(Empty)
			s.Send(1003).GetsNow(Empty)
		})
		Custom(t, "the second opens a stream", With(func(o *bosh.Options) { o.MaxStreams = 2 }), polls, func(b *Harness, s *Session) {
			s.Send(1001).GetsNow(Empty)
			assert.NotEmpty(b, s.Send(1002, "to='example.net'").Body().Attr("stream"))
			s.Send(1003).GetsNow(Empty)
		})
		Custom(t, "the creation is no poll", StdOptions, polls, func(b *Harness, s *Session) {
			s.Send(1001).GetsNow(Empty)
		})
		Custom(t, "a repeat is none", StdOptions, polls, func(b *Harness, s *Session) {
			s.Send(1001).GetsNow(Empty)
			s.Send(1001).GetsNow(Empty)
			b.Wait(5 * time.Second)
			s.Send(1002).GetsNow(Empty)
		})
	})

	Custom(t, "B12-6 without polling a client polls as it likes", With(func(o *bosh.Options) { o.Polling = -1 }), polls, func(b *Harness, s *Session) {
		_, sent := s.Granted.Lookup("polling")
		assert.False(b, sent)
		for rid := int64(1001); rid < 1021; rid++ {
			s.Send(rid).GetsNow(Empty)
		}
	})
}
