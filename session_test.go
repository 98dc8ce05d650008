package bosh_test

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// counters are the counts of n that may not fall, by their names.
func counters(n bosh.HandlerStats) map[string]int64 {
	all := map[string]int64{"Created": n.Created}
	for reason, ended := range n.Ended {
		all[reason] = ended
	}
	v := reflect.ValueOf(n.SessionStats)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "Open" && name != "Queued" && name != "Unread" {
			all[name] = v.Field(i).Int()
		}
	}
	return all
}

// No counter falls while sessions end, in whatever way, and when all is over each request
// and answer has been counted once.
func TestStatsNeverFall(t *testing.T) {
	const clients, sessions = 4, 40
	h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Grace: -1, Serve: func(s *bosh.Stream) {
		s.Receive(func(b []byte, err error) {
			if strings.Contains(string(b), "leave") {
				s.Close()
				return
			}
			s.Write(b)
		})
	}})
	rt := boshtest.InMemory(h)
	var requests, in, out atomic.Int64
	exchange := func(p *Peer, body string) *boshtest.Response {
		r := boshtest.Exchange(t, rt, body)
		requests.Add(1)
		in.Add(int64(len(body)))
		out.Add(int64(len(r.Text)))
		return r
	}
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			for j := range sessions {
				p := &Peer{T: t, Rt: rt, Rid: 1000}
				p.Sid = exchange(p, Creation()).Attr("sid")
				for k := range 5 {
					exchange(p, p.Body(int64(1001+k), X(strings.Repeat("x", 500))))
				}
				switch (i + j) % 3 {
				case 0:
					exchange(p, p.Body(1006, X("a"), "type='terminate'"))
				case 1:
					exchange(p, p.Body(1006, X("leave")))
				case 2:
					exchange(p, p.Body(2000, ""))
				}
			}
		})
	}
	over := make(chan bool)
	go func() {
		defer close(over)
		running.Wait()
	}()
	last := counters(h.Stats())
	for done := false; !done; {
		select {
		case <-over:
			done = true
		default:
		}
		now := counters(h.Stats())
		for name, was := range last {
			if now[name] < was {
				require.Fail(t, "it falls", "%s from %d to %d", name, was, now[name])
			}
		}
		last = now
	}
	n := h.Stats()
	assert.Equal(t, requests.Load(), n.Requests)
	assert.Equal(t, in.Load(), n.BytesIn)
	assert.Equal(t, out.Load(), n.BytesOut, "the last answer of a session, too")
	assert.EqualValues(t, clients*sessions, n.Created)
	assert.Zero(t, n.Sessions)
	assert.Equal(t, n.Created, n.Ended["closed"]+n.Ended["item-not-found"])
}

// A session lives when Admit has let it.
func TestStatsOfAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		h := NewHandler(t, bosh.Options{
			Framing: bosh.Elements,
			Admit: func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
				return ctx, <-answer
			},
		})
		rt := boshtest.InMemory(h)
		c := boshtest.Post(t, rt, Creation())
		synctest.Wait()
		n := h.Stats()
		assert.Zero(t, n.Sessions, "Admit has not answered")
		assert.Zero(t, n.Created)
		answer <- &bosh.Error{Condition: bosh.HostGone}
		RequireEnd(t, c.Wait(), bosh.HostGone)
		assert.Zero(t, h.Stats().Sessions)
		assert.Zero(t, h.Stats().Created)

		c = boshtest.Post(t, rt, Creation())
		synctest.Wait()
		answer <- nil
		s := Accept(t, h)
		c.Wait()
		n = h.Stats()
		assert.EqualValues(t, 1, n.Sessions)
		assert.EqualValues(t, 1, n.Created)
		assert.Empty(t, n.Ended)
		time.Sleep(time.Hour)
		assert.Error(t, s.Session().Err())
		n = h.Stats()
		assert.Zero(t, n.Sessions)
		assert.Equal(t, map[string]int64{"inactive": 1}, n.Ended)
	})
}

// What is refused counts by condition, and the limits stand beside what they limit.
func TestStatsOfRefusals(t *testing.T) {
	h := NewHandler(t, bosh.Options{Framing: bosh.Elements, MaxSessions: 1, MaxMemory: -1})
	rt := boshtest.InMemory(h)
	n := h.Stats()
	assert.EqualValues(t, 1, n.MaxSessions)
	assert.Zero(t, n.MaxMemory)
	assert.Empty(t, n.Refused)
	Dial(t, rt)
	for range 3 {
		RequireEnd(t, boshtest.Exchange(t, rt, Creation()), bosh.PolicyViolation)
	}
	boshtest.Exchange(t, rt, "<body")
	assert.Equal(t, map[string]int64{"policy-violation": 3, "bad-request": 1}, h.Stats().Refused)
	h = NewHandler(t, bosh.Options{MaxSessions: -1})
	assert.Zero(t, h.Stats().MaxSessions)
	assert.EqualValues(t, 1<<30, h.Stats().MaxMemory)
}
