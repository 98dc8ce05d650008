package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobosh/bosh"
)

// A bridge carries one stream to one connection to a server and back. Each
// direction is a copy at the pace of the slower side; nothing is kept beyond
// one element.
type bridge struct {
	stream *bosh.Stream
	server net.Conn
	domain domain // that the server was connected to for
	split  splitter
	check  checker
	pulse  pulse
	budget *budget

	keepalive time.Duration // silence after which the server is asked for a sign of life; 0 is never
	patience  time.Duration // for the server to take or to give what is due
	count     *metrics
	meter     *meter // nil without limits on the client

	mu    sync.Mutex // Protects following.
	why   string     // the first reason for the end
	cause error      // and what it was, if that is known

	loggedIn atomic.Bool // so that the server minds no white space
	bound    atomic.Bool // so that it answers requests
	managed  atomic.Bool // the client has it keep what it does not acknowledge
	gone     atomic.Bool // the server has ended its side
	evicted  atomic.Bool // the budget has ended the stream

	// Of up.
	wants wish // the client wants its stream managed

	custody custody // otherwise, of what the client is not known to have

	// The proxy's unanswered questions to the server.
	pinged atomic.Pointer[string] // by its id
	acks   atomic.Int32           // requests for an acknowledgement

	// Of down until it is done, of leave afterwards.
	unsent           [][]byte  // read from the server too late for the stream
	offersManagement bool      // the last features of the server had it
	kept             bool      // the server keeps what it sends, for the proxy: see custody, and leave
	lost             int       // stanzas that came too late to be returned
	returned         int       // stanzas that were
	leaving          time.Time // when leave must be over
	counted          int       // what the budget knows of

	done chan struct{} // closed when down is done
}

const (
	streamEnd = "</stream:stream>"

	// lastWords is how long the proxy still listens to a server after it
	// takes nothing any more.
	lastWords = time.Second

	// clientEnded is the reason for the end if a client has asked for it.
	clientEnded = "client-ended"

	// serverFailed is the one if the server has ended it, and not in good order.
	serverFailed = "server-failed"
)

// run carries until either side ends, and ends the other. It returns the reason
// for the end in a word, and its cause, if there is one to tell.
func (b *bridge) run() (why string, cause error) {
	defer b.budget.leaves(b)
	b.done = make(chan struct{})
	b.pulse.begin()
	go func() {
		defer close(b.done)
		b.down()
	}()
	err := b.up()
	if b.evicted.Load() {
		err = overBudget
	}
	if over(err) {
		b.because(reason(err), causeOf(err))
		b.stream.Close() // which ends a Write that is blocked
		b.pulse.hurry(time.Unix(1, 0))
		<-b.done
	} else {
		b.pulse.hurry(time.Now().Add(lastWords))
		<-b.done
		b.fail(err)
	}
	b.leave(err)
	b.server.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why, b.cause
}

// over reports whether err is the end of the stream.
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

// causeOf returns the cause behind err, the end of the stream, if it says more
// than the reason.
func causeOf(err error) error {
	var e *bosh.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return nil
}

// because notes a reason for the end, if it is the first.
func (b *bridge) because(why string, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.why == "" {
		b.why, b.cause = why, cause
	}
}

var errHungUp = fmt.Errorf("the server has closed the connection without a word, as one that is stopped does: %w", io.EOF)

// fail ends the stream because of the server.
func (b *bridge) fail(err error) {
	b.gone.Store(true)
	if errors.Is(err, io.EOF) {
		err = errHungUp
	}
	b.because(serverFailed, err)
	b.stream.CloseWithError(&bosh.Error{Condition: bosh.RemoteConnectionFailed, Err: err})
}

var overBudget = &bosh.Error{Condition: bosh.PolicyViolation, Err: errBudget}

// evict ends the stream because it keeps too much.
func (b *bridge) evict() {
	b.evicted.Store(true)
	b.because("memory", errBudget)
	b.stream.CloseWithError(overBudget)
	b.pulse.hurry(time.Unix(1, 0))
}

// up carries the client's output to the server. It returns the error at its end.
func (b *bridge) up() error {
	buf := make([]byte, minBuffer)
	var end []byte // the end tag, kept back for what the server must have before
	quiet, whole := time.Now(), true
	for {
		var until time.Time // in the middle of an element nothing may be said, and the rest is there
		if whole {
			until = b.lookAt(quiet)
		}
		b.stream.SetReadDeadline(until)
		n, err := b.stream.Read(buf)
		said := buf[:n]
		// One Read gives bytes of one request.
		whole = n < len(buf) || b.stream.Session().Stats().Unread == 0
		if err == nil && bytes.HasPrefix(said, []byte(headerStart)) {
			said, err = b.restart(said)
			whole = true
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if at := b.lookAt(quiet); at.IsZero() || time.Now().Before(at) {
				err = nil // it has been answered meanwhile
				break
			}
			err, quiet = b.stir(), time.Now()
		case err == nil && string(said) == streamEnd:
			end = append(end, said...)
		case err == nil:
			if !b.bound.Load() && (bytes.Contains(said, []byte("<message")) || bytes.Contains(said, []byte("<presence"))) {
				b.pulse.settle() // a client that knows better: these want no answer
			}
			b.wants.look(said)
			begun := time.Now()
			b.pulse.tell(len(said)) // before it is written: the answer may be there at once
			if err = b.pass(append(end, said...), whole); err == nil {
				b.pulse.taken(begun)
				b.meter.passed(b.stream.Context(), len(said))
			}
			end, quiet = nil, time.Now()
		}
		if err != nil {
			return err
		}
	}
}

// tell writes to the server.
func (b *bridge) tell(p []byte) error {
	until := time.Now().Add(b.patience)
	if !b.leaving.IsZero() && b.leaving.Before(until) {
		until = b.leaving
	}
	b.server.SetWriteDeadline(until)
	n, err := b.server.Write(p)
	b.count.bytesUp.Add(int64(n))
	return err
}

// down carries the server's output to the client, until one of them has ended.
func (b *bridge) down() {
	for {
		b.pulse.heed(b.split.pending())
		n, err := b.hear()
		b.pulse.ignore()
		if n > 0 {
			if err := b.deliver(); err != nil {
				if !over(err) {
					b.fail(err)
				}
				return
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if b.pulse.hurrying() {
				return
			}
			if err = b.pulse.overdue(); err == nil {
				continue // something has come in time
			}
		}
		if err != nil {
			b.fail(err)
			return
		}
	}
}

// hear reads from the server once.
func (b *bridge) hear() (int, error) {
	if b.split.pending() > b.split.max {
		return 0, errTooLarge
	}
	room := b.split.space()
	b.budget.keeps(b, b.split.size())
	n, err := b.server.Read(room)
	b.split.filled(n)
	b.count.bytesDown.Add(int64(n))
	return n, err
}

// deliver hands all whole items to the stream, those between two features in
// one piece.
func (b *bridge) deliver() error {
	from := b.split.start
	for {
		at := b.split.start
		it, err := b.split.next()
		if err == nil {
			err = b.check.check(it)
		}
		if err != nil {
			if werr := b.write(b.split.buf[from:at]); werr != nil || err == io.ErrShortBuffer {
				return werr
			}
			return err
		}
		switch {
		case it.kind == itemHeader && b.check.old:
			b.pulse.answered(false)
		case it.kind == itemElement:
			var edited []byte
			if b.holds(it.data) {
				b.pulse.answered(false)
			} else if edited, err = b.inspect(it.data); err != nil {
				return err
			} else {
				b.counts(it.data, edited != nil)
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
			b.because("server-ended", nil)
			b.stream.Close()
			return net.ErrClosed
		}
	}
}

// inspect looks at an element by its name. It edits features, and keeps answers
// to the proxy's own questions.
func (b *bridge) inspect(element []byte) ([]byte, error) {
	bound := false
	defer func() { b.pulse.answered(bound) }()
	switch localName(element) {
	case "features":
		b.offersManagement = mentions(element, smOffered)
		return editFeatures(b.split.header, element)
	case "success":
		b.loggedIn.Store(true)
		bound = mentions(element, bound2)
		b.managed.Store(manages(element))
	case "message", "presence":
		b.loggedIn.Store(true)
		bound = true
	case "iq":
		bound = !b.bound.Load() && mentions(element, boundName)
		if b.answersPing(element) {
			return nil, nil
		}
	case "enabled", "resumed":
		if manages(element) {
			b.managed.Store(true)
			bound = true
		}
	case "a":
		if b.acks.Load() > 0 && rootName(element) == smAck {
			b.acks.Add(-1)
			return nil, nil
		}
	case "error":
		b.because("server-error", errors.New((&streamError{element}).Error()))
	}
	if bound {
		b.bound.Store(true)
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
