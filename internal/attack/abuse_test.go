package attack_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An abused Handler is attacked, while somebody else has a session with it.
type abused struct {
	*testing.T
	h      *bosh.Handler
	pipe   *boshtest.PipeServer
	direct *boshtest.Memory // without HTTP, where that is not what is abused
	victim *boshtest.Client
	others int // goroutines that are there without an attack
}

// abuse runs an attack in a bubble of time. In the attack and behind it the
// victim's pings must be answered at once, and when the attacker has gone nothing
// may be left of it.
func abuse(t *testing.T, name string, o bosh.Options, attack func(a *abused)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o.Framing, o.Serve = bosh.Elements, domains
			a := &abused{T: t, h: NewHandler(t, o)}
			a.pipe = boshtest.NewPipeServer(a.h)
			a.direct = boshtest.InMemory(a.h)
			defer a.pipe.Close()
			var err error
			a.victim, err = boshtest.Dial(t.Context(), boshtest.Config{Transport: a.direct, To: "echo.test"})
			require.NoError(t, err)
			defer a.victim.Close()
			a.harmless()
			synctest.Wait()
			a.others = runtime.NumGoroutine()
			left := a.heap(func() {
				attack(a)
				a.harmless()
				time.Sleep(10 * time.Minute)
			})
			assert.Less(t, left, 8*giant, "bytes of heap, with what the test keeps of its connections and answers")
			assert.Less(t, a.goroutines(), 10)
			assert.Equal(t, int64(1), a.h.Stats().Sessions)
			assert.Less(t, a.h.Stats().Memory, int64(8<<10))
			a.harmless()
		})
	})
}

// domains is the application: what it does depends on where a client goes.
func domains(s *bosh.Stream) {
	switch s.Opening().To {
	case "echo.test":
		io.Copy(s, s)
	case "loud.test":
		for _, err := s.Read(make([]byte, 1)); err == nil; {
			_, err = io.WriteString(s, X(strings.Repeat("x", 1<<10)))
		}
	case "mute.test":
		io.Copy(io.Discard, s)
	case "deaf.test":
		<-s.Context().Done()
	}
}

// harmless fails the test unless the victim is served at once.
func (a *abused) harmless() {
	a.Helper()
	begin := time.Now()
	require.NoError(a, a.victim.Send(a.Context(), X("ping")))
	el, err := a.victim.Recv(a.Context())
	require.NoError(a, err)
	assert.Equal(a, X("ping"), string(el))
	assert.Zero(a, time.Since(begin), "the victim had to wait")
}

// goroutines returns how many the attack has running.
func (a *abused) goroutines() int {
	synctest.Wait()
	return runtime.NumGoroutine() - a.others
}

// heap returns by how much f makes the memory grow that is in use.
func (a *abused) heap(f func()) int {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	synctest.Wait()
	runtime.GC()
	runtime.GC() // what is in a sync.Pool outlives the first
	runtime.ReadMemStats(&after)
	return int(after.HeapAlloc) - int(before.HeapAlloc)
}

// asking is a request for a session with a domain. Attributes replace those
// of the same name.
func asking(to string, attrs ...string) string {
	b := "<body to='" + to + "'"
	for _, attr := range append(attrs, "rid='1000'", "ver='1.11'", "wait='60'", "hold='1'", "xmlns='"+NsBind+"'") {
		if name, _, _ := strings.Cut(attr, "="); !strings.Contains(b, " "+name+"=") {
			b += " " + attr
		}
	}
	return b + "/>"
}

// open opens an attacker's session with a domain.
func (a *abused) open(to string, attrs ...string) *Peer {
	a.Helper()
	b := a.post(asking(to, attrs...))
	require.NotEmpty(a, b.Attr("sid"), "%s", b)
	return &Peer{T: a.T, Rt: a.direct, Sid: b.Attr("sid"), Rid: 1000}
}

// post sends a raw body, and keeps nothing of it.
func (a *abused) post(body string) *boshtest.Body {
	a.Helper()
	r, err := http.NewRequestWithContext(a.Context(), "POST", AnyURL, strings.NewReader(body))
	require.NoError(a, err)
	resp, err := a.direct.RoundTrip(r)
	require.NoError(a, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(a, err)
	b, err := boshtest.ParseBody(text)
	require.NoError(a, err, "%s", text)
	return b
}

// ended fails the test unless an answer ends its session by a condition.
func (a *abused) ended(b *boshtest.Body, condition bosh.Condition) {
	a.Helper()
	assert.Equal(a, "terminate", b.Attr("type"))
	assert.Equal(a, string(condition), b.Attr("condition"))
	assert.Empty(a, b.Attr("sid"))
	assert.Empty(a, b.Payloads)
}

// flood sends a body many times, and returns how often each condition came.
func (a *abused) flood(n int, body string) map[string]int {
	conditions := make(map[string]int)
	for range n {
		conditions[a.post(body).Attr("condition")]++
	}
	return conditions
}

const giant = 1 << 20

func TestAbuseOfConnections(t *testing.T) {
	abuse(t, "slow bodies: ReadTimeout", bosh.Options{ReadTimeout: 15 * Second}, func(a *abused) {
		const n = 500
		var left []<-chan string
		for range n {
			_, got := Slowly(a.T, a.pipe.Listener, "", Creation(), 10)
			left = append(left, got)
		}
		assert.Greater(a, a.goroutines(), n)
		a.harmless()
		time.Sleep(15 * Second)
		for _, got := range left {
			assert.Empty(a, <-got)
		}
		assert.Less(a, a.goroutines(), 10)
	})

	abuse(t, "slow large bodies: MaxMemory", bosh.Options{ReadTimeout: 15 * Second, MaxMemory: 8 * giant}, func(a *abused) {
		const n = 100
		p := a.open("mute.test")
		text := PostText("1.1", "", p.Body(1001, X(strings.Repeat("x", giant*9/10))))
		text = strings.TrimSuffix(text, "></body>")
		var refused atomic.Int64
		heap := a.heap(func() {
			for range n {
				c, err := a.pipe.Listener.DialContext(a.Context(), "", "")
				require.NoError(a, err)
				go io.WriteString(c, text)
				go func() {
					defer c.Close()
					if all, _ := io.ReadAll(c); strings.Contains(string(all), "policy-violation") {
						assert.Contains(a, string(all), "Connection: close")
						refused.Add(1)
					}
				}()
			}
			time.Sleep(Second) // until the Server has closed what was refused
		})
		assert.InDelta(a, n-8, refused.Load(), 2)
		assert.LessOrEqual(a, a.h.Stats().Memory, int64(8*giant))
		assert.Less(a, heap, 16*giant, "with what is not counted")
		a.harmless()
		time.Sleep(16 * Second)
		assert.Less(a, a.h.Stats().Memory, int64(8<<10))
		p.Rid = 1000
		p.Hold(X(strings.Repeat("x", giant*9/10))).Cancel()
	})

	abuse(t, "a client that does not read: WriteTimeout, WriteBuffer", bosh.Options{WriteTimeout: 30 * Second, WriteBuffer: 64 << 10}, func(a *abused) {
		const n = 50
		var conns []net.Conn
		heap := a.heap(func() {
			for range n {
				p := a.open("loud.test")
				body := p.Body(1001, X("go"))
				go boshtest.Post(a, a.direct, body).Wait()
				c, _ := RawHTTP(a.T, a.pipe.Listener, PostText("1.1", "", p.Body(1002, "")))
				conns = append(conns, c)
			}
		})
		assert.Less(a, heap/n, 1<<20, "for each session")
		a.harmless()
		time.Sleep(30 * Second)
		for s := range a.h.Sessions() {
			assert.LessOrEqual(a, s.Stats().Open, 1, "the victim's own")
		}
		time.Sleep(78 * Second)
		assert.Equal(a, int64(1), a.h.Stats().Sessions, "the others are inactive")
		for _, c := range conns { // some fit into the buffers
			c.Close()
		}
	})

	abuse(t, "giant headers: MaxHeaderBytes of the Server", bosh.Options{}, func(a *abused) {
		r, err := http.NewRequestWithContext(a.Context(), "POST", AnyURL, strings.NewReader(asking("mute.test")))
		require.NoError(a, err)
		r.Header.Set("X-Giant", strings.Repeat("x", 2*giant))
		if resp, err := a.pipe.RoundTrip(r); err == nil { // or else it was cut off before it could read the answer
			assert.Equal(a, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
			resp.Body.Close()
		}
		assert.Equal(a, int64(1), a.h.Stats().Created)
		time.Sleep(Second) // the Server takes its time to close
	})

	abuse(t, "headers that are kept: MaxMemory", bosh.Options{MaxMemory: 20 * giant}, func(a *abused) {
		refused := 0
		for range 60 {
			r := Do(a.T, a.direct, "POST", AnyURL, strings.NewReader(asking("mute.test")), "X-Giant", strings.Repeat("x", giant*9/10))
			if strings.Contains(r.Text, "policy-violation") {
				refused++
			}
		}
		assert.InDelta(a, 60-22, refused, 3)
		assert.Less(a, a.h.Stats().Memory, int64(22*giant))
	})
}

func TestAbuseOfSessions(t *testing.T) {
	abuse(t, "half-open sessions: MaxSessions, Inactivity", bosh.Options{MaxSessions: 2001}, func(a *abused) {
		var refused map[string]int
		heap := a.heap(func() {
			refused = a.flood(5000, asking("mute.test"))
		})
		assert.Equal(a, map[string]int{"": 2000, "policy-violation": 3000}, refused)
		assert.Less(a, heap/2000, 16<<10, "for each session, with the application's goroutine")
		a.harmless()
		time.Sleep(78 * Second)
		assert.Equal(a, int64(1), a.h.Stats().Sessions)
		assert.Less(a, a.goroutines(), 10)
	})

	abuse(t, "half-open sessions of one address: MaxPerAddr", bosh.Options{MaxPerAddr: 10}, func(a *abused) {
		assert.Equal(a, map[string]int{"": 9, "policy-violation": 91}, a.flood(100, asking("mute.test")))
	})

	abuse(t, "sessions that are over: MaxMemory", bosh.Options{MaxMemory: giant}, func(a *abused) {
		heap, ended := 0, 0
		heap = a.heap(func() {
			for range 6000 {
				if sid := a.post(asking("mute.test")).Attr("sid"); sid != "" {
					a.ended(a.post("<body rid='1001' sid='"+sid+"' type='terminate' xmlns='"+NsBind+"'/>"), "")
					ended++
				}
			}
		})
		assert.Less(a, ended, 5000)
		assert.Less(a, heap, 4*giant)
		assert.InDelta(a, giant, a.h.Stats().Memory, 4<<10)
		a.harmless()
		time.Sleep(33 * Second)
		assert.Less(a, a.h.Stats().Memory, int64(4<<10), "the victim's own")
		a.open("mute.test")
	})

	abuse(t, "guesses of a sid: 130 random bits", bosh.Options{}, func(a *abused) {
		heap := a.heap(func() {
			for range 5000 {
				guess := fmt.Sprintf("<body rid='%d' sid='%026X' xmlns='%s'/>", rand.Int64N(1<<53), rand.Uint64(), NsBind)
				a.ended(a.post(guess), bosh.ItemNotFound)
			}
		})
		assert.Less(a, heap, 1<<20)
	})

	abuse(t, "a sid of the attacker's choice is refused", bosh.Options{}, func(a *abused) {
		for _, sid := range []string{"fixed", "", " ", strings.Repeat("x", 10<<10)} {
			for _, attrs := range []string{"rid='1000' to='mute.test' ver='1.11' hold='1' wait='60'", "rid='1000'"} {
				a.ended(a.post("<body "+attrs+" sid='"+sid+"' xmlns='"+NsBind+"'/>"), bosh.ItemNotFound)
			}
		}
		assert.Equal(a, int64(1), a.h.Stats().Created)
	})

	abuse(t, "guesses of a rid: they end the session and tell nothing", bosh.Options{}, func(a *abused) {
		for range 200 {
			p := a.open("echo.test")
			a.ended(a.post(p.Body(1100+rand.Int64N(1<<50), "")), bosh.ItemNotFound)
			a.ended(a.post(p.Body(1001, X("secret"))), bosh.ItemNotFound)
		}
	})

	abuse(t, "a stolen sid and rid: keys", bosh.Options{}, func(a *abused) {
		keys := KeySequence("seed", 5)
		p := a.open("echo.test", "newkey='"+keys[5]+"'")
		r := p.Send(X("secret"), "key='"+keys[4]+"'")
		assert.Equal(a, X("secret"), r.Payload())
		for _, key := range []string{"", "key='guess'", "key='" + keys[5] + "'"} {
			a.ended(a.post(p.Body(1001, X("secret"), key)), bosh.ItemNotFound)
		}
	})
}

func TestAbuseOfRequests(t *testing.T) {
	abuse(t, "repeats in place of polls: MaxRepeats", bosh.Options{}, func(a *abused) {
		p := a.open("loud.test", "hold='0'")
		p.Send(X("go"))
		for range 9 { // no repeat brings anything new
			p.Rid--
			assert.NotEmpty(a, p.Send(X("go")).Text)
		}
		p.Rid--
		p.Send(X("go"))
		p.Rid--
		RequireEnd(a.T, p.Send(X("go")), bosh.PolicyViolation)
	})

	abuse(t, "giant numbers: lowered, or refused", bosh.Options{}, func(a *abused) {
		nines := strings.Repeat("9", 4<<10)
		p := a.open("mute.test", "wait='"+nines+"'", "hold='"+nines+"'", "ack='"+nines+"'")
		p.Hold("", "ack='"+nines+"'").Cancel()
		p.Send("", "pause='"+nines+"'")
		a.ended(a.post("<body rid='"+nines+"' sid='"+p.Sid+"' xmlns='"+NsBind+"'/>"), bosh.ItemNotFound)
		a.ended(a.post(asking("mute.test", "rid='"+nines+"'")), bosh.BadRequest)
	})

	abuse(t, "compressed bombs: MaxBody", bosh.Options{MaxBody: 64 << 10}, func(a *abused) {
		bomb := Gzipped(a.T, "<body rid='1' xmlns='"+NsBind+"'>"+strings.Repeat(" ", 16*giant)+"</body>")
		heap := a.heap(func() {
			for range 20 {
				r := Do(a.T, a.direct, "POST", AnyURL, strings.NewReader(bomb), "Content-Encoding", "gzip")
				assert.Contains(a, r.Text, "bad-request")
			}
		})
		assert.Less(a, heap, giant)
	})

	abuse(t, "an application that never reads: ReadBuffer", bosh.Options{ReadBuffer: 64 << 10}, func(a *abused) {
		heap := a.heap(func() {
			for range 20 {
				p := a.open("deaf.test")
				p.Hold(X(strings.Repeat("x", giant/2)))
				assert.False(a, p.Hold(X(strings.Repeat("x", giant/2))).Answered(), "the client has to wait")
			}
		})
		assert.Less(a, heap/20, 4*giant, "for each session, two bodies")
	})

	abuse(t, "an application that never writes: CreateTimeout, Wait", bosh.Options{}, func(a *abused) {
		p := a.open("mute.test")
		begin := time.Now()
		first := p.Hold("")
		p.Hold("")
		first.Wait()
		assert.Zero(a, time.Since(begin), "no more than hold are held")
		assert.Less(a, a.goroutines(), 10)
	})

	abuse(t, "early requests: the window, and a limit to the gap", bosh.Options{Hold: 16}, func(a *abused) {
		p := a.open("mute.test", "hold='16'")
		early := make([]*boshtest.Call, 16)
		heap := a.heap(func() {
			for i := range early {
				early[i] = boshtest.Post(a, a.direct, p.Body(int64(1002+i), X(strings.Repeat("x", giant/2))))
			}
		})
		assert.Less(a, heap, 16*3*giant)
		RequireEnd(a.T, boshtest.Exchange(a, a.direct, p.Body(1018, X("beyond"))), bosh.ItemNotFound)
		for _, c := range early {
			RequireEnd(a.T, c.Wait(), bosh.OtherRequest)
		}
	})

	abuse(t, "answers that are never acknowledged: ReplayBuffer", bosh.Options{ReplayBuffer: 64 << 10}, func(a *abused) {
		p := a.open("echo.test", "ack='1'")
		heap := a.heap(func() {
			for range 500 {
				p.Rid++
				a.post(p.Body(p.Rid, X(strings.Repeat("x", 10<<10)), "ack='1000'"))
			}
		})
		assert.Less(a, heap, 512<<10)
	})

	abuse(t, "one session floods: its own end", bosh.Options{}, func(a *abused) {
		for range 20 {
			p := a.open("echo.test")
			var all []*boshtest.Call
			for range 100 {
				all = append(all, p.Post(X("flood")))
			}
			a.harmless()
			for _, c := range all {
				c.Wait()
			}
		}
	})
}

// Under attack the processor is shared too, and so this one takes real time.
func TestOthersKeepTheirLatency(t *testing.T) {
	h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Serve: domains})
	rt := boshtest.InMemory(h)
	victim, err := boshtest.Dial(t.Context(), boshtest.Config{Transport: rt, To: "echo.test"})
	require.NoError(t, err)
	defer victim.Close()
	var attacks atomic.Int64
	pings := func(until int64) time.Duration {
		var all []time.Duration
		for len(all) < 100 || attacks.Load() < until {
			begin := time.Now()
			require.NoError(t, victim.Send(t.Context(), X("ping")))
			_, err := victim.Recv(t.Context())
			require.NoError(t, err)
			all = append(all, time.Since(begin))
		}
		slices.Sort(all)
		return all[len(all)*9/10]
	}
	quiet := pings(0)
	for name, body := range map[string]string{
		"giant bodies":     strings.TrimSuffix(asking("deaf.test"), "/>") + "><a>" + strings.Repeat("<b c='d'/>", giant/44) + "</a></body>",
		"unknown sessions": "<body rid='1' sid='x' xmlns='" + NsBind + "'/>",
		"new sessions":     asking("mute.test"),
	} {
		ctx, stop := context.WithCancel(t.Context())
		var attackers sync.WaitGroup
		attacks.Store(0)
		for range 4 {
			attackers.Go(func() {
				for ctx.Err() == nil {
					boshtest.Exchange(t, rt, body)
					attacks.Add(1)
				}
			})
		}
		attacked := pings(40)
		stop()
		attackers.Wait()
		t.Logf("%s: nine in ten pings take up to %v, without the attack %v", name, attacked, quiet)
		assert.Less(t, attacked, time.Second, name)
	}
}
