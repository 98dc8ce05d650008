package handler_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	xrdPath  = "/.well-known/host-meta"
	jsonPath = "/.well-known/host-meta.json"
)

var links = []bosh.Link{
	{Rel: "lrdd", Type: "application/xrd+xml", Template: "https://example.com/who?a=b&uri={uri}"},
	{Rel: bosh.LinkBOSH, Href: "https://example.com/http-bind?a='<&>"},
	{Rel: bosh.LinkWebSocket, Href: "wss://example.com/ws"},
}

func hostMeta(t *testing.T, o bosh.Options) http.Handler {
	t.Helper()
	hm, err := NewHandler(t, o).HostMeta(links...)
	require.NoError(t, err)
	return hm
}

// get asks for a path over HTTPS, with changes.
func get(h http.Handler, path string, changes ...func(*http.Request)) *http.Response {
	r := httptest.NewRequest(http.MethodGet, "https://example.com"+path, nil)
	r.Header.Set("Origin", "https://elsewhere.example")
	for _, change := range changes {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func plainly(r *http.Request) { r.TLS = nil }

// XEP-0156, sections 2 and 3: discovery by host-meta.
func TestHostMeta(t *testing.T) {
	t.Run("D2.1-1 D2.2-2 the XRD document", func(t *testing.T) {
		resp := get(hostMeta(t, bosh.Options{}), xrdPath)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, "application/xrd+xml; charset=utf-8", resp.Header.Get("Content-Type"))
		var doc struct {
			XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
			Link    []struct {
				Rel      string `xml:"rel,attr"`
				Type     string `xml:"type,attr"`
				Href     string `xml:"href,attr"`
				Template string `xml:"template,attr"`
			} `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 Link"`
		}
		require.NoError(t, xml.NewDecoder(resp.Body).Decode(&doc))
		require.Len(t, doc.Link, len(links))
		for i, l := range doc.Link {
			assert.Equal(t, links[i], bosh.Link(l)) // D2.2-4 all of them
		}
		assert.Equal(t, "urn:xmpp:alt-connections:xbosh", doc.Link[1].Rel)
	})

	t.Run("D2.2-3 D2.2-4 the same as JSON", func(t *testing.T) {
		resp := get(hostMeta(t, bosh.Options{}), jsonPath)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
		var doc struct {
			Links []struct{ Rel, Type, Href, Template string }
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&doc))
		require.Len(t, doc.Links, len(links))
		for i, l := range doc.Links {
			assert.Equal(t, links[i], bosh.Link(l))
		}
	})

	t.Run("D2.2-1 only secure URLs", func(t *testing.T) {
		h := NewHandler(t, bosh.Options{})
		for _, l := range []bosh.Link{
			{Rel: bosh.LinkBOSH, Href: "http://example.com/http-bind"},
			{Rel: bosh.LinkBOSH, Href: "wss://example.com/http-bind"},
			{Rel: bosh.LinkWebSocket, Href: "ws://example.com/ws"},
			{Rel: bosh.LinkWebSocket, Href: "https://example.com/ws"},
			{Rel: "lrdd", Href: "http://example.com/"},
			{Rel: bosh.LinkBOSH, Href: "/http-bind"},
			{Rel: bosh.LinkBOSH, Href: "https:///http-bind"},
			{Rel: bosh.LinkBOSH, Href: "https://example.com/\x00"},
			{Rel: bosh.LinkBOSH},
			{Rel: bosh.LinkBOSH, Href: "https://example.com/", Template: "https://example.com/"},
			{Rel: "a\xff", Href: "https://example.com/"},
			{Href: "https://example.com/"},
		} {
			_, err := h.HostMeta(links[0], l)
			assert.Error(t, err, "%+v", l)
		}
	})

	t.Run("D2.2-1 only over HTTPS", func(t *testing.T) {
		for _, path := range []string{xrdPath, jsonPath} {
			resp := get(hostMeta(t, bosh.Options{}), path, plainly)
			assert.Equal(t, http.StatusNotFound, resp.StatusCode)
			assert.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
		}
		behindProxy := bosh.Options{Secure: func(r *http.Request) bool { return r.Header.Get("X-Proxied") == "https" }}
		proxied := func(r *http.Request) { r.Header.Set("X-Proxied", "https") }
		assert.Equal(t, http.StatusOK, get(hostMeta(t, behindProxy), xrdPath, plainly, proxied).StatusCode)
		assert.Equal(t, http.StatusNotFound, get(hostMeta(t, behindProxy), xrdPath).StatusCode)
	})

	t.Run("D3-1 D3-2 from any origin, but that alone", func(t *testing.T) {
		o := bosh.Options{AllowOrigin: func(origin string) bool { return origin == "https://example.com" }}
		assert.Equal(t, "*", get(hostMeta(t, o), xrdPath).Header.Get("Access-Control-Allow-Origin"))
		assert.Equal(t, "*", get(hostMeta(t, o), jsonPath).Header.Get("Access-Control-Allow-Origin"))
		for _, method := range []string{http.MethodPost, http.MethodOptions, http.MethodGet} {
			resp := get(NewHandler(t, o), "/http-bind", func(r *http.Request) { r.Method = method })
			assert.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"), method)
		}
	})

	t.Run("D4-1 nothing by default", func(t *testing.T) {
		h := NewHandler(t, bosh.Options{})
		_, err := h.HostMeta()
		assert.Error(t, err)
		resp := get(h, xrdPath)
		assert.NotContains(t, resp.Header.Get("Content-Type"), "xrd")
		resp = get(hostMeta(t, bosh.Options{}), "/.well-known/other")
		assert.Equal(t, http.StatusNotFound, resp.StatusCode)
	})

	t.Run("methods", func(t *testing.T) {
		h := hostMeta(t, bosh.Options{})
		full := get(h, xrdPath)
		head := get(h, xrdPath, func(r *http.Request) { r.Method = http.MethodHead })
		assert.Equal(t, full.Header, head.Header)
		length, err := strconv.Atoi(head.Header.Get("Content-Length"))
		require.NoError(t, err)
		assert.Positive(t, length)
		body, err := io.ReadAll(head.Body)
		require.NoError(t, err)
		assert.Empty(t, body)
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodOptions} {
			resp := get(h, xrdPath, func(r *http.Request) { r.Method = method })
			assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
			assert.Equal(t, "GET, HEAD", resp.Header.Get("Allow"))
		}
	})
}

// Discovery is served beside BOSH, on the HTTPS port.
func ExampleHandler_HostMeta() {
	h := bosh.New(bosh.Options{})
	hm, err := h.HostMeta(
		bosh.Link{Rel: bosh.LinkBOSH, Href: "https://example.com/http-bind"},
		bosh.Link{Rel: bosh.LinkWebSocket, Href: "wss://example.com/xmpp-websocket"},
	)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/http-bind", h)
	mux.Handle("/.well-known/host-meta", hm)
	mux.Handle("/.well-known/host-meta.json", hm)
	_ = http.Server{Addr: ":443", Handler: mux, TLSConfig: new(tls.Config)}
}
