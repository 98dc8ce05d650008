package harness

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
type Harness struct {
	*testing.T
	H       *bosh.Handler
	served  http.Handler // gets the requests in the place of h, if it is there
	begin   time.Time
	Headers http.Header // of every request

	replies atomic.Int64

	mu   sync.Mutex
	Apps []*App
}

// bubble runs f with a bench of its own, as a subtest.
func Bubble(t *testing.T, name string, o bosh.Options, f func(b *Harness)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if o.Logger == nil {
				o.Logger = slog.New(slog.DiscardHandler)
			}
			b := &Harness{T: t, begin: time.Now(), Headers: http.Header{}}
			if b.H, b.served = bosh.New(o), nil; Relayed() && o.Node == "" {
				b.H, b.served = duet(o)
			}
			defer b.H.Close()
			if o.Serve == nil {
				go b.accept(ctx)
			}
			f(b)
		})
	})
}

// stdOptions are those of the session that the requirements call std: no
// grace, so that everything happens at once, and no acks.
var StdOptions = bosh.Options{
	Framing: bosh.Elements, Inactivity: 30 * time.Second, Polling: 5 * time.Second,
	Grace: -1, NoAcks: true,
}

// with returns stdOptions changed by f.
func With(f func(o *bosh.Options)) bosh.Options {
	o := StdOptions
	f(&o)
	return o
}

// std runs f with a session as the requirements call std.
func Std(t *testing.T, name string, f func(b *Harness, s *Session)) {
	t.Helper()
	Bubble(t, name, StdOptions, func(b *Harness) { f(b, b.Create()) })
}

// custom runs f with a session created with attributes in place of std's.
func Custom(t *testing.T, name string, o bosh.Options, attrs string, f func(b *Harness, s *Session)) {
	t.Helper()
	Bubble(t, name, o, func(b *Harness) { f(b, b.Create(attrs)) })
}

// wait lets the clock of the bubble go on.
func (b *Harness) Wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// now is the time since the bench was made.
func (b *Harness) Now() time.Duration { return time.Since(b.begin) }

// A call is a request under way.
type Call struct {
	b    *Harness
	Name string
	end  context.CancelFunc
	Cut  atomic.Bool // the connection is broken

	Reply   atomic.Pointer[reply]
	aborted atomic.Bool // the Handler asked for the connection to be closed
}

// A reply is an answer. While it is made it is the Handler's ResponseWriter.
type reply struct {
	c      *Call
	Head   http.Header
	Body   []byte
	Status int
	At     time.Duration
	Order  int64 // among all of the bench
}

func (r *reply) Header() http.Header { return r.Head }

func (r *reply) WriteHeader(status int) {
	if r.Status == 0 {
		r.Status, r.At, r.Order = status, r.c.b.Now(), r.c.b.replies.Add(1)
	}
}

func (r *reply) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if r.c.Cut.Load() {
		return 0, errors.New("connection cut")
	}
	r.Body = append(r.Body, p...)
	return len(p), nil
}

// The deadlines of http.ResponseController.
func (r *reply) SetReadDeadline(time.Time) error  { return nil }
func (r *reply) SetWriteDeadline(time.Time) error { return nil }

// post sends a raw body and lets the Handler do what it can do at once.
func (b *Harness) Post(body string) *Call { return b.Request(body, strings.NewReader(body)) }

func (b *Harness) Request(name string, body io.Reader) *Call {
	ctx, cancel := context.WithCancel(b.Context())
	c := &Call{b: b, Name: name, end: cancel}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://example.com/http-bind", body)
	require.NoError(b, err)
	r.Header = b.Headers.Clone()
	r.RemoteAddr = "192.0.2.1:1234"
	b.Cleanup(cancel)
	go func() {
		w := &reply{c: c, Head: http.Header{}}
		defer cancel()
		defer func() {
			if v := recover(); v == http.ErrAbortHandler {
				c.aborted.Store(true)
			} else if v != nil {
				panic(v)
			}
			if w.Status != 0 {
				c.Reply.Store(w)
			}
		}()
		if b.served != nil {
			b.served.ServeHTTP(w, r)
		} else {
			b.H.ServeHTTP(w, r)
		}
	}()
	synctest.Wait()
	return c
}

// serve has h serve a request whose client may leave, and does what net/http does
// with a panic that aborts it.
func Serve(h http.Handler, w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r)
}

// breaks breaks the connection of the call.
func (c *Call) Breaks() {
	c.Cut.Store(true)
	c.end()
	synctest.Wait()
}

// waits fails the test if there is an answer already.
func (c *Call) Waits() {
	c.b.Helper()
	synctest.Wait()
	if r := c.Reply.Load(); r != nil {
		assert.Fail(c.b, "answered too soon", "at %v: %s\nto %s", r.At, r.Body, c.Name)
	}
}

// answer returns the answer, which must be there by now.
func (c *Call) Answer() *reply {
	c.b.Helper()
	synctest.Wait()
	r := c.Reply.Load()
	require.NotNil(c.b, r, "no answer to %s", c.Name)
	return r
}

// at returns when the answer was given.
func (c *Call) At() time.Duration { return c.Answer().At }

// gets fails the test unless the call has been answered with a body, by now.
func (c *Call) Gets(body string) {
	c.b.Helper()
	r := c.Answer()
	assert.Equal(c.b, http.StatusOK, r.Status)
	assert.Equal(c.b, Canonical(c.b, body), Canonical(c.b, string(r.Body)), "to %s", c.Name)
}

// getsNow is gets, and the answer was given at this moment.
func (c *Call) GetsNow(body string) {
	c.b.Helper()
	c.Gets(body)
	assert.Equal(c.b, c.b.Now(), c.At(), "time of the answer to %s", c.Name)
}

// doubt is how long a request whose answer is no longer kept has to turn out to
// be nobody's, before it ends the session.
const Doubt = time.Second

// getsAfter lets the clock go on and expects the answer exactly then.
func (c *Call) GetsAfter(d time.Duration, body string) {
	c.b.Helper()
	c.Waits()
	c.b.Wait(d)
	c.GetsNow(body)
}

// body parses the answer.
func (c *Call) Body() *boshtest.Body {
	c.b.Helper()
	r := c.Answer()
	body, err := boshtest.ParseBody(r.Body)
	require.NoError(c.b, err, "%s", r.Body)
	return body
}

// What answers look like.
const (
	Empty = "<body/>"
	End   = "<body type='terminate'/>"
	Again = "<body type='error'/>"
)

// condition is the answer that ends a session by c.
func Condition(c bosh.Condition) string {
	return "<body type='terminate' condition='" + string(c) + "'/>"
}

// answer is an answer with payloads.
func Answer(payloads ...string) string {
	return "<body>" + strings.Join(payloads, "") + "</body>"
}

// x is an element.
func X(text string) string { return "<x xmlns='u'>" + text + "</x>" }

// complete adds the wrapper's namespace to a body that declares none.
func Complete(body string) string {
	tag, _, _ := strings.Cut(body, ">")
	if rest, ok := strings.CutPrefix(body, "<body"); ok && !strings.Contains(tag, " xmlns=") {
		return "<body xmlns='" + boshtest.NSBind + "'" + rest
	}
	return body
}

// canonical is the text of a body with its attributes in alphabetical order.
func Canonical(t testing.TB, body string) string {
	t.Helper()
	p, err := boshtest.ParseBody([]byte(Complete(body)))
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
type Session struct {
	B       *Harness
	Sid     string
	Creator *Call
	Granted *boshtest.Body
	App     *App
}

// stdAttrs are the attributes of std's creation request, but for the rid.
const StdAttrs = "to='example.com' hold='1' wait='60' ver='1.11'"

// create creates a session, by std's attributes or by others. The rid is 1000
// unless they have one.
func (b *Harness) Create(attrs ...string) *Session {
	b.Helper()
	if len(attrs) == 0 {
		attrs = []string{StdAttrs}
	}
	all := strings.Join(attrs, " ")
	if !strings.Contains(" "+all, " rid=") {
		all = "rid='1000' " + all
	}
	s := &Session{B: b, Creator: b.Post(Complete("<body " + all + "/>"))}
	b.Wait(0)
	s.Granted = s.Creator.Body()
	s.Sid = s.Granted.Attr("sid")
	require.NotEmpty(b, s.Sid, "%s", s.Granted)
	s.App = b.App(-1)
	return s
}

// send sends a request of the session. Its parts are attributes and payloads.
func (s *Session) Send(rid int64, parts ...string) *Call {
	return s.Raw(strconv.FormatInt(rid, 10), parts...)
}

func (s *Session) Raw(rid string, parts ...string) *Call {
	s.B.Helper()
	return s.B.Post(s.Text(rid, parts...))
}

// text is the text of a request.
func (s *Session) Text(rid string, parts ...string) string {
	var attrs, payloads string
	for _, p := range parts {
		if strings.HasPrefix(p, "<") {
			payloads += p
		} else {
			attrs += " " + p
		}
	}
	start := "<body rid='" + rid + "' sid='" + s.Sid + "'" + attrs
	if payloads == "" {
		return Complete(start + "/>")
	}
	return Complete(start + ">" + payloads + "</body>")
}

// gone fails the test unless the session is over. A late request is told why, if it
// was this side that has ended it by a condition, or else that there is none.
func (s *Session) Gone() {
	s.B.Helper()
	want := Condition(bosh.ItemNotFound)
	var e *bosh.Error
	if errors.As(s.App.Session().Err(), &e) && !e.Remote && e.Condition != "" {
		if want = Condition(e.Condition); len(e.Payload) > 0 {
			want = RemoteStreamError(string(e.Payload))
		}
	}
	s.Send(1<<52, X("gone?")).GetsNow(want)
	assert.Error(s.B, s.App.Session().Err())
}

// alive fails the test if the session has ended.
func (s *Session) Alive() {
	s.B.Helper()
	assert.NoError(s.B, s.App.Session().Err())
}

// An app is the application's side of a stream. It reads all the time.
type App struct {
	*bosh.Stream
	b       *Harness
	Headers chan struct{} // a token for each stream header read

	mu    sync.Mutex
	input []byte
	err   error
}

func (b *Harness) accept(ctx context.Context) {
	for ctx.Err() == nil {
		c, err := b.H.Listener().Accept()
		if err != nil {
			return
		}
		a := &App{Stream: c.(*bosh.Stream), b: b, Headers: make(chan struct{}, 10)}
		b.mu.Lock()
		b.Apps = append(b.Apps, a)
		b.mu.Unlock()
		go a.listen()
	}
}

// app returns the i-th stream, counted from the end if i is negative, as soon
// as it is there.
func (b *Harness) App(i int) *App {
	b.Helper()
	apps := b.Streams()
	if i < 0 {
		i += len(apps)
	}
	require.True(b, 0 <= i && i < len(apps), "no stream %d", i)
	return apps[i]
}

// streams returns all streams so far.
func (b *Harness) Streams() []*App {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.Apps)
}

func (a *App) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := a.Read(buf)
		a.mu.Lock()
		a.input = append(a.input, buf[:n]...)
		a.err = err
		a.mu.Unlock()
		if bytes.Contains(buf[:n], []byte("<stream:stream")) {
			select {
			case a.Headers <- struct{}{}:
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
func (a *App) Reads(want string) {
	a.b.Helper()
	assert.Equal(a.b, want, a.Text())
}

func (a *App) Text() string {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	got := string(a.input)
	a.input = nil
	return got
}

// ended returns how reading ended, or nil.
func (a *App) Ended() error {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// writes has the application write, and lets the Handler do what it can do.
func (a *App) Writes(text string) {
	a.b.Helper()
	_, err := io.WriteString(a, text)
	assert.NoError(a.b, err)
	synctest.Wait()
}

// undelivered returns what the stream hands back, with an asterisk at what was
// sent.
func (a *App) Lost() (all []string) {
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
func KeySequence(seed string, n int) []string {
	keys := []string{seed}
	for range n {
		sum := sha1.Sum([]byte(keys[len(keys)-1]))
		keys = append(keys, hex.EncodeToString(sum[:]))
	}
	return keys
}
