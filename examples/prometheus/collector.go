package main

import (
	"maps"
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

var (
	sessions    = desc("bosh_sessions", "Sessions that live now.")
	created     = desc("bosh_sessions_created_total", "Sessions that have begun.")
	ended       = desc("bosh_sessions_ended_total", "Sessions that have ended, by reason: a condition, closed for a good end, inactive for a client's silence.", "reason")
	open        = desc("bosh_requests_open", "Requests that are held, early, or being answered.")
	requests    = desc("bosh_requests_total", "Requests received, repeats included.")
	repeats     = desc("bosh_requests_repeated_total", "Requests that had been received before.")
	payloads    = desc("bosh_payloads_total", "Payloads received (in) and sent (out).", "direction")
	bodyBytes   = desc("bosh_body_bytes_total", "Bytes of request bodies (in) and response bodies (out).", "direction")
	relayed     = desc("bosh_relayed_requests_total", "Requests passed on to another node (out), from it (in), and to it in vain (failed); the one without a name has never answered.", "node", "direction")
	queuedBytes = desc("bosh_queued_bytes", "Bytes that wait for clients.")
	unreadBytes = desc("bosh_unread_bytes", "Bytes that wait for the application.")
	refused     = desc("bosh_sessions_refused_total", "Sessions refused at their creation, by condition.", "condition")
	maxSessions = desc("bosh_sessions_max", "Sessions that there may be; 0 for no limit.")
	memory      = desc("bosh_memory_bytes", "Bytes that sessions and requests on their way keep, as MaxMemory counts.")
	maxMemory   = desc("bosh_memory_max_bytes", "Bytes that they may keep; 0 for no limit.")
	buildInfo   = desc("bosh_build_info", "What the program was built from.", "version", "goversion")

	all = []*prometheus.Desc{
		sessions, created, ended, open, requests, repeats, payloads, bodyBytes, queuedBytes, unreadBytes,
		refused, maxSessions, relayed, memory, maxMemory, buildInfo,
	}
)

// conditions are the labels of counters from the start: a rate shows the first event too.
var conditions = []bosh.Condition{
	bosh.BadRequest, bosh.HostGone, bosh.HostUnknown, bosh.ImproperAddressing, bosh.InternalServerError, bosh.ItemNotFound,
	bosh.OtherRequest, bosh.PolicyViolation, bosh.RemoteConnectionFailed, bosh.RemoteStreamError, bosh.SeeOtherURI,
	bosh.SystemShutdown, bosh.UndefinedCondition,
}

// known returns the counts with all labels: the conditions, and more.
func known(counts map[string]int64, more ...string) map[string]int64 {
	every := make(map[string]int64, len(conditions)+len(more))
	for _, c := range conditions {
		every[string(c)] = 0
	}
	for _, reason := range more {
		every[reason] = 0
	}
	maps.Copy(every, counts)
	return every
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

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
	for _, m := range c.own() {
		m.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats() // one look, so that the numbers fit each other
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(sessions, float64(s.Sessions))
	counter(created, s.Created)
	for reason, n := range known(s.Ended, "closed", "inactive") {
		counter(ended, n, reason)
	}
	for condition, n := range known(s.Refused) {
		counter(refused, n, condition)
	}
	gauge(maxSessions, float64(s.MaxSessions))
	gauge(memory, float64(s.Memory))
	gauge(maxMemory, float64(s.MaxMemory))
	ch <- prometheus.MustNewConstMetric(buildInfo, prometheus.GaugeValue, 1, version(), runtime.Version())
	gauge(open, float64(s.Open))
	counter(requests, s.Requests)
	counter(repeats, s.Repeats)
	counter(payloads, s.PayloadsIn, "in")
	counter(payloads, s.PayloadsOut, "out")
	counter(bodyBytes, s.BytesIn, "in")
	counter(bodyBytes, s.BytesOut, "out")
	nodes := map[string]bosh.RelayStats{"": {}} // from the start
	maps.Copy(nodes, s.Relayed)
	for node, n := range nodes {
		counter(relayed, n.Out, node, "out")
		counter(relayed, n.In, node, "in")
		counter(relayed, n.Failed, node, "failed")
	}
	gauge(queuedBytes, float64(s.Queued))
	gauge(unreadBytes, float64(s.Unread))
	for _, m := range c.own() {
		m.Collect(ch)
	}
}

// own returns the metrics fed by the hooks.
func (c *Collector) own() []prometheus.Collector {
	return []prometheus.Collector{c.requestOpen, c.requestSize, c.responseSize}
}
