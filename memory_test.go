package bosh_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// All sessions together keep no more than they may: who keeps most of it goes.
func TestMaxMemory(t *testing.T) {
	const limit = 100 << 10
	big := x(strings.Repeat("x", limit*2/5))
	deaf := with(func(o *bosh.Options) {
		o.MaxMemory, o.ReadBuffer = limit, 1<<20
		o.Serve = func(st *bosh.Stream) { <-st.Context().Done() }
	})
	open := func(b *bench) *session {
		return &session{b: b, sid: b.post(complete(stdCreation)).body().Attr("sid")}
	}
	bubble(t, "unread input", deaf, func(b *bench) {
		hog, modest := open(b), open(b)
		for rid := range int64(2) {
			hog.send(1001+rid, big)
		}
		open(b).send(1001, big) // now it is too much
		b.post(complete(stdCreation)).getsNow(condition(bosh.PolicyViolation))
		first := modest.send(1001, x("a"))
		first.waits()
		modest.send(1002, x("b")).waits()
		first.getsNow(empty)
		hog.send(1002, big).waits() // a repeat needs no room
		hog.send(1003).getsNow(condition(bosh.PolicyViolation))
		assert.Less(b, b.h.Stats().Memory, int64(limit/2))
		open(b)
	})

	bubble(t, "early requests", with(func(o *bosh.Options) { o.MaxMemory, o.Hold = limit, 4 }), func(b *bench) {
		s := b.create("to='example.com' hold='4' wait='60' ver='1.11'")
		s.send(1002, big).waits()
		s.send(1003, big).waits() // the buffers are larger than what is in them
		s.send(1004, x("a")).getsNow(condition(bosh.PolicyViolation))
		assert.Zero(b, b.h.Stats().Memory)
	})

	bubble(t, "answers that a client never acknowledges", with(func(o *bosh.Options) {
		o.MaxMemory, o.ReplayBuffer = limit, 1<<20
	}), func(b *bench) {
		s := b.create(stdAttrs + " ack='1'")
		rid := int64(1001)
		for ; b.h.Stats().Memory <= limit; rid++ {
			require.Less(b, rid, int64(1100))
			c := s.send(rid, "ack='1000'")
			s.app.writes(big)
			c.answer()
		}
		s.send(rid, "ack='1000'").getsNow(condition(bosh.PolicyViolation))
		assert.Zero(b, b.h.Stats().Memory)
		assert.Error(b, s.app.Session().Err())
	})

	bubble(t, "the room for an answer is no reason to end a session", with(func(o *bosh.Options) { o.MaxMemory = limit }), func(b *bench) {
		s := b.create()
		for rid := range int64(5) {
			c := s.send(1001+rid, big)
			s.app.reads(big)
			s.app.writes(big)
			c.getsNow(answer(big))
		}
		s.send(1006).waits()
		s.send(1007, x("a")).waits()
		s.app.reads(x("a"))
		s.alive()
	})

	bubble(t, "a session alone may have all of it", with(func(o *bosh.Options) { o.MaxMemory = limit }), func(b *bench) {
		s := b.create()
		for rid := range int64(50) {
			c := s.send(1001+rid, big)
			s.app.reads(big)
			s.app.writes(big)
			c.getsNow(answer(big))
		}
		s.alive()
		b.create()
		s.send(1051, "type='terminate'").getsNow(end)
		assert.Positive(b, b.h.Stats().Memory, "kept for repeats")
		b.wait(time.Hour)
		assert.Zero(b, b.h.Stats().Memory)
	})
}

// What is counted is what there is, whatever the application does first.
func TestMemoryIsGivenBack(t *testing.T) {
	for name, leave := range map[string]func(b *bench, s *session, st *bosh.Stream){
		"read": func(b *bench, s *session, st *bosh.Stream) {
			io.CopyN(io.Discard, st, 50_000)
		},
		"read little by little": func(b *bench, s *session, st *bosh.Stream) {
			for p := make([]byte, 100); st.Session().Stats().Unread > 5_000; {
				st.Read(p)
			}
		},
		"closed by the application": func(b *bench, s *session, st *bosh.Stream) { st.Close() },
		"closed by the handler":     func(b *bench, s *session, st *bosh.Stream) { b.h.Close() },
		"terminated":                func(b *bench, s *session, st *bosh.Stream) { s.send(1002, "type='terminate'") },
		"failed":                    func(b *bench, s *session, st *bosh.Stream) { s.send(2000) },
	} {
		streams := make(chan *bosh.Stream, 1)
		bubble(t, name, with(func(o *bosh.Options) {
			o.Serve = func(st *bosh.Stream) { streams <- st; <-st.Context().Done() }
		}), func(b *bench) {
			s := &session{b: b, sid: b.post(complete(stdCreation)).body().Attr("sid")}
			st := <-streams
			s.send(1001, x(strings.Repeat("x", 60_000)))
			assert.Greater(b, b.h.Stats().Memory, int64(60_000))
			leave(b, s, st)
			b.wait(0)
			assert.Less(b, b.h.Stats().Memory, int64(12_000))
		})
	}
}
