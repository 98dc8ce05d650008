package httpio_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/internal/direct"
	"github.com/gobosh/bosh/internal/httpio"
)

// serve has a Server answer everything by an Endpoint, and by the direct engine where
// that can take the connection.
func serve(t *testing.T, o httpio.Options, engine *direct.Engine, a httpio.Answer) *httptest.Server {
	o.MaxBody, o.Logger = 100, slog.New(slog.DiscardHandler)
	e := httpio.NewEndpoint(o)
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
			q.Begin(func(q *direct.Request) { q.Answer(e.Raw(q, a)) })
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
		Budget: &httpio.Budget{Other: func() int64 { return 0 }}, MaxBody: 100, Logger: slog.New(slog.DiscardHandler),
	}
}

// An answer is the same whoever writes it.
func TestAnswer(t *testing.T) {
	long := bytes.Repeat([]byte("<a/>"), 1000)
	everyone := func(string) bool { return true }
	for _, test := range [...]struct {
		name    string
		options httpio.Options
		answer  httpio.Answer
	}{
		{"body", httpio.Options{}, httpio.Answer{Body: []byte("<body/>"), Content: "text/xml; charset=utf-8"}},
		{"long body", httpio.Options{}, httpio.Answer{Body: long, Content: "text/plain"}},
		{"status", httpio.Options{}, httpio.Answer{Status: 404, Content: "text/xml; charset=utf-8"}},
		{"origins", httpio.Options{Headers: httpio.Headers{AllowOrigin: everyone}}, httpio.Answer{Body: long, Content: "text/html"}},
		{"status for origins", httpio.Options{Headers: httpio.Headers{AllowOrigin: everyone}}, httpio.Answer{Status: 403, Content: "text/html"}},
		{"compressed", httpio.Options{Compress: 100}, httpio.Answer{Body: long, Content: "text/html"}},
		{"too short for that", httpio.Options{Compress: 5000}, httpio.Answer{Body: long, Content: "text/html"}},
		{"status with Compress", httpio.Options{Compress: 1}, httpio.Answer{Status: 400}},
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
