package session

import (
	"time"

	"github.com/gobosh/bosh/internal/wire"
)

// An Exchange is one HTTP request under way, as a Machine sees it: a place to answer. Its
// owner may keep it in something larger.
type Exchange struct {
	Rid     int64
	Reply   Reply         // not given until there is an answer for it
	Arrived time.Duration // set by the Machine
	Limit   time.Duration // when it must be answered, or somebody in front will; 0 if that is not known
	Carrier Carrier       // where it came in

	Repeat, Early, Creates bool // what the Machine has found it to be

	Queued bool // its Carrier has it in a Line, and has it answered: see wake

	woken bool      // it is in Machine.woken
	next  *Exchange // in the Line that it is in
}

// A Carrier is where an Exchange came in, and where its answer goes.
type Carrier interface {
	// Connection returns a number for a connection with answers in order, or 0.
	Connection() uint64

	// Forwarded reports whether the request names a proxy.
	Forwarded() bool

	// Receipt returns the proof of the client's receipt of the answer, or nil: see Receipt.
	Receipt() any
}

// A Reply is an answer as the HTTP side needs it. It is never empty.
type Reply struct {
	Body   []byte
	Status int // if not 0, an HTTP error without a body instead
}

// Given reports whether there is a reply.
func (a Reply) Given() bool { return a.Body != nil || a.Status != 0 }

// Refusal returns the answer to a request refused by e. A legacy client has sent no
// version.
func Refusal(e *End, legacy bool) Reply {
	if status := wire.LegacyStatus(e.Condition); legacy && status != 0 {
		return Reply{Status: status}
	}
	a := wire.Response{Terminate: true, Condition: e.Condition, URI: e.URI, Last: e.Payload}
	a.XMPP = e.Condition == RemoteStreamError
	return Reply{Body: a.Bytes(nil)}
}

// A Line is a queue of Exchanges. Each is in one Line at most.
type Line struct{ first *Exchange }

// Empty reports whether there is none.
func (l *Line) Empty() bool { return l.first == nil }

// Len returns how many there are.
func (l *Line) Len() (n int) {
	for x := l.first; x != nil; x = x.next {
		n++
	}
	return n
}

// Push adds x at the end.
func (l *Line) Push(x *Exchange) {
	p := &l.first
	for *p != nil {
		p = &(*p).next
	}
	*p = x
}

// Pop removes the first one and returns it, or nil if there is none.
func (l *Line) Pop() *Exchange {
	x := l.first
	if x != nil {
		l.Remove(x)
	}
	return x
}

// Remove removes x, if it is in the Line.
func (l *Line) Remove(x *Exchange) {
	for p := &l.first; *p != nil; p = &(*p).next {
		if *p == x {
			*p, x.next = x.next, nil
			return
		}
	}
}
