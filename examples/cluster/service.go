package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/gobosh/bosh"
)

// A service pushes news to all its clients, and a client's input back to this client. All
// that it knows of a client is data, which another node can go on with.
type service struct {
	name string // of the node

	mu      sync.Mutex // guards the following
	clients map[*bosh.Session]*user
	said    uint64            // news that this node has published
	latest  map[string]uint64 // the number of the last news of each node
	recent  []event           // the last ones, for clients that come from other nodes
}

// An event is one piece of news, with its number at the node that published it.
type event struct {
	from string
	n    uint64
	el   []byte
}

// behind is how many events a client may be behind before it misses some.
const behind = 100

func newService(name string) *service {
	return &service{name: name, clients: make(map[*bosh.Session]*user), latest: make(map[string]uint64)}
}

// A user is one stream.
type user struct {
	known
	st      *bosh.Stream
	news    chan event
	stop    context.CancelFunc
	running sync.WaitGroup
}

// known is what goes along to another node.
type known struct {
	Had  map[string]uint64 // the last news of each node that the client had, by their numbers
	Echo []byte            // that is still to be written
}

func (s *service) serve(st *bosh.Stream) {
	c := &user{st: st}
	if app := st.Imported(); app != nil && json.Unmarshal(app, &c.known) != nil {
		return
	}
	s.mu.Lock()
	c.news = make(chan event, behind)
	if st.Imported() == nil {
		c.Had = maps.Clone(s.latest)
	} else {
		for _, e := range s.recent { // which came while it was on its way, perhaps
			c.news <- e
		}
	}
	s.clients[st.Session()] = c
	c.start()
	s.mu.Unlock()
	<-st.Context().Done()
	s.mu.Lock()
	delete(s.clients, st.Session())
	s.mu.Unlock()
}

// start starts the client's two goroutines.
func (c *user) start() {
	var ctx context.Context
	ctx, c.stop = context.WithCancel(c.st.Context())
	c.running.Go(func() { c.echo(ctx) })
	c.running.Go(func() { c.push(ctx) })
}

func (c *user) echo(ctx context.Context) {
	for {
		if c.Echo == nil {
			el, err := c.st.ReadElement(ctx)
			if err != nil {
				c.closeUnless(ctx)
				return
			}
			c.Echo = bytes.Clone(el)
		}
		if c.st.WriteElement(ctx, c.Echo) != nil {
			c.closeUnless(ctx)
			return
		}
		c.Echo = nil
	}
}

func (c *user) push(ctx context.Context) {
	for {
		select {
		case e := <-c.news:
			if e.n <= c.Had[e.from] {
				continue
			}
			if c.st.WriteElement(ctx, e.el) != nil {
				c.closeUnless(ctx)
				return
			}
			c.Had[e.from] = e.n
		case <-ctx.Done():
			return
		}
	}
}

// closeUnless closes the stream, unless it is only to stop.
func (c *user) closeUnless(ctx context.Context) {
	if ctx.Err() == nil {
		c.st.Close()
	}
}

// export stops a client, and returns its session for another node; or starts it again.
func (s *service) export(_ context.Context, x *bosh.Session) ([]byte, error) {
	s.mu.Lock()
	c := s.clients[x]
	s.mu.Unlock()
	if c == nil { // it has just begun
		return nil, bosh.ErrBusy
	}
	c.stop()
	c.running.Wait()
	app, err := json.Marshal(&c.known)
	if err != nil {
		return nil, err
	}
	state, err := x.Export(app)
	if err != nil && x.Err() == nil {
		c.start()
	}
	return state, err
}

// next returns the message of the next news of this node.
func (s *service) next(el []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said++
	return fmt.Appendf(nil, "%s %d %s", s.name, s.said, el)
}

// got gets a message of any node.
func (s *service) got(m []byte) {
	f := bytes.SplitN(m, []byte(" "), 3)
	if len(f) < 3 {
		return
	}
	e := event{from: string(f[0]), el: f[2]}
	if _, err := fmt.Sscan(string(f[1]), &e.n); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest[e.from] = e.n
	if s.recent = append(s.recent, e); len(s.recent) > behind/2 {
		s.recent = slices.Delete(s.recent, 0, 1)
	}
	for _, c := range s.clients {
		select {
		case c.news <- e:
		default:
		}
	}
}
