package timers

import "time"

// A queue holds owners in the order of their alarms. It is a heap: no entry is due
// before the one at half its place.
type queue[T any] struct {
	entries []entry[T]     // places count from 1
	of      func(T) *Alarm // whose place is 0 if it is not in the queue
}

type entry[T any] struct {
	at    time.Duration
	owner T
}

func (q *queue[T]) empty() bool { return len(q.entries) == 0 }

// first returns the earliest entry.
func (q *queue[T]) first() *entry[T] { return &q.entries[0] }

// put adds the owner, or moves it if it is in the queue.
func (q *queue[T]) put(owner T, at time.Duration) {
	place := int(q.of(owner).place)
	if place == 0 {
		q.entries = append(q.entries, entry[T]{})
		place = len(q.entries)
	}
	q.settle(place, entry[T]{at, owner})
}

// remove removes the owner, if it is in the queue.
func (q *queue[T]) remove(owner T) {
	a := q.of(owner)
	if a.place == 0 {
		return
	}
	n := len(q.entries)
	last := q.entries[n-1]
	q.entries[n-1] = entry[T]{}
	q.entries = q.entries[:n-1]
	if int(a.place) < n {
		q.settle(int(a.place), last)
	}
	a.place = 0
	if spare := cap(q.entries); spare > maxSpare && len(q.entries) < spare/4 {
		q.entries = append(make([]entry[T], 0, spare/2), q.entries...)
	}
}

// maxSpare is up to how many entries the room of a queue stays as large as it was.
const maxSpare = 1 << 10

// settle puts e in its place, beginning at a free one.
func (q *queue[T]) settle(place int, e entry[T]) {
	for place > 1 && e.at < q.entries[place/2-1].at {
		q.set(place, q.entries[place/2-1])
		place /= 2
	}
	for {
		next := 2 * place
		if next < len(q.entries) && q.entries[next].at < q.entries[next-1].at {
			next++
		}
		if next > len(q.entries) || e.at <= q.entries[next-1].at {
			break
		}
		q.set(place, q.entries[next-1])
		place = next
	}
	q.set(place, e)
}

func (q *queue[T]) set(place int, e entry[T]) {
	q.entries[place-1] = e
	q.of(e.owner).place = int32(place)
}
