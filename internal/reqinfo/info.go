// Package reqinfo keeps an HTTP request's data about its client, in little room: its
// headers, the addresses at its two ends, its certificate, and its context.
package reqinfo

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"net/url"
)

// An Info is an HTTP request without its body and context. It takes a fraction of
// the room of an http.Request with its map of slices. It is for code that keeps many
// for long, and looks at few of them.
type Info interface {
	// Request returns the request. It is the caller's.
	Request() *http.Request

	// RemoteAddr returns the address of the client. It is never nil.
	RemoteAddr() net.Addr

	// Remote returns it as a text.
	Remote() string

	// TLS returns the state of the connection, or nil.
	TLS() *tls.ConnectionState

	// Size returns the bytes of memory it takes, about, without those of TLS.
	Size() int
}

// WithAddr returns an Info equal to o, but from addr, unless addr is nil.
func WithAddr(addr net.Addr, o Info) Info {
	if addr == nil {
		return o
	}
	return &located{o, addr}
}

// A located is an Info with a better known client address.
type located struct {
	Info
	addr net.Addr
}

func (o *located) RemoteAddr() net.Addr { return o.addr }
func (o *located) Remote() string       { return o.addr.String() }

// A plain is an Info without TLS: a text of fields, as in Keep. Before each there is
// a number. An even one is twice the field's length. An odd one is twice an index of
// words, and one: the field is that word.
type plain string

// An encrypted is one with TLS.
type encrypted struct {
	plain
	tls *tls.ConnectionState
}

// remoteAddr is how many fields come before the RemoteAddr.
const remoteAddr = 4

// sameURI stands for a RequestURI equal to the URL. None has a blank.
const sameURI = " "

// Keep returns the Info of r. The Content-Length is not kept, nor is the body.
func Keep(r *http.Request) Info {
	var room [512]byte
	b := room[:0]
	url, uri := r.URL.String(), r.RequestURI
	if uri == url {
		uri = sameURI // as mostly
	}
	for _, s := range [...]string{r.Method, url, r.Proto, r.Host, r.RemoteAddr, uri} {
		b = add(b, s)
	}
	for k, vs := range r.Header {
		if k == "Content-Length" {
			continue
		}
		for _, v := range vs {
			b = add(add(b, k), v)
		}
	}
	if r.TLS == nil {
		return plain(b)
	}
	return &encrypted{plain(b), r.TLS}
}

func (o plain) Size() int                 { return len(o) }
func (o plain) TLS() *tls.ConnectionState { return nil }

func (o *encrypted) TLS() *tls.ConnectionState { return o.tls }

func (o plain) RemoteAddr() net.Addr { return Addr(o.Remote()) }

func (o plain) Remote() string {
	rest := fields(o)
	for range remoteAddr {
		rest.next()
	}
	return rest.next()
}

func (o *encrypted) Request() *http.Request {
	r := o.plain.Request()
	r.TLS = o.tls
	return r
}

func (o plain) Request() *http.Request {
	rest := fields(o)
	next := rest.next
	r := &http.Request{Method: next(), Header: make(http.Header), Body: http.NoBody}
	uri := next()
	u, err := url.Parse(uri)
	if err != nil {
		u = &url.URL{Path: uri}
	}
	r.URL = u
	r.Proto = next()
	r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(r.Proto)
	r.Host, r.RemoteAddr, r.RequestURI = next(), next(), next()
	if r.RequestURI == sameURI {
		r.RequestURI = uri
	}
	for len(rest) > 0 {
		k := next()
		r.Header[k] = append(r.Header[k], next())
	}
	return r
}

// fields is the unread rest of a plain.
type fields string

func (f *fields) next() string {
	n, size := binary.Uvarint([]byte((*f)[:min(len(*f), binary.MaxVarintLen64)]))
	*f = (*f)[size:]
	if n&1 == 1 {
		return words[n>>1]
	}
	s := string((*f)[:n>>1])
	*f = (*f)[n>>1:]
	return s
}
