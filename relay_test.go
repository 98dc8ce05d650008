package bosh_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// relayed reports whether the tests that use bench are to have all requests but the
// creations come in at another node:
//
//	BOSH_NODES=2 go test .
func relayed() bool { return os.Getenv("BOSH_NODES") == "2" }

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
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(b), broken{err}))
		if bytes.Contains(b, []byte(".owner")) {
			front.ServeHTTP(w, r)
		} else {
			owner.ServeHTTP(w, r)
		}
	})
}

// broken is a Reader at the end of what could be read.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return 0, io.EOF
}

// A trio is a cluster of the nodes a, b and c, in a bubble.
type trio struct {
	*testing.T
	boshtest.Cluster
	h map[string]*bosh.Handler

	mu         sync.Mutex // guards the following
	left, heir string     // a node that leaves, and who adopts its name
	gone       bool       // it has left
}

// relay is that of the Cluster. What a node that leaves sends to its own name is for who has
// adopted that, and so is all that is sent to it when it is gone.
func (c *trio) relay(from string) func(string, []byte, func([]byte, error)) {
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
func (c *trio) adopt(left, heir string, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.heir, c.gone = left, heir, gone
}

// trios runs f in a bubble, with either engine where requests come in.
func trios(t *testing.T, name string, o bosh.Options, f func(t *trio)) {
	t.Helper()
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("%s/direct=%v", name, direct), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &trio{T: t, h: make(map[string]*bosh.Handler)}
				for _, name := range []string{"a", "b", "c"} {
					o.Direct, o.Node, o.Relay = direct, name, c.relay(name)
					c.h[name] = newHandler(t, o)
					c.Add(name, c.h[name])
				}
				f(c)
			})
		})
	}
}

// at is a client's server in front of a node, by real HTTP.
func (c *trio) at(node string) http.RoundTripper {
	s := boshtest.NewPipeServer(c.h[node])
	c.Cleanup(func() { s.Close() })
	return s
}

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
	h := newHandler(t, bosh.Options{Framing: bosh.Elements, Node: "n-1", Relay: func(node string, _ []byte, answer func([]byte, error)) {
		asked <- node
		answer(nil, bosh.ErrNoNode)
	}})
	p := dial(t, boshtest.InMemory(h))
	assert.Regexp(t, `^[A-Z2-7]{26}\.n-1$`, p.sid)
	accept(t, h)
	requireEnd(t, p.send("", "type='terminate'"), "")

	for sid, node := range map[string]string{
		"x.n-2": "n-2", "x.y.n-3": "n-3", ".n-4": "n-4", "x&#46;n-5": "n-5", "x.&#x6e;-6": "n-6",
		"x.n-1": "", "x": "", "x.": "", "n-2": "", "x.*": "", "x.&gt;": "", "x.N": "", "x.a b": "", "x.a&#13;&#10;b": "", "x.a\tb": "",
		"x." + strings.Repeat("z", 33): "", "x.a.": "", "x.\u00e4": "",
	} {
		for _, body := range []string{
			"<body rid='5' sid='" + sid + "' xmlns='" + nsBind + "'/>",
			"<?xml version='1.0'?><b:body to='&#46;n-9' xmlns:b='" + nsBind + "' rid='5' sid=\"" + sid + "\"/>",
		} {
			requireEnd(t, boshtest.Exchange(t, boshtest.InMemory(h), body), bosh.ItemNotFound)
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
	o := stdOptions
	o.Compress = 1
	trios(t, "a request at another node", o, func(c *trio) {
		p := dial(c.T, c.at("a"))
		app := accept(c.T, c.h["a"])
		b := c.at("b")
		p.rt = b
		held := p.hold("")
		write(c.T, app, x("out"))
		assert.Equal(c, x("out"), held.Wait().Payload())
		big := x(strings.Repeat("big ", 100_000))
		next := p.hold(big)
		requireRead(c.T, app, big)
		p.rt = c.at("c")
		last := p.post(x("two"))
		requireRead(c.T, app, x("two"))
		assert.Empty(c, next.Wait().Payload())
		write(c.T, app, big)
		assert.Equal(c, big, last.Wait().Payload())
		requireEnd(c.T, p.send("", "type='terminate'"), "")
		requireEnd(c.T, boshtest.Exchange(c, b, p.body(1009, "")), bosh.ItemNotFound)

		assert.EqualValues(c, 3, c.h["b"].Stats().Relayed["a"].Out)
		assert.EqualValues(c, 3, c.h["a"].Stats().Relayed["b"].In)
		assert.EqualValues(c, 2, c.h["a"].Stats().Relayed["c"].In)
		assert.Zero(c, c.h["b"].Stats().Requests, "requests count where the session is")
	})

	trios(t, "what is compressed, and that nobody can read", o, func(c *trio) {
		p := dial(c.T, c.at("a"))
		app := accept(c.T, c.h["a"])
		var body bytes.Buffer
		w := gzip.NewWriter(&body)
		io.WriteString(w, p.body(1001, x("a")))
		w.Close()
		r, _ := http.NewRequest("POST", "http://b/", &body)
		r.Header.Set("Content-Encoding", "gzip")
		r.Header.Set("Accept-Encoding", "gzip")
		r.Header.Set("Origin", "https://example.org")
		got := make(chan *http.Response)
		go func() {
			resp, err := c.at("b").RoundTrip(r)
			assert.NoError(c, err)
			got <- resp
		}()
		requireRead(c.T, app, x("a"))
		long := x(strings.Repeat("b", 1000))
		write(c.T, app, long)
		resp := <-got
		assert.Equal(c, "gzip", resp.Header.Get("Content-Encoding"))
		assert.Equal(c, "*", resp.Header.Get("Access-Control-Allow-Origin"))
		z, err := gzip.NewReader(resp.Body)
		require.NoError(c, err)
		text, _ := io.ReadAll(z)
		assert.Contains(c, string(text), long)
		requireEnd(c.T, boshtest.Exchange(c, c.at("b"), "<body rid='1002' sid='"+p.sid+"' xmlns='"+nsBind+"'><a>"), bosh.BadRequest)
		assert.Error(c, app.Session().Err(), "it ends the session, as it does at its own node")
	})

	trios(t, "B14.3 a client that leaves, and repeats elsewhere", stdOptions, func(c *trio) {
		p := dial(c.T, c.at("a"))
		app := accept(c.T, c.h["a"])
		p.rt = c.at("b")
		held := p.hold("")
		held.Cancel()
		synctest.Wait()
		assert.Zero(c, app.Session().Stats().Open, "the owner knows at once")
		write(c.T, app, x("out"))
		assert.Equal(c, x("out"), boshtest.Exchange(c, c.at("c"), p.body(1001, "")).Payload())
		assert.EqualValues(c, 1, app.Session().Stats().Repeats)
	})

	trios(t, "the node that has it is gone, or says nothing", stdOptions, func(c *trio) {
		p, q := dial(c.T, c.at("a")), dial(c.T, c.at("c"))
		accept(c.T, c.h["a"])
		p.rt, q.rt = c.at("b"), c.at("b")
		held := p.hold("")
		c.Kill("a")
		requireEnd(c.T, held.Wait(), bosh.ItemNotFound)
		requireEnd(c.T, p.send(""), bosh.ItemNotFound)
		assert.EqualValues(c, 0, c.h["b"].Stats().Relayed["a"].Out)

		lost := q.hold("")
		c.Partition("b", "c")
		write(c.T, accept(c.T, c.h["c"]), x("out"))
		assert.False(c, lost.Answered())
		c.Heal("b", "c")
		assert.Error(c, lost.Err(), "the connection is closed")
		assert.Equal(c, x("out"), boshtest.Exchange(c, q.rt, q.body(1001, "")).Payload())
		c.Partition("b", "c")
		began := time.Now()
		requireEnd(c.T, q.send(""), bosh.ItemNotFound)
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
		"B19.1-3 a certificate, another one": {certified("A"), certified("B"), false},
		"B19.1-3 a certificate, then none":   {certified("A"), secure, false},
		"the same certificate":               {certified("A"), certified("A"), true},
		"encrypted both times":               {secure, secure, true},
		"not encrypted, then encrypted":      {plain, secure, true},
	} {
		trios(t, name, stdOptions, func(c *trio) {
			p := dial(c.T, over(c.h["a"], test.first))
			app := accept(c.T, c.h["a"])
			rt := over(c.h["b"], test.other)
			call := boshtest.Post(c, rt, p.body(1001, x("a")))
			if test.taken {
				requireRead(c.T, app, x("a"))
				return
			}
			assert.ErrorIs(c, call.Err(), io.EOF)
			assert.NoError(c, app.Session().Err())
			p.rt = over(c.h["c"], test.first)
			p.hold(x("b"))
			requireRead(c.T, app, x("b"))
			app.Close()
			assert.ErrorIs(c, boshtest.Post(c, rt, p.body(1001, x("a"))).Err(), io.EOF, "nor when it is over")
		})
	}
}

// Admit is asked where the session is, with the request as it came in elsewhere.
func TestRelayStreams(t *testing.T) {
	type seen struct{ header, remote, cert, host string }
	asked := make(chan seen, 10)
	o := manyStreams
	o.ClientAddr = clientAddr
	o.Admit = func(ctx context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
		s := seen{r.Header.Get("Authorization"), r.RemoteAddr, "", r.Host}
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			s.cert = string(r.TLS.PeerCertificates[0].Raw)
		}
		asked <- s
		return ctx, nil
	}
	cert, _ := certificate(t)
	raw := string(cert.Certificate[0])
	trios(t, "B16.3-2", o, func(c *trio) {
		p := dial(c.T, over(c.h["a"], certified(raw)))
		app := accept(c.T, c.h["a"])
		<-asked
		p.rt = roundTripper(func(r *http.Request) (*http.Response, error) {
			r.Header.Set("Authorization", "Bearer x")
			return over(c.h["b"], certified(raw)).RoundTrip(r)
		})
		r := p.send("", "to='example.net'")
		assert.NotEmpty(c, r.Attr("stream"))
		assert.Equal(c, seen{"Bearer x", "192.0.2.1:1234", raw, "bosh.test"}, <-asked)
		two := accept(c.T, c.h["a"])
		assert.Equal(c, "203.0.113.9", app.RemoteAddr().String())
		assert.NotNil(c, two.LocalAddr())
		held := p.hold("")
		write(c.T, two, x("b"))
		assert.Equal(c, r.Attr("stream"), held.Wait().Attr("stream"))
	})
}

// A session of Prebind is gone on with at any node.
func TestRelayPrebind(t *testing.T) {
	o := stdOptions
	o.Serve = func(s *bosh.Stream) { s.Receive(func(b []byte, _ error) { s.Write(b) }) }
	trios(t, "prebind", o, func(c *trio) {
		p, err := c.h["a"].Prebind(c.Context(), httptest.NewRequest("GET", "/", nil), bosh.Opening{To: "example.com"})
		require.NoError(c, err)
		_, err = p.Exchange(c.Context(), []byte(x("login")))
		require.NoError(c, err)
		sid, rid := p.Attach()
		conn, err := boshclient.Resume(c.Context(), &boshclient.State{URL: "http://example.com/", Sid: sid, Rid: rid + 1},
			&boshclient.Options{Framing: boshclient.Elements, HTTPClient: &http.Client{Transport: c.at("b")}})
		require.NoError(c, err)
		defer conn.CloseNow()
		require.NoError(c, conn.WriteElement(c.Context(), []byte(x("a"))))
		got, err := conn.ReadElement(c.Context())
		require.NoError(c, err)
		assert.Equal(c, x("a"), string(got))
	})
}

// Middleware in front that gives up has the request answered before, and a client that
// pipelines has it released.
func TestRelayHurried(t *testing.T) {
	trios(t, "a deadline", stdOptions, func(c *trio) {
		p := dial(c.T, c.at("a"))
		p.rt = boshtest.InMemory(http.TimeoutHandler(c.h["b"], 10*time.Second, "too late"))
		began := time.Now()
		assert.Empty(c, p.send("").Payload())
		assert.Equal(c, 9*time.Second, time.Since(began))
	})
	trios(t, "the nodes shut down where it came in", stdOptions, func(c *trio) {
		p := dial(c.T, c.at("a"))
		app := accept(c.T, c.h["a"])
		p.rt = c.at("b")
		held := p.hold("")
		require.NoError(c, c.h["b"].Shutdown(c.Context()))
		assert.Empty(c, held.Wait().Payload())
		p.rt = c.at("c")
		next := p.hold("")
		c.h["c"].Close()
		assert.Error(c, next.Err())
		write(c.T, app, x("a"))
		assert.Equal(c, x("a"), boshtest.Exchange(c, c.at("b"), p.body(p.rid, "")).Payload(), "it still serves those of others")
	})
	trios(t, "pipelining", stdOptions, func(c *trio) {
		p := dial(c.T, c.at("a"))
		app := accept(c.T, c.h["a"])
		l := boshtest.ListenPipe()
		srv := &http.Server{Handler: c.h["b"]}
		go srv.Serve(bosh.PipelineListener(l))
		defer srv.Close()
		conn, err := l.DialContext(c.Context(), "", "")
		require.NoError(c, err)
		defer conn.Close()
		tap := &line{peer: p, Conn: conn, r: bufio.NewReader(conn)}
		tap.says(tap.req(1001, ""))
		synctest.Wait()
		tap.says(tap.req(1002, x("a")))
		tap.hears(empty)
		requireRead(c.T, app, x("a"))
		write(c.T, app, x("b"))
		tap.hears(answer(x("b")))
	})
}

// What a Relay does wrong is logged, and closes the connection.
func TestRelayFaulty(t *testing.T) {
	var log logBuffer
	h := newHandler(t, bosh.Options{Node: "a", Logger: slog.New(slog.NewTextHandler(&log, nil)), Relay: func(node string, _ []byte, answer func([]byte, error)) {
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
		assert.ErrorIs(t, boshtest.Post(t, boshtest.InMemory(h), "<body rid='1' sid='x."+node+"' xmlns='"+nsBind+"'/>").Err(), io.EOF)
	}
	assert.Contains(t, log.String(), "Relay panicked")
}

// Messages that no Handler has sent are refused, and nothing is created by one.
func TestServeRelayRefuses(t *testing.T) {
	h := newHandler(t, bosh.Options{Node: "a"})
	for _, m := range [][]byte{nil, {0}, {1}, {1, 2, 3}, {2}, {9, 9, 9}, bytes.Repeat([]byte{1}, 100), bytes.Repeat([]byte{255}, 100)} {
		calls := 0
		h.ServeRelay(m, func(_ []byte, err error) { calls++; assert.Error(t, err) })
		assert.Equal(t, 1, calls)
		h.ServeRelay(m, nil)
	}
	var creation atomic.Pointer[[]byte]
	front := newHandler(t, bosh.Options{Node: "b", Relay: func(_ string, m []byte, answer func([]byte, error)) {
		m = bytes.Replace(m, []byte(" sid='x.a'"), nil, 1)
		creation.Store(&m)
		h.ServeRelay(m, answer)
	}})
	r := boshtest.Exchange(t, boshtest.InMemory(front), "<body rid='1' sid='x.a' wait='60' hold='1' to='x' xmlns='"+nsBind+"'/>")
	requireEnd(t, r, bosh.ItemNotFound)
	assert.NotNil(t, creation.Load())
	assert.Zero(t, h.Stats().Created)
}
