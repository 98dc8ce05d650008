package bosh

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh/internal/negotiate"
	"github.com/gobosh/bosh/internal/wire"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// filled returns a window of two requests in which 1000 to 1002 have been
// answered, 1003 is open, and 1005 is early.
func filled() window {
	w := newWindow(1000, 2)
	for rid := int64(1000); rid <= 1003; rid++ {
		w.insert(record{rid: rid, ex: &exchange{}})
		w.take()
		if rid < 1003 {
			w.answer(rid, []byte{byte(rid % 1000)}, true, 0)
		}
	}
	w.insert(record{rid: 1005, ex: &exchange{}})
	return w
}

func TestClassify(t *testing.T) {
	for _, test := range []struct {
		rid         int64
		want, extra verdict
	}{
		{1, ridGone, ridGone},
		{999, ridGone, ridGone},
		{1000, ridGone, ridGone},
		{1001, ridRepeat, ridRepeat},
		{1002, ridRepeat, ridRepeat},
		{1003, ridRepeat, ridRepeat},
		{1004, ridTurn, ridTurn},
		{1005, ridRepeat, ridRepeat},
		{1006, ridBeyond, ridAhead},
		{1007, ridBeyond, ridBeyond},
		{wire.MaxNumber, ridBeyond, ridBeyond},
	} {
		w := filled()
		assert.Equal(t, test.want, w.classify(test.rid, false), test.rid)
		assert.Equal(t, test.extra, w.classify(test.rid, true), "%d, extra", test.rid)
	}
}

// Rids are exact up to the largest, and none is larger. XEP-0124, section 14.1.
func TestLargestRid(t *testing.T) {
	w := newWindow(negotiate.MaxRid-1, 2)
	w.insert(record{rid: negotiate.MaxRid - 1})
	w.take()
	assert.Equal(t, ridTurn, w.classify(negotiate.MaxRid, false))
	assert.Equal(t, ridBeyond, w.classify(negotiate.MaxRid+1, true))
	w.insert(record{rid: negotiate.MaxRid})
	w.take()
	assert.Equal(t, ridRepeat, w.classify(negotiate.MaxRid, false))
	assert.Equal(t, ridBeyond, w.classify(negotiate.MaxRid+1, true))
}

func TestGapAndTurn(t *testing.T) {
	w := filled()
	assert.True(t, w.gap())
	assert.Nil(t, w.turn())
	w.insert(record{rid: 1004})
	assert.Equal(t, int64(1004), w.turn().rid)
	w.take()
	assert.Equal(t, int64(1005), w.turn().rid)
	assert.True(t, w.gap())
	w.take()
	assert.Nil(t, w.turn())
	assert.False(t, w.gap())
	oldest, n := w.oldest()
	assert.Equal(t, int64(1003), oldest.rid)
	assert.Equal(t, 3, n)
	_, live := w.oldestLive()
	assert.Equal(t, 2, live, "1004 has no connection")
	assert.Empty(t, w.abandon())
	assert.Equal(t, []int64{1001, 1002}, rids(&w), "only answers are left")
}

func rids(w *window) (rids []int64) {
	for _, r := range w.records {
		rids = append(rids, r.rid)
	}
	return rids
}

func TestAck(t *testing.T) {
	set := func(n int64) wire.Number { return wire.Number{Set: true, OK: true, N: n} }
	for _, test := range []struct {
		name  string
		keep  bool
		ack   wire.Number
		acked int64
		lost  int64
	}{
		{"absent", false, wire.Number{}, 999, 0},
		{"absent, of one who acknowledges", true, wire.Number{}, 1002, 0},
		{"all", true, set(1002), 1002, 0},
		{"not the last", true, set(1001), 1001, 1002},
		{"not the last two", true, set(1000), 1000, 1001},
		{"of one who did not announce it", false, set(1001), 1001, 1002},
		{"one not answered", true, set(1003), 999, 0},
		{"one not received", true, set(1004), 999, 0},
		{"its own", true, set(1005), 999, 0},
		{"far above", true, set(999_999), 999, 0},
		{"below all", true, set(1), 999, 0},
		{"zero", true, set(0), 999, 0},
		{"no number", true, wire.Number{Set: true}, 999, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := filled()
			w.keep = test.keep
			lost := w.ack(1004, test.ack)
			assert.Equal(t, test.acked, w.acked)
			if test.lost == 0 {
				assert.Nil(t, lost)
				return
			}
			require.NotNil(t, lost)
			assert.Equal(t, test.lost, lost.rid)
		})
	}
}

// What one who acknowledges has not acknowledged is kept, within the limit.
func TestReplayLimit(t *testing.T) {
	const each = 10 + recordSize
	for limit, want := range map[int]int{0: 2, each - 1: 2, each: 3, 6*each - 1: 7, 1000 * each: 20} {
		w := newWindow(1, 2)
		w.keep, w.limit = true, limit
		for rid := int64(1); rid <= 20; rid++ {
			w.insert(record{rid: rid})
			w.take()
			w.answer(rid, make([]byte, 10), true, 0)
		}
		assert.Len(t, w.records, want, "limit %d", limit)
		assert.Len(t, w.unproven(), 2, "the others it must have had")
		w.ack(21, wire.Number{Set: true, OK: true, N: 19})
		assert.Len(t, w.records, 2)
		assert.Len(t, w.unproven(), 1)
	}
}

func TestOveractive(t *testing.T) {
	const polling = 5 * time.Second
	conn := &exchange{}
	for _, test := range []struct {
		name    string
		open    int // before it, with a connection
		answer  bool
		payload bool // of the answer before
		before  bool // the one before was empty
		r       record
		polls   bool
		extra   bool
		want    bool
	}{
		{"two polls", 0, true, false, true, record{empty: true, at: 4}, true, false, true},
		{"the first was answered with payloads", 0, true, true, true, record{empty: true, at: 4}, true, false, false},
		{"the first had payloads", 0, true, false, false, record{empty: true, at: 4}, true, false, false},
		{"the second has payloads", 0, true, false, true, record{at: 4}, true, false, false},
		{"in time", 0, true, false, true, record{empty: true, at: 5}, true, false, false},
		{"no polling session", 0, true, false, true, record{empty: true, at: 4}, false, false, false},
		{"the last place, empty", 1, false, false, false, record{empty: true, at: 4}, false, false, true},
		{"the last place, with payloads", 1, false, false, false, record{at: 4}, false, false, false},
		{"the last place, in time", 1, false, false, false, record{empty: true, at: 5}, false, false, false},
		{"one too many", 2, false, false, false, record{at: 9}, false, false, true},
		{"one too many, but extra", 2, false, false, false, record{at: 9}, false, true, false},
		{"came before its predecessor", 1, false, false, false, record{empty: true, at: -1}, false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWindow(1, 2)
			for rid := range int64(max(test.open, 1)) {
				w.insert(record{rid: 1 + rid, ex: conn, empty: test.before})
				w.take()
			}
			if test.answer {
				w.answer(1, nil, test.payload, 0)
			}
			r := test.r
			r.rid, r.ex, r.at = w.last+1, conn, r.at*time.Second
			assert.Equal(t, test.want, w.overactive(w.insert(r), polling, test.polls, test.extra))
		})
	}
}

func TestKeys(t *testing.T) {
	sum := func(key string) string {
		b := sha1.Sum([]byte(key))
		return hex.EncodeToString(b[:])
	}
	w := newWindow(1, 2)
	assert.True(t, w.unlock("anything", ""), "without keys")
	k3 := "secret"
	k2 := sum(k3)
	w.next = sum(k2)
	other := sum("other")
	assert.False(t, w.unlock("", ""))
	assert.False(t, w.unlock(k3, ""))
	assert.True(t, w.unlock(k2, ""))
	assert.False(t, w.unlock(k2, ""), "twice")
	assert.True(t, w.unlock(k3, strings.ToUpper(other)))
	assert.True(t, w.unlock("other", ""), "of the new sequence")
}

// A plainWindow is a window as the XEP tells it, that looks through all it has
// ever seen.
type plainWindow struct {
	size  int64
	last  int64
	state map[int64]ridState
	extra map[int64]bool
}

// proven is what the client must have had before it sent the last request.
func (p *plainWindow) proven() int64 {
	if p.extra[p.last] {
		return max(p.last-p.size-1, 0)
	}
	return max(p.last-p.size, 0)
}

// kept are the rids that are known, ascending.
func (p *plainWindow) kept() (kept []int64) {
	answered := int64(0)
	for rid := p.last + p.size + 1; rid > 0; rid-- {
		state, seen := p.state[rid]
		switch {
		case !seen:
		case state != ridAnswered:
			kept = append(kept, rid)
		case p.extra[rid]:
			if rid > p.proven() {
				kept = append(kept, rid)
			}
		default:
			if answered++; answered <= p.size {
				kept = append(kept, rid)
			}
		}
	}
	slices.Reverse(kept)
	return kept
}

func (p *plainWindow) classify(rid int64, extra bool) verdict {
	top := p.last + p.size
	if extra {
		top++
	}
	switch {
	case rid > top:
		return ridBeyond
	case slices.Contains(p.kept(), rid):
		return ridRepeat
	case rid <= p.last:
		return ridGone
	case rid == p.last+1:
		return ridTurn
	}
	return ridAhead
}

// The client can go on behind the end of a stream, and up to another extra
// request, without having its answer. XEP-0124, sections 11 and 16.5.
func TestExtraBehindExtra(t *testing.T) {
	for size := int64(1); size <= 3; size++ {
		w := newWindow(1, int(size))
		for rid := int64(1); rid <= size+2; rid++ {
			w.insert(record{rid: rid, end: rid == 2 || rid == size+2})
			w.take()
			w.answer(rid, []byte("x"), true, 0)
		}
		assert.Equal(t, ridRepeat, w.classify(2, false), size)
		w.insert(record{rid: size + 3})
		w.take()
		assert.Equal(t, ridGone, w.classify(2, false), "%d: it could not have been sent without the answer", size)
	}
}

// Requests in any order, pauses among them, answered in their order at any
// time, leave the window as the plain one has it.
func TestWindowAtRandom(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		size := 1 + rnd.Int64N(4)
		w := newWindow(1, int(size))
		p := &plainWindow{size: size, state: map[int64]ridState{}, extra: map[int64]bool{}}
		var log []string
		for range 100 {
			rid, extra := max(p.last-3+rnd.Int64N(size+6), 1), rnd.IntN(5) == 0
			switch oldest, n := w.oldest(); {
			case n > 0 && rnd.IntN(2) == 0:
				log = append(log, fmt.Sprintf("answer %d", oldest.rid))
				p.state[oldest.rid] = ridAnswered
				w.answer(oldest.rid, []byte("x"), true, 0)
			case w.classify(rid, extra) == ridTurn || w.classify(rid, extra) == ridAhead:
				log = append(log, fmt.Sprintf("request %d %v", rid, extra))
				pause := rnd.IntN(2) == 0
				w.insert(record{rid: rid, pause: extra && pause, end: extra && !pause})
				p.state[rid], p.extra[rid] = ridEarly, extra
				for w.turn() != nil {
					w.take()
				}
				for {
					state, ok := p.state[p.last+1]
					if !ok || state != ridEarly {
						break
					}
					p.last++
					p.state[p.last] = ridOpen
				}
			}
			if p.last != w.last || p.proven() != w.proven() || !slices.Equal(p.kept(), rids(&w)) {
				t.Fatalf("seed %d: %d %d %v, want %d %d %v, after %v", seed, w.last, w.proven(), rids(&w), p.last, p.proven(), p.kept(), log)
			}
			for rid := max(p.last-8, 1); rid < p.last+8; rid++ {
				for _, extra := range []bool{false, true} {
					if got, want := w.classify(rid, extra), p.classify(rid, extra); got != want {
						t.Fatalf("seed %d: %d, extra %v, is %v, want %v, after %v", seed, rid, extra, got, want, log)
					}
				}
			}
		}
	}
}
