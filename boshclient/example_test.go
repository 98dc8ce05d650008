package boshclient_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// inMemory is where the examples have their servers. A real program needs no HTTPClient.
func inMemory(h http.Handler) *http.Client { return &http.Client{Transport: boshtest.InMemory(h)} }

// echo sends back what it gets.
func echo(s *bosh.Stream) { io.Copy(s, s) }

// A service without XMPP takes and gives whole elements.
func Example() {
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: echo}) // or any server, at its URL
	defer h.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := boshclient.Dial(ctx, "https://shop.example/bosh", &boshclient.Options{
		Framing:    boshclient.Elements,
		HTTPClient: inMemory(h),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	if err := conn.WriteElement(ctx, []byte("<order xmlns='urn:example'>salt</order>")); err != nil {
		log.Fatal(err)
	}
	element, err := conn.ReadElement(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(element))
	// Output: <order xmlns='urn:example'>salt</order>
}

// With the framing Opaque a Conn carries any protocol. Here both ends only copy.
func Example_opaque() {
	h := bosh.New(bosh.Options{Framing: bosh.Opaque, Serve: echo})
	defer h.Close()

	conn, err := boshclient.Dial(context.Background(), "https://example.com/bytes", &boshclient.Options{
		Framing:    boshclient.Opaque,
		HTTPClient: inMemory(h),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(conn, "\x00 any bytes \xff")
	b := make([]byte, 13)
	_, err = io.ReadFull(conn, b)
	fmt.Printf("%q %v\n", b, err)
	// Output: "\x00 any bytes \xff" <nil>
}

// A domain names its endpoints in its host-meta document.
func ExampleDiscover() {
	client := inMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>
			<Link rel='urn:xmpp:alt-connections:xbosh' href='https://web.example.com/bosh'/></XRD>`)
	}))
	urls, err := boshclient.Discover(context.Background(), "example.com", client)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(urls[0]) // to be given to Dial, with the domain as Options.To
	// Output: https://web.example.com/bosh
}

// A token goes into a header of each request, or into an attribute of the first one. A
// server that refuses says why.
func ExampleOptions_token() {
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Serve:   echo,
		Admit: func(ctx context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
			if r.Header.Get("Authorization") == "Bearer fresh" || len(o.Attr) == 1 && o.Attr[0].Value == "t0k3n" {
				return ctx, nil
			}
			return nil, &bosh.Error{Condition: bosh.PolicyViolation}
		},
	})
	defer h.Close()

	for _, o := range []boshclient.Options{
		{},
		{Prepare: func(r *http.Request) error {
			r.Header.Set("Authorization", "Bearer fresh") // it may be asked for anew each time
			return nil
		}},
		{Attr: []xml.Attr{{Name: xml.Name{Space: "urn:example:auth", Local: "token"}, Value: "t0k3n"}}},
	} {
		o.Framing, o.HTTPClient = boshclient.Elements, inMemory(h)
		conn, err := boshclient.Dial(context.Background(), "https://example.com/bosh", &o)
		if errors.Is(err, boshclient.PolicyViolation) {
			fmt.Println("refused:", err)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("welcome")
		conn.Close()
	}
	// Output:
	// refused: boshclient: dial: bosh: policy-violation
	// welcome
	// welcome
}

// The end of a session: in good order, for a reason that the server gives, or because
// nobody answers.
func ExampleError() {
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) {
		s.CloseWithError(&bosh.Error{Condition: bosh.UndefinedCondition, Payload: []byte("<late xmlns='urn:example'/>")})
	}})
	defer h.Close()
	ctx := context.Background()
	conn, err := boshclient.Dial(ctx, "https://example.com/bosh", &boshclient.Options{Framing: boshclient.Elements, HTTPClient: inMemory(h)})
	for err == nil {
		_, err = conn.ReadElement(ctx)
	}
	var end *boshclient.Error
	switch {
	case err == io.EOF:
		fmt.Println("the end")
	case errors.As(err, &end):
		fmt.Printf("%s: %s\n", end.Condition, end.Payload)
	case errors.Is(err, boshclient.ErrUnanswered):
		fmt.Println("offline for too long")
	default:
		fmt.Println(err)
	}
	// Output: undefined-condition: <late xmlns='urn:example'/>
}

// A session outlives the process that has opened it.
func ExampleResume() {
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: echo})
	defer h.Close()
	o := &boshclient.Options{Framing: boshclient.Elements, HTTPClient: inMemory(h)}
	ctx := context.Background()
	conn, err := boshclient.Dial(ctx, "https://example.com/bosh", o)
	if err != nil {
		log.Fatal(err)
	}
	conn.WriteElement(ctx, []byte("<before xmlns='urn:example'/>"))
	conn.Pause(ctx, conn.Granted().MaxPause) // if it may take longer than Inactivity
	conn.CloseNow()
	state, err := conn.State()
	if err != nil {
		log.Fatal(err)
	}
	saved, err := json.Marshal(state) // it is as secret as a password
	if err != nil {
		log.Fatal(err)
	}

	// Later, in another process:
	var restored boshclient.State
	if err := json.Unmarshal(saved, &restored); err != nil {
		log.Fatal(err)
	}
	conn, err = boshclient.Resume(ctx, &restored, o)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	element, err := conn.ReadElement(ctx)
	fmt.Println(string(element), err)
	fmt.Println("sessions:", h.Stats().Created)
	// Output:
	// <before xmlns='urn:example'/> <nil>
	// sessions: 1
}

// XMPP by whole elements, without a parser of one's own.
func ExampleConn_Restart() {
	h := bosh.New(bosh.Options{Serve: serveXMPP})
	defer h.Close()
	ctx := context.Background()
	conn, err := boshclient.Dial(ctx, "https://example.com/bosh", &boshclient.Options{
		To: "example.com", Framing: boshclient.Elements, Version: "1.0", HTTPClient: inMemory(h)})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	name := func() string {
		element, err := conn.ReadElement(ctx)
		if err != nil {
			log.Fatal(err)
		}
		var x struct{ XMLName xml.Name }
		xml.Unmarshal(element, &x)
		return x.XMLName.Local
	}
	fmt.Println(name())
	conn.WriteElement(ctx, []byte("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldAByb21lbw==</auth>"))
	fmt.Println(name())
	conn.Restart(ctx)
	fmt.Println(name())
	conn.WriteElement(ctx, []byte("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"))
	fmt.Println(name())
	// Output:
	// features
	// success
	// features
	// iq
}
