package main

import (
	"testing"
	"time"

	"github.com/gobosh/bosh"
)

func TestSample(t *testing.T) {
	var m meter
	now := time.UnixMilli(1_000_000)
	stats := bosh.HandlerStats{Sessions: 3, Created: 5, Ended: map[string]int64{"closed": 2}}
	stats.Requests, stats.PayloadsOut, stats.BytesOut, stats.Open = 100, 50, 5000, 3
	got := m.sample(now, stats)
	if got.Type != "sample" || got.At != 1_000_000 || got.Sessions != 3 || got.Created != 5 || got.Held != 3 || got.Ended["closed"] != 2 {
		t.Errorf("got %+v", got)
	}
	if got.Requests != 0 || got.Out != 0 {
		t.Errorf("the first sample has rates: %+v", got)
	}

	m.trace().Response(nil, bosh.ResponseInfo{Open: 2 * time.Second})
	stats.Requests, stats.PayloadsOut, stats.BytesOut, stats.Repeats, stats.PayloadsIn = 120, 51, 9000, 4, 6
	got = m.sample(now.Add(2*time.Second), stats)
	if got.Requests != 10 || got.Out != 0.5 || got.BytesOut != 2000 || got.Repeats != 2 || got.In != 3 {
		t.Errorf("rates: %+v", got)
	}
	if got.Open.N != 1 || got.Open.P50 < 1900 || got.Open.P50 > 2100 || got.Echo.N != 0 {
		t.Errorf("quantiles: %+v, %+v", got.Open, got.Echo)
	}
	if got = m.sample(now.Add(2*time.Second), stats); got.Requests != 0 {
		t.Errorf("at the same time again: %+v", got)
	}
}
