package monitor

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// oldest is the order with the earliest beginning first, the default of a query.
const oldest = "age"

// An order is a possible order for a query: the most of something first.
type order struct {
	name, title string
	key         func(*Look) int64 // nil if the IDs tell
}

var orders = []order{
	{oldest, "oldest first", nil},
	{"new", "newest first", nil},
	{"last", "longest without a request", func(l *Look) int64 { return int64(l.Last) }},
	{"queued", "most queued", func(l *Look) int64 { return int64(l.Queued) }},
	{"unread", "most unread", func(l *Look) int64 { return int64(l.Unread) }},
	{"repeats", "most repeats", func(l *Look) int64 { return l.Repeats }},
}

func orderOf(name string) order {
	for _, o := range orders {
		if o.name == name {
			return o
		}
	}
	return orders[0]
}

// sorted reports whether an order has that name.
func sorted(name string) bool { return orderOf(name).name == name }

// pages returns how many pages n sessions take.
func pages(n int) int { return max((n+pageSize-1)/pageSize, 1) }

// An entry is a found session.
type entry[S Live] struct {
	s      S
	key    int64
	serial int64
}

// serial returns the number in an ID, or 0 if there is none.
func serial(id string) int64 {
	n, err := strconv.ParseInt(id, 36, 64)
	if err != nil || strconv.FormatInt(n, 36) != id {
		return 0
	}
	return n
}

// choose returns the sessions for a query, in its order, and corrects its page.
// Next is the ID of the last one on a page before others, if they are in the order of their IDs.
func choose[S Live](src Source[S], q *query) (found []entry[S], next string) {
	if q.ID != "" {
		if s, ok := find(src, q.ID); ok {
			found = append(found, entry[S]{s: s})
		}
		q.Page = 1
		return found, ""
	}
	by, text, after := orderOf(q.Sort), strings.ToLower(q.Q), serial(q.After)
	named := serial(text)
	var l Look
	for s := range src.Sessions {
		e := entry[S]{s: s, serial: src.Serial(s)}
		if e.serial <= after {
			continue
		}
		if text != "" && e.serial != named && !matches(src, s, text) {
			continue
		}
		if by.key != nil {
			l = src.Look(s)
			e.key = by.key(&l)
		}
		found = append(found, e)
	}
	youngest := by.name == "new"
	slices.SortFunc(found, func(a, b entry[S]) int {
		c := cmp.Compare(b.key, a.key)
		switch {
		case c != 0:
			return c
		case youngest:
			return cmp.Compare(b.serial, a.serial)
		}
		return cmp.Compare(a.serial, b.serial)
	})
	q.Page = min(q.Page, pages(len(found)))
	if last := q.Page * pageSize; by.name == oldest && last < len(found) {
		next = found[last-1].s.ID()
	}
	return found, next
}

// matches reports whether a text in lower case is a part of a session's label, its address or a
// domain.
func matches[S Live](src Source[S], s S, text string) bool {
	n := src.Names(s)
	if contains(n.Label, text) || contains(n.To, text) || contains(src.Remote(s), text) {
		return true
	}
	return n.Several && slices.ContainsFunc(src.Streams(s), func(to string) bool { return contains(to, text) })
}

// contains reports whether s has a text in lower case. It makes no copy of s if it is ASCII.
func contains(s, text string) bool {
	upper := false
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return strings.Contains(strings.ToLower(s), text)
		}
		upper = upper || lower(s[i]) != s[i]
	}
	if !upper {
		return strings.Contains(s, text)
	}
	for i := range len(s) - len(text) + 1 {
		n := 0
		for n < len(text) && lower(s[i+n]) == text[n] {
			n++
		}
		if n == len(text) {
			return true
		}
	}
	return false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// find returns the session with an ID.
func find[S Live](src Source[S], id string) (s S, ok bool) {
	if n := serial(id); n > 0 {
		for s := range src.Sessions {
			if src.Serial(s) == n {
				return s, true
			}
		}
	}
	return s, false
}
