package buffer

import (
	"slices"
)

// An Inbox is a queue of bytes. The zero value is empty.
type Inbox struct {
	b     []byte
	marks []mark // ends in b, ascending

	// How much of b has been read, and how many marks were passed. They are small since
	// every session has them: see maxOff.
	off, passed uint32

	// How many bytes have been lent, and how large the buffers are they are in:
	// see Lend.
	lent, room uint32
}

// A mark is an end in the buffer: twice the offset, and one more if it is the last of
// its request.
type mark int

func newMark(end int, last bool) mark {
	m := mark(end) << 1
	if last {
		m |= 1
	}
	return m
}

func (m mark) end() int   { return int(m >> 1) }
func (m mark) last() bool { return m&1 != 0 }

// markSize is how many bytes a mark takes.
const markSize = 8

// maxMarks is how many marks an empty Inbox keeps room for.
const maxMarks = 64

// maxOff is the most read bytes that an Inbox keeps in its buffer. A mark takes a byte
// at least, so passed never exceeds it either.
const maxOff = 1 << 30

// Len returns how many bytes there are to read.
func (in *Inbox) Len() int { return len(in.b) - int(in.off) }

// Behind returns how many bytes the reader is behind: unread and lent ones.
func (in *Inbox) Behind() int { return in.Len() + int(in.lent) }

// Size returns the bytes of memory taken by unread and lent input.
func (in *Inbox) Size() int {
	n := int(in.room) + Size(in.b)
	if len(in.marks) > 0 {
		n += cap(in.marks) * markSize
	}
	return n
}

// Lend takes note of n bytes lent to a user, in a buffer of a size. The user is to be
// waited for. Several may be.
func (in *Inbox) Lend(n, size int) {
	in.lent += uint32(n)
	in.room += uint32(size)
}

// Return takes note that the user of such a loan is done.
func (in *Inbox) Return(n, size int) {
	in.lent -= uint32(n)
	in.room -= uint32(size)
}

// Buffer returns the buffer for appending n bytes or so to it. Element and Bytes
// take it back.
func (in *Inbox) Buffer(n int) []byte {
	in.b = Grow(in.b, n)
	return in.b
}

// Element takes back the buffer with one element appended. The element is never empty.
// The last one of a request ends a Read.
func (in *Inbox) Element(b []byte, last bool) {
	in.b = b
	in.marks = append(in.marks, newMark(len(b), last))
}

// Bytes takes back the buffer with bytes appended, without ends.
func (in *Inbox) Bytes(b []byte) { in.b = b }

// Read moves bytes to p, not beyond the end of a request.
func (in *Inbox) Read(p []byte) int {
	b := in.b[in.off:]
	for _, m := range in.marks[in.passed:] {
		if n := m.end() - int(in.off); m.last() || n >= len(p) {
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
	el := in.b[in.off:in.marks[in.passed].end()]
	b = append(b, el...)
	in.take(len(el))
	return b
}

// Take lends the unread bytes. It returns them, and their buffer. That is the caller's
// from then on. Another buffer takes its place.
func (in *Inbox) Take(spare []byte) (b, unread []byte) {
	b, unread = in.b, in.b[in.off:]
	in.Lend(len(unread), cap(b))
	in.b = spare
	in.clean()
	return b, unread
}

// Clear drops everything except the loans.
func (in *Inbox) Clear() {
	Rest(in.b)
	*in = Inbox{lent: in.lent, room: in.room}
}

// take drops n bytes, and now and then the passed part of the buffer. It leaves a
// passed part smaller than a lent buffer, since that is given back when all of it has
// been read. Len does not count the passed part.
func (in *Inbox) take(n int) {
	off := int(in.off) + n
	rest := in.b[off:]
	switch {
	case len(rest) == 0:
		in.clean()
	case off > Block && (off > len(rest) || off > maxOff):
		in.shift(off)
	default:
		in.off = uint32(off)
		in.pass(off)
	}
}

// pass passes the marks up to offset off.
func (in *Inbox) pass(off int) {
	for int(in.passed) < len(in.marks) && in.marks[in.passed].end() <= off {
		in.passed++
	}
}

// clean begins anew after everything was read.
func (in *Inbox) clean() {
	in.b, in.off = Rest(in.b), 0
	in.marks, in.passed = in.marks[:0], 0
	if cap(in.marks) > maxMarks {
		in.marks = nil
	}
}

// shift moves the bytes from offset off to the beginning, of a smaller buffer if they
// need much less.
func (in *Inbox) shift(off int) {
	in.pass(off)
	ahead := in.marks[in.passed:]
	for i, m := range ahead {
		ahead[i] = newMark(m.end()-off, m.last())
	}
	in.passed = 0
	if room := in.marks; cap(room) > maxMarks && len(ahead) < cap(room)/4 {
		in.marks = slices.Clone(ahead)
	} else {
		in.marks = room[:copy(room, ahead)]
	}
	little := Small
	if cap(in.b) > Block {
		little = cap(in.b) / 4
	}
	if rest := in.b[off:]; len(rest) > little {
		in.b = in.b[:copy(in.b, rest)]
	} else {
		smaller := append(Grow(nil, len(rest)), rest...)
		Rest(in.b)
		in.b = smaller
	}
	in.off = 0
}

// Lent reports whether anything has been lent.
func (in *Inbox) Lent() bool { return in.lent > 0 || in.room > 0 }

// Unread returns what there is to read, which is good until the next call of another
// method, and calls mark for each end in it.
func (in *Inbox) Unread(mark func(end int, last bool)) []byte {
	for _, m := range in.marks[in.passed:] {
		mark(m.end()-int(in.off), m.last())
	}
	return in.b[in.off:]
}

// Refill puts what another Inbox had unread into an empty one. Ends follow by Mark.
func (in *Inbox) Refill(unread []byte) { in.b = append(Grow(in.b, len(unread)), unread...) }

// Mark sets an end in what Refill has put in, behind all others.
func (in *Inbox) Mark(end int, last bool) { in.marks = append(in.marks, newMark(end, last)) }
