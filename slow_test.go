package bosh_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A slow client sends or reads little by little.
type slow struct {
	t    *testing.T
	h    *bosh.Handler
	pipe *boshtest.PipeServer
	http bool // it speaks HTTP/1.1
	over chan bool
}

// overSlow runs a test with both engines and over both versions of HTTP.
func overSlow(t *testing.T, name string, o bosh.Options, f func(c *slow)) {
	t.Run(name, func(t *testing.T) {
		for _, o.Direct = range []bool{false, true} {
			overVersions(t, o, 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
				c := &slow{t, h, pipe, pipe.Transport.Protocols.HTTP1(), make(chan bool)}
				defer close(c.over)
				f(c)
			})
		}
	})
}

// A pacer yields a text by pieces, and sleeps before each but the first.
type pacer struct {
	text  string
	piece int
	every time.Duration
	begun bool
	over  chan bool

	once   sync.Once
	closed chan bool
}

// Close ends a Read: a client over HTTP/2 hears of a reset only then.
func (p *pacer) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pacer) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	if p.begun {
		select {
		case <-time.After(p.every):
		case <-p.over:
			return 0, io.ErrUnexpectedEOF
		case <-p.closed:
			return 0, io.ErrClosedPipe
		}
	}
	p.begun = true
	n := copy(b, p.text[:min(p.piece, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// post posts a body by pieces. What comes back is the text of the answer, or nothing if
// the request is cut off. Over HTTP/1.1 it is the second request of a connection, which
// Direct has taken over then.
func (c *slow) post(body string, piece int, every time.Duration, headers ...string) <-chan string {
	c.t.Helper()
	from := &pacer{text: body, piece: piece, every: every, over: c.over, closed: make(chan bool)}
	if !c.http {
		return async(func() string {
			r, err := http.NewRequest("POST", anyURL, from)
			require.NoError(c.t, err)
			r.ContentLength = int64(len(body))
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			resp, err := c.pipe.RoundTrip(r)
			if err != nil {
				return ""
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			return string(text)
		})
	}
	conn, err := c.pipe.Listener.DialContext(context.Background(), "", "")
	require.NoError(c.t, err)
	c.t.Cleanup(func() { conn.Close() })
	answers := bufio.NewReader(conn)
	io.WriteString(conn, postText("1.1", "", "<body rid='1' sid='nobody' xmlns='"+nsBind+"'/>"))
	resp, err := http.ReadResponse(answers, nil)
	require.NoError(c.t, err)
	io.Copy(io.Discard, resp.Body)
	head := "POST /http-bind HTTP/1.1\r\nHost: a.example\r\n"
	for i := 0; i < len(headers); i += 2 {
		head += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", head, len(body))
	go io.Copy(struct{ io.Writer }{conn}, from)
	return async(func() string {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return ""
		}
		text, _ := io.ReadAll(resp.Body)
		return string(text)
	})
}

// A client that sends steadily, however slowly, has its body received at the first try,
// and its session does not expire meanwhile.
func TestSlowSender(t *testing.T) {
	o := bosh.Options{Framing: bosh.Elements, Inactivity: 5 * second, Wait: 5 * second}
	big := x(strings.Repeat("x", 900_000))
	for _, rate := range []int{50_000, 5_000, 1100} {
		o.MaxBody = 1 << 20
		overSlow(t, fmt.Sprint(rate, " bytes a second"), o, func(c *slow) {
			if rate < 5000 {
				big = x(strings.Repeat("x", 300_000)) // or it takes longer than anything may
			} else {
				big = x(strings.Repeat("x", 900_000))
			}
			p := dial(c.t, c.pipe)
			s := accept(c.t, c.h)
			got := c.post(p.body(1001, big), rate/10, second/10)
			took := elapsed(func() { requireRead(c.t, s, big) })
			assert.InDelta(c.t, float64(len(big))/float64(rate), took.Seconds(), 2)
			write(c.t, s, x("thanks"))
			assert.Contains(c.t, <-got, x("thanks"))
			assert.NoError(c.t, s.Session().Err())
			assert.EqualValues(c.t, 2, s.Session().Stats().Requests, "at the first try")
		})
	}
}

// A client that reads steadily gets its answer at the first try.
func TestSlowReader(t *testing.T) {
	o := bosh.Options{Framing: bosh.Elements, MaxElement: 8 << 20, WriteBuffer: 8 << 20}
	for _, test := range []struct{ size, rate int }{{1 << 20, 20_000}, {1 << 20, 1500}, {6 << 20, 50_000}} {
		overSlow(t, fmt.Sprint(test.size, " at ", test.rate), o, func(c *slow) {
			if !c.http && test.size < 5<<20 {
				return // the client's own buffers take as much
			}
			big := x(strings.Repeat("x", test.size))
			p := dial(c.t, c.pipe)
			s := accept(c.t, c.h)
			write(c.t, s, big)
			r, err := http.NewRequest("POST", anyURL, strings.NewReader(p.body(1001, "")))
			require.NoError(c.t, err)
			resp, err := c.pipe.RoundTrip(r)
			require.NoError(c.t, err)
			defer resp.Body.Close()
			var text strings.Builder
			took := elapsed(func() {
				for err == nil {
					time.Sleep(second / 10)
					_, err = io.CopyN(&text, resp.Body, int64(test.rate/10))
				}
			})
			assert.Equal(c.t, io.EOF, err)
			assert.Greater(c.t, took, 50*second)
			assert.Contains(c.t, text.String(), big)
			synctest.Wait()
			assert.Zero(c.t, s.Session().Stats().Open)
			assert.Zero(c.t, s.Session().Stats().Repeats)
		})
	}
}

// What stands still, or flows by drops, is cut off by the time-out, and nothing takes as
// long as it likes.
func TestTooSlow(t *testing.T) {
	for name, test := range map[string]struct {
		minRate, size, first, piece int
		every                       time.Duration
		want                        time.Duration
	}{
		"a byte a second":                  {0, 1000, 1, 1, second, 15 * second},
		"half the rate":                    {0, 900_000, 512, 512, second, 30 * second},
		"half of another rate":             {100_000, 3 << 20, 5000, 5000, second / 10, 30 * second},
		"a stop in the middle":             {0, 900_000, 500_000, 1, time.Hour, 15 * second},
		"twice the rate, but for ever":     {0, 3 << 20, 204, 204, second / 10, 15 * time.Minute},
		"fast, but nothing is extended":    {-1, 900_000, 5000, 5000, second / 10, 15 * second},
		"nothing but the head of a POST":   {0, 900_000, 0, 0, time.Hour, 15 * second},
		"only the start tag of the <body>": {0, 900_000, 120, 0, time.Hour, 15 * second},
	} {
		o := bosh.Options{Framing: bosh.Elements, MaxBody: 4 << 20, MinRate: test.minRate, Inactivity: 20 * time.Minute}
		overSlow(t, name, o, func(c *slow) {
			p := dial(c.t, c.pipe)
			s := accept(c.t, c.h)
			body := p.body(1001, x(strings.Repeat("x", test.size)))
			var got <-chan string
			if test.first == test.piece && test.piece > 0 {
				got = c.post(body, test.piece, test.every)
			} else {
				got = c.stops(body, test.first)
			}
			took := elapsed(func() { assert.Empty(c.t, <-got) })
			assert.InDelta(c.t, test.want.Seconds(), took.Seconds(), 3) // a deadline may be a sixteenth early
			synctest.Wait()
			assert.Zero(c.t, s.Session().Stats().Open)
			again := boshtest.Post(c.t, c.pipe, p.body(1001, x("again")))
			requireRead(c.t, s, x("again"))
			write(c.t, s, x("thanks"))
			assert.Equal(c.t, x("thanks"), again.Wait().Payload(), "the client may try again")
		})
	}
}

// stops posts the first n bytes of a body, and no more.
func (c *slow) stops(body string, n int) <-chan string {
	return c.post(body, max(n, 1), time.Hour)
}

// A body that is on its way keeps its session, and if it does not arrive, the client has
// as long as ever to come back.
func TestBodyIsActivity(t *testing.T) {
	o := bosh.Options{Framing: bosh.Elements, Inactivity: 5 * second, Wait: 5 * second}
	overSlow(t, "that comes", o, func(c *slow) {
		p := dial(c.t, c.pipe)
		s := accept(c.t, c.h)
		body := p.body(1001, x("a"))
		got := c.post(body, len(body)-5, 12*second)
		requireRead(c.t, s, x("a"))
		write(c.t, s, x("b"))
		assert.Contains(c.t, <-got, x("b"))
	})

	overSlow(t, "that is compressed", o, func(c *slow) {
		p := dial(c.t, c.pipe)
		s := accept(c.t, c.h)
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, p.body(1001, x("a")))
		w.Close()
		got := c.post(b.String(), b.Len()-5, 12*second, "Content-Encoding", "gzip")
		requireRead(c.t, s, x("a"))
		write(c.t, s, x("b"))
		assert.Contains(c.t, <-got, x("b"))
	})

	overSlow(t, "that does not come", o, func(c *slow) {
		p := dial(c.t, c.pipe)
		s := accept(c.t, c.h)
		body := p.body(1001, x("a"))
		begin := time.Now()
		assert.Empty(c.t, <-c.post(body, len(body)-5, time.Hour))
		assert.InDelta(c.t, 15, time.Since(begin).Seconds(), 1)
		assert.NoError(c.t, s.Session().Err())
		time.Sleep(4 * second)
		synctest.Wait()
		assert.NoError(c.t, s.Session().Err())
		<-s.Context().Done()
		assert.InDelta(c.t, 20, time.Since(begin).Seconds(), 3)
		assert.Equal(c.t, map[string]int64{"inactive": 1}, c.h.Stats().Ended)
	})

	overSlow(t, "that others wait for", o, func(c *slow) {
		p := dial(c.t, c.pipe)
		s := accept(c.t, c.h)
		early := boshtest.Post(c.t, c.pipe, p.body(1002, x("b")))
		got := c.post(p.body(1001, x(strings.Repeat("x", 20_000))), 1000, second)
		requireRead(c.t, s, x(strings.Repeat("x", 20_000))+x("b"))
		write(c.t, s, x("c"))
		assert.Contains(c.t, <-got, x("c"))
		early.Wait()
		assert.NoError(c.t, s.Session().Err())
	})

	overSlow(t, "of another session", o, func(c *slow) {
		dial(c.t, c.pipe)
		s := accept(c.t, c.h)
		other := dial(c.t, c.pipe)
		accept(c.t, c.h)
		body := other.body(1001, x("a"))
		got := c.post(body, len(body)-5, 12*second)
		assert.InDelta(c.t, 5, elapsed(func() { <-s.Context().Done() }).Seconds(), 2)
		<-got
	})
}
