package relay

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a request says arrives as it was.
func TestMessages(t *testing.T) {
	for _, q := range []Request{
		{Body: []byte("<body/>")},
		{Body: []byte{}, Malformed: true, Conn: 1<<64 - 1},
		{Body: bytes.Repeat([]byte("x"), 1<<20), Secure: true, Encrypted: true, Cert: []byte("cert"), Left: time.Second, Head: []byte("head")},
		{Body: []byte("b"), Cert: []byte{}, Left: 1<<63 - 1},
	} {
		k := newKey(7, 9)
		r := reader(appendRequest(nil, k, "front-1", &q))
		as, got := r.readKind()
		assert.Equal(t, isRequest, as)
		assert.Equal(t, k, got)
		p, from, err := r.readRequest()
		require.NoError(t, err)
		assert.Equal(t, "front-1", string(from))
		assert.Equal(t, q, p)
	}
	f := NewFront("a", nil, nil)
	for _, a := range []Answer{{Body: []byte("x"), Content: "text/xml"}, {Status: 404, Body: []byte{}}} {
		got, err := readAnswer(appendAnswer(nil, &a), f.content)
		require.NoError(t, err)
		assert.Equal(t, a, got)
	}
	for _, bad := range [][]byte{nil, {4}, {4, 0}, {4, 0, 3, 'a'}, {4, 100, 0}, {5, 0, 0}, {4, 0, 1, '\n'}} {
		_, err := readAnswer(bad, f.content)
		assert.Error(t, err, bad)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(appendRequest(nil, newKey(1, 2), "a", &Request{Body: []byte("<body/>"), Cert: []byte("c"), Left: 5, Head: Head(httptest.NewRequest("POST", "/", nil))}))
	f.Add(appendNotice(nil, isCancel, newKey(1, 2)))
	f.Fuzz(func(t *testing.T, m []byte) {
		done, answers := 0, 0
		o := &Owner{
			Serve: func(c *Call) {
				require.NotNil(t, c.HTTP().Header)
				c.TLS()
				c.Answer(Answer{Body: c.Body})
			},
			Done: func(*Call) { done++ }, Peers: new(Peers), Logger: slog.New(slog.DiscardHandler),
		}
		o.Message(m, func([]byte, error) { answers++ })
		assert.Equal(t, 1, answers)
		assert.LessOrEqual(t, done, 1)
		readAnswer(m, NewFront("a", nil, nil).content)
	})
}

// Notices that come while a request is being served wait for that, and what comes twice
// is done once.
func TestNotices(t *testing.T) {
	var did []string
	o := &Owner{Peers: new(Peers), Logger: slog.New(slog.DiscardHandler)}
	k := newKey(1, 2)
	o.Gone = func(c *Call) { did = append(did, "gone"); c.Abort() }
	o.Hurry = func(*Call) { did = append(did, "hurry") }
	o.Done = func(*Call) { did = append(did, "done") }
	o.Serve = func(*Call) {
		o.Message(appendNotice(nil, isHurry, k), nil)
		o.Message(appendNotice(nil, isCancel, k), nil)
		did = append(did, "served")
	}
	o.Message(appendRequest(nil, k, "a", new(Request)), func(_ []byte, err error) { assert.Equal(t, ErrGone, err) })
	o.Message(appendNotice(nil, isCancel, k), nil)
	assert.Equal(t, []string{"served", "hurry", "gone", "done"}, did)

	did = nil
	o.Serve = func(*Call) { panic("oops") }
	o.Message(appendRequest(nil, k, "a", new(Request)), func(_ []byte, err error) { assert.Equal(t, ErrGone, err) })
	assert.Equal(t, []string{"done"}, did)
}

// A request that comes again by another way takes the place of the first: the end of that one
// does not keep notices from it.
func TestSameRequestTwice(t *testing.T) {
	var calls []*Call
	hurried := 0
	o := &Owner{
		Serve: func(c *Call) { calls = append(calls, c) }, Hurry: func(*Call) { hurried++ }, Done: func(*Call) {},
		Peers: new(Peers), Logger: slog.New(slog.DiscardHandler),
	}
	k := newKey(1, 2)
	for range 2 {
		o.Message(appendRequest(nil, k, "a", new(Request)), func([]byte, error) {})
	}
	calls[0].Abort()
	o.Message(appendNotice(nil, isHurry, k), nil)
	assert.Equal(t, 1, hurried)
	calls[1].Answer(Answer{})
	o.Message(appendNotice(nil, isHurry, k), nil)
	assert.Equal(t, 1, hurried)
}

func TestHead(t *testing.T) {
	r := httptest.NewRequest("POST", "/a/b?c=d", bytes.NewReader([]byte("body")))
	r.Header.Set("Cookie", "x=y")
	r.Header.Set("Content-Length", "4")
	r.RemoteAddr = "192.0.2.1:5"
	cert := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("no certificate")}}}
	c := &Call{Request: Request{Head: Head(r), Encrypted: true, Cert: cert.PeerCertificates[0].Raw}}
	c.http = c.request()
	got := c.HTTP()
	assert.Equal(t, "/a/b?c=d", got.RequestURI)
	assert.Equal(t, "x=y", got.Header.Get("Cookie"))
	assert.Empty(t, got.Header.Get("Content-Length"))
	assert.Equal(t, []string{"x=y"}, c.Header("Cookie"))
	assert.Equal(t, "example.com", c.Host())
	assert.Equal(t, "192.0.2.1:5", c.Origin().RemoteAddr().String())
	assert.NotNil(t, got.TLS)
	assert.Nil(t, (&Call{}).HTTP().TLS)
	assert.Equal(t, http.MethodPost, (&Call{Request: Request{Head: []byte("\x01garbage")}}).HTTP().Method)
}

// A request that may have been lost may arrive late, when its client has gone on: its node
// is told that nobody waits for it.
func TestLostIsCancelled(t *testing.T) {
	for err, cancelled := range map[error]bool{errors.New("lost"): true, ErrNoNode: false, nil: false} {
		var sent []kind
		f := NewFront("a", func(_ string, m []byte, answer func([]byte, error)) {
			sent = append(sent, kind(m[0]))
			if answer != nil {
				answer(appendAnswer(nil, &Answer{}), err)
			}
		}, slog.Default())
		var got error
		f.Go("b", &Request{}, func(*Trip) {}, func(_ Answer, err error) { got = err })
		assert.Equal(t, err, got)
		want := []kind{isRequest}
		if cancelled {
			want = append(want, isCancel)
		}
		assert.Equal(t, want, sent)
	}
}

// Nobody has more peers counted than there may be.
func TestPeers(t *testing.T) {
	var p Peers
	assert.Nil(t, p.Counts())
	for i := range 2 * maxPeers {
		p.in([]byte(strconv.Itoa(i)))
		p.out(strconv.Itoa(i), nil)
	}
	all := p.Counts()
	assert.Len(t, all, maxPeers+1)
	assert.Equal(t, Counts{Out: 1, In: 1}, all["7"])
	assert.Equal(t, Counts{Out: maxPeers, In: maxPeers}, all[""])
}

// Answers are written in the order in which they came, but wait for a dead connection
// only so long.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lines
		var mu sync.Mutex
		var got []int
		turn := func(int) chan struct{} {
			ready := make(chan struct{}, 1)
			l.Enter(1, ready)
			return ready
		}
		write := func(i int, ready chan struct{}, takes time.Duration) {
			<-ready
			time.Sleep(takes)
			mu.Lock()
			got = append(got, i)
			mu.Unlock()
			l.Leave(1)
		}
		a, b, c := turn(0), turn(1), turn(2)
		go write(2, c, 0)
		go write(1, b, 0)
		go write(0, a, time.Millisecond)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []int{0, 1, 2}, got)
		assert.Empty(t, l.m)

		got = nil
		a, b, c = turn(0), turn(1), turn(2)
		go write(0, a, time.Hour)
		go write(2, c, 0)
		go write(1, b, 0)
		began := time.Now()
		<-turn(3)
		assert.Equal(t, patience, time.Since(began))
		l.Leave(1)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Len(t, got, 3)
		assert.Empty(t, l.m)
	})
}

// A request that is sent again has the time that is left by then, and is sent for as long
// as its node may be there, but not for ever if its session has moved.
func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, until := ErrMoved, time.Now().Add(time.Hour)
		var left []time.Duration
		f := NewFront("a", func(_ string, m []byte, done func([]byte, error)) {
			if done == nil {
				return
			}
			r := reader(m)
			r.readKind()
			q, from, err := r.readRequest()
			require.NoError(t, err)
			assert.Equal(t, "a", string(from))
			assert.Equal(t, "<body/>", string(q.Body))
			assert.Equal(t, "cert", string(q.Cert))
			left = append(left, q.Left)
			if time.Now().Before(until) {
				done(nil, answer)
			} else {
				done(nil, ErrNoNode)
			}
		}, slog.New(slog.DiscardHandler))
		ask := func(q Request) (err error) {
			ended := make(chan error, 1)
			left = nil
			f.Go("b", &q, func(*Trip) {}, func(_ Answer, err error) { ended <- err })
			return <-ended
		}
		q := Request{Body: []byte("<body/>"), Cert: []byte("cert"), Left: time.Second}
		assert.Equal(t, ErrNoNode, ask(q))
		assert.Equal(t, []time.Duration{1000 * time.Millisecond, 980 * time.Millisecond, 940 * time.Millisecond, 860 * time.Millisecond}, left[:4])
		assert.EqualValues(t, 1, left[len(left)-1], "it is over, and no more")
		q.Left = 0
		assert.Equal(t, ErrNoNode, ask(q))
		assert.Zero(t, left[3])
		answer = fmt.Errorf("perhaps: %w", ErrMoved)
		began := time.Now()
		until = began.Add(time.Minute)
		assert.Equal(t, ErrNoNode, ask(q))
		assert.InDelta(t, time.Minute, time.Since(began), float64(time.Second))
		q.Passed = true
		answer, until = ErrMoved, began.Add(time.Hour)
		assert.Equal(t, ErrMoved, ask(q), "the node before asks again")
	})
}

// A request goes at once where its session is said to be, and so do notices; back to the first
// node if it is not there; and not in a circle without a pause.
func TestMovedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		type asked struct {
			node string
			at   time.Duration
		}
		var all []asked
		var answers []error
		var noticed []string
		f := NewFront("a", func(node string, m []byte, done func([]byte, error)) {
			if done == nil {
				noticed = append(noticed, node)
				return
			}
			all = append(all, asked{node, time.Since(began)})
			var err error
			if len(answers) > 0 {
				err, answers = answers[0], answers[1:]
			}
			if err != errOpen {
				done(appendAnswer(nil, &Answer{}), err)
			}
		}, slog.New(slog.DiscardHandler))
		ask := func(body string, as ...error) error {
			began, all, answers = time.Now(), nil, as
			ended := make(chan error, 1)
			f.Go("b", &Request{Body: []byte(body)}, func(*Trip) {}, func(_ Answer, err error) { ended <- err })
			err := <-ended
			synctest.Wait()
			return err
		}
		const ms = time.Millisecond
		require.NoError(t, ask("x", MovedTo("c")))
		assert.Equal(t, []asked{{"b", 0}, {"c", 0}}, all)
		require.NoError(t, ask("x", MovedTo("c"), ErrNoNode, MovedTo("c"), ErrMoved, MovedTo("c")))
		assert.Equal(t, []asked{{"b", 0}, {"c", 0}, {"b", 20 * ms}, {"c", 20 * ms}, {"b", 60 * ms}, {"c", 60 * ms}}, all)
		to := MovedTo("c")
		require.NoError(t, ask("x", to, to, to, to, to))
		assert.Equal(t, []asked{{"b", 0}, {"c", 0}, {"c", 0}, {"c", 0}, {"c", 0}, {"b", 20 * ms}}, all)
		assert.Equal(t, ErrNoNode, ask("x", ErrNoNode))
		long := strings.Repeat("x", maxAgain)
		assert.ErrorIs(t, ask(long, to), ErrMoved, "its client asks again")
		assert.False(t, Short([]byte(long)))
		assert.True(t, Short([]byte("x")))

		noticed, answers = nil, []error{to, errOpen}
		var trip *Trip
		f.Go("b", &Request{}, func(t *Trip) { trip = t }, func(Answer, error) { t.Error("nobody waits") })
		trip.Hurry()
		assert.True(t, trip.Cancel())
		assert.Equal(t, []string{"c", "c"}, noticed)
	})
}

// errOpen has a request wait for ever.
var errOpen = errors.New("open")
