package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	_ "github.com/gobosh/bosh/internal/enginetest"
)

// started runs the whole program, until stop is called.
func started(t *testing.T, args ...string) (w *web, log *logBuffer, stop func() error) {
	t.Helper()
	log = new(logBuffer)
	cfg, err := parse(append([]string{"-http", "127.0.0.1:0", "-admin", "127.0.0.1:0"}, args...), log)
	require.NoError(t, err, log)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan *web, 1), make(chan error, 1)
	go func() { ended <- run(ctx, cfg, log, func(w *web) { ready <- w }) }()
	select {
	case w = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return w, log, stop
}

// A logBuffer can be written and read at the same time.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func fetch(t *testing.T, c *http.Client, url string) (int, http.Header, string) {
	t.Helper()
	resp, err := c.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(body)
}

func TestProgram(t *testing.T) {
	ca := newAuthority(t)
	// The server greets, ends the stream when the client does, and closes.
	e := serverAt(t, func(c net.Conn) {
		if _, err := expect(c, "xml:lang='en'>"); err == nil {
			io.WriteString(c, header+"<stream:features>"+plain+"</stream:features>")
			expect(c, streamEnd)
			io.WriteString(c, streamEnd)
		}
	})
	dir := t.TempDir()
	cert, key := ca.issue(t, "localhost")
	w, log, stop := started(t, "-upstream", e.String(), "-tls", "none", "-public-url", "https://example.org/http-bind",
		"-cert", writeFile(t, dir, "cert.pem", cert), "-key", writeFile(t, dir, "key.pem", key), "-trust", "127.0.0.0/8")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool, ServerName: "localhost"}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	public, admin := "https://"+w.public.Addr().String(), "http://"+w.admin.Addr().String()

	status, _, body := fetch(t, client, public+"/healthz")
	assert.Equal(t, 200, status)
	assert.Equal(t, "ok\n", body)
	status, _, _ = fetch(t, client, public+"/metrics")
	assert.Equal(t, 404, status, "metrics are not for the public")

	_, head, body := fetch(t, client, public+"/.well-known/host-meta")
	assert.Contains(t, head.Get("Content-Type"), "application/xrd+xml")
	assert.Equal(t, "*", head.Get("Access-Control-Allow-Origin"))
	var xrd struct {
		XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
		Link    struct {
			Rel  string `xml:"rel,attr"`
			Href string `xml:"href,attr"`
		} `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 Link"`
	}
	require.NoError(t, xml.Unmarshal([]byte(body), &xrd))
	assert.Equal(t, bosh.LinkBOSH, xrd.Link.Rel)
	assert.Equal(t, "https://example.org/http-bind", xrd.Link.Href)
	_, _, body = fetch(t, client, public+"/.well-known/host-meta.json")
	require.True(t, json.Valid([]byte(body)))
	assert.JSONEq(t, `{"links":[{"rel":"urn:xmpp:alt-connections:xbosh","href":"https://example.org/http-bind"}]}`, body)

	_, _, body = fetch(t, http.DefaultClient, admin+"/sessions?format=json")
	assert.True(t, json.Valid([]byte(body)))
	status, _, _ = fetch(t, client, public+"/sessions")
	assert.Equal(t, 404, status, "sessions are not for the public")

	for _, path := range []string{"/http-bind", "/http-bind/", "//http-bind", "/http-bind//", "///http-bind///"} {
		c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: public + path, To: "example.org", XMPP: true, Transport: transport,
			Header: http.Header{"X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Proto": {"https"}}})
		require.NoError(t, err)
		el, err := c.Recv(t.Context())
		require.NoError(t, err)
		assert.Contains(t, string(el), "<mechanism>PLAIN</mechanism>")
		_, _, body = fetch(t, http.DefaultClient, admin+"/metrics")
		assert.Contains(t, body, "\nbosh_sessions 1\n")
		require.NoError(t, c.Terminate(t.Context()))
		c.Close()
		w.proxy.bridges.Wait()
	}
	c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: public + "/http-bind", To: "example.org", XMPP: true, Transport: transport})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, stop())
	<-c.Done()
	require.ErrorIs(t, c.Err(), boshclient.SystemShutdown)
	assert.Contains(t, log.String(), "client=198.51.100.7:0")
	for _, secret := range []string{"PLAIN", "<", c.Created().Attr("sid")} {
		assert.NotContains(t, log.String(), secret)
	}
}

// What is logged of a client or server is short, and the log says without -v why
// a server has failed.
func TestLog(t *testing.T) {
	e := serverAt(t, func(c net.Conn) {
		if _, err := expect(c, "xml:lang='en'>"); err == nil {
			io.WriteString(c, header+"<stream:features>"+plain+"</stream:features><a><"+strings.Repeat("b", 20_000)+"></c></a>")
			expect(c, streamEnd)
		}
	})
	w, log, stop := started(t, "-upstream", e.String(), "-tls", "none")
	url := "http://" + w.public.Addr().String() + "/http-bind"
	for _, to := range []string{strings.Repeat("x", 16_000), strings.Repeat("x.", 8_000), strings.Repeat("ü", 8_000), "a&#10;level=ERROR b", strings.Repeat("a", 64)} {
		body := "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' ver='1.11' hold='1' wait='60' to='" + to + "'/>"
		resp, err := http.Post(url, "text/xml", strings.NewReader(body))
		require.NoError(t, err)
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		assert.Contains(t, string(answer), "condition='host-unknown'")
	}
	c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: url, To: "example.org", XMPP: true})
	for err == nil { // the features may have been in time
		_, err = c.Recv(t.Context())
	}
	require.ErrorIs(t, err, boshclient.RemoteConnectionFailed)
	w.proxy.bridges.Wait()
	require.NoError(t, stop())
	for line := range strings.Lines(log.String()) {
		assert.Less(t, len(line), 1000)
		assert.True(t, strings.HasPrefix(line, "time="), "a line of a client's: %s", line)
	}
	assert.Regexp(t, `msg="session ended" .*reason=server-failed .*cause=.*not well-formed`, log.String())
	assert.Equal(t, 5, strings.Count(log.String(), "condition=host-unknown"))
}

// The form of the metrics is that of Prometheus, and every counter is there from the start.
func TestMetricsForm(t *testing.T) {
	m := metrics{stats: func() bosh.HandlerStats {
		return bosh.HandlerStats{Sessions: 3, MaxSessions: 9, Refused: map[string]int64{"host-unknown": 2}}
	}, kept: new(budget).taken}
	m.init()
	m.bounced.add("iq")
	m.connect.Observe(0.2)
	var b strings.Builder
	m.write(&b)
	kinds := map[string]bool{}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(name, " ")
			assert.Contains(t, []string{"counter", "gauge", "histogram", "summary"}, kind)
			assert.False(t, kinds[name], name)
			kinds[name] = true
			continue
		}
		if !strings.HasPrefix(line, "# HELP ") {
			assert.Regexp(t, `^[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+$`, line)
		}
	}
	for _, want := range []string{
		"bosh_sessions 3", "bosh_sessions_max 9", `bosh_sessions_refused_total{condition="host-unknown"} 2`,
		`bosh_sessions_refused_total{condition="policy-violation"} 0`, `bosh_sessions_ended_total{reason="inactive"} 0`,
		`bosh_proxy_stanzas_bounced_total{stanza="iq"} 1`, `bosh_proxy_stanzas_lost_total{stanza="message"} 0`,
		`bosh_proxy_streams_ended_total{reason="server-failed"} 0`, `bosh_proxy_slowed_total{limit="address"} 0`,
		`bosh_proxy_connect_seconds_bucket{le="0.25"} 1`,
	} {
		assert.Contains(t, b.String(), "\n"+want+"\n")
	}
}

func TestHealth(t *testing.T) {
	w, _, _ := started(t, "-upstream", "127.0.0.1:1")
	url := "http://" + w.admin.Addr().String() + "/healthz"
	status, _, _ := fetch(t, http.DefaultClient, url)
	assert.Equal(t, 200, status)
	require.NoError(t, w.proxy.bosh.Drain(t.Context()))
	status, _, body := fetch(t, http.DefaultClient, url)
	assert.Equal(t, 503, status)
	assert.Equal(t, "draining\n", body)
}

// What cannot be listened at ends the program at once.
func TestNoPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for _, flag := range []string{"-http", "-admin"} {
		cfg, err := parse([]string{"-http", "127.0.0.1:0", "-upstream", "127.0.0.1:1", flag, ln.Addr().String()}, io.Discard)
		require.NoError(t, err)
		assert.ErrorContains(t, run(t.Context(), cfg, io.Discard, nil), "in use")
	}
}
