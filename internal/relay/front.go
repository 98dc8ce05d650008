package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// A Send makes another node's Owner serve a message. The message is good until Send
// returns. Unless answer is nil it is called with the answer, once: from any goroutine,
// also before Send returns. The answer is good until answer returns.
type Send func(node string, message []byte, answer func(message []byte, err error))

// A Front is where requests come in for sessions of other nodes. Make it by NewFront. It
// may be used by several goroutines at once.
type Front struct {
	name   string
	send   Send // nil if requests go nowhere
	logger *slog.Logger
	peers  Peers
	id     uint64 // told apart from a Front that had its name before
	last   atomic.Uint64
	media  atomic.Pointer[string] // the Content of the last Answer
	shards [16]shard
	closed atomic.Bool
	export atomic.Bool // sessions have been handed over
	hurry  atomic.Bool
	began  time.Time
}

// A shard has some of the current Trips.
type shard struct {
	mu sync.Mutex // guards trips
	// By their keys' numbers.
	trips map[uint64]*Trip
}

// NewFront returns the Front of the node of that name. The name may be empty if send is
// nil.
func NewFront(name string, send Send, logger *slog.Logger) *Front {
	f := &Front{name: name, send: send, logger: logger, id: rand.Uint64(), began: time.Now()}
	for i := range f.shards {
		f.shards[i].trips = make(map[uint64]*Trip)
	}
	return f
}

// A Trip is a Request on its way to another node.
type Trip struct {
	f    *Front
	to   string
	n    uint64
	done func(Answer, error)
	over atomic.Bool

	hurried atomic.Bool
	away    atomic.Pointer[MovedTo] // the node that is said to have the session; nil if it is that of its sid
	message []byte                  // to be sent again: see again; nil if it is too long for that
	until   time.Duration           // when it must have been answered, since the Front began; 0 if that is not known
	pause   time.Duration           // before it was sent last
	sent    int                     // from node to node, without a pause
}

var messages = sync.Pool{New: func() any { return new([]byte) }}

// maxAgain is the longest message kept to be sent again, in bytes: nothing counts these.
// The client has to repeat a longer request.
const maxAgain = 4 << 10

// Short reports whether a message is surely kept where it comes from, even if that was the
// node of a client with a longer name. Its sender can be told where the session is. A longer
// one must be passed on.
func Short(message []byte) bool { return len(message) <= maxAgain-maxName }

// maxPooled is the largest buffer to be used again, in bytes.
const maxPooled = 64 << 10

// withBuffer calls f with a buffer; f may let it grow.
func withBuffer(f func(b []byte) []byte) {
	p := messages.Get().(*[]byte)
	if b := f((*p)[:0]); cap(b) <= maxPooled {
		*p = b[:0]
		messages.Put(p)
	}
}

// Elsewhere returns the name of the node with the session of this sid, if it is another
// one, and requests can be passed on.
func (f *Front) Elsewhere(sid []byte) (name string, ok bool) {
	if f.send == nil {
		return "", false
	}
	n := node(sid)
	if n == nil || string(n) == f.name {
		return "", false
	}
	return f.peers.nameOf(n), true
}

// Foreign reports whether a sid ends in the name of another node.
func (f *Front) Foreign(sid []byte) bool {
	n := node(sid)
	return n != nil && string(n) != f.name
}

// Export takes note that sessions of this node have been handed over.
func (f *Front) Export() { f.export.Store(true) }

// Where returns the node to pass a request on to, or "". The request came in at via, and its
// session is not here. Where looks for an exported session under the node's own name: the
// carrier of messages knows its new node. ended reports whether it has ended here. hops
// counts the nodes on the way that had the session.
func (f *Front) Where(sid []byte, via interface {
	Relayed() bool
	Hops() uint8
}, ended func([]byte) bool) (name string, hops uint8) {
	hops = via.Hops()
	if f.send != nil && f.export.Load() && hops < maxHops && string(node(sid)) == f.name && !ended(sid) {
		return f.name, hops + 1
	}
	if via.Relayed() {
		return "", 0
	}
	name, _ = f.Elsewhere(sid)
	return name, hops
}

// maxHops is how many nodes may pass a request on one after the other.
const maxHops = 4

// Conn returns a number for the connection n of this node, different from the numbers of
// other nodes. It is 0 if n is.
func (f *Front) Conn(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return f.id ^ n | 1<<63 // nearly unique, and not 0
}

// Go sends q to a node. done is called with the answer, once, unless Cancel is: from any
// goroutine, also before Send returns. The answer is good until it returns. Before
// anything is sent, begun gets the Trip.
func (f *Front) Go(node string, q *Request, begun func(*Trip), done func(Answer, error)) {
	t := &Trip{f: f, to: node, n: f.last.Add(1), done: done}
	if q.Left > 0 {
		t.until = time.Since(f.began) + q.Left
	}
	begun(t)
	s := &f.shards[t.n%uint64(len(f.shards))]
	s.mu.Lock()
	s.trips[t.n] = t
	s.mu.Unlock()
	withBuffer(func(b []byte) []byte {
		b = appendRequest(b, newKey(t.n, f.id), f.name, q)
		if !q.Passed && len(b) <= maxAgain {
			t.message = bytes.Clone(b)
		}
		f.pass(node, b, t.answered)
		return b
	})
	if f.hurry.Load() {
		t.Hurry()
	}
	if f.closed.Load() {
		t.fail(errClosed)
	}
}

var (
	errClosed = errors.New("bosh: the handler is closed")
	errPanic  = errors.New("bosh: Options.Relay panicked")
)

// pass calls send. It recovers if send panics.
func (f *Front) pass(node string, message []byte, answer func([]byte, error)) {
	defer func() {
		if v := recover(); v != nil {
			f.logger.Error("bosh: Relay panicked", "panic", v, "stack", string(debug.Stack()))
			if answer != nil {
				answer(nil, errPanic)
			}
		}
	}()
	f.send(node, message, answer)
}

// finish reports whether the Trip ends by this.
func (t *Trip) finish() bool {
	if t.over.Swap(true) {
		return false
	}
	s := &t.f.shards[t.n%uint64(len(t.f.shards))]
	s.mu.Lock()
	delete(s.trips, t.n)
	s.mu.Unlock()
	return true
}

func (t *Trip) answered(message []byte, err error) {
	if t.away.Load() != nil && errors.Is(err, ErrNoNode) {
		err = ErrMoved // it has not come there yet
	}
	if t.message != nil && errors.Is(err, ErrMoved) {
		if t.again(err) {
			return
		}
		err = ErrNoNode // nobody has the session
	}
	if !t.finish() {
		return
	}
	var a Answer
	if err == nil {
		a, err = readAnswer(message, t.f.content)
	}
	t.f.peers.out(t.node(), err)
	if err != nil && !errors.Is(err, ErrNoNode) {
		// The node may have the request, or get it late, when the client has gone on:
		// then nobody waits for its answer.
		t.notice(isCancel)
	}
	t.done(a, err)
}

// doubt is the pause before a request is sent again whose node may be gone, or not.
const doubt = 100 * time.Millisecond

// again sends the request again: at once to a node that is said to have the session; or else
// after a while. If the session is on its way from one process to another it gives up after
// some 5 s: 20 ms, 40 ms, and so on. If not even that is sure, who carries messages decides: it
// asks until it gets another answer.
func (t *Trip) again(err error) bool {
	pause := doubt
	var to MovedTo
	switch {
	case errors.As(err, &to) && t.sent < maxHops:
		t.sent++
		t.away.Store(&to)
		t.repeat()
		return true
	case to != "" || err == ErrMoved:
		if t.pause = max(2*t.pause, 20*time.Millisecond); t.pause > 3*time.Second {
			return false
		}
		pause = t.pause
	}
	t.sent = 0
	time.AfterFunc(pause, func() {
		t.away.Store(nil)
		t.repeat()
	})
	return true
}

// repeat sends the request again, unless the client has left.
func (t *Trip) repeat() {
	if t.over.Load() {
		return
	}
	t.send()
	if t.f.hurry.Load() || t.hurried.Load() {
		t.Hurry()
	}
	if t.over.Load() { // the notice of that may have been too early
		t.notice(isCancel)
	}
}

// send sends the request with the time that is left by now.
func (t *Trip) send() {
	if t.until == 0 {
		t.f.pass(t.node(), t.message, t.answered)
		return
	}
	withBuffer(func(b []byte) []byte {
		b = renew(b, t.message, max(t.until-time.Since(t.f.began), 1))
		t.f.pass(t.node(), b, t.answered)
		return b
	})
}

// node returns the node to ask.
func (t *Trip) node() string {
	if to := t.away.Load(); to != nil {
		return string(*to)
	}
	return t.to
}

func (t *Trip) fail(err error) {
	if t.finish() {
		t.done(Answer{}, err)
	}
}

// content returns the media type in b, and whether it is allowed in a header. It is
// mostly the same.
func (f *Front) content(b []byte) (s string, ok bool) {
	if last := f.media.Load(); last != nil && *last == string(b) {
		return *last, true
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return "", false
		}
	}
	s = string(b)
	f.media.Store(&s)
	return s, true
}

// Cancel tells the node that the client has left. It reports whether done will not be
// called any more.
func (t *Trip) Cancel() bool {
	if !t.finish() {
		return false
	}
	t.notice(isCancel)
	return true
}

// Hurry has the request answered as soon as can be.
func (t *Trip) Hurry() {
	t.hurried.Store(true)
	if !t.over.Load() {
		t.notice(isHurry)
	}
}

func (t *Trip) notice(as kind) {
	var room [1 + len(key{})]byte
	t.f.pass(t.node(), appendNotice(room[:0], as, newKey(t.n, t.f.id)), nil)
}

// all returns the current Trips.
func (f *Front) all() (ts []*Trip) {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		for _, t := range s.trips {
			ts = append(ts, t)
		}
		s.mu.Unlock()
	}
	return ts
}

// Hurry has all requests answered as soon as can be, from now on.
func (f *Front) Hurry() {
	f.hurry.Store(true)
	for _, t := range f.all() {
		t.Hurry()
	}
}

// Close has all requests fail, from now on.
func (f *Front) Close() {
	f.closed.Store(true)
	for _, t := range f.all() {
		t.fail(errClosed)
	}
}

// Peers returns the counts of the nodes to which requests were passed on, or from which
// they came.
func (f *Front) Peers() *Peers { return &f.peers }
