package boshtest

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshclient"
)

// dial connects a client to the fake server and checks, at the end, that the
// server has nothing to complain of.
func dial(t *testing.T, s *fakeServer, cfg Config) *Client {
	t.Helper()
	if cfg.Transport == nil {
		cfg.Transport = InMemory(s)
	}
	c, err := Dial(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		assert.Empty(t, s.problems)
	})
	return c
}

func recv(t *testing.T, c *Client) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	p, err := c.Recv(ctx)
	require.NoError(t, err)
	return string(p)
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		attr := []xml.Attr{{Name: xml.Name{Local: "a"}, Value: "1"}}
		c := dial(t, s, Config{To: "ex'ample", XMPP: true, Acks: true, Attr: attr})
		assert.Regexp(t, "^<body xmlns='http://jabber.org/protocol/httpbind' rid='[0-9]+' wait='60' hold='1' ver='1.11' ack='1'"+
			" to='ex&apos;ample' xml:lang='en' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' a='1'/>$", s.seen()[0])
		g := c.Granted()
		assert.Equal(t, 60*time.Second, g.Wait)
		assert.Equal(t, 2, g.Requests)
		assert.Equal(t, 5*time.Second, g.Polling)
		assert.Equal(t, 30*time.Second, g.Inactivity)
		assert.Equal(t, 120*time.Second, g.MaxPause)
	})
}

func TestOneRequestIsKeptWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{})
		time.Sleep(10*time.Minute + time.Second)
		// One at the start, and one after each wait of a minute.
		assert.Equal(t, boshclient.Stats{Requests: 12, Empty: 12, Answers: 11}, c.Stats())
	})
}

func TestSendAndRecv(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.late = time.Second
		c := dial(t, s, Config{})
		synctest.Wait()
		start := time.Now()
		for i := range 10 {
			require.NoError(t, c.Send(t.Context(), fmt.Sprintf("<m xmlns='u' n='%d'>a</m>", i)))
		}
		for i := range 10 {
			assert.Equal(t, fmt.Sprintf("<m xmlns='u' n='%d'>a</m>", i), recv(t, c))
		}
		// The poll that fetches the last may have waited for more to say: 5 ms.
		assert.InDelta(t, time.Second, time.Since(start), float64(5*time.Millisecond))
		// The first of them takes the second place in the window. How many go
		// into a body after that is a matter of chance, but bodies there are
		// fewer than payloads.
		synctest.Wait()
		st := c.Stats()
		assert.EqualValues(t, 10, st.PayloadsOut)
		assert.EqualValues(t, 10, st.PayloadsIn)
		assert.Less(t, len(s.seen()), 1+1+10+2)
	})
}

func TestRecvEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, newFake(), Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Recv(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		time.AfterFunc(time.Second, func() { c.Close() })
		_, err = c.Recv(t.Context())
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.ErrorIs(t, c.Send(t.Context(), "<a/>"), net.ErrClosed)
	})
}

func TestServerEnds(t *testing.T) {
	for condition, want := range map[string]error{"": io.EOF, "system-shutdown": boshclient.SystemShutdown} {
		t.Run(condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFake()
				c := dial(t, s, Config{})
				synctest.Wait()
				s.terminate(condition, "<last xmlns='u'/>")
				assert.Equal(t, "<last xmlns='u'/>", recv(t, c))
				_, err := c.Recv(t.Context())
				assert.ErrorIs(t, err, want)
				assert.ErrorIs(t, c.Err(), want)
				<-c.Done()
			})
		})
	}
}

func TestTerminate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{})
		synctest.Wait()
		require.NoError(t, c.Terminate(t.Context(), "<bye xmlns='u'/>"))
		assert.ErrorIs(t, c.Err(), io.EOF)
		assert.Equal(t, "<bye xmlns='u'/>", recv(t, c))
		assert.Zero(t, c.Stats().Repeats)
		st := c.Stats()
		assert.Equal(t, st.Requests, st.Answers, "waits for all answers")
	})
}

func TestTerminateWhoseAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		rt := &Faults{Transport: InMemory(s), Plan: func(n int, body []byte) Fault {
			switch n {
			case 1: // the terminate
				return CutAfter
			case 2: // its repeat: the server has forgotten the session
				s.mu.Lock()
				defer s.mu.Unlock()
				s.sid = "gone"
			}
			return Pass
		}}
		c := dial(t, s, Config{Transport: rt, Manual: true})
		assert.NoError(t, c.Terminate(t.Context()))
		assert.EqualValues(t, 1, c.Stats().Repeats)
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{To: "example.com", XMPP: true})
		require.NoError(t, c.Send(t.Context(), "<quiet/>"))
		require.NoError(t, c.Restart(t.Context()))
		require.NoError(t, c.Send(t.Context(), "<after xmlns='u'/>"))
		assert.Equal(t, "<features xmlns='jabber:client'/>", recv(t, c))
		assert.Equal(t, "<after xmlns='u'/>", recv(t, c))
		assert.Contains(t, strings.Join(s.seen(), "\n"), " to='example.com' xml:lang='en' xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true'/>")
	})
}

func TestPollingKeepsTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.attrs, s.hold = "wait='0' hold='0' requests='1' polling='5'", 0
		c := dial(t, s, Config{Wait: -1, Hold: -1})
		time.Sleep(22 * time.Second)
		synctest.Wait()
		require.Len(t, s.seen(), 1+5)
		s.mu.Lock()
		for i := 2; i < len(s.arrivals); i++ {
			assert.Equal(t, 5*time.Second, s.arrivals[i].Sub(s.arrivals[i-1]))
		}
		s.mu.Unlock()
		assert.Contains(t, s.seen()[0], " wait='0' hold='0'")
		require.NoError(t, c.Send(t.Context(), "<a xmlns='u'/>"))
		synctest.Wait()
		assert.Equal(t, "<a xmlns='u'/>", recv(t, c), "on the answer to the request itself")
	})
}

func TestManual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{Manual: true})
		time.Sleep(time.Minute)
		assert.Len(t, s.seen(), 1)
		c.Wake()
		synctest.Wait()
		assert.Len(t, s.seen(), 2)
	})
}

func TestKeysAndAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{Keys: 3, Acks: true})
		synctest.Wait()
		for i := range 20 {
			require.NoError(t, c.Send(t.Context(), fmt.Sprint("<a n='", i, "'/>")))
			recv(t, c)
		}
		all := strings.Join(s.seen(), "\n")
		assert.Greater(t, strings.Count(all, " newkey="), 5)
		assert.Equal(t, strings.Count(all, " key="), len(s.seen())-1)
		assert.NotContains(t, s.seen()[1], " ack=", "all answers before it have arrived")
		assert.Contains(t, s.seen()[2], " ack='", "the poll is open")
	})
}

func TestSilenceIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		var silent atomic.Bool
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			if silent.Load() {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return InMemory(s).RoundTrip(r)
		})
		c := dial(t, s, Config{Transport: rt, Manual: true})
		silent.Store(true)
		c.Wake()
		time.Sleep(71 * time.Second)
		assert.EqualValues(t, 1, c.Stats().Repeats)
		silent.Store(false)
		time.Sleep(70 * time.Second)
		assert.EqualValues(t, 2, c.Stats().Repeats)
		require.NoError(t, c.Send(t.Context(), "<a/>"))
		recv(t, c)
	})
}
