package bosh_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests of this file's kind drive a Handler by raw bodies, in a bubble of
// fake time in which every answer comes at an exact moment. What they send and
// expect leaves out the wrapper's namespace; see complete.

// A bench is a Handler with an application behind it.
type bench struct {
	*testing.T
	h       *bosh.Handler
	served  http.Handler // gets the requests in the place of h, if it is there
	begin   time.Time
	headers http.Header // of every request

	replies atomic.Int64

	mu   sync.Mutex
	apps []*app
}

// bubble runs f with a bench of its own, as a subtest.
func bubble(t *testing.T, name string, o bosh.Options, f func(b *bench)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if o.Logger == nil {
				o.Logger = slog.New(slog.DiscardHandler)
			}
			b := &bench{T: t, begin: time.Now(), headers: http.Header{}}
			if b.h, b.served = bosh.New(o), nil; relayed() && o.Node == "" {
				b.h, b.served = duet(o)
			}
			defer b.h.Close()
			if o.Serve == nil {
				go b.accept(ctx)
			}
			f(b)
		})
	})
}

// stdOptions are those of the session that the requirements call std: no
// grace, so that everything happens at once, and no acks.
var stdOptions = bosh.Options{
	Framing: bosh.Elements, Inactivity: 30 * time.Second, Polling: 5 * time.Second,
	Grace: -1, NoAcks: true,
}

// with returns stdOptions changed by f.
func with(f func(o *bosh.Options)) bosh.Options {
	o := stdOptions
	f(&o)
	return o
}

// std runs f with a session as the requirements call std.
func std(t *testing.T, name string, f func(b *bench, s *session)) {
	t.Helper()
	bubble(t, name, stdOptions, func(b *bench) { f(b, b.create()) })
}

// custom runs f with a session created with attributes in place of std's.
func custom(t *testing.T, name string, o bosh.Options, attrs string, f func(b *bench, s *session)) {
	t.Helper()
	bubble(t, name, o, func(b *bench) { f(b, b.create(attrs)) })
}

// wait lets the clock of the bubble go on.
func (b *bench) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// now is the time since the bench was made.
func (b *bench) now() time.Duration { return time.Since(b.begin) }

// A call is a request under way.
type call struct {
	b    *bench
	name string
	end  context.CancelFunc
	cut  atomic.Bool // the connection is broken

	reply   atomic.Pointer[reply]
	aborted atomic.Bool // the Handler asked for the connection to be closed
}

// A reply is an answer. While it is made it is the Handler's ResponseWriter.
type reply struct {
	c      *call
	header http.Header
	body   []byte
	status int
	at     time.Duration
	order  int64 // among all of the bench
}

func (r *reply) Header() http.Header { return r.header }

func (r *reply) WriteHeader(status int) {
	if r.status == 0 {
		r.status, r.at, r.order = status, r.c.b.now(), r.c.b.replies.Add(1)
	}
}

func (r *reply) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if r.c.cut.Load() {
		return 0, errors.New("connection cut")
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

// The deadlines of http.ResponseController.
func (r *reply) SetReadDeadline(time.Time) error  { return nil }
func (r *reply) SetWriteDeadline(time.Time) error { return nil }

// post sends a raw body and lets the Handler do what it can do at once.
func (b *bench) post(body string) *call { return b.request(body, strings.NewReader(body)) }

func (b *bench) request(name string, body io.Reader) *call {
	ctx, cancel := context.WithCancel(b.Context())
	c := &call{b: b, name: name, end: cancel}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://example.com/http-bind", body)
	require.NoError(b, err)
	r.Header = b.headers.Clone()
	r.RemoteAddr = "192.0.2.1:1234"
	b.Cleanup(cancel)
	go func() {
		w := &reply{c: c, header: http.Header{}}
		defer cancel()
		defer func() {
			if v := recover(); v == http.ErrAbortHandler {
				c.aborted.Store(true)
			} else if v != nil {
				panic(v)
			}
			if w.status != 0 {
				c.reply.Store(w)
			}
		}()
		if b.served != nil {
			b.served.ServeHTTP(w, r)
		} else {
			b.h.ServeHTTP(w, r)
		}
	}()
	synctest.Wait()
	return c
}

// serve has h serve a request whose client may leave, and does what net/http does
// with a panic that aborts it.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r)
}

// breaks breaks the connection of the call.
func (c *call) breaks() {
	c.cut.Store(true)
	c.end()
	synctest.Wait()
}

// waits fails the test if there is an answer already.
func (c *call) waits() {
	c.b.Helper()
	synctest.Wait()
	if r := c.reply.Load(); r != nil {
		assert.Fail(c.b, "answered too soon", "at %v: %s\nto %s", r.at, r.body, c.name)
	}
}

// answer returns the answer, which must be there by now.
func (c *call) answer() *reply {
	c.b.Helper()
	synctest.Wait()
	r := c.reply.Load()
	require.NotNil(c.b, r, "no answer to %s", c.name)
	return r
}

// at returns when the answer was given.
func (c *call) at() time.Duration { return c.answer().at }

// gets fails the test unless the call has been answered with a body, by now.
func (c *call) gets(body string) {
	c.b.Helper()
	r := c.answer()
	assert.Equal(c.b, http.StatusOK, r.status)
	assert.Equal(c.b, canonical(c.b, body), canonical(c.b, string(r.body)), "to %s", c.name)
}

// getsNow is gets, and the answer was given at this moment.
func (c *call) getsNow(body string) {
	c.b.Helper()
	c.gets(body)
	assert.Equal(c.b, c.b.now(), c.at(), "time of the answer to %s", c.name)
}

// doubt is how long a request whose answer is no longer kept has to turn out to
// be nobody's, before it ends the session.
const doubt = time.Second

// getsAfter lets the clock go on and expects the answer exactly then.
func (c *call) getsAfter(d time.Duration, body string) {
	c.b.Helper()
	c.waits()
	c.b.wait(d)
	c.getsNow(body)
}

// body parses the answer.
func (c *call) body() *boshtest.Body {
	c.b.Helper()
	r := c.answer()
	body, err := boshtest.ParseBody(r.body)
	require.NoError(c.b, err, "%s", r.body)
	return body
}

// What answers look like.
const (
	empty = "<body/>"
	end   = "<body type='terminate'/>"
	again = "<body type='error'/>"
)

// condition is the answer that ends a session by c.
func condition(c bosh.Condition) string {
	return "<body type='terminate' condition='" + string(c) + "'/>"
}

// answer is an answer with payloads.
func answer(payloads ...string) string {
	return "<body>" + strings.Join(payloads, "") + "</body>"
}

// x is an element.
func x(text string) string { return "<x xmlns='u'>" + text + "</x>" }

// complete adds the wrapper's namespace to a body that declares none.
func complete(body string) string {
	tag, _, _ := strings.Cut(body, ">")
	if rest, ok := strings.CutPrefix(body, "<body"); ok && !strings.Contains(tag, " xmlns=") {
		return "<body xmlns='" + boshtest.NSBind + "'" + rest
	}
	return body
}

// canonical is the text of a body with its attributes in alphabetical order.
func canonical(t testing.TB, body string) string {
	t.Helper()
	p, err := boshtest.ParseBody([]byte(complete(body)))
	if err != nil {
		return body
	}
	var out strings.Builder
	out.WriteString("<body")
	slices.SortFunc(p.Attrs, func(a, b boshtest.Attr) int { return strings.Compare(a.Name, b.Name) })
	for _, a := range p.Attrs {
		if a.Name != "xmlns" {
			fmt.Fprintf(&out, " %s='%s'", a.Name, a.Value)
		}
	}
	out.WriteString(">")
	for _, e := range p.Payloads {
		out.Write(e)
	}
	return out.String()
}

// A session is the client's side of one.
type session struct {
	b       *bench
	sid     string
	creator *call
	granted *boshtest.Body
	app     *app
}

// stdAttrs are the attributes of std's creation request, but for the rid.
const stdAttrs = "to='example.com' hold='1' wait='60' ver='1.11'"

// create creates a session, by std's attributes or by others. The rid is 1000
// unless they have one.
func (b *bench) create(attrs ...string) *session {
	b.Helper()
	if len(attrs) == 0 {
		attrs = []string{stdAttrs}
	}
	all := strings.Join(attrs, " ")
	if !strings.Contains(" "+all, " rid=") {
		all = "rid='1000' " + all
	}
	s := &session{b: b, creator: b.post(complete("<body " + all + "/>"))}
	b.wait(0)
	s.granted = s.creator.body()
	s.sid = s.granted.Attr("sid")
	require.NotEmpty(b, s.sid, "%s", s.granted)
	s.app = b.app(-1)
	return s
}

// send sends a request of the session. Its parts are attributes and payloads.
func (s *session) send(rid int64, parts ...string) *call {
	return s.raw(strconv.FormatInt(rid, 10), parts...)
}

func (s *session) raw(rid string, parts ...string) *call {
	s.b.Helper()
	return s.b.post(s.text(rid, parts...))
}

// text is the text of a request.
func (s *session) text(rid string, parts ...string) string {
	var attrs, payloads string
	for _, p := range parts {
		if strings.HasPrefix(p, "<") {
			payloads += p
		} else {
			attrs += " " + p
		}
	}
	start := "<body rid='" + rid + "' sid='" + s.sid + "'" + attrs
	if payloads == "" {
		return complete(start + "/>")
	}
	return complete(start + ">" + payloads + "</body>")
}

// gone fails the test unless the session is over. A late request is told why, if it
// was this side that has ended it by a condition, or else that there is none.
func (s *session) gone() {
	s.b.Helper()
	want := condition(bosh.ItemNotFound)
	var e *bosh.Error
	if errors.As(s.app.Session().Err(), &e) && !e.Remote && e.Condition != "" {
		if want = condition(e.Condition); len(e.Payload) > 0 {
			want = remoteStreamError(string(e.Payload))
		}
	}
	s.send(1<<52, x("gone?")).getsNow(want)
	assert.Error(s.b, s.app.Session().Err())
}

// alive fails the test if the session has ended.
func (s *session) alive() {
	s.b.Helper()
	assert.NoError(s.b, s.app.Session().Err())
}

// An app is the application's side of a stream. It reads all the time.
type app struct {
	*bosh.Stream
	b       *bench
	headers chan struct{} // a token for each stream header read

	mu    sync.Mutex
	input []byte
	err   error
}

func (b *bench) accept(ctx context.Context) {
	for ctx.Err() == nil {
		c, err := b.h.Listener().Accept()
		if err != nil {
			return
		}
		a := &app{Stream: c.(*bosh.Stream), b: b, headers: make(chan struct{}, 10)}
		b.mu.Lock()
		b.apps = append(b.apps, a)
		b.mu.Unlock()
		go a.listen()
	}
}

// app returns the i-th stream, counted from the end if i is negative, as soon
// as it is there.
func (b *bench) app(i int) *app {
	b.Helper()
	apps := b.streams()
	if i < 0 {
		i += len(apps)
	}
	require.True(b, 0 <= i && i < len(apps), "no stream %d", i)
	return apps[i]
}

// streams returns all streams so far.
func (b *bench) streams() []*app {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.apps)
}

func (a *app) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := a.Read(buf)
		a.mu.Lock()
		a.input = append(a.input, buf[:n]...)
		a.err = err
		a.mu.Unlock()
		if bytes.Contains(buf[:n], []byte("<stream:stream")) {
			select {
			case a.headers <- struct{}{}:
			default: // nobody cares
			}
		}
		if err != nil {
			return
		}
	}
}

// reads fails the test unless the application has read just that since it was
// last looked at.
func (a *app) reads(want string) {
	a.b.Helper()
	assert.Equal(a.b, want, a.read())
}

func (a *app) read() string {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	got := string(a.input)
	a.input = nil
	return got
}

// ended returns how reading ended, or nil.
func (a *app) ended() error {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// writes has the application write, and lets the Handler do what it can do.
func (a *app) writes(text string) {
	a.b.Helper()
	_, err := io.WriteString(a, text)
	assert.NoError(a.b, err)
	synctest.Wait()
}

// undelivered returns what the stream hands back, with an asterisk at what was
// sent.
func (a *app) undelivered() (all []string) {
	for p := range a.Undelivered() {
		text := string(p.Data)
		if p.Sent {
			text += "*"
		}
		all = append(all, text)
	}
	return all
}

// keySequence returns the keys K(1) to K(n) of a seed, at their index. XEP-0124,
// section 15.
func keySequence(seed string, n int) []string {
	keys := []string{seed}
	for range n {
		sum := sha1.Sum([]byte(keys[len(keys)-1]))
		keys = append(keys, hex.EncodeToString(sum[:]))
	}
	return keys
}
