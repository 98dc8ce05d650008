package boshclient

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gobosh/bosh/internal/buffer"
	"github.com/gobosh/bosh/internal/framing"
	"github.com/gobosh/bosh/internal/wire"
)

var (
	errNoStream  = errors.New("the server opened no further stream")
	errNotOpaque = errors.New("answer with an element that carries no bytes")
)

// feed appends the payloads of an answer to the input. With XMPP the header goes before
// the first payload of a new stream. Features mark a new stream too, since an answer to
// an older request may bring them already. Without payloads the header comes once the
// server has sent its values.
func (c *Conn) feed(r *request, a *answer) error {
	if c.closed || c.cause != nil {
		return nil // it reads no more
	}
	if c.s.o.Framing == Opaque {
		return c.feedBytes(a)
	}
	if r.conn == c && (r.kind == restart || r.kind == another) {
		c.fresh = true
	}
	c.in.Buffer(len(a.Body)) // at once for all of them
	for i, p := range a.Payloads {
		if c.fresh || string(p.URI) == wire.NSStream && string(p.Local) == "features" {
			c.greet(a)
		}
		b := c.in.Buffer(0)
		if c.s.o.Version != "" {
			b = a.AppendStanza(b, p)
		} else {
			b = a.AppendElement(b, p)
		}
		c.in.Element(b, i == len(a.Payloads)-1)
	}
	if c.fresh && len(a.AuthID)+len(a.Version) > 0 {
		c.greet(a)
	}
	if len(a.Payloads) > 0 {
		wake(c.readable)
	}
	return nil
}

// greet puts the server's stream header into the input, if one is due.
func (c *Conn) greet(a *answer) {
	c.fresh = false
	if c.headers > 0 {
		c.headers--
		c.in.Element(c.s.header(a).Append(c.in.Buffer(0)), true)
		wake(c.readable)
	}
}

func (c *Conn) feedBytes(a *answer) error {
	if len(a.Payloads) == 0 {
		return nil
	}
	b := c.in.Buffer(len(a.Body) / 4 * 3)
	for _, p := range a.Payloads {
		var ok bool
		if b, ok = wire.AppendData(b, &a.Request, p, wire.NSOpaque); !ok {
			return errNotOpaque
		}
	}
	c.in.Bytes(b)
	wake(c.readable)
	return nil
}

// finish ends the stream by an error. The input so far can still be read.
func (c *Conn) finish(err error) {
	if c.cause != nil {
		return
	}
	c.cause = err
	if err == io.EOF && c.s.o.Framing == XMPP && !c.closed {
		c.in.Element(append(c.in.Buffer(0), endTag...), true)
	}
	wake(c.readable)
	wake(c.writable)
	wake(c.unlocked)
	c.end(err)
}

const endTag = "</stream:stream>"

// fill puts unsent output into a request.
func (c *Conn) fill(r *request) {
	s := c.s
	b := c.out.batch(s.o.Batch)
	r.conn, r.kind = c, b.kind
	r.items = c.out.take(b.n)
	if s.many {
		r.ask.Stream = c.name
	}
	for i := range r.items {
		if it := &r.items[i]; it.kind == data {
			r.ask.Payloads = append(r.ask.Payloads, it.b)
			r.ask.XMPP = r.ask.XMPP || s.o.Framing == XMPP && strings.Contains(string(it.b), "stream:")
			s.stats.PayloadsOut += it.n
		}
	}
	r.ask.Opaque = s.o.Framing == Opaque
	switch last := &r.items[b.n-1]; b.kind {
	case restart:
		r.ask.To, r.ask.From, r.ask.Lang = first(last.to, c.to), first(last.from, s.o.From), first(last.lang, s.o.Lang)
		r.ask.Restart = true
		if s.o.Framing == XMPP {
			c.headers++
		}
	case another:
		r.ask.To, r.ask.Lang, r.ask.Version, r.ask.Stream = last.to, s.o.Lang, s.o.Version, ""
	case pause:
		r.pause = last.pause
	case terminate:
		r.ask.Terminate, r.ask.Condition = true, string(last.why)
		if len(s.conns) > 1 {
			r.kind = data
		} else {
			r.ask.Stream = ""
		}
	}
	wake(c.writable)
}

// first returns a, or b if a is empty.
func first(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// accept queues as much of p as there is room for, and returns its length.
func (c *Conn) accept(p []byte) (n int, err error) {
	defer c.s.pump()
	if c.s.o.Framing == Opaque {
		n = min(len(p), c.space(), c.out.chunk)
		c.out.add(p[:n], 1)
		return n, nil
	}
	for n < len(p) && err == nil && (c.space() > 0 || c.lingers()) {
		var r framing.Run
		r, err = c.cutRun(p[n:])
		n += r.Took
		if r.Count > 0 {
			refused := c.writeErr()
			if refused == nil {
				refused = c.cause // an end tag may still be written, but nothing else
			}
			if refused == nil {
				c.out.add(r.Elements, int64(r.Count))
			}
			if r.Owned {
				buffer.Rest(r.Elements)
			}
			if refused != nil {
				return n - r.Took, refused
			}
		}
		if turn := c.turn(&r.Next); err == nil {
			err = turn
		}
	}
	return n, err
}

// cutRun cuts as much from p as there is space for, without the lock.
func (c *Conn) cutRun(p []byte) (framing.Run, error) {
	space := min(max(c.space(), 1), c.out.chunk)
	c.s.mu.Unlock()
	defer c.s.mu.Lock()
	if c.cut == nil {
		c.cut = c.cutter(false)
	}
	return c.cut.CutRun(p, space)
}

// cutter returns a new one; inside is for an XMPP stream begun elsewhere.
func (c *Conn) cutter(inside bool) *framing.Cutter {
	o := &c.s.o
	switch {
	case o.Framing == XMPP && inside:
		return framing.NewInside(o.MaxElement)
	case o.Framing == XMPP:
		return framing.NewXMPP(o.MaxElement)
	case o.Version != "":
		return framing.NewStanzas(o.MaxElement)
	}
	return framing.NewElements(o.MaxElement)
}

// turn handles an item other than an element.
func (c *Conn) turn(it *framing.Item) error {
	switch it.Kind {
	case framing.Header:
		return c.header(it.Head)
	case framing.End:
		if c.cause == nil {
			c.out.put(item{kind: terminate})
		}
		c.finishing = true
	case framing.Error:
		if c.cause == nil {
			c.out.add(it.XML, 1)
			c.out.put(item{kind: terminate, why: RemoteStreamError})
		}
		c.finishing = true
	}
	return nil
}

// header takes a header from the client. The first one opens the existing stream of
// the session, a further one restarts it.
func (c *Conn) header(h *framing.Head) error {
	switch {
	case c.cause != nil:
		return c.cause
	case c.greeted:
		c.out.put(item{kind: restart, to: h.To, from: h.From, lang: h.Lang})
		return nil
	case h.To != "" && c.to != "" && !strings.EqualFold(strings.TrimSuffix(h.To, "."), strings.TrimSuffix(c.to, ".")):
		return fmt.Errorf("stream header to %q in a session with %q: set Options.To", h.To, c.to)
	}
	c.greeted = true
	wake(c.readable)
	return nil
}
