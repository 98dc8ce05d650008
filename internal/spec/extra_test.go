package spec_test

import (
	"testing"

	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
)

// A client may ask for the end, or for a pause, with its window full. It may be
// missing one answer more than usual then, and must still be able to get it.
func TestAnswerMissedBeyondTheWindow(t *testing.T) {
	for _, extra := range []string{"type='terminate'", "pause='60'"} {
		Std(t, extra, func(b *Harness, s *Session) {
			lost := s.Send(1001, X("a"))
			s.App.Writes(X("b"))
			lost.GetsNow(Answer(X("b")))
			held := s.Send(1002)
			s.Send(1003, extra)
			held.Answer()
			s.Send(1001, X("a")).GetsNow(Answer(X("b")))
		})
		polls := "to='example.com' hold='0' wait='60' ver='1.11'"
		Custom(t, extra+" in a polling session", StdOptions, polls, func(b *Harness, s *Session) {
			s.App.Writes(X("b"))
			s.Send(1001, X("a")).GetsNow(Answer(X("b")))
			s.Send(1002, extra).Answer()
			s.Send(1001, X("a")).GetsNow(Answer(X("b")))
		})
	}

	Std(t, "and it is not taken to have it", func(b *Harness, s *Session) {
		lost := s.Send(1001, X("a"))
		s.App.Writes(X("b"))
		lost.GetsNow(Answer(X("b")))
		s.Send(1002)
		s.Send(1003, "type='terminate'")
		assert.Equal(b, []string{X("b") + "*"}, s.App.Lost())
	})
}
