package boshtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		c := dial(t, s, Config{To: "ex'ample", Rid: 1000, XMPP: true, Acks: true, Content: "text/html", Attrs: "a='1'"})
		assert.Equal(t, "<body rid='1000' to='ex&apos;ample' xml:lang='en' wait='60' hold='1' ver='1.11' content='text/html' ack='1'"+
			" xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' a='1' xmlns='http://jabber.org/protocol/httpbind'/>", s.seen()[0])
		g := c.Granted()
		assert.Equal(t, "s1", c.Sid())
		assert.Equal(t, 60*time.Second, g.Wait)
		assert.Equal(t, 2, g.Requests)
		assert.Equal(t, 5*time.Second, g.Polling)
		assert.Equal(t, 30*time.Second, g.Inactivity)
		assert.Equal(t, 120*time.Second, g.MaxPause)
		assert.False(t, g.Acks)
	})
}

func TestDialRefused(t *testing.T) {
	answer := func(status int, text string) http.RoundTripper {
		return InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, text)
		}))
	}
	synctest.Test(t, func(t *testing.T) {
		_, err := Dial(t.Context(), Config{Transport: answer(200, "<body type='terminate' condition='host-unknown'"+bodyNS+"/>")})
		assert.ErrorIs(t, err, &EndError{Condition: "host-unknown"})
		_, err = Dial(t.Context(), Config{Transport: answer(404, "")})
		var status *StatusError
		require.ErrorAs(t, err, &status)
		assert.Equal(t, 404, status.Status)
		_, err = Dial(t.Context(), Config{Transport: answer(502, ""), Retries: 3})
		assert.ErrorIs(t, err, ErrUnanswered)
		_, err = Dial(t.Context(), Config{Transport: answer(200, "<body"+bodyNS+"/>")})
		assert.ErrorContains(t, err, "without sid")
	})
}

func TestOneRequestIsKeptWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{Rid: 1})
		time.Sleep(10*time.Minute + time.Second)
		// One at the start, and one after each wait of a minute.
		assert.Equal(t, Stats{Requests: 12, Empty: 12, Answers: 11}, c.Stats())
		assert.EqualValues(t, 13, c.Rid())
	})
}

func TestSendAndRecv(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		s.late = time.Second
		c := dial(t, s, Config{Rid: 1})
		synctest.Wait()
		start := time.Now()
		for i := range 10 {
			require.NoError(t, c.Send(t.Context(), fmt.Sprintf("<m n='%d'>a</m>", i)))
		}
		for i := range 10 {
			assert.Equal(t, fmt.Sprintf("<m n='%d'>a</m>", i), recv(t, c))
		}
		assert.Equal(t, time.Second, time.Since(start))
		// The first of them takes the second place in the window. How many go
		// into a body after that is a matter of chance, but bodies there are
		// fewer than payloads.
		synctest.Wait()
		st := c.Stats()
		assert.Equal(t, 10, st.PayloadsOut)
		assert.Equal(t, 10, st.PayloadsIn)
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
		assert.ErrorIs(t, err, ErrClosed)
		assert.ErrorIs(t, c.Send(t.Context(), "<a/>"), ErrClosed)
	})
}

func TestServerEnds(t *testing.T) {
	for condition, want := range map[string]error{"": io.EOF, "system-shutdown": &EndError{Condition: "system-shutdown"}} {
		t.Run(condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFake()
				c := dial(t, s, Config{})
				synctest.Wait()
				s.terminate(condition, "<last/>")
				assert.Equal(t, "<last/>", recv(t, c))
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
		require.NoError(t, c.Terminate(t.Context(), "<bye/>", "<quiet/>"))
		assert.ErrorIs(t, c.Err(), io.EOF)
		assert.Equal(t, "<bye/>", recv(t, c))
		assert.Contains(t, s.seen()[2], " type='terminate' xmlns='http://jabber.org/protocol/httpbind'><bye/><quiet/></body>")
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
		assert.Equal(t, 1, c.Stats().Repeats)
	})
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{})
		synctest.Wait()
		require.NoError(t, c.Pause(t.Context(), 100*time.Second))
		n := len(s.seen())
		time.Sleep(90*time.Second - 1)
		synctest.Wait()
		assert.Len(t, s.seen(), n, "nothing is sent in a pause")
		time.Sleep(1 * time.Nanosecond)
		synctest.Wait()
		assert.Len(t, s.seen(), n+1, "but before its end")

		require.NoError(t, c.Pause(t.Context(), 100*time.Second))
		n = len(s.seen())
		require.NoError(t, c.Send(t.Context(), "<a/>"))
		assert.Equal(t, "<a/>", recv(t, c))
		synctest.Wait()
		assert.Len(t, s.seen(), n+2, "what is sent ends it")
		assert.Error(t, c.Pause(t.Context(), 121*time.Second))
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{To: "example.com"})
		require.NoError(t, c.Send(t.Context(), "<quiet/>"))
		require.NoError(t, c.Restart(t.Context(), "from='a'"))
		require.NoError(t, c.Send(t.Context(), "<after/>"))
		assert.Equal(t, "<features/>", recv(t, c))
		assert.Equal(t, "<after/>", recv(t, c))
		assert.Contains(t, strings.Join(s.seen(), "\n"),
			" to='example.com' xml:lang='en' xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true' from='a' xmlns='http://jabber.org/protocol/httpbind'/>")
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
		require.NoError(t, c.Send(t.Context(), "<a/>"))
		synctest.Wait()
		assert.Equal(t, "<a/>", recv(t, c), "on the answer to the request itself")
	})
}

func TestManual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{Manual: true})
		time.Sleep(time.Minute)
		assert.Len(t, s.seen(), 1)
		require.NoError(t, c.Poll(t.Context()))
		synctest.Wait()
		assert.Len(t, s.seen(), 2)
	})
}

func TestKeysAndAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{Keys: 3, Acks: true, Rid: 10})
		synctest.Wait()
		for i := range 20 {
			require.NoError(t, c.Send(t.Context(), fmt.Sprint("<a n='", i, "'/>")))
			recv(t, c)
		}
		all := strings.Join(s.seen(), "\n")
		assert.Greater(t, strings.Count(all, " newkey="), 5)
		assert.Equal(t, strings.Count(all, " key="), len(s.seen())-1)
		assert.NotContains(t, s.seen()[1], " ack=", "all answers before it have arrived")
		assert.Contains(t, s.seen()[2], "rid='12'")
		assert.Contains(t, s.seen()[2], " ack='10'", "11 is open")
	})
}

func TestAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		c := dial(t, s, Config{})
		synctest.Wait()
		require.NoError(t, c.Close())
		c = dial(t, s, Config{Sid: c.Sid(), Rid: c.Rid()})
		require.NoError(t, c.Send(t.Context(), "<again/>"))
		assert.Equal(t, "<again/>", recv(t, c))
		assert.Equal(t, 1, s.sessions)
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			data, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(data), "sid=") {
				io.WriteString(w, "<body sid='a' requests='2' hold='1' wait='60'"+bodyNS+"/>")
				return
			}
			<-r.Context().Done()
		})
		c := dial(t, newFake(), Config{Transport: InMemory(stuck), Queue: 100})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		n := 0
		for ; err == nil; n++ {
			err = c.Send(ctx, "<a>1234567890</a>")
		}
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1+5+1, n, "one under way, five in the queue, and the one that failed")
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
		require.NoError(t, c.Poll(t.Context()))
		time.Sleep(71 * time.Second)
		assert.Equal(t, 1, c.Stats().Repeats)
		silent.Store(false)
		time.Sleep(70 * time.Second)
		assert.Equal(t, 2, c.Stats().Repeats)
		require.NoError(t, c.Send(t.Context(), "<a/>"))
		recv(t, c)
	})
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		rt := &Faults{Transport: InMemory(s), Plan: func(n int, _ []byte) Fault {
			if n == 0 {
				return Pass
			}
			return CutBefore
		}}
		start := time.Now()
		c := dial(t, s, Config{Transport: rt, Retries: 5})
		_, err := c.Recv(t.Context())
		assert.ErrorIs(t, err, ErrUnanswered)
		assert.ErrorIs(t, err, ErrCut)
		assert.Equal(t, (50+100+200+400)*time.Millisecond, time.Since(start))
		assert.True(t, errors.Is(c.Err(), ErrUnanswered))
	})
}
