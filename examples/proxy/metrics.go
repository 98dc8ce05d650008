package main

import (
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/promtext"
	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/version"
	"github.com/gobosh/bosh/internal/wire"
)

// metrics are the proxy's own counts, and the way all counts are shown. The names are
// those of examples/prometheus; its README.md has a table of them.
type metrics struct {
	stats              func() bosh.HandlerStats
	kept               func() int64 // bytes from servers
	bytesUp, bytesDown atomic.Int64
	slowedFor          atomic.Int64        // nanoseconds
	ended              labelled            // by reason
	slowed             labelled            // by the limit
	bounced, lost      labelled            // by stanza
	connect            *promtext.Histogram // seconds
	open               *promtext.Histogram // seconds
	received, answered *promtext.Histogram // bytes
}

// init makes the histograms.
func (m *metrics) init() {
	m.connect = promtext.NewHistogram(.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)
	m.open = promtext.NewHistogram(.001, .005, .025, .1, .5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90)
	m.received, m.answered = promtext.NewHistogram(sizes...), promtext.NewHistogram(sizes...)
}

var sizes = []float64{64, 256, 1024, 4096, 16384, 65536, 262144, 1048576}

// The labels of counters from the start: a rate shows the first event too.
var (
	streamEnds = []string{clientEnded, "client-lost", serverFailed, "server-ended", "memory"}
	stanzas    = []string{"iq", "message", "presence"}
	limits     = []string{"session", "address"}
)

// known returns the counts with all the labels.
func known(counts map[string]int64, labels ...string) map[string]int64 {
	all := maps.Clone(counts)
	if all == nil {
		all = make(map[string]int64)
	}
	for _, l := range labels {
		all[l] += 0
	}
	return all
}

// ServeHTTP shows the metrics in the text format of Prometheus.
func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", promtext.ContentType)
	w.Header().Set("Cache-Control", "no-store")
	m.write(w)
}

func (m *metrics) write(out io.Writer) {
	w := promtext.New(out)
	both := func(in, out int64) map[string]int64 { return map[string]int64{"in": in, "out": out} }

	w.Stats(m.stats().Metrics())
	w.Histogram("bosh_request_open_seconds", "Time from the arrival of a request to the end of its answer; it includes the time that the request is held.", m.open)
	w.Histogram("bosh_request_size_bytes", "Size of request bodies.", m.received)
	w.Histogram("bosh_response_size_bytes", "Size of response bodies.", m.answered)
	w.Info("bosh_build_info", "What the program was built from.", "version", version.Module(), "goversion", runtime.Version())

	w.Histogram("bosh_proxy_connect_seconds", "Time to connect to an XMPP server until the stream can begin, or to fail.", m.connect)
	w.Counters("bosh_proxy_server_bytes_total", "Bytes from XMPP servers (in) and to them (out).", "direction", both(m.bytesDown.Load(), m.bytesUp.Load()))
	w.Gauge("bosh_proxy_server_buffer_bytes", "Bytes of buffers for what comes from XMPP servers, but for small ones.", float64(m.kept()))
	w.Counters("bosh_proxy_streams_ended_total", "Streams that ended, by reason: who ended them and how, or a condition.", "reason", known(m.ended.All(), slices.AppendSeq(slices.Clone(streamEnds), wire.Conditions())...))
	w.Counters("bosh_proxy_stanzas_bounced_total", "Stanzas that could not be delivered and were answered by an error.", "stanza", known(m.bounced.All(), stanzas...))
	w.Counters("bosh_proxy_stanzas_lost_total", "Stanzas that came from a server without stream management too late to be returned.", "stanza", known(m.lost.All(), stanzas...))
	w.Counters("bosh_proxy_slowed_total", "How often a client was slowed, by whose limit.", "limit", known(m.slowed.All(), limits...))
	w.Counter("bosh_proxy_slowed_seconds_total", "For how long clients were slowed.", float64(m.slowedFor.Load())/1e9)
	w.Go()
	w.Process()
}

// A labelled counts by a label.
type labelled struct{ registry.ByName }

func (l *labelled) add(label string)      { l.Add(label) }
func (l *labelled) get() map[string]int64 { return l.All() }
