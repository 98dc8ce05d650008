//go:build linux

package main

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/gobosh/bosh"
)

// A router is an XMPP server as small as can be, for the clients of this command: it lets
// everybody in, answers pings, and hands on messages. Behind the floor and behind the
// library it is the same.
type router struct {
	mu    sync.RWMutex // guards users
	users map[string]*user
}

// A user is a client of a router.
type user struct {
	name  string
	write func([]byte)
	out   []byte // of take
}

func newRouter() *router { return &router{users: make(map[string]*user)} }

// The words of a router.
const (
	header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'" +
		" id='s1' from='example.com' version='1.0'>"
	mechanisms = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
	features   = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"
	success    = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
)

// take takes whole elements from a client, and returns the answer.
func (a *router) take(u *user, in []byte) []byte {
	u.out = u.out[:0]
	for len(in) > 0 {
		var el []byte
		switch {
		case bytes.HasPrefix(in, []byte("<iq ")):
			el, in = cutAfter(in, "</iq>")
			a.query(u, el)
		case bytes.HasPrefix(in, []byte("<message ")):
			el, in = cutAfter(in, "</message>")
			a.mu.RLock()
			to := a.users[string(field(el, " to='"))]
			a.mu.RUnlock()
			if to != nil {
				to.write(el)
			}
		case bytes.HasPrefix(in, []byte("<auth ")):
			_, in = cutAfter(in, "</auth>")
			u.out = append(u.out, success...)
		default:
			return u.out
		}
	}
	return u.out
}

func cutAfter(b []byte, end string) (before, rest []byte) {
	i := bytes.Index(b, []byte(end))
	if i < 0 {
		return b, nil
	}
	return b[:i+len(end)], b[i+len(end):]
}

// query answers an iq: a ping, or the binding of a resource. The resource is the user's
// name.
func (a *router) query(u *user, el []byte) {
	u.out = append(append(append(u.out, "<iq xmlns='jabber:client' type='result' id='"...), field(el, " id='")...), '\'')
	name, _, bind := bytes.Cut(el[min(len(el), bytes.Index(el, []byte("<resource>"))+len("<resource>")):], []byte("</resource>"))
	if !bind {
		u.out = append(u.out, "/>"...)
		return
	}
	u.out = append(append(u.out, "><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>me@example.com/"...), name...)
	u.out = append(u.out, "</jid></bind></iq>"...)
	u.name = string(name)
	a.mu.Lock()
	a.users[u.name] = u
	a.mu.Unlock()
}

// leave forgets a user.
func (a *router) leave(u *user) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users[u.name] == u {
		delete(a.users, u.name)
	}
}

// rooms are the buffers for users' input. The floor needs none.
var rooms = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// routing returns a function to make a router behind the library.
func routing(o bosh.Options) func() server {
	return func() server {
		a := newRouter()
		o.Framing, o.MaxSessions = bosh.XMPP, -1
		o.Serve = func(st *bosh.Stream) {
			u := &user{write: func(b []byte) { st.Write(b) }}
			defer a.leave(u)
			room := rooms.Get().(*[64 << 10]byte)
			defer rooms.Put(room)
			in, authenticated := room[:], false
			for {
				n, err := st.Read(in)
				if err != nil {
					return
				}
				if bytes.HasPrefix(in[:n], []byte("<stream:stream")) {
					said := header + mechanisms
					if authenticated {
						said = header + features
					}
					io.WriteString(st, said)
					continue
				}
				if out := a.take(u, in[:n]); len(out) > 0 {
					authenticated = true
					st.Write(out)
				}
			}
		}
		return server{Handler: bosh.New(o)}
	}
}

// routingFloor is a router behind the floor.
func routingFloor() server {
	f := newFloor(false)
	f.router = newRouter()
	return server{Handler: f}
}

// hijackingRouter is a router behind a floor without net/http.
func hijackingRouter() server {
	f := newFloor(false)
	f.router = newRouter()
	return server{Handler: hijacker{f}}
}

// discard takes bodies over plain HTTP and answers them by as many bytes as the query
// asks for.
func discard(w http.ResponseWriter, r *http.Request) {
	body := readBody(r)
	n, _ := strconv.Atoi(r.URL.RawQuery)
	out := *body
	for len(out) < n {
		out = append(out, make([]byte, n-len(out))...)
	}
	sendAnswer(w, out[:n])
	bodies.Put(body)
}
