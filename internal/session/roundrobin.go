package session

import "slices"

// A RoundRobin is the members of a group. Groups with several members, or ready for them,
// have a W besides. Make it by RoundRobinOf.
type RoundRobin[T comparable, W any] struct {
	one     [1]T // the only one, if several is nil
	several *several[T, W]
}

type several[T comparable, W any] struct {
	list []T
	turn int      // where the next search begins
	left []string // the names of those that have left, the last ones last
	with W
}

// maxLeft is how many names of former members are remembered.
const maxLeft = 16

// RoundRobinOf returns a RoundRobin of one member.
func RoundRobinOf[T comparable, W any](x T) RoundRobin[T, W] { return RoundRobin[T, W]{one: [1]T{x}} }

// All returns the members. It is not to be changed, and good until the next change.
func (r *RoundRobin[T, W]) All() []T {
	if r.several != nil {
		return r.several.list
	}
	return r.one[:]
}

// Several makes the group ready for several members, and returns its W.
func (r *RoundRobin[T, W]) Several() *W {
	if r.several == nil {
		r.several = &several[T, W]{list: []T{r.one[0]}}
		clear(r.one[:])
	}
	return &r.several.with
}

// With returns the W of a group ready for several members, or else nil.
func (r *RoundRobin[T, W]) With() *W {
	if r.several == nil {
		return nil
	}
	return &r.several.with
}

// Add adds a member.
func (r *RoundRobin[T, W]) Add(x T) {
	r.Several()
	r.several.list = append(r.several.list, x)
}

// Remove removes a member by its name.
func (r *RoundRobin[T, W]) Remove(x T, name string) {
	r.Several()
	s := r.several
	s.list = slices.DeleteFunc(s.list, func(y T) bool { return x == y })
	s.left = append(s.left, name)
	if len(s.left) > maxLeft {
		s.left = slices.Delete(s.left, 0, 1)
	}
}

// Left reports whether one of that name was removed lately.
func (r *RoundRobin[T, W]) Left(name string) bool {
	return r.several != nil && slices.Contains(r.several.left, name)
}

// Next returns the next member in turn for which ready is true, if there is one. It will
// have its next turn after all others.
func (r *RoundRobin[T, W]) Next(ready func(T) bool) (x T, ok bool) {
	s := r.several
	if s == nil {
		return r.one[0], ready(r.one[0])
	}
	for i := range s.list {
		n := (s.turn + i) % len(s.list)
		if ready(s.list[n]) {
			s.turn = n + 1
			return s.list[n], true
		}
	}
	return x, false
}

// Resume has a group go on that another one has begun.
func (r *RoundRobin[T, W]) Resume(turn int, left []string) {
	r.Several()
	r.several.turn, r.several.left = turn, left
}

// Begun returns what Resume takes, of a group that is ready for several members.
func (r *RoundRobin[T, W]) Begun() (turn int, left []string) { return r.several.turn, r.several.left }
