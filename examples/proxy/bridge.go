package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh"
)

// A bridge carries one stream to one connection to a server and back. Each
// direction is a copy that waits for whoever is slow; nothing is kept beyond
// one element.
type bridge struct {
	stream *bosh.Stream
	server net.Conn
	split  splitter

	keepalive time.Duration // silence after which the server gets a blank; 0 is never
	patience  time.Duration // for the server to take or to give what is due
	count     *metrics

	mu      sync.Mutex // Protects following.
	hurried bool       // the read deadline of server must stay
	why     string     // the first reason for the end

	loggedIn atomic.Bool // so that the server minds no white space
	gone     atomic.Bool // the server has ended its side

	// Of down until it is done, of leave afterwards.
	unsent           [][]byte // read from the server too late for the stream
	offersManagement bool     // the last features of the server had it
	managed          bool     // the client has the server keep what it does not acknowledge
	kept             bool     // leave has, and acknowledges nothing
	lost             int      // stanzas that came too late to be returned

	done chan struct{} // closed when down is done
}

const (
	streamEnd = "</stream:stream>"

	// lastWords is how long a server that takes nothing any more is listened
	// to.
	lastWords = time.Second

	// clientEnded is the reason for the end if a client has asked for it.
	clientEnded = "client-ended"
)

// run carries until either side ends, and ends the other. It returns the reason
// for the end in a word.
func (b *bridge) run() string {
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		b.down()
	}()
	err := b.up()
	if over(err) {
		b.because(reason(err))
		b.stream.Close() // which ends a Write that is blocked
		b.hurry(time.Unix(1, 0))
		<-b.done
	} else {
		b.hurry(time.Now().Add(lastWords))
		<-b.done
		b.fail(err)
	}
	b.leave(err)
	b.server.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why
}

// over reports whether err says that the stream has ended.
func over(err error) bool {
	var e *bosh.Error
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &e)
}

// reason returns the reason for the end of the stream by err.
func reason(err error) string {
	var e *bosh.Error
	switch {
	case !errors.As(err, &e):
		return clientEnded
	case e.Condition != "":
		return string(e.Condition)
	}
	return "client-lost"
}

// because notes a reason for the end, if it is the first.
func (b *bridge) because(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.why == "" {
		b.why = why
	}
}

// fail ends the stream because of the server.
func (b *bridge) fail(err error) {
	b.gone.Store(true)
	b.because("server-failed")
	b.stream.CloseWithError(&bosh.Error{Condition: bosh.RemoteConnectionFailed, Err: err})
}

// up carries what the client says. It returns the error that ended it.
func (b *bridge) up() error {
	buf := make([]byte, minBuffer)
	var end []byte // the end tag, kept back for what the server must have before
	for {
		if b.keepalive > 0 {
			b.stream.SetReadDeadline(time.Now().Add(b.keepalive))
		}
		n, err := b.stream.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			// All that was read before were whole elements.
			err = nil
			if b.loggedIn.Load() {
				err = b.tell([]byte(" "))
			}
		case err == nil && string(buf[:n]) == streamEnd:
			end = append(end, buf[:n]...)
		case err == nil:
			err = b.tell(append(end, buf[:n]...))
			end = nil
		}
		if err != nil {
			return err
		}
	}
}

// tell writes to the server.
func (b *bridge) tell(p []byte) error {
	b.server.SetWriteDeadline(time.Now().Add(b.patience))
	n, err := b.server.Write(p)
	b.count.bytesUp.Add(int64(n))
	return err
}

// down carries what the server says, until one of them has ended.
func (b *bridge) down() {
	b.server.SetReadDeadline(time.Now().Add(b.patience)) // for its first words
	for first := true; ; {
		n, err := b.hear()
		if n > 0 {
			if first {
				first = false
				b.relax()
			}
			if err := b.deliver(); err != nil {
				if !over(err) {
					b.fail(err)
				}
				return
			}
		}
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) || !b.hurrying() {
				b.fail(err)
			}
			return
		}
	}
}

// hear reads from the server once.
func (b *bridge) hear() (int, error) {
	if len(b.split.buf)-b.split.start > b.split.max {
		return 0, errTooLarge
	}
	n, err := b.server.Read(b.split.space())
	b.split.filled(n)
	b.count.bytesDown.Add(int64(n))
	return n, err
}

// hurry sets a time at which reading from the server ends.
func (b *bridge) hurry(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hurried = true
	b.server.SetReadDeadline(t)
}

func (b *bridge) hurrying() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hurried
}

// relax lets the server be silent.
func (b *bridge) relax() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.hurried {
		b.server.SetReadDeadline(time.Time{})
	}
}

// deliver hands all whole items to the stream, those between two features in
// one piece.
func (b *bridge) deliver() error {
	from := b.split.start
	for {
		at := b.split.start
		it, err := b.split.next()
		if err != nil {
			if werr := b.write(b.split.buf[from:at]); werr != nil || err == io.ErrShortBuffer {
				return werr
			}
			return err
		}
		switch {
		case it.kind == itemElement:
			edited, err := b.inspect(it.data)
			if err != nil {
				return err
			}
			if len(edited) == len(it.data) {
				continue
			}
			if err := b.write(b.split.buf[from:at]); err != nil {
				return err
			}
			if err := b.write(edited); err != nil {
				return err
			}
			from = it.end
		case it.kind == itemEnd:
			if err := b.write(b.split.buf[from:it.end]); err != nil {
				return err
			}
			b.gone.Store(true)
			b.because("server-ended")
			b.stream.Close()
			return net.ErrClosed
		}
	}
}

// inspect looks at an element by its name, and edits features.
func (b *bridge) inspect(element []byte) ([]byte, error) {
	switch localName(element) {
	case "features":
		b.offersManagement = mentions(element, smOffered)
		return editFeatures(b.split.header, element)
	case "success":
		b.loggedIn.Store(true)
		b.managed = manages(element)
	case "message", "presence":
		b.loggedIn.Store(true)
	case "enabled", "resumed":
		b.managed = b.managed || manages(element)
	case "error":
		b.because("server-error")
	}
	return element, nil
}

// write writes whole items to the stream. If it does not take them, they are
// kept for the server to hear of.
func (b *bridge) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := b.stream.Write(p)
	if err == nil {
		return nil
	}
	failed := splitter{max: len(p), buf: p, depth: 1}
	for {
		it, err := failed.next()
		if err != nil {
			break
		}
		if it.kind == itemElement && it.end > n {
			b.unsent = append(b.unsent, bytes.Clone(it.data))
		}
	}
	return err
}
