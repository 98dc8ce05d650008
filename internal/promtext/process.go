package promtext

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Go writes metrics of the Go runtime, by the names of Prometheus's Go libraries.
func (w Writer) Go() {
	w.Info("go_info", "Information about the Go environment.", "version", runtime.Version())
	w.Gauge("go_goroutines", "Number of goroutines that currently exist.", float64(runtime.NumGoroutine()))
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.Gauge("go_memstats_alloc_bytes", "Number of bytes allocated in heap and currently in use.", float64(m.Alloc))
	w.Gauge("go_memstats_heap_inuse_bytes", "Number of heap bytes that are in use.", float64(m.HeapInuse))
	w.Gauge("go_memstats_sys_bytes", "Number of bytes obtained from system.", float64(m.Sys))
	w.Gauge("go_memstats_next_gc_bytes", "Number of heap bytes when next garbage collection will take place.", float64(m.NextGC))
	gc := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&gc)
	const name = "go_gc_duration_seconds"
	w.head(name, "summary", "Pauses of the garbage collector.")
	for i, q := range []string{"0", "0.25", "0.5", "0.75", "1"} {
		fmt.Fprintf(w.w, "%s{quantile=%q} %s\n", name, q, number(gc.PauseQuantiles[i].Seconds()))
	}
	fmt.Fprintf(w.w, "%s_sum %s\n%s_count %d\n", name, number(gc.PauseTotal.Seconds()), name, gc.NumGC)
}

// Process writes metrics of the process, where the system has /proc.
func (w Writer) Process() {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	// The text before may have blanks in it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	field := func(i int) float64 { // by its number in proc_pid_stat(5)
		if i-3 >= len(fields) {
			return 0
		}
		v, _ := strconv.ParseFloat(fields[i-3], 64)
		return v
	}
	const ticks = 100 // a second, on Linux
	w.Counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", (field(14)+field(15))/ticks)
	w.Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", field(24)*float64(os.Getpagesize()))
	w.Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", field(23))
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		w.Gauge("process_open_fds", "Number of open file descriptors.", float64(len(fds)))
	}
	if limits, err := os.ReadFile("/proc/self/limits"); err == nil {
		for line := range strings.Lines(string(limits)) {
			if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
				if v, err := strconv.ParseFloat(strings.Fields(rest)[0], 64); err == nil {
					w.Gauge("process_max_fds", "Maximum number of open file descriptors.", v)
				}
			}
		}
	}
	if system, err := os.ReadFile("/proc/stat"); err == nil {
		for line := range strings.Lines(string(system)) {
			if rest, ok := strings.CutPrefix(line, "btime "); ok {
				boot, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				w.Gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", boot+field(22)/ticks)
			}
		}
	}
}
