package bosh_test

import (
	"testing"
	"time"

	"github.com/gobosh/bosh"
)

// In a busy process nothing is different but when alarms are set.
func TestBusy(t *testing.T) {
	const grace = 20 * time.Millisecond
	options := with(func(o *bosh.Options) { o.Grace = grace })

	bubble(t, "an older request waits for the application until grace is over", options, func(b *bench) {
		s := b.create()
		b.h.BeBusy()
		for rid := int64(1001); rid < 1020; rid += 3 {
			older, newer := s.send(rid), s.send(rid+1, x("a"))
			s.app.reads(x("a"))
			older.getsAfter(grace, empty)
			last := s.send(rid+2, x("b"))
			s.app.reads(x("b"))
			newer.waits()
			b.wait(grace / 2)
			s.app.writes(x("c"))
			newer.getsNow(answer(x("c")))
			s.app.writes(x("d"))
			last.getsNow(answer(x("d")))
		}
	})

	bubble(t, "an application that answers at once is in time", options, func(b *bench) {
		s := b.create()
		b.h.BeBusy()
		held := s.send(1001)
		for rid := int64(1002); rid < 1020; rid++ {
			next := s.send(rid, x("a"))
			s.app.reads(x("a"))
			s.app.writes(x("b"))
			held.getsNow(answer(x("b")))
			held = next
		}
		b.wait(time.Second)
		held.waits()
	})
}
