package model_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var moveClients = flag.Int("moveclients", 8, "clients of TestMoves")
var moveElements = flag.Int("moveelements", 150, "elements of each client of TestMoves")

// A room is a server whose users say things to all. It is on two Handlers, as it would be
// in two processes, and its users move from one to the other and back. All that it knows of
// a user goes along.
type room struct {
	h     [2]*bosh.Handler
	rt    [2]http.RoundTripper
	moved int

	mu    sync.Mutex
	users map[*guest]bool
	at    map[string]int // where a sid is
}

// A guest is a user.
type guest struct {
	User string `json:"user"`
	Said int    `json:"said"` // elements

	st       *bosh.Stream
	receives bool
	stop     context.CancelFunc // of reading
	stopped  chan struct{}
}

// serve serves a user, new or not.
func (r *room) serve(at int, st *bosh.Stream) {
	g := &guest{User: st.Opening().To, st: st}
	if app := st.Imported(); app != nil {
		if err := json.Unmarshal(app, g); err != nil {
			panic(err)
		}
	}
	g.receives = len(g.User)%2 == 0
	r.start(g)
	r.mu.Lock()
	r.users[g] = true
	r.mu.Unlock()
	<-st.Context().Done() // Serve has the stream closed when it returns
	r.mu.Lock()
	delete(r.users, g)
	r.mu.Unlock()
}

// start has what a user says said to him.
func (r *room) start(g *guest) {
	if g.receives {
		g.st.Receive(func(b []byte, err error) {
			if err == nil {
				g.hear(b)
			}
		})
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop, g.stopped = cancel, make(chan struct{})
	go func() {
		defer close(g.stopped)
		for {
			b, err := g.st.ReadElement(ctx)
			if err != nil {
				return
			}
			g.hear(b)
		}
	}()
}

func (g *guest) hear(b []byte) {
	g.Said++
	g.st.WriteElement(context.Background(), b)
}

// move moves a user, and reports whether that could be.
func (r *room) move(g *guest, rng *rand.Rand) error {
	if g.receives {
		if err := g.st.Detach(context.Background()); err != nil {
			return nil // it has ended
		}
	} else {
		g.stop()
		<-g.stopped
	}
	app, _ := json.Marshal(g)
	state, err := g.st.Session().Export(app)
	if errors.Is(err, bosh.ErrBusy) {
		r.start(g)
		return nil
	}
	if err != nil {
		return nil // it has ended
	}
	time.Sleep(time.Duration(rng.IntN(10)) * time.Millisecond) // it is on its way
	r.mu.Lock()
	to := 1 - r.where(state)
	r.mu.Unlock()
	_, err = r.h[to].Import(state)
	if err == nil {
		r.mu.Lock()
		r.moved++
		r.at[sidIn.FindString(string(state))] = to
		r.mu.Unlock()
	}
	return err
}

var sidIn = regexp.MustCompile(`[A-Z2-7]{26}`)

func (r *room) where(b []byte) int { return r.at[sidIn.FindString(string(b))] }

// RoundTrip sends a request to where its session is, as far as is known.
func (r *room) RoundTrip(q *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(q.Body)
	q.Body = io.NopCloser(io.MultiReader(bytes.NewReader(b), Broken{Err: err}))
	r.mu.Lock()
	to := r.where(b)
	r.mu.Unlock()
	return r.rt[to].RoundTrip(q)
}

// movers move a user at a time, each 20 ms, until ctx ends.
func (r *room) movers(ctx context.Context, t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
		r.mu.Lock()
		var g *guest
		for g = range r.users {
			break
		}
		r.mu.Unlock()
		if g != nil {
			assert.NoError(t, r.move(g, rng))
		}
	}
}

// TestMoves moves the sessions of a server between two Handlers over plain HTTP, one each
// 20 ms, while a fifth of all requests or answers is broken, delayed or doubled. No session
// ends, and what is said comes back once and in order.
func TestMoves(t *testing.T) {
	for _, way := range []string{"direct=false", "direct=true", "HTTP/2"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &room{users: make(map[*guest]bool), at: make(map[string]int)}
				for i := range r.h {
					o := bosh.Options{Framing: bosh.Elements, Direct: way == "direct=true", MaxRepeats: -1}
					o.Serve = func(st *bosh.Stream) { r.serve(i, st) }
					r.h[i] = NewHandler(t, o)
					srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
						assert.Equal(t, way == "HTTP/2", q.ProtoMajor == 2)
						r.h[i].ServeHTTP(w, q)
					})}
					srv.Protocols.SetHTTP1(way != "HTTP/2")
					srv.Protocols.SetUnencryptedHTTP2(way == "HTTP/2")
					s := boshtest.Pipe(srv)
					s.Transport.Protocols = srv.Protocols
					defer s.Close()
					r.rt[i] = s
				}
				ctx, cancel := context.WithCancel(t.Context())
				var moving, wg sync.WaitGroup
				moving.Go(func() { r.movers(ctx, t) })
				for i := range *moveClients {
					cfg := boshtest.Config{
						To: fmt.Sprintf("user-%0*d", 1+i%2, i), Transport: r, Acks: i%3 > 0, Backoff: 20 * time.Millisecond, GiveUp: time.Hour,
						Fault: &boshtest.Faults{Seed: uint64(i), Rates: boshtest.Evenly(0.2)},
					}
					if i%4 == 1 {
						cfg.Keys = 50
					}
					c, err := boshtest.Dial(ctx, cfg)
					require.NoError(t, err)
					wg.Go(func() {
						var seq boshtest.Sequence
						sent := make(chan struct{})
						go func() {
							defer close(sent)
							for j := range *moveElements {
								assert.NoError(t, c.Send(ctx, string(boshtest.Numbered(j, 50))))
								if j%3 == 0 {
									time.Sleep(time.Duration(i*7) * time.Millisecond)
								}
							}
						}()
						for range *moveElements {
							el, err := c.Recv(ctx)
							if !assert.NoError(t, err, "client %d", i) {
								return
							}
							n, _ := boshtest.Number(el)
							seq.Got(n)
						}
						<-sent
						assert.NoError(t, seq.Check(*moveElements), "client %d", i)
						assert.NoError(t, c.Terminate(ctx))
					})
				}
				wg.Wait()
				cancel()
				moving.Wait()
				t.Logf("%d moves", r.moved)
				assert.Greater(t, r.moved, 50)
				for _, h := range r.h {
					ended := h.Stats().Ended
					delete(ended, "closed")
					delete(ended, "moved")
					assert.Empty(t, ended)
				}
				time.Sleep(time.Minute)
				assert.Zero(t, r.h[0].Stats().Sessions+r.h[1].Stats().Sessions)
			})
		})
	}
}
