package spec_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// served runs f with a std session and an http.Server for it.
func served(t *testing.T, name string, f func(b *Harness, s *Session, srv *boshtest.PipeServer)) {
	t.Helper()
	Bubble(t, name, With(func(o *bosh.Options) { o.MaxBody = 10_000 }), func(b *Harness) {
		srv := boshtest.NewPipeServer(b.H)
		defer srv.Close()
		f(b, b.Create(), srv)
	})
}

// A socket is a connection that a client talks HTTP/1.1 over by hand.
type socket struct {
	net.Conn
	b *Harness
	r *bufio.Reader
}

func openSocket(b *Harness, srv *boshtest.PipeServer) *socket {
	c, err := srv.Listener.DialContext(b.Context(), "", "")
	require.NoError(b, err)
	return &socket{Conn: c, b: b, r: bufio.NewReader(c)}
}

// post sends a request.
func (c *socket) post(body string, headers ...string) {
	c.b.Helper()
	c.text("POST /http-bind HTTP/1.1", body, headers...)
}

func (c *socket) text(line, body string, headers ...string) {
	c.b.Helper()
	headers = append(headers, "Host: example.com", fmt.Sprint("Content-Length: ", len(body)))
	_, err := io.WriteString(c, line+"\r\n"+strings.Join(headers, "\r\n")+"\r\n\r\n"+body)
	require.NoError(c.b, err)
	synctest.Wait()
}

// answer reads an answer, which must be as HTTP wants it.
func (c *socket) answer() (*http.Response, string) {
	c.b.Helper()
	r, err := http.ReadResponse(c.r, nil)
	require.NoError(c.b, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(c.b, err)
	assert.EqualValues(c.b, r.ContentLength, len(body))
	assert.Empty(c.b, r.TransferEncoding)
	synctest.Wait()
	return r, string(body)
}

func (c *socket) gets(body string) {
	c.b.Helper()
	r, text := c.answer()
	assert.Equal(c.b, http.StatusOK, r.StatusCode)
	assert.Equal(c.b, Canonical(c.b, body), Canonical(c.b, text))
}

// XEP-0124, sections 2 to 4: goals, architecture, technique.
func TestTechnique(t *testing.T) {
	Std(t, "B2-1 a client needs to see nothing but bodies", func(b *Harness, s *Session) {
		// A session of this bench keeps no cookie and looks at no header.
		held := s.Send(1001, X("a"))
		s.App.Writes(X("b"))
		held.GetsNow(Answer(X("b")))
		s.Send(1002, terminate).GetsNow(End)
		s.Send(1003).GetsNow(Condition(bosh.ItemNotFound))
	})

	served(t, "B2-2 a cut while the request is sent", func(b *Harness, s *Session, srv *boshtest.PipeServer) {
		text := s.Text("1001", X("a"))
		c := openSocket(b, srv)
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n%s", len(text), text[:len(text)/2])
		require.NoError(b, err)
		synctest.Wait()
		c.Close()
		s.App.Reads("")
		c = openSocket(b, srv)
		c.post(text)
		s.App.Reads(X("a"))
		s.App.Writes(X("1"))
		c.gets(Answer(X("1")))
	})
	served(t, "B2-2 a cut while it is held", func(b *Harness, s *Session, srv *boshtest.PipeServer) {
		c := openSocket(b, srv)
		c.post(s.Text("1001", X("a")))
		s.App.Reads(X("a"))
		c.Close()
		synctest.Wait()
		s.App.Writes(X("1"))
		c = openSocket(b, srv)
		c.post(s.Text("1001", X("a")))
		c.gets(Answer(X("1")))
		s.App.Reads("")
	})
	served(t, "B2-2 a cut in the answer", func(b *Harness, s *Session, srv *boshtest.PipeServer) {
		c := openSocket(b, srv)
		c.post(s.Text("1001", X("a")))
		s.App.Writes(X("1"))
		_, err := io.ReadFull(c, make([]byte, 50))
		require.NoError(b, err)
		c.Close()
		synctest.Wait()
		c = openSocket(b, srv)
		c.post(s.Text("1001", X("a")))
		c.gets(Answer(X("1")))
		s.App.Reads(X("a"))
		s.App.Writes(X("2"))
		c.post(s.Text("1002"))
		c.gets(Answer(X("2")))
	})

	Std(t, "B4-1 a newcomer takes the place of the oldest", func(b *Harness, s *Session) {
		held := s.Send(1001)
		b.Wait(time.Second)
		next := s.Send(1002, X("a"))
		held.GetsNow(Empty)
		next.Waits()
	})

	served(t, "B4-2 a session is not bound to a connection", func(b *Harness, s *Session, srv *boshtest.PipeServer) {
		sockets := []*socket{openSocket(b, srv), openSocket(b, srv), openSocket(b, srv)}
		for i := range int64(9) {
			c := sockets[i%3]
			c.post(s.Text(fmt.Sprint(1001+i), X(fmt.Sprint(i))))
			s.App.Reads(X(fmt.Sprint(i)))
			s.App.Writes(X(fmt.Sprint(-i)))
			c.gets(Answer(X(fmt.Sprint(-i))))
		}
	})
}

// XEP-0124, section 5: HTTP.
func TestHTTPErrors(t *testing.T) {
	// requests are all that goes wrong, by the body that is sent.
	requests := map[string]func(s *Session) string{
		"nothing":         func(*Session) string { return "" },
		"malformed":       func(s *Session) string { return s.Text("1001", "<a></b>") },
		"no body":         func(*Session) string { return "<foo/>" },
		"too large":       func(s *Session) string { return s.Text("1001", X(strings.Repeat("a", 10_000))) },
		"unknown sid":     func(s *Session) string { return Complete("<body rid='1001' sid='unknown'/>") },
		"no rid":          func(s *Session) string { return Complete("<body sid='" + s.Sid + "'/>") },
		"beyond":          func(s *Session) string { return s.Text("1009") },
		"gone":            func(s *Session) string { return s.Text("1", X("a")) },
		"creation":        func(s *Session) string { return opening("ver='1.11' wait='x'") },
		"legacy creation": func(s *Session) string { return opening("wait='x'") },
		"the end":         func(s *Session) string { return s.Text("1001", terminate) },
	}
	for name, request := range requests {
		served(t, "B5-1 B5-11 "+name, func(b *Harness, s *Session, srv *boshtest.PipeServer) {
			c := openSocket(b, srv)
			c.post(request(s))
			r, text := c.answer()
			if name == "legacy creation" {
				assert.Equal(b, http.StatusBadRequest, r.StatusCode)
				assert.Empty(b, text)
			} else {
				assert.Equal(b, http.StatusOK, r.StatusCode)
				assert.Equal(b, []string{boshtest.NSBind + " body"}, names(b, text))
			}
			// Nothing is left behind the answer: the next one can be read.
			if r.Close {
				_, err := c.r.ReadByte()
				assert.Equal(b, io.EOF, err)
				return
			}
			c.post(Complete("<body rid='1001' sid='unknown'/>"))
			c.gets(Condition(bosh.ItemNotFound))
		})
	}

	for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "BREW"} {
		served(t, "B5-2 "+method+" is not allowed", func(b *Harness, s *Session, srv *boshtest.PipeServer) {
			c := openSocket(b, srv)
			c.text(method+" /http-bind HTTP/1.1", s.Text("1001", X("a")))
			r, _ := c.answer()
			assert.Equal(b, http.StatusMethodNotAllowed, r.StatusCode)
			assert.Contains(b, r.Header.Get("Allow"), "POST")
			s.App.Reads("")
			s.App.Writes(X("1"))
			s.Send(1001).GetsNow(Answer(X("1")))
		})
	}
	served(t, "B5-2 GET and HEAD show a notice", func(b *Harness, s *Session, srv *boshtest.PipeServer) {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r, err := http.NewRequest(method, srv.URL, strings.NewReader(s.Text("1001", X("a"))))
			require.NoError(b, err)
			a, err := srv.RoundTrip(r)
			require.NoError(b, err)
			assert.Equal(b, http.StatusOK, a.StatusCode)
			assert.Contains(b, a.Header.Get("Content-Type"), "text/plain")
			a.Body.Close()
		}
		s.App.Reads("")
	})
}

// B5-9: other origins.
func TestPreflight(t *testing.T) {
	for _, test := range []struct {
		name, origin, allowed string
		allow                 func(string) bool
	}{
		{"any", "https://a.example", "*", nil},
		{"allowed", "https://a.example", "https://a.example", func(o string) bool { return o == "https://a.example" }},
		{"not allowed", "https://b.example", "", func(o string) bool { return o == "https://a.example" }},
	} {
		Bubble(t, "B5-9 "+test.name, With(func(o *bosh.Options) { o.AllowOrigin = test.allow }), func(b *Harness) {
			srv := boshtest.NewPipeServer(b.H)
			defer srv.Close()
			c := openSocket(b, srv)
			c.text("OPTIONS /http-bind HTTP/1.1", "", "Origin: "+test.origin,
				"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
			r, err := http.ReadResponse(c.r, nil)
			require.NoError(b, err)
			assert.Equal(b, 2, r.StatusCode/100)
			assert.Equal(b, test.allowed, r.Header.Get("Access-Control-Allow-Origin"))
			if test.allowed != "" {
				assert.Contains(b, r.Header.Get("Access-Control-Allow-Methods"), "POST")
				assert.Contains(b, r.Header.Get("Access-Control-Allow-Methods"), "OPTIONS")
				assert.Equal(b, "Content-Type", r.Header.Get("Access-Control-Allow-Headers"))
			} else {
				assert.Empty(b, r.Header.Get("Access-Control-Allow-Methods"))
				assert.Empty(b, r.Header.Get("Access-Control-Allow-Headers"))
			}
			// An error, too, must be readable for the page.
			for _, body := range []string{opening(StdAttrs), "<foo/>"} {
				c.post(body, "Origin: "+test.origin)
				a, _ := c.answer()
				assert.Equal(b, test.allowed, a.Header.Get("Access-Control-Allow-Origin"))
			}
		})
	}
}

// inCoding returns text in a content coding that is named in accept.
func inCoding(t testing.TB, coding, text string) string {
	var out bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	default:
		require.Fail(t, "accept has "+coding)
	}
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.String()
}

// XEP-0124, section 7.2: content codings of requests.
func TestContentCoding(t *testing.T) {
	Std(t, "B7.2-12 each that accept lists works", func(b *Harness, s *Session) {
		rid := int64(1001)
		for coding := range strings.SplitSeq(s.Granted.Attr("accept"), ",") {
			b.Headers.Set("Content-Encoding", coding)
			s.App.Writes(X("1"))
			b.Post(inCoding(b, coding, s.Text(fmt.Sprint(rid), X(coding)))).GetsNow(Answer(X("1")))
			s.App.Reads(X(coding))
			rid++
		}
		assert.Greater(b, rid, int64(1002))
	})
	for _, charset := range []string{"utf-8", "UTF8", "iso-8859-1", "text/xml; charset=utf-8"} {
		Std(t, "B7.2-13 a charset is none: "+charset, func(b *Harness, s *Session) {
			b.Headers.Set("Content-Encoding", charset)
			s.App.Writes(X("1"))
			s.Send(1001, X("a")).GetsNow(Answer(X("1")))
			s.App.Reads(X("a"))
			b.Create()
		})
	}
	Std(t, "B7.2-13 one that is not known is refused", func(b *Harness, s *Session) {
		b.Headers.Set("Content-Encoding", "br")
		s.Send(1001, X("a")).GetsNow(Condition(bosh.BadRequest))
		s.App.Reads("")
	})
	Bubble(t, "B7.2-13 and what is too large", With(func(o *bosh.Options) { o.MaxBody = 100_000 }), func(b *Harness) {
		s := b.Create()
		b.Headers.Set("Content-Encoding", "gzip")
		bomb := inCoding(b, "gzip", s.Text("1001", X(strings.Repeat("\x00", 4<<20))))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		b.Post(bomb).GetsNow(Condition(bosh.BadRequest))
		runtime.ReadMemStats(&after)
		assert.Less(b, after.TotalAlloc-before.TotalAlloc, uint64(2<<20))
		s.App.Reads("")
	})
}
