package edge

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/httpbody"
)

// A slowReader returns what it has after a while, and fails when the deadline of
// its ResponseWriter is set to the past.
type slowReader struct {
	*httptest.ResponseRecorder
	after time.Duration
	limit chan struct{}
	sets  []time.Time
}

func (s *slowReader) Read(b []byte) (int, error) {
	select {
	case <-time.After(s.after):
		return copy(b, "late"), io.EOF
	case <-s.limit:
		return 0, context.DeadlineExceeded
	}
}

func (s *slowReader) SetReadDeadline(t time.Time) error {
	s.sets = append(s.sets, t)
	if t == past {
		close(s.limit)
	}
	return nil
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{MaxBody: 10, ReadTimeout: time.Minute})
		ctx := context.WithValue(t.Context(), http.ServerContextKey, new(http.Server))
		read := func(after time.Duration) (*slowReader, error) {
			s := &slowReader{ResponseRecorder: httptest.NewRecorder(), after: after, limit: make(chan struct{})}
			b, err := e.Read(s, httptest.NewRequestWithContext(ctx, "POST", "/", s), nil, nil)
			if err == nil {
				assert.Equal(t, "late", string(b))
			}
			return s, err
		}
		for range 10 { // longer than the limit for all of them together
			s, err := read(59 * time.Second)
			require.NoError(t, err)
			assert.Empty(t, s.sets)
		}
		for range 2 {
			begun := time.Now()
			s, err := read(time.Hour)
			require.ErrorIs(t, err, httpbody.ErrBroken)
			assert.Equal(t, time.Minute, time.Since(begun))
			assert.Equal(t, []time.Time{past, begun.Add(time.Minute)}, s.sets)
			time.Sleep(time.Hour)
			s, err = read(59 * time.Second)
			require.NoError(t, err)
			assert.Empty(t, s.sets)
		}
	})
}

// A deadline that is set when the body has come after all is taken back.
func TestWatchTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(time.Second, func(err error) { assert.NoError(t, err) })
		s := &slowReader{ResponseRecorder: httptest.NewRecorder(), limit: make(chan struct{})}
		w.begin(s)
		time.Sleep(2 * time.Second)
		w.end(false)
		assert.Equal(t, []time.Time{past, {}}, s.sets)
		time.Sleep(time.Hour)
		assert.Len(t, s.sets, 2)
	})
}

func BenchmarkRead(b *testing.B) {
	e := New(Options{MaxBody: 1000, ReadTimeout: time.Minute, WriteTimeout: time.Minute})
	var body strings.Reader
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 0, 1000)
		for b.Loop() {
			body.Reset("<body/>")
			r.Body = io.NopCloser(&body)
			if _, err := e.Read(w, r, buf, nil); err != nil {
				b.Error(err)
			}
		}
	}))
	defer srv.Close()
	b.ReportAllocs()
	res, err := http.Post(srv.URL, "text/xml", strings.NewReader("<body/>"))
	if err != nil {
		b.Fatal(err)
	}
	res.Body.Close()
}
