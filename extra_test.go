package bosh_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A client may ask for the end, or for a pause, with its window full. It may be
// missing one answer more than usual then, and must still be able to get it.
func TestAnswerMissedBeyondTheWindow(t *testing.T) {
	for _, extra := range []string{"type='terminate'", "pause='60'"} {
		std(t, extra, func(b *bench, s *session) {
			lost := s.send(1001, x("a"))
			s.app.writes(x("b"))
			lost.getsNow(answer(x("b")))
			held := s.send(1002)
			s.send(1003, extra)
			held.answer()
			s.send(1001, x("a")).getsNow(answer(x("b")))
		})
		polls := "to='example.com' hold='0' wait='60' ver='1.11'"
		custom(t, extra+" in a polling session", stdOptions, polls, func(b *bench, s *session) {
			s.app.writes(x("b"))
			s.send(1001, x("a")).getsNow(answer(x("b")))
			s.send(1002, extra).answer()
			s.send(1001, x("a")).getsNow(answer(x("b")))
		})
	}

	std(t, "and it is not taken to have it", func(b *bench, s *session) {
		lost := s.send(1001, x("a"))
		s.app.writes(x("b"))
		lost.getsNow(answer(x("b")))
		s.send(1002)
		s.send(1003, "type='terminate'")
		assert.Equal(b, []string{x("b") + "*"}, s.app.undelivered())
	})
}
