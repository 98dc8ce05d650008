package bosh_test

import (
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// The monitor goes where only operators come, here a port of its own.
func ExampleHandler_Monitor() {
	h := bosh.New(bosh.Options{})
	public, private := http.NewServeMux(), http.NewServeMux()
	public.Handle("/http-bind", h)
	private.Handle("/bosh", h.Monitor())
	go func() { log.Fatal(http.ListenAndServe("127.0.0.1:6060", private)) }()
	log.Fatal(http.ListenAndServe(":8080", public))
}

func TestMonitor(t *testing.T) {
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) { <-s.Context().Done() }})
	defer h.Close()
	c, err := boshtest.Dial(t.Context(), boshtest.Config{To: "push.example", Transport: boshtest.InMemory(h)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Send(t.Context(), "<secret xmlns='urn:example'/>"); err != nil {
		t.Fatal(err)
	}

	m := h.Monitor()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?format=json", nil))
	var got struct {
		Totals   bosh.HandlerStats
		Sessions []struct {
			ID, Remote string
			Streams    []string
			Requests   int64
		}
	}
	text := w.Body.String()
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Totals.Sessions != 1 || got.Totals.Created != 1 || got.Totals.Requests == 0 || len(got.Sessions) != 1 {
		t.Fatalf("got %s", text)
	}
	s := got.Sessions[0]
	if s.Remote == "" || len(s.Streams) != 1 || s.Streams[0] != "push.example" || s.Requests == 0 {
		t.Errorf("got %s", text)
	}
	w = httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	text += w.Body.String()
	if strings.Contains(text, c.Created().Attr("sid")) || strings.Contains(text, "secret") {
		t.Errorf("the monitor tells what it must not: %s", text)
	}
	if !strings.Contains(text, "push.example") {
		t.Errorf("no session on the page: %s", text)
	}

	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("id="+s.ID))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w = httptest.NewRecorder()
	if m.ServeHTTP(w, r); w.Code != http.StatusForbidden {
		t.Errorf("status %d without proof of where it comes from", w.Code)
	}
	r = httptest.NewRequest(http.MethodPost, "/", strings.NewReader("id="+s.ID))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Bosh-Monitor", "1")
	w = httptest.NewRecorder()
	if m.ServeHTTP(w, r); w.Code != http.StatusSeeOther {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	<-c.Done()
	if !errors.Is(c.Err(), boshclient.PolicyViolation) {
		t.Errorf("the client was told: %v", c.Err())
	}
}
