package harness

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/direct"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long a request is held when a minute was granted: a little
// less, for clients that give up at just that time.
const Patience = 59 * time.Second

// overtime is how much longer than it was told a client may be silent.
const Overtime = 2 * time.Second

// inOrder fails the test unless the calls were answered in this order.
func InOrder(b *Harness, calls []*Call) {
	b.Helper()
	for i := 1; i < len(calls); i++ {
		assert.Less(b, calls[i-1].Answer().Order, calls[i].Answer().Order, "answer to %s before %s", calls[i].Name, calls[i-1].Name)
	}
}

// A keyring is a key sequence: K(0) is the seed, and K(i) the SHA-1 of K(i-1).
type Keyring []string

func NewKeyring(seed string, n int) Keyring {
	ks := Keyring{seed}
	for range n {
		sum := sha1.Sum([]byte(ks[len(ks)-1]))
		ks = append(ks, hex.EncodeToString(sum[:]))
	}
	return ks
}

func (ks Keyring) Key(i int) string { return "key='" + ks[i] + "'" }

func (ks Keyring) Newkey(i int) string { return "newkey='" + ks[i] + "'" }

// manyStreams are std's options with several streams allowed.
var ManyStreams = With(func(o *bosh.Options) { o.MaxStreams = 3 })

// hasStatus fails the test unless the call was answered by a bare HTTP status.
func (c *Call) HasStatus(status int) {
	c.b.Helper()
	r := c.Answer()
	assert.Equal(c.b, status, r.Status, "to %s", c.Name)
	assert.Empty(c.b, r.Body)
}

// rawRequest is a POST of a body as it goes over an HTTP/1.1 connection.
func RawRequest(body string) string {
	return fmt.Sprintf("POST /http-bind HTTP/1.1\r\nHost: bosh.test\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// readAnswer reads the next answer of a connection.
func ReadAnswer(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	return string(body)
}

// over is a transport into h whose requests seem to come over TLS in a given
// state, nil for none.
func Over(h http.Handler, state *tls.ConnectionState) http.RoundTripper {
	return boshtest.InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS = state
		h.ServeHTTP(w, r)
	}))
}

// certified is the state of a connection whose client showed a certificate.
func Certified(raw string) *tls.ConnectionState {
	return &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{{Raw: []byte(raw)}}}
}

// result is what a Read or Write returned.
type Result struct {
	N   int
	Err error
}

func GoRead(c net.Conn) <-chan Result {
	return Async(func() Result {
		n, err := c.Read(make([]byte, 1024))
		return Result{n, err}
	})
}

func GoWrite(c net.Conn, b string) <-chan Result {
	return Async(func() Result {
		n, err := c.Write([]byte(b))
		return Result{n, err}
	})
}

// requireTimeout asserts that err is what the net package returns at a deadline.
func RequireTimeout(t *testing.T, err error) {
	t.Helper()
	RequireOp(t, err)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
}

func RequireOp(t *testing.T, err error) {
	t.Helper()
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, "bosh", op.Net)
	require.NotNil(t, op.Source)
	require.NotNil(t, op.Addr)
}

func Elements() bosh.Options { return bosh.Options{Framing: bosh.Elements} }

// full returns a stream whose write buffer is full.
func Full(t *testing.T) (*bosh.Stream, *Peer) {
	t.Helper()
	s, p := Connect(t, bosh.Options{Framing: bosh.Elements, WriteBuffer: 10})
	_, err := s.Write([]byte("<first/>"))
	require.NoError(t, err)
	return s, p
}

// Of many Writes at once each arrives whole, and all of them.
// failing has room for so many bytes, and fails when it has no more.
type Failing struct {
	N   int
	Err error
	Got []byte
}

func (w *Failing) Write(p []byte) (int, error) {
	n := min(w.N, len(p))
	w.N -= n
	w.Got = append(w.Got, p[:n]...)
	if n < len(p) {
		return n, w.Err
	}
	return n, nil
}

// A logBuffer keeps what is logged.
type LogBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *LogBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *LogBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// opens creates a session over the line.
func (l *Line) Opens(t *testing.T, h *bosh.Handler) (*Peer, *bosh.Stream) {
	t.Helper()
	l.Says(RawRequest(Creation()))
	body, err := boshtest.ParseBody([]byte(ReadAnswer(t, l.R)))
	require.NoError(t, err)
	return &Peer{T: t, Sid: body.Attr("sid"), Rid: 1000}, Accept(t, h)
}

// ends asserts that the server closes the connection, and says nothing before.
func (l *Line) Ends() {
	l.T.Helper()
	_, err := l.R.ReadByte()
	assert.Equal(l.T, io.EOF, err)
}

// silent asserts that nothing comes.
func (l *Line) Silent() {
	l.T.Helper()
	synctest.Wait()
	require.NoError(l.T, l.SetReadDeadline(time.Unix(1, 0)))
	_, err := l.R.Peek(1)
	assert.Error(l.T, err)
	assert.NotEqual(l.T, io.EOF, err)
	require.NoError(l.T, l.SetReadDeadline(time.Time{}))
	l.R.Reset(l.Conn)
}

func Heap() int64 {
	var m runtime.MemStats
	for range 3 { // what is in a pool survives one or two
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// answers reads the next answer with its head.
func (l *Line) Answers() HttpAnswer {
	l.T.Helper()
	resp, err := http.ReadResponse(l.R, nil)
	require.NoError(l.T, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(l.T, err)
	return HttpAnswer{resp, string(body)}
}

// isClosed asserts that the server has closed the connection, or does soon, rather
// than wait for the client.
func (l *Line) IsClosed() {
	l.T.Helper()
	for {
		if _, err := l.Write([]byte("x")); err != nil {
			assert.NotErrorIs(l.T, err, context.DeadlineExceeded)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// wrapped is a server in memory whose Handler is behind middleware, and a
// connection to it.
func Wrapped(t *testing.T, h *bosh.Handler, middleware func(next http.Handler) http.Handler) *Line {
	t.Helper()
	srv := boshtest.NewPipeServer(middleware(h))
	t.Cleanup(func() { srv.Close() })
	conn, err := srv.Listener.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &Line{Peer: &Peer{T: t}, Conn: conn, R: bufio.NewReader(conn)}
}

// withEngine returns a Handler that has the direct engine, or the ordinary one,
// whatever BOSH_ENGINE says.
func WithEngine(t *testing.T, o bosh.Options, isDirect bool) *bosh.Handler {
	t.Helper()
	defer func(was func() bool) { direct.Always = was }(direct.Always)
	direct.Always = func() bool { return isDirect }
	return NewHandler(t, o)
}

const AnyBody = "<body rid='5' sid='x' xmlns='http://jabber.org/protocol/httpbind'/>"

// taken is a request by which the direct engine takes the connection over.
var Taken = RawRequest(AnyBody)

// An httpAnswer is an HTTP response that has been read.
type HttpAnswer struct {
	*http.Response
	Text string
}

// do sends an HTTP request. Headers are pairs of name and value.
func Do(t *testing.T, rt http.RoundTripper, method, url string, body io.Reader, headers ...string) HttpAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := rt.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return HttpAnswer{resp, string(text)}
}

const AnyURL = "http://bosh.test/http-bind/"

// rawHTTP sends a text over a connection of its own and returns all that comes
// back until the server closes it.
func RawHTTP(t *testing.T, l *boshtest.PipeListener, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := l.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, text)
	require.NoError(t, err)
	return c, bufio.NewReader(c)
}

func PostText(version, headers, body string) string {
	return fmt.Sprintf("POST /http-bind HTTP/%s\r\nHost: a.example\r\n%sContent-Length: %d\r\n\r\n%s", version, headers, len(body), body)
}

// overVersions runs a test with a server for HTTP/1.1 and one for HTTP/2, with
// time-outs for reading and writing if the limit is not 0.
func OverVersions(t *testing.T, o bosh.Options, limit time.Duration, f func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer)) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHandler(t, o)
				srv := &http.Server{
					Handler: h, Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
					ReadTimeout: limit, WriteTimeout: limit,
				}
				srv.Protocols.SetHTTP1(version == "HTTP/1.1")
				srv.Protocols.SetUnencryptedHTTP2(version == "HTTP/2.0")
				pipe := boshtest.Pipe(srv)
				defer pipe.Close()
				pipe.Transport.Protocols = srv.Protocols
				assert.Equal(t, version, Do(t, pipe, "GET", AnyURL, nil).Proto)
				f(t, h, pipe)
			})
		})
	}
}

// compressed returns b as w writes it.
func Compressed[W io.WriteCloser](t *testing.T, make func(io.Writer) W, b string) string {
	t.Helper()
	var out bytes.Buffer
	w := make(&out)
	_, err := io.WriteString(w, b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.String()
}

func Gzipped(t *testing.T, b string) string { return Compressed(t, gzip.NewWriter, b) }

// slowly starts to send a request and returns the connection.
func Slowly(t *testing.T, l *boshtest.PipeListener, headers, body string, n int) (io.WriteCloser, <-chan string) {
	t.Helper()
	text := PostText("1.1", headers, body)
	c, b := RawHTTP(t, l, text[:len(text)-len(body)+n])
	return c, Async(func() string {
		all, _ := io.ReadAll(b)
		return string(all)
	})
}

// stdCreation is the request that creates std's session.
const StdCreation = "<body rid='1000' " + StdAttrs + "/>"

// certificate returns one for example.com that names itself as its root.
func Certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

// A fragileContext calls a function when it is looked at.
type FragileContext struct {
	context.Context
	F func()
}

func (c FragileContext) Done() <-chan struct{} { c.F(); return c.Context.Done() }

// A line is a client's one connection to a server, on which it sends what it
// likes, whether or not the last request has been answered.
type Line struct {
	*Peer
	net.Conn
	R   *bufio.Reader
	App *bosh.Stream
}

// says writes requests.
func (l *Line) Says(requests ...string) {
	l.T.Helper()
	_, err := io.WriteString(l.Conn, strings.Join(requests, ""))
	require.NoError(l.T, err)
}

// req is a request of the session.
func (l *Line) Req(rid int64, payload string) string { return RawRequest(l.Body(rid, payload)) }

// hears reads the next answer.
func (l *Line) Hears(want string) {
	l.T.Helper()
	assert.Equal(l.T, Complete(want), ReadAnswer(l.T, l.R))
}

// elapsed reports how long f takes.
func Elapsed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// A roundTripper is an http.RoundTripper by a function.
type RoundTripper func(*http.Request) (*http.Response, error)

func (f RoundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// readHeader returns what one Read of the stream yields.
func ReadOnce(t *testing.T, conn io.Reader) string {
	t.Helper()
	b := make([]byte, 10_000)
	n, err := conn.Read(b)
	require.NoError(t, err)
	return string(b[:n])
}

// A journal is a slog.Handler that keeps what is logged, from a level on.
type Journal struct {
	Level slog.Level

	mu      sync.Mutex
	records []slog.Record
}

func (j *Journal) Enabled(_ context.Context, l slog.Level) bool { return l >= j.Level }

func (j *Journal) WithAttrs([]slog.Attr) slog.Handler { return j }

func (j *Journal) WithGroup(string) slog.Handler { return j }

func (j *Journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records = append(j.records, r.Clone())
	return nil
}

// clear forgets what was logged.
func (j *Journal) Clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records = nil
}

// An entry is what was logged, with its attributes as texts.
type Entry struct {
	Level slog.Level
	Attrs map[string]string
}

// of returns what was logged under a message.
func (j *Journal) Of(message string) (entries []Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.records {
		if r.Message == message {
			e := Entry{r.Level, map[string]string{}}
			r.Attrs(func(a slog.Attr) bool {
				e.Attrs[a.Key] = a.Value.String()
				return true
			})
			entries = append(entries, e)
		}
	}
	return entries
}

// relayed reports whether the tests that use bench are to have all requests but the
// creations come in at another node:
//
//	BOSH_NODES=2 go test .
func Relayed() bool { return os.Getenv("BOSH_NODES") == "2" }

// duet returns the Handler of a node that has the sessions, and what serves it and
// another node in front of it, where all requests of sessions come in.
func duet(o bosh.Options) (owner *bosh.Handler, served http.Handler) {
	o.Node = "owner"
	owner = bosh.New(o)
	o.Node = "front"
	o.Relay = func(_ string, message []byte, answer func([]byte, error)) {
		message = bytes.Clone(message)
		owner.ServeRelay(message, func(m []byte, err error) {
			m = bytes.Clone(m)
			answer(m, err)
			clear(m) // nobody may look at it any more
		})
		clear(message)
	}
	front := bosh.New(o)
	return owner, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(b), Broken{err}))
		if bytes.Contains(b, []byte(".owner")) {
			front.ServeHTTP(w, r)
		} else {
			owner.ServeHTTP(w, r)
		}
	})
}

// broken is a Reader at the end of what could be read.
type Broken struct{ Err error }

func (b Broken) Read([]byte) (int, error) {
	if b.Err != nil {
		return 0, b.Err
	}
	return 0, io.EOF
}

// A trio is a cluster of the nodes a, b and c, in a bubble.
type Trio struct {
	*testing.T
	boshtest.Cluster
	H map[string]*bosh.Handler

	mu         sync.Mutex // guards the following
	left, heir string     // a node that leaves, and who adopts its name
	gone       bool       // it has left
}

// relay is that of the Cluster. Messages of a leaving node to its own name go to its heir, as
// do all messages to it when it is gone.
func (c *Trio) relay(from string) func(string, []byte, func([]byte, error)) {
	send := c.Relay(from)
	return func(to string, message []byte, answer func([]byte, error)) {
		c.mu.Lock()
		if to == c.left && (from == to || c.gone) {
			to = c.heir
		}
		c.mu.Unlock()
		send(to, message, answer)
	}
}

// adopt has a node adopt the name of one that leaves, or has left.
func (c *Trio) Adopt(left, heir string, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.heir, c.gone = left, heir, gone
}

// trios runs f in a bubble, with either engine where requests come in.
func Trios(t *testing.T, name string, o bosh.Options, f func(t *Trio)) {
	t.Helper()
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("%s/direct=%v", name, direct), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &Trio{T: t, H: make(map[string]*bosh.Handler)}
				for _, name := range []string{"a", "b", "c"} {
					o.Direct, o.Node, o.Relay = direct, name, c.relay(name)
					c.H[name] = NewHandler(t, o)
					c.Add(name, c.H[name])
				}
				f(c)
			})
		})
	}
}

// at is a client's server in front of a node, by real HTTP.
func (c *Trio) At(node string) http.RoundTripper {
	s := boshtest.NewPipeServer(c.H[node])
	c.Cleanup(func() { s.Close() })
	return s
}

// serving runs a test with a session whose stream goes to serve.
func Serving(t *testing.T, o bosh.Options, serve func(*bosh.Stream), f func(t *testing.T, p *Peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Framing, o.Serve = bosh.Elements, serve
		f(t, Dial(t, boshtest.InMemory(NewHandler(t, o))))
	})
}

// calling is a slog.Handler that calls a function.
type Calling struct{ F func() }

func (c Calling) Enabled(context.Context, slog.Level) bool { c.F(); return true }

func (c Calling) Handle(context.Context, slog.Record) error { c.F(); return nil }

func (c Calling) WithAttrs([]slog.Attr) slog.Handler { return c }

func (c Calling) WithGroup(string) slog.Handler { return c }

// undelivered returns what s could not deliver, with a mark on what was sent.
func Lost(s *bosh.Stream) (all []string) {
	for p := range s.Undelivered() {
		mark := ""
		if p.Sent {
			mark = "sent "
		}
		all = append(all, mark+string(p.Data))
	}
	return all
}

func Write(t *testing.T, s *bosh.Stream, b string) {
	t.Helper()
	_, err := s.Write([]byte(b))
	require.NoError(t, err)
}

const XmppNS = "xmlns:xmpp='urn:xmpp:xbosh'"

const StreamNS = "xmlns:stream='http://etherx.jabber.org/streams'"

// What a server writes at the beginning of a stream.
const ServerHeader = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' " + StreamNS +
	" id='str-1' from='example.com' version='1.0'>"

const Features = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"

// success is what lets a client restart the stream.
const Success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"

// remoteStreamError is the answer that reports a stream error.
func RemoteStreamError(payloads ...string) string {
	return "<body type='terminate' condition='remote-stream-error' " + StreamNS + ">" + strings.Join(payloads, "") + "</body>"
}

const Restart = "xmpp:restart='true' " + XmppNS

const BindFeatures = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"
