package bosh_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// Limits for a small machine. All other limits have defaults, and no client can make those
// harmful.
func ExampleOptions_limits() {
	h := bosh.New(bosh.Options{
		Framing:     bosh.Elements,
		MaxSessions: 1000,
		MaxPerAddr:  1, // sessions; allow for many users behind one address
		MaxBody:     64 << 10,
		MaxPayloads: 100,      // elements in one request
		ReadBuffer:  16 << 10, // unread bytes, before the client has to wait
		WriteBuffer: 32 << 10, // unsent bytes, before Write has to wait
		Wait:        45 * time.Second,
		Inactivity:  30 * time.Second,
	})
	defer h.Close()

	ctx := context.Background()
	for range 2 {
		client, err := boshtest.Dial(ctx, boshtest.Config{To: "example.com", Transport: boshtest.InMemory(h)})
		var end *boshclient.Error
		if errors.As(err, &end) {
			fmt.Println("refused:", end.Condition)
			break
		}
		defer client.Close()
		fmt.Println("granted:", client.Granted().Wait, client.Granted().Inactivity)
	}
	// Output:
	// granted: 45s 30s
	// refused: policy-violation
}

// Devices have no cookies. Their token may be an attribute of the request that
// creates the session, in a namespace of its own: a page of another site cannot
// know it, and nothing of the sort is in the log of a proxy, as a URL is.
func ExampleOpening() {
	type deviceKey struct{}
	const ns = "urn:example:auth"
	names := map[string]string{"t0k3n": "thermometer"}
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Admit: func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			for _, a := range o.Attr {
				if a.Space == ns && a.Local == "token" && names[a.Value] != "" {
					return context.WithValue(ctx, deviceKey{}, names[a.Value]), nil
				}
			}
			return nil, &bosh.Error{Condition: bosh.PolicyViolation}
		},
	})
	defer h.Close()

	ctx := context.Background()
	for _, token := range []string{"guess", "t0k3n"} {
		client, err := boshtest.Dial(ctx, boshtest.Config{
			Attr:      []xml.Attr{{Name: xml.Name{Space: ns, Local: "token"}, Value: token}},
			Transport: boshtest.InMemory(h),
		})
		if err != nil {
			fmt.Println(err)
			continue
		}
		defer client.Close()
		for s := range h.Sessions() {
			fmt.Println(s.Context().Value(deviceKey{}))
		}
	}
	// Output:
	// boshclient: dial: bosh: policy-violation
	// thermometer
}

// First the Handler: it tells all clients. Then the http.Server, which must go on serving
// until then: a client between two polls is told at its next one.
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
