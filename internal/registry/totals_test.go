package registry

import (
	"reflect"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Add leaves no field out.
func TestAdd(t *testing.T) {
	var n, m Counts
	v := reflect.ValueOf(&m).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(int64(i + 1))
	}
	n.Add(m)
	assert.Equal(t, m, n)
	n.Add(m)
	w := reflect.ValueOf(n)
	for i := range w.NumField() {
		assert.EqualValues(t, 2*(i+1), w.Field(i).Int(), w.Type().Field(i).Name)
	}
}

// A session is what a Totals counts.
type session struct {
	mu    sync.Mutex
	n     Counts
	asked Mark
	over  bool
}

func (s *session) end(t *Totals, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	t.Ended(s.n, s.asked, reason)
}

func (s *session) ask(m Mark, sum *Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.asked = m
		sum.Add(s.n)
	}
}

func TestTally(t *testing.T) {
	var a Totals
	nobody := func(Mark, *Counts) {}
	sum, ended := a.Sum(nobody)
	assert.Zero(t, sum)
	assert.Equal(t, map[string]int64{}, ended)
	a.Ended(Counts{Requests: 3, BytesIn: 4, Open: 1, Queued: 1, Unread: 1}, 0, "closed")
	a.Ended(Counts{Requests: 1, Queued: 5}, 0, "inactive")
	a.Ended(Counts{}, 0, "closed")
	a.Add(Counts{BytesOut: 2})
	sum, ended = a.Sum(nobody)
	assert.Equal(t, Counts{Requests: 4, BytesIn: 4, BytesOut: 2}, sum)
	assert.Equal(t, map[string]int64{"closed": 2, "inactive": 1}, ended)
	ended["closed"] = 9
	_, ended = a.Sum(nobody)
	assert.EqualValues(t, 2, ended["closed"], "the map is the caller's")
}

// Whenever a session ends while others are asked, it counts once.
func TestEndsWhileAsked(t *testing.T) {
	for _, end := range []string{"before", "early", "late", "behind", "never"} {
		t.Run(end, func(t *testing.T) {
			var a Totals
			s, other := &session{n: Counts{Requests: 10, Open: 1}}, &session{n: Counts{Requests: 1}}
			sum := func(end string) int64 {
				at := func(when string) {
					if end == when {
						s.end(&a, "closed")
					}
				}
				at("before")
				sum, _ := a.Sum(func(m Mark, sum *Counts) {
					other.ask(m, sum)
					at("early")
					s.ask(m, sum)
					at("late")
				})
				at("behind")
				return sum.Requests
			}
			for range 3 {
				assert.EqualValues(t, 11, sum(""))
			}
			assert.EqualValues(t, 11, sum(end))
			for range 3 {
				assert.EqualValues(t, 11, sum(""))
			}
		})
	}
}

// One Sum asks at a time, and no mark is that of a session never asked.
func TestMarks(t *testing.T) {
	a := Totals{last: 1<<16 - 2}
	var marks []Mark
	for range 3 {
		a.Sum(func(m Mark, _ *Counts) { marks = append(marks, m) })
	}
	assert.Equal(t, []Mark{1<<16 - 1, 1, 2}, marks)
}
