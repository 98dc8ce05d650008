package boshtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// Memory is an [http.RoundTripper] on top of a handler; see [InMemory].
type Memory struct {
	handler http.Handler
	running sync.WaitGroup
}

// InMemory returns a transport straight into h, without sockets or HTTP
// framing. Each request runs in a goroutine of its own, and its answer is
// handed back whole when the handler returns. It works in the bubbles of
// [testing/synctest].
//
// The handler sees a request as a server would give it to it: with a
// RemoteAddr, a TLS state if the URL's scheme is https, and a context of its
// own. The context ends when the client's ends or the handler returns. A
// handler breaks the connection by a panic with [http.ErrAbortHandler], or by
// writing less than its Content-Length: the client gets [io.EOF] or
// [io.ErrUnexpectedEOF]. Any other panic is a bug to be seen and is not
// recovered.
//
// When the client's context ends the handler can read no more of the body, and
// RoundTrip gives it 100 ms to return. Otherwise a slow handler would take a
// request for new after the client has long repeated and forgotten it.
// [Memory.Wait] waits for slower handlers.
//
// The deadlines of [http.ResponseController] are accepted and do nothing. Only a
// write deadline more than a second ago breaks the connection.
func InMemory(h http.Handler) *Memory { return &Memory{handler: h} }

// Wait waits until no handler is running.
func (m *Memory) Wait() { m.running.Wait() }

// RoundTrip implements [http.RoundTripper].
func (m *Memory) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		closeBody(r)
		return nil, err
	}
	// Values of the client's context are no matter of the server.
	serverCtx, cancel := context.WithCancel(context.WithValue(context.Background(),
		http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80})))
	stop := context.AfterFunc(ctx, cancel)
	w := &recorder{header: make(http.Header), length: -1}
	sr := serverRequest(r, serverCtx)
	body := &memoryBody{r: sr.Body}
	sr.Body = body
	done := make(chan bool, 1)
	m.running.Go(func() {
		whole := false
		defer func() {
			stop()
			cancel()
			body.Close()
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
			done <- whole
		}()
		m.handler.ServeHTTP(w, sr)
		whole = true
	})
	select {
	case whole := <-done:
		if !whole || w.cut {
			return nil, io.EOF
		}
		return w.response(r), nil
	case <-ctx.Done():
		body.Close()
	}
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
	return nil, context.Cause(ctx)
}

// linger is how long a cancelled request waits for its handler.
const linger = 100 * time.Millisecond

// A memoryBody is the body of a request in the hands of the handler. Once the
// client leaves, the handler cannot read the rest.
type memoryBody struct {
	mu     sync.Mutex
	r      io.ReadCloser
	closed bool
}

func (b *memoryBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, io.ErrUnexpectedEOF
	}
	return b.r.Read(p)
}

func (b *memoryBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	return b.r.Close()
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// serverRequest returns r as the server sees it.
func serverRequest(r *http.Request, ctx context.Context) *http.Request {
	sr := r.Clone(ctx)
	sr.Proto, sr.ProtoMajor, sr.ProtoMinor = "HTTP/1.1", 1, 1
	sr.RequestURI = r.URL.RequestURI()
	sr.RemoteAddr = "192.0.2.1:1234"
	sr.GetBody = nil
	if sr.Host == "" {
		sr.Host = r.URL.Host
	}
	if sr.Header == nil {
		sr.Header = make(http.Header)
	}
	if sr.Body == nil {
		sr.Body = http.NoBody
	}
	if r.URL.Scheme == "https" {
		sr.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: r.URL.Hostname()}
	}
	return sr
}

// A recorder is the ResponseWriter of one request.
type recorder struct {
	header http.Header // the handler's
	sent   http.Header // a copy, made when the header is written
	status int         // 0 until then
	length int64       // what Content-Length promises, or -1
	body   bytes.Buffer
	cut    bool // nothing more can be written
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status != 0 || status < 200 {
		return
	}
	w.status = status
	w.sent = w.header.Clone()
	if n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		w.length = n
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.cut {
		return 0, os.ErrDeadlineExceeded
	}
	w.WriteHeader(http.StatusOK)
	if w.length >= 0 && int64(w.body.Len()+len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	return w.body.Write(p)
}

func (w *recorder) Flush()                          { w.WriteHeader(http.StatusOK) }
func (w *recorder) SetReadDeadline(time.Time) error { return nil }
func (w *recorder) EnableFullDuplex() error         { return nil }

// SetWriteDeadline breaks the connection if the deadline passed long ago. By it
// handlers stop all output.
func (w *recorder) SetWriteDeadline(t time.Time) error {
	w.cut = !t.IsZero() && time.Since(t) > time.Second
	return nil
}

// response makes the client's response. The handler has returned.
func (w *recorder) response(r *http.Request) *http.Response {
	w.WriteHeader(http.StatusOK)
	resp := &http.Response{
		Status:        strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}
	var body io.Reader = bytes.NewReader(w.body.Bytes())
	if r.Method == http.MethodHead {
		body = http.NoBody
	} else if w.length > int64(w.body.Len()) {
		resp.ContentLength = w.length
		body = io.MultiReader(body, brokenReader{io.ErrUnexpectedEOF})
	}
	resp.Body = io.NopCloser(body)
	return resp
}

// A brokenReader reads nothing but an error.
type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }
