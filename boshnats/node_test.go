package boshnats_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshnats/embed"
	"github.com/gobosh/bosh/boshtest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A site is a node with a server of its own.
type site struct {
	*testing.T
	server *server.Server
	nc     *nats.Conn
	node   *boshnats.Node
	h      *bosh.Handler
	ended  sync.Once
}

func (s *site) kill() {
	s.ended.Do(func() {
		s.nc.Close()
		s.server.Shutdown()
		s.h.Close()
		s.node.Leave()
	})
}

// echo is an application.
func echo(s *bosh.Stream) {
	for {
		el, err := s.ReadElement(context.Background())
		if err != nil || s.WriteElement(context.Background(), el) != nil {
			return
		}
	}
}

// cluster returns n sites that know each other.
func cluster(t *testing.T, n int, tune ...func(*server.Options, *boshnats.Options, *bosh.Options)) (all []*site) {
	var routes []string
	for i := range n {
		var so func(*server.Options)
		no := boshnats.Options{Name: fmt.Sprintf("node-%d", i), Logger: slog.New(slog.DiscardHandler)}
		ho := bosh.Options{Framing: bosh.Elements, Serve: echo, Logger: slog.New(slog.DiscardHandler)}
		for _, f := range tune {
			f(new(server.Options), &no, &ho)
			so = func(o *server.Options) { f(o, new(boshnats.Options), new(bosh.Options)) }
		}
		s := &site{T: t}
		var err error
		s.server, s.nc, err = embed.Start(embed.Config{Routes: routes, Options: so})
		require.NoError(t, err)
		routes = append(routes, embed.Addr(s.server))
		no.Addr = cmp.Or(no.Addr, embed.Addr(s.server))
		s.node, err = boshnats.Join(s.nc, no)
		require.NoError(t, err)
		ho.Node, ho.Relay = s.node.Name(), s.node.Relay
		s.h = bosh.New(ho)
		s.node.Serve(s.h)
		t.Cleanup(s.kill)
		all = append(all, s)
	}
	require.Eventually(t, func() bool {
		for _, s := range all {
			if len(s.node.Nodes()) != n {
				return false
			}
		}
		return true
	}, 10*time.Second, 10*time.Millisecond)
	return all
}

// anywhere sends each request to any site.
type anywhere []*site

func (a anywhere) RoundTrip(r *http.Request) (*http.Response, error) {
	return boshtest.InMemory(a[rand.IntN(len(a))].h).RoundTrip(r)
}

// Whatever node the requests come in at, and whatever faults there are, each element
// arrives once, in order; pieces and all.
func TestAnyNode(t *testing.T) {
	for name, tune := range map[string]func(*server.Options, *boshnats.Options, *bosh.Options){
		"net/http": func(*server.Options, *boshnats.Options, *bosh.Options) {},
		"in pieces": func(o *server.Options, _ *boshnats.Options, _ *bosh.Options) {
			o.MaxPayload = 512
			o.MaxControlLine = 512
		},
		"with delay": func(_ *server.Options, o *boshnats.Options, _ *bosh.Options) { o.Heartbeat = 20 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			all := cluster(t, 3, tune)
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					var seq boshtest.Sequence
					n := *payloads
					f := &boshtest.Faults{Transport: anywhere(all), Seed: uint64(i), Rates: boshtest.Evenly(0.2)}
					c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: anywhere(all), Fault: f, Acks: i%2 == 0, Backoff: 10 * time.Millisecond})
					if !assert.NoError(t, err) {
						return
					}
					defer c.Close()
					for j := range n {
						assert.NoError(t, c.Send(t.Context(), string(boshtest.Numbered(j, 700))))
						el, err := c.Recv(t.Context())
						if !assert.NoError(t, err) {
							return
						}
						k, _ := boshtest.Number(el)
						seq.Got(k)
					}
					assert.NoError(t, seq.Check(n))
				})
			}
			wg.Wait()
			out := int64(0)
			for _, s := range all {
				for _, r := range s.h.Stats().Relayed {
					out += r.Out
				}
			}
			assert.Greater(t, out, int64(5**payloads))
		})
	}
}

// Answers and requests larger than NATS takes.
func TestPieces(t *testing.T) {
	all := cluster(t, 2, func(o *server.Options, n *boshnats.Options, b *bosh.Options) {
		o.MaxPayload = 1 << 10
		n.MaxMessage = 2 << 20
		b.MaxBody, b.MaxElement, b.WriteBuffer, b.ReadBuffer = 4<<20, 4<<20, 4<<20, 4<<20
	})
	creation := boshtest.Exchange(t, boshtest.InMemory(all[0].h), "<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>")
	body := func(rid, size int) string {
		return fmt.Sprintf("<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'><a xmlns='u'>%s</a></body>", rid, creation.Attr("sid"), strings.Repeat("x", size))
	}
	r := boshtest.Exchange(t, boshtest.InMemory(all[1].h), body(2, 1<<20))
	assert.Len(t, r.Payload(), 1<<20+len("<a xmlns='u'></a>"))
	assert.Error(t, boshtest.Post(t, boshtest.InMemory(all[1].h), body(3, 3<<20)).Err(), "too large to be passed on: the connection is closed")
	assert.Len(t, boshtest.Exchange(t, boshtest.InMemory(all[1].h), body(3, 10)).Payload(), 10+len("<a xmlns='u'></a>"))
}

// A client that leaves is told to the owner at once.
func TestCancel(t *testing.T) {
	all := cluster(t, 2, func(_ *server.Options, _ *boshnats.Options, o *bosh.Options) {
		o.Serve = func(s *bosh.Stream) { <-s.Context().Done() }
	})
	creation := boshtest.Exchange(t, boshtest.InMemory(all[0].h), "<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>")
	held := boshtest.Post(t, boshtest.InMemory(all[1].h), "<body rid='2' sid='"+creation.Attr("sid")+"' xmlns='http://jabber.org/protocol/httpbind'/>")
	open := func(n int) func() bool { return func() bool { return all[0].h.Stats().Open == n } }
	require.Eventually(t, open(1), 5*time.Second, time.Millisecond)
	held.Cancel()
	require.Eventually(t, open(0), 5*time.Second, time.Millisecond)
}

// A node that dies is gone within a second for those that wait, and at once for all
// that come later, but no stampede.
func TestDeath(t *testing.T) {
	all := cluster(t, 3, func(_ *server.Options, _ *boshnats.Options, o *bosh.Options) {
		o.Serve = func(s *bosh.Stream) { <-s.Context().Done() }
	})
	var held []*boshtest.Call
	var sid string
	const n = 100
	for range n {
		sid = boshtest.Exchange(t, boshtest.InMemory(all[0].h), "<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>").Attr("sid")
		held = append(held, boshtest.Post(t, boshtest.InMemory(all[1].h), "<body rid='2' sid='"+sid+"' xmlns='http://jabber.org/protocol/httpbind'/>"))
	}
	require.Eventually(t, func() bool { return all[0].h.Stats().Open == n }, 5*time.Second, time.Millisecond)
	began := time.Now()
	all[0].nc.Close()
	all[0].server.Shutdown()
	next := boshtest.Exchange(t, boshtest.InMemory(all[2].h), "<body rid='3' sid='"+sid+"' xmlns='http://jabber.org/protocol/httpbind'/>")
	assert.Equal(t, "item-not-found", next.Attr("condition"))
	for _, h := range held {
		assert.Equal(t, "item-not-found", h.Wait().Attr("condition"))
	}
	took := time.Since(began)
	t.Log("told after", took)
	assert.Less(t, took, 5*time.Second, "a second, on an idle machine")
	began = time.Now()
	assert.Equal(t, "item-not-found", boshtest.Exchange(t, boshtest.InMemory(all[1].h), "<body rid='4' sid='"+sid+"' xmlns='http://jabber.org/protocol/httpbind'/>").Attr("condition"))
	assert.Less(t, time.Since(began), 100*time.Millisecond)
	assert.Len(t, all[1].node.Nodes(), 2)
}

// Nobody takes a name that somebody has, one after the other or at the same time.
func TestNameTaken(t *testing.T) {
	all := cluster(t, 2)
	_, err := boshnats.Join(all[1].nc, boshnats.Options{Name: "node-0", Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, `another process has the name "node-0"`)
	for _, name := range []string{"A", "a.b", "*", ">", strings.Repeat("x", 33)} {
		_, err := boshnats.Join(all[0].nc, boshnats.Options{Name: name})
		assert.ErrorContains(t, err, "the name of a node is", name)
	}
	_, err = boshnats.Join(all[0].nc, boshnats.Options{Subject: "a.>"})
	assert.Error(t, err)

	var joined atomic.Int32
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			n, err := boshnats.Join(s.nc, boshnats.Options{Name: "both", Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				joined.Add(1)
				t.Cleanup(n.Leave)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, joined.Load())

	all[0].node.Leave()
	n, err := boshnats.Join(all[1].nc, boshnats.Options{Name: "node-0", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err, "it is free again")
	n.Leave()
}

// No sid is in a subject, whatever a client makes of it, and nobody listens to a subject
// that a client has made up.
func TestSubjects(t *testing.T) {
	all := cluster(t, 2, func(_ *server.Options, o *boshnats.Options, _ *bosh.Options) { o.Patience = 500 * time.Millisecond })
	var mu sync.Mutex
	var subjects []string
	_, err := all[1].nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		subjects = append(subjects, m.Subject+" "+m.Reply)
		mu.Unlock()
	})
	require.NoError(t, err)
	c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: anywhere(all)})
	require.NoError(t, err)
	defer c.Close()
	for range 20 {
		require.NoError(t, c.Send(t.Context(), "<a xmlns='u'/>"))
		_, err := c.Recv(t.Context())
		require.NoError(t, err)
	}
	for _, sid := range []string{"x.*", "x.&gt;", "x.node-0.&gt;", "x.a b", "x.a&#13;&#10;PUB b 1", "node-0", "x.up", "secret.nobody"} {
		r := boshtest.Exchange(t, boshtest.InMemory(all[1].h), "<body rid='1' sid='"+sid+"' xmlns='http://jabber.org/protocol/httpbind'/>")
		assert.Equal(t, "item-not-found", r.Attr("condition"), sid)
	}
	require.NoError(t, all[1].nc.Flush())
	mu.Lock()
	defer mu.Unlock()
	require.NotEmpty(t, subjects)
	for _, s := range subjects {
		assert.Regexp(t, `^bosh\.(node\.(node-[01]|nobody|up)|reply\.node-[01]\.[A-Z2-7]{26}\.[0-9a-z]+|up|stats) (bosh\.reply\.[-a-zA-Z0-9.]+)?$`, s)
		assert.NotContains(t, s, c.Created().Attr("sid"))
	}
}

// Those that are no nodes may not do what nodes do, and a node needs no more than the
// documentation says.
func TestPermissions(t *testing.T) {
	node := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"bosh.node.*", "bosh.reply.>", "bosh.up", "bosh.stats"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"bosh.node.*", "bosh.reply.>", "bosh.up", "bosh.stats"}},
	}
	own := &server.Permissions{Publish: node.Publish, Subscribe: &server.SubjectPermission{
		Allow: []string{"bosh.node.mine", "bosh.reply.mine.>", "bosh.up", "bosh.stats"},
	}}
	other := &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: []string{"bosh.>"}},
		Subscribe: &server.SubjectPermission{Deny: []string{"bosh.>"}},
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, Users: []*server.User{
		{Username: "node", Password: "n", Permissions: node}, {Username: "own", Password: "o", Permissions: own},
		{Username: "other", Password: "x", Permissions: other},
	}})
	require.NoError(t, err)
	go s.Start()
	defer s.Shutdown()
	require.True(t, s.ReadyForConnections(10*time.Second))
	refused := make(chan error, 100)
	connect := func(user, password string) *nats.Conn {
		nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, password), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	var all []*site
	for user, name := range map[string]string{"node": "", "own": "mine"} {
		nc := connect(user, user[:1])
		n, err := boshnats.Join(nc, boshnats.Options{Name: name, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err, user)
		h := bosh.New(bosh.Options{Framing: bosh.Elements, Node: n.Name(), Relay: n.Relay, Serve: echo, Logger: slog.New(slog.DiscardHandler)})
		n.Serve(h)
		t.Cleanup(func() { h.Close(); n.Leave() })
		all = append(all, &site{T: t, nc: nc, node: n, h: h})
	}
	c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: anywhere(all)})
	require.NoError(t, err)
	defer c.Close()
	for range 20 {
		require.NoError(t, c.Send(t.Context(), "<a xmlns='u'/>"))
		_, err := c.Recv(t.Context())
		require.NoError(t, err)
	}
	assert.Len(t, all[0].node.Stats(), 2)
	assert.Empty(t, refused)

	nc := connect("other", "x")
	for range 10 {
		require.NoError(t, nc.Publish("bosh.node.mine", []byte("mgarbage")))
	}
	_, err = nc.SubscribeSync("bosh.>")
	require.NoError(t, err)
	nc.Flush()
	for range 2 {
		select {
		case err := <-refused:
			assert.ErrorContains(t, err, "Permissions Violation")
		case <-time.After(5 * time.Second):
			t.Fatal("not refused")
		}
	}
	_, err = boshnats.Join(nc, boshnats.Options{Logger: slog.New(slog.DiscardHandler)})
	assert.Error(t, err, "it does not wait for ever")
	_, err = nats.Connect(s.ClientURL())
	assert.Error(t, err)
}

// Garbage harms nobody.
func TestGarbage(t *testing.T) {
	all := cluster(t, 2)
	publish := func(subject, reply, data string) error {
		if reply == "" {
			return all[1].nc.Publish(subject, []byte(data))
		}
		return all[1].nc.PublishRequest(subject, reply, []byte(data))
	}
	for _, subject := range []string{"bosh.node.node-0", "bosh.up", "bosh.stats", "bosh.reply.node-0.x.1"} {
		for _, reply := range []string{"", "bosh.reply.node-1.x.1", "elsewhere"} {
			for _, data := range []string{"", "m", "p", "p\x00", "p\x00\x02a", "p\x05\x02a", "?", "e", "m\x01", "node-0 x 5", "node-7 x x", "a b c d", "x", "p\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
				require.NoError(t, publish(subject, reply, data))
			}
		}
	}
	require.NoError(t, all[1].nc.Flush())
	c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: anywhere(all)})
	require.NoError(t, err)
	defer c.Close()
	for range 10 {
		require.NoError(t, c.Send(t.Context(), "<a xmlns='u'/>"))
		_, err := c.Recv(t.Context())
		require.NoError(t, err)
	}
}

// One page has the counts of all nodes.
func TestMonitor(t *testing.T) {
	all := cluster(t, 3)
	for i, s := range all {
		for range i + 1 {
			c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: boshtest.InMemory(s.h)})
			require.NoError(t, err)
			defer c.Close()
		}
	}
	w := httptest.NewRecorder()
	all[0].node.Monitor().ServeHTTP(w, httptest.NewRequest("GET", "/?format=json", nil))
	var sum boshnats.Sum
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &sum), w.Body.String())
	assert.EqualValues(t, 6, sum.Total.Sessions)
	require.Len(t, sum.Nodes, 3)
	assert.EqualValues(t, 3, sum.Nodes[2].Sessions)
	assert.Empty(t, sum.Missing)
	w = httptest.NewRecorder()
	all[1].node.Monitor().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	page, _ := io.ReadAll(w.Body)
	assert.Contains(t, string(page), `<th scope="row">all<td>6`)
	w = httptest.NewRecorder()
	all[1].node.Monitor().ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
}

// A roundTripper sends each request to any of the sites that it returns.
type roundTripper func() anywhere

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f().RoundTrip(r) }
