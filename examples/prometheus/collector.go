package main

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gobosh/bosh"
)

// A Collector shows a [bosh.Handler] to Prometheus. Its metrics bear no label
// of a session: there may be a hundred thousand of them, and each gone soon.
type Collector struct {
	stats func() bosh.HandlerStats

	requestOpen  prometheus.Histogram
	requestSize  prometheus.Histogram
	responseSize prometheus.Histogram
}

// NewCollector returns a Collector, and puts the hooks for its histograms into
// o, before the hooks already there. The Handler is made from o afterwards and
// given to [Collector.Watch].
func NewCollector(o *bosh.Options) *Collector {
	c := &Collector{
		requestOpen: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "bosh_request_open_seconds",
			Help:    "Time from the arrival of a request to the end of its answer; it includes the time that the request is held.",
			Buckets: []float64{.001, .005, .025, .1, .5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90},
		}),
		requestSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "bosh_request_size_bytes",
			Help:    "Size of request bodies.",
			Buckets: prometheus.ExponentialBuckets(64, 4, 8),
		}),
		responseSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "bosh_response_size_bytes",
			Help:    "Size of response bodies.",
			Buckets: prometheus.ExponentialBuckets(64, 4, 8),
		}),
	}
	o.Trace = c.trace(o.Trace)
	return c
}

// Watch sets the handler to collect counts from.
func (c *Collector) Watch(h *bosh.Handler) { c.stats = h.Stats }

var buildInfo = prometheus.NewDesc("bosh_build_info", "What the program was built from.", []string{"version", "goversion"}, nil)

// desc returns what m is a value of, and the values of its labels.
func desc(m bosh.Metric) (_ *prometheus.Desc, labels []string) {
	var names []string
	for _, l := range m.Labels {
		names, labels = append(names, l[0]), append(labels, l[1])
	}
	return prometheus.NewDesc(m.Name, m.Help, names, nil), labels
}

// version returns the version of the library in this program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	const module = "github.com/gobosh/bosh"
	for _, m := range info.Deps {
		if m.Path == module && m.Replace == nil {
			return m.Version
		}
	}
	return "(devel)"
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	before := ""
	for m := range (bosh.HandlerStats{}).Metrics() {
		if d, _ := desc(m); m.Name != before {
			ch <- d
		}
		before = m.Name
	}
	ch <- buildInfo
	for _, m := range c.own() {
		m.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for m := range c.stats().Metrics() { // of one look, so that the numbers fit each other
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		d, labels := desc(m)
		ch <- prometheus.MustNewConstMetric(d, kind, m.Value, labels...)
	}
	ch <- prometheus.MustNewConstMetric(buildInfo, prometheus.GaugeValue, 1, version(), runtime.Version())
	for _, m := range c.own() {
		m.Collect(ch)
	}
}

// own returns the metrics fed by the hooks.
func (c *Collector) own() []prometheus.Collector {
	return []prometheus.Collector{c.requestOpen, c.requestSize, c.responseSize}
}
