package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// A rig is a proxy between BOSH clients and XMPP servers that a test plays, all
// in memory and in a bubble, where time passes only when nothing else can
// happen.
type rig struct {
	t       *testing.T
	cfg     config
	proxy   *proxy
	front   *boshtest.Memory
	servers *boshtest.PipeListener
}

// inBubble runs a test with a rig.
func inBubble(t *testing.T, test func(*testing.T, *rig), change ...func(*config)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, servers: boshtest.ListenPipe()}
		r.cfg.connector = connector{
			fixed:     &endpoint{host: "127.0.0.1", port: 5222, tls: noTLS, trusted: true},
			resolver:  names{},
			dial:      r.servers.DialContext,
			timeout:   10 * time.Second,
			maxStanza: 1 << 20,
		}
		for _, f := range change {
			f(&r.cfg)
		}
		r.proxy = newProxy(&r.cfg, r.cfg.options, slog.New(slog.DiscardHandler))
		r.front = boshtest.InMemory(r.proxy.bosh)
		test(t, r)
		r.proxy.bosh.Close()
		r.proxy.bridges.Wait()
		r.front.Wait()
	})
}

// dial creates a session, and plays the server until it has greeted.
func (r *rig) dial(change ...func(*boshtest.Config)) (*boshtest.Client, *fakeServer) {
	r.t.Helper()
	cfg := boshtest.Config{To: "example.org", Transport: r.front, XMPP: true}
	for _, f := range change {
		f(&cfg)
	}
	greeted := make(chan *fakeServer)
	go func() {
		s := r.accept()
		s.expect("version='1.0' xml:lang='en'>")
		s.write("<?xml version='1.0'?>" + header + "<stream:features>" + plain + "</stream:features>")
		greeted <- s
	}()
	c, err := boshtest.Dial(r.t.Context(), cfg)
	require.NoError(r.t, err)
	s := <-greeted
	r.recv(c, "<mechanism>PLAIN</mechanism>")
	return c, s
}

const (
	plain   = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
	success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
)

// loggedIn is dial, and the server says that all is well.
func (r *rig) loggedIn(change ...func(*boshtest.Config)) (*boshtest.Client, *fakeServer) {
	r.t.Helper()
	c, s := r.dial(change...)
	s.write(success)
	if change == nil {
		r.recv(c, "<success")
	}
	synctest.Wait()
	return c, s
}

// recv takes the next element that a client gets.
func (r *rig) recv(c *boshtest.Client, contains string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	el, err := c.Recv(ctx)
	require.NoError(r.t, err)
	require.Contains(r.t, string(el), contains)
	return string(el)
}

// ended waits for the end of a client's session and returns its condition.
func (r *rig) ended(c *boshtest.Client) *boshclient.Error {
	r.t.Helper()
	<-c.Done()
	var end *boshclient.Error
	require.ErrorAs(r.t, c.Err(), &end)
	return end
}

// A fakeServer is the server's end of a connection.
type fakeServer struct {
	net.Conn
	in *bufio.Reader
	t  *testing.T
}

func (r *rig) accept() *fakeServer {
	c, err := r.servers.Accept()
	require.NoError(r.t, err)
	return &fakeServer{c, bufio.NewReader(c), r.t}
}

// expect reads until what has come, which must be the end of it all, and
// returns all.
func (s *fakeServer) expect(what string) string {
	s.t.Helper()
	got, err := expect(s.in, what)
	require.NoError(s.t, err, "waiting for %s; there came %s", what, got)
	return got
}

func (s *fakeServer) write(text string) {
	s.t.Helper()
	_, err := io.WriteString(s.Conn, text)
	require.NoError(s.t, err)
}

// pong answers the requests by which the proxy finds the end of what was on its
// way: there is another one if something was. It returns what came before.
func (s *fakeServer) pong(before string) string {
	s.t.Helper()
	got, id := s.ping("<presence type='unavailable'/>")
	s.answer(before, id)
	if before != "" {
		more, id := s.ping("")
		s.answer("", id)
		got += more
	}
	return got
}

// ping takes a request that comes behind something, and returns what was before
// that, and the id of the request.
func (s *fakeServer) ping(behind string) (before, id string) {
	s.t.Helper()
	const request = "<iq type='get' id='"
	before = strings.TrimSuffix(s.expect(behind+request+"bye-"), behind+request+"bye-")
	id = "bye-" + strings.TrimSuffix(s.expect("'"), "'")
	s.expect("><ping xmlns='urn:xmpp:ping'/></iq>")
	return before, id
}

func (s *fakeServer) answer(before, id string) {
	s.t.Helper()
	s.write(before + "<iq type='result' id='" + id + "'/>")
}

// farewell takes the proxy's good-bye and returns what came before it.
func (s *fakeServer) farewell() string {
	s.t.Helper()
	got := s.expect(streamEnd)
	s.write(streamEnd)
	s.Close()
	return strings.TrimSuffix(got, streamEnd)
}

func withOptions(o bosh.Options) func(*config) { return func(c *config) { c.options = o } }
