package stream_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/sasl"
	"mellium.im/xmlstream"
	mellium "mellium.im/xmpp"
	"mellium.im/xmpp/jid"
)

// The tests of this file and the next put an unmodified server on
// mellium.im/xmpp behind a Stream. Its habits, and those of encoding/xml under
// it, are numbered as pitfalls; each has a test that names it.

const (
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBindRes = "urn:ietf:params:xml:ns:xmpp-bind"
)

// xmppCreation are the attributes of a session for XMPP.
const xmppCreation = "xmlns:xmpp='" + NsXBOSH + "' xmpp:version='1.0'"

// A server is one session of a server on mellium.
type server struct {
	conn    *bosh.Stream
	session chan *mellium.Session // gets it when it has been negotiated
	done    chan error            // gets what negotiation or Serve returned
}

// startServer runs the server on a stream. The test ends when it has.
func startServer(ctx context.Context, t *testing.T, conn *bosh.Stream) *server {
	srv := &server{conn, make(chan *mellium.Session, 1), make(chan error, 1)}
	go func() {
		defer conn.Close()
		session, err := negotiate(ctx, conn)
		if err == nil {
			srv.session <- session
			err = session.Serve(mellium.HandlerFunc(echoStanza))
		}
		srv.done <- err
	}()
	return srv
}

// negotiate takes a client's login: by PLAIN as juliet with the password
// romeo, and binds the resource balcony.
func negotiate(ctx context.Context, conn io.ReadWriter) (*mellium.Session, error) {
	check := func(n *sasl.Negotiator) bool {
		user, password, _ := n.Credentials()
		return string(user) == "juliet" && string(password) == "romeo"
	}
	bind := func(jid.JID, string) (jid.JID, error) {
		return jid.Parse("juliet@example.com/balcony") // pitfall 6: BindResource would make "/…" of it
	}
	return mellium.ReceiveSession(ctx, conn, mellium.Secure, mellium.NewNegotiator(
		func(*mellium.Session, *mellium.StreamConfig) mellium.StreamConfig {
			return mellium.StreamConfig{Features: []mellium.StreamFeature{
				mellium.SASLServer(check, sasl.Plain), mellium.BindCustom(bind),
			}}
		}))
}

// echoStanza sends each message back.
func echoStanza(rw xmlstream.TokenReadEncoder, start *xml.StartElement) error {
	if start.Name != (xml.Name{Space: "jabber:client", Local: "message"}) {
		return nil
	}
	_, err := xmlstream.Copy(rw, xmlstream.MultiReader(xmlstream.Token(*start), rw))
	return err
}

var auth = "<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" +
	base64.StdEncoding.EncodeToString([]byte("\x00juliet\x00romeo")) + "</auth>"

const (
	restarting = "xmlns:xmpp='" + NsXBOSH + "' xmpp:restart='true' to='example.com'"
	bindIQ     = "<iq xmlns='jabber:client' type='set' id='b1'><bind xmlns='" + nsBindRes + "'/></iq>"
)

// connectXMPP creates a session whose stream nobody serves yet.
func connectXMPP(t *testing.T, attrs string) (*bosh.Stream, *Peer, *boshtest.Call) {
	t.Helper()
	h := NewHandler(t, bosh.Options{})
	rt := boshtest.InMemory(h)
	c := boshtest.Post(t, rt, Creation(attrs))
	return Accept(t, h), &Peer{T: t, Rt: rt, Rid: 1000}, c
}

// login creates a session with a server behind it and logs in.
func login(t *testing.T) (*server, *Peer) {
	t.Helper()
	conn, p, c := connectXMPP(t, xmppCreation)
	srv := startServer(t.Context(), t, conn)
	p.Created = c.Wait()
	p.Sid = p.Created.Attr("sid")
	require.Contains(t, p.Created.Payload(), "<mechanism>PLAIN</mechanism>")
	require.Equal(t, "<success xmlns='"+nsSASL+"'></success>", quoted(p.Send(auth)))
	require.Contains(t, p.Send("", restarting).Payload(), nsBindRes)
	require.Contains(t, p.Send(bindIQ).Payload(), "<jid>juliet@example.com/balcony</jid>")
	return srv, p
}

// quoted returns the payload of an answer in single quotes.
func quoted(r *boshtest.Response) string { return strings.ReplaceAll(r.Payload(), `"`, "'") }

func TestMelliumLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p := login(t)
		session := <-srv.session
		assert.Equal(t, mellium.Ready, session.State()&mellium.Ready)
		assert.Equal(t, mellium.Authn, session.State()&mellium.Authn)
		assert.Equal(t, "1.0", p.Created.Attr("xmpp:version"))
		assert.Equal(t, "true", p.Created.Attr("xmpp:restartlogic"))
		assert.Equal(t, "example.com", p.Created.Attr("from"))
		assert.NotEmpty(t, p.Created.Attr("authid"))

		r := p.Send("<message to='a@example.com' id='1'><body>one &lt; two</body></message><message id='2'/>")
		payloads := r.Payloads
		for len(payloads) < 2 { // the server writes them one by one
			payloads = append(payloads, p.Send("").Payloads...)
		}
		var m struct {
			XMLName xml.Name `xml:"jabber:client message"`
			ID      string   `xml:"id,attr"`
			Body    string   `xml:"jabber:client body"`
		}
		require.NoError(t, xml.Unmarshal(payloads[0], &m))
		assert.Equal(t, "1", m.ID)
		assert.Equal(t, "one < two", m.Body)

		RequireEnd(t, p.Send("<message id='last'/>", "type='terminate'"), "")
		assert.NoError(t, <-srv.done, "a graceful end")
	})
}

// A stanza of 10 kB takes several Writes, and goes out whole.
func TestMelliumLargeStanza(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p := login(t)
		text := strings.Repeat("0123456789", 1000)
		r := p.Send("<message xmlns='jabber:client'><body>" + text + "</body></message>")
		require.Len(t, r.Payloads, 1)
		assert.Contains(t, r.Payload(), text)
		p.Send("", "type='terminate'")
		assert.NoError(t, <-srv.done)
	})
}

// An iq that the application leaves unanswered is answered by mellium.
func TestMelliumUnansweredIQ(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p := login(t)
		r := p.Send("<iq xmlns='jabber:client' type='get' id='i1'><query xmlns='u'/></iq>")
		assert.Contains(t, r.Payload(), "service-unavailable")
		assert.Contains(t, r.Payload(), `id="i1"`)
		p.Send("", "type='terminate'")
		assert.NoError(t, <-srv.done)
	})
}

func TestMelliumWrongPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, p, c := connectXMPP(t, xmppCreation)
		srv := startServer(t.Context(), t, conn)
		p.Sid = c.Wait().Attr("sid")
		r := p.Send("<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>AGp1bGlldAB0eWJhbHQ=</auth>")
		assert.Contains(t, r.Payload(), "<failure")
		require.Error(t, <-srv.done)
		if r.Attr("type") == "" {
			r = p.Send("")
		}
		RequireEnd(t, r, "")
	})
}

// The server ends the session: by Close on its side, and then the stream's.
func TestMelliumServerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p := login(t)
		session := <-srv.session
		c := p.Hold("")
		require.NoError(t, session.Close())
		RequireEnd(t, c.Wait(), "")
		assert.NoError(t, <-srv.done, "pitfall 16: Serve waits for the client's end tag")
		RequireEnd(t, p.Send(""), bosh.ItemNotFound)
	})
}

// pitfall 16: while the client has not been told, Serve goes on; the close
// deadline is the read deadline, and ends it.
func TestMelliumCloseDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, p, c := connectXMPP(t, xmppCreation)
		negotiated := Async(func() *mellium.Session {
			session, err := negotiate(t.Context(), conn)
			assert.NoError(t, err)
			return session
		})
		p.Sid = c.Wait().Attr("sid")
		p.Send(auth)
		p.Send("", restarting)
		p.Send(bindIQ)
		session, begin := <-negotiated, time.Now()
		require.NoError(t, session.SetCloseDeadline(begin.Add(5*Second)))
		done := Async(func() error { return session.Serve(nil) })
		require.NoError(t, session.Close())
		require.True(t, Pending(done))
		<-done
		assert.Equal(t, 5*Second, time.Since(begin))
	})
}

func TestMelliumClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p := login(t)
		c := p.Hold("")
		c.Cancel()
		err := <-srv.done
		// pitfall 15: Serve returns the error of its last Write.
		assert.ErrorIs(t, err, &bosh.Error{})
		assert.ErrorContains(t, err, "inactive")
	})
}

func TestPitfall1(t *testing.T) {
	t.Run("pitfall 1: without the state Secure there are no features", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, _, c := connectXMPP(t, xmppCreation)
			srv := startServer(t.Context(), t, conn)
			assert.Contains(t, c.Wait().Payload(), "PLAIN", "with it there are")
			conn.Close()
			assert.Error(t, <-srv.done)
		})
	})
}

func TestPitfall2(t *testing.T) {
	t.Run("pitfall 2: servers call ConnectionState, and panic if it is empty", func(t *testing.T) {
		var conn any = (*bosh.Stream)(nil)
		_, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
		assert.False(t, ok)
	})
}

func TestPitfall7(t *testing.T) {
	t.Run("pitfall 7: SASLServer can do PLAIN, so what the client says comes whole", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, p, c := connectXMPP(t, xmppCreation)
			Write(t, conn, ServerHeader+Features)
			p.Sid = c.Wait().Attr("sid")
			header := make([]byte, 1000)
			_, err := conn.Read(header)
			require.NoError(t, err)
			p.Hold(auth)
			RequireRead(t, conn, auth)
		})
	})
}

func TestPitfall8(t *testing.T) {
	t.Run("pitfall 8: the header of a restart never comes with what was before it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, p, c := connectXMPP(t, xmppCreation)
			Write(t, conn, ServerHeader+Features)
			p.Sid = c.Wait().Attr("sid")
			p.Post(auth)
			synctest.Wait()
			Write(t, conn, Success)
			p.Post("", restarting)
			synctest.Wait()
			b := make([]byte, 10_000)
			for _, want := range []string{"<stream:stream ", auth, "<stream:stream "} {
				n, err := conn.Read(b)
				require.NoError(t, err)
				assert.True(t, strings.HasPrefix(string(b[:n]), want), "%s", b[:n])
				assert.Equal(t, 1, strings.Count(string(b[:n]), "</")+strings.Count(string(b[:n]), "<stream:stream "), "%s", b[:n])
			}
		})
	})
	t.Run("pitfall 8: mellium logs in also if there was a restart before it reads (X5-13)", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, p, c := connectXMPP(t, xmppCreation)
			p.Sid = c.Wait().Attr("sid") // without features
			p.Post(auth)
			p.Post("", restarting)
			time.Sleep(Second)
			srv := startServer(t.Context(), t, conn)
			time.Sleep(Second)
			p.Post("", restarting)
			time.Sleep(Second)
			r := p.Send(bindIQ)
			for !strings.Contains(r.Payload(), "balcony") {
				r = p.Send("")
			}
			<-srv.session
			p.Send("", "type='terminate'")
			assert.NoError(t, <-srv.done)
		})
	})
}

func TestPitfall14(t *testing.T) {
	t.Run("pitfall 14: a context that ends interrupts a Read each time", func(t *testing.T) {
		for range 20 {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				conn, _, c := connectXMPP(t, xmppCreation)
				srv := startServer(ctx, t, conn)
				c.Wait()
				require.True(t, Pending(srv.done))
				begin := time.Now()
				cancel()
				assert.Error(t, <-srv.done)
				assert.Zero(t, time.Since(begin))
			})
		}
	})
}

func TestPitfall17(t *testing.T) {
	t.Run("pitfall 17: a decoder in a handler wants the start element again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, p, c := connectXMPP(t, xmppCreation)
			got := make(chan string, 1)
			done := Async(func() error {
				session, err := negotiate(t.Context(), conn)
				if err != nil {
					return err
				}
				defer conn.Close()
				return session.Serve(mellium.HandlerFunc(func(rw xmlstream.TokenReadEncoder, start *xml.StartElement) error {
					var m struct {
						Body string `xml:"body"`
					}
					d := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), rw))
					err := d.Decode(&m)
					got <- m.Body
					return err
				}))
			})
			p.Sid = c.Wait().Attr("sid")
			p.Send(auth)
			p.Send("", restarting)
			p.Send(bindIQ)
			p.Send("<message><body>text</body></message>", "type='terminate'")
			assert.NoError(t, <-done)
			assert.Equal(t, "text", <-got)
		})
	})
}
