package bosh_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gobosh/bosh"
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
		var end *boshtest.EndError
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

// proxies are those whose headers are to be believed: whatever others send, a
// client may have made up.
var proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}

func isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}

// fromProxy reports whether a request comes from one of our proxies.
func fromProxy(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && isProxy(peer.Addr())
}

// forwardedFor returns the address of the client behind our proxies: each adds
// the one that it got the request from, so the last that is none of theirs is
// the client's.
func forwardedFor(r *http.Request) net.Addr {
	if !fromProxy(r) {
		return nil // the connection's
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return nil
		}
		if !isProxy(addr) {
			return net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))
		}
	}
	return nil
}

// Behind a proxy, what the proxy says of a client counts if it is one of ours,
// and sets X-Forwarded-Proto whatever the client sent in it.
func ExampleOptions_proxy() {
	h := bosh.New(bosh.Options{
		Framing:    bosh.Elements,
		ClientAddr: forwardedFor,
		Secure: func(r *http.Request) bool {
			return r.TLS != nil || fromProxy(r) && r.Header.Get("X-Forwarded-Proto") == "https"
		},
		Wait: 45 * time.Second, // less than the proxy's time-out
	})
	defer h.Close()

	// This transport calls from 192.0.2.1, which is no proxy, so here is one.
	proxy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Add("X-Forwarded-For", "198.51.100.7")
		r.Header.Set("X-Forwarded-Proto", "https")
		r.RemoteAddr = "10.0.0.1:40000"
		h.ServeHTTP(w, r)
	})
	for _, handler := range []http.Handler{proxy, h} {
		client, err := boshtest.Dial(context.Background(), boshtest.Config{
			To: "example.com", Transport: boshtest.InMemory(handler),
			Header: http.Header{"X-Forwarded-For": {"203.0.113.1"}, "X-Forwarded-Proto": {"https"}}, // a lie
		})
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		stream, err := h.Listener().Accept()
		if err != nil {
			log.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(stream.RemoteAddr().String())
		fmt.Println(host, stream.(*bosh.Stream).Session().Secure())
	}
	// Output:
	// 198.51.100.7 true
	// 192.0.2.1 false
}

// userKey is the key of the user's name in a context.
type userKey struct{}

// Admit lets in who is logged in on the web site, and says who that is. A
// cookie also comes with what pages of other sites make a browser send, so it
// takes a look at where the request comes from as well.
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
	// boshtest: session ended: policy-violation
	// boshtest: session ended: policy-violation
	// <hello xmlns='urn:example'>alice</hello>
}

// Devices have no cookies. Their token may be an attribute of the request that
// creates the session, in a namespace of its own: a page of another site cannot
// know it, and nothing of the sort is in the log of a proxy, as a URL is.
func ExampleOpening() {
	const ns = "urn:example:auth"
	names := map[string]string{"t0k3n": "thermometer"}
	h := bosh.New(bosh.Options{
		Framing: bosh.Elements,
		Admit: func(ctx context.Context, _ *http.Request, o *bosh.Opening) (context.Context, error) {
			for _, a := range o.Attr {
				if a.Space == ns && a.Local == "token" && names[a.Value] != "" {
					return context.WithValue(ctx, userKey{}, names[a.Value]), nil
				}
			}
			return nil, &bosh.Error{Condition: bosh.PolicyViolation}
		},
	})
	defer h.Close()

	ctx := context.Background()
	for _, token := range []string{"guess", "t0k3n"} {
		client, err := boshtest.Dial(ctx, boshtest.Config{
			Attrs:     "xmlns:auth='" + ns + "' auth:token='" + token + "'",
			Transport: boshtest.InMemory(h),
		})
		if err != nil {
			fmt.Println(err)
			continue
		}
		defer client.Close()
		for s := range h.Sessions() {
			fmt.Println(s.Context().Value(userKey{}))
		}
	}
	// Output:
	// boshtest: session ended: policy-violation
	// thermometer
}
