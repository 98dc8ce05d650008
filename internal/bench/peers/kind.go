package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"

	coder "github.com/coder/websocket"
	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	gorilla "github.com/gorilla/websocket"
)

// A kind is a transport. All carry bytes. The bytes are letters only, since
// elements must hold them.
type kind struct {
	name string
	// handler serves conns at any path. all writes an event to many of them.
	handler func(serve func(io.ReadWriteCloser)) (h http.Handler, all func(event []byte, to []io.ReadWriteCloser))
	dial    func(ctx context.Context, client *http.Client, url string) (io.ReadWriteCloser, error)
}

var kinds = []kind{
	{"coder/websocket", coderHandler, dialCoder},
	{"gorilla/websocket", gorillaHandler, dialGorilla},
	{"BOSH opaque", boshHandler(bosh.Options{Framing: bosh.Opaque}), dialBOSH(boshclient.Opaque)},
	{"BOSH opaque, Direct", boshHandler(bosh.Options{Framing: bosh.Opaque, Direct: true}), dialBOSH(boshclient.Opaque)},
	{"BOSH elements", boshHandler(bosh.Options{Framing: bosh.Elements}), dialBOSH(boshclient.Elements)},
	{"BOSH elements, Direct", boshHandler(bosh.Options{Framing: bosh.Elements, Direct: true}), dialBOSH(boshclient.Elements)},
}

// kindNamed returns the kind of a name.
func kindNamed(name string) (kind, bool) {
	for _, k := range kinds {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

// oneByOne writes an event to conns in a loop.
func oneByOne(event []byte, to []io.ReadWriteCloser) {
	for _, c := range to {
		c.Write(event)
	}
}

func coderHandler(serve func(io.ReadWriteCloser)) (http.Handler, func([]byte, []io.ReadWriteCloser)) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(-1)
		serve(coder.NetConn(context.Background(), c, coder.MessageBinary))
	}), oneByOne
}

func dialCoder(ctx context.Context, client *http.Client, url string) (io.ReadWriteCloser, error) {
	c, _, err := coder.Dial(ctx, url, &coder.DialOptions{HTTPClient: client})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(-1)
	return coder.NetConn(context.Background(), c, coder.MessageBinary), nil
}

// A gorillaConn is a gorilla/websocket connection as a stream of bytes.
type gorillaConn struct {
	*gorilla.Conn
	message io.Reader
}

func (c *gorillaConn) Write(p []byte) (int, error) {
	return len(p), c.WriteMessage(gorilla.BinaryMessage, p)
}

func (c *gorillaConn) Read(p []byte) (n int, err error) {
	for {
		if c.message == nil {
			if _, c.message, err = c.NextReader(); err != nil {
				return 0, err
			}
		}
		n, err = c.message.Read(p)
		if err != io.EOF {
			return n, err
		}
		if c.message = nil; n > 0 {
			return n, nil
		}
	}
}

func gorillaHandler(serve func(io.ReadWriteCloser)) (http.Handler, func([]byte, []io.ReadWriteCloser)) {
	var up gorilla.Upgrader
	all := func(event []byte, to []io.ReadWriteCloser) {
		m, err := gorilla.NewPreparedMessage(gorilla.BinaryMessage, event)
		if err != nil {
			panic(err) // it is no binary message
		}
		for _, c := range to {
			c.(*gorillaConn).WritePreparedMessage(m)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		serve(&gorillaConn{Conn: c})
	}), all
}

func dialGorilla(ctx context.Context, _ *http.Client, url string) (io.ReadWriteCloser, error) {
	c, _, err := gorilla.DefaultDialer.DialContext(ctx, "ws"+strings.TrimPrefix(url, "http"), nil)
	if err != nil {
		return nil, err
	}
	return &gorillaConn{Conn: c}, nil
}

// elementOpen and elementClose are around the letters of an element.
const (
	elementOpen  = "<d xmlns='urn:example:peers'>"
	elementClose = "</d>"
)

// An elementLink has the common methods of both ends of a stream of elements.
type elementLink interface {
	ReadElement(context.Context) ([]byte, error)
	WriteElement(context.Context, []byte) error
	Close() error
}

// An elementConn carries letters in elements.
type elementConn struct {
	elementLink
	out     sync.Mutex
	buf     []byte
	letters []byte // read, and not given out
}

func (c *elementConn) Write(p []byte) (int, error) {
	c.out.Lock()
	defer c.out.Unlock()
	c.buf = append(append(append(c.buf[:0], elementOpen...), p...), elementClose...)
	return len(p), c.WriteElement(context.Background(), c.buf)
}

func (c *elementConn) Read(p []byte) (int, error) {
	if len(c.letters) == 0 {
		e, err := c.ReadElement(context.Background())
		if err != nil {
			return 0, err
		}
		e = e[bytes.IndexByte(e, '>')+1:]
		c.letters = e[:len(e)-len(elementClose)]
	}
	n := copy(p, c.letters)
	c.letters = c.letters[n:]
	return n, nil
}

func boshHandler(o bosh.Options) func(func(io.ReadWriteCloser)) (http.Handler, func([]byte, []io.ReadWriteCloser)) {
	return func(serve func(io.ReadWriteCloser)) (http.Handler, func([]byte, []io.ReadWriteCloser)) {
		o := o
		o.MaxSessions = -1
		if o.Framing == bosh.Opaque {
			o.Serve = func(st *bosh.Stream) { serve(st) }
			return bosh.New(o), oneByOne
		}
		o.Serve = func(st *bosh.Stream) { serve(&elementConn{elementLink: st}) }
		h := bosh.New(o)
		return h, func(event []byte, to []io.ReadWriteCloser) {
			h.Broadcast(append(append([]byte(elementOpen), event...), elementClose...), func(yield func(*bosh.Stream) bool) {
				for _, c := range to {
					if !yield(c.(*elementConn).elementLink.(*bosh.Stream)) {
						return
					}
				}
			})
		}
	}
}

func dialBOSH(f boshclient.Framing) func(context.Context, *http.Client, string) (io.ReadWriteCloser, error) {
	return func(ctx context.Context, client *http.Client, url string) (io.ReadWriteCloser, error) {
		c, err := boshclient.Dial(ctx, url, &boshclient.Options{Framing: f, HTTPClient: client})
		if err != nil || f == boshclient.Opaque {
			return c, err
		}
		return &elementConn{elementLink: c}, nil
	}
}
