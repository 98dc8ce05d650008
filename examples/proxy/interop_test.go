//go:build interop

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/sasl"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/enginetest"
)

func TestProsody(t *testing.T)  { suite(t, startProsody); pages(t, startProsody) }
func TestEjabberd(t *testing.T) { suite(t, startEjabberd) }

// pages runs the page of examples/chat in front of a server. One server and one engine
// will do: the page has tests of its own.
func pages(t *testing.T, start func(testing.TB) *realServer) {
	if enginetest.Direct() {
		return
	}
	s := start(t)
	for _, test := range []string{"chat", "reload", "cut", "shutdown"} {
		// What was said last is marked as sent when its request is answered: after wait, if
		// nobody says anything.
		t.Run("page/"+test, func(t *testing.T) {
			testPage(t, startProxy(t, "-upstream", s.c2s, "-ca", s.caFile, "-wait", "10s"), test)
		})
	}
}

// suite runs all tests against a server. They share it, but for those that stop
// it.
func suite(t *testing.T, start func(testing.TB) *realServer) {
	s := start(t)
	ways := map[string][]string{
		"starttls": {"-upstream", s.c2s, "-ca", s.caFile},
		"direct":   {"-upstream", s.direct, "-tls", "direct", "-ca", s.caFile},
		"insecure": {"-upstream", s.c2s, "-insecure"},
		"none":     {"-upstream", s.c2s, "-tls", "none"},
	}
	for way, args := range ways {
		t.Run("talk/"+way, func(t *testing.T) { testTalk(t, s, startProxy(t, args...)) })
	}
	args := ways["starttls"]
	t.Run("features", func(t *testing.T) { testFeatures(t, s, startProxy(t, args...)) })
	t.Run("password", func(t *testing.T) { testPassword(t, startProxy(t, args...)) })
	t.Run("certificate", func(t *testing.T) { testCertificate(t, s) })
	t.Run("domain", func(t *testing.T) { testDomain(t, s) })
	t.Run("lost", func(t *testing.T) { testLost(t, s, startProxy(t, append(args, "-inactivity", "1s", "-no-custody")...)) })
	t.Run("many", func(t *testing.T) { testMany(t, args) })
	t.Run("address", func(t *testing.T) { testAddress(t, s) })
	for i := range 10 { // each time something else is under way
		t.Run(fmt.Sprint("proxy-stopped/", i), func(t *testing.T) { testProxyStopped(t, s, startProxy(t, args...)) })
	}
	t.Run("proxy-stopped/vanished", func(t *testing.T) { testVanished(t, s, startProxy(t, append(args, "-no-custody")...)) })
	t.Run("resume", func(t *testing.T) { testResume(t, s, append(args, "-no-custody")) })
	t.Run("strophe.js", func(t *testing.T) {
		p := startProxy(t, append(args, "-wait", "5s")...)
		node(t, "strophe.mjs", "strophe", "INTEROP_HTTP="+p.url, "INTEROP_C2S="+s.c2s, "INTEROP_WAIT=5")
	})
	t.Run("server-stopped", func(t *testing.T) { testServerStopped(t, start) })
}

// testTalk lets two BOSH clients and one on TCP talk to each other.
func testTalk(t *testing.T, s *realServer, p *realProxy) {
	alice, c := boshUser(t, p.url, "alice")
	bob, _ := boshUser(t, p.url, "bob")
	tcp := tcpUser(t, s.c2s, "bob")
	users := []*user{alice, bob, tcp}
	for i, from := range users {
		for j, to := range users {
			text := fmt.Sprintf("from %d to %d: &lt;b&gt; &amp; 👋🏽 ſpéçïål", i, j)
			from.say(message(to.jid, "m", text))
			got := to.await("<message")
			assert.Contains(t, got, text)
			assert.Contains(t, got, from.jid)
		}
	}
	large := strings.Repeat("0123456789", 10_000)
	for i, from := range users {
		to := users[(i+1)%len(users)]
		from.say(message(to.jid, "large", large))
		assert.Contains(t, to.await("<message"), "<body>"+large+"</body>")
	}
	burst := 100
	for i := range burst {
		tcp.say(message(alice.jid, strconv.Itoa(i), "burst"))
	}
	for i := range burst {
		require.Regexp(t, fmt.Sprintf("id=['\"]%d['\"]", i), alice.await("<message"))
	}
	require.NoError(t, c.Terminate(t.Context(), "<presence xmlns='jabber:client' type='unavailable'/>"))
	eventually(t, "the server knows", func() bool { return strings.Contains(p.output.String(), "reason=client-ended") })
	bob.say("<iq xmlns='jabber:client' type='get' id='gone' to='" + alice.jid + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	assert.Contains(t, bob.await("id=['\"]gone['\"]"), "<service-unavailable")
}

// testFeatures looks at what a server offers with the proxy and without.
func testFeatures(t *testing.T, s *realServer, p *realProxy) {
	features := awaited(t, dialBOSH(t, p.url), "stream:features")
	for _, offer := range []string{"starttls", "compression", "-PLUS", "sasl-channel-binding"} {
		assert.NotContains(t, features, offer)
	}
	assert.Contains(t, features, "<mechanism>SCRAM-SHA-1</mechanism>")
	assert.Contains(t, features, "<mechanism>SCRAM-SHA-256</mechanism>")
	assert.Contains(t, p.output.String(), "server="+s.c2s)
}

func testPassword(t *testing.T, p *realProxy) {
	c := dialBOSH(t, p.url)
	awaited(t, c, "stream:features")
	err := authenticate(t, c, sasl.ScramSha256, "alice", "mallory")
	require.ErrorContains(t, err, "<not-authorized")
	// One can try again in the same session.
	require.NoError(t, authenticate(t, c, sasl.ScramSha256, "alice", "alice"))
}

// refused opens a session that must be refused.
func refused(t *testing.T, url, to, condition string) *boshclient.Error {
	t.Helper()
	_, err := boshtest.Dial(t.Context(), boshtest.Config{URL: url + "/http-bind", To: to, XMPP: true})
	var end *boshclient.Error
	require.ErrorAs(t, err, &end)
	require.EqualValues(t, condition, end.Condition)
	return end
}

// testCertificate has a proxy without trust in the server's certificate.
func testCertificate(t *testing.T, s *realServer) {
	p := startProxy(t, "-upstream", s.c2s)
	refused(t, p.url, "localhost", "remote-connection-failed")
	p = startProxy(t, "-upstream", s.direct, "-tls", "direct")
	refused(t, p.url, "localhost", "remote-connection-failed")
}

// testDomain asks for a domain that is unknown to the server, or to the proxy.
func testDomain(t *testing.T, s *realServer) {
	p := startProxy(t, "-upstream", s.c2s, "-insecure")
	body := refused(t, p.url, "nowhere.example", "remote-stream-error")
	assert.Contains(t, string(body.Payload), "<host-unknown")
	p = startProxy(t, "-upstream", s.c2s, "-insecure", "-domain", "localhost")
	refused(t, p.url, "nowhere.example", "host-unknown")
	awaited(t, dialBOSH(t, p.url), "stream:features")
	p = startProxy(t, "-upstream", s.c2s, "-tls", "none")
	body = refused(t, p.url, "nowhere.example", "remote-stream-error")
	assert.Contains(t, string(body.Payload), "<host-unknown")
}

// testLost has a client vanish. Everybody with messages for it must hear of it.
func testLost(t *testing.T, s *realServer, p *realProxy) {
	c := dialBOSH(t, p.url, func(cfg *boshtest.Config) { cfg.Manual = true })
	alice := login(t, &polling{c}, sasl.ScramSha256, "alice")
	bob := tcpUser(t, s.c2s, "bob")
	bob.say(message(alice.jid, "m1", "are you there?"),
		"<iq xmlns='jabber:client' type='get' id='i1' to='"+alice.jid+"'><query xmlns='jabber:iq:version'/></iq>",
		"<presence xmlns='jabber:client' to='"+alice.jid+"'/>",
		"<iq xmlns='jabber:client' type='result' id='i2' to='"+alice.jid+"'/>")
	assert.Contains(t, bob.await("id=['\"]m1['\"]"), "<recipient-unavailable")
	assert.Contains(t, bob.await("id=['\"]i1['\"]"), "<service-unavailable")
	eventually(t, "the proxy knows", func() bool { return strings.Contains(p.output.String(), "reason=client-lost") })
	metrics := get(t, p.admin+"/metrics")
	assert.Contains(t, metrics, `bosh_proxy_stanzas_bounced_total{stanza="message"} 1`)
	assert.Contains(t, metrics, `bosh_proxy_stanzas_bounced_total{stanza="iq"} 1`)
	assert.Contains(t, metrics, `bosh_proxy_streams_ended_total{reason="client-lost"} 1`)
	assert.Contains(t, metrics, "bosh_sessions 0\n")
	bob.say("<iq xmlns='jabber:client' type='get' id='i3' to='" + alice.jid + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	assert.Contains(t, bob.await("id=['\"]i3['\"]"), "<service-unavailable")
}

// polling polls whenever something is waited for.
type polling struct{ *boshtest.Client }

func (p *polling) Recv(ctx context.Context) ([]byte, error) {
	for {
		now, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		el, err := p.Client.Recv(now)
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return el, err
		}
		p.Wake()
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// testMany opens 200 sessions at once, each of which writes to the next.
func testMany(t *testing.T, args []string) {
	p := startProxy(t, append(args, "-timeout", "60s")...) // for a slow machine
	const n = 200
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * n}
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	users := make([]*user, n)
	for i := range users {
		wg.Go(func() {
			c := dialBOSH(t, p.url, func(cfg *boshtest.Config) { cfg.Transport = transport })
			users[i] = login(t, c, sasl.ScramSha256, []string{"alice", "bob"}[i%2])
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i, u := range users {
		wg.Go(func() { u.say(message(users[(i+1)%n].jid, strconv.Itoa(i), "hello")) })
	}
	for i, u := range users {
		wg.Go(func() { u.await(fmt.Sprintf("<message[^>]*id=['\"]%d['\"]", (i+n-1)%n)) })
	}
	wg.Wait()
	assert.Contains(t, get(t, p.admin+"/metrics"), "\nbosh_sessions 200\n")
}

// testAddress has an HTTP proxy in front, and a server that is told the
// client's address.
func testAddress(t *testing.T, s *realServer) {
	args := []string{"-upstream", s.c2s, "-insecure", "-trust", "127.0.0.1/32"}
	if s.proxied != "" {
		args = []string{"-upstream", s.proxied, "-insecure", "-trust", "127.0.0.1/32", "-proxy-protocol"}
	}
	p := startProxy(t, args...)
	c := dialBOSH(t, p.url, func(cfg *boshtest.Config) {
		cfg.Header = http.Header{"X-Forwarded-For": {"203.0.113.9, 198.51.100.7"}}
	})
	login(t, c, sasl.ScramSha256, "alice")
	assert.Contains(t, p.output.String(), "client=198.51.100.7:0 ")
	// Nobody is the proxy itself who does not say where it comes from.
	c = dialBOSH(t, p.url, func(cfg *boshtest.Config) { cfg.Header = http.Header{"X-Forwarded-For": {"203.0.113.9, nonsense"}} })
	login(t, c, sasl.ScramSha256, "alice")
	assert.Contains(t, p.output.String(), "client=unknown ")
	if s.proxied != "" {
		assert.Contains(t, s.log(), "198.51.100.7")
		assert.NotContains(t, s.log(), "203.0.113.9")
		assert.Contains(t, s.log(), "Accepted proxied connection 192.0.0.8:0")
		assert.NotContains(t, s.log(), "Accepted proxied connection 127.")
	}
}

// testVanished stops the proxy while a client is gone that has not fetched all.
func testVanished(t *testing.T, s *realServer, p *realProxy) {
	c := dialBOSH(t, p.url, func(cfg *boshtest.Config) { cfg.Manual = true })
	alice := login(t, &polling{c}, sasl.ScramSha256, "alice")
	bob := tcpUser(t, s.c2s, "bob")
	for i := range 3 {
		bob.say(message(alice.jid, fmt.Sprint("m", i), "are you there?"))
	}
	eventually(t, "the proxy has them", func() bool {
		return regexp.MustCompile(`"queued": ?[1-9]`).MatchString(get(t, p.admin+"/sessions?format=json"))
	})
	p.process.stop(t, syscall.SIGTERM)
	require.NoError(t, p.process.err)
	for i := range 3 {
		assert.Contains(t, bob.await(fmt.Sprintf("id=['\"]m%d['\"]", i)), "<recipient-unavailable")
	}
}

// testProxyStopped stops the proxy in the middle of a session.
func testProxyStopped(t *testing.T, s *realServer, p *realProxy) {
	alice, c := boshUser(t, p.url, "alice")
	bob := tcpUser(t, s.c2s, "bob")
	for i := range 20 {
		bob.say(message(alice.jid, strconv.Itoa(i), "before the end"))
	}
	p.process.stop(t, syscall.SIGTERM)
	require.NoError(t, p.process.err)
	<-c.Done()
	require.ErrorIs(t, c.Err(), boshclient.SystemShutdown)
	// Each message has arrived, or its sender knows of the loss, or the server keeps it
	// since it came after the session's end.
	got := make(map[string]bool)
	arrived := func(el []byte) {
		if st := parseStanza(el, usual); st.name == "message" {
			require.False(t, got[st.id], "twice: %s", st.id)
			got[st.id] = true
		}
	}
	for {
		el, err := c.Recv(t.Context())
		if err != nil {
			break
		}
		arrived(el)
	}
	bob.say("<iq xmlns='jabber:client' type='get' id='last' to='" + alice.jid + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	for {
		el := bob.await("<(message|iq)")
		st := parseStanza([]byte(el), usual)
		if st.id == "last" {
			assert.Contains(t, el, "<service-unavailable", "the server was not told")
			break
		}
		require.Equal(t, "error", st.kind)
		require.False(t, got[st.id], "arrived, and returned: %s", st.id)
		got[st.id] = true
	}
	again := &recorder{speaker: dialTCP(t, s.c2s)}
	login(t, again, sasl.Plain, "alice")
	for _, el := range again.got {
		arrived(el)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(got) < 20 {
		el, err := again.speaker.Recv(ctx)
		if err != nil {
			break
		}
		arrived(el)
	}
	assert.Len(t, got, 20)
}

// testResume has a client that manages its stream itself, and resumes it by
// another proxy after its own has been stopped.
func testResume(t *testing.T, s *realServer, args []string) {
	p := startProxy(t, args...)
	alice, c := boshUser(t, p.url, "alice")
	alice.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	id := regexp.MustCompile(` id=['"]([^'"]+)['"]`).FindStringSubmatch(alice.await("<enabled"))[1]
	bob := tcpUser(t, s.c2s, "bob")
	say := func(from, to int) {
		for i := from; i < to; i++ {
			bob.say(message(alice.jid, strconv.Itoa(i), "hello"))
		}
	}
	hear := func(from, to int) {
		for i := from; i < to; i++ {
			require.Regexp(t, fmt.Sprintf("id=['\"]%d['\"]", i), alice.await("<message"))
		}
	}
	say(0, 3)
	hear(0, 3)
	p.process.stop(t, syscall.SIGTERM)
	require.NoError(t, p.process.err)
	<-c.Done()
	say(3, 6)

	p = startProxy(t, args...)
	alice.speaker = dialBOSH(t, p.url)
	alice.await("<mechanism>SCRAM-SHA-256</mechanism>")
	require.NoError(t, authenticate(t, alice.speaker, sasl.ScramSha256, "alice", "alice"))
	require.NoError(t, alice.Restart(t.Context()))
	alice.await("features.*urn:xmpp:sm:3")
	alice.say("<resume xmlns='urn:xmpp:sm:3' h='3' previd='" + id + "'/>")
	alice.await("<resumed")
	hear(3, 6)
	say(6, 9)
	hear(6, 9)
	alice.say("<a xmlns='urn:xmpp:sm:3' h='9'/>") // or the server keeps them for the next log-in
}

// A recorder keeps what is received.
type recorder struct {
	speaker
	got [][]byte
}

func (r *recorder) Recv(ctx context.Context) ([]byte, error) {
	el, err := r.speaker.Recv(ctx)
	if err == nil {
		r.got = append(r.got, el)
	}
	return el, err
}

// testServerStopped stops the server in the middle of a session: in good order,
// and by force.
func testServerStopped(t *testing.T, start func(testing.TB) *realServer) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			s := start(t)
			p := startProxy(t, "-upstream", s.c2s, "-ca", s.caFile)
			u, c := boshUser(t, p.url, "alice")
			u.say("<iq type='get' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>")
			u.await("id=['\"]ping") // Prosody has no last words for one that has just come
			s.process.stop(t, sig)
			select {
			case <-c.Done():
			case <-time.After(30 * time.Second):
				t.Fatal("the client does not hear of it")
			}
			want := "remote-stream-error"
			if sig == syscall.SIGKILL {
				want = "remote-connection-failed"
			}
			var end *boshclient.Error
			require.ErrorAs(t, c.Err(), &end)
			require.EqualValues(t, want, end.Condition)
			if sig == syscall.SIGTERM {
				assert.Contains(t, string(end.Payload), "<system-shutdown")
			}
			refused(t, p.url, "localhost", "remote-connection-failed")
		})
	}
}

// testPage runs the page of examples/chat in a browser. It comes from a web
// server that passes BOSH on, as operators have it.
func testPage(t *testing.T, p *realProxy, test string) {
	pass := func(to string) http.Handler {
		target, err := url.Parse(to)
		require.NoError(t, err)
		return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		}}
	}
	mux := http.NewServeMux()
	mux.Handle("/http-bind", pass(p.url))
	mux.Handle("/", pass(startChat(t)))
	web := httptest.NewServer(mux)
	defer web.Close()
	node(t, "page.mjs", test, "INTEROP_HTTP="+web.URL, "INTEROP_PID="+strconv.Itoa(p.process.cmd.Process.Pid))
}
