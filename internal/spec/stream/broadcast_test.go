package stream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
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

// An audience is sessions of one Handler.
type audience struct {
	h       *bosh.Handler
	streams []*bosh.Stream
	peers   []*Peer
}

func gather(t *testing.T, n int, o bosh.Options) *audience {
	o.Framing = bosh.Elements
	a := &audience{h: NewHandler(t, o)}
	for range n {
		a.peers = append(a.peers, Dial(t, boshtest.InMemory(a.h)))
		a.streams = append(a.streams, Accept(t, a.h))
	}
	return a
}

func payloads(r *boshtest.Response) string { return string(bytes.Join(r.Payloads, nil)) }

// Whoever holds a request gets an event at once, whoever does not with the next one, and
// both in order with all else that is written.
func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := gather(t, 3, bosh.Options{})
		held := a.peers[0].Hold("")
		require.NoError(t, a.streams[1].WriteElement(t.Context(), []byte("<before xmlns='u'/>")))
		event := []byte("<e xmlns='u'/> <f/>")
		skipped, err := a.h.Broadcast(event, nil)
		require.NoError(t, err)
		require.Empty(t, skipped)
		clear(event) // it is the caller's
		require.NoError(t, a.streams[1].WriteElement(t.Context(), []byte("<between xmlns='u'/>")))
		skipped, err = a.h.Broadcast([]byte("<g xmlns='u'/>"), slices.Values(a.streams[1:]))
		require.NoError(t, err)
		require.Empty(t, skipped)
		const both = "<e xmlns='u'/><f xmlns=''/>"
		assert.Equal(t, both, payloads(held.Wait()))
		assert.Equal(t, "<before xmlns='u'/>"+both+"<between xmlns='u'/><g xmlns='u'/>", payloads(a.peers[1].Send("")))
		assert.Equal(t, both+"<g xmlns='u'/>", payloads(a.peers[2].Send("")))
		stats := a.streams[1].Session().Stats()
		assert.EqualValues(t, 5, stats.PayloadsOut)
		assert.Zero(t, stats.Queued)
	})
}

// An answer that many sessions share is repeated as it was, and is not the room for the
// next one. B14.3-2
func TestBroadcastRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := gather(t, 2, bosh.Options{})
		event := []byte("<e xmlns='u'>" + strings.Repeat("x", 100) + "</e>")
		held := []*boshtest.Call{a.peers[0].Hold(""), a.peers[1].Hold("")}
		_, err := a.h.Broadcast(event, nil)
		require.NoError(t, err)
		for _, c := range held {
			require.Equal(t, string(event), payloads(c.Wait()))
		}
		first := a.peers[0]
		for i := range 5 {
			c := first.Hold("")
			other := strings.Replace(string(event), "xxx", fmt.Sprint("yy", i), 1)
			require.NoError(t, a.streams[0].WriteElement(t.Context(), []byte(other)))
			require.Equal(t, other, payloads(c.Wait()))
		}
		again := boshtest.Post(t, a.peers[1].Rt, a.peers[1].Body(a.peers[1].Rid, "")).Wait()
		assert.Equal(t, string(event), payloads(again))
	})
}

// Nobody waits for a slow client: it gets nothing, and Broadcast says so.
func TestBroadcastSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := gather(t, 7, bosh.Options{WriteBuffer: 100})
		slow, blocked, gone, closed, late, partial, good := a.streams[0], a.streams[1], a.streams[2], a.streams[3], a.streams[4], a.streams[5], a.streams[6]
		full := "<full xmlns='u'>" + strings.Repeat("x", 100) + "</full>"
		require.NoError(t, slow.WriteElement(t.Context(), []byte(full)))
		require.NoError(t, blocked.WriteElement(t.Context(), []byte(full)))
		w := Async(func() error { return blocked.WriteElement(context.Background(), []byte("<b xmlns='u'/>")) })
		require.True(t, Pending(w))
		a.peers[2].Send("", "type='terminate'")
		require.NoError(t, closed.Close())
		require.NoError(t, late.SetWriteDeadline(time.Now().Add(-Second)))
		_, err := partial.Write([]byte("<half xmlns='u'>"))
		require.NoError(t, err)
		stranger, _ := Connect(t, Elements())
		xmpp, _ := Connect(t, bosh.Options{})

		all := append(slices.Clone(a.streams), stranger, xmpp)
		skipped, err := a.h.Broadcast([]byte("<e xmlns='u'/>"), slices.Values(all))
		require.NoError(t, err)
		why := make(map[*bosh.Stream]error)
		for _, s := range skipped {
			why[s.Stream] = s.Err
		}
		assert.Len(t, skipped, len(all)-1)
		assert.NoError(t, why[good])
		assert.ErrorIs(t, why[slow], bosh.ErrFull)
		assert.ErrorIs(t, why[blocked], bosh.ErrFull)
		assert.ErrorContains(t, why[gone], "EOF")
		assert.ErrorIs(t, why[closed], net.ErrClosed)
		assert.ErrorIs(t, why[late], os.ErrDeadlineExceeded)
		assert.ErrorContains(t, why[partial], "not whole")
		assert.ErrorContains(t, why[stranger], "another Handler")
		assert.Error(t, why[xmpp])
		assert.Equal(t, full, payloads(a.peers[0].Send("")))
		assert.Equal(t, "<e xmlns='u'/>", payloads(a.peers[6].Send("")))
		require.NoError(t, <-Async(func() error { a.peers[1].Send(""); return <-w }))
	})
}

// What is no good reaches nobody.
func TestBroadcastChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := gather(t, 1, bosh.Options{MaxElement: 100})
		for _, bad := range []string{"<a>", "<a/><b", "text", "<a>" + strings.Repeat("x", 100) + "</a>", "<!--c-->"} {
			skipped, err := a.h.Broadcast([]byte(bad), nil)
			assert.Error(t, err, bad)
			assert.Empty(t, skipped)
		}
		skipped, err := a.h.Broadcast(nil, nil)
		assert.NoError(t, err)
		assert.Empty(t, skipped)
		assert.Zero(t, a.streams[0].Session().Stats().Queued)
	})
}

// What was broadcast and has not arrived is handed back, to each its own copy.
func TestBroadcastUndelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := gather(t, 2, bosh.Options{})
		held := a.peers[0].Hold("")
		for _, e := range []string{"<e xmlns='u'/>", "<f xmlns='u'/>"} {
			_, err := a.h.Broadcast([]byte(e), nil)
			require.NoError(t, err)
			synctest.Wait()
		}
		held.Wait()
		var got []string
		for _, st := range a.streams {
			st.Session().Terminate(nil)
		}
		time.Sleep(time.Hour)
		for _, st := range a.streams {
			for p := range st.Undelivered() {
				got = append(got, fmt.Sprint(string(p.Data), p.Sent))
				clear(p.Data)
			}
		}
		assert.Equal(t, []string{"<e xmlns='u'/>true", "<f xmlns='u'/>false", "<e xmlns='u'/>false", "<f xmlns='u'/>false"}, got)
	})
}

// However many sessions wait for an event, or may ask for it again, it counts once.
func TestBroadcastMemory(t *testing.T) {
	const n, size = 100, 10_000
	a := gather(t, n, bosh.Options{})
	memory := func() int64 { return a.h.Stats().Memory }
	before := memory()
	event := []byte("<e xmlns='u'>" + strings.Repeat("x", size) + "</e>")
	_, err := a.h.Broadcast(event, nil)
	require.NoError(t, err)
	assert.InDelta(t, size, memory()-before, 1000, "which waits")
	for _, p := range a.peers {
		require.Equal(t, string(event), payloads(p.Send("")))
	}
	assert.InDelta(t, size, memory()-before, 1000, "which may be asked for again")
	for i, p := range a.peers {
		for range 3 {
			require.NoError(t, a.streams[i].WriteElement(t.Context(), []byte("<other xmlns='u'/>")))
			p.Send("")
		}
	}
	for range 200 {
		if memory() < before+size/2 {
			return
		}
		runtime.GC() // what the clients keep in memory is theirs
		time.Sleep(10 * time.Millisecond)
	}
	assert.Fail(t, "it counts although nobody has it", "%d", memory())
}

// Sessions come, go and answer while there are broadcasts: each gets those in order.
func TestBroadcastConcurrently(t *testing.T) {
	const n, events = 20, 200
	a := gather(t, n, bosh.Options{})
	var wg sync.WaitGroup
	for _, p := range a.peers {
		wg.Go(func() {
			for next := 0; next < events; {
				for _, e := range p.Send("").Payloads {
					if want := fmt.Sprintf("<e xmlns='u' n='%d'/>", next); !assert.Equal(t, want, string(e)) {
						return
					}
					next++
				}
			}
		})
	}
	for i := range events {
		skipped, err := a.h.Broadcast(fmt.Appendf(nil, "<e xmlns='u' n='%d'/>", i), slices.Values(a.streams))
		require.NoError(t, err)
		require.Empty(t, skipped)
	}
	wg.Wait()
}

// TryWrite takes what there is room for, and does not wait.
func TestTryWrite(t *testing.T) {
	for _, framing := range []bosh.Framing{bosh.Elements, bosh.Opaque, bosh.XMPP} {
		t.Run(framing.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Connect(t, bosh.Options{Framing: framing, WriteBuffer: 500, CreateTimeout: -1})
				text := strings.Join(numbered(100, 10), "")
				if framing == bosh.XMPP {
					_, err := s.Write([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='" + NsStream + "' version='1.0'>"))
					require.NoError(t, err)
				}
				n, err := s.TryWrite([]byte(text))
				require.ErrorIs(t, err, bosh.ErrFull)
				require.Positive(t, n)
				require.Less(t, n, 700)
				none, err := s.TryWrite([]byte(text[n:]))
				require.ErrorIs(t, err, bosh.ErrFull)
				require.Zero(t, none)
				got := data(t, framing, p.Send(""))
				for n < len(text) {
					took, err := s.TryWrite([]byte(text[n:]))
					require.Positive(t, took)
					if n += took; n < len(text) {
						require.ErrorIs(t, err, bosh.ErrFull)
					} else {
						require.NoError(t, err)
					}
					got += data(t, framing, p.Send(""))
				}
				assert.Equal(t, text, got)

				w := GoWrite(s, text)
				require.True(t, Pending(w))
				_, err = s.TryWrite([]byte("x"))
				require.ErrorIs(t, err, bosh.ErrFull, "another Write is blocked")
				require.NoError(t, s.Close())
				<-w
				_, err = s.TryWrite([]byte("x"))
				require.ErrorIs(t, err, net.ErrClosed)
			})
		})
	}
}

// TryWrite fails as Write does.
func TestTryWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		n, err := s.TryWrite(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		require.NoError(t, s.SetWriteDeadline(time.Now()))
		_, err = s.TryWrite([]byte("<a xmlns='u'/>"))
		RequireTimeout(t, err)
		require.NoError(t, s.SetWriteDeadline(time.Time{}))
		_, err = s.TryWrite([]byte("<a></b>"))
		require.Error(t, err)
		require.NotErrorIs(t, err, bosh.ErrFull)
		RequireEnd(t, p.Send(""), bosh.InternalServerError)
	})
}

// JSON goes both ways in containers. XEP-0335
func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		for _, v := range []any{nil, "a <b> & 'c' \"d\" ]]> \x00\x1f\u007f\ufffe\uffff\ufffd\uffee€😀\u2028 \xff", 1.5, map[string]any{"\ufffe": []any{true}}, []any{}} {
			require.NoError(t, s.WriteJSON(t.Context(), v))
			r := p.Send("")
			require.Len(t, r.Payloads, 1)
			var back, want any
			require.NoError(t, bosh.DecodeJSON(r.Payloads[0], &back))
			text, err := json.Marshal(v)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &want))
			assert.Equal(t, want, back)
			p.Send(string(r.Payloads[0]), "type='x'")
			back = nil
			require.NoError(t, s.ReadJSON(t.Context(), &back))
			assert.Equal(t, want, back)
		}
		var text string
		p.Send(`<j:json xmlns:j='urn:xmpp:json:0' a='>'> "&lt;&#x20AC;<![CDATA[<&amp;]]>&quot;` + "</j:json>")
		require.NoError(t, s.ReadJSON(t.Context(), &text))
		assert.Equal(t, "<€<&amp;", text)
	})
}

// An element that is no container, or has other JSON, is an error that has it; the
// stream goes on.
func TestJSONErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		var n int
		for element, cause := range map[string]any{
			"<json xmlns='u'>1</json>":                     nil,
			"<x xmlns='urn:xmpp:json:0'>1</x>":             nil,
			"<json xmlns='urn:xmpp:json:0'>1<a/></json>":   nil,
			"<json xmlns='urn:xmpp:json:0'/>":              new(*json.SyntaxError),
			"<json xmlns='urn:xmpp:json:0'>{</json>":       new(*json.SyntaxError),
			"<json xmlns='urn:xmpp:json:0'>\"1\"</json>":   new(*json.UnmarshalTypeError),
			"<json xmlns='urn:xmpp:json:0'>1 2</json>":     new(*json.SyntaxError),
			"<json xmlns='urn:xmpp:json:0'>\u00a01</json>": new(*json.SyntaxError),
		} {
			p.Send(element + "<json xmlns='urn:xmpp:json:0'>\t7\r\n</json>")
			err := s.ReadJSON(t.Context(), &n)
			var e *bosh.JSONError
			require.ErrorAs(t, err, &e, element)
			assert.Equal(t, element, string(e.Element))
			if cause != nil {
				assert.ErrorAs(t, err, cause, element)
			} else {
				assert.ErrorContains(t, err, "no <json xmlns='urn:xmpp:json:0'/>", element)
			}
			require.NoError(t, s.ReadJSON(t.Context(), &n))
			require.Equal(t, 7, n)
		}
		assert.Error(t, s.WriteJSON(t.Context(), make(chan int)))
		require.NoError(t, s.WriteJSON(t.Context(), 1), "nothing was sent")
		for _, bad := range []string{"", "<json", "text", "<json xmlns='urn:xmpp:json:0'>1</json><x/>"} {
			assert.ErrorAs(t, bosh.DecodeJSON([]byte(bad), &n), new(*bosh.JSONError), bad)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.ErrorIs(t, s.ReadJSON(ctx, &n), context.Canceled)

		xmpp, _ := Connect(t, bosh.Options{})
		assert.ErrorContains(t, xmpp.WriteJSON(t.Context(), 1), "WriteJSON is for a stream of Elements")
		assert.ErrorContains(t, xmpp.ReadJSON(t.Context(), &n), "ReadJSON is for a stream of Elements")
	})
}
