package boshtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gobosh/bosh/internal/relay"
)

// A Cluster is several nodes of one BOSH endpoint in memory, the network between them,
// and a balancer without knowledge of sessions. It works in the bubbles of
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

	// Notice is how long the others take to notice a killed node or a cut way to
	// it. Patience is how long until a node out of everybody's reach counts as
	// gone. The defaults are none, and 3 s.
	Notice, Patience time.Duration

	// Seed is for the choice of nodes.
	Seed uint64

	mu    sync.Mutex // guards the following
	nodes map[string]*node
	names []string // of those that live
	ways  map[[2]string]*way
	rand  *rand.Rand
}

// A RelayHandler is a Handler of sessions. Other nodes pass requests on to it.
type RelayHandler interface {
	http.Handler
	ServeRelay(message []byte, answer func(message []byte, err error))
}

// A node is an added node.
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

// A delivery arrives at its time.
type delivery struct {
	at time.Time
	do func()
}

// A passage is a message under way, until its answer.
type passage struct {
	from   string
	to     string
	ways   []*way // it goes
	once   sync.Once
	answer func([]byte, error)
}

func (p *passage) end(m []byte, err error) { p.once.Do(func() { p.answer(m, err) }) }

// The errors of messages.
var (
	errLost = errors.New("boshtest: message lost between nodes")
	errDead = errors.New("boshtest: the node has been killed")
)

// Add adds a node, in the place of a killed one of the same name.
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

// Relay returns the [bosh.Options.Relay] of a node: messages go to their node,
// if they can.
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
	there := c.nodes[to]
	if here := c.nodes[from]; here == nil || here.dead.Err() != nil {
		return // nobody hears of it
	}
	p := &passage{from: from, to: to, answer: answer}
	l := c.way(from, to)
	stops := c.route(from, to)
	if there == nil || there.dead.Err() != nil && stops != nil {
		c.carry(l, c.Notice, func() { p.end(nil, relay.ErrNoNode) })
		return
	}
	p.ways = []*way{l}
	if stops != nil {
		p.ways = c.along(stops)
	}
	for _, w := range p.ways {
		w.waiting[p] = struct{}{}
	}
	if stops == nil {
		return
	}
	back := slices.Clone(stops)
	slices.Reverse(back)
	c.travel(p.ways, func() {
		there.h.ServeRelay(message, func(m []byte, err error) {
			m = bytes.Clone(m)
			c.mu.Lock()
			defer c.mu.Unlock()
			if there.dead.Err() != nil {
				return
			}
			c.travel(c.along(back), func() {
				c.mu.Lock()
				for _, w := range p.ways {
					delete(w.waiting, p)
				}
				c.mu.Unlock()
				p.end(m, err)
			})
		})
	})
}

// route returns the nodes on a message's way, with a third one if need be; or nil if
// there is no way. The caller holds the lock.
func (c *Cluster) route(from, to string) []string {
	if !c.way(from, to).cut {
		return []string{from, to}
	}
	for _, by := range c.names {
		if by != from && by != to && !c.way(from, by).cut && !c.way(by, to).cut {
			return []string{from, by, to}
		}
	}
	return nil
}

// along returns the ways between the stops of a route. It is called with the lock.
func (c *Cluster) along(stops []string) (ways []*way) {
	for i := range stops[1:] {
		ways = append(ways, c.way(stops[i], stops[i+1]))
	}
	return ways
}

// travel has something done when a message has gone all these ways, unless one of them is
// cut. It is called with the lock.
func (c *Cluster) travel(ways []*way, do func()) {
	if ways[0].cut {
		return
	}
	c.carry(ways[0], c.Latency+ways[0].slow, func() {
		if len(ways) == 1 {
			do()
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.travel(ways[1:], do)
	})
}

// carry has something done after a while, and after all earlier messages of the same way.
// The caller holds the lock.
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
			maps.DeleteFunc(l.waiting, func(p *passage, _ struct{}) bool { return p.from == name })
			l.queue = nil
			c.failAfter(l, c.Notice, errLost) // what others had it pass on
		case k[1]:
			l.queue = nil
			if !l.cut {
				c.failAfter(l, c.Notice, relay.ErrNoNode)
			}
		}
	}
	c.mu.Unlock()
}

// failAfter fails the passages on l after a while. The caller holds the lock.
func (c *Cluster) failAfter(l *way, after time.Duration, err error) {
	for p := range l.waiting {
		err := err
		if err == relay.ErrNoNode && l != c.way(p.from, p.to) && c.nodes[p.to].dead.Err() == nil {
			err = errLost // it is not its own node that is gone
		}
		for _, w := range p.ways {
			delete(w.waiting, p)
		}
		time.AfterFunc(after, func() { p.end(nil, err) })
	}
}

// Partition cuts the network between two nodes. Messages on their way are lost, and
// fail after Notice. From then on a third node with a way to both passes their messages
// on. If there is none, each of them takes the other for gone after Patience.
func (c *Cluster) Partition(a, b string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range [][2]string{{a, b}, {b, a}} {
		l := c.way(k[0], k[1])
		if l.cut {
			continue
		}
		l.cut, l.queue = true, nil
		time.AfterFunc(c.Notice, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if l.cut && c.route(k[0], k[1]) != nil {
				c.failAfter(l, 0, errLost)
			}
		})
		c.watch(l, k)
	}
}

// watch fails the passages on a way cut for too long.
func (c *Cluster) watch(l *way, k [2]string) {
	patience := c.Patience
	if patience == 0 {
		patience = 3 * time.Second
	}
	time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.cut {
			err := relay.ErrNoNode
			if c.route(k[0], k[1]) != nil {
				err = errLost
			}
			c.failAfter(l, 0, err)
			c.watch(l, k)
		}
	})
}

// Heal joins them again. Requests with a lost message or answer fail, and their
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

// RoundTrip implements [http.RoundTripper]: it sends each request to any living node.
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
