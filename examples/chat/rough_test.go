package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshtest"
)

// TestPipelined sends a poll and something to say behind it on one connection,
// as gloox does. The poll must not hold back what comes behind it.
func TestPipelined(t *testing.T) {
	chat := startChat(t)
	u, err := url.Parse(chat.http)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	answers := bufio.NewReader(conn)
	post := func(body string) {
		fmt.Fprintf(conn, "POST /http-bind HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	answer := func() string {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}

	const ns = " xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'"
	post("<body rid='7' to='localhost' hold='1' wait='60' ver='1.6' xmpp:version='1.0'" + ns + "/>")
	_, sid, _ := strings.Cut(answer(), "sid='")
	sid, _, _ = strings.Cut(sid, "'")
	post("<body rid='8' sid='" + sid + "'" + ns + "/>")
	post("<body rid='9' sid='" + sid + "'" + ns + "><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/></body>")
	// Which of the two is answered by it depends on what has been read when.
	got, n := answer(), 1
	if !strings.Contains(got, "<success") {
		got += answer()
		n++
	}
	if !strings.Contains(got, "<success") {
		t.Errorf("got %s", got)
	}
	post("<body rid='10' sid='" + sid + "' type='terminate'" + ns + "/>")
	for range 3 - n {
		answer()
	}
}

// TestPingsOverBrokenConnections pings the server through a proxy that cuts
// one connection in ten, before the request arrives, after it was served, or in
// the middle of its answer.
func TestPingsOverBrokenConnections(t *testing.T) {
	const pings, ahead = 3000, 1
	chat := startChat(t)
	u, err := url.Parse(chat.http)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := boshtest.NewProxy(u.Host, boshtest.ProxyFaults{
		Seed:  uint64(time.Now().UnixNano()),
		Rates: map[boshtest.Fault]float64{boshtest.CutBefore: 0.03, boshtest.CutAfter: 0.03, boshtest.CutMiddle: 0.04},
		Spare: 1, // the creation cannot be repeated
	})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	c := dialBOSH(t, boshtest.Config{URL: "http://" + proxy.Addr() + "/http-bind", Backoff: time.Millisecond})
	c.login("", "", "pings")
	sent := 0
	for answered := range pings {
		for ; sent < pings && sent < answered+ahead; sent++ {
			c.send("<iq type='get' id='%d'><ping xmlns='urn:xmpp:ping'/></iq>", sent)
		}
		if iq := c.want("iq", "result"); iq.attr("id") != fmt.Sprint(answered) {
			t.Fatalf("got the answer to %s, want that to %d", iq.attr("id"), answered)
		}
	}
	t.Logf("%+v", proxy.Stats())
}
