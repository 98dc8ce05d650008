package bosh_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
)

// acceptLoop is what a server has that knows nothing of BOSH.
func acceptLoop(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // it is closed
		}
		go converse(conn)
	}
}

// converse is a very small XMPP server. It says back what it is told.
func converse(conn net.Conn) {
	defer conn.Close()
	in := xml.NewDecoder(conn)
	in.Token() // the client's stream header
	io.WriteString(conn, "<stream:stream from='example.com' id='1' version='1.0' xmlns='jabber:client'"+
		" xmlns:stream='http://etherx.jabber.org/streams'><stream:features/>")
	for {
		token, err := in.Token()
		if _, end := token.(xml.EndElement); end || err != nil {
			break
		}
		if start, ok := token.(xml.StartElement); ok {
			var m struct {
				XMLName xml.Name
				Body    string `xml:"body"`
			}
			in.DecodeElement(&m, &start)
			xml.NewEncoder(conn).Encode(m)
		}
	}
	io.WriteString(conn, "</stream:stream>")
}

// A server takes its clients over TCP and over BOSH with one accept loop.
func Example() {
	tcp, err := net.Listen("tcp", "127.0.0.1:0") // :5222 as a rule
	if err != nil {
		log.Fatal(err)
	}
	defer tcp.Close()
	h := bosh.New(bosh.Options{})
	defer h.Close()

	go acceptLoop(tcp)
	go acceptLoop(h.Listener())

	mux := http.NewServeMux()
	mux.Handle("/http-bind", h)
	mux.Handle("/http-bind/", h)
	server := httptest.NewServer(mux)
	defer server.Close()

	// One client code for both, too.
	ctx := context.Background()
	overBOSH, err := boshclient.Dial(ctx, server.URL+"/http-bind", &boshclient.Options{To: "example.com"})
	if err != nil {
		log.Fatal(err)
	}
	overTCP, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	for _, conn := range []net.Conn{overBOSH, overTCP} {
		io.WriteString(conn, "<stream:stream to='example.com' version='1.0' xmlns='jabber:client'"+
			" xmlns:stream='http://etherx.jabber.org/streams'><message><body>hello</body></message>")
		in := xml.NewDecoder(conn)
		for {
			token, err := in.Token()
			if err != nil {
				log.Fatal(err)
			}
			if text, ok := token.(xml.CharData); ok {
				fmt.Println(string(text))
				break
			}
		}
		io.WriteString(conn, "</stream:stream>")
		rest, err := io.ReadAll(conn)
		fmt.Println(string(rest), err)
		conn.Close()
	}
	// Output:
	// hello
	// </stream:stream> <nil>
	// hello
	// </stream:stream> <nil>
}
