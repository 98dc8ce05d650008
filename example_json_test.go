package bosh_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

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
