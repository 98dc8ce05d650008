package bosh_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// Serve runs in a goroutine of its own for each client. The session ends in
// good order when it returns, and what was written is still delivered.
func ExampleOptions_serve() {
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve: func(s *bosh.Stream) {
			if _, err := s.ReadElement(context.Background()); err != nil {
				return
			}
			hello := fmt.Sprintf("<hello xmlns='urn:example' from='%s'/>", s.Opening().To)
			if err := s.WriteElement(s.Context(), []byte(hello)); err != nil {
				log.Print(err)
			}
		},
	})
	defer h.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{To: "shop.example", Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	client.Send(ctx, "<hello xmlns='urn:example'/>")
	hello, _ := client.Recv(ctx)
	fmt.Println(string(hello))
	_, err = client.Recv(ctx)
	fmt.Println(err)
	// Output:
	// <hello xmlns='urn:example' from='shop.example'/>
	// EOF
}

// The elements of a client come one by one, then [io.EOF] if it ended in good
// order, or an [*Error] that says why not. The context that the stream itself
// has would be no good for reading: it ends when there may be something left.
func ExampleStream_ReadElement() {
	ended := make(chan error)
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve: func(s *bosh.Stream) {
			for {
				element, err := s.ReadElement(context.Background())
				if err != nil {
					ended <- err
					return
				}
				fmt.Println(string(element))
			}
		},
	})
	defer h.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	client.Send(ctx, "<a xmlns='urn:example'>1</a>", "<b xmlns='urn:example'/>")
	client.Terminate(ctx, "<c xmlns='urn:example'/>")
	fmt.Println(<-ended == io.EOF)
	// Output:
	// <a xmlns='urn:example'>1</a>
	// <b xmlns='urn:example'/>
	// <c xmlns='urn:example'/>
	// true
}

// Receive needs no goroutine for a client that says nothing: for a service that many
// listen to, and few speak to.
func ExampleStream_Receive() {
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve: func(s *bosh.Stream) {
			s.WriteElement(context.Background(), []byte("<hello xmlns='urn:example'/>"))
			s.Receive(func(element []byte, err error) {
				if err != nil {
					return // which closes the stream
				}
				s.WriteElement(context.Background(), element)
			})
		},
	})
	defer h.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	client.Send(ctx, "<a xmlns='urn:example'>1</a>")
	for range 2 {
		element, err := client.Recv(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(element))
	}
	// Output:
	// <hello xmlns='urn:example'/>
	// <a xmlns='urn:example'>1</a>
}

// A Stream is an [xml.TokenReader] and, by EncodeToken and Flush, what
// mellium.im/xmlstream calls a TokenWriteFlusher.
func ExampleStream_Token() {
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve: func(s *bosh.Stream) {
			in := xml.NewTokenDecoder(s)
			for {
				var order struct {
					XMLName xml.Name `xml:"urn:example order"`
					Item    string   `xml:"item"`
				}
				if in.Decode(&order) != nil {
					return
				}
				receipt := xml.StartElement{
					Name: xml.Name{Space: "urn:example", Local: "receipt"},
					Attr: []xml.Attr{{Name: xml.Name{Local: "for"}, Value: order.Item}},
				}
				s.EncodeToken(receipt)
				s.EncodeToken(receipt.End())
				if s.Flush() != nil {
					return
				}
			}
		},
	})
	defer h.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	client.Send(ctx, "<order xmlns='urn:example'><item>salt &amp; pepper</item></order>")
	receipt, _ := client.Recv(ctx)
	fmt.Println(string(receipt))
	// Output: <receipt xmlns="urn:example" for="salt &amp; pepper"></receipt>
}

// A session may have several streams, each with a name and a destination of its
// own. The application gets every one of them as if it were alone.
func ExampleSession_Streams() {
	h := bosh.New(bosh.Options{
		Framing:    bosh.Elements,
		MaxStreams: 4,
		Serve: func(s *bosh.Stream) {
			for {
				element, err := s.ReadElement(context.Background())
				if err != nil {
					return
				}
				fmt.Printf("%s, one of %d, got %s\n", s.Opening().To, len(s.Session().Streams()), element)
				s.WriteElement(s.Context(), element)
			}
		},
	})
	defer h.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{To: "one.example", Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	second, err := client.AddStream(ctx, "two.example")
	if err != nil {
		log.Fatal(err)
	}
	defer second.Close()
	second.Send(ctx, "<only-for-two xmlns='urn:example'/>")
	answer, _ := second.Recv(ctx)
	fmt.Println(string(answer))
	// Output:
	// two.example, one of 2, got <only-for-two xmlns='urn:example'/>
	// <only-for-two xmlns='urn:example'/>
}

// Unproven output is handed back after the end of a stream: the payloads of
// the last answer, since it may have been lost, and those never fetched.
func ExampleStream_Undelivered_sent() {
	events, written, ended := make(chan string), make(chan bool), make(chan bool)
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve: func(s *bosh.Stream) {
			defer close(ended)
			for event := range events {
				s.WriteElement(s.Context(), []byte("<"+event+" xmlns='urn:example'/>"))
				written <- true
			}
			<-s.Context().Done()
			for p := range s.Undelivered() {
				fmt.Printf("%s sent: %t\n", p.Data, p.Sent)
			}
		},
	})

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h), Manual: true, Acks: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, event := range []string{"one", "two"} {
		events <- event
		<-written
		client.Wake() // the second poll acknowledges the answer to the first
		client.Recv(ctx)
	}
	events <- "three"
	<-written
	close(events)
	client.Close() // without a word, like a browser whose tab is closed
	h.Close()      // or Options.Inactivity is over
	<-ended
	// Output:
	// <two xmlns='urn:example'/> sent: true
	// <three xmlns='urn:example'/> sent: false
}

// Clients that pipeline, such as gloox by default, need a listener that notices
// a request behind one that is held, unless Options.Direct is set.
func ExamplePipelineListener() {
	h := bosh.New(bosh.Options{})
	mux := http.NewServeMux()
	mux.Handle("/http-bind", h)
	l, err := net.Listen("tcp", ":5280")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(bosh.PipelineListener(l), mux))
}

// A service pushes JSON: BOSH carries XML elements, so each value goes into a
// container.
func ExampleStream_WriteJSON() {
	type price struct {
		Symbol string
		Cents  int
	}
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve: func(s *bosh.Stream) {
			var symbol string
			err := s.ReadJSON(s.Context(), &symbol)
			if e := new(bosh.JSONError); errors.As(err, &e) { // something else came
				s.CloseWithError(&bosh.Error{Condition: bosh.BadRequest, Err: e})
			}
			for cents := 4711; cents < 4713 && err == nil; cents++ {
				err = s.WriteJSON(s.Context(), price{symbol, cents}) // blocks while the client is slow
			}
		},
	})
	defer h.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	client.Send(ctx, `<json xmlns='urn:xmpp:json:0'>"M&amp;S"</json>`)
	for {
		element, err := client.Recv(ctx)
		if err != nil {
			break
		}
		fmt.Println(string(element))
	}
	// Output:
	// <json xmlns='urn:xmpp:json:0'>{"Symbol":"M\u0026S","Cents":4711}</json>
	// <json xmlns='urn:xmpp:json:0'>{"Symbol":"M\u0026S","Cents":4712}</json>
}

// One event goes to all that are there. Those that are too slow for it are ended, so
// that they come back for all that they have missed.
func ExampleHandler_Broadcast() {
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve:   func(s *bosh.Stream) { s.Receive(func([]byte, error) {}) },
	})
	defer h.Close()
	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	event, err := bosh.EncodeJSON("the news")
	if err != nil {
		log.Fatal(err)
	}
	skipped, err := h.Broadcast(event, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range skipped {
		s.Stream.CloseWithError(&bosh.Error{Condition: bosh.PolicyViolation, Err: s.Err})
	}
	element, err := client.Recv(ctx)
	fmt.Println(string(element), err)
	// Output: <json xmlns='urn:xmpp:json:0'>"the news"</json> <nil>
}
