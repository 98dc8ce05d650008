package model_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/gobosh/bosh/internal/spec/harness"
)

// The small world of TestModelOfAll: two requests, two payloads each way, one
// fault, and one step of the clock.
//
// An event is written as a letter and the number of the request that it is
// about: r1 is its arrival, c1 the break of its connection, w a write of the
// application, t the step.
type smallWorld struct {
	hold   int
	second modelRequest // what the second request is; the first has a payload
	step   time.Duration
	fault  []string // events that come in this order
}

func (w *smallWorld) String() string {
	kind := "empty"
	switch {
	case w.second.pause > 0:
		kind = "a pause"
	case w.second.end:
		kind = "the end"
	case w.second.payloads != nil:
		kind = "loaded"
	}
	return fmt.Sprintf("hold %d, second %s, step %v, fault %v", w.hold, kind, w.step, w.fault)
}

// smallWorlds returns all there are.
func smallWorlds() (all []smallWorld) {
	for _, hold := range []int{1, 0} {
		for _, second := range []modelRequest{{payloads: []string{"102"}}, {}, {pause: 50 * time.Second}, {end: true}} {
			for _, step := range []time.Duration{59 * time.Second, 30*time.Second + Overtime + 1} {
				for _, fault := range [][]string{
					{"r1"},                           // cut before it arrived: it comes later; and no fault at all
					{"r1", "r1"}, {"r1", "c1", "r1"}, // held or answered: cut, and repeated
					{"r2", "r2"}, {"r2", "c2", "r2"},
				} {
					all = append(all, smallWorld{hold, second, step, fault})
				}
			}
		}
	}
	return all
}

// orders calls f with all orders of the world's events, each of which it may
// not keep.
func (w *smallWorld) orders(f func(events []string)) {
	free := []string{"w", "w", "t"}
	if w.fault[0] == "r1" {
		free = append(free, "r2")
	} else {
		free = append(free, "r1")
	}
	var order []string
	var next func(free, fault []string)
	next = func(free, fault []string) {
		if len(free)+len(fault) == 0 {
			f(order)
			return
		}
		var tried []string
		for i, e := range free {
			if slices.Contains(tried, e) {
				continue
			}
			tried = append(tried, e)
			order = append(order, e)
			next(slices.Delete(slices.Clone(free), i, i+1), fault)
			order = order[:len(order)-1]
		}
		if len(fault) > 0 {
			order = append(order, fault[0])
			next(free, fault[1:])
			order = order[:len(order)-1]
		}
	}
	next(free, w.fault)
}

// TestModelOfAll lets happen whatever can happen in a small world, in every
// order, and compares the answers after every event with the model's.
func TestModelOfAll(t *testing.T) {
	orders := 0
	for _, w := range smallWorlds() {
		synctest.Test(t, func(t *testing.T) {
			w.orders(func(events []string) {
				orders++
				if !t.Failed() && orders%OneOf == 0 {
					newModelRun(t, 0, 60, w.hold).live(&w, events)
				}
			})
		})
	}
	t.Logf("%d orders", orders)
}

// live has events happen.
func (r *modelRun) live(w *smallWorld, events []string) {
	streams, stop := r.start()
	defer synctest.Wait()
	defer stop()
	r.create(streams)
	second := w.second
	second.rid = 1002
	r.bodies[1001] = &modelRequest{rid: 1001, payloads: []string{"101"}}
	r.bodies[1002] = &second
	conns := make(map[int]int) // of the last arrival of each
	for _, e := range events {
		switch e[0] {
		case 'r':
			n := int(e[1] - '0')
			r.request(1000+n, true)
			conns[n] = r.conns
		case 'c':
			r.breaks(conns[int(e[1]-'0')])
		case 'w':
			r.write(1)
		case 't':
			r.m.advance(w.step)
			time.Sleep(w.step)
		}
		synctest.Wait()
		if r.compare(); r.Failed() {
			r.Logf("%v: %s\n%s", w, strings.Join(events, " "), strings.Join(r.log, "\n"))
			return
		}
	}
}

// breaks breaks a connection, if the model too says that it waits.
func (r *modelRun) breaks(conn int) {
	for _, q := range r.m.reqs {
		if !q.done && q.conn == conn && !r.m.over {
			r.mu.Lock()
			cancel := r.cut[conn]
			r.mu.Unlock()
			cancel()
			r.m.cut(conn)
			return
		}
	}
}
