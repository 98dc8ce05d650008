package bosh_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
)

// XEP-0124, section 11: overactivity.
func TestOveractivity(t *testing.T) {
	hold2 := with(func(o *bosh.Options) { o.Hold = 2 })
	const hold2Attrs = "to='example.com' hold='2' wait='60' ver='1.11'"

	// tooMany opens R+1 requests that the server cannot answer in time: the
	// last two are there before the one that they wait for.
	tooMany := func(s *session, last ...string) []*call {
		calls := []*call{s.send(1001, x("a")), nil, s.send(1003, x("c")), s.send(1004, last...)}
		for _, i := range []int{0, 2, 3} {
			calls[i].waits()
		}
		calls[1] = s.send(1002, x("b"))
		return calls
	}

	custom(t, "B11-1 more than R requests at a time", hold2, hold2Attrs, func(b *bench, s *session) {
		calls := tooMany(s, x("d"))
		for _, c := range calls[:3] {
			c.getsNow(condition(bosh.OtherRequest))
		}
		calls[3].getsNow(condition(bosh.PolicyViolation))
		inOrder(b, calls)
		s.gone()
	})

	custom(t, "B11-2 one more is allowed for the end", hold2, hold2Attrs, func(b *bench, s *session) {
		calls := tooMany(s, terminate, x("d"))
		calls[0].getsNow(end)
		for _, c := range calls[1:] {
			c.getsNow(empty)
		}
		s.app.reads(x("a") + x("b") + x("c") + x("d"))
	})
	custom(t, "B11-2 and for a pause", hold2, hold2Attrs, func(b *bench, s *session) {
		for _, c := range tooMany(s, "pause='60'", x("d")) {
			c.getsNow(empty)
		}
		s.app.reads(x("a") + x("b") + x("c") + x("d"))
		b.wait(50 * time.Second)
		s.alive()
	})

	std(t, "B11-3 repeats do not count", func(b *bench, s *session) {
		for range 4 {
			s.send(1001)
		}
		b.wait(time.Second)
		s.send(1002, x("a"))
		s.alive()
	})
	std(t, "B11-3 nor do broken connections", func(b *bench, s *session) {
		s.send(1001).breaks()
		s.send(1002).waits()
		s.alive()
	})

	std(t, "B11-4 B11-8 the last allowed one may not be empty and early", func(b *bench, s *session) {
		held := s.send(1001)
		b.wait(5*time.Second - 1)
		early := s.send(1002)
		held.getsNow(condition(bosh.OtherRequest))
		early.getsNow(condition(bosh.PolicyViolation))
		inOrder(b, []*call{held, early})
		s.gone()
	})

	t.Run("B11-5 what does not count as empty and early", func(t *testing.T) {
		for name, parts := range map[string][]string{
			"payload": {x("a")}, "pause": {"pause='60'"}, "terminate": {terminate},
		} {
			std(t, name, func(b *bench, s *session) {
				held := s.send(1001)
				s.send(1002, parts...)
				assert.NotContains(b, string(held.answer().body), "condition")
			})
		}
		bubble(t, "restart", with(func(o *bosh.Options) { o.Framing = bosh.XMPP; o.CreateTimeout = -1 }), func(b *bench) {
			s := b.create()
			held := s.send(1001)
			next := s.send(1002, "xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'")
			held.getsNow(empty)
			next.waits()
			s.alive()
		})
		bubble(t, "new stream", with(func(o *bosh.Options) { o.MaxStreams = 2 }), func(b *bench) {
			s := b.create()
			s.send(1001)
			s.send(1002, "to='example.net'")
			s.alive()
			assert.Len(b, s.app.Session().Streams(), 2)
		})
		std(t, "late", func(b *bench, s *session) {
			held := s.send(1001)
			b.wait(5 * time.Second)
			s.send(1002).waits()
			held.getsNow(empty)
		})
		std(t, "fewer than R", func(b *bench, s *session) {
			for rid := int64(1001); rid < 1010; rid++ {
				s.app.writes(x("a"))
				s.send(rid).getsNow(answer(x("a")))
			}
			s.send(1010).waits()
		})
	})

	for name, o := range map[string]bosh.Options{
		"default": {Framing: bosh.Elements, Grace: -1},
		"off":     {Framing: bosh.Elements, Grace: -1, Polling: -1},
	} {
		bubble(t, "B11-6 without a positive polling there is no limit: "+name, o, func(b *bench) {
			s := b.create()
			_, sent := s.granted.Lookup("polling")
			assert.False(b, sent, "B7.2-7")
			last := s.send(1001)
			for rid := int64(1002); rid < 1022; rid++ {
				next := s.send(rid)
				last.getsNow("<body ack='" + fmt.Sprint(rid) + "'/>")
				last = next
			}
			last.waits()
			s.alive()
		})
	}

	// B11-7: there is no way to leave `requests` out, so that its limit always
	// binds; that it is sent is B7.2-4.
	for hold := range 4 {
		custom(t, fmt.Sprint("B11-7 requests is always sent, hold ", hold), with(func(o *bosh.Options) { o.Hold = 3 }),
			fmt.Sprintf("to='example.com' hold='%d' wait='60' ver='1.11'", hold), func(b *bench, s *session) {
				assert.Equal(b, fmt.Sprint(hold+1), s.granted.Attr("requests"))
			})
	}
}

// XEP-0124, section 12: polling sessions.
func TestPolling(t *testing.T) {
	const polls = "to='example.com' wait='0' hold='0' ver='1.11'"

	for _, attrs := range []string{"wait='0' hold='1'", "wait='60' hold='0'", "wait='0' hold='0'"} {
		custom(t, "B12-1 with "+attrs+" nothing is kept waiting", stdOptions, "to='example.com' ver='1.11' "+attrs, func(b *bench, s *session) {
			s.send(1001).getsNow(empty)
			s.send(1002, x("a")).getsNow(empty)
			s.app.reads(x("a"))
			s.app.writes(x("b"))
			s.send(1003).getsNow(answer(x("b")))
		})
	}
	for name, o := range map[string]bosh.Options{
		"wait": with(func(o *bosh.Options) { o.Wait = -1 }),
		"hold": with(func(o *bosh.Options) { o.Hold = -1 }),
	} {
		bubble(t, "B12-2 a server may force it: "+name, o, func(b *bench) {
			s := b.create()
			s.send(1001).getsNow(empty)
		})
	}
	std(t, "B12-2 but does not by default", func(b *bench, s *session) {
		assert.Equal(b, "2", s.granted.Attr("requests"))
	})

	custom(t, "B12-3 a polling session may be silent for longer", stdOptions, polls, func(b *bench, s *session) {
		assert.Equal(b, "65", s.granted.Attr("inactivity")) // above 30 + 5
		b.wait(65*time.Second - 1)
		s.alive()
		b.wait(1)
		s.gone()
	})

	custom(t, "B12-4 two empty requests too soon", stdOptions, polls, func(b *bench, s *session) {
		s.send(1001).getsNow(empty)
		b.wait(5*time.Second - 1)
		s.send(1002).getsNow(condition(bosh.PolicyViolation))
		s.gone()
	})

	t.Run("B12-5 what is not too soon", func(t *testing.T) {
		custom(t, "the first had payloads to take", stdOptions, polls, func(b *bench, s *session) {
			s.app.writes(x("a"))
			s.send(1001).getsNow(answer(x("a")))
			s.send(1002).getsNow(empty)
		})
		for name, parts := range map[string][]string{
			"payload": {x("a")}, "pause": {"pause='60'"}, "terminate": {terminate},
		} {
			custom(t, "the second is no poll: "+name, stdOptions, polls, func(b *bench, s *session) {
				s.send(1001).getsNow(empty)
				assert.NotContains(b, string(s.send(1002, parts...).answer().body), "condition")
			})
			if name != "terminate" {
				custom(t, "the first is no poll: "+name, stdOptions, polls, func(b *bench, s *session) {
					s.send(1001, parts...).getsNow(empty)
					s.send(1002).getsNow(empty)
				})
			}
		}
		xmpp := with(func(o *bosh.Options) { o.Framing = bosh.XMPP })
		const restart = "xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'"
		custom(t, "the second is a restart", xmpp, polls, func(b *bench, s *session) {
			s.send(1001).getsNow(empty)
			s.send(1002, restart).getsNow(empty)
			s.send(1003).getsNow(empty)
		})
		custom(t, "the second opens a stream", with(func(o *bosh.Options) { o.MaxStreams = 2 }), polls, func(b *bench, s *session) {
			s.send(1001).getsNow(empty)
			assert.NotEmpty(b, s.send(1002, "to='example.net'").body().Attr("stream"))
			s.send(1003).getsNow(empty)
		})
		custom(t, "the creation is no poll", stdOptions, polls, func(b *bench, s *session) {
			s.send(1001).getsNow(empty)
		})
		custom(t, "a repeat is none", stdOptions, polls, func(b *bench, s *session) {
			s.send(1001).getsNow(empty)
			s.send(1001).getsNow(empty)
			b.wait(5 * time.Second)
			s.send(1002).getsNow(empty)
		})
	})

	custom(t, "B12-6 without polling a client polls as it likes", with(func(o *bosh.Options) { o.Polling = -1 }), polls, func(b *bench, s *session) {
		_, sent := s.granted.Lookup("polling")
		assert.False(b, sent)
		for rid := int64(1001); rid < 1021; rid++ {
			s.send(rid).getsNow(empty)
		}
	})
}
