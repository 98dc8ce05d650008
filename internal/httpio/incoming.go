package httpio

import (
	"bytes"
	"sync"

	"github.com/gobosh/bosh/internal/wire"
)

// An Incoming is on its way. S is the type of its session. The zero value is ready for
// use, by one goroutine.
type Incoming[S any] struct {
	owner S
	owned bool
	over  bool // there is nothing more to find out
	tries int
	seen  int // bytes at the last try
}

// maxTries is how often the start tag is looked for whenever it could have ended. After
// that it is once for each doubling: a client that sends it byte by byte is to pay more
// than we do.
const maxTries = 8

var requests = sync.Pool{New: func() any { return new(wire.Request) }}

// Flowing finds the session of a body. raw is the part that has come, encoding the values
// of its Content-Encoding. It calls find with a sid at most once. find returns the
// session and whether there is one.
func (u *Incoming[S]) Flowing(raw []byte, encoding []string, find func(sid []byte) (S, bool)) {
	if u.over || len(raw) == u.seen {
		return
	}
	if u.tries >= maxTries && len(raw) < 2*u.seen ||
		len(encoding) == 0 && bytes.IndexByte(raw[u.seen:], '>') < 0 { // no tag ends in it
		return
	}
	u.tries, u.seen = u.tries+1, len(raw)
	req := requests.Get().(*wire.Request)
	defer func() {
		req.Reset() // it refers to raw
		requests.Put(req)
	}()
	switch {
	case !req.Begun(Prefix(raw, encoding, wire.MaxBegin)):
		u.over = len(raw) >= wire.MaxBegin
	case req.SID == nil:
		u.over = true
	default:
		u.over = true
		u.owner, u.owned = find(req.SID)
	}
}

// Over calls done with the session if there is one. The Incoming is ready for another one
// then.
func (u *Incoming[S]) Over(done func(S)) {
	owner, owned := u.owner, u.owned
	if *u = (Incoming[S]{}); owned {
		done(owner)
	}
}
