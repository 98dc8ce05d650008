package boshnats_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshnats/embed"
	"github.com/gobosh/bosh/boshtest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A gate is a route between two servers that can be closed.
type gate struct {
	l      net.Listener
	target string

	mu    sync.Mutex // guards the following
	shut  bool       // connections are closed
	still bool       // nothing goes through, and nobody is told
	moved *sync.Cond
	conns map[net.Conn]bool
}

func newGate(t *testing.T, target string) *gate {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{l: l, target: target, conns: make(map[net.Conn]bool)}
	g.moved = sync.NewCond(&g.mu)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.join(c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		g.set(true, false)
	})
	return g
}

// set closes or opens the gate.
func (g *gate) set(shut, still bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.still = shut, still
	if shut {
		for c := range g.conns {
			c.Close()
		}
		clear(g.conns)
	}
	g.moved.Broadcast()
}

func (g *gate) join(in net.Conn) {
	out, err := net.Dial("tcp", g.target)
	if err != nil {
		in.Close()
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		in.Close()
		out.Close()
		return
	}
	g.conns[in], g.conns[out] = true, true
	go g.copy(out, in)
	go g.copy(in, out)
}

func (g *gate) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		g.mu.Lock()
		for g.still {
			g.moved.Wait()
		}
		g.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// gated returns sites each two of which have a route with a gate: gates[i][j], i > j. The
// first two may be apart from the beginning.
func gated(t *testing.T, n int, apart bool, serve func(*bosh.Stream), tune ...func(*boshnats.Options, *bosh.Options)) (all []*site, gates [][]*gate) {
	var addrs []string
	for i := range n {
		var routes []string
		var own []*gate
		for j := range i {
			own = append(own, newGate(t, addrs[j]))
			own[j].set(apart && i == 1, false)
			routes = append(routes, own[j].l.Addr().String())
		}
		gates = append(gates, own)
		s := &site{T: t}
		var err error
		s.server, s.nc, err = embed.Start(embed.Config{Routes: routes, Options: func(o *server.Options) {
			o.Cluster.NoAdvertise, o.Cluster.Advertise = true, "127.0.0.1:1" // or servers tell each other ways around the gates
		}})
		require.NoError(t, err)
		addrs = append(addrs, embed.Addr(s.server))
		log := slog.New(slog.NewTextHandler(t.Output(), nil)).With("at", i)
		no := boshnats.Options{Name: fmt.Sprintf("node-%d", i), Logger: log, Addr: addrs[i]}
		ho := bosh.Options{Framing: bosh.Elements, Serve: serve, Logger: log, Node: no.Name}
		for _, f := range tune {
			f(&no, &ho)
		}
		s.node, err = boshnats.Join(s.nc, no)
		require.NoError(t, err)
		ho.Relay = s.node.Relay
		s.h = bosh.New(ho)
		s.node.Serve(s.h)
		t.Cleanup(s.kill)
		all = append(all, s)
	}
	require.Eventually(t, func() bool {
		for i, s := range all {
			if m := len(s.node.Nodes()); m != n && !(apart && i < 2 && m == n-1) {
				return false
			}
		}
		return true
	}, 20*time.Second, 10*time.Millisecond)
	return all, gates
}

// A route between two nodes that breaks ends no session and loses nothing, for as long as
// a third one reaches both; nor one of only two, if it is short.
func TestRouteCut(t *testing.T) {
	for name, test := range map[string]struct {
		nodes       int
		shut, still bool
		cut         time.Duration
	}{
		"shut, three":  {3, true, false, 4 * time.Second},
		"still, three": {3, false, true, 5 * time.Second},
		"shut, two":    {2, true, false, 1500 * time.Millisecond},
		"still, two":   {2, false, true, 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, gates := gated(t, test.nodes, false, echo)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			var longest [6]time.Duration
			for i := range longest {
				wg.Go(func() {
					var seq boshtest.Sequence
					home, front := all[i%2], all[1-i%2]
					c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: &via{first: home, then: front}, Acks: i < 3, Backoff: 10 * time.Millisecond, GiveUp: time.Minute})
					if !assert.NoError(t, err) {
						return
					}
					defer c.Close()
					for j := 0; ; j++ {
						select {
						case <-stop:
							assert.NoError(t, seq.Check(j))
							return
						default:
						}
						began := time.Now()
						assert.NoError(t, c.Send(t.Context(), string(boshtest.Numbered(j, 70))))
						el, err := c.Recv(t.Context())
						if !assert.NoError(t, err, "client %d", i) {
							return
						}
						longest[i] = max(longest[i], time.Since(began))
						k, _ := boshtest.Number(el)
						seq.Got(k)
					}
				})
			}
			time.Sleep(500 * time.Millisecond)
			gates[1][0].set(test.shut, test.still)
			time.Sleep(test.cut)
			gates[1][0].set(false, false)
			time.Sleep(2 * time.Second)
			close(stop)
			wg.Wait()
			t.Log("the longest wait", longest)
		})
	}
}

// The one that is gone is told of as soon as ever, also by those that reach it by way of
// another.
func TestDeathBehindCut(t *testing.T) {
	all, gates := gated(t, 3, false, func(s *bosh.Stream) { io.Copy(io.Discard, s) })
	dial := func() *boshtest.Client {
		c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: &via{first: all[0], then: all[1]}, Backoff: 10 * time.Millisecond, GiveUp: time.Minute})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	clients := []*boshtest.Client{dial(), dial()}
	gates[1][0].set(true, false)
	time.Sleep(2 * time.Second)
	for _, c := range clients {
		require.NoError(t, c.Send(t.Context(), "<a xmlns='u'/>"))
		require.NoError(t, c.Err())
	}
	began := time.Now()
	all[0].kill()
	for _, c := range clients {
		<-c.Done()
		assert.ErrorContains(t, c.Err(), "item-not-found")
	}
	t.Log("told after", time.Since(began))
	assert.Less(t, time.Since(began), 10*time.Second, "a second or two, on an idle machine")
}

// via sends the first request to one site, and all others to another.
type via struct {
	first, then *site
	once        sync.Once
}

func (v *via) RoundTrip(r *http.Request) (*http.Response, error) {
	to := v.then
	v.once.Do(func() { to = v.first })
	return boshtest.InMemory(to.h).RoundTrip(r)
}

// A node that has never heard another one, since there is no route between them, finds the
// way by a third one. Names that clients make up lead nowhere.
func TestNeverHeard(t *testing.T) {
	all, _ := gated(t, 3, true, echo)
	const creation = "<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>"
	sid := boshtest.Exchange(t, boshtest.InMemory(all[0].h), creation).Attr("sid")
	for rid := 2; rid < 10; rid++ {
		r := boshtest.Exchange(t, boshtest.InMemory(all[1].h), fmt.Sprintf("<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'><a xmlns='u'/></body>", rid, sid))
		require.Equal(t, "<a xmlns='u'/>", r.Payload(), "%s", r)
	}
	for i := range 5 {
		r := boshtest.Exchange(t, boshtest.InMemory(all[1].h), fmt.Sprintf("<body rid='2' sid='x.nobody-%d' xmlns='http://jabber.org/protocol/httpbind'/>", i))
		assert.Equal(t, "item-not-found", r.Attr("condition"))
	}
	assert.NotContains(t, all[1].node.Nodes(), "nobody-1")
}
