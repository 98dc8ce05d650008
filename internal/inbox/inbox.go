// Package inbox buffers what a client sent until the application reads it, and
// remembers where elements and requests end.
package inbox

import (
	"slices"

	"github.com/gobosh/bosh/internal/buffer"
)

// An Inbox is a queue of bytes. The zero value is empty.
type Inbox struct {
	b     []byte
	off   int    // how much of b has been read
	marks []mark // ends in b, ascending; some may have been passed
}

type mark struct {
	end  int
	last bool // of its request
}

// maxMarks is how many marks an empty Inbox keeps room for.
const maxMarks = 64

// Len returns how many bytes there are.
func (in *Inbox) Len() int { return len(in.b) - in.off }

// Buffer returns the buffer for appending n bytes or so to it. Element and Bytes
// take it back.
func (in *Inbox) Buffer(n int) []byte {
	in.b = buffer.Grow(in.b, n)
	return in.b
}

// Element takes back the buffer with one element appended. The last one of a
// request ends what one Read returns.
func (in *Inbox) Element(b []byte, last bool) {
	in.b = b
	in.marks = append(in.marks, mark{len(b), last})
}

// Bytes takes back the buffer with bytes appended that have no ends.
func (in *Inbox) Bytes(b []byte) { in.b = b }

// Read moves bytes to p, not beyond the end of a request.
func (in *Inbox) Read(p []byte) int {
	end := len(in.b)
	for _, m := range in.marks[in.past():] {
		if m.last || m.end-in.off >= len(p) {
			end = m.end
			break
		}
	}
	n := copy(p, in.b[in.off:end])
	in.take(n)
	return n
}

// Next returns the rest of the next element, in a buffer of its own, or nil if
// there is none.
func (in *Inbox) Next() []byte {
	past := in.past()
	if past == len(in.marks) {
		return nil
	}
	el := append([]byte(nil), in.b[in.off:in.marks[past].end]...)
	in.take(len(el))
	return el
}

// Clear drops everything.
func (in *Inbox) Clear() {
	buffer.Rest(in.b)
	*in = Inbox{}
}

// past returns how many marks have been passed.
func (in *Inbox) past() int {
	n, _ := slices.BinarySearchFunc(in.marks, in.off+1, func(m mark, off int) int { return m.end - off })
	return n
}

// take drops n bytes, and now and then what has been passed.
func (in *Inbox) take(n int) {
	in.off += n
	switch rest := in.b[in.off:]; {
	case len(rest) == 0:
		in.b, in.off = buffer.Rest(in.b), 0
		in.marks = in.marks[:0]
		if cap(in.marks) > maxMarks {
			in.marks = nil
		}
	case in.off > buffer.Small && in.off > len(rest):
		ahead := in.marks[in.past():]
		for i, m := range ahead {
			in.marks[i] = mark{m.end - in.off, m.last}
		}
		in.marks = in.marks[:len(ahead)]
		if len(rest) > buffer.Small {
			in.b = in.b[:copy(in.b, rest)]
		} else {
			small := append([]byte(nil), rest...)
			buffer.Rest(in.b)
			in.b = small
		}
		in.off = 0
	}
}
