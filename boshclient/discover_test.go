package boshclient_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// discover asks a domain whose host-meta documents are these, by their path.
func discover(t *testing.T, docs map[string]string) ([]string, error) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "https", r.URL.Scheme)
		assert.Equal(t, "example.com", r.Host)
		doc, ok := docs[strings.TrimPrefix(r.URL.Path, "/.well-known/")]
		switch {
		case !ok:
			http.NotFound(w, r)
		case strings.HasPrefix(doc, "http"):
			http.Redirect(w, r, doc, http.StatusFound)
		default:
			w.Write([]byte(doc))
		}
	})
	return boshclient.Discover(t.Context(), "example.com", &http.Client{Transport: boshtest.InMemory(h)})
}

func TestDiscover(t *testing.T) {
	const (
		bind   = "https://a.example/http-bind?x=1&y=2"
		escape = "https://a.example/http-bind?x=1&amp;y=2"
		xrd    = `<?xml version='1.0' encoding='utf-8'?><!-- made by hand --><XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>
			<Link rel="urn:xmpp:alt-connections:websocket" href="wss://a.example/ws"/>
			<Link rel="urn:xmpp:alt-connections:xbosh" href="` + escape + `"/>
			<Link rel="urn:xmpp:alt-connections:xbosh" href="` + escape + `"/>
			<Link rel="urn:xmpp:alt-connections:xbosh" href="http://a.example/insecure"/>
			<Link rel="urn:xmpp:alt-connections:xbosh" href="/relative"/>
			<Link rel="urn:xmpp:alt-connections:xbosh" template="https://a.example/{uri}"/>
			<Link rel="urn:xmpp:alt-connections:xbosh" href="https://b.example/"/></XRD>`
		jrd = `{"links":[{"rel":"urn:xmpp:alt-connections:xbosh","href":"` + bind + `"},{"rel":"lrdd","template":"x"},
			{"rel":"urn:xmpp:alt-connections:xbosh","href":"http://a.example/"}]}`
		none = `<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'/>`
	)
	for name, test := range map[string]struct {
		docs map[string]string
		want []string
	}{
		"D2.2-2 xml":       {map[string]string{"host-meta": xrd}, []string{bind, "https://b.example/"}},
		"D2.2-2 json":      {map[string]string{"host-meta.json": jrd}, []string{bind}},
		"both":             {map[string]string{"host-meta": xrd, "host-meta.json": jrd}, []string{bind, "https://b.example/"}},
		"json if xml none": {map[string]string{"host-meta": none, "host-meta.json": jrd}, []string{bind}},
		"json if html":     {map[string]string{"host-meta": "<html><br></html>", "host-meta.json": jrd}, []string{bind}},
		"none":             {map[string]string{"host-meta": none}, nil},
		"none of JSON":     {map[string]string{"host-meta.json": "{}"}, nil},
		"other namespace":  {map[string]string{"host-meta": strings.ReplaceAll(xrd, "xrd-1.0", "xrd-2.0"), "host-meta.json": "{}"}, nil},
	} {
		got, err := discover(t, test.docs)
		assert.Equal(t, test.want, got, name)
		if test.want == nil {
			assert.ErrorIs(t, err, boshclient.ErrNoEndpoint, name)
		} else {
			assert.NoError(t, err, name)
		}
	}
	for name, docs := range map[string]map[string]string{
		"nothing":  {},
		"broken":   {"host-meta": "<XRD", "host-meta.json": "{"},
		"large":    {"host-meta": none + strings.Repeat(" ", 256<<10)},
		"redirect": {"host-meta": "http://example.com/.well-known/host-meta"},
		"loop":     {"host-meta": "https://example.com/.well-known/host-meta"},
	} {
		_, err := discover(t, docs)
		assert.Error(t, err, name)
		assert.NotErrorIs(t, err, boshclient.ErrNoEndpoint, name)
	}
	got, err := discover(t, map[string]string{"host-meta": "https://example.com/.well-known/moved", "moved": xrd})
	require.NoError(t, err)
	assert.Len(t, got, 2)

	for _, domain := range []string{"", "a b", "example.com/x", "user@example.com", "a?b", "a#b"} {
		_, err := boshclient.Discover(t.Context(), domain, nil)
		assert.ErrorContains(t, err, "not a domain", domain)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	_, err = boshclient.Discover(ctx, "example.com", &http.Client{Transport: boshtest.InMemory(http.NotFoundHandler())})
	assert.ErrorIs(t, err, errBroken)
}

// What Handler.HostMeta serves is found, over TLS.
func TestDiscoverHandler(t *testing.T) {
	h := newHandler(t, bosh.Options{})
	mux := http.NewServeMux()
	srv := httptest.NewTLSServer(mux)
	defer srv.Close()
	meta, err := h.HostMeta(bosh.Link{Rel: bosh.LinkBOSH, Href: srv.URL + "/http-bind"})
	require.NoError(t, err)
	mux.Handle("/.well-known/", meta)
	urls, err := boshclient.Discover(t.Context(), strings.TrimPrefix(srv.URL, "https://"), srv.Client())
	require.NoError(t, err)
	assert.Equal(t, []string{srv.URL + "/http-bind"}, urls)
	_, err = boshclient.Discover(t.Context(), strings.TrimPrefix(srv.URL, "https://"), nil)
	assert.Error(t, err, "its certificate is unknown")
	var status *boshclient.StatusError
	assert.False(t, errors.As(err, &status))
}
