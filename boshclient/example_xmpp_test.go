package boshclient_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"log"
	"net/http"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// A Message is a chat message.
type Message struct {
	stanza.Message
	Body string `xml:"body"`
}

// An XMPP library for TCP works over BOSH as it is: here mellium.im/xmpp logs in, and
// sends a message that a server sends back.
func Example_mellium() {
	h := bosh.New(bosh.Options{Serve: serveXMPP}) // or any server, at its URL
	defer h.Close()

	ctx := context.Background()
	conn, err := boshclient.Dial(ctx, "https://example.com/http-bind", &boshclient.Options{
		To:         "example.com",
		HTTPClient: &http.Client{Transport: boshtest.InMemory(h)},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	me := jid.MustParse("juliet@example.com")
	// Secure says that TLS is there already. There is no StartTLS over BOSH.
	session, err := xmpp.NewSession(ctx, me.Domain(), me, conn, xmpp.Secure, xmpp.NewNegotiator(
		func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
				xmpp.SASL("", "romeo", sasl.Plain), // and sasl.ScramSha256 before it, if the server has it
				xmpp.BindResource(),
			}}
		}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("logged in as", session.LocalAddr())

	err = session.Encode(ctx, Message{Message: stanza.Message{To: me, Type: stanza.ChatMessage}, Body: "Wherefore?"})
	if err != nil {
		log.Fatal(err)
	}
	err = session.Serve(xmpp.HandlerFunc(func(t xmlstream.TokenReadEncoder, start *xml.StartElement) error {
		var m Message
		if err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), t)).Decode(&m); err != nil {
			return err
		}
		fmt.Println("got:", m.Body)
		return session.Close() // ends the stream, which ends Serve
	}))
	fmt.Println("ended:", err)
	// Output:
	// logged in as juliet@example.com/balcony
	// got: Wherefore?
	// ended: <nil>
}

// serveXMPP is a server for juliet, with the password romeo. It sends back all her stanzas.
func serveXMPP(s *bosh.Stream) {
	session, err := xmpp.ReceiveSession(s.Context(), s, xmpp.Secure, xmpp.NewNegotiator(
		func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
				xmpp.SASLServer(func(n *sasl.Negotiator) bool {
					user, password, _ := n.Credentials()
					return string(user) == "juliet" && string(password) == "romeo"
				}, sasl.Plain),
				xmpp.BindCustom(func(jid.JID, string) (jid.JID, error) {
					return jid.Parse("juliet@example.com/balcony")
				}),
			}}
		}))
	if err != nil {
		return
	}
	session.Serve(xmpp.HandlerFunc(func(rw xmlstream.TokenReadEncoder, start *xml.StartElement) error {
		_, err := xmlstream.Copy(rw, xmlstream.MultiReader(xmlstream.Token(*start), rw))
		return err
	}))
}
