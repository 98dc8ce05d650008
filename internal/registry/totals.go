package registry

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

// A Totals is the sum of all sessions. Those that live are asked for their counts; of
// those that have ended it knows. Each counts once, whenever it ends, so that no count
// ever falls but those of what is open, queued or unread. The zero value is ready for
// use, by several goroutines at once.
type Totals struct {
	asking sync.Mutex // held by Sum, and guards last
	last   Mark

	mu    sync.Mutex       // guards the following; nothing else is locked with it held
	sum   Counts           // of the sessions that have ended
	ended map[string]int64 // how many they are, by reason
	late  Counts           // of those that ended after round had begun, and before they were asked
	round Mark             // the Sum that is asking; 0 if none is
}

// A Mark is the last Sum that has asked a session. The session's lock guards it. Each Sum
// asks every session, so that few bits are enough.
type Mark uint16

// Ended adds a session that has ended. What it had open, queued or unread is
// over. It is called once for each session, with the session's lock held, and nobody
// asks the session after that.
func (t *Totals) Ended(n Counts, asked Mark, reason string) {
	n.Open, n.Queued, n.Unread = 0, 0, 0
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Add(n)
	if asked != t.round {
		t.late.Add(n)
	}
	if t.ended == nil {
		t.ended = make(map[string]int64)
	}
	t.ended[reason]++
}

// Add adds what comes after the end of a session.
func (t *Totals) Add(n Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Add(n)
}

// Sum returns the counts, and how many sessions ended by which reason. It has ask ask
// all sessions that have not ended: with the lock of each, that sets its Mark to the
// one it is given, and adds its counts to sum.
func (t *Totals) Sum(ask func(m Mark, sum *Counts)) (sum Counts, ended map[string]int64) {
	t.asking.Lock()
	defer t.asking.Unlock()
	if t.last++; t.last == 0 {
		t.last = 1
	}
	t.mu.Lock()
	sum, t.late, t.round = t.sum, Counts{}, t.last
	t.mu.Unlock()
	ask(t.last, &sum)
	t.mu.Lock()
	defer t.mu.Unlock()
	sum.Add(t.late)
	t.round = 0
	ended = make(map[string]int64, len(t.ended))
	maps.Copy(ended, t.ended)
	return sum, ended
}
