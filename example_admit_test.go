package bosh_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
)

// userKey is the key of the user's name in a context.
type userKey struct{}

// Admit lets in users of the web site, and says who they are. Pages of other sites can make
// a browser send the cookie, too, so it looks at the request's origin as well.
func ExampleOptions_admit() {
	users := map[string]string{"s3cr3t": "alice"} // by the cookie's value
	sameOrigin := http.NewCrossOriginProtection()
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Admit: func(ctx context.Context, r *http.Request, o *bosh.Opening) (context.Context, error) {
			if o.To != "shop.example" {
				return nil, &bosh.Error{Condition: bosh.HostUnknown}
			}
			if err := sameOrigin.Check(r); err != nil {
				return nil, &bosh.Error{Condition: bosh.PolicyViolation, Err: err}
			}
			cookie, err := r.Cookie("login")
			if err != nil || users[cookie.Value] == "" {
				return nil, &bosh.Error{Condition: bosh.PolicyViolation, Err: err}
			}
			return context.WithValue(ctx, userKey{}, users[cookie.Value]), nil
		},
		Serve: func(s *bosh.Stream) {
			user := s.Context().Value(userKey{}).(string)
			s.ReadElement(context.Background())
			s.WriteElement(s.Context(), []byte("<hello xmlns='urn:example'>"+user+"</hello>"))
		},
	})
	defer h.Close()

	ctx := context.Background()
	for _, header := range []http.Header{
		{},
		{"Cookie": {"login=s3cr3t"}, "Origin": {"https://evil.example"}},
		{"Cookie": {"login=s3cr3t"}},
	} {
		client, err := boshtest.Dial(ctx, boshtest.Config{To: "shop.example", Header: header, Transport: boshtest.InMemory(h)})
		if err != nil {
			fmt.Println(err)
			continue
		}
		defer client.Close()
		client.Send(ctx, "<hello xmlns='urn:example'/>")
		hello, _ := client.Recv(ctx)
		fmt.Println(string(hello))
	}
	// Output:
	// boshclient: dial: bosh: policy-violation
	// boshclient: dial: bosh: policy-violation
	// <hello xmlns='urn:example'>alice</hello>
}
