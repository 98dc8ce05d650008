package spec_test

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
)

// XEP-0124, section 15: key sequences.
func TestKeySequences(t *testing.T) {
	ks := NewKeyring("seed", 5)
	keyed := func(t *testing.T, name string, f func(b *Harness, s *Session)) {
		t.Helper()
		Custom(t, name, StdOptions, StdAttrs+" "+ks.Newkey(5), f)
	}
	notFound := Condition(bosh.ItemNotFound)

	Std(t, "B15.1-1 without newkey at the creation a key is ignored", func(b *Harness, s *Session) {
		c := s.Send(1001, "key='abc'", X("a"))
		s.App.Reads(X("a"))
		c.Waits()
		s.Send(1002, "key='def'", X("b"))
		c.GetsNow(Empty)
		s.Alive()
	})

	keyed(t, "B15.3-1 the SHA-1 of the key is the previous key", func(b *Harness, s *Session) {
		s.Send(1001, ks.Key(4), X("a")).Waits()
		s.App.Reads(X("a"))
		s.Alive()
	})

	t.Run("B15.3-2 hexadecimal digits compare without regard to case", func(t *testing.T) {
		// The chain goes over the texts as they are sent: each of these is
		// the hash of the next one in the case in which that is sent.
		lower := Keyring{"seed"}
		upper := Keyring{"seed"}
		for i := range 4 {
			sum := sha1.Sum([]byte(upper[i]))
			lower = append(lower, hex.EncodeToString(sum[:]))
			upper = append(upper, strings.ToUpper(lower[i+1]))
		}
		Custom(t, "newkey in upper case", StdOptions, StdAttrs+" "+upper.Newkey(4), func(b *Harness, s *Session) {
			s.Send(1001, upper.Key(3), X("a")).Waits()
			s.App.Reads(X("a"))
		})
		Custom(t, "newkey in lower case, keys in upper case", StdOptions, StdAttrs+" "+lower.Newkey(4), func(b *Harness, s *Session) {
			s.Send(1001, upper.Key(3), X("a"))
			s.Send(1002, upper.Key(2), X("b")).Waits()
			s.App.Reads(X("a") + X("b"))
		})
	})

	keyed(t, "B15.4-1 each request is verified against the one before", func(b *Harness, s *Session) {
		for i, key := range []int{4, 3, 2, 1, 0} {
			s.Send(int64(1001+i), ks.Key(key), X("a"))
			s.App.Reads(X("a"))
		}
		s.Alive()
	})

	keyed(t, "B15.4-2 a key that does not match ends the session", func(b *Harness, s *Session) {
		s.Send(1001, ks.Key(3), X("a")).GetsNow(notFound)
		s.App.Reads("")
		s.Send(1001, ks.Key(4), X("a")).GetsNow(notFound)
		s.Gone()
	})

	keyed(t, "B15.4-2 also later on", func(b *Harness, s *Session) {
		held := s.Send(1001, ks.Key(4))
		wrong := s.Send(1002, ks.Key(4), X("a"))
		held.GetsNow(Condition(bosh.OtherRequest))
		wrong.GetsNow(notFound)
		s.App.Reads("")
		s.Gone()
	})

	keyed(t, "B15.4-3 a missing key is a wrong one", func(b *Harness, s *Session) {
		s.Send(1001, X("a")).GetsNow(notFound)
		s.App.Reads("")
		s.Gone()
	})

	keyed(t, "B15.4-4 B14.2-9 the order is that of rids", func(b *Harness, s *Session) {
		second := s.Send(1002, ks.Key(3), X("b"))
		first := s.Send(1001, ks.Key(4), X("a"))
		first.GetsNow(Empty)
		second.Waits()
		s.App.Reads(X("a") + X("b"))
		s.Send(1001, ks.Key(4), X("a")).GetsNow(Empty)
		s.Send(1003, ks.Key(2), X("c"))
		second.GetsNow(Empty)
		s.App.Reads(X("c"))
		s.Alive()
	})

	keyed(t, "B15.4-4 a repeat of a held or early request consumes nothing", func(b *Harness, s *Session) {
		early := s.Send(1002, ks.Key(3), X("b"))
		earlier := s.Send(1002, ks.Key(3), X("b"))
		early.GetsNow(Again)
		held := s.Send(1001, ks.Key(4), X("a"))
		held.GetsNow(Empty)
		s.App.Reads(X("a") + X("b"))
		repeat := s.Send(1002, ks.Key(3), X("b"))
		earlier.GetsNow(Again)
		s.App.Writes(X("c"))
		repeat.GetsNow(Answer(X("c")))
		s.Send(1003, ks.Key(2)).Waits()
		s.Alive()
	})

	keyed(t, "B15.4-5 a repeat with another key learns nothing", func(b *Harness, s *Session) {
		c := s.Send(1001, ks.Key(4))
		s.App.Writes(X("secret"))
		c.GetsNow(Answer(X("secret")))
		s.Send(1001, NewKeyring("thief", 1).Key(1)).GetsNow(notFound)
		s.Gone()
	})

	keyed(t, "B15.4-5 nor does one without a key", func(b *Harness, s *Session) {
		c := s.Send(1001, ks.Key(4))
		s.App.Writes(X("secret"))
		c.GetsNow(Answer(X("secret")))
		s.Send(1001).GetsNow(notFound)
		s.Gone()
	})

	t.Run("B15.5-1 the last key of a sequence comes with the first of the next", func(t *testing.T) {
		next := NewKeyring("another", 3)
		keyed(t, "switch", func(b *Harness, s *Session) {
			s.Send(1001, ks.Key(4), X("a"))
			s.Send(1002, ks.Key(3), next.Newkey(3), X("b"))
			s.Send(1003, next.Key(2), X("c"))
			s.Send(1004, next.Key(1), X("d")).Waits()
			s.App.Reads(X("a") + X("b") + X("c") + X("d"))
		})
		keyed(t, "the old sequence is over", func(b *Harness, s *Session) {
			s.Send(1001, ks.Key(4), next.Newkey(3), X("a"))
			s.Send(1002, ks.Key(3), X("b")).GetsNow(notFound)
			s.App.Reads(X("a"))
			s.Gone()
		})
		keyed(t, "newkey does not excuse a wrong key", func(b *Harness, s *Session) {
			s.Send(1001, ks.Key(3), next.Newkey(3)).GetsNow(notFound)
			s.Gone()
		})
		keyed(t, "a repeat of the switch", func(b *Harness, s *Session) {
			first := s.Send(1001, ks.Key(4), next.Newkey(3))
			repeat := s.Send(1001, ks.Key(4), next.Newkey(3))
			first.GetsNow(Again)
			s.Send(1002, next.Key(2), X("a"))
			repeat.GetsNow(Empty)
			s.Send(1001, ks.Key(4), next.Newkey(3)).GetsNow(Empty)
			s.App.Reads(X("a"))
		})
	})
}
