package session

import "testing"

// BenchmarkWindow is the way of one request through a window: its rid is
// judged, it takes its turn, and it is answered.
func BenchmarkWindow(b *testing.B) {
	w := NewWindow[place, held](1, 2)
	w.Keep = true
	body := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		rid := w.last + 1
		if w.Classify(rid, false) != Turn {
			b.Fatal("not its turn")
		}
		w.Insert(record{Rid: rid})
		w.Take()
		w.acked = rid - 1
		w.Answer(rid, body, true, 0)
	}
}
