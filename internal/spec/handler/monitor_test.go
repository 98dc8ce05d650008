package handler_test

import (
	"encoding/json"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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

// A label is found by the page, stands in the log, and is short.
func TestSetLabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &Journal{Level: slog.LevelDebug}
		h := NewHandler(t, bosh.Options{Framing: bosh.Elements, Logger: slog.New(log)})
		rt := boshtest.InMemory(h)
		Dial(t, rt)
		Dial(t, rt)
		romeo, other := Accept(t, h).Session(), Accept(t, h).Session()
		assert.Empty(t, romeo.Label())
		romeo.SetLabel("romeo@example.com")
		assert.Equal(t, "romeo@example.com", romeo.Label())
		time.Sleep(30 * time.Second)
		found := monitored(t, h, "?q=ROMEO")
		require.Len(t, found, 1)
		s := found[0]
		assert.Equal(t, romeo.ID(), s["id"])
		assert.Equal(t, "romeo@example.com", s["label"])
		assert.Equal(t, "away", s["state"])
		assert.EqualValues(t, 30, s["ageSeconds"])
		assert.EqualValues(t, 30, s["lastRequestSeconds"])
		assert.Len(t, monitored(t, h, "?q=192.0.2.1"), 2)
		assert.Len(t, monitored(t, h, "?q=example.com"), 2)

		other.SetLabel("\xff" + strings.Repeat("é", 10_000))
		assert.Less(t, len(other.Label()), 300)
		assert.True(t, utf8.ValidString(other.Label()))
		romeo.SetLabel("juliet")
		assert.Empty(t, monitored(t, h, "?q=romeo"))
		h.Close()
		romeo.SetLabel("late")
		ends := log.Of("bosh: session ends")
		require.Len(t, ends, 2)
		assert.Contains(t, []string{ends[0].Attrs["label"], ends[1].Attrs["label"]}, "juliet")
	})
}

// monitored returns the sessions that the Monitor shows.
func monitored(t *testing.T, h *bosh.Handler, query string) []map[string]any {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/"+query, nil)
	r.Header.Set("Accept", "application/json")
	h.Monitor().ServeHTTP(w, r)
	var got struct{ Sessions []map[string]any }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	return got.Sessions
}

// What a session does is said in a word.
func TestMonitorStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, Elements())
		rt := boshtest.InMemory(h)
		state := func() any { return monitored(t, h, "?sort=new")[0]["state"] }
		p := Dial(t, rt)
		assert.Equal(t, "away", state())
		call := p.Hold("")
		assert.Equal(t, "held", state())
		require.NoError(t, Accept(t, h).WriteElement(t.Context(), []byte(X("1"))))
		call.Wait()
		p.Send("", "pause='60'")
		assert.Equal(t, "paused", state())
		require.NotEmpty(t, boshtest.Exchange(t, rt, strings.Replace(Creation(), "hold='1'", "hold='0'", 1)).Attr("sid"))
		assert.Equal(t, "polling", state())
		s := Accept(t, h)
		require.NoError(t, s.Session().Terminate(nil))
		assert.Equal(t, "ending", state())
	})
}

// A page of 20,000 sessions takes less than 25 ms on a machine that does nothing else.
func BenchmarkMonitor(b *testing.B) {
	h := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: func(s *bosh.Stream) { s.Receive(func([]byte, error) {}) }, MaxMemory: -1})
	defer h.Close()
	rt := boshtest.InMemory(h)
	for range 20_000 {
		boshtest.Exchange(b, rt, Creation())
	}
	for s := range h.Sessions() {
		s.SetLabel("user" + s.ID() + "@example.com")
	}
	m := h.Monitor()
	for _, query := range []string{"", "?page=120", "?sort=queued", "?sort=last&q=user4", "?q=192.0.2"} {
		b.Run(query, func(b *testing.B) {
			for b.Loop() {
				m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/"+query, nil))
			}
		})
	}
}
