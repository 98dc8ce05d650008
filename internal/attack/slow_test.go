package attack_test

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
	. "github.com/gobosh/bosh/internal/spec/harness"
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
			OverVersions(t, o, 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
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
		return Async(func() string {
			r, err := http.NewRequest("POST", AnyURL, from)
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
	io.WriteString(conn, PostText("1.1", "", "<body rid='1' sid='nobody' xmlns='"+NsBind+"'/>"))
	resp, err := http.ReadResponse(answers, nil)
	require.NoError(c.t, err)
	io.Copy(io.Discard, resp.Body)
	head := "POST /http-bind HTTP/1.1\r\nHost: a.example\r\n"
	for i := 0; i < len(headers); i += 2 {
		head += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", head, len(body))
	go io.Copy(struct{ io.Writer }{conn}, from)
	return Async(func() string {
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
	o := bosh.Options{Framing: bosh.Elements, Inactivity: 5 * Second, Wait: 5 * Second}
	big := X(strings.Repeat("x", 900_000))
	for _, rate := range []int{50_000, 5_000, 1100} {
		o.MaxBody = 1 << 20
		overSlow(t, fmt.Sprint(rate, " bytes a second"), o, func(c *slow) {
			if rate < 5000 {
				big = X(strings.Repeat("x", 300_000)) // or it takes longer than anything may
			} else {
				big = X(strings.Repeat("x", 900_000))
			}
			p := Dial(c.t, c.pipe)
			s := Accept(c.t, c.h)
			got := c.post(p.Body(1001, big), rate/10, Second/10)
			took := Elapsed(func() { RequireRead(c.t, s, big) })
			assert.InDelta(c.t, float64(len(big))/float64(rate), took.Seconds(), 2)
			Write(c.t, s, X("thanks"))
			assert.Contains(c.t, <-got, X("thanks"))
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
			big := X(strings.Repeat("x", test.size))
			p := Dial(c.t, c.pipe)
			s := Accept(c.t, c.h)
			Write(c.t, s, big)
			r, err := http.NewRequest("POST", AnyURL, strings.NewReader(p.Body(1001, "")))
			require.NoError(c.t, err)
			resp, err := c.pipe.RoundTrip(r)
			require.NoError(c.t, err)
			defer resp.Body.Close()
			var text strings.Builder
			took := Elapsed(func() {
				for err == nil {
					time.Sleep(Second / 10)
					_, err = io.CopyN(&text, resp.Body, int64(test.rate/10))
				}
			})
			assert.Equal(c.t, io.EOF, err)
			assert.Greater(c.t, took, 50*Second)
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
		"a byte a second":                  {0, 1000, 1, 1, Second, 15 * Second},
		"half the rate":                    {0, 900_000, 512, 512, Second, 30 * Second},
		"half of another rate":             {100_000, 3 << 20, 5000, 5000, Second / 10, 30 * Second},
		"a stop in the middle":             {0, 900_000, 500_000, 1, time.Hour, 15 * Second},
		"twice the rate, but for ever":     {0, 3 << 20, 204, 204, Second / 10, 15 * time.Minute},
		"fast, but nothing is extended":    {-1, 900_000, 5000, 5000, Second / 10, 15 * Second},
		"nothing but the head of a POST":   {0, 900_000, 0, 0, time.Hour, 15 * Second},
		"only the start tag of the <body>": {0, 900_000, 120, 0, time.Hour, 15 * Second},
	} {
		o := bosh.Options{Framing: bosh.Elements, MaxBody: 4 << 20, MinRate: test.minRate, Inactivity: 20 * time.Minute}
		overSlow(t, name, o, func(c *slow) {
			p := Dial(c.t, c.pipe)
			s := Accept(c.t, c.h)
			body := p.Body(1001, X(strings.Repeat("x", test.size)))
			var got <-chan string
			if test.first == test.piece && test.piece > 0 {
				got = c.post(body, test.piece, test.every)
			} else {
				got = c.stops(body, test.first)
			}
			took := Elapsed(func() { assert.Empty(c.t, <-got) })
			assert.InDelta(c.t, test.want.Seconds(), took.Seconds(), 3) // a deadline may be a sixteenth early
			synctest.Wait()
			assert.Zero(c.t, s.Session().Stats().Open)
			again := boshtest.Post(c.t, c.pipe, p.Body(1001, X("again")))
			RequireRead(c.t, s, X("again"))
			Write(c.t, s, X("thanks"))
			assert.Equal(c.t, X("thanks"), again.Wait().Payload(), "the client may try again")
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
	o := bosh.Options{Framing: bosh.Elements, Inactivity: 5 * Second, Wait: 5 * Second}
	overSlow(t, "that comes", o, func(c *slow) {
		p := Dial(c.t, c.pipe)
		s := Accept(c.t, c.h)
		body := p.Body(1001, X("a"))
		got := c.post(body, len(body)-5, 12*Second)
		RequireRead(c.t, s, X("a"))
		Write(c.t, s, X("b"))
		assert.Contains(c.t, <-got, X("b"))
	})

	overSlow(t, "that is compressed", o, func(c *slow) {
		p := Dial(c.t, c.pipe)
		s := Accept(c.t, c.h)
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, p.Body(1001, X("a")))
		w.Close()
		got := c.post(b.String(), b.Len()-5, 12*Second, "Content-Encoding", "gzip")
		RequireRead(c.t, s, X("a"))
		Write(c.t, s, X("b"))
		assert.Contains(c.t, <-got, X("b"))
	})

	overSlow(t, "that does not come", o, func(c *slow) {
		p := Dial(c.t, c.pipe)
		s := Accept(c.t, c.h)
		body := p.Body(1001, X("a"))
		begin := time.Now()
		assert.Empty(c.t, <-c.post(body, len(body)-5, time.Hour))
		assert.InDelta(c.t, 15, time.Since(begin).Seconds(), 1)
		assert.NoError(c.t, s.Session().Err())
		time.Sleep(4 * Second)
		synctest.Wait()
		assert.NoError(c.t, s.Session().Err())
		<-s.Context().Done()
		assert.InDelta(c.t, 20, time.Since(begin).Seconds(), 3)
		assert.Equal(c.t, map[string]int64{"inactive": 1}, c.h.Stats().Ended)
	})

	overSlow(t, "that others wait for", o, func(c *slow) {
		p := Dial(c.t, c.pipe)
		s := Accept(c.t, c.h)
		early := boshtest.Post(c.t, c.pipe, p.Body(1002, X("b")))
		got := c.post(p.Body(1001, X(strings.Repeat("x", 20_000))), 1000, Second)
		RequireRead(c.t, s, X(strings.Repeat("x", 20_000))+X("b"))
		Write(c.t, s, X("c"))
		assert.Contains(c.t, <-got, X("c"))
		early.Wait()
		assert.NoError(c.t, s.Session().Err())
	})

	overSlow(t, "of another session", o, func(c *slow) {
		Dial(c.t, c.pipe)
		s := Accept(c.t, c.h)
		other := Dial(c.t, c.pipe)
		Accept(c.t, c.h)
		body := other.Body(1001, X("a"))
		got := c.post(body, len(body)-5, 12*Second)
		assert.InDelta(c.t, 5, Elapsed(func() { <-s.Context().Done() }).Seconds(), 2)
		<-got
	})
}
