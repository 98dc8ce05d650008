package httpio

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOther(t *testing.T) {
	e := NewEndpoint(Options{})
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

func TestEndpointRead(t *testing.T) {
	e := NewEndpoint(Options{MaxBody: 10, Reading: NewLimit(time.Minute, 0), Writing: NewLimit(time.Minute, 0)})
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
		{"too large", io.MultiReader(strings.NewReader("0123456789abc")), "x012345678", ErrTooLarge, 1, "close"},
		{"too large, it says", strings.NewReader("0123456789abc"), "x", ErrTooLarge, 1, "close"},
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
	e := NewEndpoint(Options{MaxBody: 10, Reading: NewLimit(1, 0), Writing: NewLimit(1, 0), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 {
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader("<body/>"))
		b, err := e.Read(w, r, nil, nil, nil)
		require.NoError(t, err)
		e.Reply(w, r, Answer{Body: b})
		assert.Equal(t, "<body/>", w.Body.String())
	}
	assert.Equal(t, 1, strings.Count(log.String(), "has no deadlines"))
}
