package boshtest_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
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

func echoElements(s *bosh.Stream) {
	for {
		el, err := s.ReadElement(context.Background())
		if err != nil || s.WriteElement(context.Background(), el) != nil {
			return
		}
	}
}

// echoes has clients echo n elements each, and tells of each whether all came once, in
// order.
func echoes(t *testing.T, clients []*boshtest.Client, n int, between time.Duration) (whole []bool) {
	whole = make([]bool, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			var seq boshtest.Sequence
			for j := range n {
				time.Sleep(between)
				if c.Send(t.Context(), string(boshtest.Numbered(j, 50))) != nil {
					return
				}
				el, err := c.Recv(t.Context())
				if err != nil {
					return
				}
				k, _ := boshtest.Number(el)
				seq.Got(k)
			}
			whole[i] = seq.Check(n) == nil
		})
	}
	wg.Wait()
	return whole
}

// Nodes may be slow, cut off for a while, or no owner of the session: nobody loses an
// element. A dead node ends its own sessions, and no others.
func TestCluster(t *testing.T) {
	for _, direct := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			defer time.Sleep(time.Minute) // until nothing is on its way any more
			c := &boshtest.Cluster{Latency: time.Millisecond, Notice: 300 * time.Millisecond, Seed: 3}
			handlers := make(map[string]*bosh.Handler)
			for _, name := range []string{"a", "b", "c"} {
				h := bosh.New(bosh.Options{
					Framing: bosh.Elements, Node: name, Relay: c.Relay(name), Direct: direct, Serve: echoElements, Logger: slog.New(slog.DiscardHandler),
				})
				defer h.Close()
				handlers[name] = h
				c.Add(name, h)
			}
			var clients []*boshtest.Client
			var at []string
			for i := range 9 {
				name := []string{"a", "b", "c"}[i%3]
				rt := http.RoundTripper(&first{rt: c, first: c.Node(name)})
				f := &boshtest.Faults{Transport: rt, Seed: uint64(i), Rates: boshtest.Evenly(0.1)}
				cl, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: rt, Fault: f, Acks: true, Backoff: 100 * time.Millisecond, GiveUp: time.Hour})
				require.NoError(t, err)
				defer cl.Close()
				clients, at = append(clients, cl), append(at, name)
			}
			go func() {
				c.Slow("a", "b", 500*time.Millisecond)
				time.Sleep(5 * time.Second)
				c.Partition("b", "c")
				time.Sleep(2 * time.Second)
				c.Heal("b", "c")
				c.Slow("a", "b", 0)
				time.Sleep(5 * time.Second)
				c.Kill("c")
			}()
			for i, whole := range echoes(t, clients, 200, 100*time.Millisecond) {
				assert.Equal(t, at[i] != "c", whole, "client %d of %s", i, at[i])
				if !whole {
					assert.ErrorContains(t, clients[i].Err(), "item-not-found")
				}
			}
			assert.Positive(t, handlers["a"].Stats().Relayed["b"].In)
		})
	}
}

// A cut between two nodes ends no session as long as a third one reaches both, nor does a
// short cut between the only two. A long one ends the sessions with requests at its other
// end, within 4 s.
func TestClusterCut(t *testing.T) {
	for _, test := range []struct {
		nodes string
		cut   time.Duration
		whole bool
	}{{"abc", 10 * time.Second, true}, {"ab", 2 * time.Second, true}, {"ab", 10 * time.Second, false}} {
		for _, direct := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				defer time.Sleep(time.Minute)
				c := &boshtest.Cluster{Latency: time.Millisecond, Notice: 300 * time.Millisecond}
				for _, name := range strings.Split(test.nodes, "") {
					h := bosh.New(bosh.Options{
						Framing: bosh.Elements, Node: name, Relay: c.Relay(name), Direct: direct, Serve: echoElements, Logger: slog.New(slog.DiscardHandler),
					})
					defer h.Close()
					c.Add(name, h)
				}
				var clients []*boshtest.Client
				for i := range 4 {
					rt := &first{rt: c.Node("ab"[i%2:][:1]), first: c.Node("ba"[i%2:][:1])}
					cl, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: rt, Acks: i < 2, Backoff: 100 * time.Millisecond, GiveUp: time.Hour})
					require.NoError(t, err)
					defer cl.Close()
					clients = append(clients, cl)
				}
				go func() {
					time.Sleep(5 * time.Second)
					c.Partition("a", "b")
					began := time.Now()
					if !test.whole {
						for _, cl := range clients {
							<-cl.Done()
							assert.ErrorContains(t, cl.Err(), "item-not-found")
							assert.LessOrEqual(t, time.Since(began), 4*time.Second)
						}
					}
					time.Sleep(test.cut)
					c.Heal("a", "b")
				}()
				for i, whole := range echoes(t, clients, 200, 100*time.Millisecond) {
					assert.Equal(t, test.whole, whole, "%+v: client %d", test, i)
				}
			})
		}
	}
}

// A node in between may die while it passes requests on: nothing is lost.
func TestClusterThirdDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Minute)
		c := &boshtest.Cluster{Latency: time.Millisecond, Notice: 300 * time.Millisecond}
		for _, name := range []string{"a", "b", "c", "d"} {
			h := bosh.New(bosh.Options{Framing: bosh.Elements, Node: name, Relay: c.Relay(name), Serve: echoElements, Logger: slog.New(slog.DiscardHandler)})
			defer h.Close()
			c.Add(name, h)
		}
		cl, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: &first{rt: c.Node("b"), first: c.Node("a")}, Backoff: 100 * time.Millisecond, GiveUp: time.Hour})
		require.NoError(t, err)
		defer cl.Close()
		c.Partition("a", "b")
		go func() {
			time.Sleep(5 * time.Second)
			c.Kill("c")
			time.Sleep(5 * time.Second)
			c.Kill("a")
		}()
		began := time.Now()
		assert.False(t, echoes(t, []*boshtest.Client{cl}, 1000, 100*time.Millisecond)[0])
		assert.ErrorContains(t, cl.Err(), "item-not-found")
		assert.InDelta(t, 10, time.Since(began).Seconds(), 1, "only when its own node has died")
	})
}

// first sends the first request elsewhere.
type first struct {
	rt, first http.RoundTripper
	once      sync.Once
}

func (f *first) RoundTrip(r *http.Request) (*http.Response, error) {
	rt := f.rt
	f.once.Do(func() { rt = f.first })
	return rt.RoundTrip(r)
}

// An httpRelay passes requests on by plain HTTP: the seam knows nothing of NATS.
type httpRelay struct {
	mu    sync.Mutex
	nodes map[string]*boshtest.PipeServer
}

func (n *httpRelay) relay(node string, message []byte, answer func([]byte, error)) {
	n.mu.Lock()
	s := n.nodes[node]
	n.mu.Unlock()
	if s == nil {
		if answer != nil {
			answer(nil, bosh.ErrNoNode)
		}
		return
	}
	r, _ := http.NewRequest("POST", s.URL, bytes.NewReader(bytes.Clone(message)))
	if answer == nil {
		r.Header.Set("Notice", "1")
	}
	go func() {
		resp, err := s.RoundTrip(r)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode != http.StatusOK {
				err = io.ErrUnexpectedEOF
			}
		}
		if answer != nil {
			answer(b, err)
		}
	}()
}

// serve is where it arrives.
func serveRelay(h *bosh.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		message, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.Header.Get("Notice") != "" {
			h.ServeRelay(message, nil)
			return
		}
		answers := make(chan []byte, 1)
		h.ServeRelay(message, func(m []byte, err error) {
			if err != nil {
				m = nil
			}
			answers <- bytes.Clone(m)
		})
		select {
		case m := <-answers:
			if m == nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.Write(m)
		case <-r.Context().Done():
		}
	})
}

func TestRelayByHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &httpRelay{nodes: make(map[string]*boshtest.PipeServer)}
		var all []http.RoundTripper
		for _, name := range []string{"a", "b"} {
			h := bosh.New(bosh.Options{Framing: bosh.Elements, Node: name, Relay: n.relay, Serve: echoElements, Logger: slog.New(slog.DiscardHandler)})
			defer h.Close()
			s := boshtest.NewPipeServer(serveRelay(h))
			defer s.Close()
			n.nodes[name] = s
			front := boshtest.NewPipeServer(h)
			defer front.Close()
			all = append(all, front)
		}
		var clients []*boshtest.Client
		for i := range 4 {
			f := &boshtest.Faults{Seed: uint64(i), Rates: boshtest.Evenly(0.1)}
			c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: &first{rt: all[1], first: all[0]}, Fault: f, Acks: i%2 == 0})
			require.NoError(t, err)
			defer c.Close()
			clients = append(clients, c)
		}
		for _, whole := range echoes(t, clients, 50, 10*time.Millisecond) {
			assert.True(t, whole)
		}
		r := boshtest.Exchange(t, all[0], "<body rid='1' sid='x.nobody' xmlns='http://jabber.org/protocol/httpbind'/>")
		assert.Equal(t, "item-not-found", r.Attr("condition"))
	})
}
