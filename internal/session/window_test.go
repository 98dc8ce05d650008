package session

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh/internal/wire"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the holder of a Window might keep of a request.
type (
	place struct{}
	held  struct{}
)

type record = Record[place, held]

// filled returns a window of two requests in which 1000 to 1002 have been
// answered, 1003 is open, and 1005 is early.
func filled() Window[place, held] {
	w := NewWindow[place, held](1000, 2)
	for rid := int64(1000); rid <= 1003; rid++ {
		w.Insert(record{Rid: rid, Exchange: new(place)})
		w.Take()
		if rid < 1003 {
			w.Answer(rid, []byte{byte(rid % 1000)}, true, 0)
		}
	}
	w.Insert(record{Rid: 1005, Exchange: new(place)})
	return w
}

func TestClassify(t *testing.T) {
	for _, test := range []struct {
		rid         int64
		want, extra Verdict
	}{
		{1, Gone, Gone},
		{999, Gone, Gone},
		{1000, Gone, Gone},
		{1001, Repeat, Repeat},
		{1002, Repeat, Repeat},
		{1003, Repeat, Repeat},
		{1004, Turn, Turn},
		{1005, Repeat, Repeat},
		{1006, Beyond, Ahead},
		{1007, Beyond, Beyond},
		{wire.MaxNumber, Beyond, Beyond},
	} {
		w := filled()
		assert.Equal(t, test.want, w.Classify(test.rid, false), test.rid)
		assert.Equal(t, test.extra, w.Classify(test.rid, true), "%d, extra", test.rid)
	}
}

// The answer to the creation is kept until another request comes, and what created
// the session can be repeated until then.
func TestCreationForgotten(t *testing.T) {
	w := NewWindow[place, held](1000, 2)
	w.Insert(record{Rid: 1000})
	w.Take()
	w.Answer(1000, []byte("created"), true, 0)
	assert.Equal(t, Repeat, w.Classify(1000, false))
	assert.True(t, w.Find(1000).Matches(7), "it is not the same, since it has a sid")
	assert.Len(t, w.Unproven(), 1)
	w.Insert(record{Rid: 1001, Sum: 7})
	assert.Equal(t, Gone, w.Classify(1000, false))
	assert.Empty(t, w.Unproven(), "or the client would not know the sid")
	assert.Equal(t, recordSize, w.Weight())
}

// Rids are exact up to the largest, and none is larger. XEP-0124, section 14.1.
func TestLargestRid(t *testing.T) {
	w := NewWindow[place, held](MaxRid-1, 2)
	w.Insert(record{Rid: MaxRid - 1})
	w.Take()
	assert.Equal(t, Turn, w.Classify(MaxRid, false))
	assert.Equal(t, Beyond, w.Classify(MaxRid+1, true))
	w.Insert(record{Rid: MaxRid})
	w.Take()
	assert.Equal(t, Repeat, w.Classify(MaxRid, false))
	assert.Equal(t, Beyond, w.Classify(MaxRid+1, true))
}

func TestGapAndTurn(t *testing.T) {
	w := filled()
	assert.True(t, gap(&w))
	assert.Nil(t, w.Turn())
	w.Insert(record{Rid: 1004})
	assert.Equal(t, int64(1004), w.Turn().Rid)
	w.Take()
	assert.Equal(t, int64(1005), w.Turn().Rid)
	assert.True(t, gap(&w))
	w.Take()
	assert.Nil(t, w.Turn())
	assert.False(t, gap(&w))
	oldest, n := w.Oldest()
	assert.Equal(t, int64(1003), oldest.Rid)
	assert.Equal(t, 3, n)
	_, live := w.OldestLive()
	assert.Equal(t, 2, live, "1004 has no connection")
	w.Abandon()
	assert.Equal(t, []int64{1001, 1002}, rids(&w), "only answers are left")
}

func gap(w *Window[place, held]) bool {
	_, ok := w.Gap()
	return ok
}

// A gap begins when the first of the requests came that wait for it.
func TestGapSince(t *testing.T) {
	w := NewWindow[place, held](1000, 5)
	for _, r := range []record{{Rid: 1002, At: 1}, {Rid: 1005, At: 3}, {Rid: 1004, At: 4}} {
		w.Insert(r)
	}
	since, ok := w.Gap()
	assert.True(t, ok)
	assert.Equal(t, time.Duration(1), since)
	for rid := int64(1000); rid <= 1002; rid++ {
		if w.Find(rid) == nil {
			w.Insert(record{Rid: rid, At: 5})
		}
		w.Take()
	}
	since, _ = w.Gap()
	assert.Equal(t, time.Duration(3), since, "1003 is missing since then")
}

func rids(w *Window[place, held]) (rids []int64) {
	for _, r := range w.records {
		rids = append(rids, r.Rid)
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
			w.Keep = test.keep
			lost := w.Ack(1004, test.ack)
			assert.Equal(t, test.acked, w.acked)
			if test.lost == 0 {
				assert.Nil(t, lost)
				return
			}
			require.NotNil(t, lost)
			assert.Equal(t, test.lost, lost.Rid)
		})
	}
}

// What one who acknowledges has not acknowledged is kept, within the limit.
func TestReplayLimit(t *testing.T) {
	const each = 10 + recordSize
	for limit, want := range map[int]int{0: 2, each - 1: 2, each: 3, 6*each - 1: 7, 1000 * each: 20} {
		w := NewWindow[place, held](1, 2)
		w.Keep, w.Limit = true, int32(limit)
		for rid := int64(1); rid <= 20; rid++ {
			w.Insert(record{Rid: rid})
			w.Take()
			w.Answer(rid, make([]byte, 10), true, 0)
		}
		assert.Len(t, w.records, want, "limit %d", limit)
		assert.Len(t, w.Unproven(), 2, "the others it must have had")
		w.Ack(21, wire.Number{Set: true, OK: true, N: 19})
		assert.Len(t, w.records, 2)
		assert.Len(t, w.Unproven(), 1)
	}
}

func TestOveractive(t *testing.T) {
	const polling = 5 * time.Second
	conn := new(place)
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
		{"two polls", 0, true, false, true, record{Empty: true, At: 4}, true, false, true},
		{"the first was answered with payloads", 0, true, true, true, record{Empty: true, At: 4}, true, false, false},
		{"the first had payloads", 0, true, false, false, record{Empty: true, At: 4}, true, false, false},
		{"the second has payloads", 0, true, false, true, record{At: 4}, true, false, false},
		{"in time", 0, true, false, true, record{Empty: true, At: 5}, true, false, false},
		{"no polling session", 0, true, false, true, record{Empty: true, At: 4}, false, false, false},
		{"the last place, empty", 1, false, false, false, record{Empty: true, At: 4}, false, false, true},
		{"the last place, with payloads", 1, false, false, false, record{At: 4}, false, false, false},
		{"the last place, in time", 1, false, false, false, record{Empty: true, At: 5}, false, false, false},
		{"one too many", 2, false, false, false, record{At: 9}, false, false, true},
		{"one too many, but extra", 2, false, false, false, record{At: 9}, false, true, false},
		{"came before its predecessor", 1, false, false, false, record{Empty: true, At: -1}, false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := NewWindow[place, held](1, 2)
			for rid := range int64(max(test.open, 1)) {
				w.Insert(record{Rid: 1 + rid, Exchange: conn, Empty: test.before})
				w.Take()
			}
			if test.answer {
				w.Answer(1, nil, test.payload, 0)
			}
			r := test.r
			r.Rid, r.Exchange, r.At = w.last+1, conn, r.At*time.Second
			assert.Equal(t, test.want, w.Overactive(w.Insert(r), polling, test.polls, test.extra))
		})
	}
}

func TestKeys(t *testing.T) {
	sum := func(key string) string {
		b := sha1.Sum([]byte(key))
		return hex.EncodeToString(b[:])
	}
	w := NewWindow[place, held](1, 2)
	assert.True(t, w.CheckKey("anything", ""), "without keys")
	k3 := "secret"
	k2 := sum(k3)
	w.ExpectKey(sum(k2))
	other := sum("other")
	assert.False(t, w.CheckKey("", ""))
	assert.False(t, w.CheckKey(k3, ""))
	assert.True(t, w.CheckKey(k2, ""))
	assert.False(t, w.CheckKey(k2, ""), "twice")
	assert.True(t, w.CheckKey(k3, strings.ToUpper(other)))
	assert.True(t, w.CheckKey("other", ""), "of the new sequence")
}

// A plainWindow is a window as the XEP tells it, that looks through all it has
// ever seen.
type plainWindow struct {
	size  int64
	last  int64
	state map[int64]State
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
		case state != Answered:
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

func (p *plainWindow) classify(rid int64, extra bool) Verdict {
	top := p.last + p.size
	if extra {
		top++
	}
	switch {
	case rid > top:
		return Beyond
	case slices.Contains(p.kept(), rid):
		return Repeat
	case rid <= p.last:
		return Gone
	case rid == p.last+1:
		return Turn
	}
	return Ahead
}

// The client can go on behind the end of a stream, and up to another extra
// request, without having its answer. XEP-0124, sections 11 and 16.5.
func TestExtraBehindExtra(t *testing.T) {
	for size := int64(1); size <= 3; size++ {
		w := NewWindow[place, held](1, int(size))
		for rid := int64(1); rid <= size+2; rid++ {
			w.Insert(record{Rid: rid, End: rid == 2 || rid == size+2})
			w.Take()
			w.Answer(rid, []byte("x"), true, 0)
		}
		assert.Equal(t, Repeat, w.Classify(2, false), size)
		w.Insert(record{Rid: size + 3})
		w.Take()
		assert.Equal(t, Gone, w.Classify(2, false), "%d: it could not have been sent without the answer", size)
	}
}

// Requests in any order, pauses among them, answered in their order at any
// time, leave the window as the plain one has it.
func TestWindowAtRandom(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		size := 1 + rnd.Int64N(4)
		w := NewWindow[place, held](1, int(size))
		p := &plainWindow{size: size, state: map[int64]State{}, extra: map[int64]bool{}}
		var log []string
		for range 100 {
			rid, extra := max(p.last-3+rnd.Int64N(size+6), 1), rnd.IntN(5) == 0
			switch oldest, n := w.Oldest(); {
			case n > 0 && rnd.IntN(2) == 0:
				log = append(log, fmt.Sprintf("answer %d", oldest.Rid))
				p.state[oldest.Rid] = Answered
				w.Answer(oldest.Rid, []byte("x"), true, 0)
			case w.Classify(rid, extra) == Turn || w.Classify(rid, extra) == Ahead:
				log = append(log, fmt.Sprintf("request %d %v", rid, extra))
				pause := rnd.IntN(2) == 0
				w.Insert(record{Rid: rid, Pause: extra && pause, End: extra && !pause})
				p.state[rid], p.extra[rid] = Early, extra
				for w.Turn() != nil {
					w.Take()
				}
				for {
					state, ok := p.state[p.last+1]
					if !ok || state != Early {
						break
					}
					p.last++
					p.state[p.last] = Open
				}
			}
			if p.last != w.last || p.proven() != w.proven() || !slices.Equal(p.kept(), rids(&w)) {
				t.Fatalf("seed %d: %d %d %v, want %d %d %v, after %v", seed, w.last, w.proven(), rids(&w), p.last, p.proven(), p.kept(), log)
			}
			for rid := max(p.last-8, 1); rid < p.last+8; rid++ {
				for _, extra := range []bool{false, true} {
					if got, want := w.Classify(rid, extra), p.classify(rid, extra); got != want {
						t.Fatalf("seed %d: %d, extra %v, is %v, want %v, after %v", seed, rid, extra, got, want, log)
					}
				}
			}
		}
	}
}

// The body of an early request is kept until its turn.
func TestEarlyBodies(t *testing.T) {
	w := NewWindow[place, held](1000, 4)
	w.Insert(record{Rid: 1000})
	w.Take()
	w.Insert(record{Rid: 1002, Early: []byte("two")})
	w.Insert(record{Rid: 1003, Early: []byte("three"), At: 5})
	assert.Nil(t, w.Turn(), "1001 is missing")
	assert.True(t, gap(&w))
	weight := w.Weight()
	w.Insert(record{Rid: 1001})
	w.Take()
	assert.Equal(t, "two", string(w.Turn().Early))
	assert.Nil(t, w.Take().Early)
	assert.Less(t, w.Weight(), weight+recordSize)
	assert.Equal(t, "three", string(w.Turn().Early))
	w.Take()
	assert.False(t, gap(&w))
}

// What the client has is known from the first answer on that it may not have.
func TestDoubtful(t *testing.T) {
	w := NewWindow[place, held](1, 2)
	for rid := int64(1); rid <= 4; rid++ {
		w.Insert(record{Rid: rid, Sum: 1})
		r := w.Take()
		r.Of, r.Load = uint16(rid%2), uint32(rid)
		w.Answer(rid, []byte("x"), true, 0)
	}
	assert.Equal(t, int64(4), w.Doubtful(0))
	assert.Equal(t, int64(3), w.Doubtful(1))
	assert.False(t, w.Prove(2), "known")
	assert.False(t, w.Prove(5), "never given")
	assert.True(t, w.Prove(3))
	assert.False(t, w.Prove(3), "twice")
	assert.Equal(t, int64(4), w.Doubtful(0))
	assert.Zero(t, w.Doubtful(1))
	assert.Len(t, w.Unproven(), 1)

	w.Insert(record{Rid: 5, Sum: 1})
	r := w.Take()
	r.Load = 5
	w.Answer(5, []byte("x"), true, 0)
	assert.Equal(t, int64(9), w.Doubtful(0))
	assert.True(t, w.Prove(5))
	assert.Equal(t, int64(9), w.Doubtful(0), "one before it is in doubt")
	assert.True(t, w.Prove(4))
	assert.Zero(t, w.Doubtful(0))
}

// A request beyond the window's end still tells what it did when it is forgotten,
// because the session has ended before it was answered.
func TestExtraForgotten(t *testing.T) {
	w := NewWindow[place, held](1, 2)
	for rid := int64(1); rid <= 3; rid++ {
		w.Insert(record{Rid: rid, Sum: 1, Exchange: new(place)})
		w.Take()
		if rid == 1 {
			w.Answer(1, []byte("x"), true, 0)
		}
	}
	w.Insert(record{Rid: 4, Sum: 1, Pause: true, Exchange: new(place)})
	w.Take()
	w.Answer(2, []byte("x"), true, 0)
	assert.Len(t, w.Unproven(), 1)
	w.Abandon()
	assert.Len(t, w.Unproven(), 1)
	assert.Equal(t, int64(1), w.Passed())
}
