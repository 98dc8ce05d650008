package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A codec reads or writes: the same description of the fields does for both, so that they
// cannot differ. A field that a later version has added is left out for an older one.
type codec struct {
	b       []byte // what has been written, or is still to be read
	reads   bool
	version byte // of what is read or written
	err     error
}

// errState says that bytes are no state.
var errState = errors.New("bosh: no state of a session, or a damaged one")

func (c *codec) fail() {
	if c.err == nil {
		c.err = errState
	}
	c.b = nil
}

// number codes a number from 0 to max.
func number[T ~int | ~int64 | ~uint16 | ~uint32 | ~uint8](c *codec, p *T, max uint64) {
	if !c.reads {
		c.b = binary.AppendUvarint(c.b, uint64(*p))
		return
	}
	n, size := binary.Uvarint(c.b)
	if size <= 0 || n > max {
		c.fail()
		return
	}
	c.b = c.b[size:]
	*p = T(n)
}

// fixed codes 8 bytes.
func (c *codec) fixed(p *uint64) {
	if !c.reads {
		c.b = binary.LittleEndian.AppendUint64(c.b, *p)
		return
	}
	if b := c.take(8); b != nil {
		*p = binary.LittleEndian.Uint64(b)
	}
}

func (c *codec) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.fail()
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

// maxTime is the longest time, in nanoseconds: over a year.
const maxTime = 1 << 55

// times codes times, of which none is negative.
func (c *codec) times(ps ...*time.Duration) {
	for _, p := range ps {
		if !c.reads {
			*p = min(max(*p, 0), maxTime)
		}
		number(c, (*int64)(p), maxTime)
	}
}

// texts codes texts. They are copies.
func (c *codec) texts(ps ...*string) {
	for _, p := range ps {
		n := len(*p)
		number(c, &n, uint64(len(c.b)))
		if !c.reads {
			c.b = append(c.b, *p...)
		} else {
			*p = string(c.take(n))
		}
	}
}

// bytes codes bytes. Those that are read are part of what is read from, or nil.
func (c *codec) bytes(p *[]byte) {
	n := len(*p)
	number(c, &n, uint64(len(c.b)))
	if !c.reads {
		c.b = append(c.b, *p...)
	} else if b := c.take(n); n > 0 {
		*p = b
	}
}

// flags codes up to 7 flags.
func (c *codec) flags(ps ...*bool) {
	var b byte
	for i, p := range ps {
		if *p {
			b |= 1 << i
		}
	}
	number(c, &b, 1<<len(ps)-1)
	for i, p := range ps {
		*p = b>>i&1 != 0
	}
}

// list codes the elements of a list, each of which takes size bytes at least.
func list[T any](c *codec, p *[]T, size int, element func(*T)) {
	n := len(*p)
	number(c, &n, uint64(len(c.b)/size))
	if c.reads {
		*p = nil
		if c.err == nil && n > 0 {
			*p = make([]T, n)
		}
	}
	for i := range *p {
		if element(&(*p)[i]); c.err != nil {
			return
		}
	}
}

// maybe codes something that there may be none of.
func maybe[T any](c *codec, p **T, what func(*T)) {
	is := *p != nil
	if c.flags(&is); !is || c.err != nil {
		return
	}
	if c.reads {
		*p = new(T)
	}
	what(*p)
}

// other says that a state is of a version that is not read.
func (f format) other(version byte) error {
	return fmt.Errorf("bosh: state of a session in version %d, and this program reads %d to %d: update one release after the other",
		version, f.oldest, f.version)
}
