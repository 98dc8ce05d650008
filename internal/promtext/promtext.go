// Package promtext writes metrics in the text format of Prometheus, for programs
// without a library for it.
package promtext

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/gobosh/bosh"
)

// ContentType is the media type of the format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// A Writer writes metrics. Errors are the matter of w.
type Writer struct{ w io.Writer }

// New returns a Writer to w.
func New(w io.Writer) Writer { return Writer{w} }

func (w Writer) head(name, kind, help string) {
	fmt.Fprintf(w.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// Gauge writes a rising and falling value.
func (w Writer) Gauge(name, help string, v float64) {
	w.head(name, "gauge", help)
	fmt.Fprintf(w.w, "%s %s\n", name, number(v))
}

// Counter writes a growing value.
func (w Writer) Counter(name, help string, v float64) {
	w.head(name, "counter", help)
	fmt.Fprintf(w.w, "%s %s\n", name, number(v))
}

// Counters writes counters with a different label each.
func (w Writer) Counters(name, help, label string, values map[string]int64) {
	w.head(name, "counter", help)
	for _, value := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(w.w, "%s{%s=%q} %d\n", name, label, escape(value), values[value])
	}
}

// Stats writes the metrics of a Handler. Those of one name come one behind the other.
func (w Writer) Stats(metrics iter.Seq[bosh.Metric]) {
	before := ""
	for m := range metrics {
		if m.Name != before {
			kind := "gauge"
			if m.Counter {
				kind = "counter"
			}
			w.head(m.Name, kind, m.Help)
		}
		before = m.Name
		var pairs []string
		for _, l := range m.Labels {
			pairs = append(pairs, fmt.Sprintf("%s=%q", l[0], escape(l[1])))
		}
		labels := strings.Join(pairs, ",")
		if labels != "" {
			labels = "{" + labels + "}"
		}
		fmt.Fprintf(w.w, "%s%s %s\n", m.Name, labels, number(m.Value))
	}
}

// Info writes a gauge of 1 with labels, each followed by its value.
func (w Writer) Info(name, help string, labels ...string) {
	w.head(name, "gauge", help)
	var pairs []string
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, fmt.Sprintf("%s=%q", labels[i], escape(labels[i+1])))
	}
	fmt.Fprintf(w.w, "%s{%s} 1\n", name, strings.Join(pairs, ","))
}

// escape returns a label's value in a form for %q: then it is written as the format has
// it.
func escape(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// number writes a value.
func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// A Histogram counts observations by their size. It may be used by several goroutines at
// once. Make it by NewHistogram.
type Histogram struct {
	bounds []float64
	counts []atomic.Int64 // one more than bounds
	sum    atomic.Uint64  // bits of a float64
}

// NewHistogram returns a Histogram with the upper bounds of its buckets, ascending.
func NewHistogram(bounds ...float64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Int64, len(bounds)+1)}
}

// Observe counts v.
func (h *Histogram) Observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	for {
		was := h.sum.Load()
		if h.sum.CompareAndSwap(was, math.Float64bits(math.Float64frombits(was)+v)) {
			return
		}
	}
}

// Histogram writes h.
func (w Writer) Histogram(name, help string, h *Histogram) {
	w.head(name, "histogram", help)
	sum, n := math.Float64frombits(h.sum.Load()), int64(0)
	for i := range h.counts {
		n += h.counts[i].Load()
		bound := math.Inf(1)
		if i < len(h.bounds) {
			bound = h.bounds[i]
		}
		fmt.Fprintf(w.w, "%s_bucket{le=%q} %d\n", name, number(bound), n)
	}
	fmt.Fprintf(w.w, "%s_sum %s\n%s_count %d\n", name, number(sum), name, n)
}
