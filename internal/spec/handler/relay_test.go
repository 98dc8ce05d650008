package handler_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A sid names the node, and so does every one that ends in its name. Nothing else that a
// client makes up does.
func TestNode(t *testing.T) {
	for _, name := range []string{"a", "node-1", "0", strings.Repeat("z", 32), "-"} {
		assert.NoError(t, bosh.CheckNode(name))
	}
	for _, name := range []string{"", "A", "a.b", "a b", "a*", ">", "a\r\n", "\u00e4", strings.Repeat("z", 33)} {
		assert.Error(t, bosh.CheckNode(name), name)
		if name != "" {
			assert.PanicsWithError(t, bosh.CheckNode(name).Error(), func() { bosh.New(bosh.Options{Node: name}) })
		}
	}
	assert.PanicsWithValue(t, "bosh: Options.Relay needs Options.Node, the name by which other nodes find this one", func() {
		bosh.New(bosh.Options{Relay: func(string, []byte, func([]byte, error)) {}})
	})
	asked := make(chan string, 1)
	h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Node: "n-1", Relay: func(node string, _ []byte, answer func([]byte, error)) {
		asked <- node
		answer(nil, bosh.ErrNoNode)
	}})
	p := Dial(t, boshtest.InMemory(h))
	assert.Regexp(t, `^[A-Z2-7]{26}\.n-1$`, p.Sid)
	Accept(t, h)
	RequireEnd(t, p.Send("", "type='terminate'"), "")

	for sid, node := range map[string]string{
		"x.n-2": "n-2", "x.y.n-3": "n-3", ".n-4": "n-4", "x&#46;n-5": "n-5", "x.&#x6e;-6": "n-6",
		"x.n-1": "", "x": "", "x.": "", "n-2": "", "x.*": "", "x.&gt;": "", "x.N": "", "x.a b": "", "x.a&#13;&#10;b": "", "x.a\tb": "",
		"x." + strings.Repeat("z", 33): "", "x.a.": "", "x.\u00e4": "",
	} {
		for _, body := range []string{
			"<body rid='5' sid='" + sid + "' xmlns='" + NsBind + "'/>",
			"<?xml version='1.0'?><b:body to='&#46;n-9' xmlns:b='" + NsBind + "' rid='5' sid=\"" + sid + "\"/>",
		} {
			RequireEnd(t, boshtest.Exchange(t, boshtest.InMemory(h), body), bosh.ItemNotFound)
			got := ""
			select {
			case got = <-asked:
			default:
			}
			assert.Equal(t, node, got, sid)
		}
	}
	assert.Equal(t, map[string]bosh.RelayStats{"": {Failed: 10}}, h.Stats().Relayed, "clients make up no peers")
}

// Any node serves any request: with every framing, larger bodies, compression, and what
// the XEP has for them.
func TestRelay(t *testing.T) {
	o := StdOptions
	o.Compress = 1
	Trios(t, "a request at another node", o, func(c *Trio) {
		p := Dial(c.T, c.At("a"))
		app := Accept(c.T, c.H["a"])
		b := c.At("b")
		p.Rt = b
		held := p.Hold("")
		Write(c.T, app, X("out"))
		assert.Equal(c, X("out"), held.Wait().Payload())
		big := X(strings.Repeat("big ", 100_000))
		next := p.Hold(big)
		RequireRead(c.T, app, big)
		p.Rt = c.At("c")
		last := p.Post(X("two"))
		RequireRead(c.T, app, X("two"))
		assert.Empty(c, next.Wait().Payload())
		Write(c.T, app, big)
		assert.Equal(c, big, last.Wait().Payload())
		RequireEnd(c.T, p.Send("", "type='terminate'"), "")
		RequireEnd(c.T, boshtest.Exchange(c, b, p.Body(1009, "")), bosh.ItemNotFound)

		assert.EqualValues(c, 3, c.H["b"].Stats().Relayed["a"].Out)
		assert.EqualValues(c, 3, c.H["a"].Stats().Relayed["b"].In)
		assert.EqualValues(c, 2, c.H["a"].Stats().Relayed["c"].In)
		assert.Zero(c, c.H["b"].Stats().Requests, "requests count where the session is")
	})

	Trios(t, "what is compressed, and that nobody can read", o, func(c *Trio) {
		p := Dial(c.T, c.At("a"))
		app := Accept(c.T, c.H["a"])
		var body bytes.Buffer
		w := gzip.NewWriter(&body)
		io.WriteString(w, p.Body(1001, X("a")))
		w.Close()
		r, _ := http.NewRequest("POST", "http://b/", &body)
		r.Header.Set("Content-Encoding", "gzip")
		r.Header.Set("Accept-Encoding", "gzip")
		r.Header.Set("Origin", "https://example.org")
		got := make(chan *http.Response)
		go func() {
			resp, err := c.At("b").RoundTrip(r)
			assert.NoError(c, err)
			got <- resp
		}()
		RequireRead(c.T, app, X("a"))
		long := X(strings.Repeat("b", 1000))
		Write(c.T, app, long)
		resp := <-got
		assert.Equal(c, "gzip", resp.Header.Get("Content-Encoding"))
		assert.Equal(c, "*", resp.Header.Get("Access-Control-Allow-Origin"))
		z, err := gzip.NewReader(resp.Body)
		require.NoError(c, err)
		text, _ := io.ReadAll(z)
		assert.Contains(c, string(text), long)
		RequireEnd(c.T, boshtest.Exchange(c, c.At("b"), "<body rid='1002' sid='"+p.Sid+"' xmlns='"+NsBind+"'><a>"), bosh.BadRequest)
		assert.Error(c, app.Session().Err(), "it ends the session, as it does at its own node")
	})

	Trios(t, "B14.3 a client that leaves, and repeats elsewhere", StdOptions, func(c *Trio) {
		p := Dial(c.T, c.At("a"))
		app := Accept(c.T, c.H["a"])
		p.Rt = c.At("b")
		held := p.Hold("")
		held.Cancel()
		synctest.Wait()
		assert.Zero(c, app.Session().Stats().Open, "the owner knows at once")
		Write(c.T, app, X("out"))
		assert.Equal(c, X("out"), boshtest.Exchange(c, c.At("c"), p.Body(1001, "")).Payload())
		assert.EqualValues(c, 1, app.Session().Stats().Repeats)
	})

	Trios(t, "the node that has it is gone, or says nothing", StdOptions, func(c *Trio) {
		p, q := Dial(c.T, c.At("a")), Dial(c.T, c.At("c"))
		Accept(c.T, c.H["a"])
		p.Rt, q.Rt = c.At("b"), c.At("b")
		held := p.Hold("")
		c.Kill("a")
		RequireEnd(c.T, held.Wait(), bosh.ItemNotFound)
		RequireEnd(c.T, p.Send(""), bosh.ItemNotFound)
		assert.EqualValues(c, 0, c.H["b"].Stats().Relayed["a"].Out)

		lost := q.Hold("")
		c.Partition("b", "c")
		Write(c.T, Accept(c.T, c.H["c"]), X("out"))
		synctest.Wait() // the answer is lost on its way, before Heal
		assert.False(c, lost.Answered())
		c.Heal("b", "c")
		assert.Error(c, lost.Err(), "the connection is closed")
		assert.Equal(c, X("out"), boshtest.Exchange(c, q.Rt, q.Body(1001, "")).Payload())
		c.Partition("b", "c")
		began := time.Now()
		RequireEnd(c.T, q.Send(""), bosh.ItemNotFound)
		assert.LessOrEqual(c, time.Since(began), 4*time.Second)
	})
}

// What the XEP has of TLS holds at all nodes, and so does the certificate. XEP-0124,
// section 19.1.
func TestRelaySecurity(t *testing.T) {
	plain := (*tls.ConnectionState)(nil)
	secure := &tls.ConnectionState{HandshakeComplete: true}
	for name, test := range map[string]struct {
		first, other *tls.ConnectionState
		taken        bool
	}{
		"B19.1-1 encrypted, then not":        {secure, plain, false},
		"B19.1-3 a certificate, another one": {Certified("A"), Certified("B"), false},
		"B19.1-3 a certificate, then none":   {Certified("A"), secure, false},
		"the same certificate":               {Certified("A"), Certified("A"), true},
		"encrypted both times":               {secure, secure, true},
		"not encrypted, then encrypted":      {plain, secure, true},
	} {
		Trios(t, name, StdOptions, func(c *Trio) {
			p := Dial(c.T, Over(c.H["a"], test.first))
			app := Accept(c.T, c.H["a"])
			rt := Over(c.H["b"], test.other)
			call := boshtest.Post(c, rt, p.Body(1001, X("a")))
			if test.taken {
				RequireRead(c.T, app, X("a"))
				return
			}
			assert.ErrorIs(c, call.Err(), io.EOF)
			assert.NoError(c, app.Session().Err())
			p.Rt = Over(c.H["c"], test.first)
			p.Hold(X("b"))
			RequireRead(c.T, app, X("b"))
			app.Close()
			assert.ErrorIs(c, boshtest.Post(c, rt, p.Body(1001, X("a"))).Err(), io.EOF, "nor when it is over")
		})
	}
}

// Admit is asked where the session is, with the request as it came in elsewhere.
func TestRelayStreams(t *testing.T) {
	type seen struct{ header, remote, cert, host string }
	asked := make(chan seen, 10)
	o := ManyStreams
	o.ClientAddr = ClientAddr
	o.Admit = func(ctx context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
		s := seen{r.Header.Get("Authorization"), r.RemoteAddr, "", r.Host}
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			s.cert = string(r.TLS.PeerCertificates[0].Raw)
		}
		asked <- s
		return ctx, nil
	}
	cert, _ := Certificate(t)
	raw := string(cert.Certificate[0])
	Trios(t, "B16.3-2", o, func(c *Trio) {
		p := Dial(c.T, Over(c.H["a"], Certified(raw)))
		app := Accept(c.T, c.H["a"])
		<-asked
		p.Rt = RoundTripper(func(r *http.Request) (*http.Response, error) {
			r.Header.Set("Authorization", "Bearer x")
			return Over(c.H["b"], Certified(raw)).RoundTrip(r)
		})
		r := p.Send("", "to='example.net'")
		assert.NotEmpty(c, r.Attr("stream"))
		assert.Equal(c, seen{"Bearer x", "192.0.2.1:1234", raw, "bosh.test"}, <-asked)
		two := Accept(c.T, c.H["a"])
		assert.Equal(c, "203.0.113.9", app.RemoteAddr().String())
		assert.NotNil(c, two.LocalAddr())
		held := p.Hold("")
		Write(c.T, two, X("b"))
		assert.Equal(c, r.Attr("stream"), held.Wait().Attr("stream"))
	})
}

// A session of Prebind is gone on with at any node.
func TestRelayPrebind(t *testing.T) {
	o := StdOptions
	o.Serve = func(s *bosh.Stream) { s.Receive(func(b []byte, _ error) { s.Write(b) }) }
	Trios(t, "prebind", o, func(c *Trio) {
		p, err := c.H["a"].Prebind(c.Context(), httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "example.com"})
		require.NoError(c, err)
		_, err = p.Exchange(c.Context(), []byte(X("login")))
		require.NoError(c, err)
		sid, rid := p.Attach()
		conn, err := boshclient.Resume(c.Context(), &boshclient.State{URL: "http://example.com/", Sid: sid, Rid: rid + 1},
			&boshclient.Options{Framing: boshclient.Elements, HTTPClient: &http.Client{Transport: c.At("b")}})
		require.NoError(c, err)
		defer conn.CloseNow()
		require.NoError(c, conn.WriteElement(c.Context(), []byte(X("a"))))
		got, err := conn.ReadElement(c.Context())
		require.NoError(c, err)
		assert.Equal(c, X("a"), string(got))
	})
}

// Middleware in front that gives up has the request answered before, and a client that
// pipelines has it released.
func TestRelayHurried(t *testing.T) {
	Trios(t, "a deadline", StdOptions, func(c *Trio) {
		p := Dial(c.T, c.At("a"))
		p.Rt = boshtest.InMemory(http.TimeoutHandler(c.H["b"], 10*time.Second, "too late"))
		began := time.Now()
		assert.Empty(c, p.Send("").Payload())
		assert.Equal(c, 9*time.Second, time.Since(began))
	})
	Trios(t, "the nodes shut down where it came in", StdOptions, func(c *Trio) {
		p := Dial(c.T, c.At("a"))
		app := Accept(c.T, c.H["a"])
		p.Rt = c.At("b")
		held := p.Hold("")
		require.NoError(c, c.H["b"].Shutdown(c.Context()))
		assert.Empty(c, held.Wait().Payload())
		p.Rt = c.At("c")
		next := p.Hold("")
		c.H["c"].Close()
		assert.Error(c, next.Err())
		Write(c.T, app, X("a"))
		assert.Equal(c, X("a"), boshtest.Exchange(c, c.At("b"), p.Body(p.Rid, "")).Payload(), "it still serves those of others")
	})
	Trios(t, "pipelining", StdOptions, func(c *Trio) {
		p := Dial(c.T, c.At("a"))
		app := Accept(c.T, c.H["a"])
		l := boshtest.ListenPipe()
		srv := &http.Server{Handler: c.H["b"]}
		go srv.Serve(bosh.PipelineListener(l))
		defer srv.Close()
		conn, err := l.DialContext(c.Context(), "", "")
		require.NoError(c, err)
		defer conn.Close()
		tap := &Line{Peer: p, Conn: conn, R: bufio.NewReader(conn)}
		tap.Says(tap.Req(1001, ""))
		synctest.Wait()
		tap.Says(tap.Req(1002, X("a")))
		tap.Hears(Empty)
		RequireRead(c.T, app, X("a"))
		Write(c.T, app, X("b"))
		tap.Hears(Answer(X("b")))
	})
}

// What a Relay does wrong is logged, and closes the connection.
func TestRelayFaulty(t *testing.T) {
	var log LogBuffer
	h := NewHandler(t, bosh.Options{Node: "a", Logger: slog.New(slog.NewTextHandler(&log, nil)), Relay: func(node string, _ []byte, answer func([]byte, error)) {
		switch node {
		case "panics":
			panic("oops")
		case "garbage":
			answer([]byte{4, 0, 200}, nil)
		case "injects":
			answer([]byte("\x04\x00\x04a\r\nb<body/>"), nil)
		default:
			answer(nil, errors.New(node))
			answer(nil, bosh.ErrNoNode)
		}
	}})
	for _, node := range []string{"panics", "garbage", "injects", "fails"} {
		assert.ErrorIs(t, boshtest.Post(t, boshtest.InMemory(h), "<body rid='1' sid='x."+node+"' xmlns='"+NsBind+"'/>").Err(), io.EOF)
	}
	assert.Contains(t, log.String(), "Relay panicked")
}

// Messages that no Handler has sent are refused, and nothing is created by one.
func TestServeRelayRefuses(t *testing.T) {
	h := NewHandler(t, bosh.Options{Node: "a"})
	for _, m := range [][]byte{nil, {0}, {1}, {1, 2, 3}, {2}, {9, 9, 9}, bytes.Repeat([]byte{1}, 100), bytes.Repeat([]byte{255}, 100)} {
		calls := 0
		h.ServeRelay(m, func(_ []byte, err error) { calls++; assert.Error(t, err) })
		assert.Equal(t, 1, calls)
		h.ServeRelay(m, nil)
	}
	var creation atomic.Pointer[[]byte]
	front := NewHandler(t, bosh.Options{Node: "b", Relay: func(_ string, m []byte, answer func([]byte, error)) {
		m = bytes.Replace(m, []byte(" sid='x.a'"), nil, 1)
		creation.Store(&m)
		h.ServeRelay(m, answer)
	}})
	r := boshtest.Exchange(t, boshtest.InMemory(front), "<body rid='1' sid='x.a' wait='60' hold='1' to='x' xmlns='"+NsBind+"'/>")
	RequireEnd(t, r, bosh.ItemNotFound)
	assert.NotNil(t, creation.Load())
	assert.Zero(t, h.Stats().Created)
}
