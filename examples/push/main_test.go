package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// The program over real connections, from its first word to its last.
func TestRun(t *testing.T) {
	t.Run("standard", func(t *testing.T) { testRun(t, false) })
	t.Run("direct", func(t *testing.T) { testRun(t, true) })
}

func testRun(t *testing.T, direct bool) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, ln, direct, time.Minute, &out) }()

	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c, err := boshtest.Dial(t.Context(), boshtest.Config{
		URL: "http://" + ln.Addr().String() + "/http-bind", To: hostMonitor, Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := &page{t, c}
	if u := p.next("sample"); u.At == 0 {
		t.Errorf("got %+v", u)
	}
	stop()
	<-c.Done()
	if !errors.Is(c.Err(), boshclient.SystemShutdown) {
		t.Errorf("the page was told: %v", c.Err())
	}
	c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(out.String(), "push: open http://"+ln.Addr().String()+"/\n") {
		t.Errorf("it said: %s", &out)
	}
}

func TestListenerFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := run(t.Context(), ln, false, time.Minute, &bytes.Buffer{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
