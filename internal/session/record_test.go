package session

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The buffer of an answer is used again when the answer is forgotten, if nobody else
// can have it.
func TestRoom(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(r *record)
		size int
		want bool
	}{
		"written":           {func(r *record) { r.State = Written }, 100, true},
		"not written":       {func(*record) {}, 100, false},
		"repeated":          {func(r *record) { r.State, r.Repeats = Written, 1 }, 100, false},
		"without a payload": {func(r *record) { r.State, r.Payload = Written, false }, 100, false},
		"large":             {func(r *record) { r.State = Written }, maxRoom + 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWindow[place, held](1, 2)
			body := make([]byte, test.size)
			for rid := int64(1); rid <= 4; rid++ {
				w.Insert(record{Rid: rid, Sum: 1, Exchange: new(place)})
				w.Take()
				w.Answer(rid, body, true, 0)
				test.set(w.Find(rid))
				body = make([]byte, test.size)
			}
			r := w.Insert(record{Rid: 5, Sum: 1})
			assert.Empty(t, r.Body)
			assert.Equal(t, test.want, cap(r.Body) > 0)
			assert.Equal(t, cap(w.records)*recordSize+2*test.size, w.Weight())
			assert.LessOrEqual(t, cap(w.records), 4)
		})
	}
}

// However many answers are forgotten, one buffer is kept.
func TestRooms(t *testing.T) {
	w := NewWindow[place, held](1, 1)
	w.Keep, w.Limit = true, 1<<20
	for rid := int64(1); rid <= 50; rid++ {
		w.Insert(record{Rid: rid, Sum: 1})
		w.Take()
		w.Answer(rid, make([]byte, 100), true, 0)
		w.Find(rid).State = Written
	}
	w.acked = 50
	w.trim()
	rooms := 0
	for _, r := range w.records[:cap(w.records)][len(w.records):] {
		if r.Body != nil {
			rooms++
		}
	}
	assert.Equal(t, 1, rooms)
}

// Where repeats have no limit there may be more than fit in Repeats. The buffer of the
// answer stays with those who have it.
func TestManyRepeats(t *testing.T) {
	r := record{State: Written, Payload: true, Body: make([]byte, 100)}
	for range 1 << 16 {
		r.Repeat()
		if r.room() != nil {
			t.Fatal(r.Repeats)
		}
	}
	assert.Equal(t, math.MaxInt16, r.Repeat())
}

func TestWrote(t *testing.T) {
	body, like := make([]byte, 7), make([]byte, 7)
	for _, test := range []struct {
		state, want State
		wrote       []byte
	}{
		{Answered, Written, body},
		{Written, Written, body},
		{Answered, Answered, like},
		{Answered, Answered, nil},
		{Open, Open, body},
		{Written, Written, like},
	} {
		for _, payload := range []bool{false, true} {
			r := record{State: test.state, Body: body, Payload: payload}
			mine := len(test.wrote) > 0 && &test.wrote[0] == &body[0] && test.state != Open
			assert.Equal(t, payload && mine, r.Wrote(test.wrote))
			assert.Equal(t, test.want, r.State)
		}
	}
	assert.NotPanics(t, func() { new(record).Wrote(body) })
}
