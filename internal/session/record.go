package session

import (
	"math"
	"time"
)

// A State is how far a request has come.
type State uint8

const (
	Early    State = iota // received, but a lower rid is missing
	Open                  // its turn has come, but it is not answered
	Answered              // answered, and the answer is kept
	Written               // the same, and nobody is writing the answer any more
)

// A Record is the Window's part of one request. X is the type of its exchange, and H that
// of its session's part while it is open; the Window looks into neither.
type Record[X, H any] struct {
	Rid     int64
	At      time.Duration // when it arrived; and once it is answered, when that was
	Sum     uint64        // hash of the body, for telling a repeat from an impostor; 0 for the creation
	Key     *string       // the key it came with, in a keyed session; else nil
	Repeats int16
	State   State

	// Pause says that the request asks for a pause, and End that it asks for the end of the
	// session or of a stream. The client may send it with the window full, so its answer
	// takes no place there. XEP-0124, sections 11 and 14.3.
	Pause, End bool

	// Empty says that the request carried nothing of importance; the rules on frequency are
	// about such requests.
	Empty bool

	Release bool   // early, open: it is to be answered at once
	Payload bool   // answered: the answer carries payloads
	Shared  bool   // answered: others have the same Body, which is counted elsewhere
	Body    []byte // answered: the answer, byte for byte; before that empty, with room for one if there is any

	// Early is the body of the request as long as it waits for its turn. Parsed it would
	// take many times the room.
	Early []byte

	seen bool // answered: the client has the answer: see Prove

	// Load is the amount of a stream's output in the answer, in the caller's units, and Of
	// the stream's number in its session. They are set before Answer.
	Of   uint16
	Load uint32

	Exchange *X // early, open: where to answer; nil if the connection broke
	Held     H  // open
}

// recordSize is the size of a record without its references, about.
const recordSize = 120

// weight returns how many bytes r takes, about. Room for an answer does not count: it must
// not make a session look greedy.
func (r *Record[X, H]) weight() int { return recordSize + r.burden() }

// burden returns how many bytes of them are outside of it.
func (r *Record[X, H]) burden() (n int) {
	if r.State >= Answered && !r.Shared {
		n += cap(r.Body)
	}
	if r.Key != nil {
		n += len(*r.Key)
	}
	return n + cap(r.Early)
}

// room returns the buffer of the answer for another one, once r is forgotten, if nobody
// else has it. It is certain after one write of an answer with payloads.
func (r *Record[X, H]) room() []byte {
	if r.State != Written || !r.Payload || r.Shared || r.Repeats > 0 || cap(r.Body) > maxRoom {
		return nil
	}
	return r.Body[:0]
}

// maxRoom is the largest reused buffer, in bytes. A session keeps one for each unanswered
// request, and one more. They were those of recent answers: see wire.Response.Bytes.
const maxRoom = 64 << 10

// Wrote takes note of the end of a write of body: the answer to r, or something else. It
// reports whether the client has been sent payloads by it.
func (r *Record[X, H]) Wrote(body []byte) (payload bool) {
	if r.State < Answered || len(body) == 0 || len(r.Body) == 0 || &body[0] != &r.Body[0] {
		return false
	}
	r.State = Written
	return r.Payload
}

// Repeat counts a repeat of r. It returns how many there have been, or MaxInt16 if
// they are more.
func (r *Record[X, H]) Repeat() int {
	if r.Repeats < math.MaxInt16 {
		r.Repeats++
	}
	return int(r.Repeats)
}

// Matches reports whether a request with the hash sum is a repeat of r. The creation
// request cannot be repeated word for word: it had no sid.
func (r *Record[X, H]) Matches(sum uint64) bool { return r.Sum == sum || r.creates() }

// creates reports whether r is the creation request.
func (r *Record[X, H]) creates() bool { return r.Sum == 0 }

// extra reports whether r was allowed one place beyond the window.
func (r *Record[X, H]) extra() bool { return r.Pause || r.End }
