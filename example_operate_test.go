package bosh_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// First the Handler, which tells all clients, then the http.Server, which must
// go on serving until then: a client between two polls is told at its next one.
func ExampleHandler_Shutdown() {
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
		s.WriteElement(s.Context(), []byte("<last-words xmlns='urn:example'/>"))
		<-s.Context().Done()
	}})
	server := &http.Server{Handler: h}
	pipe := boshtest.Pipe(server) // server.Serve, over connections in memory
	defer pipe.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{URL: pipe.URL, Transport: pipe, Manual: true})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	stopped := make(chan error)
	go func() {
		// A client that is gone is waited for as long as it may be inactive.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := h.Shutdown(ctx)
		stopped <- errors.Join(err, server.Shutdown(ctx))
	}()

	client.Wake() // the client comes back
	words, _ := client.Recv(ctx)
	fmt.Println(string(words))
	_, err = client.Recv(ctx)
	fmt.Println(err)
	fmt.Println(<-stopped)
	// Output:
	// <last-words xmlns='urn:example'/>
	// read bosh http://pipe.test/: bosh: system-shutdown
	// <nil>
}

// Trace tells of each event as it happens, for histograms and the like. What
// can be counted is in Stats already.
func ExampleTrace() {
	ended := make(chan bool)
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve: func(s *bosh.Stream) {
			element, _ := s.ReadElement(context.Background())
			s.WriteElement(s.Context(), element)
			<-s.Context().Done()
		},
		Trace: &bosh.Trace{
			SessionStart: func(s *bosh.Session) { fmt.Println("start", s.ID()) },
			Request: func(s *bosh.Session, i bosh.RequestInfo) {
				fmt.Printf("request of %d payloads, repeat: %t\n", i.Payloads, i.Repeat)
			},
			Response: func(s *bosh.Session, i bosh.ResponseInfo) {
				if i.Open > 2*time.Minute {
					fmt.Println("held for longer than any Wait:", i.Open)
				}
			},
			Refused: func(r *http.Request, e *bosh.Error) {
				fmt.Println("refused", r.RemoteAddr, e)
			},
			SessionEnd: func(s *bosh.Session) {
				fmt.Println("end", s.ID(), s.Err(), s.Stats().Requests)
				close(ended)
			},
		},
	})
	defer h.Close()

	ctx := context.Background()
	client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h), Manual: true})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	client.Send(ctx, "<a xmlns='urn:example'/><b xmlns='urn:example'/>")
	client.Recv(ctx)
	client.Terminate(ctx)
	<-ended
	// Output:
	// start 1
	// request of 2 payloads, repeat: false
	// request of 0 payloads, repeat: false
	// end 1 EOF 3
}

// What to watch and to count.
func ExampleHandler_Stats() {
	ended := make(chan bool, 2)
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Trace:   &bosh.Trace{SessionEnd: func(*bosh.Session) { ended <- true }},
	})
	defer h.Close()

	ctx := context.Background()
	var clients []*boshtest.Client
	for range 2 {
		client, err := boshtest.Dial(ctx, boshtest.Config{Transport: boshtest.InMemory(h), Manual: true})
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		clients = append(clients, client)
	}
	clients[0].Terminate(ctx, "<bye xmlns='urn:example'/>")

	<-ended
	n := h.Stats()
	fmt.Println("sessions:", n.Sessions, "of", n.Created)
	fmt.Println("requests:", n.Requests, "of them repeats:", n.Repeats)
	fmt.Println("payloads in:", n.PayloadsIn, "out:", n.PayloadsOut)
	fmt.Println("ended:", n.Ended)
	for s := range h.Sessions() {
		fmt.Println(s.ID(), s.RemoteAddr().Network(), s.Stats().Requests)
	}
	// Output:
	// sessions: 1 of 2
	// requests: 3 of them repeats: 0
	// payloads in: 1 out: 0
	// ended: map[closed:1]
	// 2 tcp 1
}
