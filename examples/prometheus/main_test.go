package main

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// scrape gets the metrics as Prometheus does: by name and labels as written.
func scrape(t *testing.T, rt http.RoundTripper) map[string]float64 {
	t.Helper()
	resp, err := (&http.Client{Transport: rt}).Get("http://push.test/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%s, %v: %s", resp.Status, err, text)
	}
	values := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		values[line[:i]] = v
	}
	return values
}

func TestScrape(t *testing.T) {
	service, h := newService()
	defer h.Close()
	rt := boshtest.InMemory(service)
	config := boshtest.Config{URL: "http://push.test/http-bind", Transport: rt, Manual: true}

	if got := scrape(t, rt); got["bosh_sessions"] != 0 || got["bosh_request_open_seconds_count"] != 0 {
		t.Errorf("before anything: %v", got)
	}
	c, err := boshtest.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if err := c.Send(t.Context(), "<hello xmlns='urn:example'/>"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Recv(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	rt.Wait()
	check(t, scrape(t, rt), map[string]float64{
		`bosh_sessions`:                        1,
		`bosh_sessions_created_total`:          1,
		`bosh_requests_total`:                  4,
		`bosh_requests_repeated_total`:         0,
		`bosh_requests_open`:                   0,
		`bosh_payloads_total{direction="in"}`:  3,
		`bosh_payloads_total{direction="out"}`: 3,
		`bosh_queued_bytes`:                    0,
		`bosh_unread_bytes`:                    0,
		`bosh_request_open_seconds_count`:      4,
		`bosh_response_size_bytes_count`:       4,
		`bosh_request_size_bytes_count`:        3, // the creation has no Request hook
	})

	if err := c.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if _, err := boshtest.Dial(t.Context(), config); !errors.Is(err, boshclient.SystemShutdown) {
		t.Errorf("after the end: %v", err)
	}
	rt.Wait()
	got := scrape(t, rt)
	check(t, got, map[string]float64{
		`bosh_sessions`:                                            0,
		`bosh_sessions_created_total`:                              1,
		`bosh_sessions_ended_total{reason="closed"}`:               1,
		`bosh_sessions_refused_total{condition="system-shutdown"}`: 1,
	})
	if got[`bosh_body_bytes_total{direction="in"}`] == 0 || got[`bosh_body_bytes_total{direction="out"}`] < got["bosh_response_size_bytes_sum"] {
		t.Errorf("bytes: %v", got)
	}
}

func check(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %v (there: %v), want %v", name, g, ok, v)
		}
	}
}

// The hooks that were there are called as well.
func TestHooksGoOn(t *testing.T) {
	var calls [3]int
	o := bosh.Options{Trace: &bosh.Trace{
		Refused:  func(*http.Request, *bosh.Error) { calls[0]++ },
		Request:  func(*bosh.Session, bosh.RequestInfo) { calls[1]++ },
		Response: func(*bosh.Session, bosh.ResponseInfo) { calls[2]++ },
	}}
	NewCollector(&o)
	o.Trace.Refused(nil, &bosh.Error{Condition: bosh.BadRequest})
	o.Trace.Request(nil, bosh.RequestInfo{})
	o.Trace.Response(nil, bosh.ResponseInfo{})
	if calls != [3]int{1, 1, 1} {
		t.Errorf("calls: %v", calls)
	}
	var none bosh.Options
	NewCollector(&none)
	none.Trace.Request(nil, bosh.RequestInfo{})
}

// A checking registry confirms the descriptions of the collected metrics.
func TestDescribe(t *testing.T) {
	_, h := newService()
	defer h.Close()
	var o bosh.Options
	c := NewCollector(&o)
	c.Watch(h)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
}

// A front may add slashes to the path of BOSH.
func TestSlashes(t *testing.T) {
	service, h := newService()
	defer h.Close()
	for _, path := range []string{"/http-bind", "//http-bind", "/http-bind/", "//http-bind//"} {
		c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: "http://push.test" + path, Transport: boshtest.InMemory(service)})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if err := c.Terminate(t.Context()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		c.Close()
	}
}

// Requests between nodes are counted by node, and those that led nowhere from the start.
func TestRelayed(t *testing.T) {
	var o bosh.Options
	c := NewCollector(&o)
	c.stats = func() bosh.HandlerStats {
		return bosh.HandlerStats{Relayed: map[string]bosh.RelayStats{"node-b": {Out: 5, In: 7}}}
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	check(t, scrape(t, boshtest.InMemory(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))), map[string]float64{
		`bosh_relayed_requests_total{direction="out",node="node-b"}`: 5,
		`bosh_relayed_requests_total{direction="in",node="node-b"}`:  7,
		`bosh_relayed_requests_total{direction="failed",node=""}`:    0,
	})
}
