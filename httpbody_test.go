package bosh_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// compressed returns b as w writes it.
func compressed[W io.WriteCloser](t *testing.T, make func(io.Writer) W, b string) string {
	t.Helper()
	var out bytes.Buffer
	w := make(&out)
	_, err := io.WriteString(w, b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.String()
}

func gzipped(t *testing.T, b string) string { return compressed(t, gzip.NewWriter, b) }
func zlibbed(t *testing.T, b string) string { return compressed(t, zlib.NewWriter, b) }
func deflated(t *testing.T, b string) string {
	return compressed(t, func(w io.Writer) *flate.Writer {
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
		"gzip":                {"gzip", gzipped, ok},
		"in capitals":         {"GZip", gzipped, ok},
		"x-gzip":              {"x-gzip", gzipped, ok},
		"deflate":             {"deflate", zlibbed, ok},
		"bare deflate":        {"deflate", deflated, ok},
		"identity":            {"identity", nil, ok},
		"empty":               {"", nil, ok},
		"identity and gzip":   {"identity, gzip", gzipped, ok},
		"a media type":        {"text/xml; charset=utf-8", nil, ok},
		"unknown":             {"br", nil, bosh.BadRequest},
		"twice":               {"gzip, gzip", nil, bosh.BadRequest},
		"not compressed":      {"gzip", nil, bosh.BadRequest},
		"not compressed, too": {"deflate", nil, bosh.BadRequest},
		"cut off": {"gzip", func(t *testing.T, b string) string {
			z := gzipped(t, b)
			return z[:len(z)-12]
		}, bosh.BadRequest},
		"wrong checksum": {"gzip", func(t *testing.T, b string) string {
			z := gzipped(t, b)
			return z[:len(z)-8] + "12345678"
		}, bosh.BadRequest},
		"nothing": {"gzip", func(*testing.T, string) string { return "" }, bosh.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := creation()
				if test.coded != nil {
					body = test.coded(t, body)
				}
				rt := boshtest.InMemory(newHandler(t, elements()))
				r := do(t, rt, "POST", anyURL, strings.NewReader(body), "Content-Encoding", test.headers)
				assert.Equal(t, http.StatusOK, r.StatusCode)
				b, err := boshtest.ParseBody([]byte(r.text))
				require.NoError(t, err)
				assert.Equal(t, string(test.want), b.Attr("condition"))
				assert.Equal(t, test.want == ok, b.Attr("sid") != "")
			})
		})
	}
}

// The size of a body is limited as it is sent and as it is meant, to the byte.
// Nothing of one that is larger reaches the application. B5-10.
func TestMaxBody(t *testing.T) {
	const limit = 10_000
	codings := map[string]func(*testing.T, string) string{"": nil, "gzip": gzipped, "deflate": zlibbed}
	for coding, coded := range codings {
		for over := range 2 {
			t.Run(coding+strconv.Itoa(over), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, p := connect(t, bosh.Options{Framing: bosh.Elements, MaxBody: limit})
					frame := len(p.body(1001, "<a xmlns='u'/><b xmlns='u'></b>"))
					payload := "<a xmlns='u'/><b xmlns='u'>" + strings.Repeat("x", limit+over-frame) + "</b>"
					body := p.body(1001, payload)
					require.Len(t, body, limit+over)
					if coded != nil {
						body = coded(t, body)
					}
					r := do(t, p.rt, "POST", anyURL, strings.NewReader(body), "Content-Encoding", coding)
					if over == 0 {
						requireRead(t, s, payload)
						return
					}
					assert.Contains(t, r.text, "condition='bad-request'")
					_, err := s.Read(make([]byte, 1))
					assert.ErrorIs(t, err, &bosh.Error{Condition: bosh.BadRequest})
				})
			})
		}
	}
}

// A small body that becomes a large one is given up when it is too large.
func TestBomb(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := boshtest.InMemory(newHandler(t, bosh.Options{Framing: bosh.Elements, MaxBody: 64 << 10}))
		for coding, coded := range map[string]func(*testing.T, string) string{"gzip": gzipped, "deflate": zlibbed} {
			bomb := coded(t, strings.Repeat(" ", 4<<20))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := do(t, rt, "POST", anyURL, strings.NewReader(bomb), "Content-Encoding", coding)
			runtime.ReadMemStats(&after)
			assert.Contains(t, r.text, "condition='bad-request'")
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
		}
	})
}

// slowly starts to send a request and returns the connection.
func slowly(t *testing.T, l *boshtest.PipeListener, headers, body string, n int) (io.WriteCloser, <-chan string) {
	t.Helper()
	text := postText("1.1", headers, body)
	c, b := rawHTTP(t, l, text[:len(text)-len(body)+n])
	return c, async(func() string {
		all, _ := io.ReadAll(b)
		return string(all)
	})
}

// A body that takes too long is cut off. It may be repeated: nothing of it was
// acted on.
func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, ReadTimeout: 5 * second})
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		p := dial(t, pipe)
		s := accept(t, h)
		body := p.body(1001, "<a xmlns='u'/><b xmlns='u'/>")
		begin := time.Now()
		_, got := slowly(t, pipe.Listener, "", body, len(body)-8)
		assert.Empty(t, <-got)
		assert.Equal(t, 5*second, time.Since(begin))
		assert.NoError(t, s.Session().Err())

		c := boshtest.Post(t, pipe, body)
		requireRead(t, s, "<a xmlns='u'/><b xmlns='u'/>")
		write(t, s, "<c xmlns='u'/>")
		assert.Equal(t, "<c xmlns='u'/>", c.Wait().Payload())
	})
}

// The limit holds also for the rest of a body that is refused before its end.
func TestReadTimeoutOfRefused(t *testing.T) {
	for _, headers := range []string{"Content-Encoding: br\r\n", ""} {
		synctest.Test(t, func(t *testing.T) {
			pipe := boshtest.NewPipeServer(newHandler(t, bosh.Options{Framing: bosh.Elements, MaxBody: 1000, ReadTimeout: 5 * second}))
			defer pipe.Close()
			begin := time.Now()
			_, got := slowly(t, pipe.Listener, headers, strings.Repeat(" ", 3000), 2000)
			assert.Contains(t, <-got, "condition='bad-request'")
			assert.LessOrEqual(t, time.Since(begin), 6*second)
		})
	}
}

// The time for a body begins with it, not with the connection, and has nothing
// to do with the time for which a request is held.
func TestReadTimeoutAndHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, bosh.Options{Framing: bosh.Elements, ReadTimeout: 5 * second})
		pipe := boshtest.NewPipeServer(h)
		defer pipe.Close()
		p := dial(t, pipe)
		s := accept(t, h)
		for range 3 {
			body := p.body(p.rid+1, "")
			p.rid++
			c, got := slowly(t, pipe.Listener, "", body, len(body)-1)
			time.Sleep(4 * second)
			io.WriteString(c, body[len(body)-1:])
			time.Sleep(30 * second)
			write(t, s, "<a xmlns='u'/>")
			synctest.Wait()
			c.Close()
			assert.Contains(t, <-got, "<a xmlns='u'/>")
		}
	})
}

// A connection that breaks in the middle of a request harms nothing, wherever
// that is.
func TestBrokenRequest(t *testing.T) {
	overVersions(t, elements(), 0, func(t *testing.T, h *bosh.Handler, pipe *boshtest.PipeServer) {
		p := dial(t, pipe)
		s := accept(t, h)
		body := p.body(1001, "<a xmlns='u'/><b xmlns='u'/>")
		for n := range len(body) {
			r, w := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), "POST", anyURL, r)
			require.NoError(t, err)
			req.ContentLength = int64(len(body))
			sent := async(func() error {
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
		requireRead(t, s, "<a xmlns='u'/><b xmlns='u'/>")
		write(t, s, "<c xmlns='u'/>")
		c.Wait()
	})
}

// A limit that somebody else has set works as ours does.
func TestMaxBytesHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, elements())
		rt := boshtest.InMemory(http.MaxBytesHandler(h, 1000))
		p := dial(t, rt)
		requireEnd(t, p.send("<a>"+strings.Repeat("x", 1000)+"</a>"), bosh.BadRequest)
	})
}
