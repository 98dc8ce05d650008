package boshnats_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
	"github.com/gobosh/bosh/boshtest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A counter is an application whose state is data: how many elements it has echoed.
type counter struct {
	mu    sync.Mutex
	users map[*bosh.Session]*user
}

type user struct {
	Said int

	stop    context.CancelFunc
	stopped chan struct{}
}

func (c *counter) serve(st *bosh.Stream) {
	u := new(user)
	if app := st.Imported(); app != nil {
		json.Unmarshal(app, u)
	}
	c.run(st, u)
	<-st.Context().Done()
	c.mu.Lock()
	delete(c.users, st.Session())
	c.mu.Unlock()
}

func (c *counter) run(st *bosh.Stream, u *user) {
	ctx, stop := context.WithCancel(context.Background())
	u.stop, u.stopped = stop, make(chan struct{})
	c.mu.Lock()
	if c.users == nil {
		c.users = make(map[*bosh.Session]*user)
	}
	c.users[st.Session()] = u
	c.mu.Unlock()
	go func() {
		defer close(u.stopped)
		for {
			el, err := st.ReadElement(ctx)
			if err != nil || st.WriteElement(context.Background(), el) != nil {
				return
			}
			u.Said++
		}
	}()
}

// export is for HandOver.
func (c *counter) export(ctx context.Context, s *bosh.Session) ([]byte, error) {
	c.mu.Lock()
	u := c.users[s]
	c.mu.Unlock()
	if u == nil {
		return nil, bosh.ErrBusy
	}
	u.stop()
	<-u.stopped
	app, _ := json.Marshal(u)
	state, err := s.Export(app)
	if err != nil && s.Err() == nil {
		c.run(s.Streams()[0], u)
	}
	return state, err
}

// counters returns sites with an application each.
func counters(t *testing.T, n int, tune ...func(*server.Options, *boshnats.Options, *bosh.Options)) (all []*site, apps []*counter) {
	tune = append(tune, func(_ *server.Options, no *boshnats.Options, ho *bosh.Options) {
		c := new(counter)
		no.Adopt = true
		if ho.Serve != nil {
			apps = append(apps, c)
			ho.Serve = c.serve
		}
	})
	return cluster(t, n, tune...), apps
}

// chat has clients say and hear elements until stop is closed. None may be lost.
func chat(t *testing.T, all *anywhere, mu *sync.RWMutex, n int) (stop func() (worst time.Duration)) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	longest := make([]time.Duration, n)
	for i := range n {
		rt := roundTripper(func() anywhere { mu.RLock(); defer mu.RUnlock(); return *all })
		cfg := boshtest.Config{To: "x", Transport: rt, Acks: i%2 == 0, Backoff: 10 * time.Millisecond, GiveUp: time.Minute}
		if i%3 == 1 {
			cfg.Keys = 50
		}
		c, err := boshtest.Dial(t.Context(), cfg)
		require.NoError(t, err)
		wg.Go(func() {
			defer c.Close()
			var seq boshtest.Sequence
			for j := 0; ; j++ {
				select {
				case <-end:
					assert.NoError(t, seq.Check(j))
					return
				case <-time.After(20 * time.Millisecond):
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
	return func() (worst time.Duration) {
		close(end)
		wg.Wait()
		for _, d := range longest {
			worst = max(worst, d)
		}
		return worst
	}
}

// Nodes leave one after the other, and others come: no session ends, nothing is lost, and
// the sessions of nodes that have long left are found.
func TestHandOver(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("direct=%v", direct), func(t *testing.T) {
			t.Parallel()
			handOver(t, direct)
		})
	}
}

func handOver(t *testing.T, direct bool) {
	all, apps := counters(t, 3, func(o *server.Options, _ *boshnats.Options, b *bosh.Options) {
		if b.Direct = direct; direct { // and states go in pieces
			o.MaxPayload, o.MaxControlLine = 512, 512
		}
	})
	now, mu := anywhere(all), new(sync.RWMutex)
	stop := chat(t, &now, mu, 12)
	for i := range 3 {
		leaving := all[i]
		mu.Lock()
		now = now[1:]
		mu.Unlock()
		time.Sleep(200 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		require.NoError(t, leaving.node.HandOver(ctx, apps[i].export))
		require.NoError(t, leaving.h.Shutdown(ctx))
		cancel()
		leaving.node.Leave()
		had := leaving.h.Stats()
		assert.Equal(t, had.Created, had.Ended["moved"])
		delete(had.Ended, "moved")
		assert.Empty(t, had.Ended)
		if i < 2 {
			s, app := another(t, all[2], fmt.Sprintf("new-%d", i))
			all, apps = append(all, s), append(apps, app)
			mu.Lock()
			now = append(now, s)
			mu.Unlock()
		}
		time.Sleep(500 * time.Millisecond)
		if i < 2 { // the others are on its server
			leaving.kill()
		}
	}
	t.Log("the longest wait", stop())
}

// another returns a site that joins later.
func another(t *testing.T, at *site, name string) (*site, *counter) {
	c := new(counter)
	s := &site{T: t, server: at.server, nc: at.nc}
	var err error
	s.node, err = boshnats.Join(at.nc, boshnats.Options{Name: name, Adopt: true, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s.h = bosh.New(bosh.Options{Framing: bosh.Elements, Serve: c.serve, Logger: slog.New(slog.DiscardHandler), Node: name, Relay: s.node.Relay})
	s.node.Serve(s.h)
	t.Cleanup(func() { s.h.Close(); s.node.Leave() })
	return s, c
}

// What the successor refuses stays here, and so does what it may have had when it died. When
// there is none at all the sessions are served until the time is over.
func TestHandOverFails(t *testing.T) {
	t.Parallel()
	all, apps := counters(t, 3, func(_ *server.Options, n *boshnats.Options, b *bosh.Options) {
		if n.Name != "node-0" {
			b.MaxSessions = 2
		}
	})
	dial := func(at *site) *boshtest.Client {
		c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: &via{first: at, then: all[2]}, Backoff: 10 * time.Millisecond, GiveUp: time.Minute})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	var clients []*boshtest.Client
	for range 5 {
		clients = append(clients, dial(all[0]))
	}
	dial(all[2]) // so that the other one has fewer
	said := 0
	echoes := func() {
		for _, c := range clients {
			el := string(boshtest.Numbered(said, 10))
			require.NoError(t, c.Send(t.Context(), el))
			got, err := c.Recv(t.Context())
			require.NoError(t, err)
			assert.Equal(t, el, string(got))
		}
		said++
	}
	echoes()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- all[0].node.HandOver(ctx, apps[0].export) }()
	require.Eventually(t, func() bool { return all[1].h.Stats().Sessions == 2 }, 10*time.Second, time.Millisecond)
	for range 5 {
		echoes()
		time.Sleep(50 * time.Millisecond)
	}
	assert.EqualValues(t, 2, all[1].h.Stats().Sessions, "there is no room for more")
	assert.True(t, all[0].h.Draining())

	all[1].kill() // with what it has
	require.Eventually(t, func() bool { return all[2].h.Stats().Sessions == 2 }, 20*time.Second, time.Millisecond, "another one takes as many as it can")
	left := clients[:0]
	for _, c := range clients {
		if err := c.Send(t.Context(), "<a xmlns='u'/>"); err != nil {
			continue
		}
		if _, err := c.Recv(t.Context()); err == nil {
			left = append(left, c)
		}
	}
	require.Len(t, left, 3)
	clients = left
	echoes()
	cancel()
	err := <-over
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "refused")

	alone, err := boshnats.Join(all[2].nc, boshnats.Options{Subject: "other", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer alone.Leave()
	assert.Error(t, alone.HandOver(t.Context(), apps[0].export), "it serves nothing")
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: echo})
	defer h.Close()
	alone.Serve(h)
	boshtest.Exchange(t, boshtest.InMemory(h), creation)
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = alone.HandOver(ctx, apps[0].export)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "Options.Adopt")
}

// Two of four nodes leave at once, and each has the sessions of the other in mind: no session
// ends, and nothing is lost.
func TestHandOverTogether(t *testing.T) {
	t.Parallel()
	all, apps := counters(t, 4)
	now, mu := anywhere(all[:2]), new(sync.RWMutex)
	stop := chat(t, &now, mu, 12)
	mu.Lock()
	now = all[2:]
	mu.Unlock()
	time.Sleep(200 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var leaving sync.WaitGroup
	for i := range 2 {
		leaving.Go(func() {
			had := all[i].h.Stats().Sessions
			assert.NoError(t, all[i].node.HandOver(ctx, apps[i].export))
			assert.NoError(t, all[i].h.Shutdown(ctx))
			all[i].node.Leave()
			ended := all[i].h.Stats().Ended
			assert.GreaterOrEqual(t, int(ended["moved"]), int(had))
			delete(ended, "moved")
			assert.Empty(t, ended)
		})
	}
	leaving.Wait()
	time.Sleep(300 * time.Millisecond)
	all[0].kill()
	all[1].kill()
	time.Sleep(300 * time.Millisecond)
	t.Log("the longest wait", stop())
}

// The successor dies when a session is on its way to it. What it has had is lost with it; that
// session is not, and the rest goes to another one.
func TestHandOverToDead(t *testing.T) {
	t.Parallel()
	all, apps := counters(t, 3)
	dial := func(at *site) *boshtest.Client {
		c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "x", Transport: &via{first: at, then: all[2]}, Backoff: 10 * time.Millisecond, GiveUp: time.Minute})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial(all[2]) // so that the other one has fewer
	var clients []*boshtest.Client
	for range 6 {
		clients = append(clients, dial(all[0]))
	}
	n := 0
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := all[0].node.HandOver(ctx, func(ctx context.Context, s *bosh.Session) ([]byte, error) {
		state, err := apps[0].export(ctx, s)
		if err == nil {
			if n++; n == 3 {
				all[1].kill()
			}
		}
		return state, err
	})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, n, 7, "the one on its way came back, and left again")
	assert.EqualValues(t, 5, all[2].h.Stats().Sessions)
	alive := 0
	for i, c := range clients {
		el := string(boshtest.Numbered(i, 10))
		if c.Send(t.Context(), el) != nil {
			continue
		}
		if got, err := c.Recv(t.Context()); err == nil {
			assert.Equal(t, el, string(got))
			alive++
		}
	}
	assert.Equal(t, 4, alive)
}

// The way between a leaving node and its successor is cut when a session is on it, for a
// while. Nothing is lost, and no session is in two places, or in none.
func TestHandOverCut(t *testing.T) {
	t.Parallel()
	for name, still := range map[string]bool{"broken": false, "without a word": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var apps []*counter
			all, gates := gated(t, 2, false, nil, func(no *boshnats.Options, ho *bosh.Options) {
				c := new(counter)
				apps = append(apps, c)
				no.Adopt, ho.Serve = true, c.serve
			})
			now, mu := anywhere(all[:1]), new(sync.RWMutex)
			stop := chat(t, &now, mu, 8)
			mu.Lock()
			now = all[1:]
			mu.Unlock()
			time.Sleep(200 * time.Millisecond)
			n := 0
			var healed sync.WaitGroup
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			require.NoError(t, all[0].node.HandOver(ctx, func(ctx context.Context, s *bosh.Session) ([]byte, error) {
				state, err := apps[0].export(ctx, s)
				if err == nil {
					if n++; n == 2 {
						gates[1][0].set(!still, still)
						healed.Go(func() {
							time.Sleep(1500 * time.Millisecond) // longer than a node waits for the answer
							gates[1][0].set(false, false)
						})
					}
				}
				return state, err
			}))
			healed.Wait()
			require.NoError(t, all[0].h.Shutdown(ctx))
			all[0].node.Leave()
			assert.GreaterOrEqual(t, n, 8)
			assert.EqualValues(t, 8, all[1].h.Stats().Sessions)
			time.Sleep(300 * time.Millisecond)
			t.Log("the longest wait", stop())
		})
	}
}
