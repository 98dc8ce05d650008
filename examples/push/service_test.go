package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	_ "github.com/gobosh/bosh/internal/enginetest"
)

// A page is what a browser is to the service.
type page struct {
	t testing.TB
	*boshtest.Client
}

// An update is any of what a page gets.
type update struct {
	sample
	N    int
	Of   int
	Load string
	Text string
}

// start starts a service that makes a sample a second until the test ends.
func start(t *testing.T) *service {
	t.Helper()
	s := newService(slog.New(slog.DiscardHandler), false)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s.sample(ctx, time.Second)
		close(done)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		s.close()
	})
	return s
}

// open opens a page. Its transport is in memory.
func (s *service) open(t *testing.T) *page {
	t.Helper()
	c, err := boshtest.Dial(t.Context(), boshtest.Config{To: hostMonitor, Transport: boshtest.InMemory(s.bosh)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &page{t, c}
}

func (p *page) do(c command) {
	p.t.Helper()
	element, err := bosh.EncodeJSON(c)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.Send(p.t.Context(), string(element)); err != nil {
		p.t.Fatal(err)
	}
}

// next returns the next update of a type.
func (p *page) next(kind string) (u update) {
	p.t.Helper()
	for {
		element, err := p.Recv(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		u = update{}
		if err := bosh.DecodeJSON(element, &u); err != nil {
			p.t.Fatalf("%s: %v", element, err)
		}
		if u.Type == "notice" && kind != u.Type {
			p.t.Logf("%s: %s", u.Load, u.Text)
		}
		if u.Type == kind {
			return u
		}
	}
}

// until returns the first sample that is as it should be.
func (p *page) until(ok func(sample) bool) sample {
	p.t.Helper()
	for range 200 {
		if u := p.next("sample"); ok(u.sample) {
			return u.sample
		}
	}
	p.t.Fatal("no sample of 200 is as it should be")
	return sample{}
}

func TestSamplesArePushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t).open(t)
		began := time.Now()
		first := p.next("sample")
		second := p.next("sample")
		third := p.next("sample")
		if third.At-second.At != 1000 || time.Since(began) > 3*time.Second {
			t.Errorf("samples of %d, %d and %d after %v", first.At, second.At, third.At, time.Since(began))
		}
		if third.Sessions != 1 || third.Created != 1 || third.Held != 1 || third.Requests == 0 || third.Open.N == 0 {
			t.Errorf("the page does not see itself: %+v", third.sample)
		}
	})
}

// A page that comes late gets what was before, up to a limit.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		<-time.After(10*time.Minute + time.Second/2)
		p := s.open(t)
		now := time.Now().UnixMilli() - 500
		for i := range history {
			if u := p.next("sample"); u.At != now-int64(history-1-i)*1000 {
				t.Fatalf("sample %d is of %d, now is %d", i, u.At, now)
			}
		}
		if waited := time.Now().UnixMilli() - 500 - now; waited > 10 || p.Stats().Answers > 3 {
			t.Errorf("it took %d ms and %d answers", waited, p.Stats().Answers)
		}
	})
}

func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t).open(t)
		p.next("sample")
		p.do(command{Do: "ping", N: 7})
		if u := p.next("pong"); u.N != 7 {
			t.Errorf("ping 7: %+v", u)
		}
		before := p.Stats().Answers
		p.do(command{Do: "push", N: 300})
		for i := range 300 {
			if u := p.next("pushed"); u.N != i+1 || u.Of != 300 {
				t.Fatalf("payload %d: %+v", i, u)
			}
		}
		if n := p.Stats().Answers - before; n > 100 {
			t.Errorf("300 payloads took %d answers", n)
		}
		p.do(command{Do: "push", N: 1 << 30})
		if u := p.next("pushed"); u.Of != maxPush {
			t.Errorf("%d payloads can be had", u.Of)
		}
		p.do(command{Do: "dance"})
		if u := p.next("refused"); u.Text != "there is no such load" {
			t.Errorf("dance: %q", u.Text)
		}
		if err := p.Send(t.Context(), "<command xmlns='urn:example'/>"); err != nil {
			t.Fatal(err)
		}
		p.next("refused")
		if err := p.Terminate(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A page that does not fetch anything holds up nobody.
func TestSlowPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		c, err := boshtest.Dial(t.Context(), boshtest.Config{To: hostMonitor, Transport: boshtest.InMemory(s.bosh), Manual: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p := s.open(t)
		if u := p.until(func(s sample) bool { return s.Ended["inactive"] == 1 }); u.Sessions != 1 {
			t.Errorf("%d sessions", u.Sessions)
		}
	})
}

// B17.2-4, B17.2-5: a host is known in all its spellings.
func TestHosts(t *testing.T) {
	s := newService(slog.New(slog.DiscardHandler), false)
	defer s.close()
	for to, want := range map[string]string{
		"echo": "", "echo.": "", "ECHO": "", "Monitor.": "",
		"": "improper-addressing", ".": "improper-addressing", "example.com": "host-unknown", "echo..": "host-unknown",
	} {
		body := "<body rid='7' wait='5' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind' to='" + to + "'/>"
		if to == "" {
			body = strings.Replace(body, " to=''", "", 1)
		}
		w := httptest.NewRecorder()
		s.bosh.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/http-bind", strings.NewReader(body)))
		if got := w.Body.String(); want == "" && !strings.Contains(got, " sid='") || !strings.Contains(got, want) {
			t.Errorf("%q: got %s; want %q", to, got, want)
		}
	}
}

func TestHandler(t *testing.T) {
	s := newService(slog.New(slog.DiscardHandler), false)
	defer s.close()
	h := s.handler()
	for path, want := range map[string]string{
		"/": "<title>", "/bosh.js": "class Bosh", "/sessions": "No sessions.", "/http-bind": "BOSH endpoint",
		"//": "<title>", "//bosh.js": "class Bosh", "//http-bind": "BOSH endpoint", "/http-bind/": "BOSH endpoint", "//http-bind//": "BOSH endpoint",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: status %d, no %q", path, w.Code, want)
		}
	}
	r := httptest.NewRequest(http.MethodOptions, "/http-bind", nil)
	r.Header.Set("Origin", "http://evil.example")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("a page of another origin may use the service")
	}
}

// TestMain fails the run if goroutines are left when all tests are over.
func TestMain(m *testing.M) {
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > 1; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			io.WriteString(os.Stderr, "goroutines are left:\n"+string(buf[:runtime.Stack(buf, true)])+"\n")
			code = 1
			break
		}
	}
	os.Exit(code)
}
