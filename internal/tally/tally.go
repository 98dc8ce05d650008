// Package tally counts what sessions have done.
package tally

import (
	"maps"
	"sync"
)

// Counts are those of one session or of several. The fields are those of the
// root package's SessionStats, so that one converts to the other.
type Counts struct {
	Requests    int64 `json:"requests"`
	Repeats     int64 `json:"repeats"`
	PayloadsIn  int64 `json:"payloadsIn"`
	PayloadsOut int64 `json:"payloadsOut"`
	BytesIn     int64 `json:"bytesIn"`
	BytesOut    int64 `json:"bytesOut"`
	Open        int   `json:"open"`
	Queued      int   `json:"queued"`
	Unread      int   `json:"unread"`
}

// Add adds the counts of another one.
func (n *Counts) Add(m Counts) {
	n.Requests += m.Requests
	n.Repeats += m.Repeats
	n.PayloadsIn += m.PayloadsIn
	n.PayloadsOut += m.PayloadsOut
	n.BytesIn += m.BytesIn
	n.BytesOut += m.BytesOut
	n.Open += m.Open
	n.Queued += m.Queued
	n.Unread += m.Unread
}

// A Tally is the sum of the sessions that have ended. The zero value is ready
// for use, by several goroutines at once.
type Tally struct {
	mu    sync.Mutex       // guards the following
	sum   Counts           // of what stays
	ended map[string]int64 // how many ended, by reason
}

// Ended adds a session that has ended. What it had open, queued or unread is
// over.
func (t *Tally) Ended(n Counts, reason string) {
	n.Open, n.Queued, n.Unread = 0, 0, 0
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Add(n)
	if t.ended == nil {
		t.ended = make(map[string]int64)
	}
	t.ended[reason]++
}

// Sum returns the counts, and how many sessions ended by which reason.
func (t *Tally) Sum() (sum Counts, ended map[string]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended = make(map[string]int64, len(t.ended))
	maps.Copy(ended, t.ended)
	return t.sum, ended
}
