package boshtest

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A fakeServer is a small BOSH server of one session at a time, to test the
// kit without the library. It echoes payloads, and minds order, repeats, keys
// and acks.
type fakeServer struct {
	attrs string        // of the creation answer, besides sid and xmlns
	wait  time.Duration // of attrs
	hold  int
	late  time.Duration // after which an echo is ready

	mu       sync.Mutex
	sid      string
	sessions int
	last     int64 // highest rid in order
	requests map[int64]*fakeRequest
	held     []*fakeRequest // in order of rid, not answered
	out      []string
	later    []string // not yet in out
	key      string
	closed   bool
	problems []string
	texts    []string // of all requests that came
	arrivals []time.Time
}

type fakeRequest struct {
	rid    int64
	text   string
	body   *Body
	answer string
	conn   chan string // of the newest connection
}

func newFake() *fakeServer {
	return &fakeServer{
		attrs: "wait='60' hold='1' requests='2' polling='5' inactivity='30' maxpause='120' ver='1.11'",
		wait:  60 * time.Second, hold: 1,
	}
}

const bodyNS = " xmlns='" + NSBind + "'"

// seen returns the texts of all requests that came.
func (s *fakeServer) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.texts)
}

func (s *fakeServer) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	b, err := ParseBody(data)
	s.mu.Lock()
	s.texts = append(s.texts, string(data))
	s.arrivals = append(s.arrivals, time.Now())
	if err != nil {
		s.problem("%v", err)
		s.mu.Unlock()
		io.WriteString(w, "<body type='terminate' condition='bad-request'"+bodyNS+"/>")
		return
	}
	conn := s.request(b)
	s.mu.Unlock()
	t := time.NewTimer(s.wait)
	defer t.Stop()
	for {
		select {
		case answer := <-conn:
			io.WriteString(w, answer)
			return
		case <-r.Context().Done():
			s.mu.Lock()
			for _, q := range s.held {
				if q.conn == conn {
					q.conn = nil
				}
			}
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		case <-t.C:
			s.mu.Lock()
			for len(s.held) > 0 && s.held[0].conn == conn {
				s.answer(s.held[0], "", "")
			}
			s.mu.Unlock()
		}
	}
}

// request takes a request and returns where its answer will be.
func (s *fakeServer) request(b *Body) chan string {
	conn := make(chan string, 1)
	rid, _ := strconv.ParseInt(b.Attr("rid"), 10, 64)
	if b.Attr("sid") == "" {
		s.sessions++
		s.sid = "s" + strconv.Itoa(s.sessions)
		s.last, s.requests, s.held = rid, make(map[int64]*fakeRequest), nil
		s.key = b.Attr("newkey")
		s.closed = false
		conn <- "<body sid='" + s.sid + "' " + s.attrs + bodyNS + "/>"
		return conn
	}
	q := s.requests[rid]
	switch {
	case b.Attr("sid") != s.sid || s.closed && q == nil:
		conn <- "<body type='terminate' condition='item-not-found'" + bodyNS + "/>"
	case q != nil:
		if q.text != string(b.Raw) {
			s.problem("rid %d repeated with another text:\n%s\n%s", rid, q.text, b.Raw)
		}
		if q.answer != "" {
			if s.last-rid > 2 {
				s.problem("rid %d repeated at %d", rid, s.last)
			}
			conn <- q.answer
			break
		}
		if q.conn != nil {
			q.conn <- "<body type='error'" + bodyNS + "/>"
		}
		q.conn = conn
	case rid > s.last+int64(s.hold)+2:
		s.problem("rid %d when the last was %d", rid, s.last)
		conn <- "<body type='terminate' condition='item-not-found'" + bodyNS + "/>"
	default:
		s.requests[rid] = &fakeRequest{rid: rid, text: string(b.Raw), body: b, conn: conn}
		for next := s.requests[s.last+1]; next != nil; next = s.requests[s.last+1] {
			s.last++
			s.turn(next)
		}
	}
	s.flush()
	return conn
}

// turn handles the next request in order.
func (s *fakeServer) turn(q *fakeRequest) {
	s.held = append(s.held, q)
	if s.key != "" {
		key := q.body.Attr("key")
		if sum := sha1.Sum([]byte(key)); hex.EncodeToString(sum[:]) != s.key {
			s.problem("rid %d: wrong key", q.rid)
		}
		s.key = key
		if k := q.body.Attr("newkey"); k != "" {
			s.key = k
		}
	}
	var echo string
	for _, p := range q.body.Payloads {
		if !strings.HasPrefix(string(p), "<quiet") {
			echo += string(p)
		}
	}
	if echo != "" && s.late > 0 {
		s.later = append(s.later, echo)
		time.AfterFunc(s.late, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.out = append(s.out, s.later[0])
			s.later = s.later[1:]
			s.flush()
		})
	} else if echo != "" {
		s.out = append(s.out, echo)
	}
	switch {
	case q.body.Attr("type") == "terminate":
		s.closed = true
		s.answer(s.held[0], " type='terminate'", s.take())
	case q.body.Attr("pause") != "":
	case q.body.Attr("xmpp:restart") == "true":
		s.out = append(s.out, "<features"+"/>")
		return
	default:
		return
	}
	for len(s.held) > 0 {
		s.answer(s.held[0], "", "")
	}
}

func (s *fakeServer) take() string {
	out := strings.Join(s.out, "")
	s.out = nil
	return out
}

func (s *fakeServer) flush() {
	for len(s.held) > 0 && (len(s.held) > s.hold || len(s.out) > 0 && s.held[0].conn != nil) {
		if s.held[0].conn == nil {
			s.answer(s.held[0], "", "") // nothing is spent on a broken connection
			continue
		}
		s.answer(s.held[0], "", s.take())
	}
}

// answer answers the oldest held request.
func (s *fakeServer) answer(q *fakeRequest, attrs, payloads string) {
	s.held = s.held[1:]
	q.answer = "<body" + attrs + bodyNS + ">" + payloads + "</body>"
	if q.conn != nil {
		q.conn <- q.answer
	}
}

// terminate ends the session from the server's side.
func (s *fakeServer) terminate(condition, payloads string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	attrs := " type='terminate'"
	if condition != "" {
		attrs += " condition='" + condition + "'"
	}
	for len(s.held) > 0 {
		s.answer(s.held[0], attrs, payloads)
		payloads = ""
	}
}
