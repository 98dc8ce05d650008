package origin_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gobosh/bosh/internal/origin"
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

	for name, r := range map[string]*http.Request{"plain": plain, "rich": rich, "stripped": stripped, "odd": odd, "in process": inProcess} {
		t.Run(name, func(t *testing.T) {
			o := origin.Keep(r)
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
			assert.Equal(t, o.Size(), origin.Keep(r).Size(), "the body is not kept")
		})
	}
}
