// Package inbox buffers what a client sent until the application reads it, and
// remembers where elements and requests end.
package inbox

import "github.com/gobosh/bosh/internal/buffer"

// An Inbox is a queue of bytes. The zero value is empty.
type Inbox struct {
	b     []byte
	marks []mark // ends in b, ascending

	// How much of b has been read, and how many of the marks were passed by
	// that. They are small since every session has them: see maxOff.
	off, passed uint32
}

type mark struct {
	end  int
	last bool // of its request
}

// maxMarks is how many marks an empty Inbox keeps room for.
const maxMarks = 64

// maxOff is how much of its buffer an Inbox keeps at most after it was read. A
// mark takes a byte at least, so that no more of them have been passed.
const maxOff = 1 << 30

// Len returns how many bytes there are.
func (in *Inbox) Len() int { return len(in.b) - int(in.off) }

// Buffer returns the buffer for appending n bytes or so to it. Element and Bytes
// take it back.
func (in *Inbox) Buffer(n int) []byte {
	in.b = buffer.Grow(in.b, n)
	return in.b
}

// Element takes back the buffer with one element appended, which is never empty.
// The last one of a request ends what one Read returns.
func (in *Inbox) Element(b []byte, last bool) {
	in.b = b
	in.marks = append(in.marks, mark{len(b), last})
}

// Bytes takes back the buffer with bytes appended that have no ends.
func (in *Inbox) Bytes(b []byte) { in.b = b }

// Read moves bytes to p, not beyond the end of a request.
func (in *Inbox) Read(p []byte) int {
	b := in.b[in.off:]
	for _, m := range in.marks[in.passed:] {
		if n := m.end - int(in.off); m.last || n >= len(p) {
			b = b[:n]
			break
		}
	}
	n := copy(p, b)
	in.take(n)
	return n
}

// Next appends the rest of the next element to b, if there is one.
func (in *Inbox) Next(b []byte) []byte {
	if int(in.passed) == len(in.marks) {
		return b
	}
	el := in.b[in.off:in.marks[in.passed].end]
	b = append(b, el...)
	in.take(len(el))
	return b
}

// Take returns what has not been read, and the buffer that it is in, which is the
// caller's from then on. Another buffer takes its place.
func (in *Inbox) Take(spare []byte) (b, unread []byte) {
	b, unread = in.b, in.b[in.off:]
	in.b = spare
	in.clean()
	return b, unread
}

// Clear drops everything.
func (in *Inbox) Clear() {
	buffer.Rest(in.b)
	*in = Inbox{}
}

// take drops n bytes, and now and then what has been passed: not as long as that is
// less than a lent buffer, which is given back when all of it has been read. Len does
// not count what has been passed.
func (in *Inbox) take(n int) {
	off := int(in.off) + n
	rest := in.b[off:]
	switch {
	case len(rest) == 0:
		in.clean()
	case off > buffer.Block && (off > len(rest) || off > maxOff):
		in.shift(off)
	default:
		in.off = uint32(off)
		in.pass(off)
	}
}

// pass passes the marks up to offset off.
func (in *Inbox) pass(off int) {
	for int(in.passed) < len(in.marks) && in.marks[in.passed].end <= off {
		in.passed++
	}
}

// clean begins anew after everything was read.
func (in *Inbox) clean() {
	in.b, in.off = buffer.Rest(in.b), 0
	in.marks, in.passed = in.marks[:0], 0
	if cap(in.marks) > maxMarks {
		in.marks = nil
	}
}

// shift moves what is at offset off and behind it to the beginning.
func (in *Inbox) shift(off int) {
	in.pass(off)
	ahead := in.marks[in.passed:]
	for i, m := range ahead {
		in.marks[i] = mark{m.end - off, m.last}
	}
	in.marks, in.passed = in.marks[:len(ahead)], 0
	if rest := in.b[off:]; len(rest) > buffer.Small {
		in.b = in.b[:copy(in.b, rest)]
	} else {
		small := append([]byte(nil), rest...)
		buffer.Rest(in.b)
		in.b = small
	}
	in.off = 0
}
