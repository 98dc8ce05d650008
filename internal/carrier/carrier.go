// Package carrier has the places where exchanges come in and their answers go. There are
// two. NetHTTP is for net/http: a goroutine waits for the answer. Written is for the
// direct engine, or another node: the goroutine that makes the answer writes it.
package carrier

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"github.com/gobosh/bosh/internal/httpio"
	"github.com/gobosh/bosh/internal/relay"
	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/gobosh/bosh/internal/session"
)

// An Exchange is one HTTP request under way: the machine's part of it, and the needs of
// its answer. It is part of its carrier.
type Exchange struct {
	session.Exchange
	Session any    // the owner's session, nil if there is none
	Content string // the media type of the answer
	Away    *Away  // if its session is another node's
	Moved   bool   // there is no answer, since another process has the session
}

// An Away is an exchange of a session on another node.
type Away struct {
	Trip *relay.Trip
	Line uint64 // a number for the session
}

// Via returns the carrier of an exchange.
func (ex *Exchange) Via() Carrier { return ex.Carrier.(Carrier) }

// Answer returns the answer as it goes out.
func (ex *Exchange) Answer() httpio.Answer {
	return httpio.Answer{Status: ex.Reply.Status, Body: ex.Reply.Body, Content: ex.Content}
}

// exchange makes an Exchange part of its carrier.
func (ex *Exchange) exchange() *Exchange { return ex }

// A Carrier is where an exchange came in, and where its answer goes.
type Carrier interface {
	session.Carrier
	exchange() *Exchange

	// The following describe the request. Local is for the context of Values; Info is
	// kept with the session; Header takes the canonical name of a field. Secure asks
	// the application, unless ask is nil.
	Request() *http.Request
	Values() context.Context
	Local(values context.Context) net.Addr
	Host() string
	Remote() net.Addr
	Info() reqinfo.Info
	Header(name string) []string
	TLS() *tls.ConnectionState
	Cert() []byte
	Secure(ask func(*http.Request) bool) bool

	// Relayed reports whether the request comes from another node, and Hops how many
	// have passed it on.
	Relayed() bool
	Hops() uint8

	// Keep makes the request the exchange's own, for use after its handler has returned.
	Keep()

	// Left reports whether the client is known to have left.
	Left() bool

	// Arrived is called when a session takes the exchange, and Wake when there is an
	// answer for it. Both are called with the session's lock held.
	Arrived(*Desk)
	Wake(*Desk)

	// Abandoned is called when nobody will attend to the exchange. It reports whether
	// that ends the exchange.
	Abandoned() bool

	// Travelled is called when another node has given the answer, or will not.
	Travelled(lines *relay.Lines, write func(*Written))
}

// Of returns the carrier of x, and its Exchange.
func Of(x *session.Exchange) (Carrier, *Exchange) {
	c := x.Carrier.(Carrier)
	return c, c.exchange()
}

// forwarded reports whether a proxy forwarded a request with these fields.
func forwarded(header func(name string) []string) bool {
	for _, name := range reqinfo.ForwardedBy {
		if len(header(name)) > 0 {
			return true
		}
	}
	return false
}
