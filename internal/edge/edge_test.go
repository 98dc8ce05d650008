package edge

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/httpbody"
	"github.com/gobosh/bosh/internal/pace"
)

// serve has a Server answer everything by an Edge, and by the direct engine where
// that can take the connection.
func serve(t *testing.T, o Options, engine *direct.Engine, a Answer) *httptest.Server {
	o.MaxBody, o.Logger = 100, slog.New(slog.DiscardHandler)
	e := New(o)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			e.Other(w, r)
			return
		}
		if engine != nil {
			if _, err := io.ReadAll(r.Body); !assert.NoError(t, err) {
				return
			}
			q := engine.Take(w, r)
			q.Begin(func(q *direct.Request) { q.Answer(e.Direct(q, a)) })
			return
		}
		e.Reply(w, r, a)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func newEngine() *direct.Engine {
	return &direct.Engine{
		Gone: (*direct.Request).Abort, Done: func(*direct.Request) {},
		Budget: &httpbody.Budget{Other: func() int64 { return 0 }}, MaxBody: 100, Logger: slog.New(slog.DiscardHandler),
	}
}

// An answer is the same whoever writes it.
func TestAnswer(t *testing.T) {
	long := bytes.Repeat([]byte("<a/>"), 1000)
	everyone := func(string) bool { return true }
	for _, test := range [...]struct {
		name    string
		options Options
		answer  Answer
	}{
		{"body", Options{}, Answer{Body: []byte("<body/>"), Content: "text/xml; charset=utf-8"}},
		{"long body", Options{}, Answer{Body: long, Content: "text/plain"}},
		{"status", Options{}, Answer{Status: 404, Content: "text/xml; charset=utf-8"}},
		{"origins", Options{Headers: Headers{AllowOrigin: everyone}}, Answer{Body: long, Content: "text/html"}},
		{"status for origins", Options{Headers: Headers{AllowOrigin: everyone}}, Answer{Status: 403, Content: "text/html"}},
		{"compressed", Options{Compress: 100}, Answer{Body: long, Content: "text/html"}},
		{"too short for that", Options{Compress: 5000}, Answer{Body: long, Content: "text/html"}},
		{"status with Compress", Options{Compress: 1}, Answer{Status: 400}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got [2]*http.Response
			for i, engine := range []*direct.Engine{nil, newEngine()} {
				srv := serve(t, test.options, engine, test.answer)
				r, err := http.NewRequest("POST", srv.URL, strings.NewReader("<body/>"))
				require.NoError(t, err)
				r.Header.Set("Origin", "https://page.example")
				r.Header.Set("Accept-Encoding", "gzip")
				got[i], err = http.DefaultTransport.RoundTrip(r)
				require.NoError(t, err)
				defer got[i].Body.Close()
				body := io.Reader(got[i].Body)
				if got[i].Header.Get("Content-Encoding") == "gzip" {
					body, err = gzip.NewReader(body)
					require.NoError(t, err)
				}
				b, err := io.ReadAll(body)
				require.NoError(t, err)
				assert.Equal(t, string(test.answer.Body), string(b))
				got[i].Header.Del("Date")
				if engine != nil {
					engine.Close()
				}
			}
			assert.Equal(t, got[0].Status, got[1].Status)
			assert.Equal(t, got[0].Header, got[1].Header)
		})
	}
}

func TestOther(t *testing.T) {
	e := New(Options{})
	for _, test := range [...]struct {
		method string
		status int
		allow  string
		body   string
	}{
		{"GET", 200, "", string(notice)},
		{"OPTIONS", 204, allow[0], ""},
		{"PUT", 405, allow[0], ""},
	} {
		w := httptest.NewRecorder()
		e.Other(w, httptest.NewRequest(test.method, "/", nil))
		assert.Equal(t, test.status, w.Code, test.method)
		assert.Equal(t, test.allow, w.Header().Get("Allow"), test.method)
		assert.Equal(t, test.body, w.Body.String(), test.method)
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), test.method)
	}
}

// A clocked ResponseWriter records the deadlines that are set.
type clocked struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (w *clocked) SetReadDeadline(t time.Time) error  { w.read = append(w.read, t); return nil }
func (w *clocked) SetWriteDeadline(t time.Time) error { w.write = append(w.write, t); return nil }

func TestRead(t *testing.T) {
	e := New(Options{MaxBody: 10, Reading: pace.New(time.Minute, 0), Writing: pace.New(time.Minute, 0)})
	broken := errors.New("broken")
	for _, test := range [...]struct {
		name  string
		body  io.Reader
		want  string
		err   error
		reads int // how often the deadline is set
		close string
	}{
		{"whole", strings.NewReader("<body/>"), "x<body/>", nil, 2, ""},
		{"too large", io.MultiReader(strings.NewReader("0123456789abc")), "x012345678", httpbody.ErrTooLarge, 1, "close"},
		{"too large, it says", strings.NewReader("0123456789abc"), "x", httpbody.ErrTooLarge, 1, "close"},
		{"broken", io.MultiReader(strings.NewReader("<b"), errReader{broken}), "x<b", broken, 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &clocked{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest("POST", "/", test.body)
			b, err := e.Read(w, r, []byte("x"), nil, nil)
			assert.Equal(t, test.want, string(b))
			assert.ErrorIs(t, err, test.err)
			assert.Len(t, w.read, test.reads)
			assert.Empty(t, w.write)
			assert.Equal(t, test.close, w.Header().Get("Connection"))
			e.Reply(w, r, Answer{Body: b})
			assert.Len(t, w.write, 1)
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// A ResponseWriter without deadlines does, and is complained of once.
func TestNoDeadlines(t *testing.T) {
	var log bytes.Buffer
	e := New(Options{MaxBody: 10, Reading: pace.New(1, 0), Writing: pace.New(1, 0), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 {
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader("<body/>"))
		b, err := e.Read(w, r, nil, nil, nil)
		require.NoError(t, err)
		e.Reply(w, r, Answer{Body: b})
		assert.Equal(t, "<body/>", w.Body.String())
	}
	assert.Equal(t, 1, strings.Count(log.String(), "has no deadlines"))
}
