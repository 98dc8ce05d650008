package attack_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// All sessions together keep no more than they may: who keeps most of it goes.
func TestMaxMemory(t *testing.T) {
	const limit = 100 << 10
	big := X(strings.Repeat("x", limit*2/5))
	deaf := With(func(o *bosh.Options) {
		o.MaxMemory, o.ReadBuffer = limit, 1<<20
		o.Serve = func(st *bosh.Stream) { <-st.Context().Done() }
	})
	open := func(b *Harness) *Session {
		return &Session{B: b, Sid: b.Post(Complete(StdCreation)).Body().Attr("sid")}
	}
	Bubble(t, "unread input", deaf, func(b *Harness) {
		hog, modest := open(b), open(b)
		for rid := range int64(2) {
			hog.Send(1001+rid, big)
		}
		open(b).Send(1001, big) // now it is too much
		b.Post(Complete(StdCreation)).GetsNow(Condition(bosh.PolicyViolation))
		first := modest.Send(1001, X("a"))
		first.Waits()
		modest.Send(1002, X("b")).Waits()
		first.GetsNow(Empty)
		hog.Send(1002, big).Waits() // a repeat needs no room
		hog.Send(1003).GetsNow(Condition(bosh.PolicyViolation))
		assert.Less(b, b.H.Stats().Memory, int64(limit/2))
		open(b)
	})

	Bubble(t, "early requests", With(func(o *bosh.Options) { o.MaxMemory, o.Hold = limit, 4 }), func(b *Harness) {
		s := b.Create("to='example.com' hold='4' wait='60' ver='1.11'")
		s.Send(1002, big).Waits()
		s.Send(1003, big).Waits()
		assert.InDelta(b, 2*len(big), b.H.Stats().Memory, 20<<10, "no more than there is, though buffers are larger")
		s.Send(1004, big).Breaks()
		s.Send(1005, X("a")).GetsNow(Condition(bosh.PolicyViolation))
		assert.Zero(b, b.H.Stats().Memory)
	})

	Bubble(t, "answers that a client never acknowledges", With(func(o *bosh.Options) {
		o.MaxMemory, o.ReplayBuffer = limit, 1<<20
	}), func(b *Harness) {
		s := b.Create(StdAttrs + " ack='1'")
		rid := int64(1001)
		for ; b.H.Stats().Memory <= limit; rid++ {
			require.Less(b, rid, int64(1100))
			c := s.Send(rid, "ack='1000'")
			s.App.Writes(big)
			c.Answer()
		}
		s.Send(rid, "ack='1000'").GetsNow(Condition(bosh.PolicyViolation))
		assert.Zero(b, b.H.Stats().Memory)
		assert.Error(b, s.App.Session().Err())
	})

	Bubble(t, "the room for an answer is no reason to end a session", With(func(o *bosh.Options) { o.MaxMemory = limit }), func(b *Harness) {
		s := b.Create()
		for rid := range int64(5) {
			c := s.Send(1001+rid, big)
			s.App.Reads(big)
			s.App.Writes(big)
			c.GetsNow(Answer(big))
		}
		s.Send(1006).Waits()
		s.Send(1007, X("a")).Waits()
		s.App.Reads(X("a"))
		s.Alive()
	})

	Bubble(t, "a session alone may have all of it", With(func(o *bosh.Options) { o.MaxMemory = limit }), func(b *Harness) {
		s := b.Create()
		for rid := range int64(50) {
			c := s.Send(1001+rid, big)
			s.App.Reads(big)
			s.App.Writes(big)
			c.GetsNow(Answer(big))
		}
		s.Alive()
		b.Create()
		s.Send(1051, "type='terminate'").GetsNow(End)
		assert.Positive(b, b.H.Stats().Memory, "kept for repeats")
		b.Wait(time.Hour)
		assert.Zero(b, b.H.Stats().Memory)
	})
}

// What is counted is what there is, whatever the application does first.
func TestMemoryIsGivenBack(t *testing.T) {
	for name, leave := range map[string]func(b *Harness, s *Session, st *bosh.Stream){
		"read": func(b *Harness, s *Session, st *bosh.Stream) {
			io.CopyN(io.Discard, st, 50_000)
		},
		"read little by little": func(b *Harness, s *Session, st *bosh.Stream) {
			for p := make([]byte, 100); st.Session().Stats().Unread > 5_000; {
				st.Read(p)
			}
		},
		"closed by the application": func(b *Harness, s *Session, st *bosh.Stream) { st.Close() },
		"closed by the handler":     func(b *Harness, s *Session, st *bosh.Stream) { b.H.Close() },
		"terminated":                func(b *Harness, s *Session, st *bosh.Stream) { s.Send(1002, "type='terminate'") },
		"failed":                    func(b *Harness, s *Session, st *bosh.Stream) { s.Send(2000) },
	} {
		streams := make(chan *bosh.Stream, 1)
		Bubble(t, name, With(func(o *bosh.Options) {
			o.Serve = func(st *bosh.Stream) { streams <- st; <-st.Context().Done() }
		}), func(b *Harness) {
			s := &Session{B: b, Sid: b.Post(Complete(StdCreation)).Body().Attr("sid")}
			st := <-streams
			s.Send(1001, X(strings.Repeat("x", 60_000)))
			assert.Greater(b, b.H.Stats().Memory, int64(60_000))
			leave(b, s, st)
			b.Wait(0)
			assert.Less(b, b.H.Stats().Memory, int64(18_000), "the least of the buffers that are lent, at most")
		})
	}
}

// shapes are payloads of about n bytes that take much room in one way or another.
var shapes = map[string]func(n int) string{
	"tiny elements":  func(n int) string { return strings.Repeat("<a/>", min(n/4, 4096)) },
	"small elements": func(n int) string { return strings.Repeat("<a xmlns='u'>b</a>", min(n/18, 4096)) },
	"one element":    func(n int) string { return X(strings.Repeat("x", n)) },
	"few elements":   func(n int) string { return strings.Repeat(X(strings.Repeat("x", n/5)), 5) },
	"attributes": func(n int) string {
		var el strings.Builder
		el.WriteString("<a xmlns='u'")
		for i := range 60 {
			fmt.Fprintf(&el, " a%d='b'", i)
		}
		el.WriteString("/>")
		return strings.Repeat(el.String(), max(n/el.Len(), 1))
	},
	"long names": func(n int) string { return "<" + strings.Repeat("a", n) + " xmlns='u'/>" },
	"nested":     func(n int) string { return strings.Repeat(Nested(100), max(n/700, 1)) },
	"prefixes": func(n int) string {
		return strings.Repeat("<p:a xmlns:p='"+strings.Repeat("u", 90)+"'><p:b/></p:a>", max(n/120, 1))
	},
	"namespace of the wrapper": func(n int) string {
		return strings.Repeat("<a xmlns='"+NsBind+"'><b xmlns='"+NsBind+"'/></a>", max(n/100, 1))
	},
	"prefix of the wrapper": func(n int) string { return strings.Repeat("<p:a/>", n/20) },
	"JSON": func(n int) string {
		return "<json xmlns='urn:xmpp:json:0'>{" + strings.Repeat(`"key":"value &lt;&amp;",`, n/24) + `"end":true}</json>`
	},
	"data": func(n int) string {
		return "<data xmlns='" + bosh.OpaqueNS + "'>" + base64.StdEncoding.EncodeToString(make([]byte, n*3/4)) + "</data>"
	},
}

// MaxMemory counts what there is: whatever a client sends, and whoever keeps it and why,
// the heap has no more than half as much again.
func TestHeapPerCountedByte(t *testing.T) {
	if OneOf > 1 {
		t.Skip("what the race detector finds in this, others have it find")
	}
	const worst = 1.5
	var unblock chan bool
	deaf := func(st *bosh.Stream) { <-unblock }
	receives := func(st *bosh.Stream) { st.Receive(func([]byte, error) { <-unblock }) }
	unread := func(s *Session, parts ...string) { s.Send(1001, parts...).Breaks() }
	ends := func(s *Session, parts ...string) {
		unread(s, parts...)
		s.Send(1002, "type='terminate'")
	}
	for name, state := range map[string]struct {
		serve func(st *bosh.Stream)
		send  func(s *Session, parts ...string)
	}{
		"early": {deaf, func(s *Session, parts ...string) { s.Send(1002, parts...).Breaks() }},
		"early, several": {deaf, func(s *Session, parts ...string) {
			for rid := range int64(3) {
				s.Send(1002+rid, parts...).Breaks()
			}
		}},
		"unread": {deaf, unread},
		"read in part": {func(st *bosh.Stream) {
			st.Read(make([]byte, 10))
			<-unblock
		}, unread},
		"in the hands of WriteTo":                       {func(st *bosh.Stream) { io.Copy(writer(func(p []byte) { <-unblock }), st) }, unread},
		"in the hands of Receive":                       {receives, unread},
		"unread, and the session over":                  {deaf, ends},
		"in the hands of Receive, and the session over": {receives, ends},
	} {
		for _, framing := range []bosh.Framing{bosh.XMPP, bosh.Elements, bosh.Opaque} {
			if framing != bosh.XMPP && !strings.Contains(name, "Receive") {
				continue
			}
			o := With(func(o *bosh.Options) {
				o.Framing, o.Serve, o.ReadBuffer, o.CreateTimeout, o.Hold = framing, state.serve, 1<<20, -1, 4
			})
			Bubble(t, fmt.Sprint(name, ", ", framing), o, func(b *Harness) {
				unblock = make(chan bool) // of this bubble
				defer func() {
					close(unblock)
					b.Wait(time.Hour)
					assert.Zero(b, b.H.Stats().Memory)
				}()
				open := func() *Session {
					return &Session{B: b, Sid: b.Post(Complete("<body rid='1000' to='a' hold='4' wait='60' ver='1.11'/>")).Body().Attr("sid")}
				}
				sessions := make([]*Session, 20)
				for shape, payload := range shapes {
					if (framing == bosh.Opaque) != (shape == "data") {
						continue
					}
					for i := range sessions {
						sessions[i] = open()
					}
					before, counted := Heap(), b.H.Stats().Memory
					for _, s := range sessions {
						state.send(s, "xmlns:p='"+strings.Repeat("u", 100)+"'", payload(16<<10))
					}
					grown := Heap() - before
					counted = b.H.Stats().Memory - counted
					assert.Greater(b, counted, int64(len(sessions)*4<<10), shape)
					assert.LessOrEqual(b, float64(grown)/float64(counted), worst, "%s: the heap grows by %d", shape, grown)
					assert.LessOrEqual(b, float64(counted)/float64(grown), worst, "%s: nothing counts that is not there", shape)
				}
			})
		}
	}
}

// A writer does something with what is written.
type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// What an application takes and is not done with counts, and the client waits for it as
// for what has not been taken.
func TestInputInOtherHands(t *testing.T) {
	if Relayed() {
		t.Skip("it counts to the byte, and there are others")
	}
	const limit = 1 << 20
	body := X(strings.Repeat("x", 200<<10))
	for name, take := range map[string]func(st *bosh.Stream, f func()){
		"WriteTo": func(st *bosh.Stream, f func()) { io.Copy(writer(func([]byte) { f() }), st) },
		"Receive": func(st *bosh.Stream, f func()) { st.Receive(func([]byte, error) { f() }) },
		"Read":    func(st *bosh.Stream, f func()) { f() },
	} {
		var unblock chan bool
		Bubble(t, name, With(func(o *bosh.Options) {
			o.MaxMemory, o.MaxBody = limit, 256<<10
			o.Serve = func(st *bosh.Stream) {
				take(st, func() { <-unblock })
				io.Copy(io.Discard, st)
			}
		}), func(b *Harness) {
			unblock = make(chan bool)
			sessions := make([]*Session, 10)
			for i := range sessions {
				sessions[i] = &Session{B: b, Sid: b.Post(Complete(StdCreation)).Body().Attr("sid")}
			}
			var held []*Call
			refused := 0
			for _, s := range sessions {
				c := s.Send(1001, body)
				b.Wait(0)
				if c.Reply.Load() != nil {
					c.GetsNow(Condition(bosh.PolicyViolation))
					refused++
					continue
				}
				s.Send(1002, X("a"))
				c.Waits()
				held = append(held, c)
			}
			assert.Positive(b, refused, "there is no room for more")
			assert.Less(b, b.H.Stats().Memory, int64(limit+limit/4))
			assert.EqualValues(b, len(held)*len(body+X("a")), b.H.Stats().Unread)
			close(unblock)
			b.Wait(0)
			for _, c := range held {
				c.GetsNow(Empty)
			}
			assert.Zero(b, b.H.Stats().Unread)
			assert.Less(b, b.H.Stats().Memory, int64(64<<10))
		})
	}
}

// One who goes on sending while the application is busy with what it has taken is ended
// as if nothing had been taken.
func TestFloodInOtherHands(t *testing.T) {
	var unblock chan bool
	for name, take := range map[string]func(st *bosh.Stream){
		"WriteTo": func(st *bosh.Stream) { io.Copy(writer(func([]byte) { <-unblock }), st) },
		"Receive": func(st *bosh.Stream) { st.Receive(func([]byte, error) { <-unblock }) },
	} {
		Bubble(t, name, With(func(o *bosh.Options) {
			o.MaxBody, o.ReadBuffer = 100<<10, 10<<10
			o.Serve = take
		}), func(b *Harness) {
			unblock = make(chan bool)
			s := &Session{B: b, Sid: b.Post(Complete(StdCreation)).Body().Attr("sid")}
			sent := 0
			for rid := int64(1001); ; rid++ {
				c := s.Send(rid, "pause='1'", X(strings.Repeat("x", 50<<10))) // which is answered at once
				if c.Body().Attr("condition") == string(bosh.PolicyViolation) {
					break
				}
				sent += 50 << 10
				require.Less(b, sent, 1<<20)
			}
			assert.InDelta(b, 10<<10+2*100<<10, sent, 60<<10)
			close(unblock)
		})
	}
}

// A writer or receiver that panics or fails leaves nothing that counts.
func TestHandsThatFail(t *testing.T) {
	for name, take := range map[string]func(st *bosh.Stream){
		"WriteTo fails": func(st *bosh.Stream) {
			io.Copy(&Failing{}, st)
			<-st.Context().Done()
		},
		"WriteTo panics": func(st *bosh.Stream) {
			func() {
				defer func() { recover() }()
				io.Copy(writer(func([]byte) { panic("oops") }), st)
			}()
			<-st.Context().Done()
		},
		"Receive panics": func(st *bosh.Stream) { st.Receive(func([]byte, error) { panic("oops") }) },
		"Receive exits":  func(st *bosh.Stream) { st.Receive(func([]byte, error) { runtime.Goexit() }) },
		"Receive closes": func(st *bosh.Stream) { st.Receive(func([]byte, error) { st.Close() }) },
	} {
		Bubble(t, name, With(func(o *bosh.Options) { o.Serve = take }), func(b *Harness) {
			s := &Session{B: b, Sid: b.Post(Complete(StdCreation)).Body().Attr("sid")}
			s.Send(1001, X(strings.Repeat("x", 50<<10)))
			assert.Less(b, b.H.Stats().Memory, int64(4<<10))
			assert.Zero(b, b.H.Stats().Unread)
		})
	}
}

// Admit may take its time, and so what a creation carries is kept as it came.
func TestMemoryInAdmit(t *testing.T) {
	answer := make(chan bool)
	Bubble(t, "", With(func(o *bosh.Options) {
		o.Admit = func(ctx context.Context, _ *http.Request, _ *bosh.Opening) (context.Context, error) {
			<-answer
			return ctx, nil
		}
	}), func(b *Harness) {
		answer = make(chan bool)
		const n = 30
		payload := strings.Repeat("<a/>", 4096)
		before := Heap()
		var calls []*Call
		for range n {
			calls = append(calls, b.Post(Complete("<body rid='1000' "+StdAttrs+">"+payload+"</body>")))
		}
		assert.Less(b, Heap()-before, int64(n*(64<<10)), "each body may have 64 KiB")
		close(answer)
		for i, c := range calls {
			b.Wait(0)
			assert.NotEmpty(b, c.Body().Attr("sid"))
			b.App(i).Reads(strings.Repeat("<a xmlns='"+NsBind+"'/>", 4096))
		}
	})
}

// An application that forgets a stream without having read or closed it has made no
// mistake that lasts.
func TestForgottenStream(t *testing.T) {
	h := NewHandler(t, bosh.Options{Framing: bosh.Elements})
	rt := boshtest.InMemory(h)
	func() {
		p := Dial(t, rt)
		s := Accept(t, h)
		RequireEnd(t, p.Send(X(strings.Repeat("x", 50<<10)), "type='terminate'"), "")
		require.Error(t, s.Session().Err())
		assert.Greater(t, h.Stats().Memory, int64(50<<10), "it may be read still")
	}()
	for range 1000 {
		if runtime.GC(); h.Stats().Memory < 4<<10 {
			return
		}
		runtime.Gosched()
	}
	assert.Fail(t, "it counts for ever")
}
