package bosh_test

import (
	"context"
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
