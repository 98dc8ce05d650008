package carrier

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/gobosh/bosh/internal/reqinfo"
)

// A Written carries an exchange of a caller. Nobody waits for its answer: see Desk.
type Written struct {
	Exchange
	q caller
	r *http.Request // nil until somebody has asked

	// The session's lock guards the following.

	Phase Phase
}

// A Phase says where the answer of a Written is.
//
//	Open ──► Taken
//	  └────► Gone
type Phase uint8

const (
	Open  Phase = iota // nobody has it
	Taken              // somebody writes it
	Gone               // the client has left before
)

// A caller is a request for which no goroutine waits: of the direct engine, or of another
// node.
type caller interface {
	HTTP() *http.Request
	Values() context.Context
	Host() string
	Header(name string) []string
	Origin() reqinfo.Info
	TLS() *tls.ConnectionState
	Connection() uint64
	Abort()

	cert() []byte
	secure(w *Written, ask func(*http.Request) bool) bool
	relayed() bool
	forwarded() bool
	hops() uint8
	moved()
	receipt() any
	render(e *httpio.Endpoint, a httpio.Answer) httpio.RawAnswer
	send(a httpio.RawAnswer)
}

// An engineCaller is a request of the direct engine.
type engineCaller struct{ *direct.Request }

func (q engineCaller) cert() []byte  { return reqinfo.Certificate(q.TLS()) }
func (q engineCaller) relayed() bool { return false }
func (q engineCaller) hops() uint8   { return 0 }
func (q engineCaller) moved()        { q.Abort() }

// forwarded does not ask for values: at the time of the answer they are gone.
func (q engineCaller) forwarded() bool { return q.Forwarded() }

func (q engineCaller) secure(w *Written, ask func(*http.Request) bool) bool {
	if ask != nil {
		return ask(w.Request())
	}
	return q.TLS() != nil
}

func (q engineCaller) receipt() any {
	if q.forwarded() {
		return nil
	}
	return q.Receipt()
}

func (q engineCaller) render(e *httpio.Endpoint, a httpio.Answer) httpio.RawAnswer {
	return e.Raw(q.Request, a)
}

func (q engineCaller) send(a httpio.RawAnswer) { q.Answer(a) }

// A nodeCaller is a request of another node. It has that node's word on being secure.
type nodeCaller struct{ *relay.Call }

func (q nodeCaller) cert() []byte                                   { return q.Cert }
func (q nodeCaller) relayed() bool                                  { return true }
func (q nodeCaller) forwarded() bool                                { return forwarded(q.Header) }
func (q nodeCaller) hops() uint8                                    { return q.Hops }
func (q nodeCaller) moved()                                         { q.Moved() }
func (q nodeCaller) receipt() any                                   { return nil }
func (q nodeCaller) secure(*Written, func(*http.Request) bool) bool { return q.Secure }

func (q nodeCaller) render(_ *httpio.Endpoint, a httpio.Answer) httpio.RawAnswer {
	return httpio.RawAnswer{Status: a.Status, Type: a.Content, Body: a.Body}
}

func (q nodeCaller) send(a httpio.RawAnswer) {
	q.Answer(relay.Answer{Status: a.Status, Content: a.Type, Body: a.Body})
}

// OfEngine returns the carrier of a request of the direct engine.
func OfEngine(q *direct.Request) *Written {
	w, ok := q.Context.(*Written)
	if !ok {
		w = new(Written)
		q.Context = w
	}
	*w = Written{q: engineCaller{q}}
	w.Carrier = w
	return w
}

// OfNode returns the carrier of a request of another node.
func OfNode(c *relay.Call) *Written {
	w := &Written{q: nodeCaller{c}}
	w.Carrier = w
	c.Context = w
	return w
}

func (w *Written) Request() *http.Request {
	if w.r == nil {
		w.r = w.q.HTTP()
	}
	return w.r
}

func (w *Written) Keep()                                    { w.Request() }
func (w *Written) Values() context.Context                  { return w.q.Values() }
func (w *Written) Local(values context.Context) net.Addr    { return reqinfo.Local(values, w.q.Host()) }
func (w *Written) Host() string                             { return w.q.Host() }
func (w *Written) Remote() net.Addr                         { return w.q.Origin().RemoteAddr() }
func (w *Written) Info() reqinfo.Info                       { return w.q.Origin() }
func (w *Written) Header(name string) []string              { return w.q.Header(name) }
func (w *Written) TLS() *tls.ConnectionState                { return w.q.TLS() }
func (w *Written) Cert() []byte                             { return w.q.cert() }
func (w *Written) Secure(ask func(*http.Request) bool) bool { return w.q.secure(w, ask) }
func (w *Written) Relayed() bool                            { return w.q.relayed() }
func (w *Written) Hops() uint8                              { return w.q.hops() }
func (w *Written) Left() bool                               { return false }
func (w *Written) Connection() uint64                       { return w.q.Connection() }
func (w *Written) Forwarded() bool                          { return w.q.forwarded() }
func (w *Written) Receipt() any                             { return w.q.receipt() }
func (w *Written) Arrived(d *Desk)                          { d.attending++ }
func (w *Written) Abandoned() bool                          { return false } // it is over with its connection

// Wake puts w on the desk.
func (w *Written) Wake(d *Desk) {
	if !w.Queued && w.Phase == Open {
		d.queue.Push(&w.Exchange.Exchange)
		w.Queued = true
	}
}

// Leave takes note of the client's leaving. It reports whether nobody has the answer. It
// is called with the session's lock held.
func (w *Written) Leave(d *Desk) bool {
	if w.Phase != Open {
		return false
	}
	w.Phase = Gone
	d.queue.Remove(&w.Exchange.Exchange)
	return true
}

func (w *Written) Travelled(_ *relay.Lines, write func(*Written)) { write(w) }

// Render returns the answer as Send writes it. It does not panic unless AllowOrigin does.
func (w *Written) Render(e *httpio.Endpoint) httpio.RawAnswer { return w.q.render(e, w.Answer()) }

// Send writes an answer. It does not block.
func (w *Written) Send(a httpio.RawAnswer) { w.q.send(a) }

// Abort closes the connection instead, or if the session has moved has the node ask again
// that the request comes from. It does not block.
func (w *Written) Abort() {
	if w.Moved {
		w.q.moved()
	} else {
		w.q.Abort()
	}
}
