package monitor

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// compareIDs orders IDs as their sessions began: they are numbers without
// leading zeros, and the digits are in the order of their bytes.
func compareIDs(a, b string) int {
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// following returns the first n sessions after the one with an ID, in the
// order of their IDs, and whether there are more. It keeps no more than n + 1,
// however many there are.
func following[S Live](all iter.Seq[S], after string, n int) (first []S, more bool) {
	byID := func(a, b S) int { return compareIDs(a.ID(), b.ID()) }
	for s := range all {
		if compareIDs(s.ID(), after) <= 0 || len(first) > n && byID(s, first[n]) >= 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(first, s, byID)
		first = slices.Insert(first, i, s)
		first = first[:min(len(first), n+1)]
	}
	if len(first) > n {
		return first[:n], true
	}
	return first, false
}

// find returns the session with an ID.
func find[S Live](all iter.Seq[S], id string) (s S, ok bool) {
	for s := range all {
		if s.ID() == id {
			return s, true
		}
	}
	return s, false
}
