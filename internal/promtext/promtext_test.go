package promtext

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
)

func TestWriter(t *testing.T) {
	var b strings.Builder
	w := New(&b)
	h := NewHistogram(0.5, 1)
	for _, v := range []float64{0.1, 0.5, 0.7, 3} {
		h.Observe(v)
	}
	w.Gauge("g", "A.", 1.5)
	w.Counter("c", "B.", 1e9)
	w.Counters("l", "C.", "why", map[string]int64{"b": 2, "a": 1, "\"\\\n\xff": 3})
	w.Stats(slices.Values([]bosh.Metric{
		{Name: "m", Help: "C.", Counter: true, Labels: [][2]string{{"node", ""}, {"way", "in"}}},
		{Name: "m", Help: "C.", Counter: true, Labels: [][2]string{{"node", "b"}, {"way", "in"}}, Value: 1},
		{Name: "m", Help: "C.", Counter: true, Labels: [][2]string{{"node", "b"}, {"way", "out"}}, Value: 2},
		{Name: "n", Help: "D.", Value: 7},
	}))
	w.Info("i", "D.", "version", "1", "go", "2")
	w.Histogram("h", "E.", h)
	assert.Equal(t, `# HELP g A.
# TYPE g gauge
g 1.5
# HELP c B.
# TYPE c counter
c 1e+09
# HELP l C.
# TYPE l counter
l{why="\"\\\n�"} 3
l{why="a"} 1
l{why="b"} 2
# HELP m C.
# TYPE m counter
m{node="",way="in"} 0
m{node="b",way="in"} 1
m{node="b",way="out"} 2
# HELP n D.
# TYPE n gauge
n 7
# HELP i D.
# TYPE i gauge
i{version="1",go="2"} 1
# HELP h E.
# TYPE h histogram
h_bucket{le="0.5"} 2
h_bucket{le="1"} 3
h_bucket{le="+Inf"} 4
h_sum 4.3
h_count 4
`, b.String())
}

func TestProcess(t *testing.T) {
	var b strings.Builder
	w := New(&b)
	w.Go()
	w.Process()
	want := []string{"go_goroutines", "go_gc_duration_seconds_count", "go_memstats_heap_inuse_bytes"}
	if runtime.GOOS == "linux" {
		want = append(want, "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_start_time_seconds")
	}
	for _, name := range want {
		assert.Regexp(t, "\n"+name+` [0-9.]\S*\n`, b.String())
	}
}
