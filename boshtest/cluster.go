package boshtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/relay"
)

// A Cluster is several nodes of one BOSH endpoint in memory, the network between them,
// and a balancer that knows nothing of sessions. It works in the bubbles of
// [testing/synctest]. The zero value is a Cluster without nodes; set its fields before
// its first use.
//
//	var c boshtest.Cluster
//	for _, name := range []string{"a", "b", "c"} {
//		c.Add(name, bosh.New(bosh.Options{Node: name, Relay: c.Relay(name)}))
//	}
//	boshtest.Dial(ctx, boshtest.Config{Transport: &c})
type Cluster struct {
	// Latency is how long a message takes from one node to another. The default is
	// none.
	Latency time.Duration

	// Notice is how long it takes until the others notice that a node has been
	// killed, and Patience until one that cannot be reached counts as gone. The
	// defaults are none, and 3 s.
	Notice, Patience time.Duration

	// Seed is for the choice of nodes.
	Seed uint64

	mu    sync.Mutex // guards the following
	nodes map[string]*node
	names []string // of those that live
	ways  map[[2]string]*way
	rand  *rand.Rand
}

// A RelayHandler is a Handler of sessions that other nodes pass requests on to.
type RelayHandler interface {
	http.Handler
	ServeRelay(message []byte, answer func(message []byte, err error))
}

// A node is one that was added.
type node struct {
	h      RelayHandler
	memory *Memory
	dead   context.Context // done when it is killed
	kill   context.CancelFunc
}

// A way is the way from one node to another.
type way struct {
	cut     bool
	slow    time.Duration
	queue   []delivery
	running bool
	waiting map[*passage]struct{} // that went this way, and have no answer
}

// A delivery is something that arrives at a time.
type delivery struct {
	at time.Time
	do func()
}

// A passage is a message that waits for its answer.
type passage struct {
	once   sync.Once
	answer func([]byte, error)
}

func (p *passage) end(m []byte, err error) { p.once.Do(func() { p.answer(m, err) }) }

// What messages fail by.
var (
	errLost = errors.New("boshtest: message lost between nodes")
	errDead = errors.New("boshtest: the node has been killed")
)

// Add adds a node, in the place of one of the same name that was killed.
func (c *Cluster) Add(name string, h RelayHandler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes == nil {
		c.nodes, c.rand = make(map[string]*node), rand.New(rand.NewPCG(c.Seed, 1))
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.nodes[name] = &node{h: h, memory: InMemory(h), dead: ctx, kill: cancel}
	if !slices.Contains(c.names, name) {
		c.names = append(c.names, name)
	}
}

// Relay returns what the node of that name has for [bosh.Options.Relay]:
// messages go to the node that they are for, if they can.
func (c *Cluster) Relay(from string) func(node string, message []byte, answer func([]byte, error)) {
	return func(to string, message []byte, answer func([]byte, error)) {
		c.pass(from, to, bytes.Clone(message), answer)
	}
}

func (c *Cluster) way(from, to string) *way {
	k := [2]string{from, to}
	l := c.ways[k]
	if l == nil {
		if c.ways == nil {
			c.ways = make(map[[2]string]*way)
		}
		l = &way{waiting: make(map[*passage]struct{})}
		c.ways[k] = l
	}
	return l
}

func (c *Cluster) pass(from, to string, message []byte, answer func([]byte, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer == nil {
		answer = func([]byte, error) {}
	}
	l := c.way(from, to)
	there := c.nodes[to]
	if here := c.nodes[from]; here == nil || here.dead.Err() != nil {
		return // nobody hears of it
	}
	p := &passage{answer: answer}
	if there == nil || there.dead.Err() != nil && !l.cut {
		c.carry(l, c.Notice, func() { p.end(nil, relay.ErrNoNode) })
		return
	}
	l.waiting[p] = struct{}{}
	if l.cut {
		return
	}
	back := c.way(to, from)
	c.carry(l, c.Latency+l.slow, func() {
		there.h.ServeRelay(message, func(m []byte, err error) {
			m = bytes.Clone(m)
			c.mu.Lock()
			defer c.mu.Unlock()
			if there.dead.Err() != nil || back.cut {
				return
			}
			c.carry(back, c.Latency+back.slow, func() {
				c.mu.Lock()
				delete(l.waiting, p)
				c.mu.Unlock()
				p.end(m, err)
			})
		})
	})
}

// carry has something done after a while, and after all that goes the same way before it.
// It is called with the lock.
func (c *Cluster) carry(l *way, after time.Duration, do func()) {
	l.queue = append(l.queue, delivery{time.Now().Add(after), do})
	if l.running {
		return
	}
	l.running = true
	go func() {
		for {
			c.mu.Lock()
			if len(l.queue) == 0 {
				l.running = false
				c.mu.Unlock()
				return
			}
			d := l.queue[0]
			l.queue = l.queue[1:]
			c.mu.Unlock()
			if wait := time.Until(d.at); wait > 0 {
				time.Sleep(wait)
			}
			d.do()
		}
	}()
}

// Kill has a node be gone at once, as by kill -9: its clients' connections break, and
// nothing of it is heard any more. The Handler runs on, unheard: close it.
func (c *Cluster) Kill(name string) {
	c.mu.Lock()
	n := c.nodes[name]
	if n == nil || n.dead.Err() != nil {
		c.mu.Unlock()
		return
	}
	n.kill()
	c.names = slices.DeleteFunc(c.names, func(s string) bool { return s == name })
	for k, l := range c.ways {
		switch name {
		case k[0]:
			clear(l.waiting)
			l.queue = nil
		case k[1]:
			l.queue = nil
			if !l.cut {
				c.failAfter(l, c.Notice, relay.ErrNoNode)
			}
		}
	}
	c.mu.Unlock()
}

// failAfter has those that wait on l fail after a while. It is called with the lock.
func (c *Cluster) failAfter(l *way, after time.Duration, err error) {
	for p := range l.waiting {
		time.AfterFunc(after, func() { p.end(nil, err) })
	}
	clear(l.waiting)
}

// Partition cuts the network between two nodes. What is on its way is lost.
func (c *Cluster) Partition(a, b string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range [][2]string{{a, b}, {b, a}} {
		l := c.way(k[0], k[1])
		if l.cut {
			continue
		}
		l.cut, l.queue = true, nil
		c.watch(l)
	}
}

// watch has those that wait on a cut way fail when it has been so for too long.
func (c *Cluster) watch(l *way) {
	patience := c.Patience
	if patience == 0 {
		patience = 3 * time.Second
	}
	time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.cut {
			c.failAfter(l, 0, relay.ErrNoNode)
			c.watch(l)
		}
	})
}

// Heal joins them again. Requests whose message or answer was lost fail, so that their
// clients repeat them.
func (c *Cluster) Heal(a, b string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range [][2]string{{a, b}, {b, a}} {
		if l := c.way(k[0], k[1]); l.cut {
			l.cut = false
			c.failAfter(l, 0, errLost)
		}
	}
}

// Slow has each message from one node to another take longer.
func (c *Cluster) Slow(from, to string, by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.way(from, to).slow = by
}

// Node returns a transport to a node.
func (c *Cluster) Node(name string) http.RoundTripper {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[name]
}

// RoundTrip implements [http.RoundTripper]: it sends each request to any node that lives.
func (c *Cluster) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	if len(c.names) == 0 {
		c.mu.Unlock()
		closeBody(r)
		return nil, errDead
	}
	n := c.nodes[c.names[c.rand.IntN(len(c.names))]]
	c.mu.Unlock()
	return n.RoundTrip(r)
}

// RoundTrip sends a request to the node.
func (n *node) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stop := context.AfterFunc(n.dead, func() { cancel(errDead) })
	defer stop()
	if n.dead.Err() != nil {
		closeBody(r)
		return nil, errDead
	}
	resp, err := n.memory.RoundTrip(r.WithContext(ctx))
	if err == nil && n.dead.Err() != nil {
		resp.Body.Close()
		return nil, io.EOF
	}
	return resp, err
}
