package demo

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// All that is said to be an address can be opened.
func TestURLs(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "localhost:0", ":0", "0.0.0.0:0", "[::]:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			t.Logf("%s: %v", listen, err) // no IPv6 here
			continue
		}
		srv := &http.Server{Handler: http.NotFoundHandler()}
		go srv.Serve(ln)
		urls := URLs("http", ln.Addr())
		if len(urls) == 0 {
			t.Errorf("%s: no address", listen)
		}
		for _, url := range urls {
			if strings.Contains(url, "[::]") || strings.Contains(url, "0.0.0.0") {
				t.Errorf("%s: %s is no address for a browser", listen, url)
			}
			resp, err := http.Get(url)
			if err != nil {
				t.Errorf("%s: %v", listen, err)
				continue
			}
			resp.Body.Close()
		}
		srv.Close()
	}
}

func TestHosts(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1": "127.0.0.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1",
	} {
		if got := Hosts(&net.TCPAddr{IP: net.ParseIP(addr), Port: 80}); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q", addr, got)
		}
	}
	all := Hosts(&net.TCPAddr{IP: net.IPv6unspecified, Port: 80})
	v4 := Hosts(&net.TCPAddr{IP: net.IPv4zero, Port: 80})
	if all[0] != "localhost" || v4[0] != "localhost" || len(v4) > len(all) {
		t.Errorf("all: %q, of IPv4: %q", all, v4)
	}
	for _, host := range v4[1:] {
		if strings.Contains(host, ":") || Loopback(host) {
			t.Errorf("all of IPv4: %q", v4)
		}
	}
	if !Loopback("localhost") || !Loopback("127.0.0.2") || !Loopback("::1") || Loopback("192.0.2.1") || Loopback("example.com") {
		t.Error("Loopback is wrong")
	}
	if got := URLs("unix", &net.UnixAddr{Name: "/run/x"}); got != nil {
		t.Errorf("a socket: %q", got)
	}
}
