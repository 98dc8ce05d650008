package bosh_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const terminate = "type='terminate'"

// XEP-0124, section 13: termination.
func TestTermination(t *testing.T) {
	hold2 := with(func(o *bosh.Options) { o.Hold = 2 })
	const hold2Attrs = "to='example.com' hold='2' wait='60' ver='1.11'"

	std(t, "B13-1 the end comes in its turn", func(b *bench, s *session) {
		last := s.send(1002, terminate)
		s.alive()
		assert.NoError(b, s.app.ended())
		first := s.send(1001, x("a"))
		s.app.reads(x("a"))
		assert.Equal(b, io.EOF, s.app.ended())
		first.getsNow(end)
		last.getsNow(empty)
		inOrder(b, []*call{first, last})
		s.gone()
	})

	std(t, "B13-2 payloads come before the end", func(b *bench, s *session) {
		s.send(1001, terminate, x("bye"))
		s.app.reads(x("bye"))
		assert.Equal(b, io.EOF, s.app.ended())
		assert.Equal(b, io.EOF, s.app.Session().Err())
	})

	std(t, "B13-3 B13-4 the oldest gets the acknowledgement", func(b *bench, s *session) {
		held := s.send(1001)
		b.wait(time.Second)
		last := s.send(1002, terminate)
		held.getsNow(end)
		last.getsNow(empty)
		inOrder(b, []*call{held, last})
	})

	custom(t, "B13-4 all others get empty bodies", hold2, hold2Attrs, func(b *bench, s *session) {
		calls := []*call{s.send(1001), s.send(1002), s.send(1003, terminate)}
		calls[0].getsNow(end)
		calls[1].getsNow(empty)
		calls[2].getsNow(empty)
		inOrder(b, calls)
	})

	std(t, "B13-5 the only one gets the acknowledgement itself", func(b *bench, s *session) {
		s.send(1001, terminate).getsNow(end)
	})

	std(t, "B13-6 afterwards the sid is unknown", func(b *bench, s *session) {
		s.send(1001, terminate)
		s.send(1002).getsNow(condition(bosh.ItemNotFound))
		s.gone()
	})

	std(t, "B13-6 what was queued goes out with the acknowledgement", func(b *bench, s *session) {
		s.app.writes(x("late"))
		s.send(1001, terminate).getsNow("<body type='terminate'>" + x("late") + "</body>")
	})

	std(t, "B13-6 or is handed back", func(b *bench, s *session) {
		s.app.writes(x("late"))
		early := s.send(1002, terminate)
		early.breaks()
		s.send(1001).breaks()
		b.wait(time.Hour)
		assert.Contains(b, [][]string{{x("late")}, {x("late") + "*"}}, s.app.undelivered())
	})

	custom(t, "B13-7 the application closes: the rest and the end on the oldest", hold2, hold2Attrs, func(b *bench, s *session) {
		calls := []*call{s.send(1001), s.send(1002)}
		b.wait(time.Second)
		_, err := s.app.Write([]byte(x("last")))
		require.NoError(b, err)
		require.NoError(b, s.app.Close())
		// The oldest may be answered between Write and Close.
		if oldest := calls[0].body(); oldest.Attr("type") == "" {
			calls[0].getsNow(answer(x("last")))
		} else {
			calls[0].getsNow("<body type='terminate'>" + x("last") + "</body>")
		}
		calls[1].getsNow(end)
		inOrder(b, calls)
		s.gone()
	})

	std(t, "B13-7 or on the next", func(b *bench, s *session) {
		s.app.writes(x("last"))
		require.NoError(b, s.app.Close())
		b.wait(29 * time.Second)
		s.send(1001).getsNow("<body type='terminate'>" + x("last") + "</body>")
		s.send(1002).getsNow(condition(bosh.ItemNotFound))
	})

	std(t, "B13-7 but no longer than I", func(b *bench, s *session) {
		s.app.writes(x("last"))
		require.NoError(b, s.app.Close())
		assert.Empty(b, s.app.undelivered(), "too early to tell")
		b.wait(30*time.Second + overtime)
		s.send(1001).getsNow(condition(bosh.ItemNotFound))
		assert.Equal(b, []string{x("last")}, s.app.undelivered())
	})

	t.Run("B13-8 other types are ignored", func(t *testing.T) {
		for _, typ := range []string{"error", "nonsense", ""} {
			std(t, typ, func(b *bench, s *session) {
				c := s.send(1001, "type='"+typ+"'", x("a"))
				s.app.reads(x("a"))
				c.waits()
				s.app.writes(x("b"))
				c.getsNow(answer(x("b")))
			})
		}
	})

	std(t, "B13-3 the answers to the end are repeated", func(b *bench, s *session) {
		held, last := s.send(1001), s.send(1002, terminate)
		held.gets(end)
		last.gets(empty)
		s.send(1001).getsNow(end)
		s.send(1002, terminate).getsNow(empty)
	})

	std(t, "B13-2 a client that leaves without its answer has ended all the same", func(b *bench, s *session) {
		c := b.request("half", cutAfter{s.text("1001", terminate, x("bye"))})
		c.breaks()
		s.app.reads("")
		s.alive()
		s.send(1001, terminate, x("bye")).getsNow(end)
		s.app.reads(x("bye"))
	})
}

// cutAfter is a request body of which only half arrives.
type cutAfter struct{ text string }

func (r cutAfter) Read(p []byte) (int, error) {
	return copy(p, r.text[:len(r.text)/2]), errors.New("connection cut")
}

// inOrder fails the test unless the calls were answered in this order.
func inOrder(b *bench, calls []*call) {
	b.Helper()
	for i := 1; i < len(calls); i++ {
		assert.Less(b, calls[i-1].answer().order, calls[i].answer().order, "answer to %s before %s", calls[i].name, calls[i-1].name)
	}
}
