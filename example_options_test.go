package bosh_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// Limits for a small machine. Those that are not given have defaults that no
// client can make harmful.
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
