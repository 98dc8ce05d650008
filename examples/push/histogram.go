package main

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram counts durations. Its zero value is ready. A bucket is an eighth
// of a power of two of microseconds, so quantiles are right to a few percent,
// and adding one costs a single atomic operation.
type histogram struct {
	buckets [8 * 40]atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	h.buckets[min(bucket(uint64(max(0, d.Microseconds()))), len(h.buckets)-1)].Add(1)
}

// bucket returns where so many microseconds are counted.
func bucket(us uint64) int {
	if us < 8 {
		return int(us)
	}
	exp := bits.Len64(us) - 4 // us >> exp is 8 to 15
	return 8*exp + int(us>>exp)
}

// middle returns the middle of a bucket, in microseconds.
func middle(i int) float64 {
	if i < 16 {
		return float64(i)
	}
	exp := i/8 - 1
	return (float64(i-8*exp) + 0.5) * float64(uint64(1)<<exp)
}

// quantiles are those of a second, in milliseconds.
type quantiles struct {
	N   int64   `json:"n"`
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
}

// take returns the quantiles of the durations since the last call.
func (h *histogram) take() (q quantiles) {
	var counts [len(h.buckets)]int64
	for i := range h.buckets {
		counts[i] = h.buckets[i].Swap(0)
		q.N += counts[i]
	}
	var below int64
	for i, n := range counts {
		ms := math.Round(middle(i)/10) / 100
		if below < (q.N+1)/2 {
			q.P50 = ms
		}
		if below < (q.N*95+99)/100 {
			q.P95 = ms
		}
		below += n
	}
	return q
}
