package main

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A pulse tells whether a server still lives. Until the client has logged in
// and is bound to a resource, all its words want an answer. Later the proxy
// asks for one, if the server says nothing for half of the patience after a
// client's stanza. And the server has to end each element it begins. All times
// are read deadlines of the connection to it.
type pulse struct {
	conn     net.Conn
	patience time.Duration

	mu      sync.Mutex // Protects following.
	hurried bool       // the read deadline must stay
	heeded  time.Time  // since when the server is read from; zero if it is not
	ignored time.Time  // since when it was not

	since   time.Time // the first thing was said that the server has not answered; zero if it owes nothing
	told    int       // bytes since then
	settled bool      // the client is bound
	asked   bool      // the server owes an answer to the proxy

	part  int       // bytes of what the server has begun to say
	begun time.Time // when it has
}

// slowest is how many bytes a second a server takes or sends at least, on top of
// its patience and the first few. Some are so slow on purpose, when clients say
// much.
const slowest = 1000

var (
	errSilent = errors.New("the server does not answer")
	errStuck  = errors.New("the server has stopped in the middle of an element")
)

// begin has the server owe its first words.
func (p *pulse) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Now()
	p.set()
}

// taken notes that the server has taken the bytes of a call of tell at a time. If the
// answer is still due, the patience starts now.
func (p *pulse) taken(told time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.since.IsZero() && !p.since.Before(told) {
		p.since = time.Now()
		p.set()
	}
}

// tell announces n bytes to the server that want an answer.
func (p *pulse) tell(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.since = time.Now()
	}
	p.told += n
	p.set()
}

// ask notes a question of the proxy's to the server.
func (p *pulse) ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.since.IsZero() {
		p.since = now
	} else if latest := now.Add(-p.patience / 2); p.since.Before(latest) {
		p.since = latest
	}
	p.asked = true
	p.set()
}

// askAt returns when the server should be asked for an answer; zero for never.
func (p *pulse) askAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() || p.asked || !p.settled {
		return time.Time{}
	}
	return p.since.Add(p.patience / 2)
}

// settle notes that from now on not all words want an answer.
func (p *pulse) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled = true
	p.set()
}

// answered notes a whole element of the server's. The server owes nothing any
// more. The element may bind the client.
func (p *pulse) answered(bound bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.told, p.asked = time.Time{}, 0, false
	p.begun = time.Time{}
	p.settled = p.settled || bound
	p.set()
}

// heed is called before a read from the server. The server has said so many bytes
// of an unfinished element. Times without a reader are not the server's fault.
func (p *pulse) heed(part int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, t := range []*time.Time{&p.since, &p.begun} {
		if from := later(*t, p.ignored); !t.IsZero() {
			*t = t.Add(now.Sub(from))
		}
	}
	if p.part = part; part > 0 {
		if p.begun.IsZero() {
			p.begun = now
		}
		if p.settled {
			p.since, p.told, p.asked = time.Time{}, 0, false // it is about to say something
		}
	}
	p.heeded = now
	p.set()
}

// ignore is called after the server was read from.
func (p *pulse) ignore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heeded, p.ignored = time.Time{}, time.Now()
}

// set sets the read deadline.
func (p *pulse) set() {
	if !p.heeded.IsZero() && !p.hurried {
		due, _ := p.due()
		p.conn.SetReadDeadline(due)
	}
}

// due returns when the server must have said something, if it must, and the
// error if it has not.
func (p *pulse) due() (at time.Time, err error) {
	if !p.since.IsZero() && (p.asked || !p.settled) {
		at, err = p.since.Add(p.patience+allowance(p.told)), errSilent
	}
	if p.part > 0 {
		// It may be slow, but not stop.
		end := p.begun.Add(p.patience + allowance(p.part))
		if stop := p.heeded.Add(p.patience); stop.Before(end) {
			end = stop
		}
		if at.IsZero() || end.Before(at) {
			at, err = end, errStuck
		}
	}
	return at, err
}

// overdue returns the error of due if its time has come.
func (p *pulse) overdue() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, err := p.due(); err != nil && !time.Now().Before(at) {
		return err
	}
	return nil
}

// hurry has reading end at a time, regardless of the server's debts.
func (p *pulse) hurry(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hurried = true
	p.conn.SetReadDeadline(t)
}

func (p *pulse) hurrying() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hurried
}

func allowance(bytes int) time.Duration {
	return time.Duration(max(0, bytes-minBuffer)) * time.Second / slowest
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
