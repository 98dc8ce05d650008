package direct

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"

	"github.com/gobosh/bosh/internal/reqinfo"
)

// A source is the origin of a request read directly. Most of it belongs to others of its
// kind as well.
type source struct {
	head   *head
	route  *route
	remote net.Addr
	tls    *tls.ConnectionState
}

// Origin returns the origin of the request. It does not keep the connection.
func (q *Request) Origin() reqinfo.Info {
	if q.first != nil {
		return reqinfo.Keep(q.first)
	}
	if q.varied {
		return reqinfo.Keep(q.HTTP())
	}
	return &source{q.head, q.c.routeOf(q.head), q.c.remote(), q.c.tls}
}

// remote returns the address of the client. Somebody's own connection may have none.
func (c *conn) remote() net.Addr {
	if a := c.rwc.RemoteAddr(); a != nil {
		return a
	}
	return reqinfo.Name("")
}

func (s *source) Size() int                 { return len(s.head.prefix) + len(s.head.suffix) }
func (s *source) TLS() *tls.ConnectionState { return s.tls }
func (s *source) RemoteAddr() net.Addr      { return reqinfo.Plain(s.remote) }
func (s *source) Remote() string            { return s.remote.String() }
func (s *source) Request() *http.Request    { return s.request(context.Background()) }

// request returns the request with the context ctx.
func (s *source) request(ctx context.Context) *http.Request {
	r := s.route.request.Clone(ctx)
	r.Header = s.head.header.Clone()
	if r.RequestURI != s.head.uri {
		r.RequestURI = s.head.uri
		if u, err := url.ParseRequestURI(s.head.uri); err == nil {
			r.URL = u
		}
	}
	r.RemoteAddr, r.TLS = s.remote.String(), s.tls
	r.Body, r.ContentLength = http.NoBody, 0
	return r
}
