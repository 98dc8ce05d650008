package pipeline

import (
	"bytes"
	"math"
)

// requests follows where the requests of an HTTP/1 connection begin and end.
// The zero value is at the beginning.
type requests struct {
	state  state
	length int64    // of the body
	left   int64    // of the body, when in it
	later  bool     // the line is not the first one
	empty  int      // bytes of empty lines before the next request
	line   [40]byte // the beginning of the line
	n      int      // its length, which may be more
}

type state uint8

const (
	inBetween state = iota
	inHead
	inBody
	lost // by a request whose end cannot be told so easily
)

// start reports whether nothing has been followed yet.
func (q *requests) start() bool { return *q == requests{} }

// between reports whether the next byte begins a request.
func (q *requests) between() bool { return q.state == inBetween }

// follow takes the bytes read, and returns how many requests began in them.
func (q *requests) follow(p []byte) (begun int) {
	for len(p) > 0 && q.state != lost {
		if q.state == inBody {
			n := min(q.left, int64(len(p)))
			p = p[n:]
			if q.left -= n; q.left == 0 {
				q.state = inBetween
			}
			continue
		}
		if q.state == inBetween {
			if q.later && q.empty < maxEmpty && (p[0] == '\r' || p[0] == '\n') {
				q.empty++
				p = p[1:]
				continue
			}
			begun++
			*q = requests{state: inHead}
		}
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			q.add(p)
			return begun
		}
		q.add(p[:i])
		p = p[i+1:]
		q.endLine()
	}
	return begun
}

// maxEmpty is how many bytes of empty lines may come behind a request. net/http
// overlooks as many behind a POST. They are no reason to release one: a client that
// sends them with each would poll without a pause. (If net/http has read one of them
// ahead it reads nothing more, so a request behind it is not noticed.)
const maxEmpty = 4

func (q *requests) add(p []byte) {
	if q.n < len(q.line) {
		copy(q.line[q.n:], p)
	}
	q.n += len(p)
}

// endLine takes note of a line of the head.
func (q *requests) endLine() {
	line := bytes.TrimRight(q.line[:min(q.n, len(q.line))], "\r")
	q.n = 0
	if len(line) == 0 {
		if q.state, q.left = inBody, q.length; q.left == 0 {
			q.state = inBetween
		}
		return
	}
	if !q.later {
		q.later = true
		if bytes.HasPrefix(line, []byte("PRI * HTTP/2")) {
			q.state = lost
		}
		return
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch {
	case equalFold(name, "content-length"):
		for _, c := range bytes.TrimSpace(value) {
			if c < '0' || c > '9' || q.length > math.MaxInt64/100 {
				q.state = lost
				return
			}
			q.length = q.length*10 + int64(c-'0')
		}
	case equalFold(name, "transfer-encoding"), equalFold(name, "upgrade"):
		q.state = lost
	}
}

func equalFold(b []byte, s string) bool { return len(b) == len(s) && bytes.EqualFold(b, []byte(s)) }

// handshake is the first byte of a TLS connection, and of no HTTP request.
const handshake = 0x16

// records follows where the records of a TLS connection begin and end. The zero
// value limits nothing, until the first record has been seen.
type records struct {
	head [5]byte
	n    int // bytes of the head
	left int // of the body, when in it
	seen bool
}

// limit returns how much of size may be read now.
func (q *records) limit(size int) int {
	switch {
	case !q.seen:
		return size
	case q.left > 0:
		return min(size, q.left)
	}
	return min(size, len(q.head)-q.n)
}

// follow takes the bytes read.
func (q *records) follow(p []byte) {
	q.seen = true
	for len(p) > 0 {
		if q.left > 0 {
			n := min(q.left, len(p))
			q.left -= n
			p = p[n:]
			continue
		}
		n := copy(q.head[q.n:], p)
		p = p[n:]
		if q.n += n; q.n == len(q.head) {
			q.n, q.left = 0, int(q.head[3])<<8|int(q.head[4])
		}
	}
}
