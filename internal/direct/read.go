package direct

import (
	"io"
	"net"
	"sync"
	"time"
)

// Buffers are lent to a connection while there is something in them.
const bufferSize = 4 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func getBuffer() []byte { return buffers.Get().(*[bufferSize]byte)[:0] }

// putBuffer takes a buffer back. One that has grown is left to the collector.
func putBuffer(b []byte) {
	if cap(b) == bufferSize {
		buffers.Put((*[bufferSize]byte)(b[:bufferSize]))
	}
}

// read reads more into the buffer.
func (c *conn) read() error {
	c.makeRoom()
	switch {
	case c.raw != nil:
		return c.readRaw()
	case c.buf == nil:
		// There will be a buffer when there is something to put into it.
		n, err := c.rwc.Read(c.one[:])
		if n > 0 {
			c.buf = append(getBuffer(), c.one[0])
			return nil
		}
		c.err = err
		return err
	}
	n, err := c.rwc.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	c.err = err
	return err
}

// makeRoom sees to it that something can be read.
func (c *conn) makeRoom() {
	if len(c.buf) < cap(c.buf) || c.buf == nil {
		return
	}
	old := c.buf
	if c.used > 0 {
		c.buf = old[:copy(old, old[c.used:])]
		c.used = 0
		return
	}
	c.buf = append(make([]byte, 0, 2*cap(old)), old...)
	putBuffer(old)
}

// readRaw reads as soon as there is something to read, and has no buffer before.
func (c *conn) readRaw() error {
	if err := c.raw.Read(c.readable); err != nil {
		return err
	}
	if c.err != nil {
		return c.err
	}
	if c.n == 0 {
		c.err = io.EOF
		return io.EOF
	}
	return nil
}

// write writes b as far as that is possible without waiting. It reports whether
// that is all, or the connection has failed.
func (c *conn) write(b []byte) (done bool) {
	c.unsent = b
	if c.raw == nil {
		return false
	}
	if err := c.raw.Write(c.writable); err != nil || c.broken {
		c.fail()
		return true
	}
	return len(c.unsent) == 0
}

// finishWrite writes what is left.
func (c *conn) finishWrite() {
	limit := c.e.WriteTimeout
	if limit > 0 {
		c.rwc.SetWriteDeadline(time.Now().Add(limit))
	}
	if _, err := c.rwc.Write(c.unsent); err != nil {
		c.fail()
	} else if limit > 0 {
		c.rwc.SetWriteDeadline(time.Time{})
	}
	c.unsent = nil
}

// plain returns the connection of the operating system that c is, or nil. It may
// not be one that something has been put around, which would be passed over.
func plain(c net.Conn) syscallConn {
	switch c := c.(type) {
	case *net.TCPConn:
		return c
	case *net.UnixConn:
		return c
	}
	return nil
}
