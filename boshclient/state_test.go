package boshclient_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// moved stops a Conn and goes on with another one, by way of JSON.
func moved(t *testing.T, c *boshclient.Conn, o *boshclient.Options) *boshclient.Conn {
	t.Helper()
	require.NoError(t, c.CloseNow())
	st, err := c.State()
	require.NoError(t, err)
	text, err := json.Marshal(st)
	require.NoError(t, err)
	var again boshclient.State
	require.NoError(t, json.Unmarshal(text, &again))
	c, err = boshclient.Resume(t.Context(), &again, o)
	require.NoError(t, err)
	return c
}

// TestResumeLosesNothing puts a session aside again and again, at any time, while both
// sides send, over a network with faults.
func TestResumeLosesNothing(t *testing.T) {
	t.Logf("-seed %d", *seed)
	for _, keys := range []int{0, 7} {
		synctest.Test(t, func(t *testing.T) {
			const n = 2000
			var down boshtest.Sequence
			h := newHandler(t, bosh.Options{Framing: bosh.Elements, MaxRepeats: 100, Serve: func(s *bosh.Stream) {
				io.Copy(s, s)
			}})
			f := &boshtest.Faults{Seed: *seed, Rates: boshtest.Evenly(0.2)}
			o := boshclient.Options{Framing: boshclient.Elements, Keys: keys}
			o.HTTPClient = over(h, f)
			c, err := boshclient.Dial(t.Context(), "http://example.com/", &o)
			require.NoError(t, err)
			rng := rand.New(rand.NewPCG(*seed, 1))
			sent, moves := 0, 0
			for down.Count() < n {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(20))*time.Millisecond)
				writing := make(chan struct{})
				go func() {
					defer close(writing)
					for ; sent < n && sent < down.Count()+300; sent++ {
						time.Sleep(time.Millisecond / 2)
						if ctx.Err() != nil || c.WriteElement(ctx, boshtest.Numbered(sent, sent%30)) != nil {
							return // nothing of it was queued
						}
					}
				}()
				for {
					element, err := c.ReadElement(ctx)
					if err != nil {
						require.ErrorIs(t, err, context.DeadlineExceeded, "after %d: %+v", down.Count(), c.Stats())
						break
					}
					number, _ := boshtest.Number(element)
					down.Got(number)
				}
				<-writing
				cancel()
				if rng.IntN(2) == 0 {
					c, moves = moved(t, c, &o), moves+1
				}
			}
			require.NoError(t, down.Check(n))
			require.NoError(t, c.Terminate(day(t)))
			require.NoError(t, c.CloseNow())
			t.Logf("%d moves, %+v", moves, f.Stats())
			assert.Equal(t, int64(1), h.Stats().Created)
			assert.Equal(t, map[string]int64{"closed": 1}, h.Stats().Ended)
		})
	}
}

// A stream of XMPP goes on in the middle, and what was written in part is completed.
func TestResumeXMPP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{})
		o := boshclient.Options{HTTPClient: over(h, nil)}
		c, err := boshclient.Dial(t.Context(), "http://example.com/", &o)
		// No features come: the server is played by hand.
		require.NoError(t, err)
		s, err := h.Listener().Accept()
		require.NoError(t, err)
		write(t, c, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.com' version='1.0'>")
		write(t, c, "<message id='1'><bo")
		write(t, s, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='x' version='1.0'><message id='2'/><success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		synctest.Wait()
		c = moved(t, c, &o)
		defer c.CloseNow()
		write(t, c, "dy/></message>")
		requireRead(t, c, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='x' from='example.com' version='1.0'>")
		requireRead(t, c, "<message xmlns='jabber:client' id='2'/><success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		requireRead(t, s, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.com' version='1.0' xml:lang='en'>")
		requireRead(t, s, "<message xmlns='jabber:client' id='1'><body/></message>")
		c = moved(t, c, &o)
		write(t, c, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.com' version='1.0'>")
		requireRead(t, s, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.com' version='1.0' xml:lang='en'>")
		c = moved(t, c, &o)
		defer c.CloseNow()
		write(t, s, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='y' version='1.0'><stream:features/>")
		head := make([]byte, 20)
		_, err = io.ReadFull(c, head)
		require.NoError(t, err)
		assert.Equal(t, "<stream:stream xmlns", string(head))
		write(t, c, "</stream:stream>")
		requireRead(t, s, "</stream:stream>")
	})
}

// A session that the server has opened by itself is gone on with.
func TestResumePrebound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements})
		post := func(body string) *boshtest.Response { return boshtest.Exchange(t, boshtest.InMemory(h), body) }
		sid := post("<body rid='10' to='example.com' ver='1.6' wait='60' hold='1' xmlns='" + boshtest.NSBind + "'/>").Attr("sid")
		s, err := h.Listener().Accept()
		require.NoError(t, err)
		st := &boshclient.State{URL: "http://example.com/", Sid: sid, Rid: 11}
		c, err := boshclient.Resume(t.Context(), st, &boshclient.Options{Framing: boshclient.Elements, HTTPClient: over(h, nil)})
		require.NoError(t, err)
		defer c.CloseNow()
		require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
		requireRead(t, s, "<a xmlns='u'/>")
		write(t, s, "<b xmlns='u'/>")
		requireRead(t, c, "<b xmlns='u'/>")
		assert.Equal(t, boshclient.Granted{Wait: time.Minute, Hold: 1, Requests: 2, Ver: "1.6"}, c.Granted())
	})
}

func TestStateErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, MaxStreams: 2, Serve: func(s *bosh.Stream) { io.Copy(s, s) }})
		o := boshclient.Options{Framing: boshclient.Elements}
		c := dial(t, h, nil, o)
		_, err := c.State()
		assert.ErrorContains(t, err, "call CloseNow first")
		require.NoError(t, c.Terminate(t.Context()))
		require.NoError(t, c.CloseNow())
		_, err = c.State()
		assert.ErrorIs(t, err, io.EOF, "it had ended")

		c = dial(t, h, nil, o)
		_, err = c.OpenStream(t.Context(), "b.example")
		require.NoError(t, err)
		require.NoError(t, c.CloseNow())
		_, err = c.State()
		assert.ErrorContains(t, err, "several streams")

		c = dial(t, h, nil, o)
		synctest.Wait() // it polls
		require.NoError(t, c.CloseNow())
		st, err := c.State()
		require.NoError(t, err)
		for _, text := range []string{fmt.Sprint(st), fmt.Sprintf("%+v %#v", *st, *st)} {
			assert.NotContains(t, text, st.Sid)
		}
		o.HTTPClient = over(h, nil)
		for name, change := range map[string]func(*boshclient.State, *boshclient.Options){
			"no sid":   func(st *boshclient.State, _ *boshclient.Options) { st.Sid = "" },
			"no rid":   func(st *boshclient.State, _ *boshclient.Options) { st.Rid = 0 },
			"shifted":  func(st *boshclient.State, _ *boshclient.Options) { st.Rid++ },
			"other":    func(st *boshclient.State, _ *boshclient.Options) { st.Sid += "x" },
			"no url":   func(st *boshclient.State, _ *boshclient.Options) { st.URL = "" },
			"framing":  func(_ *boshclient.State, o *boshclient.Options) { o.Framing = boshclient.Opaque },
			"no state": func(st *boshclient.State, _ *boshclient.Options) { *st = boshclient.State{} },
		} {
			st, o := *st, o
			change(&st, &o)
			_, err := boshclient.Resume(t.Context(), &st, &o)
			assert.Error(t, err, name)
		}
		h.Close()
		c, err = boshclient.Resume(t.Context(), st, &o)
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		var cond boshclient.Condition
		require.True(t, errors.As(err, &cond), "%v", err)
		require.NoError(t, c.CloseNow())
		_, err = c.State()
		assert.ErrorIs(t, err, cond)
		assert.ErrorIs(t, c.CloseNow(), net.ErrClosed)
	})
}

// A state that was damaged is refused, and none of them does harm.
func TestDamagedState(t *testing.T) {
	_, err := boshclient.Resume(t.Context(), nil, nil)
	assert.ErrorContains(t, err, "not the state of a session")
	const start = `{"URL":"http://example.com","Sid":"a","Rid":10,`
	open := func(more string) string {
		text := base64.StdEncoding.EncodeToString([]byte("<body rid='9' sid='a'" + ns + "/>"))
		return start + `"Saved":{"Framing":1,"Open":[{"Text":"` + text + `",` + more + `}]}}`
	}
	for name, text := range map[string]string{
		"null":             `null`,
		"rid too large":    `{"URL":"http://example.com","Sid":"a","Rid":9223372036854775807}`,
		"negative wait":    start + `"Granted":{"Wait":-5},"Saved":{"Framing":1}}`,
		"endless wait":     start + `"Granted":{"Wait":9223372036854775807},"Saved":{"Framing":1}}`,
		"another framing":  start + `"Saved":{"Framing":2}}`,
		"no framing":       start + `"Saved":{"Framing":7}}`,
		"half an element":  start + `"Saved":{"Framing":1,"Out":[{"Data":"PGI="}]}}`,
		"keys used up":     start + `"Saved":{"Framing":1,"KeyLen":5}}`,
		"a further stream": open(`"Kind":3`),
		"a kind of none":   open(`"Kind":99`),
		"negative pause":   open(`"Kind":4,"Pause":-5`),
	} {
		var st boshclient.State
		require.NoError(t, json.Unmarshal([]byte(text), &st), name)
		c, err := boshclient.Resume(t.Context(), &st, &boshclient.Options{Framing: boshclient.Elements, HTTPClient: over(http.NotFoundHandler(), nil)})
		assert.Error(t, err, name)
		if err == nil {
			c.CloseNow()
		}
	}
}

// OpenStream may be under way when a session is put aside. Whether the server has opened
// the stream is then unknown. It may also not have been sent.
func TestStateWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, MaxStreams: 2, Serve: func(s *bosh.Stream) { io.Copy(s, s) }})
		held := make(chan struct{})
		var hold atomic.Bool
		o := boshclient.Options{Framing: boshclient.Elements, HTTPClient: over(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hold.Load() {
				<-held
			}
			h.ServeHTTP(w, r)
		}), nil)}
		for name, writes := range map[string]int{"sent": 0, "unsent": 2} {
			hold.Store(false)
			c, err := boshclient.Dial(t.Context(), "https://example.com/bind", &o)
			require.NoError(t, err)
			synctest.Wait() // it polls
			hold.Store(true)
			for range writes { // fills the window
				require.NoError(t, c.WriteElement(t.Context(), []byte("<a xmlns='u'/>")))
				synctest.Wait()
			}
			go c.OpenStream(t.Context(), "b.example")
			synctest.Wait()
			require.NoError(t, c.CloseNow())
			st, err := c.State()
			if writes == 0 {
				assert.ErrorContains(t, err, "several streams", name)
				continue
			}
			require.NoError(t, err, name)
			hold.Store(false)
			c, err = boshclient.Resume(t.Context(), st, &o)
			require.NoError(t, err, name)
			for range writes {
				b, err := c.ReadElement(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "<a xmlns='u'/>", string(b))
			}
			require.NoError(t, c.CloseNow())
		}
		close(held)
	})
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	n, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.Equal(t, len(text), n)
}

// requireRead reads what must come.
func requireRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	require.NoError(t, err, "got %q", got[:n])
	require.Equal(t, want, string(got))
}
