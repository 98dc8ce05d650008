package harness

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/require"
)

const (
	NsBind   = boshtest.NSBind
	NsXBOSH  = boshtest.NSXMPP
	NsStream = "http://etherx.jabber.org/streams"
)

// A peer is the client's end of a session, and sends just what a test tells it
// to send.
type Peer struct {
	T       *testing.T
	Rt      http.RoundTripper
	Sid     string
	Rid     int64 // of the last request
	Created *boshtest.Response
}

// creation is the body of a request for a session.
func Creation(attrs ...string) string {
	return fmt.Sprintf("<body rid='1000' to='example.com' ver='1.11' wait='60' hold='1' xml:lang='en' %s xmlns='%s'/>",
		strings.Join(attrs, " "), NsBind)
}

// dial creates a session.
func Dial(t *testing.T, rt http.RoundTripper, attrs ...string) *Peer {
	t.Helper()
	r := boshtest.Exchange(t, rt, Creation(attrs...))
	require.Equal(t, http.StatusOK, r.Status)
	require.NotEmpty(t, r.Attr("sid"), "%s", r)
	return &Peer{T: t, Rt: rt, Sid: r.Attr("sid"), Rid: 1000, Created: r}
}

// newHandler returns a Handler that is closed at the end of the test.
func NewHandler(t *testing.T, o bosh.Options) *bosh.Handler {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := bosh.New(o)
	t.Cleanup(func() { h.Close() })
	return h
}

// connect returns both ends of a new session in memory.
func Connect(t *testing.T, o bosh.Options, attrs ...string) (*bosh.Stream, *Peer) {
	t.Helper()
	h := NewHandler(t, o)
	p := Dial(t, boshtest.InMemory(h), attrs...)
	return Accept(t, h), p
}

// accept returns the next stream of h.
func Accept(t *testing.T, h *bosh.Handler) *bosh.Stream {
	t.Helper()
	c, err := h.Listener().Accept()
	require.NoError(t, err)
	return c.(*bosh.Stream)
}

// body returns the body of the request rid.
func (p *Peer) Body(rid int64, payload string, attrs ...string) string {
	open := fmt.Sprintf("<body rid='%d' sid='%s' %s xmlns='%s'", rid, p.Sid, strings.Join(attrs, " "), NsBind)
	if payload == "" {
		return open + "/>"
	}
	return open + ">" + payload + "</body>"
}

// post sends the next request.
func (p *Peer) Post(payload string, attrs ...string) *boshtest.Call {
	p.T.Helper()
	p.Rid++
	return boshtest.Post(p.T, p.Rt, p.Body(p.Rid, payload, attrs...))
}

// send sends the next request and waits for the answer.
func (p *Peer) Send(payload string, attrs ...string) *boshtest.Response {
	p.T.Helper()
	return p.Post(payload, attrs...).Wait()
}

// hold sends the next request, which the server holds when it returns.
func (p *Peer) Hold(payload string, attrs ...string) *boshtest.Call {
	p.T.Helper()
	c := p.Post(payload, attrs...)
	synctest.Wait()
	require.False(p.T, c.Answered(), "answered at once")
	return c
}

// requireEnd asserts that r ends the session by a condition, "" for none.
func RequireEnd(t *testing.T, r *boshtest.Response, condition bosh.Condition) {
	t.Helper()
	require.Equal(t, http.StatusOK, r.Status)
	require.Equal(t, "terminate", r.Attr("type"), "%s", r)
	require.Equal(t, string(condition), r.Attr("condition"), "%s", r)
}

// requireRead asserts that what r has next is want.
func RequireRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	n, err := io.ReadFull(r, b)
	require.NoError(t, err)
	require.Equal(t, want, string(b[:n]))
}

// async runs f in a goroutine and returns a channel that gets its result.
func Async[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- f() }()
	return c
}

// pending reports whether nothing has come out of c when all is at rest.
func Pending[T any](c <-chan T) bool {
	synctest.Wait()
	return len(c) == 0
}

const Second = time.Second

// clientAddr is an Options.ClientAddr.
func ClientAddr(*http.Request) net.Addr { return &net.IPAddr{IP: net.IPv4(203, 0, 113, 9)} }

// nameless is a handler behind a server that tells nothing of connections.
type Nameless struct{ H http.Handler }

func (n Nameless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, nil))
	r.RemoteAddr, r.Host = "", ""
	n.H.ServeHTTP(w, r)
}

// decode returns the bytes in the elements of an Opaque stream.
func Decode(t testing.TB, payloads [][]byte) string {
	t.Helper()
	var all []byte
	for _, p := range payloads {
		text, ok := strings.CutPrefix(string(p), "<data xmlns='"+bosh.OpaqueNS+"'>")
		text, ok2 := strings.CutSuffix(text, "</data>")
		require.True(t, ok && ok2, "%s", p)
		b, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		all = append(all, b...)
	}
	return string(all)
}

// encode returns the element of an Opaque stream that carries b.
func Encode(b []byte) string {
	return "<data xmlns='" + bosh.OpaqueNS + "'>" + base64.StdEncoding.EncodeToString(b) + "</data>"
}

// nested returns an element with n levels.
func Nested(n int) string {
	return "<a xmlns='u'>" + strings.Repeat("<a>", n-1) + strings.Repeat("</a>", n)
}
