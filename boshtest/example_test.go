package boshtest_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// parrot is the service under test in the examples: it says what it hears.
func parrot() *bosh.Handler {
	return bosh.New(bosh.Options{Framing: bosh.Elements, Logger: quiet, Serve: func(s *bosh.Stream) {
		defer s.Close()
		ctx := context.Background()
		for {
			element, err := s.ReadElement(ctx)
			if err != nil {
				return
			}
			if err := s.WriteElement(ctx, element); err != nil {
				return
			}
		}
	}})
}

func ExampleDial() {
	service := parrot()
	defer service.Close()

	ctx := context.Background()
	c, err := boshtest.Dial(ctx, boshtest.Config{
		To:        "example.com",
		Transport: boshtest.InMemory(service),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Send(ctx, "<hello xmlns='urn:example'/>"); err != nil {
		log.Fatal(err)
	}
	answer, err := c.Recv(ctx)
	fmt.Println(string(answer), err)
	fmt.Println(c.Terminate(ctx))
	// Output:
	// <hello xmlns='urn:example'/> <nil>
	// <nil>
}

// A service keeps its promises over connections that break if all numbers
// arrive, each once, and in order.
func ExampleFaults() {
	service := parrot()
	defer service.Close()

	ctx := context.Background()
	faults := &boshtest.Faults{Seed: 1, Rates: boshtest.Evenly(0.5)}
	c, err := boshtest.Dial(ctx, boshtest.Config{
		Transport: boshtest.InMemory(service),
		Fault:     faults,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	const n = 100
	var back boshtest.Sequence
	for i := range n {
		if err := c.Send(ctx, string(boshtest.Numbered(i, 0))); err != nil {
			log.Fatal(err)
		}
		answer, err := c.Recv(ctx)
		if err != nil {
			log.Fatal(err)
		}
		number, _ := boshtest.Number(answer)
		back.Got(number)
	}
	fmt.Println(back.Check(n), faults.Stats().Hit() > n/4)
	// Output: <nil> true
}

// A Plan breaks exactly what a test is about: here the answer to the request
// after the creation.
func ExampleFaults_plan() {
	service := parrot()
	defer service.Close()

	ctx := context.Background()
	c, err := boshtest.Dial(ctx, boshtest.Config{
		Transport: boshtest.InMemory(service),
		Manual:    true, // no empty requests
		Fault: &boshtest.Faults{Plan: func(n int, body []byte) boshtest.Fault {
			if n == 1 { // 0 is the creation
				return boshtest.CutMiddle
			}
			return boshtest.Pass
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Send(ctx, "<hello xmlns='urn:example'/>"); err != nil {
		log.Fatal(err)
	}
	answer, err := c.Recv(ctx)
	fmt.Println(string(answer), err)
	fmt.Println("repeats:", c.Stats().Repeats)
	// Output:
	// <hello xmlns='urn:example'/> <nil>
	// repeats: 1
}

// A whole server in memory, with HTTP as it is on the wire.
func ExamplePipe() {
	service := parrot()
	defer service.Close()
	mux := http.NewServeMux()
	mux.Handle("/http-bind", service)
	s := boshtest.Pipe(&http.Server{Handler: mux, ReadTimeout: time.Second})
	defer s.Close()

	ctx := context.Background()
	c, err := boshtest.Dial(ctx, boshtest.Config{URL: s.URL + "http-bind", Transport: s})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.Granted().Wait, c.Granted().Requests)
	// Output: 1m0s 2
}

// In a bubble of testing/synctest the wait of a minute is exact and takes no
// time. (A test would be called by the testing package, of course.)
func ExamplePost() {
	test := func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			service := parrot()
			defer service.Close()
			rt := boshtest.InMemory(service)
			const ns = "xmlns='http://jabber.org/protocol/httpbind'"
			created := boshtest.Exchange(t, rt, "<body rid='1' to='example.com' ver='1.11' "+ns+"/>")
			sid := created.Attr("sid")
			held := boshtest.Post(t, rt, "<body rid='2' sid='"+sid+"' "+ns+"/>")
			synctest.Wait()
			if held.Answered() {
				t.Error("answered at once")
			}
			if after := held.Wait().After; after > time.Minute {
				t.Errorf("held for %v", after)
			}
		})
	}
	_ = test
}
