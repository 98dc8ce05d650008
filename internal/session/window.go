// Package session has the machine of a BOSH session, without lock, clock or HTTP: the
// window of request ids, with answers kept for repeats, acks and keys; the grant at the
// creation; and the turns of several streams.
package session

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"time"

	"github.com/gobosh/bosh/internal/replay"
	"github.com/gobosh/bosh/internal/wire"
)

// A Window is the request-id arithmetic of one session. It tells new, early, repeated and
// invalid rids apart, keeps answers, and expects keys. It is a plain value without clock,
// lock or I/O. XEP-0124, sections 9.2, 14 and 15.
type Window[X, H any] struct {
	Limit int32 // bytes of answers kept beyond the last size, for a client that acknowledges
	Keep  bool  // the client acknowledges: answers are kept until it does

	empty   bool           // the last request was empty
	beyond  bool           // the last request was allowed one place more
	size    int16          // R, how many requests the client may have unanswered
	last    int64          // end of the gapless sequence received
	arrived time.Duration  // when that one came
	records []Record[X, H] // by rid, ascending; answers kept and requests open or early
	acked   int64          // all answers up to this rid have been acknowledged
	next    *string        // what the SHA-1 of the next key must be; nil if there are no keys
}

// NewWindow returns the Window of a session with the first request rid, whose client may
// have size of them unanswered.
func NewWindow[X, H any](rid int64, size int) Window[X, H] {
	return Window[X, H]{last: rid - 1, size: int16(size), acked: rid - 1, records: make([]Record[X, H], 0, 1)}
}

// Last returns the end of the gapless sequence of requests received.
func (w *Window[X, H]) Last() int64 { return w.last }

// Weight returns the size of all kept data, about.
func (w *Window[X, H]) Weight() int {
	n := cap(w.records) * recordSize
	for i := range w.records {
		n += w.records[i].burden()
	}
	return n
}

// Records returns the kept records, by rid, ascending. It is good until the next Insert,
// Take, Answer, Ack or Abandon.
func (w *Window[X, H]) Records() []Record[X, H] { return w.records }

// A Verdict is a window's judgement of a rid.
type Verdict uint8

const (
	Turn   Verdict = iota // the next one
	Ahead                 // acceptable, but a lower one is missing
	Repeat                // received before, and known
	Gone                  // received before, and forgotten
	Beyond                // above the window
)

// Classify judges a rid. A request for a pause or for the end is allowed one place more
// (extra).
func (w *Window[X, H]) Classify(rid int64, extra bool) Verdict {
	top := w.last + int64(w.size)
	if extra {
		top++
	}
	switch {
	case rid > min(top, MaxRid):
		return Beyond
	case w.Find(rid) != nil:
		return Repeat
	case rid <= w.last:
		return Gone
	case rid == w.last+1:
		return Turn
	}
	return Ahead
}

// Find returns the record of rid, or nil. It is good as long as Records
// is.
func (w *Window[X, H]) Find(rid int64) *Record[X, H] {
	for i := len(w.records) - 1; i >= 0 && w.records[i].Rid >= rid; i-- {
		if w.records[i].Rid == rid {
			return &w.records[i]
		}
	}
	return nil
}

// Insert adds the record of a new rid, in order.
func (w *Window[X, H]) Insert(r Record[X, H]) *Record[X, H] {
	if !r.creates() {
		w.forgetCreation()
	}
	i := len(w.records)
	if i < cap(w.records) {
		r.Body = w.records[:i+1][i].Body
	}
	w.records = append(w.records, Record[X, H]{})
	for i > 0 && w.records[i-1].Rid > r.Rid {
		w.records[i] = w.records[i-1]
		i--
	}
	w.records[i] = r
	return &w.records[i]
}

// forgetCreation forgets the creation request, and its answer: a second request proves the
// client's receipt of the sid.
func (w *Window[X, H]) forgetCreation() {
	if len(w.records) > 0 && w.records[0].creates() && w.records[0].State >= Answered {
		w.remove(0)
	}
}

// Turn returns the record in turn, if it has been received.
func (w *Window[X, H]) Turn() *Record[X, H] {
	if r := w.Find(w.last + 1); r != nil && r.State == Early {
		return r
	}
	return nil
}

// Gap reports whether a request waits for a missing one, and since when.
func (w *Window[X, H]) Gap() (since time.Duration, ok bool) {
	for i := len(w.records) - 1; i >= 0 && w.records[i].State == Early; i-- {
		if at := w.records[i].At; !ok || at < since {
			since, ok = at, true
		}
	}
	return since, ok
}

// Take gives the next request its turn. Superfluous records go.
func (w *Window[X, H]) Take() *Record[X, H] {
	r := w.Find(w.last + 1)
	r.State, r.Early = Open, nil
	w.last, w.arrived, w.empty, w.beyond = r.Rid, r.At, r.Empty, r.extra()
	w.trim()
	return w.Find(w.last)
}

// Overactive applies the rules on frequency to r, the request in turn. If the session
// polls, two empty requests may not follow each other within the interval polling, unless
// the answer to the first had payloads. In other sessions the last allowed request may not
// be empty and follow its predecessor so soon. If it opens more than allowed, only an extra
// one is excused. A request ahead of its predecessor is not soon: nobody can tell the
// predecessor's delay. XEP-0124, sections 11 and 12.
func (w *Window[X, H]) Overactive(r *Record[X, H], polling time.Duration, polls, extra bool) bool {
	soon := r.Empty && r.At >= w.arrived && r.At-w.arrived < polling
	if polls && soon && w.empty {
		if before := w.Find(r.Rid - 1); before != nil && before.State >= Answered && !before.Payload {
			return true
		}
	}
	if r.Exchange == nil {
		return false
	}
	_, n := w.OldestLive()
	switch n++; {
	case n > int(w.size):
		return !extra
	case n == int(w.size):
		return soon && !polls
	}
	return false
}

// Share is Answer for a body with shared payloads.
func (w *Window[X, H]) Share(rid int64, body []byte, now time.Duration) {
	w.Find(rid).Shared = true
	w.Answer(rid, body, true, now)
}

// Answer keeps body as the answer to the open request rid. With payload, nobody else may
// keep it but its writer.
func (w *Window[X, H]) Answer(rid int64, body []byte, payload bool, now time.Duration) {
	r := w.Find(rid)
	r.State, r.Body, r.Payload, r.At = Answered, body, payload, now
	r.Exchange, r.Held, r.Release = nil, *new(H), false
	w.trim()
}

// trim forgets superfluous answers: all but the last size, and, for a client with acks, the
// acknowledged ones and those beyond the limit. An answer to an extra request takes none of
// these places, but its late repeat is no reason to end the session.
func (w *Window[X, H]) trim() {
	n, kept, bytes := len(w.records), 0, 0
	passed := w.Passed()
	for i := n - 1; i >= 0; i-- {
		r := &w.records[i]
		if r.State < Answered {
			continue
		}
		if r.extra() {
			if r.Rid <= passed {
				w.remove(i)
			}
			continue
		}
		if kept++; kept <= int(w.size) {
			continue
		}
		if bytes += r.weight(); r.Shared {
			bytes += len(r.Body)
		}
		if !w.Keep || r.Rid <= w.acked || bytes > int(w.Limit) {
			w.remove(i)
		}
	}
}

// remove forgets a record. Its room is left behind the last one, for the next one.
func (w *Window[X, H]) remove(i int) {
	n := len(w.records) - 1
	room := w.records[i].room()
	copy(w.records[i:], w.records[i+1:])
	clear(w.records[n:min(n+2, cap(w.records))])
	w.records[n].Body = room
	w.records = w.records[:n]
}

// Ack takes note of the ack of the request rid, or of its absence. The absence has a
// meaning if the client acknowledges. It returns the answer lost by the client, as it
// seems, or nil. Senseless acks are ignored.
func (w *Window[X, H]) Ack(rid int64, ack wire.Number) (lost *Record[X, H]) {
	n := rid - 1
	if ack.Set {
		n = ack.N
		if !ack.OK || n < 1 || n >= rid {
			return nil
		}
	} else if !w.Keep {
		return nil
	}
	// Only given answers can have arrived.
	for i := range w.records {
		if r := &w.records[i]; r.Rid <= n && r.State < Answered {
			n = r.Rid - 1
		}
	}
	if ack.Set && n < ack.N {
		return nil // it acknowledges an answer that was never given
	}
	w.acked = max(w.acked, n)
	w.trim()
	if ack.Set {
		if r := w.Find(ack.N + 1); r != nil && r.State >= Answered {
			return r
		}
	}
	return nil
}

// proven returns the highest rid whose answer the client has beyond doubt: by its ack, or
// by a request impossible without it.
func (w *Window[X, H]) proven() int64 { return max(w.acked, w.Passed()) }

// Passed returns the highest rid that must have been answered for the client to send its
// last request.
func (w *Window[X, H]) Passed() int64 {
	n := w.last - int64(w.size)
	if w.beyond {
		n--
	}
	return n
}

// InDoubt reports whether answers with payloads may still be on their way to the client,
// besides the one to rid. The answer to the creation is none: a second request proves its
// receipt.
func (w *Window[X, H]) InDoubt(rid int64) bool {
	proven := w.proven()
	for i := range w.records {
		if r := &w.records[i]; r.doubted(proven) && r.Rid != rid && !r.creates() {
			return true
		}
	}
	return false
}

// doubted reports whether the client may lack the answer to r, one with payloads. Up to the
// rid proven it has all of them.
func (r *Record[X, H]) doubted(proven int64) bool { return r.Payload && r.Rid > proven && !r.seen }

// Unproven returns the answers with payloads without proof of their arrival.
func (w *Window[X, H]) Unproven() (bodies [][]byte) {
	proven := w.proven()
	for i := range w.records {
		if r := &w.records[i]; r.doubted(proven) {
			bodies = append(bodies, r.Body)
		}
	}
	return bodies
}

// Doubtful returns the amount of a stream's output in unproven answers, or behind them.
// With the stream's serial number it takes the output of no other.
func (w *Window[X, H]) Doubtful(of uint16) (n int64) {
	proven := w.proven()
	for i := range w.records {
		if r := &w.records[i]; r.Of == of && r.Payload && (n > 0 || r.doubted(proven)) {
			n += int64(r.Load)
		}
	}
	return n
}

// Prove takes note of outside proof for the answer to rid. It reports whether the proof is
// new.
func (w *Window[X, H]) Prove(rid int64) bool {
	r := w.Find(rid)
	if r == nil || r.State < Answered || !r.doubted(w.proven()) {
		return false
	}
	r.seen = true
	return true
}

// Oldest returns the lowest open request, and how many open ones there are.
func (w *Window[X, H]) Oldest() (r *Record[X, H], n int) {
	for i := range w.records {
		if w.records[i].State == Open {
			if n++; n == 1 {
				r = &w.records[i]
			}
		}
	}
	return r, n
}

// OldestLive returns the lowest open request with a connection, and the number of such
// requests.
func (w *Window[X, H]) OldestLive() (r *Record[X, H], n int) {
	for i := range w.records {
		if x := &w.records[i]; x.State == Open && x.Exchange != nil {
			if n++; n == 1 {
				r = x
			}
		}
	}
	return r, n
}

// Release has all open requests below rid answered at once.
func (w *Window[X, H]) Release(rid int64) {
	for i := range w.records {
		if r := &w.records[i]; r.State == Open && r.Rid < rid {
			r.Release = true
		}
	}
}

// Answers appends the kept answers to as.
func (w *Window[X, H]) Answers(as []replay.Answer) []replay.Answer {
	for i := range w.records {
		if r := &w.records[i]; r.State >= Answered {
			a := replay.Answer{Rid: r.Rid, Sum: r.Sum, Body: r.Body}
			if r.Key != nil {
				a.Key = *r.Key
			}
			as = append(as, a)
		}
	}
	return as
}

// Abandon forgets all unanswered requests.
func (w *Window[X, H]) Abandon() {
	for i := len(w.records) - 1; i >= 0; i-- {
		if w.records[i].State < Answered {
			w.remove(i)
		}
	}
}

// ExpectKey has all requests checked for their keys. The SHA-1 of the next one must be
// newkey.
func (w *Window[X, H]) ExpectKey(newkey string) { w.next = &newkey }

// Keyed reports whether requests are checked for their keys.
func (w *Window[X, H]) Keyed() bool { return w.next != nil }

// CheckKey checks the key of the request in turn, and takes it and its newkey into account.
// XEP-0124, section 15.
func (w *Window[X, H]) CheckKey(key, newkey string) bool {
	if w.next == nil {
		return true
	}
	sum := sha1.Sum([]byte(key))
	if !strings.EqualFold(hex.EncodeToString(sum[:]), *w.next) {
		return false
	}
	*w.next = cmp.Or(newkey, key)
	return true
}
