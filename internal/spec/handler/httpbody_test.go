package handler_test

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
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

func zlibbed(t *testing.T, b string) string { return Compressed(t, zlib.NewWriter, b) }
func deflated(t *testing.T, b string) string {
	return Compressed(t, func(w io.Writer) *flate.Writer {
		fw, _ := flate.NewWriter(w, flate.BestCompression)
		return fw
	}, b)
}

func TestCompressedRequests(t *testing.T) {
	const ok = bosh.Condition("")
	for name, test := range map[string]struct {
		headers string
		coded   func(t *testing.T, b string) string
		want    bosh.Condition
	}{
		"gzip":                {"gzip", Gzipped, ok},
		"in capitals":         {"GZip", Gzipped, ok},
		"x-gzip":              {"x-gzip", Gzipped, ok},
		"deflate":             {"deflate", zlibbed, ok},
		"bare deflate":        {"deflate", deflated, ok},
		"identity":            {"identity", nil, ok},
		"empty":               {"", nil, ok},
		"identity and gzip":   {"identity, gzip", Gzipped, ok},
		"a media type":        {"text/xml; charset=utf-8", nil, ok},
		"unknown":             {"br", nil, bosh.BadRequest},
		"twice":               {"gzip, gzip", nil, bosh.BadRequest},
		"not compressed":      {"gzip", nil, bosh.BadRequest},
		"not compressed, too": {"deflate", nil, bosh.BadRequest},
		"cut off": {"gzip", func(t *testing.T, b string) string {
			z := Gzipped(t, b)
			return z[:len(z)-12]
		}, bosh.BadRequest},
		"wrong checksum": {"gzip", func(t *testing.T, b string) string {
			z := Gzipped(t, b)
			return z[:len(z)-8] + "12345678"
		}, bosh.BadRequest},
		"nothing": {"gzip", func(*testing.T, string) string { return "" }, bosh.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := Creation()
				if test.coded != nil {
					body = test.coded(t, body)
				}
				rt := boshtest.InMemory(NewHandler(t, Elements()))
				r := Do(t, rt, "POST", AnyURL, strings.NewReader(body), "Content-Encoding", test.headers)
				assert.Equal(t, http.StatusOK, r.StatusCode)
				b, err := boshtest.ParseBody([]byte(r.Text))
				require.NoError(t, err)
				assert.Equal(t, string(test.want), b.Attr("condition"))
				assert.Equal(t, test.want == ok, b.Attr("sid") != "")
			})
		})
	}
}

// The size of a body is limited as it is sent and as it is meant, to the byte.
// Nothing of one that is larger reaches the application, and its session ends
// unless nothing is read of it at all. B5-10.
func TestMaxBody(t *testing.T) {
	const limit = 10_000
	codings := map[string]func(*testing.T, string) string{"": nil, "gzip": Gzipped, "deflate": zlibbed, "sized": nil}
	for coding, coded := range codings {
		for over := range 2 {
			t.Run(coding+strconv.Itoa(over), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, p := Connect(t, bosh.Options{Framing: bosh.Elements, MaxBody: limit})
					frame := len(p.Body(1001, "<a xmlns='u'/><b xmlns='u'></b>"))
					payload := "<a xmlns='u'/><b xmlns='u'>" + strings.Repeat("x", limit+over-frame) + "</b>"
					body := p.Body(1001, payload)
					require.Len(t, body, limit+over)
					if coded != nil {
						body = coded(t, body)
					}
					var sent io.Reader = strings.NewReader(body)
					if coding == "" {
						sent = struct{ io.Reader }{sent} // its size is not known
					}
					r := Do(t, p.Rt, "POST", AnyURL, sent, "Content-Encoding", strings.TrimPrefix(coding, "sized"))
					if over == 0 {
						RequireRead(t, s, payload)
						return
					}
					assert.Contains(t, r.Text, "condition='bad-request'")
					if coding == "sized" {
						assert.NoError(t, s.Session().Err())
						return
					}
					_, err := s.Read(make([]byte, 1))
					assert.ErrorIs(t, err, &bosh.Error{Condition: bosh.BadRequest})
				})
			})
		}
	}
}

// A body that is too large by its own Content-Length is refused at once, and the
// connection closed: nothing of it is asked for, or read. B5-10.
func TestMaxBodyAtOnce(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		for _, lines := range [][]string{nil, {"Expect: 100-continue"}, {"Content-Encoding: gzip"}, {"Content-Encoding: none-we-know", "Expect: 100-continue"}} {
			for _, size := range []int64{4<<10 + 1, 300 << 10, 1 << 40, 1<<63 - 1} {
				for _, later := range []bool{false, true} {
					t.Run(fmt.Sprintf("Direct %v, %q, %d, later %v", isDirect, lines, size, later), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							h := WithEngine(t, With(func(o *bosh.Options) { o.MaxBody = 4 << 10 }), isDirect)
							l := Wrapped(t, h, func(next http.Handler) http.Handler { return next })
							if later {
								l.Says(Taken)
								l.Answers()
							}
							head := request(post, "", lines...)
							l.Says(strings.Replace(head, "Content-Length: 0", fmt.Sprint("Content-Length: ", size), 1))
							var r HttpAnswer
							assert.Zero(t, Elapsed(func() { r = l.Answers() }))
							assert.Equal(t, http.StatusOK, r.StatusCode, "and no 100 before")
							assert.Equal(t, Complete(Condition(bosh.BadRequest)), r.Text)
							assert.True(t, r.Close)
							n, _ := io.Copy(l.Conn, io.LimitReader(spaces{}, size))
							assert.Less(t, n, int64(400<<10), "what the pipe takes, and net/http throws away of a small body")
						})
					})
				}
			}
		}
	}
	OverVersions(t, With(func(o *bosh.Options) { o.MaxBody = 4 << 10 }), 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		p := Dial(t, pipe)
		s := Accept(t, h)
		body, more := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), "POST", AnyURL, body)
		require.NoError(t, err)
		r.ContentLength = 4<<10 + 1
		began := time.Now()
		resp, err := pipe.RoundTrip(r)
		require.NoError(t, err)
		more.Close()
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, Complete(Condition(bosh.BadRequest)), string(text))
		assert.Zero(t, time.Since(began))
		assert.NoError(t, s.Session().Err())
		p.Send("<a xmlns='u'/>")
		RequireRead(t, s, "<a xmlns='u'/>")
	})
}

// spaces is a Reader of blanks without end.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte(" "), len(p))), nil }

// What bodies are being taken in, compressed or not, counts towards MaxMemory as long
// as Admit thinks about them. Those that find no room are refused. B5-10.
func TestBodiesCount(t *testing.T) {
	const limit, bodies = 1 << 20, 40
	pad := strings.Repeat(" ", 900<<10)
	for _, isDirect := range []bool{false, true} {
		for coding, coded := range map[string]func(*testing.T, string) string{"": nil, "gzip": Gzipped, "deflate": zlibbed} {
			t.Run(fmt.Sprintf("Direct %v, %s", isDirect, coding), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var asked atomic.Int32
					decide := make(chan struct{})
					h := WithEngine(t, With(func(o *bosh.Options) {
						o.MaxMemory = limit
						o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) {
							asked.Add(1)
							<-decide
							return nil, &bosh.Error{Condition: bosh.HostUnknown}
						}
					}), isDirect)
					body, line := Creation()+pad, "X-A: b"
					if coded != nil {
						body, line = coded(t, body), "Content-Encoding: "+coding
					}
					answers := make([]<-chan HttpAnswer, bodies)
					for i := range answers {
						l := Wrapped(t, h, func(next http.Handler) http.Handler { return next })
						l.Says(Taken)
						l.Answers()
						go io.WriteString(l.Conn, request(post, body, line)) // it may be refused in the middle
						answers[i] = Async(l.Answers)
						synctest.Wait()
						assert.LessOrEqual(t, h.Stats().Memory, int64(limit))
					}
					assert.Less(t, asked.Load(), int32(2), "with the body it has")
					close(decide)
					refused := 0
					for _, a := range answers {
						if r := <-a; r.Text == Complete(Condition(bosh.PolicyViolation)) {
							refused++
						} else {
							assert.Equal(t, Complete(Condition(bosh.HostUnknown)), r.Text)
						}
					}
					assert.Equal(t, bodies-int(asked.Load()), refused)
					assert.Zero(t, h.Stats().Memory)
					time.Sleep(time.Second) // net/http waits before it closes a connection
				})
			})
		}
	}
}

// A small body that becomes a large one is given up when it is too large.
func TestBomb(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := boshtest.InMemory(NewHandler(t, bosh.Options{Framing: bosh.Elements, MaxBody: 64 << 10}))
		for coding, coded := range map[string]func(*testing.T, string) string{"gzip": Gzipped, "deflate": zlibbed} {
			bomb := coded(t, strings.Repeat(" ", 4<<20))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := Do(t, rt, "POST", AnyURL, strings.NewReader(bomb), "Content-Encoding", coding)
			runtime.ReadMemStats(&after)
			assert.Contains(t, r.Text, "condition='bad-request'")
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
		}
	})
}

// A body that takes too long is cut off. It may be repeated: nothing of it was
// acted on.
func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, ReadTimeout: 5 * Second})
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		p := Dial(t, pipe)
		s := Accept(t, h)
		body := p.Body(1001, "<a xmlns='u'/><b xmlns='u'/>")
		begin := time.Now()
		_, got := Slowly(t, pipe.Listener, "", body, len(body)-8)
		assert.Empty(t, <-got)
		assert.Equal(t, 5*Second, time.Since(begin))
		assert.NoError(t, s.Session().Err())

		c := boshtest.Post(t, pipe, body)
		RequireRead(t, s, "<a xmlns='u'/><b xmlns='u'/>")
		Write(t, s, "<c xmlns='u'/>")
		assert.Equal(t, "<c xmlns='u'/>", c.Wait().Payload())
	})
}

// The limit holds also for the rest of a body that is refused before its end.
func TestReadTimeoutOfRefused(t *testing.T) {
	for _, headers := range []string{"Content-Encoding: br\r\n", ""} {
		synctest.Test(t, func(t *testing.T) {
			pipe := boshtest.NewPipeServer(NewHandler(t, bosh.Options{Framing: bosh.Elements, MaxBody: 1000, ReadTimeout: 5 * Second}))
			defer pipe.Close()
			begin := time.Now()
			_, got := Slowly(t, pipe.Listener, headers, strings.Repeat(" ", 3000), 2000)
			assert.Contains(t, <-got, "condition='bad-request'")
			assert.LessOrEqual(t, time.Since(begin), 6*Second)
		})
	}
}

// The time for a body begins with it, not with the connection, and has nothing
// to do with the time for which a request is held.
func TestReadTimeoutAndHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, ReadTimeout: 5 * Second})
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		p := Dial(t, pipe)
		s := Accept(t, h)
		for range 3 {
			body := p.Body(p.Rid+1, "")
			p.Rid++
			c, got := Slowly(t, pipe.Listener, "", body, len(body)-1)
			time.Sleep(4 * Second)
			io.WriteString(c, body[len(body)-1:])
			time.Sleep(30 * Second)
			Write(t, s, "<a xmlns='u'/>")
			synctest.Wait()
			c.Close()
			assert.Contains(t, <-got, "<a xmlns='u'/>")
		}
	})
}

// A connection that breaks in the middle of a request harms nothing, wherever
// that is.
func TestBrokenRequest(t *testing.T) {
	OverVersions(t, Elements(), 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		p := Dial(t, pipe)
		s := Accept(t, h)
		body := p.Body(1001, "<a xmlns='u'/><b xmlns='u'/>")
		for n := range len(body) {
			r, w := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), "POST", AnyURL, r)
			require.NoError(t, err)
			req.ContentLength = int64(len(body))
			sent := Async(func() error {
				resp, err := pipe.RoundTrip(req)
				if err == nil {
					resp.Body.Close()
				}
				return err
			})
			io.WriteString(w, body[:n])
			w.CloseWithError(io.ErrClosedPipe)
			require.Error(t, <-sent)
			synctest.Wait()
			require.NoError(t, s.Session().Err(), "after %d bytes", n)
		}
		assert.EqualValues(t, 1, s.Session().Stats().Requests)
		c := boshtest.Post(t, pipe, body)
		RequireRead(t, s, "<a xmlns='u'/><b xmlns='u'/>")
		Write(t, s, "<c xmlns='u'/>")
		c.Wait()
	})
}

// A limit that somebody else has set works as ours does.
func TestMaxBytesHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		rt := boshtest.InMemory(http.MaxBytesHandler(h, 1000))
		p := Dial(t, rt)
		RequireEnd(t, p.Send("<a>"+strings.Repeat("x", 1000)+"</a>"), bosh.BadRequest)
	})
}
