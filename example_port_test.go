package bosh_test

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// idleTimeout is for a connection that says nothing. It is longer than
// bosh.Options.Wait.
const idleTimeout = 2 * time.Minute

// serveListener is the loop for TCP, TLS and BOSH. It ends when the listener is closed.
func serveListener(l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			log.Print(err) // on TCP, as when there are too many files
			time.Sleep(50 * time.Millisecond)
		default:
			go serveConn(conn)
		}
	}
}

// isSecure reports whether nobody on the way can listen.
func isSecure(conn net.Conn) bool {
	switch c := conn.(type) {
	case *tls.Conn:
		return true
	case *bosh.Stream:
		return c.Session().Secure()
	}
	return false
}

// serveConn serves a client that is new, over whatever it came.
func serveConn(conn net.Conn) {
	defer conn.Close()
	in := xml.NewDecoder(conn)
	for {
		conn.SetReadDeadline(time.Now().Add(idleTimeout)) // with WhitespaceKeepalive, good for BOSH, too
		token, err := in.Token()
		if err != nil {
			return
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "stream" {
			continue
		}
		features := "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
		if isSecure(conn) {
			features = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
		}
		fmt.Fprint(conn, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "+
			"version='1.0' id='1' from='example.com'><stream:features>"+features+"</stream:features>")
	}
}

// A server for TCP serves BOSH by the same loop. A STARTTLS that it offers to a client
// whose HTTP was in the clear is left out: over BOSH there is none.
func Example_porting() {
	h := bosh.New(bosh.Options{WhitespaceKeepalive: true})
	defer h.Close()
	done := make(chan struct{})
	go func() {
		serveListener(h.Listener())
		close(done)
	}()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{To: "example.com", XMPP: true, Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	features, err := client.Recv(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(features))
	h.Listener().Close()
	<-done
	client.Terminate(ctx)
	if _, err := client.Recv(ctx); err == io.EOF {
		fmt.Println("the loop ended before the stream")
	}
	// Output:
	// <stream:features xmlns:stream='http://etherx.jabber.org/streams'></stream:features>
	// the loop ended before the stream
}
