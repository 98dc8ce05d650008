package bosh_test

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
)

// A keyring is a key sequence: K(0) is the seed, and K(i) the SHA-1 of K(i-1).
type keyring []string

func newKeyring(seed string, n int) keyring {
	ks := keyring{seed}
	for range n {
		sum := sha1.Sum([]byte(ks[len(ks)-1]))
		ks = append(ks, hex.EncodeToString(sum[:]))
	}
	return ks
}

func (ks keyring) key(i int) string    { return "key='" + ks[i] + "'" }
func (ks keyring) newkey(i int) string { return "newkey='" + ks[i] + "'" }

// XEP-0124, section 15: key sequences.
func TestKeySequences(t *testing.T) {
	ks := newKeyring("seed", 5)
	keyed := func(t *testing.T, name string, f func(b *bench, s *session)) {
		t.Helper()
		custom(t, name, stdOptions, stdAttrs+" "+ks.newkey(5), f)
	}
	notFound := condition(bosh.ItemNotFound)

	std(t, "B15.1-1 without newkey at the creation a key is ignored", func(b *bench, s *session) {
		c := s.send(1001, "key='abc'", x("a"))
		s.app.reads(x("a"))
		c.waits()
		s.send(1002, "key='def'", x("b"))
		c.getsNow(empty)
		s.alive()
	})

	keyed(t, "B15.3-1 the SHA-1 of the key is the previous key", func(b *bench, s *session) {
		s.send(1001, ks.key(4), x("a")).waits()
		s.app.reads(x("a"))
		s.alive()
	})

	t.Run("B15.3-2 hexadecimal digits compare without regard to case", func(t *testing.T) {
		// The chain goes over the texts as they are sent: each of these is
		// the hash of the next one in the case in which that is sent.
		lower := keyring{"seed"}
		upper := keyring{"seed"}
		for i := range 4 {
			sum := sha1.Sum([]byte(upper[i]))
			lower = append(lower, hex.EncodeToString(sum[:]))
			upper = append(upper, strings.ToUpper(lower[i+1]))
		}
		custom(t, "newkey in upper case", stdOptions, stdAttrs+" "+upper.newkey(4), func(b *bench, s *session) {
			s.send(1001, upper.key(3), x("a")).waits()
			s.app.reads(x("a"))
		})
		custom(t, "newkey in lower case, keys in upper case", stdOptions, stdAttrs+" "+lower.newkey(4), func(b *bench, s *session) {
			s.send(1001, upper.key(3), x("a"))
			s.send(1002, upper.key(2), x("b")).waits()
			s.app.reads(x("a") + x("b"))
		})
	})

	keyed(t, "B15.4-1 each request is verified against the one before", func(b *bench, s *session) {
		for i, key := range []int{4, 3, 2, 1, 0} {
			s.send(int64(1001+i), ks.key(key), x("a"))
			s.app.reads(x("a"))
		}
		s.alive()
	})

	keyed(t, "B15.4-2 a key that does not match ends the session", func(b *bench, s *session) {
		s.send(1001, ks.key(3), x("a")).getsNow(notFound)
		s.app.reads("")
		s.send(1001, ks.key(4), x("a")).getsNow(notFound)
		s.gone()
	})

	keyed(t, "B15.4-2 also later on", func(b *bench, s *session) {
		held := s.send(1001, ks.key(4))
		wrong := s.send(1002, ks.key(4), x("a"))
		held.getsNow(condition(bosh.OtherRequest))
		wrong.getsNow(notFound)
		s.app.reads("")
		s.gone()
	})

	keyed(t, "B15.4-3 a missing key is a wrong one", func(b *bench, s *session) {
		s.send(1001, x("a")).getsNow(notFound)
		s.app.reads("")
		s.gone()
	})

	keyed(t, "B15.4-4 B14.2-9 the order is that of rids", func(b *bench, s *session) {
		second := s.send(1002, ks.key(3), x("b"))
		first := s.send(1001, ks.key(4), x("a"))
		first.getsNow(empty)
		second.waits()
		s.app.reads(x("a") + x("b"))
		s.send(1001, ks.key(4), x("a")).getsNow(empty)
		s.send(1003, ks.key(2), x("c"))
		second.getsNow(empty)
		s.app.reads(x("c"))
		s.alive()
	})

	keyed(t, "B15.4-4 a repeat of a held or early request consumes nothing", func(b *bench, s *session) {
		early := s.send(1002, ks.key(3), x("b"))
		earlier := s.send(1002, ks.key(3), x("b"))
		early.getsNow(again)
		held := s.send(1001, ks.key(4), x("a"))
		held.getsNow(empty)
		s.app.reads(x("a") + x("b"))
		repeat := s.send(1002, ks.key(3), x("b"))
		earlier.getsNow(again)
		s.app.writes(x("c"))
		repeat.getsNow(answer(x("c")))
		s.send(1003, ks.key(2)).waits()
		s.alive()
	})

	keyed(t, "B15.4-5 a repeat with another key learns nothing", func(b *bench, s *session) {
		c := s.send(1001, ks.key(4))
		s.app.writes(x("secret"))
		c.getsNow(answer(x("secret")))
		s.send(1001, newKeyring("thief", 1).key(1)).getsNow(notFound)
		s.gone()
	})

	keyed(t, "B15.4-5 nor does one without a key", func(b *bench, s *session) {
		c := s.send(1001, ks.key(4))
		s.app.writes(x("secret"))
		c.getsNow(answer(x("secret")))
		s.send(1001).getsNow(notFound)
		s.gone()
	})

	t.Run("B15.5-1 the last key of a sequence comes with the first of the next", func(t *testing.T) {
		next := newKeyring("another", 3)
		keyed(t, "switch", func(b *bench, s *session) {
			s.send(1001, ks.key(4), x("a"))
			s.send(1002, ks.key(3), next.newkey(3), x("b"))
			s.send(1003, next.key(2), x("c"))
			s.send(1004, next.key(1), x("d")).waits()
			s.app.reads(x("a") + x("b") + x("c") + x("d"))
		})
		keyed(t, "the old sequence is over", func(b *bench, s *session) {
			s.send(1001, ks.key(4), next.newkey(3), x("a"))
			s.send(1002, ks.key(3), x("b")).getsNow(notFound)
			s.app.reads(x("a"))
			s.gone()
		})
		keyed(t, "newkey does not excuse a wrong key", func(b *bench, s *session) {
			s.send(1001, ks.key(3), next.newkey(3)).getsNow(notFound)
			s.gone()
		})
		keyed(t, "a repeat of the switch", func(b *bench, s *session) {
			first := s.send(1001, ks.key(4), next.newkey(3))
			repeat := s.send(1001, ks.key(4), next.newkey(3))
			first.getsNow(again)
			s.send(1002, next.key(2), x("a"))
			repeat.getsNow(empty)
			s.send(1001, ks.key(4), next.newkey(3)).getsNow(empty)
			s.app.reads(x("a"))
		})
	})
}
