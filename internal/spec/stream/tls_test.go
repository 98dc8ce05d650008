package stream_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Over real connections: a session begun over TLS with a client's certificate
// takes no request without TLS, nor with another certificate, and is not harmed
// by one. XEP-0124, section 19.1.
func TestTLS(t *testing.T) {
	h := NewHandler(t, bosh.Options{Framing: bosh.Elements})
	secure := httptest.NewUnstartedServer(h)
	secure.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	secure.StartTLS()
	defer secure.Close()
	open := httptest.NewServer(h)
	defer open.Close()

	mine, _ := Certificate(t)
	other, _ := Certificate(t)
	with := func(certs ...tls.Certificate) http.RoundTripper {
		tr := secure.Client().Transport.(*http.Transport).Clone()
		tr.TLSClientConfig.Certificates = certs
		t.Cleanup(tr.CloseIdleConnections)
		return at(secure.URL, tr)
	}

	p := Dial(t, with(mine))
	s := Accept(t, h)
	require.True(t, s.Session().Secure())
	require.NotNil(t, s.Session().TLS())
	assert.Equal(t, mine.Certificate[0], s.Session().TLS().PeerCertificates[0].Raw)

	for name, rt := range map[string]http.RoundTripper{
		"plain":               at(open.URL, open.Client().Transport),
		"without certificate": with(),
		"another certificate": with(other),
	} {
		assert.Error(t, boshtest.Post(t, rt, p.Body(1001, "<forged xmlns='u'/>")).Err(), name)
	}
	Write(t, s, "<out xmlns='u'/>")
	assert.Equal(t, "<out xmlns='u'/>", p.Send("<in xmlns='u'/>").Payload())
	RequireRead(t, s, "<in xmlns='u'/>")
	RequireEnd(t, p.Send("", "type='terminate'"), "")
}

// at is a transport to one server, whatever the request's URL.
func at(url string, rt http.RoundTripper) http.RoundTripper {
	scheme, host, _ := strings.Cut(url, "://")
	return RoundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = scheme, host
		return rt.RoundTrip(r)
	})
}
