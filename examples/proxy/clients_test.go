//go:build interop

package main

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/sasl"

	"github.com/gobosh/bosh/boshtest"
)

// A speaker sends and receives elements, over BOSH or TCP.
type speaker interface {
	Send(ctx context.Context, elements ...string) error
	Recv(ctx context.Context) ([]byte, error)
	Restart(ctx context.Context) error
}

// A user is an XMPP client that is logged in.
type user struct {
	speaker
	t   testing.TB
	jid string
}

// awaited returns the first element that matches, and skips others.
func awaited(t testing.TB, w speaker, pattern string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	re := regexp.MustCompile(pattern)
	var seen []string
	for {
		el, err := w.Recv(ctx)
		require.NoError(t, err, "waiting for %s; there came %s", pattern, seen)
		if re.Match(el) {
			return string(el)
		}
		seen = append(seen, string(el[:min(len(el), 500)]))
	}
}

func (u *user) await(pattern string) string {
	u.t.Helper()
	return awaited(u.t, u.speaker, pattern)
}

func (u *user) say(elements ...string) {
	u.t.Helper()
	require.NoError(u.t, u.Send(u.t.Context(), elements...))
}

// message returns a chat message.
func message(to, id, text string) string {
	return fmt.Sprintf("<message xmlns='jabber:client' to='%s' id='%s' type='chat'><body>%s</body></message>", to, id, text)
}

// errAuth is the failure of an authentication.
type errAuth string

func (e errAuth) Error() string { return string(e) }

// authenticate logs in over a speaker on which the features have arrived.
func authenticate(t testing.TB, w speaker, m sasl.Mechanism, name, password string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	n := sasl.NewClient(m, sasl.Credentials(func() (_, _, _ []byte) { return []byte(name), []byte(password), nil }))
	_, resp, err := n.Step(nil)
	require.NoError(t, err)
	require.NoError(t, w.Send(ctx, fmt.Sprintf("<auth xmlns='%s' mechanism='%s'>%s</auth>", nsSASL, m.Name, base64.StdEncoding.EncodeToString(resp))))
	for {
		el, err := w.Recv(ctx)
		require.NoError(t, err)
		var data struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		}
		require.NoError(t, xml.Unmarshal(el, &data))
		if data.XMLName.Local == "failure" {
			return errAuth(el)
		}
		challenge, err := base64.StdEncoding.DecodeString(data.Text)
		require.NoError(t, err)
		if data.XMLName.Local == "success" && len(challenge) == 0 {
			return nil
		}
		more, resp, err := n.Step(challenge)
		require.NoError(t, err)
		if data.XMLName.Local == "success" {
			require.False(t, more)
			return nil
		}
		require.Equal(t, "challenge", data.XMLName.Local)
		require.NoError(t, w.Send(ctx, fmt.Sprintf("<response xmlns='%s'>%s</response>", nsSASL, base64.StdEncoding.EncodeToString(resp))))
	}
}

// login logs in, binds a resource and becomes available.
func login(t testing.TB, w speaker, m sasl.Mechanism, name string) *user {
	t.Helper()
	awaited(t, w, "<mechanism>"+m.Name+"</mechanism>")
	require.NoError(t, authenticate(t, w, m, name, name))
	require.NoError(t, w.Restart(t.Context()))
	awaited(t, w, "features.*<bind")
	u := &user{speaker: w, t: t}
	u.say("<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	u.jid = regexp.MustCompile("<jid>([^<]+)</jid>").FindStringSubmatch(u.await("<jid>"))[1]
	u.say("<iq xmlns='jabber:client' type='set' id='session'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>", "<presence xmlns='jabber:client'/>")
	u.await("<presence")
	return u
}

// dialBOSH opens a BOSH session. It ends with the test.
func dialBOSH(t testing.TB, url string, change ...func(*boshtest.Config)) *boshtest.Client {
	t.Helper()
	cfg := boshtest.Config{URL: url + "/http-bind", To: "localhost", XMPP: true}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := boshtest.Dial(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.Terminate(ctx) // so that nobody has to wait for it
		c.Close()
	})
	return c
}

// boshUser logs in over BOSH by SCRAM.
func boshUser(t testing.TB, url, name string) (*user, *boshtest.Client) {
	t.Helper()
	c := dialBOSH(t, url)
	return login(t, c, sasl.ScramSha256, name), c
}

// A tcpWire is an XMPP stream on TCP.
type tcpWire struct {
	net.Conn
	in splitter
}

// tcpUser logs in over TCP.
func tcpUser(t testing.TB, addr, name string) *user {
	t.Helper()
	return login(t, dialTCP(t, addr), sasl.Plain, name)
}

// dialTCP opens a stream on TCP. It ends with the test.
func dialTCP(t testing.TB, addr string) *tcpWire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	w := &tcpWire{Conn: c, in: splitter{max: 1 << 20}}
	require.NoError(t, w.Restart(t.Context()))
	return w
}

func (w *tcpWire) Restart(ctx context.Context) error {
	return w.Send(ctx, "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='"+nsStream+"'>")
}

func (w *tcpWire) Send(_ context.Context, elements ...string) error {
	_, err := w.Write([]byte(strings.Join(elements, "")))
	return err
}

func (w *tcpWire) Recv(ctx context.Context) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	w.SetReadDeadline(deadline)
	for {
		it, err := w.in.next()
		if err == nil && it.kind == itemElement {
			return []byte(strings.Replace(string(it.data), "<stream:features", "<stream:features xmlns:stream='"+nsStream+"'", 1)), nil
		}
		if err == nil {
			continue
		}
		n, err := w.Read(w.in.space())
		w.in.filled(n)
		if n == 0 {
			return nil, err
		}
	}
}
