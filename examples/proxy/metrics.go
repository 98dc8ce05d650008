package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gobosh/bosh"
)

// metrics are what the library does not count, and how all counts are shown.
type metrics struct {
	stats              func() bosh.HandlerStats
	kept               func() int64 // bytes from servers
	bytesUp, bytesDown atomic.Int64
	refused            labelled // by condition
	ended              labelled // by reason
	bounced, lost      labelled // by stanza
}

// ServeHTTP shows the metrics in the text format of Prometheus.
func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	m.write(w)
}

func (m *metrics) write(w io.Writer) {
	sum := m.stats()
	metric(w, "bosh_proxy_sessions", "gauge", "Sessions that live.", sum.Sessions)
	metric(w, "bosh_proxy_requests_open", "gauge", "Requests that wait for an answer.", int64(sum.Open))
	metric(w, "bosh_proxy_queued_bytes", "gauge", "Bytes that wait for clients.", int64(sum.Queued))
	metric(w, "bosh_proxy_unread_bytes", "gauge", "Bytes that wait for servers.", int64(sum.Unread))
	metric(w, "bosh_proxy_memory_bytes", "gauge", "Bytes that sessions and requests on their way keep, as -max-memory counts.", sum.Memory)
	metric(w, "bosh_proxy_server_buffer_bytes", "gauge", "Bytes of buffers for what comes from XMPP servers, but for small ones.", m.kept())
	metric(w, "bosh_proxy_sessions_opened_total", "counter", "Sessions that began.", sum.Created)
	family(w, "bosh_proxy_sessions_refused_total", "Sessions that were refused, by condition.", "condition", m.refused.get())
	family(w, "bosh_proxy_streams_ended_total", "Streams that ended, by reason.", "reason", m.ended.get())
	family(w, "bosh_proxy_stanzas_bounced_total", "Stanzas that could not be delivered and were answered by an error.", "stanza", m.bounced.get())
	family(w, "bosh_proxy_stanzas_lost_total", "Stanzas that came from a server without stream management too late to be returned.", "stanza", m.lost.get())
	metric(w, "bosh_proxy_requests_total", "counter", "Requests of sessions, repeats included.", sum.Requests)
	metric(w, "bosh_proxy_requests_repeated_total", "counter", "Requests that were repeats.", sum.Repeats)
	metric(w, "bosh_proxy_payloads_received_total", "counter", "Elements from clients.", sum.PayloadsIn)
	metric(w, "bosh_proxy_payloads_sent_total", "counter", "Elements to clients.", sum.PayloadsOut)
	metric(w, "bosh_proxy_http_received_bytes_total", "counter", "Bytes of request bodies.", sum.BytesIn)
	metric(w, "bosh_proxy_http_sent_bytes_total", "counter", "Bytes of answer bodies.", sum.BytesOut)
	metric(w, "bosh_proxy_server_sent_bytes_total", "counter", "Bytes to XMPP servers.", m.bytesUp.Load())
	metric(w, "bosh_proxy_server_received_bytes_total", "counter", "Bytes from XMPP servers.", m.bytesDown.Load())
	metric(w, "go_goroutines", "gauge", "Goroutines.", int64(runtime.NumGoroutine()))
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	metric(w, "go_memstats_heap_inuse_bytes", "gauge", "Bytes of heap in use.", int64(mem.HeapInuse))
}

func metric(w io.Writer, name, kind, help string, value int64) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", name, help, name, kind, name, value)
}

// family writes counters that differ by a label, whose values need no escapes.
func family(w io.Writer, name, help, label string, values map[string]int64) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s counter\n", name, help, name)
	for _, value := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(w, "%s{%s=%q} %d\n", name, label, value, values[value])
	}
}

// A labelled counts by a label.
type labelled struct {
	mu sync.Mutex
	n  map[string]int64
}

func (l *labelled) add(label string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == nil {
		l.n = make(map[string]int64)
	}
	l.n[label]++
}

func (l *labelled) get() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.n)
}
