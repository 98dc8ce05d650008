package boshclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// A session is the machine of rids: it decides on the time and content of each
// request, and takes the answers in order. Its Conns are its streams, mostly one.
//
// Locks: mu guards the session and its Conns. Under it nothing blocks, and no
// code of the application is called. Each request under way has a goroutine. It
// ends with the session at the latest.
type session struct {
	o       config
	url     string
	shown   string // the URL without what may be secret
	client  *http.Client
	base    context.Context // parent of ctx, with the values that Dial was given
	ctx     context.Context // of all requests; ends with the session
	cancel  context.CancelFunc
	running sync.WaitGroup // goroutines of requests
	done    chan struct{}  // closed when err is set
	tells   atomic.Bool    // the transport tells when it has written a request

	mu sync.Mutex
	// Protects following.

	granted Granted
	sid     string
	keys    *keys

	next     int64      // rid of the next request
	head     int64      // lowest rid whose answer has not been taken
	open     []*request // those with rids from head up to next
	starting bool       // a goroutine is about to take the next request
	pausing  bool       // a pause has been sent and not been answered
	closing  bool       // the end has been sent, or has come

	conns []*Conn // open streams, in the order of their opening
	turn  int     // which of them speaks next
	first *Conn   // whose input is what names no stream
	many  bool    // there has been a second one: requests name their stream

	end    error       // why the server ended it, while answers are outstanding
	err    error       // why it has ended
	pollAt time.Time   // before this no poll is due
	pauses time.Time   // the end of a pause that Pause has asked for
	keepAt time.Time   // by then the server must hear something; zero for no limit
	polls  int         // asked for by Wake
	timer  *time.Timer // wakes pump
	stats  Stats
	state  *State // once it has been asked for
}

// Stats are the counters of a session.
type Stats struct {
	Requests    int64 // new ones, each counted once
	Empty       int64 // those of them without payloads
	Repeats     int64
	Answers     int64 // one for each request that was answered
	PayloadsOut int64 // elements; pieces of bytes if Opaque
	PayloadsIn  int64
}

func newSession(ctx context.Context, u *url.URL, c config) *session {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	s := &session{o: c, url: u.String(), shown: shown.String(), client: c.httpClient(), base: context.WithoutCancel(ctx), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(s.base)
	return s
}

// window returns how many requests may be open at a time.
func (s *session) window() int {
	n := s.granted.Requests
	if n <= 0 {
		n = max(s.granted.Hold, 1) + 1
	}
	return min(n, maxRequests)
}

// slack is the input beyond Options.ReadBuffer, in bytes, from the answers to unavoidable
// requests. After it these requests pause the session; not all servers do that well.
const slack = 256 << 10

// stalled reports how far the application is behind with reading. With some, no more is
// fetched; with much, no more may come at all. Once the end is on its way both are
// false.
func (s *session) stalled() (some, much bool) {
	for _, c := range s.conns {
		if c.finishing {
			return false, false
		}
		some = some || c.unread() > s.o.ReadBuffer
		much = much || c.unread() > s.o.ReadBuffer+slack
	}
	return some, much
}

// pump sends a request if one is due. It is called after each change.
func (s *session) pump() {
	if s.starting || !s.due() {
		return
	}
	s.starting = true
	s.running.Go(s.run)
}

// due reports whether a request may go out, and there is reason to. If it is too early
// it sets the timer.
func (s *session) due() bool {
	if s.closing || s.pausing || s.err != nil {
		return false
	}
	stalled, pausing := s.stalled()
	stuck := pausing && s.granted.MaxPause == 0
	if c := s.speaker(); c != nil {
		limit := s.window()
		if kind := c.out.batch(s.o.Batch).kind; kind == pause || kind == terminate || pausing {
			limit++
		}
		if len(s.open) < limit && !stuck {
			return true
		}
	}
	switch {
	case len(s.open) > 0:
		return false
	case s.o.manual:
		return s.polls > 0
	case stalled:
		return !stuck && !s.keepAt.IsZero() && s.reached(s.keepAt)
	}
	return s.reached(s.pollAt) && s.reached(s.pauses)
}

// reached reports whether t has come. If not, it has pump called then.
func (s *session) reached(t time.Time) bool {
	wait := time.Until(t)
	if wait > 0 {
		s.wakeAfter(wait)
	}
	return wait <= 0
}

// wakeAfter has pump called after d. A later call takes the place of an earlier one.
func (s *session) wakeAfter(d time.Duration) {
	if s.timer != nil {
		s.timer.Reset(d)
		return
	}
	s.timer = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.end != nil {
			s.finish(s.end)
		}
		s.pump()
	})
}

// speaker returns the Conn with the next output, or nil.
func (s *session) speaker() *Conn {
	for i := range s.conns {
		if c := s.conns[(s.turn+i)%len(s.conns)]; !c.out.empty() {
			return c
		}
	}
	return nil
}

// run takes one request and sends it until it is answered.
func (s *session) run() {
	s.mu.Lock()
	s.starting = false
	var r *request
	if s.due() {
		r = s.take()
		s.pump()
	}
	s.mu.Unlock()
	if r != nil && s.compose(r) {
		s.carry(r)
	}
}

// take makes the next request from the unsent output. It does so as late as possible,
// to include the latest writes.
func (s *session) take() *request {
	r := &request{rid: s.next, kind: empty, sentAt: time.Now(), sent: make(chan struct{})}
	if last := len(s.open) - 1; last >= 0 {
		r.after = s.open[last].sent
	}
	r.ask.Rid, r.ask.SID = r.rid, s.sid
	if s.keys != nil {
		r.ask.Key, r.ask.NewKey = s.keys.next()
	}
	if got := s.head - 1; !s.o.NoAcks && got != r.rid-1 {
		r.ask.Ack = got
	}
	if c := s.speaker(); c != nil {
		s.turn++
		c.fill(r)
	}
	if _, pausing := s.stalled(); pausing && r.pause == 0 && r.kind != terminate && s.granted.MaxPause > 0 {
		r.pause = s.granted.MaxPause
	}
	r.ask.Pause = int64(r.pause / time.Second)
	s.started(r)
	return r
}

// started takes note of a new request.
func (s *session) started(r *request) {
	s.open = append(s.open, r)
	s.next++
	s.pollAt, s.pauses = time.Time{}, time.Time{}
	s.polls = 0
	s.pausing = r.pause > 0
	s.closing = r.kind == terminate
	s.stats.Requests++
	if len(r.ask.Payloads) == 0 {
		s.stats.Empty++
	}
}

// finish ends the session, the first time.
func (s *session) finish(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.closing = true
	s.cancel()
	close(s.done)
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, c := range s.conns {
		c.finish(err)
	}
	for _, r := range s.open {
		r.tell(nil, err)
	}
}

// abandon ends the session without a word to the server and waits until its goroutines
// have ended. Unsent and unread bytes are kept for State.
func (s *session) abandon() {
	s.mu.Lock()
	s.finish(net.ErrClosed)
	s.mu.Unlock()
	s.running.Wait()
}

// well reports whether an error is no failure: the end in good order.
func well(err error) bool { return err == nil || errors.Is(err, io.EOF) }
