package boshclient

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/wire"
)

// endGrace bounds the wait for the answers to the other requests after the server has
// ended the session. They may tell more.
const endGrace = 2 * time.Second

// An answer is a <body/> from the server. It is released when it has been taken.
type answer struct{ wire.Answer }

// answers are spare ones, each with a buffer.
var answers = sync.Pool{New: func() any { return new(answer) }}

// maxSpare is the largest buffer of a spare answer.
const maxSpare = 64 << 10

func (a *answer) release() {
	if a == nil || cap(a.Body) > maxSpare {
		return
	}
	a.Reset()
	answers.Put(a)
}

// read reads the answer in a response.
func (s *session) read(resp *http.Response) (*answer, error) {
	limit := int64(s.o.MaxBody)
	if resp.ContentLength > limit {
		return nil, errTooLarge
	}
	a := answers.Get().(*answer)
	a.Reset()
	var err error
	a.Body, err = readAll(a.Body, io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(a.Body)) > limit {
		err = errTooLarge
	}
	if err == nil {
		if err = a.Parse(); err != nil {
			err = &noAnswerError{resp.Header.Get("Content-Type"), err}
		}
	}
	if err != nil {
		a.release()
		return nil, err
	}
	return a, nil
}

// readAll is io.ReadAll into a buffer.
func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// answered takes an answer. It goes no further until all lower rids have theirs.
func (s *session) answered(r *request, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	r.answer = a
	if a.Report.OK {
		s.repeat(a.Report.N)
	}
	s.settle()
	s.pump()
}

// settle takes all answers that are next in the order of rids.
func (s *session) settle() {
	for len(s.open) > 0 {
		r := s.open[0]
		if r.answer == nil && !r.failed {
			break
		}
		s.open[0] = nil
		s.open = s.open[1:]
		s.head++
		if r.answer != nil {
			s.stats.Answers++
			s.process(r, r.answer)
			r.answer.release()
		}
		r.tell(nil, s.end)
	}
	switch {
	case s.end == nil:
	case len(s.open) == 0:
		s.finish(s.end)
	default:
		s.wakeAfter(endGrace)
	}
}

// process takes the next answer in the order of rids.
func (s *session) process(r *request, a *answer) {
	if s.end == nil {
		s.opened(r, a)
		s.deliver(r, a)
	}
	if string(a.Type) == "terminate" {
		s.terminated(r, a)
		return
	}
	if r.kind == terminate && len(s.open) == 0 && s.end == nil {
		s.end = io.EOF // no answer has said so, but there is nothing more to come
	}
	s.rest(r, a)
}

// pollDelay is the wait of a poll after an answer with payloads. A reply of the
// application then goes out in place of the poll and saves a request.
const pollDelay = 5 * time.Millisecond

// rest decides how long the session may be silent after an answer.
func (s *session) rest(r *request, a *answer) {
	now, g := time.Now(), &s.granted
	quiet := g.Inactivity
	if r.pause > 0 {
		s.pausing = false
		quiet = r.pause
		if r.kind == pause { // and not for want of room
			s.pauses = now.Add(r.pause * 9 / 10)
		}
	}
	s.keepAt = time.Time{}
	if quiet > 0 {
		s.keepAt = now.Add(quiet * 3 / 4)
	}
	switch {
	case len(a.Payloads) > 0:
		s.pollAt = now.Add(pollDelay)
		return
	case r.kind != empty:
		return
	}
	// The second half is for a server with hold that answers at once: without the
	// delay this would be an endless loop.
	if g.polled() || now.Sub(r.sentAt) < 10*time.Millisecond && len(s.open) == 0 && r.pause == 0 {
		s.pollAt = now.Add(g.pollEvery())
	}
}

// deliver hands the payloads of an answer to their stream.
func (s *session) deliver(r *request, a *answer) {
	c := s.named(a.Stream)
	if c == nil {
		return // it was closed a moment ago
	}
	s.stats.PayloadsIn += int64(len(a.Payloads))
	if err := c.feed(r, a); err != nil {
		s.closing, s.end = true, err
	}
}

// named returns the open stream of a name; without a name, the first there was.
func (s *session) named(name []byte) *Conn {
	for _, c := range s.conns {
		if c.name == string(name) || len(name) == 0 && c == s.first {
			return c
		}
	}
	return nil
}

// opened makes the Conn for a request of another stream.
func (s *session) opened(r *request, a *answer) {
	if r.kind != another || string(a.Type) == "terminate" {
		return
	}
	if len(a.Stream) == 0 {
		r.tell(nil, errNoStream)
		return
	}
	s.many = true
	r.conn = s.newConn(string(a.Stream), r.items[0].to)
	r.tell(r.conn, nil)
}

// terminated takes the end of the session or of one of several streams.
func (s *session) terminated(r *request, a *answer) {
	end := endOf(a)
	if len(a.Stream) > 0 && s.end == nil && (len(s.conns) > 1 || s.named(a.Stream) == nil) {
		if c := s.named(a.Stream); c != nil {
			s.drop(c)
			c.finish(end)
		}
		if r.kind == another {
			r.tell(nil, end)
		}
		return
	}
	if s.closing && s.end == nil && r.repeats > 0 && conditionOf(end) == ItemNotFound {
		end = io.EOF // the answer to the end was lost, and the session with it
	}
	s.closing = true
	if s.end == nil || weight(end) > weight(s.end) {
		s.end = end
	}
}

// endOf returns the error for a terminal answer.
func endOf(a *answer) error {
	if len(a.Condition) == 0 {
		return io.EOF
	}
	e := &Error{Condition: Condition(a.Condition)}
	for _, p := range a.Payloads {
		if string(p.URI) == wire.NS && string(p.Local) == "uri" {
			e.URI = a.Text(p)
			continue
		}
		e.Payload = a.AppendElement(e.Payload, p)
	}
	return e
}

// weight orders the ends given to several requests of a session. The request at
// fault gets the real condition, the others get less.
func weight(end error) int {
	switch conditionOf(end) {
	case OtherRequest:
		return 0
	case ItemNotFound:
		return 1
	case "":
		return 2
	}
	return 3
}

func conditionOf(err error) Condition {
	if e, ok := err.(*Error); ok {
		return e.Condition
	}
	return ""
}

// Granted are the values of the server's creation answer. A zero field was not in
// it; see [Granted.Inactivity].
type Granted struct {
	Wait       time.Duration // how long it holds a request
	Hold       int           // how many it holds
	Requests   int           // how many may be open
	Polling    time.Duration // between two empty requests
	Inactivity time.Duration // without a request; zero: no limit
	MaxPause   time.Duration // of Pause; zero: no pauses
	Ver        string        // its version of BOSH; empty: it is a legacy one
	From       string        // the domain
	AuthID     string        // id of the XMPP stream
	Version    string        // of XMPP
	Streams    bool          // it knows several streams in a session
}

// granted reads the creation answer. The wishes of the request hold unless it says
// less.
func (c *config) granted(a *answer) Granted {
	seconds := func(n wire.Number, most time.Duration) time.Duration {
		if !n.OK || n.N > int64(most/time.Second) {
			return most
		}
		return time.Duration(n.N) * time.Second
	}
	number := func(n wire.Number, def, most int) int {
		if !n.OK {
			return def
		}
		return int(min(n.N, int64(most)))
	}
	limit := func(n wire.Number) time.Duration {
		if !n.OK {
			return 0
		}
		return seconds(n, maxGrant)
	}
	return Granted{
		Wait:       seconds(a.Wait, c.Wait),
		Hold:       number(a.Hold, c.Hold, maxRequests),
		Requests:   number(a.Requests, 0, 1<<16),
		Polling:    limit(a.Polling),
		Inactivity: limit(a.Inactivity),
		MaxPause:   limit(a.MaxPause),
		Ver:        string(a.Ver),
		From:       string(a.From),
		AuthID:     string(a.AuthID),
		Version:    string(a.Version),
		Streams:    len(a.Stream) > 0,
	}
}

// polled reports whether the server holds no request.
func (g *Granted) polled() bool { return g.Wait == 0 || g.Hold == 0 || g.Requests == 1 }

// pollEvery is how long to wait after an empty answer in a polled session.
func (g *Granted) pollEvery() time.Duration {
	if g.Polling > 0 {
		return g.Polling
	}
	return time.Second
}

// header makes the stream header of a server on TCP.
func (s *session) header(a *answer) *framing.Head {
	h := &framing.Head{
		ID:      string(a.AuthID),
		From:    or(a.From, s.granted.From),
		Version: or(a.Version, s.granted.Version),
		Lang:    string(a.Lang),
	}
	if h.ID == "" {
		h.ID = "bosh-" + strconv.FormatUint(randomID(), 36) // it must have one, and must not tell the sid
	}
	if h.From == "" {
		h.From = s.o.To
	}
	if h.Version == "" {
		h.Version = s.o.Version
	}
	return h
}

// or returns value, or def if there is none.
func or(value []byte, def string) string {
	if len(value) == 0 {
		return def
	}
	return string(value)
}
