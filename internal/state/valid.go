package state

import "time"

// longest is the longest time that client and server can agree on.
const longest = (1<<16 - 1) * time.Second

// valid reports whether s can be a session: numbers that would not fit together, and
// texts that go out as they are. What another process says of the application's data is
// believed.
func (s *Session) valid() bool {
	g := &s.Grant
	switch {
	case !isSID(s.SID) || len(s.Streams) == 0 || len(s.Streams) > 1<<10:
		return false
	case max(g.Wait, g.Inactivity, g.Polling, g.Pause) > longest || g.Requests <= g.Hold:
		return false
	case !isPlain(g.Ver) || !isPlain(g.Content) || len(g.Ver) > 16 || len(g.Content) > 128:
		return false
	case s.Company == nil && len(s.Streams) > 1 || s.Company != nil && !s.Company.valid(len(s.Streams)):
		return false
	}
	for i := range s.Streams {
		if !s.Streams[i].valid() {
			return false
		}
	}
	return s.Window.valid(g.Requests, len(s.Streams))
}

func (c *Company) valid(streams int) bool {
	for _, name := range c.Left {
		if !isName(name) {
			return false
		}
	}
	return c.Turn <= streams+1 && len(c.Left) <= 1<<8
}

func (st *Stream) valid() bool {
	end := 0
	for _, m := range st.Marks {
		if m.End <= end { // no element is empty
			return false
		}
		end = m.End
	}
	if st.Cut != nil && (st.Cut.Root == "" || len(st.Cut.Bindings) > 1<<8) {
		return false
	}
	return isName(st.Name) && int64(st.Foreign) <= st.Count && (len(st.Out) == 0) == (st.Count == 0)
}

// valid checks the window of a session that may have so many requests open.
func (w *Window) valid(requests, streams int) bool {
	before := int64(0)
	for i := range w.Records {
		r := &w.Records[i]
		switch {
		case r.Rid <= before || r.Opener > streams:
			return false
		case r.State == Early && (r.Rid <= w.Last+1 || r.Rid > w.Last+int64(requests)+1):
			return false
		case r.State != Early && r.Rid > w.Last:
			return false
		case r.State == Answered && len(r.Body) == 0 || r.Lost != nil && r.Lost.Rid >= r.Rid:
			return false
		}
		before = r.Rid
	}
	return w.Last > 0 && w.Acked <= w.Last
}

// isSID reports whether s is a sid as a Handler makes it, which may end in the name of a
// node.
func isSID(s string) bool {
	if len(s) < 16 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !letter(c) && (c < 'a' || c > 'z') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// isName reports whether s is the name of a stream as a Handler makes it, or none.
func isName(s string) bool {
	for i := range len(s) {
		if !letter(s[i]) {
			return false
		}
	}
	return len(s) <= 64
}

func letter(c byte) bool { return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' }

// isPlain reports whether s is fit for a header, and there is something.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
