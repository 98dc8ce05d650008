package reqinfo_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gobosh/bosh/internal/reqinfo"
	"github.com/stretchr/testify/assert"
)

func TestKeep(t *testing.T) {
	plain := httptest.NewRequest(http.MethodPost, "/http-bind", strings.NewReader("<body/>"))
	rich := httptest.NewRequest(http.MethodPost, "https://bosh.test:5281/http-bind/?a=%20b&c", nil)
	rich.Proto, rich.ProtoMajor, rich.ProtoMinor = "HTTP/2.0", 2, 0
	rich.TLS = &tls.ConnectionState{ServerName: "bosh.test"}
	rich.Header = http.Header{"Cookie": {"a=b", "", "\x00é\xff"}, "X-Long": {strings.Repeat("x", 1000)}}
	stripped := httptest.NewRequest(http.MethodPost, "/prefix/bind", nil)
	stripped.URL.Path = "/bind"
	odd := &http.Request{Method: http.MethodOptions, URL: &url.URL{Path: "*"}, Header: http.Header{}, RequestURI: "*"}
	inProcess, err := http.NewRequest(http.MethodPost, "http://bosh.test/", nil) // which has no RequestURI
	assert.NoError(t, err)
	inProcess.Proto, inProcess.Host = "HTTP/1.1", "bosh.test"

	worded := httptest.NewRequest(http.MethodPost, "/http-bind", nil)
	for _, w := range reqinfo.Words {
		worded.Header.Add(w, w)
	}

	for name, r := range map[string]*http.Request{"plain": plain, "rich": rich, "stripped": stripped, "odd": odd, "in process": inProcess, "worded": worded} {
		t.Run(name, func(t *testing.T) {
			o := reqinfo.Keep(r)
			got := o.Request()
			want := &http.Request{
				Method: r.Method, URL: r.URL, Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor,
				Header: r.Header, Body: http.NoBody, Host: r.Host, RemoteAddr: r.RemoteAddr, RequestURI: r.RequestURI, TLS: r.TLS,
			}
			assert.Equal(t, want, got)
			assert.Same(t, r.TLS, o.TLS())
			got.Header.Set("X", "y")
			assert.Empty(t, o.Request().Header["X"], "a copy of its own")
			r.Header.Set("Content-Length", "7")
			assert.Equal(t, o.Size(), reqinfo.Keep(r).Size(), "the body is not kept")
		})
	}
}

// What browsers always say takes little.
func TestSize(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/http-bind", nil)
	size := reqinfo.Keep(r).Size()
	for name, value := range map[string]string{
		"Accept": "*/*", "Accept-Encoding": "gzip, deflate, br, zstd", "Connection": "keep-alive",
		"Content-Type": "text/xml; charset=utf-8", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors",
		"Sec-Fetch-Site": "same-origin",
	} {
		r.Header.Set(name, value)
		assert.Equal(t, size+2, reqinfo.Keep(r).Size(), name)
		r.Header.Del(name)
	}
}

func BenchmarkKeep(b *testing.B) {
	r := httptest.NewRequest(http.MethodPost, "/http-bind", nil)
	r.Header.Set("Content-Type", "text/xml; charset=utf-8")
	r.Header.Set("User-Agent", "bench")
	b.ReportAllocs()
	for b.Loop() {
		reqinfo.Keep(r)
	}
}
