package boshtest

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func post(t *testing.T, rt http.RoundTripper, ctx context.Context, url, body string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return "", err
	}
	data, err := readBody(resp)
	return string(data), err
}

func TestInMemory(t *testing.T) {
	rt := InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, "/a?b", r.RequestURI)
		assert.Equal(t, "example.com", r.Host)
		assert.NotEmpty(t, r.RemoteAddr)
		assert.Equal(t, r.Header.Get("X-Tls") == "", r.TLS == nil)
		assert.NotNil(t, r.Context().Value(http.LocalAddrContextKey))
		c := http.NewResponseController(w)
		assert.NoError(t, c.SetReadDeadline(time.Now()))
		assert.NoError(t, c.SetWriteDeadline(time.Now()))
		assert.NoError(t, c.Flush())
		io.WriteString(w, "got "+string(data))
	}))
	got, err := post(t, rt, t.Context(), "http://example.com/a?b", "x")
	require.NoError(t, err)
	assert.Equal(t, "got x", got)
	r, err := http.NewRequest(http.MethodGet, "https://example.com/a?b", nil)
	require.NoError(t, err)
	r.Header.Set("X-Tls", "yes")
	resp, err := rt.RoundTrip(r)
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
}

func TestInMemoryBreaks(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"abort": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"short": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "1234")
		},
		"silence": func(w http.ResponseWriter, r *http.Request) {
			assert.NoError(t, http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)))
			_, err := io.WriteString(w, "1234")
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := post(t, InMemory(handler), t.Context(), "http://a/", "")
			assert.Error(t, err)
		})
	}
	rt := InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, err := io.WriteString(w, "123456")
		assert.ErrorIs(t, err, http.ErrContentLength)
	}))
	_, err := post(t, rt, t.Context(), "http://a/", "")
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestInMemoryCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			time.Sleep(time.Minute)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := post(t, rt, ctx, "http://a/", "")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second+linger, time.Since(start), "does not wait for the handler")
		rt.Wait()
		assert.Equal(t, time.Second+time.Minute, time.Since(start))
		_, err = post(t, rt, ctx, "http://a/", "")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
