package spec_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// XEP-0124, section 14.1: generation of request ids.
func TestRid(t *testing.T) {
	t.Run("B14.1-1 any initial rid up to 2^53-1, exactly", func(t *testing.T) {
		for _, first := range []int64{1, 1 << 31, 9007199254740900} {
			Custom(t, fmt.Sprint(first), StdOptions, fmt.Sprintf("rid='%d' %s", first, StdAttrs), func(b *Harness, s *Session) {
				for i := range int64(50) {
					text := X(fmt.Sprint(i))
					s.App.Writes(text)
					s.Send(first+1+i, text).GetsNow(Answer(text))
					s.App.Reads(text)
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
			Bubble(t, rid, StdOptions, func(b *Harness) {
				c := b.Post(Complete("<body rid='" + rid + "' " + StdAttrs + "/>"))
				if ok {
					assert.NotEmpty(b, c.Body().Attr("sid"))
				} else {
					c.GetsNow(Condition(bosh.BadRequest))
				}
			})
		}
	})

	t.Run("B14.1-2 and are outside the window in a session", func(t *testing.T) {
		for _, rid := range []string{"9007199254740992", "123456789012345678901234567890", "18446744073709552617"} {
			Std(t, rid, func(b *Harness, s *Session) {
				s.Raw(rid).GetsNow(Condition(bosh.ItemNotFound))
				s.Gone()
			})
		}
	})

	Custom(t, "B14.1-2 the last rid of all is the end of the line", StdOptions, "rid='9007199254740990' "+StdAttrs, func(b *Harness, s *Session) {
		s.App.Writes(X("a"))
		s.Send(9007199254740991).GetsNow(Answer(X("a")))
		s.Raw("9007199254740992").GetsNow(Condition(bosh.ItemNotFound))
	})

	t.Run("B14.1-3 what is no positive decimal integer leaves the session alone", func(t *testing.T) {
		for _, rid := range []string{"0", "-5", "1e3", "0x10", "", "1001.0", "+1001", "10 01", "１００１"} {
			Std(t, rid, func(b *Harness, s *Session) {
				s.Raw(rid, X("no")).GetsNow(Condition(bosh.BadRequest))
				s.App.Reads("")
				s.App.Writes(X("a"))
				s.Send(1001).GetsNow(Answer(X("a")))
			})
			Bubble(t, rid+" at creation", StdOptions, func(b *Harness) {
				b.Post(Complete("<body rid='" + rid + "' " + StdAttrs + "/>")).GetsNow(Condition(bosh.BadRequest))
			})
		}
	})

	t.Run("B14.1-3 white space and zeros around it are tolerated", func(t *testing.T) {
		for _, rid := range []string{" 1001 ", "001001", "&#9;1001\n"} {
			Std(t, rid, func(b *Harness, s *Session) {
				s.App.Writes(X("a"))
				s.Raw(rid).GetsNow(Answer(X("a")))
			})
		}
	})
}

// XEP-0124, section 14.2: order and window.
func TestWindow(t *testing.T) {
	hold2 := With(func(o *bosh.Options) { o.Hold = 2 })
	const hold2Attrs = "to='example.com' hold='2' wait='60' ver='1.11'"

	Std(t, "B14.2-1 requests out of order are answered in order", func(b *Harness, s *Session) {
		second := s.Send(1002, X("b"))
		b.Wait(time.Second)
		s.App.Reads("")
		first := s.Send(1001, X("a"))
		s.App.Reads(X("a") + X("b"))
		first.GetsNow(Empty)
		second.Waits()
		s.App.Writes(X("c"))
		second.GetsNow(Answer(X("c")))
		InOrder(b, []*Call{first, second})
	})

	Std(t, "B14.2-1 and output that waits goes to the first of them", func(b *Harness, s *Session) {
		s.App.Writes(X("c"))
		second := s.Send(1002)
		b.Wait(time.Second)
		second.Waits()
		s.Send(1001).GetsNow(Answer(X("c")))
		second.Waits()
	})

	Std(t, "B14.2-2 L+1 is accepted", func(b *Harness, s *Session) {
		s.Send(1001, X("a")).Waits()
		s.App.Reads(X("a"))
	})
	Std(t, "B14.2-2 L+R is accepted", func(b *Harness, s *Session) {
		s.Send(1002, X("b")).Waits()
		s.Alive()
	})

	Std(t, "B14.2-3 a rid above the window ends the session", func(b *Harness, s *Session) {
		s.Send(1003).GetsNow(Condition(bosh.ItemNotFound))
		s.Send(1001).GetsNow(Condition(bosh.ItemNotFound))
		s.Gone()
	})

	Custom(t, "B14.2-4 requests ahead do not move the window", hold2, hold2Attrs, func(b *Harness, s *Session) {
		early := s.Send(1003, X("c"))
		early.Waits()
		beyond := s.Send(1004, X("d"))
		early.GetsNow(Condition(bosh.OtherRequest))
		beyond.GetsNow(Condition(bosh.ItemNotFound))
		InOrder(b, []*Call{early, beyond})
		s.App.Reads("")
	})

	Std(t, "B14.2-5 a terminate may go one further", func(b *Harness, s *Session) {
		last := s.Send(1003, terminate)
		last.Waits()
		first := s.Send(1001, X("a"))
		second := s.Send(1002, X("b"))
		s.App.Reads(X("a") + X("b"))
		first.GetsNow(End)
		second.GetsNow(Empty)
		last.GetsNow(Empty)
		InOrder(b, []*Call{first, second, last})
		s.Gone()
	})
	Std(t, "B14.2-5 and so may a pause", func(b *Harness, s *Session) {
		pause := s.Send(1003, "pause='60'")
		pause.Waits()
		first := s.Send(1001, X("a"))
		second := s.Send(1002, X("b"))
		for _, c := range []*Call{first, second, pause} {
			c.GetsNow(Empty)
		}
		InOrder(b, []*Call{first, second, pause})
	})
	Std(t, "B14.2-5 but not two", func(b *Harness, s *Session) {
		s.Send(1004, terminate).GetsNow(Condition(bosh.ItemNotFound))
	})

	Std(t, "B14.2-6 a request ahead is not answered before the missing one", func(b *Harness, s *Session) {
		early := s.Send(1002)
		b.Wait(61 * time.Second)
		early.Waits()
		s.App.Writes(X("a"))
		early.Waits()
		first := s.Send(1001)
		first.GetsNow(Answer(X("a")))
		early.GetsNow(Empty) // its own time is over
		InOrder(b, []*Call{first, early})
	})

	Std(t, "B14.2-7 a gap ends the session in the end", func(b *Harness, s *Session) {
		early := s.Send(1002, X("b"))
		b.Wait(10 * time.Second)
		early.GetsAfter(80*time.Second+Overtime, Condition(bosh.ItemNotFound)) // W+I from the beginning of the gap
		s.App.Reads("")
		s.Gone()
	})
	Custom(t, "B14.2-7 and the gap counts from its beginning", hold2, hold2Attrs, func(b *Harness, s *Session) {
		early := s.Send(1003, X("c"))
		b.Wait(50 * time.Second)
		later := s.Send(1002, X("b"))
		early.GetsAfter(40*time.Second+Overtime, Condition(bosh.ItemNotFound))
		later.GetsNow(Condition(bosh.ItemNotFound))
	})
	Std(t, "B14.2-7 a gap that is filled is forgotten", func(b *Harness, s *Session) {
		early := s.Send(1002)
		b.Wait(80 * time.Second)
		s.Send(1001).GetsNow(Empty)
		early.GetsNow(Empty)
		b.Wait(20 * time.Second)
		s.Alive()
		next := s.Send(1003)
		next.GetsAfter(Patience, Empty)
	})

	Custom(t, "B14.2-8 when the gap closes all are taken in one go", hold2, hold2Attrs, func(b *Harness, s *Session) {
		third, second := s.Send(1003, X("c")), s.Send(1002, X("b"))
		s.App.Reads("")
		first := s.Send(1001, X("a"))
		s.App.Reads(X("a") + X("b") + X("c"))
		first.GetsNow(Empty) // H is 2 here: there cannot be two more than H
		second.Waits()
		third.Waits()
	})

	keys := KeySequence("seed", 5)
	Custom(t, "B14.2-9 checks that depend on order are made in order", StdOptions, StdAttrs+" newkey='"+keys[5]+"'", func(b *Harness, s *Session) {
		second := s.Send(1002, "key='"+keys[3]+"'", X("b"))
		second.Waits()
		first := s.Send(1001, "key='"+keys[4]+"'", X("a"))
		s.App.Reads(X("a") + X("b"))
		first.GetsNow(Empty)
		second.Waits()
	})
}

// XEP-0124, section 14.3: broken connections.
func TestBroken(t *testing.T) {
	hold2 := With(func(o *bosh.Options) { o.Hold = 2 })
	const hold2Attrs = "to='example.com' hold='2' wait='60' ver='1.11'"

	// answered has the requests 1001 to last answered, each with a payload of
	// its rid.
	answered := func(s *Session, last int64) {
		for rid := int64(1001); rid <= last; rid++ {
			s.App.Writes(X(fmt.Sprint(rid)))
			s.Send(rid).GetsNow(Answer(X(fmt.Sprint(rid))))
		}
	}

	Std(t, "B14.3-1 the last R answers are kept", func(b *Harness, s *Session) {
		answered(s, 1003)
		s.Send(1002).GetsNow(Answer(X("1002")))
		s.Send(1003).GetsNow(Answer(X("1003")))
		s.Send(1002).GetsNow(Answer(X("1002")))
	})
	Std(t, "B14.3-1 also empty ones", func(b *Harness, s *Session) {
		first := s.Send(1001)
		s.Send(1002, X("a"))
		first.GetsNow(Empty)
		s.Send(1001).GetsNow(Empty)
	})
	Custom(t, "B14.3-1 with acks all that are not acknowledged", With(func(o *bosh.Options) { o.NoAcks = false }),
		StdAttrs+" ack='1'", func(b *Harness, s *Session) {
			answered := func(rid int64, attrs ...string) {
				s.App.Writes(X(fmt.Sprint(rid)))
				s.Send(rid, attrs...).GetsNow(Answer(X(fmt.Sprint(rid))))
			}
			answered(1001)
			for rid := int64(1002); rid < 1010; rid++ {
				answered(rid, "ack='1001'")
			}
			s.Send(1002, "ack='1001'").GetsNow(Answer(X("1002")))
		})

	Std(t, "B14.3-2 a repeat gets the same bytes again and again", func(b *Harness, s *Session) {
		s.App.Writes("<x xmlns='u' q=\"'\" p='1'>&amp;<y/></x>")
		first := s.Send(1001).Answer()
		for range 3 {
			b.Wait(time.Second)
			r := s.Send(1001).Answer()
			assert.Equal(b, string(first.Body), string(r.Body))
			assert.Equal(b, first.Head, r.Head)
			assert.Equal(b, first.Status, r.Status)
		}
	})

	Std(t, "B14.3-3 a repeat is not acted on again", func(b *Harness, s *Session) {
		s.App.Writes(X("1"))
		s.Send(1001, X("a")).GetsNow(Answer(X("1")))
		s.App.Reads(X("a"))
		s.Send(1001, X("a")).GetsNow(Answer(X("1")))
		s.App.Reads("")
	})
	t.Run("B14.3-3 even if it differs", func(t *testing.T) {
		for _, parts := range [][]string{{X("b")}, {terminate}, {"pause='60'"}, {}} {
			Std(t, fmt.Sprint(parts), func(b *Harness, s *Session) {
				s.App.Writes(X("1"))
				s.Send(1001, X("a")).GetsNow(Answer(X("1")))
				s.App.Reads(X("a"))
				s.Send(1001, parts...).GetsNow(Condition(bosh.ItemNotFound)) // it is no repeat
				s.App.Reads("")
				s.Alive()
				s.Send(1001, X("a")).GetsNow(Answer(X("1")))
				s.Send(1002, X("c")).Waits()
				s.App.Reads(X("c"))
			})
		}
	})
	Std(t, "B14.3-3 nor does an impostor take the place of a held one", func(b *Harness, s *Session) {
		held := s.Send(1001, X("a"))
		s.Send(1001, X("b")).GetsNow(Condition(bosh.ItemNotFound))
		held.Waits()
		s.App.Writes(X("1"))
		held.GetsNow(Answer(X("1")))
		s.App.Reads(X("a"))
	})

	Std(t, "B14.3-4 a repeat of a held one takes its place", func(b *Harness, s *Session) {
		old := s.Send(1001, X("a"))
		b.Wait(time.Second)
		repeat := s.Send(1001, X("a"))
		old.GetsNow(Again)
		repeat.Waits()
		s.App.Reads(X("a"))
		s.App.Writes(X("1"))
		repeat.GetsNow(Answer(X("1")))
	})
	Std(t, "B14.3-4 and its time runs from the first arrival", func(b *Harness, s *Session) {
		s.Send(1001)
		b.Wait(10 * time.Second)
		s.Send(1001).GetsAfter(Patience-10*time.Second, Empty)
	})

	Std(t, "B14.3-5 a repeat of an early one takes its place", func(b *Harness, s *Session) {
		old := s.Send(1002, X("b"))
		repeat := s.Send(1002, X("b"))
		old.GetsNow(Again)
		first := s.Send(1001, X("a"))
		s.App.Reads(X("a") + X("b"))
		first.GetsNow(Empty)
		repeat.Waits()
	})
	Std(t, "B14.3-5 also if the old connection broke before", func(b *Harness, s *Session) {
		s.Send(1002, X("b")).Breaks()
		repeat := s.Send(1002, X("b"))
		s.Send(1001, X("a")).GetsNow(Empty)
		s.App.Reads(X("a") + X("b"))
		s.App.Writes(X("1"))
		repeat.GetsNow(Answer(X("1")))
	})
	Std(t, "B14.3-5 an early one counts though nobody waits for its answer", func(b *Harness, s *Session) {
		s.Send(1002, X("b")).Breaks()
		first := s.Send(1001, X("a"))
		s.App.Reads(X("a") + X("b"))
		s.App.Writes(X("1"))
		first.GetsNow(Answer(X("1")))
		s.Send(1002, X("b")).GetsAfter(Patience, Empty)
	})

	Bubble(t, "B14.3-6 repeats are limited", With(func(o *bosh.Options) { o.MaxRepeats = 10 }), func(b *Harness) {
		s := b.Create()
		s.App.Writes(X("1"))
		s.Send(1001)
		for range 10 {
			s.Send(1001).GetsNow(Answer(X("1")))
		}
		s.Send(1001).GetsNow(Condition(bosh.PolicyViolation))
		s.Gone()
	})
	Bubble(t, "B14.3-6 also of held ones", With(func(o *bosh.Options) { o.MaxRepeats = 2 }), func(b *Harness) {
		s := b.Create()
		last := s.Send(1001)
		for range 2 {
			next := s.Send(1001)
			last.GetsNow(Again)
			last = next
		}
		over := s.Send(1001)
		last.GetsNow(Condition(bosh.OtherRequest))
		over.GetsNow(Condition(bosh.PolicyViolation))
		InOrder(b, []*Call{last, over})
	})

	Std(t, "B14.3-7 an answer that is no longer kept ends the session", func(b *Harness, s *Session) {
		answered(s, 1003)
		held := s.Send(1004)
		gone := s.Send(1001)
		gone.Waits()
		held.GetsAfter(Doubt, Condition(bosh.OtherRequest))
		gone.GetsNow(Condition(bosh.ItemNotFound))
		InOrder(b, []*Call{held, gone})
		s.Send(1005).GetsNow(Condition(bosh.ItemNotFound))
	})

	Std(t, "B14.3-7 a copy that nobody waits for does not", func(b *Harness, s *Session) {
		answered(s, 1003)
		held := s.Send(1004)
		gone := s.Send(1001)
		gone.Breaks()
		b.Wait(time.Second)
		held.Waits()
		s.App.Writes(X("a"))
		held.GetsNow(Answer(X("a")))
		s.Alive()
	})

	Std(t, "B14.3-7 nor if that is noticed late", func(b *Harness, s *Session) {
		answered(s, 1003)
		held := s.Send(1004)
		first, second := s.Send(1001), s.Send(1001)
		b.Wait(500 * time.Millisecond)
		third := s.Send(1001)
		b.Wait(Doubt - 500*time.Millisecond - 1)
		first.Breaks()
		second.Breaks()
		b.Wait(100 * time.Millisecond)
		third.Breaks()
		b.Wait(time.Second)
		held.Waits()
		s.Alive()
	})

	Std(t, "B14.3-7 many of them are too many", func(b *Harness, s *Session) {
		answered(s, 1003)
		for range 64 {
			s.Send(1001).Waits()
		}
		over := s.Send(1001)
		over.GetsNow(Condition(bosh.ItemNotFound))
		s.Gone()
	})

	Bubble(t, "B14.3-8 the refusals tell nothing", StdOptions, func(b *Harness) {
		large := b.Create().Send(1003).Answer()
		s := b.Create()
		answered(s, 1003)
		old := s.Send(1001)
		b.Wait(Doubt)
		small := old.Answer()
		unknown := (&Session{B: b, Sid: "unknown"}).Send(1001).Answer()
		assert.Equal(b, string(large.Body), string(small.Body))
		assert.Equal(b, string(large.Body), string(unknown.Body))
		assert.Equal(b, large.Head, unknown.Head)
		assert.Equal(b, small.Head, unknown.Head)
	})

	Std(t, "B14.3-9 the answer to a pause takes no place", func(b *Harness, s *Session) {
		answered(s, 1002)
		s.Send(1003, "pause='60'").GetsNow(Empty)
		s.Send(1001).GetsNow(Answer(X("1001")))
		s.Send(1003, "pause='60'").GetsNow(Empty)
		s.Send(1002).GetsNow(Answer(X("1002")))
	})

	Std(t, "B14.3-10 errors are not kept as answers", func(b *Harness, s *Session) {
		old := s.Send(1001)
		repeat := s.Send(1001)
		old.GetsNow(Again)
		s.App.Writes(X("1"))
		repeat.GetsNow(Answer(X("1")))
		s.Send(1001).GetsNow(Answer(X("1")))
	})

	Std(t, "B14.3-11 nothing is spent on a broken connection", func(b *Harness, s *Session) {
		s.Send(1001, X("a")).Breaks()
		s.App.Writes(X("1"))
		s.Send(1002).GetsNow(Answer(X("1")))
		s.Send(1001, X("a")).GetsNow(Empty)
		s.App.Reads(X("a"))
	})
	Std(t, "B14.3-11 and a repeat is held again", func(b *Harness, s *Session) {
		s.Send(1001).Breaks()
		b.Wait(time.Second)
		repeat := s.Send(1001)
		repeat.Waits()
		s.App.Writes(X("1"))
		repeat.GetsNow(Answer(X("1")))
	})
	Custom(t, "B14.3-11 a broken one does not hold up the next", hold2, hold2Attrs, func(b *Harness, s *Session) {
		first, second := s.Send(1001), s.Send(1002)
		first.Breaks()
		s.App.Writes(X("1"))
		second.GetsNow(Answer(X("1")))
		s.Send(1001).GetsNow(Empty)
	})

	polling := With(func(o *bosh.Options) { o.Polling = 5 * time.Second })
	Custom(t, "B14.3-12 a repeat is no new request", polling, "to='example.com' wait='0' hold='1' ver='1.11'", func(b *Harness, s *Session) {
		s.Send(1001).GetsNow(Empty)
		for range 5 {
			b.Wait(200 * time.Millisecond)
			s.Send(1001).GetsNow(Empty)
		}
		b.Wait(4 * time.Second)
		s.Send(1002).GetsNow(Empty)
	})
	Std(t, "B14.3-12 and does not move the window", func(b *Harness, s *Session) {
		s.App.Writes(X("1"))
		for range 5 {
			s.Send(1001)
		}
		s.Send(1004).GetsNow(Condition(bosh.ItemNotFound))
	})
}

// Requests that a client breaks off stay open for as many as it can repeat, and no more.
func TestOrphans(t *testing.T) {
	Std(t, "B14.3-11 many of them", func(b *Harness, s *Session) {
		for rid := int64(1001); rid < 1501; rid++ {
			s.Send(rid).Breaks()
			b.Wait(5 * time.Second)
		}
		assert.Less(b, b.H.Stats().Memory, int64(4<<10))
		last := s.Send(1501)
		s.App.Writes(X("a"))
		last.GetsNow(Answer(X("a")))
		s.Send(1500).GetsNow(Empty)
		s.Alive()
	})
}

// Answers that are ready may have to wait for the application: it has still to learn of
// a request. If one of them is asked for again meanwhile, all are given.
func TestRepeatsOfWhatIsReady(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		t.Run(fmt.Sprint("B14.3-2 Direct ", isDirect), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var slow atomic.Bool
				told := make(chan struct{})
				h := WithEngine(t, With(func(o *bosh.Options) {
					o.Trace = &bosh.Trace{Request: func(*bosh.Session, bosh.RequestInfo) {
						if slow.Load() {
							<-told
						}
					}}
				}), isDirect)
				var lines [4]*Line
				for i := range lines {
					lines[i] = Wrapped(t, h, func(next http.Handler) http.Handler { return next })
				}
				p, app := lines[0].Opens(t, h)
				asks := func(line int, rid int64) {
					lines[line].Says(RawRequest(p.Body(rid, "")))
					synctest.Wait()
				}
				writes := func(text string) {
					_, err := app.Write([]byte(X(text)))
					require.NoError(t, err)
					synctest.Wait()
				}
				asks(0, 1001)
				writes("1")
				lines[0].Hears(Answer(X("1")))
				asks(0, 1002)
				slow.Store(true)
				asks(1, 1001)
				writes("2")
				asks(2, 1001)
				asks(3, 1002)
				close(told)
				for i, want := range []string{"", Answer(X("1")), Answer(X("1")), Answer(X("2"))} {
					require.NoError(t, lines[i].SetReadDeadline(time.Now().Add(time.Second)))
					if got := ReadAnswer(t, lines[i].R); want != "" { // or it depends on whether it was written already
						assert.Equal(t, Complete(want), got)
					}
				}
			})
		})
	}
}
