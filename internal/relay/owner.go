package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/reqinfo"
)

// An Owner serves requests that came in at other nodes, for sessions of its own. Its
// fields must not be changed any more when it serves.
type Owner struct {
	Serve  func(*Call) // may keep the Call, but not what its Request points to; must have it answered
	Gone   func(*Call) // the client of a Call has left: nobody need answer it
	Hurry  func(*Call) // it is to be answered soon
	Done   func(*Call) // it is over; called once for each
	Peers  *Peers      // count the requests
	Logger *slog.Logger

	calls registry.Table[*Call]
}

// A Call is a Request from another node.
type Call struct {
	Request
	Context any // whoever serves it has this for its own use

	owner  *Owner
	key    string
	answer func([]byte, error)
	http   *http.Request
	over   atomic.Bool

	mu          sync.Mutex // guards the following
	served      bool       // Serve has returned
	gone, hurry bool       // that has come before
}

// ErrGone is the error in place of an answer if there is to be none, and the client is to
// repeat the request.
var ErrGone = errors.New("bosh: the request has no answer")

// Message serves a message. It does not block. answer may be nil if the message has no
// answer; or else it is called once, from any goroutine, also before Message returns. The
// message is good until Message returns, the answer until answer returns.
func (o *Owner) Message(message []byte, answer func([]byte, error)) {
	r := reader(message)
	switch as, k := r.readKind(); {
	case r == nil:
		refuse(answer, errMessage)
	case as == isRequest && answer != nil:
		q, from, err := r.readRequest()
		if err != nil {
			refuse(answer, err)
			return
		}
		o.Peers.in(from)
		c := &Call{Request: q, owner: o, key: string(k[:]), answer: answer}
		if c.Head != nil {
			c.http = c.request() // now: others look at it when Head is gone
		}
		o.calls.Put(c.key, c)
		o.serve(c)
	case as == isCancel, as == isHurry:
		if c, ok := o.calls.Get(k[:]); ok {
			c.notice(as)
		}
		refuse(answer, nil)
	default:
		refuse(answer, errMessage)
	}
}

func refuse(answer func([]byte, error), err error) {
	if answer != nil {
		answer(nil, err)
	}
}

// serve serves a Call. Its pointers into the message are good only until then.
func (o *Owner) serve(c *Call) {
	if !o.guard(o.Serve, c) {
		c.Abort()
	}
	c.Body, c.Cert, c.Head = nil, nil, nil
	c.mu.Lock()
	gone, hurry := c.gone, c.hurry
	c.served = true
	c.mu.Unlock()
	if hurry {
		o.guard(o.Hurry, c)
	}
	if gone {
		o.guard(o.Gone, c)
	}
}

// notice takes a notice. It does not disturb Serve.
func (c *Call) notice(as kind) {
	c.mu.Lock()
	served := c.served
	if c.gone, c.hurry = c.gone || as == isCancel, c.hurry || as == isHurry; !served {
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	if as == isCancel {
		c.owner.guard(c.owner.Gone, c)
	} else {
		c.owner.guard(c.owner.Hurry, c)
	}
}

// guard calls f. It reports whether f returned, rather than panic.
func (o *Owner) guard(f func(*Call), c *Call) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			o.Logger.Error("bosh: panic while serving", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f(c)
	return true
}

// Answer answers the Call.
func (c *Call) Answer(a Answer) {
	if c.finish() {
		withBuffer(func(b []byte) []byte {
			b = appendAnswer(b, &a)
			c.answer(b, nil)
			return b
		})
		c.owner.guard(c.owner.Done, c)
	}
}

// Abort has the connection of the client closed instead.
func (c *Call) Abort() { c.fail(ErrGone) }

// Moved has the Front ask again.
func (c *Call) Moved() { c.fail(ErrMoved) }

func (c *Call) fail(err error) {
	if c.finish() {
		c.answer(nil, err)
		c.owner.guard(c.owner.Done, c)
	}
}

// finish reports whether the Call ends by this.
func (c *Call) finish() bool {
	if c.over.Swap(true) {
		return false
	}
	c.owner.calls.Remove(c.key, func(is *Call) bool { return is == c }) // it may have been asked again
	return true
}

// Head returns the parts of r visible to a handler elsewhere. Its body and context do not
// travel.
func Head(r *http.Request) []byte {
	var b bytes.Buffer
	b.Write(field(nil, r.RemoteAddr))
	uri := r.RequestURI
	if uri == "" {
		uri = r.URL.RequestURI()
	}
	h := r.Header.Clone()
	h.Del("Content-Length")
	h.Del("Transfer-Encoding")
	b.WriteString(r.Method + " " + uri + " HTTP/1.1\r\nHost: " + r.Host + "\r\n")
	h.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// HTTP returns the HTTP request, as far as it has travelled. It must be called before
// Serve has returned for the first time.
func (c *Call) HTTP() *http.Request {
	if c.http != nil {
		return c.http
	}
	return c.request()
}

func (c *Call) request() *http.Request {
	if r := reader(c.Head); r != nil {
		addr := string(r.field())
		if q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(r))); err == nil {
			q.RemoteAddr, q.TLS = addr, c.TLS()
			return q
		}
	}
	q, _ := http.NewRequest(http.MethodPost, "/", http.NoBody)
	q.TLS = c.TLS()
	return q
}

// TLS returns the state of the client's connection as far as it has travelled, or nil.
func (c *Call) TLS() *tls.ConnectionState {
	if !c.Encrypted {
		return nil
	}
	s := &tls.ConnectionState{HandshakeComplete: true}
	if cert, err := x509.ParseCertificate(bytes.Clone(c.Cert)); err == nil {
		s.PeerCertificates = []*x509.Certificate{cert}
	}
	return s
}

// Values returns a context for the work of the request. None of its own travel.
func (c *Call) Values() context.Context { return context.Background() }

// Host returns the host of the request, if it has travelled.
func (c *Call) Host() string { return c.HTTP().Host }

// Header returns the values of a field, by its canonical name, if they have travelled.
func (c *Call) Header(name string) []string {
	if c.http == nil {
		return nil // it may not be looked for later: Serve has returned
	}
	return c.http.Header[name]
}

// Origin returns the parts of the request to be stored.
func (c *Call) Origin() reqinfo.Info { return reqinfo.Keep(c.HTTP()) }

// Connection returns a number for the client's connection, or 0 if its connection keeps
// no answers in order.
func (c *Call) Connection() uint64 { return c.Conn }
