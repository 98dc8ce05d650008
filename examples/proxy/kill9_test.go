//go:build interop

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/sasl"

	"github.com/gobosh/bosh/boshtest"
)

var (
	kills    = flag.Int("kills", 1, "how often TestKill9 kills the proxy for each server and kind of client")
	messages = flag.Int("messages", 100, "how many messages there are at each kill of TestKill9")
)

// lostMachine is the kind of client whose proxy is lost with its machine: the server hears
// nothing, and finds out late.
const lostMachine = "lost machine"

// Killed in the middle of it all, the proxy loses nothing said by the server. The client
// has it, or the server stores it or returns it to its sender. Both happen only for the
// content of the last answers. Messages never said by the server do not count: ejabberd,
// far behind, now and then loses one as it closes a session.
func TestKill9(t *testing.T) {
	for _, start := range []func(testing.TB) *realServer{startProsody, startEjabberd} {
		s := start(t)
		t.Run(s.name, func(t *testing.T) {
			proofs := [][]string{nil, {"-proof", "connection"}, {"-proof", "kernel", "-direct"}}
			if *kills < 10 {
				proofs = slices.Delete(proofs, 1, 2)
			}
			for _, proof := range proofs {
				sent, twice := 0, 0
				for _, kind := range []string{"acking", "not acking", "polling", "pausing", "slow", lostMachine} {
					t.Run(fmt.Sprint(kind, proof), func(t *testing.T) {
						before := kill9Tally{}
						for range *kills {
							before.add(kill9(t, s, kind, proof))
						}
						t.Logf("%s %s %v: of %d messages %d arrived before the kill, %d were kept, %d returned and %d never said by the server; lost %d, twice %d",
							s.name, kind, proof, before.sent, before.arrived, before.kept, before.returned, before.unsaid, before.lost, before.twice)
						assert.Zero(t, before.lost)
						sent, twice = sent+before.sent, twice+before.twice
					})
				}
				t.Logf("%s %v: twice %d of %d", s.name, proof, twice, sent)
				// An unread answer holds the messages of 80 ms, a large part of 100.
				if *kills >= 10 && (len(proof) == 3 || len(proof) == 2 && *messages >= 600) {
					assert.LessOrEqual(t, twice*10, sent, "with a stronger proof")
				}
			}
		})
	}
}

// Without custody it does lose something, or this test would not notice.
func TestKill9WithoutCustody(t *testing.T) {
	s := startProsody(t)
	all := kill9Tally{}
	for all.lost == 0 && all.sent < 1000 {
		all.add(kill9(t, s, "polling", []string{"-no-custody"}))
	}
	t.Logf("of %d messages lost %d", all.sent, all.lost)
	assert.NotZero(t, all.lost)
}

// A kill9Tally is what has become of messages.
type kill9Tally struct{ sent, arrived, kept, returned, unsaid, lost, twice int }

func (a *kill9Tally) add(b kill9Tally) {
	a.sent, a.arrived, a.kept = a.sent+b.sent, a.arrived+b.arrived, a.kept+b.kept
	a.returned, a.unsaid, a.lost, a.twice = a.returned+b.returned, a.unsaid+b.unsaid, a.lost+b.lost, a.twice+b.twice
}

// A wiretap notes the messages in the answers that a client has got, and may be slow.
type wiretap struct {
	http.RoundTripper
	delay time.Duration

	mu      sync.Mutex
	answers [][]string // ids
}

var messageID = regexp.MustCompile(`<message[^>]* id=['"](m\d+)['"]`)

func (w *wiretap) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var text []byte
	for b := make([]byte, 1000); err == nil; {
		var n int
		n, err = res.Body.Read(b)
		text = append(text, b[:n]...)
		time.Sleep(w.delay)
	}
	if err != io.EOF {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(text))
	w.mu.Lock()
	defer w.mu.Unlock()
	if ids := idsOf(text); len(ids) > 0 {
		w.answers = append(w.answers, ids)
	}
	return res, nil
}

func idsOf(text []byte) (ids []string) {
	for _, m := range messageID.FindAllSubmatch(text, -1) {
		ids = append(ids, string(m[1]))
	}
	return ids
}

// A mailbox has the ids of messages that somebody has received.
type mailbox struct {
	mu  sync.Mutex
	ids map[string]int
}

func (m *mailbox) put(el []byte, is string) {
	if st := parseStanza(el, usual); st.name == "message" && st.kind == is {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.ids == nil {
			m.ids = make(map[string]int)
		}
		m.ids[st.id]++
	}
}

func (m *mailbox) get(id string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids[id]
}

// receive puts messages into the box until the speaker ends.
func (m *mailbox) receive(ctx context.Context, w speaker, is string) {
	for {
		el, err := w.Recv(ctx)
		if err != nil {
			return
		}
		m.put(el, is)
	}
}

// mailing puts what is received into a mailbox on the way.
type mailing struct {
	speaker
	box *mailbox
}

func (r mailing) Recv(ctx context.Context) ([]byte, error) {
	el, err := r.speaker.Recv(ctx)
	if err == nil {
		r.box.put(el, "chat")
	}
	return el, err
}

// A cable is between the proxy and its server.
type cable struct {
	addr      string
	unplugged atomic.Bool

	mu    sync.Mutex
	conns []*net.TCPConn // to the server
	said  bytes.Buffer   // by the server
}

// Write notes what the server has said.
func (c *cable) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.Write(p)
}

// given returns the messages that the server has said.
func (c *cable) given() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make(map[string]bool)
	for _, m := range messageID.FindAllSubmatch(c.said.Bytes(), -1) {
		ids[string(m[1])] = true
	}
	return ids
}

func newCable(t *testing.T, server string) *cable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	c := &cable{addr: l.Addr().String()}
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", server)
			if err != nil {
				a.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, b.(*net.TCPConn))
			c.mu.Unlock()
			go c.carry(a, b)
			go c.carry(io.TeeReader(b, c), a)
		}
	}()
	return c
}

// carry carries bytes until the cable is unplugged. Then they are gone, and so is the end.
func (c *cable) carry(from io.Reader, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !c.unplugged.Load() {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			if !c.unplugged.Load() {
				to.Close()
			}
			return
		}
	}
}

func (c *cable) unplug() { c.unplugged.Store(true) }

// giveUp has the server find out, as its kernel does when nothing was acknowledged for long.
func (c *cable) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.SetLinger(0)
		conn.Close()
	}
}

// kill9 kills a proxy while a client of some kind is being sent messages.
func kill9(t *testing.T, s *realServer, kind string, args []string) (tally kill9Tally) {
	line := newCable(t, s.c2s)
	p := startProxy(t, append([]string{"-upstream", line.addr, "-tls", "none"}, args...)...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()

	tap := &wiretap{RoundTripper: &http.Transport{}}
	cfg := boshtest.Config{
		URL: p.url + "/http-bind", To: "localhost", XMPP: true, Transport: tap,
		Acks: kind == "acking", Manual: kind == "polling", GiveUp: time.Second,
	}
	c, err := boshtest.Dial(ctx, cfg)
	for range 5 { // a server that has much to do may refuse one
		if err != nil {
			time.Sleep(time.Second)
			c, err = boshtest.Dial(ctx, cfg)
		}
	}
	require.NoError(t, err)
	defer c.Close()
	if kind == "polling" {
		background.Go(func() {
			for ctx.Err() == nil {
				c.Wake()
				time.Sleep(80 * time.Millisecond)
			}
		})
	}
	alice := login(t, c, sasl.ScramSha256, "alice")
	bob := tcpUser(t, s.c2s, "bob")
	switch kind {
	case "slow":
		tap.delay = 30 * time.Millisecond
	case "pausing":
		background.Go(func() {
			for ctx.Err() == nil {
				pctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				c.Pause(pctx, 10*time.Second)
				cancel()
				time.Sleep(50 * time.Millisecond)
				c.Wake()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	var arrived, kept, returned mailbox
	background.Go(func() { arrived.receive(ctx, c, "chat") })
	background.Go(func() { returned.receive(ctx, bob, "error") })
	n := *messages
	kill := n - 1 - rand.IntN(max(1, n/10))
	for i := range n {
		bob.say(message(alice.jid, fmt.Sprint("m", i), "hello"))
		time.Sleep(2 * time.Millisecond)
		if i == kill {
			if kind == lostMachine {
				line.unplug()
			}
			require.NoError(t, p.process.cmd.Process.Signal(syscall.SIGKILL))
			<-p.process.done
			if kind == lostMachine {
				continue // the server does not know
			}
			n = i + 1 // what comes later never was the proxy's
			break
		}
	}
	if kind == lostMachine {
		line.giveUp()
	}
	again := dialTCP(t, s.c2s)
	login(t, mailing{again, &kept}, sasl.Plain, "alice")
	background.Go(func() { kept.receive(ctx, again, "chat") })
	look := func() (missing int) {
		for i := range n {
			if id := fmt.Sprint("m", i); arrived.get(id)+kept.get(id)+returned.get(id) == 0 {
				missing++
			}
		}
		return missing
	}
	for begun := time.Now(); look() > 0 && time.Since(begun) < 5*time.Second; {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // for what comes twice
	if look() > 0 {                    // a server may store a message while it hands out those that it has stored
		again.Send(ctx, "<presence xmlns='jabber:client' type='unavailable'/>", streamEnd)
		again = dialTCP(t, s.c2s)
		login(t, mailing{again, &kept}, sasl.Plain, "alice")
		background.Go(func() { kept.receive(ctx, again, "chat") })
		for begun := time.Now(); look() > 0 && time.Since(begun) < 2*time.Second; {
			time.Sleep(20 * time.Millisecond)
		}
	}
	c.Close()
	again.Send(ctx, "<presence xmlns='jabber:client' type='unavailable'/>", streamEnd)
	bob.Send(ctx, "<presence xmlns='jabber:client' type='unavailable'/>", streamEnd)

	tap.mu.Lock()
	recent := slices.Concat(tap.answers[max(0, len(tap.answers)-3):]...) // that two requests prove, and the one that comes next
	tap.mu.Unlock()
	tally.sent = n
	given := line.given()
	for i := range n {
		id := fmt.Sprint("m", i)
		a, k, r := arrived.get(id), kept.get(id), returned.get(id)
		switch {
		case a+k+r > 0:
		case given[id]:
			tally.lost++
			t.Logf("lost after the kill at m%d: %s; the last answers had %v", kill, id, recent)
		default:
			tally.unsaid++
		}
		tally.arrived, tally.kept, tally.returned = tally.arrived+a, tally.kept+k, tally.returned+r
		assert.LessOrEqual(t, a, 1, "%s has come twice to the client", id)
		if a+k+r > 1 {
			tally.twice++
			assert.Contains(t, recent, id, "it has not come in the last answers, and yet twice")
		}
	}
	return tally
}

var rounds = flag.Int("rounds", 0, "rounds of TestCustodyCPU, 3000 messages each; 0 for none")

// Custody costs a tenth of the processor time of a message, at most.
func TestCustodyCPU(t *testing.T) {
	if *rounds == 0 {
		t.Skip("with -rounds")
	}
	s := startProsody(t)
	var spent [2]time.Duration
	for range *rounds {
		for i, args := range [][]string{{"-no-custody"}, nil} {
			p := startProxy(t, append([]string{"-upstream", s.c2s, "-insecure"}, args...)...)
			alice, c := boshUser(t, p.url, "alice")
			bob := tcpUser(t, s.c2s, "bob")
			const n = 3000
			go func() {
				for i := range n {
					bob.Send(t.Context(), message(alice.jid, fmt.Sprint("m", i), "hello"))
					time.Sleep(2 * time.Millisecond)
				}
			}()
			for range n {
				alice.await("<message")
			}
			require.NoError(t, c.Terminate(t.Context()))
			bob.Send(t.Context(), "<presence xmlns='jabber:client' type='unavailable'/>", streamEnd)
			p.process.stop(t, syscall.SIGTERM)
			state := p.process.cmd.ProcessState
			spent[i] += state.UserTime() + state.SystemTime()
		}
	}
	ratio := float64(spent[1]) / float64(spent[0])
	t.Logf("%v without custody, %v with it: %.2f", spent[0], spent[1], ratio)
	assert.LessOrEqual(t, ratio, 1.1)
}
