//go:build linux

package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A floor is the least http.Handler to serve the clients of this command. It
// takes the same requests as a BOSH server and gives the same answers, byte for
// byte. But it reads no XML, checks nothing, repeats nothing and bounds
// nothing. Its application echoes, in a goroutine for each session if it has
// those. Their cost is that of the runtime, and of any application written for
// net.Conn.
type floor struct {
	goroutines bool
	router     *router // the application in place of an echo, or nil

	mu       sync.RWMutex // guards sessions
	sessions map[string]*floorSession
}

type floorSession struct {
	wait time.Duration
	wake chan struct{} // for the application's goroutine; nil if it has none

	user *user      // of the router, if there is one
	turn sync.Mutex // of the router's user

	mu    sync.Mutex    // guards the following
	last  int64         // highest rid
	in    []byte        // waits for the goroutine
	out   []byte        // waits for a request
	older *floorRequest // waits for the goroutine
	held  *floorRequest
}

type floorRequest struct {
	rid    int64
	wait   time.Duration
	answer chan []byte // of capacity 1; nil with conn
	conn   *hijacked   // to be answered on
	timer  *time.Timer // of a request with conn
}

// give answers a request.
func (r *floorRequest) give(b []byte) {
	if r.conn == nil {
		r.answer <- b
		return
	}
	r.timer.Stop()
	r.conn.answer(b)
}

func newFloor(goroutines bool) *floor {
	return &floor{goroutines: goroutines, sessions: make(map[string]*floorSession)}
}

// The answers, as the library makes them.
const (
	floorOpen    = "<body xmlns='http://jabber.org/protocol/httpbind'"
	floorStream  = "' authid='s1' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh' xmlns:stream='http://etherx.jabber.org/streams'>"
	floorGranted = "' hold='1' requests='2' inactivity='75' maxpause='120' ver='1.11' accept='gzip,deflate' ack='"
)

var (
	floorBlank = []byte(floorOpen + "/>")
	floorEnd   = []byte(floorOpen + " type='terminate'/>")
)

func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := readBody(r)
	answer, held := f.receive(*body, nil)
	bodies.Put(body)
	if held != nil {
		timer := time.NewTimer(held.wait)
		defer timer.Stop()
		select {
		case answer = <-held.answer:
		case <-timer.C:
			answer = floorBlank
		case <-r.Context().Done():
			return
		}
	}
	sendAnswer(w, answer)
}

// receive returns the answer to a request, or the request if it must be held. conn is the
// connection it came on, if that is taken over.
func (f *floor) receive(body []byte, conn *hijacked) ([]byte, *floorRequest) {
	sid, rid := field(body, " sid='"), number(field(body, " rid='"))
	if sid == nil {
		id := rand.Text()
		f.mu.Lock()
		wait := time.Duration(number(field(body, " wait='"))) * time.Second
		s := &floorSession{last: rid, wait: wait - wait/20}
		f.sessions[id] = s
		f.mu.Unlock()
		if f.goroutines {
			s.wake = make(chan struct{}, 1)
			go s.echo()
		}
		if f.router != nil {
			s.user = &user{write: s.write}
		}
		b := append(make([]byte, 0, 768), floorOpen+" sid='"...)
		b = append(append(b, id...), "' wait='"...)
		b = append(append(b, field(body, " wait='")...), floorGranted...)
		b = strconv.AppendInt(b, rid, 10)
		b = append(append(b, "' from='"...), field(body, " to='")...)
		if f.router != nil {
			return append(b, floorStream+mechanisms+"</body>"...), nil
		}
		return append(b, "'/>"...), nil
	}
	f.mu.RLock()
	s := f.sessions[string(sid)]
	f.mu.RUnlock()
	if s == nil {
		return floorEnd, nil
	}
	if bytes.Contains(body[:bytes.IndexByte(body, '>')], []byte(" type='terminate'")) {
		f.mu.Lock()
		delete(f.sessions, string(sid))
		f.mu.Unlock()
		if f.router != nil {
			f.router.leave(s.user)
		}
		return s.terminate(rid), nil
	}
	if f.router == nil {
		return s.receive(rid, conn, payload(body), payload(body))
	}
	if bytes.Contains(body[:bytes.IndexByte(body, '>')], []byte(" xmpp:restart=")) {
		return s.receive(rid, conn, nil, []byte(features))
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.receive(rid, conn, payload(body), f.router.take(s.user, payload(body)))
}

// write sends b to this user, for the router.
func (s *floorSession) write(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = append(s.out, b...)
	s.speak()
}

func (s *floorSession) terminate(rid int64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake != nil {
		close(s.wake)
	}
	if s.held == nil {
		return floorEnd
	}
	s.held.give(append(strconv.AppendInt([]byte(floorOpen+" ack='"), rid, 10), "' type='terminate'/>"...))
	s.held = nil
	return floorBlank
}

// receive takes a payload, and the application's reply to it if it has no goroutine.
func (s *floorSession) receive(rid int64, conn *hijacked, payload, reply []byte) ([]byte, *floorRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = rid
	older := s.held
	s.hold(rid, conn)
	switch {
	case s.wake != nil && len(payload) > 0:
		s.in, s.older = append(s.in, payload...), older
		select {
		case s.wake <- struct{}{}:
		default:
		}
		return nil, s.held
	case older != nil && len(reply) == 0 && len(s.out) == 0:
		older.give(floorBlank)
		return nil, s.held
	}
	s.out = append(s.out, reply...)
	switch {
	case older != nil:
		older.give(s.take(older))
	case len(s.out) > 0:
		answer := s.take(s.held)
		s.held = nil
		return answer, nil
	}
	return nil, s.held
}

// hold keeps the request that has come.
func (s *floorSession) hold(rid int64, conn *hijacked) {
	r := &floorRequest{rid: rid, wait: s.wait, conn: conn}
	s.held = r
	if conn == nil {
		r.answer = make(chan []byte, 1)
		return
	}
	r.timer = time.AfterFunc(r.wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held == r {
			s.held = nil
			r.give(floorBlank)
		}
	})
}

// echo is the application in a goroutine.
func (s *floorSession) echo() {
	for range s.wake {
		s.mu.Lock()
		s.out = append(s.out, s.in...)
		s.in = s.in[:0]
		s.speak()
		s.mu.Unlock()
	}
}

// speak answers the oldest request with all waiting output.
func (s *floorSession) speak() {
	r := s.older
	if r == nil {
		r, s.held = s.held, nil
	}
	s.older = nil
	if r != nil {
		r.give(s.take(r))
	}
}

// take returns the answer to r with all waiting output.
func (s *floorSession) take(r *floorRequest) []byte {
	b := append(make([]byte, 0, len(floorOpen)+len(s.out)+32), floorOpen...)
	if s.last != r.rid {
		b = append(strconv.AppendInt(append(b, " ack='"...), s.last, 10), '\'')
	}
	if s.user != nil {
		b = append(b, " xmlns:stream='http://etherx.jabber.org/streams'"...)
	}
	b = append(append(append(b, '>'), s.out...), "</body>"...)
	s.out = s.out[:0]
	return b
}

// push sends b to all clients.
func (f *floor) push(b []byte) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, s := range f.sessions {
		s.mu.Lock()
		s.out = append(s.out, b...)
		s.speak()
		s.mu.Unlock()
	}
}

// bare measures the cost of net/http with no server behind it: it holds
// requests without payload for ever, and answers all others at once by always
// the same.
func bare(w http.ResponseWriter, r *http.Request) {
	body := readBody(r)
	answer := []byte(nil)
	switch b := *body; {
	case field(b, " sid='") == nil:
		answer = bareGranted
	case len(payload(b)) > 0:
		answer = bareEcho
	}
	bodies.Put(body)
	if answer == nil {
		<-r.Context().Done()
		return
	}
	sendAnswer(w, answer)
}

var (
	bareGranted = []byte(floorOpen + " sid='AAAAAAAAAAAAAAAAAAAAAAAAAA' wait='60" + floorGranted + "1' from='example.com'/>")
	bareEcho    = []byte(floorOpen + " ack='1000000001'>" + stanza + "</body>")
)

var bodies = sync.Pool{New: func() any { return new([]byte) }}

// readBody reads the whole body of r into a buffer of bodies.
func readBody(r *http.Request) *[]byte {
	b := bodies.Get().(*[]byte)
	if n := int(r.ContentLength); cap(*b) < n {
		*b = make([]byte, n)
	} else {
		*b = (*b)[:n]
	}
	io.ReadFull(r.Body, *b)
	return b
}

// The common head of all answers of the library.
var (
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
	sandbox     = []string{"sandbox; default-src 'none'; frame-ancestors 'none'"}
	anyOrigin   = []string{"*"}
	contentType = []string{"text/xml; charset=utf-8"}
)

func sendAnswer(w http.ResponseWriter, b []byte) {
	h := w.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = sandbox
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Content-Type"] = contentType
	if len(b) > 2<<10 { // else net/http adds it
		h["Content-Length"] = []string{strconv.Itoa(len(b))}
	}
	w.Write(b)
}

// field returns the text after name, up to the next quote, or nil.
func field(body []byte, name string) []byte {
	i := bytes.Index(body, []byte(name))
	if i < 0 {
		return nil
	}
	rest := body[i+len(name):]
	return rest[:bytes.IndexByte(rest, '\'')]
}

func number(b []byte) (n int64) {
	for _, c := range b {
		n = n*10 + int64(c-'0')
	}
	return n
}

// payload returns the content of the wrapper.
func payload(body []byte) []byte {
	i, j := bytes.IndexByte(body, '>'), len(body)-len("</body>")
	if i+1 >= j {
		return nil
	}
	return body[i+1 : j]
}
