package bosh

import "testing"

// BenchmarkWindow is the way of one request through a window: its rid is
// judged, it takes its turn, and it is answered.
func BenchmarkWindow(b *testing.B) {
	w := newWindow(1, 2)
	w.keep = true
	body := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		rid := w.last + 1
		if w.classify(rid, false) != ridTurn {
			b.Fatal("not its turn")
		}
		w.insert(record{rid: rid})
		w.take()
		w.acked = rid - 1
		w.answer(rid, body, true, 0)
	}
}
