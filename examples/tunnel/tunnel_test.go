package tunnel

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"golang.org/x/crypto/ssh"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// A tunnel is a listener, and a way to it.
type tunnel struct {
	net.Listener
	dial func(ctx context.Context) (net.Conn, error)
}

// overBOSH has a test run over good connections and bad ones, with both engines.
func overBOSH(t *testing.T, test func(t *testing.T, u *tunnel)) {
	for _, direct := range []bool{false, true} {
		for _, rate := range []float64{0, 0.1} {
			t.Run(fmt.Sprintf("direct %v, faults %v", direct, rate), func(t *testing.T) {
				h := bosh.New(bosh.Options{Framing: bosh.Opaque, Direct: direct, MaxRepeats: -1, Logger: slog.New(slog.DiscardHandler)})
				server := httptest.NewServer(h)
				t.Cleanup(func() {
					h.Close()
					server.Close()
				})
				faults := &boshtest.Faults{Transport: server.Client().Transport, Seed: 1, Rates: boshtest.Evenly(rate)}
				o := &boshclient.Options{Framing: boshclient.Opaque, Backoff: 10 * time.Millisecond, HTTPClient: &http.Client{Transport: faults}}
				test(t, &tunnel{h.Listener(), func(ctx context.Context) (net.Conn, error) {
					return boshclient.Dial(ctx, server.URL, o)
				}})
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMQTT(t *testing.T) {
	overBOSH(t, func(t *testing.T, u *tunnel) {
		broker := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
		must(t, broker.AddHook(new(auth.AllowHook), nil))
		must(t, broker.AddListener(listeners.NewNet("bosh", u)))
		must(t, broker.Serve())
		defer broker.Close()

		connect := func(name string) paho.Client {
			o := paho.NewClientOptions().AddBroker("tcp://bosh").SetClientID(name).SetAutoReconnect(false)
			o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return u.dial(t.Context()) })
			c := paho.NewClient(o)
			wait(t, c.Connect())
			return c
		}
		const n = 100
		got := make(chan string, n)
		sub, pub := connect("subscriber"), connect("publisher")
		wait(t, sub.Subscribe("news/#", 2, func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) }))
		for i := range n {
			pub.Publish("news/bosh", byte(i%3), false, fmt.Sprint(i, strings.Repeat("x", i*50)))
		}
		seen := make(map[string]bool) // their order is for each quality of service
		for range n {
			select {
			case text := <-got:
				seen[strings.TrimRight(text, "x")] = true
			case <-time.After(30 * time.Second):
				t.Fatalf("%d of %d messages came", len(seen), n)
			}
		}
		if len(seen) != n {
			t.Errorf("%d messages came, some twice", len(seen))
		}
		pub.Disconnect(250)
		sub.Disconnect(250)
	})
}

func wait(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(30 * time.Second) {
		t.Fatal("no answer of the broker")
	}
	must(t, token.Error())
}

func TestSSH(t *testing.T) {
	overBOSH(t, func(t *testing.T, u *tunnel) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		signer, err := ssh.NewSignerFromKey(key)
		must(t, err)
		config := &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if string(password) != "secret" {
				return nil, fmt.Errorf("no")
			}
			return nil, nil
		}}
		config.AddHostKey(signer)
		go func() {
			for {
				c, err := u.Accept()
				if err != nil {
					return
				}
				go serveSSH(c, config)
			}
		}()
		login := func(password string) (*ssh.Client, error) {
			c, err := u.dial(t.Context())
			must(t, err)
			sc, chans, reqs, err := ssh.NewClientConn(c, "bosh", &ssh.ClientConfig{
				User: "juliet", Auth: []ssh.AuthMethod{ssh.Password(password)}, HostKeyCallback: ssh.FixedHostKey(signer.PublicKey())})
			if err != nil {
				c.Close()
				return nil, err
			}
			return ssh.NewClient(sc, chans, reqs), nil
		}
		if _, err := login("wrong"); err == nil {
			t.Fatal("logged in with another password")
		}
		client, err := login("secret")
		must(t, err)
		defer client.Close()
		session, err := client.NewSession()
		must(t, err)
		sent := make([]byte, 200_000)
		rand.Read(sent)
		session.Stdin = bytes.NewReader(sent)
		got, err := session.Output("cat")
		must(t, err)
		if !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came back, and not as they were", len(got))
		}
	})
}

// serveSSH serves programs that all are cat.
func serveSSH(c net.Conn, config *ssh.ServerConfig) {
	_, chans, reqs, err := ssh.NewServerConn(c, config)
	if err != nil {
		c.Close()
		return
	}
	go ssh.DiscardRequests(reqs)
	for newChannel := range chans {
		ch, reqs, err := newChannel.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range reqs {
				r.Reply(r.Type == "exec", nil)
				if r.Type == "exec" {
					go func() {
						io.Copy(ch, ch)
						ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
						ch.Close()
					}()
				}
			}
		}()
	}
}

func TestHTTP2(t *testing.T) {
	overBOSH(t, func(t *testing.T, u *tunnel) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Proto", r.Proto)
			io.Copy(w, r.Body)
		}))
		server.Listener.Close()
		server.Listener, server.EnableHTTP2 = u, true
		server.StartTLS()
		transport := server.Client().Transport.(*http.Transport)
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return u.dial(ctx) }
		defer transport.CloseIdleConnections()

		const n = 20
		failed := make(chan error, n)
		for i := range n {
			go func() { failed <- echo(server.Client(), "https://example.com/", strings.Repeat(fmt.Sprint(i), 5000)) }()
		}
		for range n {
			must(t, <-failed)
		}
	})
}

func echo(c *http.Client, url, text string) error {
	r, err := c.Post(url, "text/plain", strings.NewReader(text))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && (string(b) != text || r.Header.Get("Proto") != "HTTP/2.0") {
		err = fmt.Errorf("%d bytes came back by %s", len(b), r.Header.Get("Proto"))
	}
	return err
}
