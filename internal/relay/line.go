package relay

import (
	"sync"
	"time"
)

// Lines keep the answers to each session in the order of their arrival, where goroutines
// write them. The zero value is ready for use.
type Lines struct {
	mu sync.Mutex // guards the map
	m  map[uint64]*line
}

// A line is the answers to a session. The first one is being written.
type line struct{ waiting []turn }

type turn struct {
	ready chan<- struct{}
	late  *time.Timer
}

// patience is how long an answer waits for the one before: its connection may be dead.
const patience = 100 * time.Millisecond

// Enter sends ready a token when the earlier answers to the same session have been
// written. It must have room for one.
func (l *Lines) Enter(session uint64, ready chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.m[session]
	if in == nil {
		if l.m == nil {
			l.m = make(map[uint64]*line)
		}
		l.m[session] = new(line)
		ready <- struct{}{}
		return
	}
	in.waiting = append(in.waiting, turn{ready, time.AfterFunc(patience, func() { l.late(session, ready) })})
}

// Leave is called when an answer has been written, by the receiver of the token.
func (l *Lines) Leave(session uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.m[session]
	if in == nil {
		return
	}
	if len(in.waiting) == 0 {
		delete(l.m, session)
		return
	}
	first := in.waiting[0]
	in.waiting = in.waiting[1:]
	first.late.Stop()
	first.ready <- struct{}{}
}

// late releases the answers that have waited for too long.
func (l *Lines) late(session uint64, ready chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.m[session]
	if in == nil {
		return
	}
	for i, t := range in.waiting {
		if t.ready == ready {
			for _, t := range in.waiting[:i+1] {
				t.late.Stop()
				t.ready <- struct{}{}
			}
			in.waiting = in.waiting[i+1:]
			return
		}
	}
}
