package stream_test

import (
	"encoding/xml"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A plainServer serves a stream as a server does that knows TCP alone, with the
// assumptions of ortuman/jackal: STARTTLS is silently nothing on what is no *net.TCPConn,
// and the stream counts as secure from then on; a connection that says nothing for
// three minutes is closed.
type plainServer struct{ secured bool }

func (s *plainServer) serve(conn net.Conn) {
	defer conn.Close()
	in := xml.NewDecoder(idleReader{conn})
	for {
		token, err := in.Token()
		start, ok := token.(xml.StartElement)
		switch {
		case err != nil:
			return
		case !ok:
		case start.Name.Local == "stream":
			features := "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
			if s.secured {
				features = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
			}
			fmt.Fprint(conn, "<stream:stream xmlns='jabber:client' xmlns:stream='"+NsStream+"' version='1.0' id='1'><stream:features>"+
				features+"<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression></stream:features>")
		case start.Name.Local == "starttls":
			fmt.Fprint(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			s.secured = true // and tls.Server only for a *net.TCPConn
		}
	}
}

type idleReader struct{ net.Conn }

func (r idleReader) Read(b []byte) (int, error) {
	defer time.AfterFunc(3*time.Minute, func() { r.Close() }).Stop()
	return r.Conn.Read(b)
}

const versionOne = "xmpp:version='1.0' xmlns:xmpp='" + NsXBOSH + "'"

// serveConnect is connect to a server, which says its features in the first answer.
func serveConnect(t *testing.T, o bosh.Options, server *plainServer) (*bosh.Stream, *Peer) {
	h := NewHandler(t, o)
	streams := make(chan *bosh.Stream, 1)
	go func() {
		c, err := h.Listener().Accept()
		if err == nil {
			streams <- c.(*bosh.Stream)
			server.serve(c)
		}
	}()
	p := Dial(t, boshtest.InMemory(h), versionOne)
	return <-streams, p
}

// Nobody talks such a server into taking a stream in the clear for a secure one, and
// no client sees what it cannot have.
func TestPlainServerUpgrades(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := new(plainServer)
		st, p := serveConnect(t, bosh.Options{}, server)
		features := string(p.Created.Text)
		assert.Contains(t, features, "features")
		assert.NotContains(t, features, "starttls")
		assert.NotContains(t, features, "compression")
		answer := p.Send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		assert.Contains(t, string(answer.Text), "<failure")
		assert.NotContains(t, string(answer.Text), "proceed")
		require.NoError(t, st.Close())
		synctest.Wait()
		assert.False(t, server.secured)
	})
}

// It keeps a client that only polls if the polls can be seen.
func TestPlainServerKeepAlive(t *testing.T) {
	for _, seen := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			_, p := serveConnect(t, bosh.Options{WhitespaceKeepalive: seen}, &plainServer{secured: true})
			began, ended := time.Now(), false
			for !ended && time.Since(began) < time.Hour {
				ended = p.Send("").Attr("type") == "terminate"
			}
			assert.Equal(t, !seen, ended)
		})
	}
}

// A loop that goes on after any error ends only if it knows this one.
func TestPlainServerAccept(t *testing.T) {
	h := NewHandler(t, bosh.Options{})
	require.NoError(t, h.Listener().Close())
	for range 3 {
		_, err := h.Listener().Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	}
}
