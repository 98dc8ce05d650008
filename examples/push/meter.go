package main

import (
	"math"
	"time"

	"github.com/gobosh/bosh"
)

// A meter makes samples of a handler.
type meter struct {
	open histogram // how long requests stay open
	echo histogram // round trips of payloads, as the clients of the load see them

	last   bosh.HandlerStats
	lastAt time.Time
}

// trace returns the hooks of the meter.
func (m *meter) trace() *bosh.Trace {
	return &bosh.Trace{
		Response: func(_ *bosh.Session, r bosh.ResponseInfo) { m.open.add(r.Open) },
	}
}

// A sample is a point in the page's drawing. Rates are per second, and
// quantiles those since the last sample.
type sample struct {
	Type     string           `json:"type"` // "sample"
	At       int64            `json:"at"`   // in milliseconds since 1970
	Sessions int64            `json:"sessions"`
	Created  int64            `json:"created"`
	Held     int              `json:"held"`
	Queued   int              `json:"queued"`
	Requests float64          `json:"requests"`
	Repeats  float64          `json:"repeats"`
	In       float64          `json:"in"`
	Out      float64          `json:"out"`
	BytesIn  float64          `json:"bytesIn"`
	BytesOut float64          `json:"bytesOut"`
	Open     quantiles        `json:"open"`
	Echo     quantiles        `json:"echo"`
	Ended    map[string]int64 `json:"ended"`
	Running  []string         `json:"running"` // loads
}

// sample returns the events since the last call.
func (m *meter) sample(now time.Time, stats bosh.HandlerStats) sample {
	was, seconds := m.last, now.Sub(m.lastAt).Seconds()
	if m.lastAt.IsZero() {
		was, seconds = stats, 1
	}
	m.last, m.lastAt = stats, now
	rate := func(now, was int64) float64 {
		if seconds <= 0 {
			return 0
		}
		return math.Round(float64(now-was)/seconds*100) / 100 // people read this on the wire
	}
	return sample{
		Type:     "sample",
		At:       now.UnixMilli(),
		Sessions: stats.Sessions,
		Created:  stats.Created,
		Held:     stats.Open,
		Queued:   stats.Queued,
		Requests: rate(stats.Requests, was.Requests),
		Repeats:  rate(stats.Repeats, was.Repeats),
		In:       rate(stats.PayloadsIn, was.PayloadsIn),
		Out:      rate(stats.PayloadsOut, was.PayloadsOut),
		BytesIn:  rate(stats.BytesIn, was.BytesIn),
		BytesOut: rate(stats.BytesOut, was.BytesOut),
		Open:     m.open.take(),
		Echo:     m.echo.take(),
		Ended:    stats.Ended,
	}
}
