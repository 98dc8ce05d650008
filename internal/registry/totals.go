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

// A Totals is the sum of all sessions. Live sessions are asked for their counts; it knows
// those of the ended ones. Each session counts once, whenever it ends. So no count ever
// falls, except those of open, queued and unread things. The zero value is ready for use,
// by several goroutines at once.
type Totals struct {
	asking sync.Mutex // held by Sum, and guards last
	last   Mark

	mu    sync.Mutex       // guards the following; nothing else is locked with it held
	sum   Counts           // of the sessions that have ended
	ended map[string]int64 // how many they are, by reason
	late  Counts           // of those that ended after round had begun, and before they were asked
	round Mark             // the Sum that is asking; 0 if none is
}

// A Mark is the last Sum to ask a session. The session's lock guards it. Each Sum asks
// every session, so that few bits are enough.
type Mark uint16

// Ended adds an ended session. Its open, queued and unread counts are over. It is called
// once for each session, with the session's lock held, and nobody asks the session after
// that.
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

// Add adds counts from after the end of a session.
func (t *Totals) Add(n Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Add(n)
}

// Sum returns the counts, and how many sessions ended for each reason. It calls ask to
// ask all live sessions: with the lock of each, ask sets its Mark to m, and adds its
// counts to sum.
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
