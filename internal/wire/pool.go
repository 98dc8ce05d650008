package wire

import (
	"sync"

	"github.com/gobosh/bosh/internal/buffer"
)

// A Pool has Requests parsed within Limits. The zero value is ready for use, by several
// goroutines at once.
type Pool struct {
	Limits Limits

	free sync.Pool
}

// MaxPooled is the largest reused buffer, in bytes. The same goes for all other parts of a
// Request.
const MaxPooled = 64 << 10

// Get returns an empty Request.
func (p *Pool) Get() *Request {
	if r, ok := p.free.Get().(*Request); ok {
		return r
	}
	return new(Request)
}

// Parse parses the body of a Request.
func (p *Pool) Parse(r *Request) error { return r.Parse(p.Limits) }

// Again returns the Request of a body parsed before without a fault.
func (p *Pool) Again(body []byte) *Request {
	r := p.Get()
	r.Body = body
	p.Parse(r)
	return r
}

// Put takes back a Request without users.
func (p *Pool) Put(r *Request) {
	if cap(r.Body) > MaxPooled {
		r.Body = buffer.Rest(r.Body)
	}
	if r.Size() <= MaxPooled {
		r.Reset()
		p.free.Put(r)
	}
}
