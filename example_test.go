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
	"github.com/gobosh/bosh/boshtest"
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

	// A client over BOSH.
	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{URL: server.URL + "/http-bind", To: "example.com", XMPP: true})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	features, _ := client.Recv(ctx)
	fmt.Println(string(features))
	client.Send(ctx, "<message xmlns='jabber:client'><body>over BOSH</body></message>")
	message, _ := client.Recv(ctx)
	fmt.Println(string(message))

	// A client over TCP.
	conn, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "<stream:stream to='example.com' version='1.0' xmlns='jabber:client'"+
		" xmlns:stream='http://etherx.jabber.org/streams'><message><body>over TCP</body></message></stream:stream>")
	answer, _ := io.ReadAll(conn)
	fmt.Println(string(answer[len(answer)-len("<body>over TCP</body></message></stream:stream>"):]))
	// Output:
	// <stream:features xmlns:stream='http://etherx.jabber.org/streams'/>
	// <message xmlns="jabber:client"><body>over BOSH</body></message>
	// <body>over TCP</body></message></stream:stream>
}
