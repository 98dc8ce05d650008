package stream_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
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

// tells notes what OnProven tells.
type tells struct {
	mu  sync.Mutex
	all []int64
}

func (p *tells) told(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, n)
}

// take returns what has been told since the last time.
func (p *tells) take() []int64 {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all
	p.all = nil
	return all
}

// What the client has it proves by an ack, or by a request that it could not have sent
// otherwise. XEP-0124, sections 9.2 and 14.
func TestProven(t *testing.T) {
	for _, test := range []struct {
		name, attrs string
		steps       func(s *bosh.Stream, p *Peer, proven func(n int64))
	}{
		{"by rids", "", func(s *bosh.Stream, p *Peer, proven func(n int64)) {
			p.Send("<x/>")
			proven(0)
			p.Send("<x/>")
			proven(2)
			Write(p.T, s, el+"3'/>")
			p.Send("")
			proven(2)
			p.Send("<x/>")
			proven(2)
			p.Send("<x/>")
			proven(3)
		}},
		{"by acks", "ack='1'", func(s *bosh.Stream, p *Peer, proven func(n int64)) {
			p.Send("<x/>", "ack='1000'")
			proven(0)
			p.Send("<x/>", "ack='1002'")
			proven(2)
			Write(p.T, s, el+"3'/>")
			p.Send("")
			proven(2)
			p.Send("<x/>") // one who acknowledges, and says nothing, has all
			proven(3)
		}},
		{"an ack of what was not answered", "ack='1'", func(_ *bosh.Stream, p *Peer, proven func(n int64)) {
			p.Hold("", "ack='1007'")
			proven(0)
		}},
		{"a request beyond the window's end proves one answer less", "", func(_ *bosh.Stream, p *Peer, proven func(n int64)) {
			p.Hold("")
			p.Send("", "pause='10'")
			proven(0)
			p.Send("<x/>")
			proven(2)
		}},
		{"one that came early proves nothing yet", "", func(s *bosh.Stream, p *Peer, proven func(n int64)) {
			late := boshtest.Post(p.T, p.Rt, p.Body(1003, "<x/>"))
			synctest.Wait()
			proven(0)
			p.Send("<x/>")
			late.Wait()
			proven(2)
		}},
		{"a repeat proves nothing", "", func(_ *bosh.Stream, p *Peer, proven func(n int64)) {
			require.Len(p.T, boshtest.Exchange(p.T, p.Rt, p.Body(1001, "")).Payloads, 2)
			proven(0)
		}},
		{"an answer that was lost, and its repeat", "", func(s *bosh.Stream, p *Peer, proven func(n int64)) {
			p.Send("<x/>")
			p.Hold("").Cancel() // 1003, which proves 1001
			proven(2)
			Write(p.T, s, el+"3'/>")
			synctest.Wait()
			proven(2)
			require.Len(p.T, boshtest.Exchange(p.T, p.Rt, p.Body(1003, "")).Payloads, 1)
			proven(2)
			p.Send("<x/>")
			proven(2)
			p.Send("<x/>")
			proven(3)
		}},
		{"the client's end proves no more than another request", "", func(s *bosh.Stream, p *Peer, proven func(n int64)) {
			Write(p.T, s, el+"3'/>")
			RequireEnd(p.T, p.Send("", "type='terminate'"), "")
			proven(0)
		}},
		{"the end by absence", "", func(s *bosh.Stream, p *Peer, proven func(n int64)) {
			Write(p.T, s, el+"3'/>")
			p.Send("<x/>")
			time.Sleep(3 * time.Minute)
			proven(0)
			assert.Len(p.T, Lost(s), 3)
		}},
		{"queued while nothing is open", "", func(s *bosh.Stream, p *Peer, proven func(n int64)) {
			for range 5 {
				Write(p.T, s, el+"3'/>")
			}
			proven(0)
			require.Len(p.T, p.Send("").Payloads, 5)
			p.Send("<x/>")
			proven(2)
			p.Send("<x/>")
			proven(7)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := Connect(t, Elements(), test.attrs)
				var told tells
				s.OnProven(told.told)
				Write(t, s, el+"1'/>"+el+"2'/>")
				require.Len(t, p.Send("").Payloads, 2)
				assert.Zero(t, s.Proven())
				last := int64(0)
				test.steps(s, p, func(n int64) {
					t.Helper()
					var want []int64
					if n > last {
						want = []int64{n}
					}
					assert.Equal(t, want, told.take())
					assert.Equal(t, n, s.Proven())
					last = n
				})
			})
		})
	}
}

// In the answer to its creation a session has nothing to prove but that its client came
// back.
func TestProvenCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		rt := boshtest.InMemory(h)
		c := boshtest.Post(t, rt, Creation())
		s := Accept(t, h)
		Write(t, s, el+"1'/>")
		r := c.Wait()
		require.Len(t, r.Payloads, 1)
		assert.Zero(t, s.Proven())
		p := &Peer{T: t, Rt: rt, Sid: r.Attr("sid"), Rid: 1000}
		p.Hold("")
		assert.Equal(t, int64(1), s.Proven())
		var told tells
		s.OnProven(told.told)
		assert.Equal(t, []int64{1}, told.take(), "what was proven before")
	})
}

// An XMPP stream counts elements that its server has written, and no others.
func TestProvenXMPP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{CreateTimeout: -1})
		Write(t, s, ServerHeader+" <stream:features/>\n<message/>")
		p.Send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>") // refused by the library
		p.Send("<presence/>")
		p.Send("<presence/>")
		assert.Equal(t, int64(2), s.Proven())
		p.Hold("")
		Write(t, s, "<iq/")
		assert.Equal(t, int64(2), s.Proven())
		Write(t, s, ">")
		p.Send("<presence/>")
		p.Send("<presence/>")
		assert.Equal(t, int64(3), s.Proven())
	})
}

func TestProvenOpaque(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, bosh.Options{Framing: bosh.Opaque})
		Write(t, s, "12345")
		Write(t, s, "678")
		p.Send("")
		data := "<data xmlns='" + bosh.OpaqueNS + "'>" + base64.StdEncoding.EncodeToString([]byte("x")) + "</data>"
		p.Send(data)
		assert.Zero(t, s.Proven())
		p.Send(data)
		assert.Equal(t, int64(8), s.Proven())
	})
}

// Each stream of a session is told of its own, also when it has left the session.
func TestProvenStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, MaxStreams: 2})
		p := Dial(t, boshtest.InMemory(h))
		s1 := Accept(t, h)
		require.NotEmpty(t, p.Send("", "to='example.com'").Attr("stream"))
		s2 := Accept(t, h)
		var told1, told2 tells
		s1.OnProven(told1.told)
		s2.OnProven(told2.told)
		Write(t, s1, el+"1'/>")
		p.Send("")
		Write(t, s2, el+"2'/>"+el+"3'/>")
		p.Send("")
		Write(t, s1, el+"4'/>")
		s1.Close()
		p.Send("")
		assert.Equal(t, []int64{1}, told1.take())
		assert.Empty(t, told2.take())
		p.Send("<x/>", "stream='"+s2.Name()+"'")
		assert.Empty(t, told1.take())
		assert.Equal(t, []int64{2}, told2.take())
		p.Send("<x/>", "stream='"+s2.Name()+"'")
		assert.Equal(t, []int64{2}, told1.take(), "behind its end")
		assert.Empty(t, told2.take())
		assert.Equal(t, int64(2), s1.Proven())
		assert.Equal(t, int64(2), s2.Proven())
	})
}

// A function that blocks holds nothing up but itself, and may call anything.
func TestOnProvenBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := Connect(t, Elements())
		var told tells
		goOn := make(chan bool)
		s.OnProven(func(n int64) {
			told.told(n)
			<-goOn
			assert.LessOrEqual(t, n, s.Proven())
			_, err := s.Write([]byte(el + "x'/>"))
			assert.NoError(t, err)
		})
		for range 10 {
			Write(t, s, el+"1'/>")
			p.Send("<x/>")
		}
		assert.Equal(t, []int64{1}, told.take())
		assert.Equal(t, int64(8), s.Proven())
		goOn <- true
		assert.Equal(t, []int64{8}, told.take(), "at once what came meanwhile")
		s.OnProven(nil)
		goOn <- true
		for range 3 {
			p.Send("<x/>")
		}
		assert.Empty(t, told.take())
		assert.Equal(t, int64(12), s.Proven())
		s.OnProven(told.told)
		assert.Empty(t, told.take()[1:])
	})
}

func TestOnProvenPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := Elements()
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s, p := Connect(t, o)
		s.OnProven(func(int64) { panic("oh no") })
		Write(t, s, el+"1'/>")
		p.Send("")
		p.Send("<x/>")
		RequireEnd(t, p.Send("<x/>"), bosh.InternalServerError)
		assert.Contains(t, log.String(), "OnProven panicked")
		s.OnProven(nil)
		s.OnProven(func(int64) {})
	})
}

// A request on the connection that an answer went out on proves that answer, if the
// application believes so.
func TestProofByConnection(t *testing.T) {
	const same, other, viaProxy, http2 = "the same connection", "another one", "through a proxy", "HTTP/2"
	for _, proof := range []bosh.Proof{bosh.ByProtocol, bosh.ByConnection} {
		for _, way := range []string{same, other, viaProxy, http2} {
			t.Run(way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := Elements()
					o.Proof = proof
					h := NewHandler(t, o)
					srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
					srv.Protocols.SetHTTP1(way != http2)
					srv.Protocols.SetUnencryptedHTTP2(way == http2)
					pipe := boshtest.Pipe(srv)
					defer pipe.Close()
					pipe.Transport.Protocols = srv.Protocols
					p := Dial(t, through(func(r *http.Request) (*http.Response, error) {
						switch way {
						case other:
							pipe.Transport.CloseIdleConnections()
						case viaProxy:
							r.Header.Set("X-Forwarded-For", "192.0.2.1")
						}
						return pipe.RoundTrip(r)
					}))
					s := Accept(t, h)
					var told tells
					s.OnProven(told.told)
					Write(t, s, el+"1'/>")
					p.Send("")
					synctest.Wait()
					Write(t, s, el+"2'/>")
					p.Send("")
					want := []int64{1}
					if way != same || proof == bosh.ByProtocol {
						want = nil
					}
					assert.Equal(t, want, told.take())
					if want != nil {
						c := p.Post("")
						assert.Equal(t, []int64{2}, told.take())
						c.Cancel()
					}
					h.Close()
					pipe.Transport.CloseIdleConnections()
				})
			})
		}
	}
}

// A repeat on the connection that the answer to it went out on tells that the client
// has not got it.
func TestProofByConnectionOfRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Elements()
		o.Proof = bosh.ByConnection
		h := NewHandler(t, o)
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		p := Dial(t, pipe)
		s := Accept(t, h)
		Write(t, s, el+"1'/>")
		p.Send("")
		require.Len(t, boshtest.Exchange(t, pipe, p.Body(1001, "")).Payloads, 1)
		synctest.Wait()
		assert.Zero(t, s.Proven())
		assert.Len(t, p.Post("<x/>").Wait().Payloads, 0)
		assert.Equal(t, int64(1), s.Proven())
		h.Close()
		pipe.Transport.CloseIdleConnections()
	})
}

// through makes a function an [http.RoundTripper].
type through func(*http.Request) (*http.Response, error)

func (f through) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A handedBack is what Options.Undelivered was called with.
type handedBack struct {
	st   *bosh.Stream
	lost []string
	why  error
}

// handsBack has o hand back, and returns the calls so far.
func handsBack(o *bosh.Options) (calls func() []handedBack) {
	var mu sync.Mutex
	var all []handedBack
	o.Undelivered = func(st *bosh.Stream, lost []bosh.Payload, why error) {
		call := handedBack{st: st, why: why}
		for _, p := range lost {
			mark := ""
			if p.Sent {
				mark = "sent "
			}
			call.lost = append(call.lost, mark+string(p.Data))
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, call)
	}
	return func() []handedBack {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestUndeliveredOption(t *testing.T) {
	for _, test := range []struct {
		name   string
		after  func(t *testing.T, s *bosh.Stream, p *Peer) // the application closes it then
		lost   []string
		reason string
	}{
		{"absence", func(*testing.T, *bosh.Stream, *Peer) { time.Sleep(3 * time.Minute) },
			[]string{"sent " + el + "1'/>", el + "2'/>"}, "bosh: session ended: client inactive"},
		{"closed before the end", func(_ *testing.T, s *bosh.Stream, _ *Peer) {
			s.Close()
			time.Sleep(3 * time.Minute)
		}, []string{"sent " + el + "1'/>", el + "2'/>"}, "bosh: session ended"},
		{"the client's end", func(t *testing.T, s *bosh.Stream, p *Peer) {
			RequireEnd(t, p.Send("", "type='terminate'"), "")
		}, []string{"sent " + el + "1'/>", "sent " + el + "2'/>"}, "EOF"},
		{"all was delivered", func(t *testing.T, s *bosh.Stream, p *Peer) {
			p.Send("<x/>")
			p.Send("<x/>")
			p.Send("<x/>")
			s.Session().Terminate(&bosh.Error{Condition: bosh.PolicyViolation})
			RequireEnd(t, p.Send(""), bosh.PolicyViolation)
		}, nil, "bosh: policy-violation"},
		{"Close of the Handler", func(t *testing.T, s *bosh.Stream, p *Peer) {
			s.Session().Terminate(&bosh.Error{Condition: bosh.SystemShutdown})
			time.Sleep(3 * time.Minute)
		}, []string{"sent " + el + "1'/>", el + "2'/>"}, "bosh: system-shutdown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Elements()
				calls := handsBack(&o)
				s, p := Connect(t, o)
				Write(t, s, el+"1'/>")
				p.Send("")
				Write(t, s, el+"2'/>")
				assert.Empty(t, calls())
				test.after(t, s, p)
				if s.Close() == nil {
					assert.Len(t, calls(), 1)
				}
				time.Sleep(3 * time.Minute)
				require.Len(t, calls(), 1, "once")
				got := calls()[0]
				assert.Same(t, s, got.st)
				assert.Equal(t, test.lost, got.lost)
				assert.EqualError(t, got.why, test.reason)
			})
		})
	}
}

// An XMPP server that is in the middle of a reply when the client ends gets that back
// too, since it is asked when it has closed the stream.
func TestUndeliveredOptionLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := bosh.Options{CreateTimeout: -1}
		calls := handsBack(&o)
		s, p := Connect(t, o)
		Write(t, s, ServerHeader)
		p.Send("", "type='terminate'")
		Write(t, s, "<message/>")
		assert.Empty(t, calls())
		s.Close()
		require.Len(t, calls(), 1)
		assert.Equal(t, []string{"<message xmlns='jabber:client'/>"}, calls()[0].lost)
		assert.Equal(t, io.EOF, calls()[0].why)
	})
}

// A stream that leaves a session that goes on is handed back when its end has been
// proven, or with the session.
func TestUndeliveredOptionStreams(t *testing.T) {
	for _, proven := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o := bosh.Options{Framing: bosh.Elements, MaxStreams: 2}
			calls := handsBack(&o)
			h := NewHandler(t, o)
			p := Dial(t, boshtest.InMemory(h))
			s1 := Accept(t, h)
			require.NotEmpty(t, p.Send("", "to='example.com'").Attr("stream"))
			s2 := Accept(t, h)
			Write(t, s2, el+"1'/>")
			require.NoError(t, s2.CloseWithError(&bosh.Error{Condition: bosh.UndefinedCondition}))
			p.Send("")
			assert.Empty(t, calls(), "it may not have arrived")
			lost := []string{"sent " + el + "1'/>"}
			if proven {
				p.Send("<x/>")
				p.Send("<x/>")
				lost = nil
			} else {
				s1.Session().Terminate(nil)
				p.Send("")
			}
			require.Len(t, calls(), 1)
			assert.Same(t, s2, calls()[0].st)
			assert.Equal(t, lost, calls()[0].lost)
			assert.EqualError(t, calls()[0].why, "bosh: undefined-condition")
			s1.Session().Terminate(nil)
			time.Sleep(3 * time.Minute)
			s1.Close()
			require.Len(t, calls(), 2)
			assert.Same(t, s1, calls()[1].st)
		})
	}
}

// Those whom nobody has got are nobody's; and Shutdown waits for all others.
func TestUndeliveredOptionShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan bool)
		o := Elements()
		o.Undelivered = func(*bosh.Stream, []bosh.Payload, error) { <-goOn }
		h := NewHandler(t, o)
		p := Dial(t, boshtest.InMemory(h))
		s := Accept(t, h)
		c := p.Hold("")
		done := Async(func() error { return h.Shutdown(t.Context()) })
		RequireEnd(t, c.Wait(), bosh.SystemShutdown)
		assert.True(t, Pending(done))
		s.Close()
		assert.True(t, Pending(done))
		goOn <- true
		assert.NoError(t, <-done)
	})
	synctest.Test(t, func(t *testing.T) {
		o := Elements()
		calls := handsBack(&o)
		h := NewHandler(t, o)
		h.Listener().Close()
		RequireEnd(t, boshtest.Exchange(t, boshtest.InMemory(h), Creation()), bosh.SystemShutdown)
		assert.NoError(t, h.Shutdown(t.Context()))
		assert.Empty(t, calls())
	})
}

func TestUndeliveredOptionPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := Elements()
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Undelivered = func(*bosh.Stream, []bosh.Payload, error) { panic("oh no") }
		s, _ := Connect(t, o)
		time.Sleep(3 * time.Minute)
		s.Close()
		synctest.Wait()
		assert.Equal(t, 1, strings.Count(log.String(), "Options.Undelivered panicked"))
	})
}

// The tables of what is lost name a test in each row, and there is such a test.
func TestEveryDeath(t *testing.T) {
	tests := ""
	require.NoError(t, filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		tests += string(text)
		return err
	}))
	for _, file := range []string{"README.md", "SECURITY.md"} {
		doc, err := os.ReadFile(filepath.Join("..", "..", "..", file))
		require.NoError(t, err)
		_, table, ok := strings.Cut(string(doc), "| what dies |")
		require.True(t, ok, file)
		table, _, _ = strings.Cut(table, "\n\n")
		rows := strings.Split(table, "\n")[2:]
		assert.Len(t, rows, 7, "client, connection, front, owner, machine, planned restart, one that moves sessions")
		for _, row := range rows {
			names := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(row, -1)
			assert.NotEmpty(t, names, row)
			for _, name := range names {
				assert.Contains(t, tests, "func "+name[1]+"(")
			}
		}
	}
}
