package monitor

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
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
	serial uint64 // in the order of the IDs
}

// serial returns the number in an ID, or 0 if there is none.
func serial(id string) uint64 {
	n, _ := strconv.ParseUint(id, 36, 64)
	return n
}

// choose returns the sessions for a query, of about so many, in its order, and corrects its page.
// Next is the ID of the last one on a page before others, if they are in the order of their IDs.
func choose[S Live](src Source[S], q *query, about int) (found []entry[S], next string) {
	if q.ID != "" {
		if s, ok := find(src.Sessions, q.ID); ok {
			found = append(found, entry[S]{s: s})
		}
		q.Page = 1
		return found, ""
	}
	found = make([]entry[S], 0, about+about/16)
	by, text, after := orderOf(q.Sort), strings.ToLower(q.Q), serial(q.After)
	for s := range src.Sessions {
		id := s.ID()
		e := entry[S]{s: s, serial: serial(id)}
		if e.serial <= after {
			continue
		}
		if text != "" || by.key != nil {
			l := src.Look(s)
			if text != "" && !matches(src, s, id, text, &l) {
				continue
			}
			if by.key != nil {
				e.key = by.key(&l)
			}
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

// matches reports whether a session matches a text in lower case: its ID, or a part of its label,
// its address or a domain.
func matches[S Live](src Source[S], s S, id, text string, l *Look) bool {
	if id == text || contains(l.Label, text) || contains(l.To, text) {
		return true
	}
	if a := s.RemoteAddr(); a != nil && contains(a.String(), text) {
		return true
	}
	return l.Several && slices.ContainsFunc(src.Streams(s), func(to string) bool { return contains(to, text) })
}

func contains(s, text string) bool {
	return strings.Contains(s, text) || strings.Contains(strings.ToLower(s), text)
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
