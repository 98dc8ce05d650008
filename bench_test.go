package bosh_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
)

// The benchmarks run requests through ServeHTTP in memory: they count the library, and
// nothing of net/http but its header map. The command internal/bench measures over a
// network.

const benchStanza = `<message xmlns='jabber:client' to='romeo@montague.example/orchard' type='chat' id='c4f2f2a1-9d3c-4a5e'>` +
	`<body>Wherefore art thou, Romeo? Deny thy father &amp; refuse thy name.</body>` +
	`<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`

// A benchLine is a connection for one request after the other.
type benchLine struct {
	h      *bosh.Handler
	body   []byte
	rd     byteReader
	r      *http.Request
	header http.Header
	answer []byte
	begin  chan struct{}
	done   chan struct{}
}

type byteReader struct{ b []byte }

func (r *byteReader) Read(p []byte) (int, error) {
	n := copy(p, r.b)
	r.b = r.b[n:]
	if len(r.b) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (r *byteReader) Close() error { return nil }

func newBenchLine(h *bosh.Handler) *benchLine {
	l := &benchLine{h: h, header: make(http.Header), begin: make(chan struct{}), done: make(chan struct{}, 1)}
	l.r = &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Header: make(http.Header), Body: &l.rd, RemoteAddr: "192.0.2.1:1"}
	l.r = l.r.WithContext(context.Background())
	go func() {
		for range l.begin {
			l.rd.b, l.r.ContentLength = l.body, int64(len(l.body))
			clear(l.header)
			h.ServeHTTP(l, l.r)
			l.done <- struct{}{}
		}
	}()
	return l
}

func (l *benchLine) Header() http.Header { return l.header }
func (l *benchLine) WriteHeader(int)     {}

func (l *benchLine) SetReadDeadline(time.Time) error  { return nil }
func (l *benchLine) SetWriteDeadline(time.Time) error { return nil }

func (l *benchLine) Write(b []byte) (int, error) {
	l.answer = append(l.answer[:0], b...)
	return len(b), nil
}

// A runner is a client with one request open at any time.
type runner struct {
	sid   string
	rid   int64
	lines [2]*benchLine // the first carries the next request, the second an open one
}

func newRunner(h *bosh.Handler) *runner {
	c := &runner{rid: 1000, lines: [2]*benchLine{newBenchLine(h), newBenchLine(h)}}
	c.create()
	return c
}

func (c *runner) close() {
	for _, l := range c.lines {
		close(l.begin)
	}
}

func (c *runner) create() {
	c.sid = ""
	c.post("", " to='example.com' hold='1' wait='60' ver='1.11'")
	c.wait()
	_, rest, _ := strings.Cut(string(c.lines[1].answer), "sid='")
	c.sid, _, _ = strings.Cut(rest, "'")
}

// post sends a request without waiting for its answer.
func (c *runner) post(payload, attrs string) {
	l := c.lines[0]
	c.lines[0], c.lines[1] = c.lines[1], l
	c.rid++
	l.body = strconv.AppendInt(append(l.body[:0], "<body rid='"...), c.rid, 10)
	l.body = append(append(append(l.body, "' sid='"...), c.sid...), '\'')
	if c.sid == "" {
		l.body = l.body[:len(l.body)-len(" sid=''")]
	}
	l.body = append(append(l.body, attrs...), " xmlns='http://jabber.org/protocol/httpbind'>"...)
	l.body = append(append(l.body, payload...), "</body>"...)
	l.begin <- struct{}{}
}

// wait waits for the answer to the last request.
func (c *runner) wait() { <-c.lines[1].done }

// waitOlder waits for the answer to the request before the last.
func (c *runner) waitOlder() { <-c.lines[0].done }

func benchHandler(b *testing.B, o bosh.Options) *bosh.Handler {
	o.Logger = slog.New(slog.DiscardHandler)
	o.Framing = bosh.Elements
	h := bosh.New(o)
	b.Cleanup(func() { h.Close() })
	return h
}

// echoElements echoes elements.
func echoElements(st *bosh.Stream) {
	for ctx := context.Background(); ; {
		el, err := st.ReadElement(ctx)
		if err != nil {
			return
		}
		st.WriteElement(ctx, el)
	}
}

// echoAppended echoes elements, all of them in one buffer.
func echoAppended(st *bosh.Stream) {
	var el []byte
	var err error
	for ctx := context.Background(); ; {
		if el, err = st.AppendElement(ctx, el[:0]); err != nil {
			return
		}
		st.WriteElement(ctx, el)
	}
}

// echoBytes echoes its input.
func echoBytes(st *bosh.Stream) {
	buf := make([]byte, 32<<10)
	for {
		n, err := st.Read(buf)
		if err != nil {
			return
		}
		st.Write(buf[:n])
	}
}

// BenchmarkRoundTrip is a request with stanzas, and the answer to the request before it,
// with the same stanzas.
func BenchmarkRoundTrip(b *testing.B) {
	for _, app := range []struct {
		name  string
		serve func(*bosh.Stream)
	}{{"elements", echoElements}, {"appended", echoAppended}, {"bytes", echoBytes}} {
		for _, n := range []int{1, 50} {
			b.Run(fmt.Sprintf("%s/%d", app.name, n), func(b *testing.B) {
				c := newRunner(benchHandler(b, bosh.Options{Serve: app.serve}))
				defer c.close()
				payload := strings.Repeat(benchStanza, n)
				c.post("", "")
				b.ReportAllocs()
				for b.Loop() {
					c.post(payload, "")
					c.waitOlder()
				}
				c.post("", " type='terminate'")
			})
		}
	}
}

// BenchmarkRequest is a request with a stanza until Read returns it; it is
// answered when the next one comes.
func BenchmarkRequest(b *testing.B) {
	got := make(chan struct{})
	c := newRunner(benchHandler(b, bosh.Options{Grace: -1, Serve: func(st *bosh.Stream) {
		for buf := make([]byte, 4<<10); ; {
			if _, err := st.Read(buf); err != nil {
				return
			}
			got <- struct{}{}
		}
	}}))
	defer c.close()
	c.post("", "")
	b.ReportAllocs()
	for b.Loop() {
		c.post(benchStanza, "")
		<-got
		c.waitOlder()
	}
	c.post("", " type='terminate'")
}

// BenchmarkAnswer is a stanza written until the held request has been answered with it, and
// the next request.
func BenchmarkAnswer(b *testing.B) {
	h := benchHandler(b, bosh.Options{})
	c := newRunner(h)
	defer c.close()
	st, err := h.Listener().Accept()
	if err != nil {
		b.Fatal(err)
	}
	stanza := []byte(benchStanza)
	b.ReportAllocs()
	for b.Loop() {
		c.post("", "")
		st.Write(stanza)
		c.wait()
	}
}

// BenchmarkSession is the creation of a session and its termination.
func BenchmarkSession(b *testing.B) {
	c := newRunner(benchHandler(b, bosh.Options{Grace: -1, MaxSessions: -1, Serve: func(st *bosh.Stream) { <-st.Context().Done() }}))
	defer c.close()
	b.ReportAllocs()
	for b.Loop() {
		c.post("", " type='terminate'")
		c.wait()
		c.create()
	}
}

// BenchmarkContention is round trips of many sessions side by side, and writes
// to one session from many goroutines.
func BenchmarkContention(b *testing.B) {
	b.Run("sessions", func(b *testing.B) {
		h := benchHandler(b, bosh.Options{Serve: echoElements})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			c := newRunner(h)
			defer c.close()
			c.post("", "")
			for pb.Next() {
				c.post(benchStanza, "")
				c.waitOlder()
			}
			c.post("", " type='terminate'")
		})
	})
	b.Run("one", func(b *testing.B) {
		h := benchHandler(b, bosh.Options{})
		c := newRunner(h)
		defer c.close()
		conn, err := h.Listener().Accept()
		if err != nil {
			b.Fatal(err)
		}
		stop := make(chan struct{})
		go func() { // the client takes it all
			defer close(stop)
			for c.post("", ""); h.Stats().Sessions > 0; c.post("", "") {
				c.wait()
			}
		}()
		stanza := []byte(benchStanza)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				conn.Write(stanza)
			}
		})
		conn.Close()
		<-stop
	})
}
