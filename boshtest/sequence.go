package boshtest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// NSNumber is the namespace of the elements of [Numbered].
const NSNumber = "urn:bosh:boshtest"

// Numbered returns an element with a number, and with fill bytes of text.
func Numbered(n, fill int) []byte {
	b := make([]byte, 0, 64+fill)
	b = append(b, "<n xmlns='"+NSNumber+"' n='"...)
	b = strconv.AppendInt(b, int64(n), 10)
	if fill <= 0 {
		return append(b, "'/>"...)
	}
	b = append(b, "'>"...)
	for i := range fill {
		b = append(b, "abcdefghijklmnopqrstuvwxyz"[i%26])
	}
	return append(b, "</n>"...)
}

// Number returns the number of an element from [Numbered], also if a server has
// changed its namespace declarations, quotes or order of attributes.
func Number(element []byte) (n int, ok bool) {
	end := bytes.IndexByte(element, '>')
	i := bytes.Index(element, []byte(" n="))
	if i < 0 || end < i+len(" n='") {
		return 0, false
	}
	value := element[i+len(" n=") : end]
	j := bytes.IndexByte(value[1:], value[0])
	if j < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(string(value[1 : 1+j]))
	return n, err == nil
}

// A Sequence checks that the numbers 0, 1, 2, … arrive exactly once and in
// order. Its zero value is ready, and its methods may be called at the same
// time.
type Sequence struct {
	mu sync.Mutex
	// Protects following.
	want    int // one more than the highest number so far
	got     int
	missing map[int]bool // those below want
	twice   []int
	late    []int
}

// Got takes an arrived number. It reports whether it was the expected one.
func (s *Sequence) Got(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got++
	if n == s.want {
		s.want++
		return true
	}
	switch {
	case n > s.want:
		if s.missing == nil {
			s.missing = make(map[int]bool)
		}
		for ; s.want < n; s.want++ {
			s.missing[s.want] = true
		}
		s.want++
	case s.missing[n]:
		delete(s.missing, n)
		s.late = append(s.late, n)
	default:
		s.twice = append(s.twice, n)
	}
	return false
}

// Count returns how many numbers have arrived.
func (s *Sequence) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

// Check returns an error unless the numbers below n have arrived exactly once
// and in order, and no others. It names the lost, doubled and late ones.
func (s *Sequence) Check(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []string
	say := func(what string, numbers []int) {
		if len(numbers) == 0 {
			return
		}
		text := fmt.Sprintf("%d %s: %d", len(numbers), what, numbers[:min(len(numbers), 10)])
		if len(numbers) > 10 {
			text += " and more"
		}
		faults = append(faults, text)
	}
	var lost []int
	for i := range n {
		if i >= s.want || s.missing[i] {
			lost = append(lost, i)
		}
	}
	say("lost", lost)
	say("twice", s.twice)
	say("late", s.late)
	if s.want > n {
		faults = append(faults, fmt.Sprintf("%d is beyond %d", s.want-1, n-1))
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("boshtest: of %d numbers: %s", n, strings.Join(faults, "; "))
}
