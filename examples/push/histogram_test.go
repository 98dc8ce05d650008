package main

import (
	"math"
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	last := -1
	for us := range uint64(1 << 20) {
		i := bucket(us)
		if i != last && i != last+1 {
			t.Fatalf("%d µs: bucket %d after %d", us, i, last)
		}
		last = i
		if got := middle(i); math.Abs(got-float64(us)) > float64(us)/15+0.5 {
			t.Fatalf("%d µs count as %g", us, got)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var h histogram
	if q := h.take(); q != (quantiles{}) {
		t.Errorf("of nothing: %+v", q)
	}
	for ms := range 100 {
		h.add(time.Duration(ms+1) * time.Millisecond)
	}
	q := h.take()
	if q.N != 100 || math.Abs(q.P50-50) > 4 || math.Abs(q.P95-95) > 7 {
		t.Errorf("of 1 to 100 ms: %+v", q)
	}
	if q := h.take(); q != (quantiles{}) {
		t.Errorf("left: %+v", q)
	}
	h.add(-time.Second)
	h.add(1 << 62)
	if q := h.take(); q.N != 2 || q.P50 != 0 || q.P95 < 1e9 {
		t.Errorf("of extremes: %+v", q)
	}
	h.add(7 * time.Millisecond)
	if q := h.take(); q.P50 != q.P95 || math.Abs(q.P50-7) > 0.5 {
		t.Errorf("of one: %+v", q)
	}
}
