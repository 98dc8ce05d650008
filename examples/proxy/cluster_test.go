package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/demo"
	"github.com/gobosh/bosh/internal/enginetest"
)

func TestClusterFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-node Berlin":       "-node: bosh: the name of a node",
		"-node a.b":          "-node: bosh: the name of a node",
		"-cluster ,":         "no address",
		"-cluster 10.0.0.1":  "no address",
		"-cluster a:1,b:":    "no address",
		"-cluster http://a":  "nats://",
		"-cluster nats://":   "nats://",
		"-cluster nats://a/": "nats://",
		"-cluster nats://a,b:1 -cluster-listen 127.0.0.1:1": "either addresses",
		"-cluster nats://a -cluster-listen 127.0.0.1:1":     "nobody connects",
		"-cluster a:1":                                                         "needs -cluster-listen",
		"-cluster-listen 127.0.0.1:1":                                          "needs -cluster",
		"-cluster-secret x":                                                    "needs -cluster",
		"-cluster a:1 -cluster-listen x":                                       "no address with a port",
		"-cluster a:1 -cluster-listen 127.0.0.1:0":                             "no address with a port",
		"-cluster a:1 -cluster-listen 10.0.0.1:6222":                           "name a -cluster-secret",
		"-cluster a:1 -cluster-listen :6222":                                   "name a -cluster-secret",
		"-cluster a:1 -cluster-listen 10.0.0.1:6222 -cluster-secret s -node A": "-node",
	} {
		var said strings.Builder
		_, err := parse(strings.Fields("-upstream a:1 "+args), &said)
		require.Error(t, err, args)
		assert.Contains(t, said.String(), want, args)
	}
	for _, args := range []string{
		"-node berlin-1", "-cluster a:1,b:2 -cluster-listen 127.0.0.1:1", "-cluster nats://a:1,tls://u:p@b", "-cluster nats://a -cluster-secret s -node x",
		"-cluster a:1 -cluster-listen 10.0.0.1:6222 -cluster-secret s", "-cluster a:1 -cluster-listen [::1]:6222", "-cluster a:1 -cluster-listen localhost:6222",
	} {
		_, err := parse(strings.Fields("-upstream a:1 "+args), io.Discard)
		assert.NoError(t, err, args)
	}
	secret := writeFile(t, t.TempDir(), "secret", []byte("short\n"))
	for args, want := range map[string]string{
		"-cluster 127.0.0.1:1 -cluster-listen 127.0.0.1:1 -cluster-secret " + secret: "can be guessed",
		"-cluster 127.0.0.1:1 -cluster-listen 127.0.0.1:1 -cluster-secret /none":     "-cluster-secret: open /none",
		"-cluster nats://127.0.0.1:1 -cluster-secret /none":                          "-cluster-secret: open /none",
		"-cluster nats://127.0.0.1:1":                                                "-cluster: nats: no servers",
	} {
		cfg, err := parse(strings.Fields("-upstream a:1 "+args), io.Discard)
		require.NoError(t, err)
		assert.ErrorContains(t, run(t.Context(), cfg, io.Discard, nil), want, args)
	}
}

// A peerProxy is a proxy in a process of its own.
type peerProxy struct {
	node, url, admin string
	cmd              *exec.Cmd
}

// startPeers starts proxies that are one cluster, in front of a server.
func startPeers(t *testing.T, n int, upstream string, more ...string) (all []*peerProxy) {
	var routes []string
	for range n {
		routes = append(routes, demo.FreeAddr())
	}
	secret := writeFile(t, t.TempDir(), "secret", []byte("nobody guesses that\n"))
	for i := range n {
		p := &peerProxy{node: fmt.Sprint("n", i)}
		web, admin := demo.FreeAddr(), demo.FreeAddr()
		args := append([]string{
			"-http", web, "-admin", admin, "-upstream", upstream, "-tls", "none", "-drain", "2s", "-log-json", "-node", p.node,
			"-cluster", strings.Join(routes, ","), "-cluster-listen", routes[i], "-cluster-secret", secret,
		}, more...)
		if enginetest.Direct() {
			args = append(args, "-direct")
		}
		p.url, p.admin = "http://"+web+"/http-bind", "http://"+admin
		p.cmd = exec.Command(os.Args[0], args...)
		p.cmd.Env = append(os.Environ(), asProgram+"=1")
		out := t.Output()
		p.cmd.Stdout, p.cmd.Stderr = out, out
		require.NoError(t, p.cmd.Start())
		t.Cleanup(func() {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		})
		all = append(all, p)
	}
	for _, p := range all {
		require.Eventually(t, func() bool { return len(nodesOf(p.admin).Nodes) == n }, 30*time.Second, 50*time.Millisecond)
	}
	return all
}

func nodesOf(admin string) (s boshnats.Sum) {
	resp, err := http.Get(admin + "/nodes?format=json")
	if err != nil {
		return s
	}
	defer resp.Body.Close()
	json.NewDecoder(resp.Body).Decode(&s)
	return s
}

// A roundRobin sends each request to the next proxy, as a simple balancer. The first
// request creates a session, and goes to one of them.
type roundRobin struct {
	urls  []string
	first string
	n     atomic.Int64
}

func (b *roundRobin) RoundTrip(r *http.Request) (*http.Response, error) {
	n := b.n.Add(1)
	url := b.urls[int(n)%len(b.urls)]
	if n == 1 {
		url = b.first
	}
	q, err := http.NewRequestWithContext(r.Context(), r.Method, url, r.Body)
	if err != nil {
		return nil, err
	}
	q.ContentLength, q.Header = r.ContentLength, r.Header
	return http.DefaultTransport.RoundTrip(q)
}

// echoServer is a small XMPP server: everybody may log in, and it repeats all stanzas.
func echoServer(t *testing.T) string {
	serve := func(c net.Conn) {
		defer c.Close()
		in := bufio.NewReader(c)
		if _, err := expect(in, "xml:lang='en'>"); err != nil {
			return
		}
		io.WriteString(c, header+"<stream:features>"+plain+"</stream:features>"+success)
		for {
			el, err := in.ReadString('>')
			if err != nil || el == streamEnd {
				io.WriteString(c, streamEnd)
				return
			}
			io.WriteString(c, el)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// Three proxies are one endpoint. Who is in front of them need not know of sessions, and
// when one dies its own sessions end, and no others.
func TestCluster(t *testing.T) {
	peers := startPeers(t, 3, echoServer(t))
	var urls []string
	for _, p := range peers {
		urls = append(urls, p.url)
	}
	var clients []*boshtest.Client
	sent := make([]int, 6)
	for i := range sent {
		c, err := boshtest.Dial(t.Context(), boshtest.Config{
			To: "example.org", XMPP: true, Acks: i < 3, Backoff: 20 * time.Millisecond, GiveUp: time.Minute,
			Transport: &roundRobin{urls: urls, first: urls[i%3]},
		})
		require.NoError(t, err)
		defer c.Close()
		assert.True(t, strings.HasSuffix(c.Created().Attr("sid"), "."+peers[i%3].node))
		for _, want := range []string{"PLAIN", "success"} {
			el, err := c.Recv(t.Context())
			require.NoError(t, err)
			require.Contains(t, string(el), want)
		}
		clients = append(clients, c)
	}
	echo := func(i int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := clients[i].Send(ctx, string(boshtest.Numbered(sent[i], 0))); err != nil {
			return err
		}
		el, err := clients[i].Recv(ctx)
		if err != nil {
			return err
		}
		if n, _ := boshtest.Number(el); n != sent[i] {
			return fmt.Errorf("%s instead of %d", el, sent[i])
		}
		sent[i]++
		return nil
	}
	for range 10 {
		for i := range clients {
			require.NoError(t, echo(i))
		}
	}
	sum := nodesOf(peers[0].admin)
	assert.EqualValues(t, 6, sum.Total.Sessions)
	assert.Greater(t, sum.Total.Relayed["n0"].In+sum.Total.Relayed["n1"].In+sum.Total.Relayed["n2"].In, int64(30))
	resp, err := http.Get(peers[1].admin + "/nodes")
	require.NoError(t, err)
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	assert.Contains(t, string(page), `<th scope="row">n2`)

	resp, err = http.Get(peers[1].admin + "/metrics")
	require.NoError(t, err)
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	assert.Regexp(t, `bosh_relayed_requests_total\{node="n2",direction="out"\} [1-9]`, string(text))
	assert.Regexp(t, `bosh_relayed_requests_total\{node="",direction="failed"\} 0`, string(text))

	began := time.Now()
	require.NoError(t, peers[1].cmd.Process.Kill())
	for i, c := range clients {
		if i%3 == 1 {
			<-c.Done()
			assert.ErrorContains(t, c.Err(), "item-not-found")
			assert.Less(t, time.Since(began), 20*time.Second, "a second, on an idle machine")
			continue
		}
		for range 10 {
			require.NoError(t, echo(i))
		}
	}
	t.Log("told after", time.Since(began))
	require.NoError(t, peers[0].cmd.Process.Signal(os.Interrupt))
	for i, c := range clients {
		if i%3 == 0 {
			<-c.Done()
			assert.ErrorContains(t, c.Err(), "system-shutdown")
		}
	}
	assert.NoError(t, peers[0].cmd.Wait())
	for range 3 {
		require.NoError(t, echo(2))
	}
}

// A name that is taken is refused by a sentence.
func TestClusterNameTaken(t *testing.T) {
	peers := startPeers(t, 1, "127.0.0.1:1")
	for range 5 { // on a busy machine it may not hear of the other in time
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		again := exec.CommandContext(ctx, os.Args[0], append(peers[0].cmd.Args[1:], "-http", demo.FreeAddr(), "-admin", demo.FreeAddr(), "-cluster-listen", demo.FreeAddr())...)
		again.Env = peers[0].cmd.Env
		out, err := again.CombinedOutput()
		late := ctx.Err() != nil
		cancel()
		if !late {
			assert.Error(t, err)
			assert.Contains(t, string(out), "another process has the name")
			return
		}
	}
	t.Error("the name is not refused")
}
