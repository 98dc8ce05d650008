package bosh_test

import (
	"bufio"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gobosh/bosh"
)

// runOpaque is the whole client side of an Opaque stream: it sends the messages of a
// channel until its end, and writes down the server's. One request is with the server at
// all times, and a second one while there is something to send.
func runOpaque(url string, send <-chan []byte, received io.Writer) error {
	rid, sid := rand.Int64N(1<<50), ""
	var open []chan opaqueAnswer // for the requests that are out, in their order
	post := func(attrs, payload string) {
		rid++
		body := fmt.Sprintf("<body xmlns='http://jabber.org/protocol/httpbind' rid='%d'%s%s>%s</body>", rid, sid, attrs, payload)
		answer := make(chan opaqueAnswer, 1)
		open = append(open, answer)
		go func() { answer <- exchangeOpaque(url, body) }()
	}
	for post(" to='example.com' ver='1.11' wait='60' hold='1'", ""); ; {
		var out <-chan []byte
		if sid != "" && len(open) < 2 {
			out = send
		}
		select {
		case data, more := <-out:
			if more {
				post("", "<data xmlns='urn:bosh:opaque:0'>"+base64.StdEncoding.EncodeToString(data)+"</data>")
			} else {
				send = nil
				post(" type='terminate'", "")
			}
		case a := <-open[0]: // the oldest first, whichever comes first
			for _, text := range a.Data {
				data, _ := base64.StdEncoding.DecodeString(text)
				received.Write(data)
			}
			if open = open[1:]; a.err != nil || a.Type == "terminate" {
				return a.err
			}
			if a.Sid != "" {
				sid = " sid='" + a.Sid + "'"
			}
			if len(open) == 0 {
				post("", "")
			}
		}
	}
}

// An opaqueAnswer is what a client needs to know of an answer.
type opaqueAnswer struct {
	Sid       string   `xml:"sid,attr"`
	Type      string   `xml:"type,attr"`
	Condition string   `xml:"condition,attr"`
	Data      []string `xml:"urn:bosh:opaque:0 data"`
	err       error
}

// exchangeOpaque posts a body, and posts it again if no answer arrives: by the
// rid the server knows what it has had, and gives the same answer.
func exchangeOpaque(url, body string) (a opaqueAnswer) {
	for range 10 { // with pauses, if this were no example
		var resp *http.Response
		if resp, a.err = http.Post(url, "text/xml", strings.NewReader(body)); a.err != nil {
			continue
		}
		a = opaqueAnswer{}
		a.err = xml.NewDecoder(resp.Body).Decode(&a)
		resp.Body.Close()
		if a.Condition != "" {
			a.err = errors.New(a.Condition)
		}
		if a.err == nil || a.Condition != "" {
			break
		}
	}
	return a
}

// An Opaque stream carries any bytes, as a TCP connection does. The code shows
// both sides, the client's in full and without any package for it.
func ExampleFraming_opaque() {
	h := bosh.New(bosh.Options{
		Framing: bosh.Opaque,
		Serve: func(s *bosh.Stream) {
			io.WriteString(s, "Say something.\n")
			io.Copy(s, s) // until the client ends the session
		},
	})
	defer h.Close()
	server := httptest.NewServer(h)
	defer server.Close()

	send := make(chan []byte)
	received, w := io.Pipe()
	go func() { w.CloseWithError(runOpaque(server.URL, send, w)) }()
	lines := bufio.NewScanner(received)
	lines.Scan()
	fmt.Println(lines.Text())
	go func() {
		send <- []byte("Any bytes: \x00\xff")
		send <- []byte("<&>, in any portions\n")
	}()
	lines.Scan()
	fmt.Printf("%q\n", lines.Text())
	close(send)
	fmt.Println(lines.Scan(), lines.Err())
	// Output:
	// Say something.
	// "Any bytes: \x00\xff<&>, in any portions"
	// false <nil>
}
